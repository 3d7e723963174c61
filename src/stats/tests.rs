//! Figures of passes, compared with values worked by hand: rounds and workloads here, other passes in the submodules.

mod live;
mod load;
mod passes;

use std::collections::BTreeMap;

use super::catalog;
use super::facts::{Facts, Told};
use super::figures::Figures;
use super::goodput::Slo;
use super::pass::Pass;
use super::records::Records;
use super::spread::Spread;
use super::time::{HitBy, Reported, Time};
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, TokenSource};

const MS: u64 = 1_000_000;

fn figures(samples: &[Sample], facts: Facts) -> Figures {
    Pass::new(facts, Records::kept().with(samples)).figures
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 1e-6)
}

/// Returns a success sent at `send` ms, with its first token `ttft` ms later, 11 tokens 20 ms apart, and the end of its
/// body 10 ms after the last.
fn success(send: u64, ttft: u64) -> Sample {
    Sample {
        t_send_ns: send * MS,
        t_first_ns: Some((send + ttft) * MS),
        t_last_ns: Some((send + ttft + 200) * MS),
        t_end_ns: (send + ttft + 210) * MS,
        prompt_tokens: Some(1000),
        completion_tokens: Some(11),
        token_source: Some(TokenSource::Usage),
        token_events: 11,
        ..Sample::default()
    }
}

fn failed(sample: Sample) -> Sample {
    Sample {
        failure: Some(Failure::new(FailKind::Http, "x")),
        ..sample
    }
}

#[test]
fn figures_of_three_requests_are_those_worked_by_hand() {
    let plain = Sample {
        t_first_ns: None,
        t_last_ns: None,
        prompt_tokens: Some(400),
        completion_tokens: None,
        token_source: None,
        ..success(1400, 390)
    };
    let samples = [success(1000, 300), success(1100, 100), plain];
    let got = figures(&samples, Facts::default());
    // Sends are at 1000, 1100, 1400 ms and ends at 1510, 1410, 2000 ms: 1 s. Time in flight is 510 + 310 + 600 ms.
    assert_eq!((got.requests, got.successful, got.failed), (3, 3, 0));
    assert_eq!(got.duration_s, 1.0);
    assert!(near(got.concurrency_mean, 1.42), "{got:?}");
    assert_eq!(got.request_throughput, Some(3.0));
    // The two requests that count their tokens have 22 in 1 s.
    assert_eq!(
        (got.token_throughput, got.output_tokens.mean()),
        (Some(22.0), Some(11.0))
    );
    assert_eq!(got.prompt_tokens.mean(), Some(800.0));
    let ttft = got.time(Time::Ttft).expect("two values");
    // The deviations are ±100: the root of 20000 / 1.
    assert_eq!((ttft.avg, ttft.p50, ttft.n), (200.0, 200.0, 2));
    assert!(near(ttft.stddev, 20_000_f64.sqrt()), "{ttft:?}");
    let itl = got.time(Time::Itl).expect("two values");
    assert_eq!((itl.avg, itl.n), (20.0, 2));
    // Latency is 500 and 300 ms, and 600 ms to the end of a body.
    let latency = got.time(Time::Latency).expect("three values");
    assert_eq!(
        (latency.min, latency.p50, latency.max),
        (300.0, 500.0, 600.0)
    );
    assert_eq!((got.not_streamed, got.token_sources["usage"]), (1, 2));
}

