//! Figures of passes, worked by hand: kept records and histograms, closed and open loops, rounds, workloads.

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

fn kept(samples: &[Sample]) -> Records {
    let mut records = Records::kept();
    samples.iter().for_each(|sample| records.add(sample));
    records
}

fn figures(samples: &[Sample], facts: Facts) -> Figures {
    Pass::new(facts, kept(samples)).figures
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 1e-6)
}

/// Sent at `send` ms, first token `ttft` ms later, 11 tokens 20 ms apart, end of body 10 ms after them.
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
    // Sends at 1000, 1100, 1400; ends at 1510, 1410, 2000: 1 s. In flight 510 + 310 + 600 ms.
    assert_eq!((got.requests, got.successful, got.failed), (3, 3, 0));
    assert_eq!(got.duration_s, 1.0);
    assert!(near(got.concurrency_mean, 1.42), "{got:?}");
    assert_eq!(got.request_throughput, Some(3.0));
    // 22 tokens in 1 s, over the two that count them.
    assert_eq!(
        (got.token_throughput, got.output_tokens.mean),
        (Some(22.0), Some(11.0))
    );
    assert_eq!(got.prompt_tokens.mean, Some(800.0));
    let ttft = got.time(Time::Ttft).expect("two values");
    // Deviations of ±100: root of 20000 / 1.
    assert_eq!((ttft.avg, ttft.p50, ttft.n), (200.0, 200.0, 2));
    assert!(near(ttft.stddev, 20_000_f64.sqrt()), "{ttft:?}");
    let itl = got.time(Time::Itl).expect("two values");
    assert_eq!((itl.avg, itl.n), (20.0, 2));
    // 500, 300, and 600 to the end of the body.
    let latency = got.time(Time::Latency).expect("three values");
    assert_eq!(
        (latency.min, latency.p50, latency.max),
        (300.0, 500.0, 600.0)
    );
    assert_eq!((got.not_streamed, got.token_sources["usage"]), (1, 2));
}

