use super::*;
use crate::sample::{Failure, Labels, TokenSource};
use crate::stats::client::ClientStats;

const MS: u64 = 1_000_000;

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

fn facts() -> RoundFacts {
    RoundFacts {
        concurrency: 2,
        round: 1,
        not_sent: 0,
        peak: 2,
        cached_reported: false,
        slo: None,
        metrics: Vec::new(),
        client: ClientStats::default().summary(0, false),
    }
}

fn summary(samples: &[Sample]) -> RoundSummary {
    RoundSummary::of(samples, facts())
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 1e-9)
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
    let got = summary(&samples);
    assert_eq!((got.concurrency, got.round), (2, 1));
    assert!(got.metrics.is_empty() && got.client.limited.is_none());
    // Sends at 1000, 1100, 1400; ends at 1510, 1410, 2000: 1 s. In flight 510 + 310 + 600 ms.
    assert_eq!((got.total_requests, got.successful, got.failed), (3, 3, 0));
    assert_eq!((got.duration_s, got.concurrency_peak), (1.0, 2));
    assert!(near(got.concurrency_mean, 1.42), "{got:?}");
    assert_eq!(got.request_throughput, Some(3.0));
    // 22 tokens in 1 s, over the two that count them.
    assert_eq!(
        (got.token_throughput, got.output_tokens_mean),
        (Some(22.0), Some(11.0))
    );
    assert_eq!(got.input_tokens_mean, Some(800.0));
    let ttft = got.ttft_ms.expect("two values");
    // Deviations of ±100: root of 20000 / 1.
    assert_eq!((ttft.avg, ttft.p50, ttft.n), (200.0, 200.0, 2));
    assert!(near(ttft.stddev, 20_000_f64.sqrt()), "{ttft:?}");
    let itl = got.itl_ms.expect("two values");
    assert_eq!((itl.avg, itl.n), (20.0, 2));
    // 500, 300, and 600 to the end of the body.
    let latency = got.latency_ms.expect("three values");
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
    let facts = RoundFacts {
        not_sent: 3,
        ..facts()
    };
    let got = RoundSummary::of(&samples, facts);
    assert_eq!((got.total_requests, got.successful, got.failed), (3, 1, 2));
    assert_eq!((got.cut, got.not_sent), (1, 3));
    // From 0 to the end of the last failure, 500 + 90 + 210 ms; one success in it.
    assert_eq!((got.duration_s, got.request_throughput), (0.8, Some(1.25)));
    // In flight 400 + 300 + 300 ms, and the one that was cut 600 ms of the 800.
    assert!(near(got.concurrency_mean, 2.0), "{got:?}");
    assert_eq!(got.ttft_ms.expect("one").n, 1);
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
    let got = summary(&[turn(0, None), turn(1, None)]);
    assert_eq!(
        (got.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (None, None)
    );
    let got = summary(&[turn(0, None), turn(0, Some(100)), turn(1, Some(800))]);
    // 900 of 3 x 1000; 100 of the first turns' 2000, since absence is 0 by now.
    assert_eq!(
        (got.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (Some(0.3), Some(0.05))
    );
    let got = summary(&[turn(0, Some(500))]);
    assert_eq!(
        (got.prefix_cache_hit_rate, got.first_turn_hit_rate),
        (Some(0.5), None)
    );
}

#[test]
fn absence_is_0_once_an_earlier_round_reported_cached_tokens() {
    let facts = RoundFacts {
        cached_reported: true,
        ..facts()
    };
    let got = RoundSummary::of(&[success(0, 100)], facts);
    assert_eq!(got.prefix_cache_hit_rate, Some(0.0));
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
    let got = summary(&[opened, resent]);
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
    let facts = RoundFacts {
        slo: Some(slo),
        not_sent: 1,
        ..facts()
    };
    // From 0 to 510 ms; the second is within the limit.
    let got = RoundSummary::of(&[success(0, 300), success(0, 200)], facts);
    let goodput = got.goodput.expect("an SLO");
    assert_eq!((goodput.requests, goodput.of_requests), (1, 3));
    assert_eq!((goodput.tokens, goodput.of_tokens), (Some(11), Some(22)));
    assert!(near(goodput.tokens_per_s, 11.0 / 0.51), "{goodput:?}");
}

#[test]
fn a_round_without_requests_has_no_figures() {
    let got = summary(&[]);
    assert_eq!((got.total_requests, got.duration_s), (0, 0.0));
    assert_eq!(
        (got.ttft_ms, got.latency_ms, got.goodput),
        (None, None, None)
    );
    assert_eq!((got.token_throughput, got.request_throughput), (None, None));
    assert_eq!((got.concurrency_mean, got.connect_share), (None, None));
}