#[test]
fn failures_count_in_totals_and_duration_and_cut_requests_only_in_concurrency() {
    let failed = |send, status, reason: &str| Sample {
        failure: Some(Failure::new(FailKind::Http, reason)),
        status: Some(status),
        ..success(send, 90)
    };
    let cut = Sample {
        phase: Phase::Cut,
        // The request is in flight from 200 ms to 5 s.
        t_end_ns: 5000 * MS,
        ..success(200, 9)
    };
    let warm_up = Sample {
        phase: Phase::Warmup,
        ..success(0, 9)
    };
    let samples = [
        success(0, 190),
        failed(100, 503, "busy"),
        failed(500, 400, "no"),
        cut,
        warm_up,
    ];
    let got = figures(&samples, Facts::default());
    assert_eq!((got.requests, got.successful, got.failed), (3, 1, 2));
    assert_eq!((got.cut, got.warmup), (1, 1));
    // The duration goes from 0 to the end of the last failure, 500 + 90 + 210 ms, with one success in it.
    assert_eq!((got.duration_s, got.request_throughput), (0.8, Some(1.25)));
    // Requests are in flight for 400 + 300 + 300 ms, and the one that was cut for 600 ms of the 800.
    assert!(near(got.concurrency_mean, 2.0), "{got:?}");
    assert_eq!(got.time(Time::Ttft).expect("one").n, 1);
    let http = &got.failures["http"];
    assert_eq!(
        (http.count, http.status, http.example.as_str()),
        (2, Some(503), "busy")
    );
}