#[test]
fn failures_enter_counts_and_duration_and_those_cut_only_concurrency() {
    let failed = |send, status, reason: &str| Sample {
        failure: Some(Failure::new(FailKind::Http, reason)),
        status: Some(status),
        ..success(send, 90)
    };
    let cut = Sample {
        phase: Phase::Cut,
        // In flight from 200 ms to 5 s.
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
    // From 0 to the end of the last failure, 500 + 90 + 210 ms; one success in it.
    assert_eq!((got.duration_s, got.request_throughput), (0.8, Some(1.25)));
    // In flight 400 + 300 + 300 ms, and the one that was cut 600 ms of the 800.
    assert!(near(got.concurrency_mean, 2.0), "{got:?}");
    assert_eq!(got.time(Time::Ttft).expect("one").n, 1);
    let http = &got.failures["http"];
    assert_eq!(
        (http.count, http.status, http.example.as_str()),
        (2, Some(503), "busy")
    );
}

#[test]
fn a_hit_rate_is_of_the_round_and_of_its_first_turns() {
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
    // 900 of 3 x 1000; 100 of the first turns' 2000, since absence is 0 by now.
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
fn absence_is_0_once_an_earlier_round_reported_cached_tokens() {
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
    // 30 of 100 + 200 ms.
    assert!(near(got.connect_share, 0.1), "{got:?}");
    assert_eq!(got.stale_connections, 1);
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
    // From 0 to 510 ms; the second is within the limit.
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

fn plain(send: u64, took: u64, cached: Option<bool>) -> Sample {
    Sample {
        t_send_ns: send * MS,
        t_end_ns: (send + took) * MS,
        response_cached: cached,
        ..Sample::default()
    }
}

fn repeated(sample: Sample, repeat: bool) -> Sample {
    let labels = Labels {
        repeat: Some(repeat),
        ..Labels::default()
    };
    Sample { labels, ..sample }
}

fn due(sample: Sample, due: u64) -> Sample {
    Sample {
        t_due_ns: Some(due * MS),
        ..sample
    }
}

fn failed(sample: Sample) -> Sample {
    Sample {
        failure: Some(Failure::new(FailKind::Http, "x")),
        ..sample
    }
}

fn open() -> Facts {
    Facts {
        rate_per_s: Some(10.0),
        exhausted: Some(0),
        ..Facts::default()
    }
}

/// The mean and the number of a time.
fn mean(figures: &Figures, time: Time) -> Option<(f64, u64)> {
    figures
        .time(time)
        .map(|spread: Spread| (spread.avg, spread.n))
}

#[test]
fn a_closed_loop_counts_from_the_send() {
    let cut = Sample {
        phase: Phase::Cut,
        ..success(500, 10)
    };
    let warmup = Sample {
        phase: Phase::Warmup,
        ..success(0, 9000)
    };
    let samples = [
        warmup,
        success(1000, 100),
        success(1100, 300),
        failed(success(1200, 5)),
        cut,
    ];
    let got = figures(&samples, Facts::default());
    let ttft = got.time(Time::Ttft).expect("two");
    // 100 and 300 ms: rank 0.95 of 1, 0.99 of 1.
    assert_eq!((ttft.avg, ttft.p50, ttft.max), (200.0, 200.0, 300.0));
    assert!(near(Some(ttft.p95), 290.0) && near(Some(ttft.p99), 298.0));
    let latency = got.time(Time::Latency).expect("two");
    assert_eq!((latency.avg, latency.n), (400.0, 2));
    // 200 ms over ten gaps.
    assert_eq!(mean(&got, Time::Itl), Some((20.0, 2)));
    assert!(near(got.error_rate(), 1.0 / 3.0));
    assert_eq!((got.requests + got.cut, got.warmup, got.cut), (4, 1, 1));
    // Sends at 500, 1000, 1100 and 1200 ms.
    assert!(near(got.achieved_per_s, 3.0 / 0.7));
    assert!(!got.is_open);
    assert!(!got.is_not_streamed());
    // 22 tokens from 1000 to 1610 ms.
    assert!(near(got.token_throughput, 22.0 / 0.61));
}

#[test]
fn an_open_loop_counts_from_the_due_time() {
    let samples = [
        due(success(1000, 100), 1000),
        due(success(1150, 100), 1100),
        due(failed(success(1300, 5)), 1200),
    ];
    let slo = Slo {
        ttft_ms: Some(140.0),
        ..Slo::default()
    };
    let facts = Facts {
        slo: Some(slo),
        not_sent: 5,
        exhausted: Some(1),
        ..open()
    };
    let got = figures(&samples, facts);
    let ttft = got.time(Time::Ttft).expect("two");
    // 100, and 100 after 50 of waiting.
    assert_eq!((ttft.avg, ttft.max), (125.0, 150.0));
    assert_eq!(got.time(Time::Latency).expect("two").max, 350.0);
    assert!(got.is_open);
    let sent = [Time::TtftFromSent, Time::LatencyFromSent];
    let sent = sent.map(|time| got.time(time).expect("two").max);
    assert_eq!(sent, [100.0, 300.0]);
    // 0, 50 and 100 ms, the failure too: rank 0.99 of 2 is 1.98.
    let lateness = got.time(Time::Lateness).expect("three");
    assert_eq!((lateness.avg, lateness.max, lateness.n), (50.0, 100.0, 3));
    assert!(near(Some(lateness.p99), 99.0));
    assert!(near(got.scheduled_per_s, 10.0));
    assert!(near(got.achieved_per_s, 2.0 / 0.3));
    // The second one waited 150 ms; what was not sent is no failure of the server.
    let goodput = got.goodput.expect("an SLO");
    assert_eq!((goodput.requests, goodput.of_requests), (1, 3));
    // 11 tokens from the first send at 1000 ms to the failure's end at 1515.
    assert!(near(goodput.tokens_per_s, 11.0 / 0.515));
}

/// 100 requests due every 20 ms of a server with one place that takes 10 ms, and stands still for 2 s from 1 s
/// on. The client sends one at a time: what is due meanwhile goes out late, and is answered at once.
#[test]
fn a_frozen_server_is_seen_from_the_due_times_and_not_from_the_sends() {
    let mut free = 0;
    let mut samples = Vec::new();
    for k in 0..100 {
        let due_ms = k * 20;
        let send = due_ms.max(free);
        let end = if send == 1000 { 3000 } else { send + 10 };
        free = end;
        samples.push(due(plain(send, end - send, None), due_ms));
    }
    let got = figures(&samples, open());
    let times = [Time::Latency, Time::LatencyFromSent];
    let [due, sent] = times.map(|time| got.time(time).expect("100"));
    // Request 50 takes 2000 ms; the one k behind it is due at 20k, sent at 2000 + 10 (k − 1), so takes 2000 − 10k.
    // The largest two of 100 are 2000 and 1990: rank 0.99 of 99 is 98.01.
    assert!(near(Some(due.p99), 1990.1), "{due:?}");
    // 50 requests take 10 ms; the median is of 10 and 1510.
    assert!(near(Some(due.p50), 760.0), "{due:?}");
    // One request in a hundred took long: p99 is 0.01 of the way to it.
    assert!(near(Some(sent.p99), 10.0 + 0.01 * 1990.0), "{sent:?}");
    assert_eq!((sent.p95, sent.max), (10.0, 2000.0));
}

#[test]
fn hits_are_those_of_successes_once_any_reply_says_so() {
    let samples = [
        repeated(plain(0, 100, Some(false)), false),
        repeated(plain(100, 200, None), false),
        repeated(plain(300, 10, Some(true)), true),
        failed(repeated(plain(400, 5, Some(true)), true)),
    ];
    let got = figures(&samples, Facts::default());
    assert!(near(got.response_cache_hit_rate, 1.0 / 3.0));
    assert_eq!(got.reported.hit_by(), Some(HitBy::Response));
    let parts = [
        (Time::LatencyFirstUse, (150.0, 2)),
        (Time::LatencyRepeat, (10.0, 1)),
        (Time::LatencyHit, (10.0, 1)),
        (Time::LatencyMiss, (150.0, 2)),
    ];
    for (time, wanted) in parts {
        assert_eq!(mean(&got, time), Some(wanted), "{time:?}");
    }
    for time in [
        Time::TtftFirstUse,
        Time::TtftRepeat,
        Time::TtftHit,
        Time::TtftMiss,
    ] {
        assert_eq!(got.time(time), None, "{time:?}");
    }
    assert!(got.is_not_streamed());
}

#[test]
fn a_reply_of_the_warm_up_tells_that_a_cache_reports() {
    let warmup = |sample| Sample {
        phase: Phase::Warmup,
        ..sample
    };
    let prefix = Sample {
        cached_tokens: Some(0),
        ..success(0, 1)
    };
    let samples = [warmup(prefix), success(1000, 1)];
    let got = figures(&samples, Facts::default());
    assert_eq!(got.all.prefix_cache_hit_rate, Some(0.0));
    assert_eq!(got.response_cache_hit_rate, None);
    assert_eq!(got.reported.hit_by(), Some(HitBy::Prefix));
    let samples = [warmup(plain(0, 1, Some(false))), plain(10, 1, None)];
    let got = figures(&samples, Facts::default());
    assert_eq!(got.response_cache_hit_rate, Some(0.0));
    assert_eq!(got.all.prefix_cache_hit_rate, None);
}

#[test]
fn prefix_hits_split_where_no_whole_reply_is_cached() {
    let cached = |sample, tokens| Sample {
        cached_tokens: Some(tokens),
        ..sample
    };
    let samples = [cached(success(0, 300), 0), cached(success(0, 100), 60)];
    let got = figures(&samples, Facts::default());
    // 60 of 2 x 1000 prompt tokens.
    assert_eq!(got.all.prefix_cache_hit_rate, Some(0.03));
    assert_eq!(mean(&got, Time::TtftHit), Some((100.0, 1)));
    assert_eq!(mean(&got, Time::TtftMiss), Some((300.0, 1)));
}

#[test]
fn nothing_sent_has_no_figures() {
    for facts in [Facts::default(), open()] {
        let is_open = facts.exhausted.is_some();
        let got = figures(&[], facts);
        assert!(Time::ALL.iter().all(|&time| got.time(time).is_none()));
        assert_eq!(got.error_rate(), None);
        assert_eq!(
            (got.response_cache_hit_rate, got.achieved_per_s),
            (None, None)
        );
        assert_eq!(
            (got.reported.hit_by(), got.is_not_streamed()),
            (None, false)
        );
        assert_eq!((got.is_open, got.scheduled_per_s), (is_open, None));
    }
    // One request, or several at the same time, are no rate.
    let got = figures(&[due(success(5, 1), 5)], open());
    assert_eq!(got.scheduled_per_s, None);
}

/// First token `first_ms` after the send, the last of `tokens` after `last_ms`; 20 of 100 prompt tokens cached.
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
fn figures_of_the_format_of_run_are_those_worked_by_hand() {
    let samples = [
        workload(10, 100, 10),
        workload(30, 400, 20),
        workload(50, 50, 0),
        failed(workload(900, 1000, 1)),
    ];
    let got = figures(&samples, Facts::default());
    // 10, 30, 50 ms: rank 0.95 · 2 = 1.9.
    assert_eq!(got.time(Time::Ttft).expect("three").p95, 48.0);
    // 100 / 10 and 400 / 20 ms a token; 10 / 0.1 and 20 / 0.4 tokens per second.
    assert_eq!(got.tpot_with_first_ms, Some(15.0));
    assert_eq!(got.request_tokens_per_s, Some(75.0));
    assert_eq!(got.error_rate(), Some(0.25));
}

#[test]
fn the_servers_hit_rate_stands_and_usage_stands_in_for_it() {
    let told = |told: Option<Told>| {
        let told = told.map(|told| (catalog::HIT_RATE.to_string(), told));
        let facts = Facts {
            told: BTreeMap::from_iter(told),
            ..Facts::default()
        };
        let pass = Pass::new(facts, kept(&[workload(1, 2, 3)]));
        catalog::told(&pass, catalog::HIT_RATE)
    };
    assert_eq!(told(None), Told::new(0.2, "usage of the replies"));
    let absent = Told::absent("no counters");
    assert_eq!(told(Some(absent)), Told::new(0.2, "usage of the replies"));
    let counters = Told::new(0.26, "counters");
    assert_eq!(told(Some(counters.clone())), counters);
}

/// A success of a rotation: sent at `send_s`, first token after `ttft_s`, 11 tokens 10 ms apart.
fn rotated(rotation: u64, send_s: f64, ttft_s: f64) -> Sample {
    let ns = |s: f64| (s * 1e9).round() as u64;
    Sample {
        labels: Labels {
            rotation: Some(rotation),
            wanted_output_tokens: Some(11),
            ..Labels::default()
        },
        t_send_ns: ns(send_s),
        t_first_ns: Some(ns(send_s + ttft_s)),
        t_last_ns: Some(ns(send_s + ttft_s + 0.1)),
        t_end_ns: ns(send_s + ttft_s + 0.1),
        prompt_tokens: Some(1000),
        completion_tokens: Some(11),
        token_source: Some(TokenSource::Usage),
        token_events: 11,
        gaps_us: vec![10_000; 10],
        ..Sample::default()
    }
}

/// Figures in constant memory, of a run that began at 0.
struct Stats(Records);

impl Stats {
    fn new() -> Stats {
        Stats(Records::live(true))
    }

    fn add(&mut self, sample: &Sample) {
        self.0.add(sample);
    }

    fn figures(&self, now_s: u64) -> Figures {
        let facts = Facts {
            window_ns: Some((0, now_s * 1000 * MS)),
            ..Facts::default()
        };
        self.0.figures(&facts)
    }
}

#[test]
fn averages_rates_and_concurrency_of_two_requests_are_those_worked_by_hand() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    stats.add(&rotated(1, 1.0, 0.5));
    let summary = stats.figures(4);
    let means = &summary.means;
    // TTFT (1.0 + 0.5) / 2; ITL 0.1 s / 10; prefill (1000/1 + 1000/0.5) / 2; decode 10 / 0.1 s.
    assert_eq!((means.requests, means.ttft_ms.get()), (2, Some(750.0)));
    assert!(near(means.itl_ms.get(), 10.0));
    assert_eq!(means.prefill_tokens_per_s.get(), Some(1500.0));
    assert!(near(means.decode_tokens_per_s.get(), 100.0));
    // 2 requests and 22 tokens in 4 s; busy 1.1 + 0.6 s of 4 s.
    assert_eq!(
        (summary.request_throughput, summary.token_throughput),
        (Some(0.5), Some(5.5))
    );
    assert!(near(summary.concurrency_mean, 0.425));
    assert!(near(summary.decode_tokens_per_s_weighted, 100.0));
    assert!(summary.gaps_are_tokens);
}

#[test]
fn an_interval_holds_only_what_came_since_the_last_one() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    assert_eq!(stats.0.end_interval().ttft_ms.get(), Some(1000.0));
    stats.add(&rotated(0, 2.0, 3.0));
    assert_eq!(stats.0.end_interval().ttft_ms.get(), Some(3000.0));
    let empty = stats.0.end_interval();
    let means = (empty.ttft_ms.get(), empty.itl_ms.get());
    assert_eq!((empty.requests, means), (0, (None, None)));
}

#[test]
fn failures_cut_requests_and_warm_up_enter_no_latency() {
    let mut stats = Stats::new();
    let failed = |kind| Sample {
        failure: Some(Failure::new(kind, "why")),
        status: Some(500),
        ..rotated(0, 0.0, 9.0)
    };
    stats.add(&failed(FailKind::Http));
    stats.add(&failed(FailKind::Http));
    stats.add(&failed(FailKind::Truncated));
    stats.add(&Sample {
        phase: Phase::Cut,
        ..rotated(0, 0.0, 9.0)
    });
    stats.add(&Sample {
        phase: Phase::Warmup,
        ..rotated(0, 0.0, 9.0)
    });
    stats.add(&rotated(0, 0.0, 1.0));
    let summary = stats.figures(10);
    assert_eq!(
        (summary.successful, summary.means.ttft_ms.get()),
        (1, Some(1000.0))
    );
    assert_eq!((summary.failed, summary.cut, summary.warmup), (3, 1, 1));
    assert_eq!(summary.failures["http"].count, 2);
    assert_eq!(summary.time(Time::Ttft).expect("ttft").n, 1);
}

#[test]
fn the_mean_prompt_is_over_the_replies_that_count_it() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    stats.add(&Sample {
        prompt_tokens: None,
        ..rotated(0, 1.0, 1.0)
    });
    assert_eq!(stats.figures(4).prompt_tokens.mean, Some(1000.0));
}

