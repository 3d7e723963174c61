//! Figures in constant memory, as an endless run has them.

use super::*;

/// Returns a success of a rotation, sent at `send_s`, with its first token after `ttft_s` and 11 tokens 10 ms apart.
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

/// The figures in constant memory of a run that began at 0.
struct Stats(Records);

impl Stats {
    fn new() -> Stats {
        Stats(Records::live(true, 0))
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
fn an_endless_run_leaves_the_chat_template_out_of_the_text_hit_rate() {
    let mut stats = Stats(Records::live(true, 24));
    for (rotation, cached) in [(0, 24), (0, 44), (1, 1000)] {
        stats.add(&Sample {
            cached_tokens: Some(cached),
            ..rotated(rotation, 0.0, 1.0)
        });
    }
    let got = stats.figures(4);
    // Hits are 20 of 2 x 1000 tokens in the first rotation, and 976 of 1000 in the later one.
    assert_eq!(got.cold.text_hit_rate, Some(0.01));
    assert_eq!(got.cold.prefix_cache_hit_rate, Some(0.034));
    assert_eq!(got.warm.text_hit_rate, Some(0.976));
}

#[test]
fn averages_rates_and_concurrency_of_two_requests_are_those_worked_by_hand() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    stats.add(&rotated(1, 1.0, 0.5));
    let summary = stats.figures(4);
    let means = &summary.means;
    // TTFT is (1.0 + 0.5) / 2 s, ITL 0.1 s / 10, prefill (1000/1 + 1000/0.5) / 2, and decode 10 / 0.1 s.
    assert_eq!((means.requests, means.ttft_ms.get()), (2, Some(750.0)));
    assert!(near(means.itl_ms.get(), 10.0));
    assert_eq!(means.prefill_tokens_per_s.get(), Some(1500.0));
    assert!(near(means.decode_tokens_per_s.get(), 100.0));
    // There are 2 requests and 22 tokens in 4 s, with 1.1 + 0.6 s in flight.
    assert_eq!(
        (summary.request_throughput, summary.token_throughput),
        (Some(0.5), Some(5.5))
    );
    assert!(near(summary.concurrency_mean, 0.425));
    assert!(near(summary.decode_tokens_per_s_weighted, 100.0));
    assert!(summary.gaps_are_tokens);
}

#[test]
fn an_interval_holds_only_requests_since_the_last_one() {
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
fn failures_cut_requests_and_warm_up_are_in_no_latency() {
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
        (
            summary.successful,
            summary.means.requests,
            summary.means.ttft_ms.get()
        ),
        (1, 1, Some(1000.0))
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
    assert_eq!(stats.figures(4).prompt_tokens.mean(), Some(1000.0));
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
    assert_eq!(summary.output_tokens.mean(), Some(11.0));
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
        (got.prompt_tokens.mean(), got.prompt_tokens.total),
        (None, None)
    );
    assert_eq!(
        (got.output_tokens.mean(), got.output_tokens.total),
        (None, None)
    );
    assert_eq!(got.wanted_output_tokens_mean, None);
    assert_eq!(got.token_throughput, None);
}

#[test]
fn a_hit_rate_is_absent_until_a_reply_reports_it_and_then_an_absent_count_is_0() {
    let mut stats = Stats::new();
    stats.add(&rotated(0, 0.0, 1.0));
    assert_eq!(stats.figures(2).all.prefix_cache_hit_rate, None);
    stats.add(&Sample {
        cached_tokens: Some(900),
        ..rotated(1, 1.0, 0.2)
    });
    let summary = stats.figures(2);
    // The server cached 900 of 2 x 1000 prompt tokens, and 0 of the first rotation's 1000.
    assert_eq!(summary.all.prefix_cache_hit_rate, Some(0.45));
    assert_eq!(summary.cold.prefix_cache_hit_rate, Some(0.0));
    assert_eq!(summary.warm.prefix_cache_hit_rate, Some(0.9));
}

#[test]
fn gaps_are_between_chunks_when_events_are_fewer_than_nine_tenths_of_the_tokens() {
    let mut stats = Stats::new();
    stats.add(&Sample {
        completion_tokens: Some(40),
        token_events: 11,
        ..rotated(0, 0.0, 1.0)
    });
    assert!(!stats.figures(2).gaps_are_tokens);
    // Without usage it is not known how many tokens a chunk holds.
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
    let (mut kept, mut live) = (Records::kept(), Records::live(true, 0));
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
        // The nearest rank is at most one value away from type 7: some milliseconds with 400 values below 1.05 s.
        for (exact, near) in [(exact.p50, near.p50), (exact.p99, near.p99)] {
            assert!((exact - near).abs() < 30.0, "{time:?}: {exact} {near}");
        }
    }
}