#[test]
fn a_round_has_a_hit_rate_and_so_have_its_first_turns() {
    let turn = |turn, cached| Sample {
        labels: Labels {
            session: Some(0),
            turn: Some(turn),
            ..Labels::default()
        },
        cached_tokens: cached,
        ..success(0, 100)
    };
    let got = figures(&[turn(0, None), turn(1, None)], Facts::default());
    assert_eq!(
        (got.all.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (None, None)
    );
    let got = figures(
        &[turn(0, None), turn(0, Some(100)), turn(1, Some(800))],
        Facts::default(),
    );
    // The server cached 900 of 3 x 1000 tokens, and 100 of the 2000 of first turns: an absent count is 0 by now.
    assert_eq!(
        (got.all.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (Some(0.3), Some(0.05))
    );
    let got = figures(&[turn(0, Some(500))], Facts::default());
    assert_eq!(
        (got.all.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (Some(0.5), None)
    );
}

#[test]
fn an_absent_count_is_0_once_an_earlier_round_reported_cached_tokens() {
    let facts = Facts {
        reported: Reported {
            prefix: true,
            ..Reported::default()
        },
        ..Facts::default()
    };
    let got = figures(&[success(0, 100)], facts);
    assert_eq!(got.all.prefix_cache_hit_rate, Some(0.0));
}

#[test]
fn connections_that_were_opened_or_found_stale_are_counted() {
    let opened = Sample {
        connect_ns: Some(30 * MS),
        ..success(0, 100)
    };
    let resent = Sample {
        resent: true,
        ..success(0, 200)
    };
    let got = figures(&[opened, resent], Facts::default());
    // Connections take 30 of 100 + 200 ms.
    assert!(near(got.connect_share, 0.1), "{got:?}");
    assert_eq!(got.stale_connections, 1);
}

#[test]
fn a_request_that_was_sent_again_is_neither_cold_nor_warm() {
    let labelled = |rotation: u64, repeat: bool, resent: bool, sample: Sample| Sample {
        labels: Labels {
            rotation: Some(rotation),
            repeat: Some(repeat),
            ..Labels::default()
        },
        cached_tokens: Some(if resent { 1000 } else { 0 }),
        resent,
        ..sample
    };
    let samples = [
        labelled(0, false, false, success(0, 100)),
        labelled(0, false, true, success(0, 10)),
        labelled(1, true, false, success(0, 50)),
        labelled(1, true, true, success(0, 20)),
    ];
    let got = figures(&samples, Facts::default());
    let mean = |time| got.time(time).map(|spread: Spread| (spread.n, spread.avg));
    assert_eq!((got.successful, got.stale_connections), (4, 2));
    assert_eq!((got.cold.requests, got.warm.requests), (1, 1));
    assert_eq!(got.cold.prefix_cache_hit_rate, Some(0.0));
    assert_eq!(got.warm.prefix_cache_hit_rate, Some(0.0));
    for (time, wanted_ms) in [
        (Time::TtftCold, 100.0),
        (Time::TtftWarm, 50.0),
        (Time::TtftFirstUse, 100.0),
        (Time::TtftRepeat, 50.0),
        (Time::LatencyFirstUse, 300.0),
        (Time::LatencyRepeat, 250.0),
    ] {
        assert_eq!(mean(time), Some((1, wanted_ms)), "{time:?}");
    }
}

#[test]
fn an_slo_gives_goodput_over_the_rounds_duration() {
    let slo = Slo {
        ttft_ms: Some(250.0),
        ..Slo::default()
    };
    let facts = Facts {
        slo: Some(slo),
        turns_not_sent: 1,
        ..Facts::default()
    };
    // The duration is 510 ms, and the second request is within the limit.
    let got = figures(&[success(0, 300), success(0, 200)], facts);
    let goodput = got.goodput.expect("an SLO");
    assert_eq!((goodput.requests, goodput.of_requests), (1, 3));
    assert_eq!((goodput.tokens, goodput.of_tokens), (Some(11), Some(22)));
    assert!(near(goodput.tokens_per_s, 11.0 / 0.51), "{goodput:?}");
}

#[test]
fn a_round_without_requests_has_no_figures() {
    let got = figures(&[], Facts::default());
    assert_eq!((got.requests, got.duration_s), (0, 0.0));
    assert_eq!(
        (got.time(Time::Ttft), got.time(Time::Latency), got.goodput),
        (None, None, None)
    );
    assert_eq!((got.token_throughput, got.request_throughput), (None, None));
    assert_eq!((got.concurrency_mean, got.connect_share), (None, None));
}

/// Returns a success with its first token `first_ms` after the send, the last of `tokens` after `last_ms`, and 20 of
/// 100 prompt tokens cached.
fn workload(first_ms: u64, last_ms: u64, tokens: u64) -> Sample {
    Sample {
        t_send_ns: MS,
        t_first_ns: Some((1 + first_ms) * MS),
        t_last_ns: Some((1 + last_ms) * MS),
        t_end_ns: (1 + last_ms) * MS,
        prompt_tokens: Some(100),
        cached_tokens: Some(20),
        completion_tokens: Some(tokens),
        ..Sample::default()
    }
}

#[test]
fn figures_of_run_are_those_worked_by_hand() {
    let samples = [
        workload(10, 100, 10),
        workload(30, 400, 20),
        workload(50, 50, 0),
        failed(workload(900, 1000, 1)),
    ];
    let got = figures(&samples, Facts::default());
    // TTFT is 10, 30 and 50 ms: p95 is at rank 0.95 · 2 = 1.9.
    assert_eq!(got.time(Time::Ttft).expect("three").p95, 48.0);
    // Times are 100 / 10 and 400 / 20 ms a token, rates are 10 / 0.1 and 20 / 0.4 tokens per second.
    assert_eq!(got.tpot_with_first_ms, Some(15.0));
    assert_eq!(got.request_tokens_per_s, Some(75.0));
    assert_eq!(got.error_rate(), Some(0.25));
}

#[test]
fn the_servers_hit_rate_is_used_and_that_of_usage_if_there_is_none() {
    let told = |told: Option<Told>| {
        let told = told.map(|told| (catalog::HIT_RATE.to_string(), told));
        let facts = Facts {
            told: BTreeMap::from_iter(told),
            ..Facts::default()
        };
        let pass = Pass::new(facts, Records::kept().with(&[workload(1, 2, 3)]));
        catalog::told(&pass, catalog::HIT_RATE)
    };
    assert_eq!(told(None), Told::new(0.2, "usage of the replies"));
    let absent = Told::absent("no counters");
    assert_eq!(told(Some(absent)), Told::new(0.2, "usage of the replies"));
    let counters = Told::new(0.26, "counters");
    assert_eq!(told(Some(counters.clone())), counters);
}