#[test]
fn the_mean_output_is_over_the_replies_that_are_counted() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    stats.add(&Sample {
        completion_tokens: None,
        token_source: None,
        ..rotated(0, 1.0, 1.0)
    });
    let summary = stats.figures(4);
    assert_eq!(summary.output_tokens.mean, Some(11.0));
    assert_eq!(summary.wanted_output_tokens_mean, Some(11.0));
}

#[test]
fn tokens_that_nobody_counted_are_absent_and_not_0() {
    let mut stats = Stats::new();
    stats.add(&Sample {
        prompt_tokens: None,
        completion_tokens: None,
        token_source: None,
        ..rotated(0, 0.0, 1.0)
    });
    let got = stats.figures(4);
    assert_eq!(
        (got.prompt_tokens.mean, got.prompt_tokens.total),
        (None, None)
    );
    assert_eq!(
        (got.output_tokens.mean, got.output_tokens.total),
        (None, None)
    );
    assert_eq!(got.wanted_output_tokens_mean, None);
    assert_eq!(got.token_throughput, None);
}

#[test]
fn a_hit_rate_is_absent_until_a_reply_reports_it_and_then_counts_absence_as_none() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    assert_eq!(stats.figures(2).all.prefix_cache_hit_rate, None);
    stats.add(&Sample {
        cached_tokens: Some(900),
        ..rotated(1, 1.0, 0.2)
    });
    let summary = stats.figures(2);
    // 900 of 2 x 1000 prompt tokens; 0 of the first rotation's 1000.
    assert_eq!(summary.all.prefix_cache_hit_rate, Some(0.45));
    assert_eq!(summary.cold.prefix_cache_hit_rate, Some(0.0));
    assert_eq!(summary.warm.prefix_cache_hit_rate, Some(0.9));
}

#[test]
fn gaps_are_of_chunks_when_events_are_fewer_than_nine_tenths_of_the_tokens() {
    let mut stats = Stats::new();
    stats.add(&Sample {
        completion_tokens: Some(40),
        token_events: 11,
        ..rotated(0, 0.0, 1.0)
    });
    assert!(!stats.figures(2).gaps_are_tokens);
    // Without usage nobody knows how many tokens a chunk holds.
    let mut uncounted = Stats::new();
    uncounted.add(&Sample {
        token_source: Some(TokenSource::Events),
        ..rotated(0, 0.0, 1.0)
    });
    assert!(!uncounted.figures(2).gaps_are_tokens);
}

#[test]
fn gaps_of_events_that_shared_a_read_are_kept_and_their_share_shown() {
    let mut stats = Stats::new();
    stats.add(&Sample {
        gaps_us: vec![0, 20_000, 0, 20_000],
        ..rotated(0, 0.0, 1.0)
    });
    let summary = stats.figures(2);
    assert_eq!(summary.gaps_in_one_read_share, Some(0.5));
    let gap = summary.gap.expect("gaps");
    assert_eq!((gap.n, gap.max), (4, 20.0));
}

#[test]
fn records_and_histograms_of_the_same_requests_give_the_same_figures() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut kept, mut live) = (Records::kept(), Records::live(true));
    for k in 0..500 {
        let sample = rotated(k / 100, k as f64 * 0.01, 0.05 + rng.f64());
        kept.add(&sample);
        live.add(&sample);
    }
    let facts = Facts {
        window_ns: Some((0, 6000 * MS)),
        ..Facts::default()
    };
    let (kept, live) = (kept.figures(&facts), live.figures(&facts));
    assert_eq!(kept.token_throughput, live.token_throughput);
    assert_eq!(kept.concurrency_mean, live.concurrency_mean);
    assert_eq!((kept.cold, kept.warm), (live.cold, live.warm));
    for time in [Time::Ttft, Time::Latency, Time::TtftCold, Time::TtftWarm] {
        let [exact, near] = [&kept, &live].map(|of| of.time(time).expect("500"));
        assert_eq!(
            (exact.n, exact.min, exact.max),
            (near.n, near.min, near.max)
        );
        // Nearest rank lies at most one value away from type 7: of 400 values below 1.05 s, some milliseconds.
        for (exact, near) in [(exact.p50, near.p50), (exact.p99, near.p99)] {
            assert!((exact - near).abs() < 30.0, "{time:?}: {exact} {near}");
        }
    }
}
