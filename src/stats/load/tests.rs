use super::*;
use crate::sample::{FailKind, Failure, Labels};
use crate::stats::client::ClientStats;

const MS: u64 = 1_000_000;

/// Sent at `send` ms, first token `ttft` ms later, 11 tokens 20 ms apart, end of body 10 ms after them.
fn success(send: u64, ttft: u64) -> Sample {
    Sample {
        t_send_ns: send * MS,
        t_first_ns: Some((send + ttft) * MS),
        t_last_ns: Some((send + ttft + 200) * MS),
        t_end_ns: (send + ttft + 210) * MS,
        prompt_tokens: Some(100),
        completion_tokens: Some(11),
        ..Sample::default()
    }
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

fn closed() -> LoadFacts {
    LoadFacts {
        concurrency: Some(2),
        rate_per_s: None,
        planned: Some(4),
        peak: 2,
        cached_reported: false,
        response_cached_reported: false,
        slo: None,
        exhausted: None,
        perfect_response_rate: None,
        perfect_prefix_rate: None,
        not_sent: 0,
        client: ClientStats::default().summary(0, false),
    }
}

fn open() -> LoadFacts {
    LoadFacts {
        concurrency: None,
        rate_per_s: Some(10.0),
        exhausted: Some(0),
        ..closed()
    }
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 1e-6)
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
    let got = LoadSummary::of(&samples, closed());
    let ttft = got.waits.ttft.expect("two");
    // 100 and 300 ms: rank 0.95 of 1, 0.99 of 1.
    assert_eq!(
        (ttft.avg_ms, ttft.p50_ms, ttft.max_ms),
        (200.0, 200.0, 300.0)
    );
    assert!(near(Some(ttft.p95_ms), 290.0) && near(Some(ttft.p99_ms), 298.0));
    let latency = got.waits.latency.expect("two");
    assert_eq!((latency.avg_ms, latency.n), (400.0, 2));
    // 200 ms over ten gaps.
    assert_eq!(got.tpot_ms(), Some(20.0));
    assert!(near(got.error_rate(), 1.0 / 3.0));
    assert_eq!((got.sent(), got.warmup, got.round.cut), (4, 1, 1));
    // Sends at 500, 1000, 1100 and 1200 ms.
    assert!(near(got.achieved_per_s, 3.0 / 0.7));
    assert_eq!(got.open, None);
    assert!(!got.is_not_streamed());
    // 22 tokens from 1000 to 1610 ms.
    assert!(near(got.round.token_throughput, 22.0 / 0.61));
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
    let facts = LoadFacts {
        slo: Some(slo),
        not_sent: 5,
        exhausted: Some(1),
        ..open()
    };
    let got = LoadSummary::of(&samples, facts);
    let ttft = got.waits.ttft.expect("two");
    // 100, and 100 after 50 of waiting.
    assert_eq!((ttft.avg_ms, ttft.max_ms), (125.0, 150.0));
    assert_eq!(got.waits.latency.expect("two").max_ms, 350.0);
    let open = got.open.as_ref().expect("open");
    assert_eq!(open.from_sent.ttft.expect("two").max_ms, 100.0);
    assert_eq!(open.from_sent.latency.expect("two").max_ms, 300.0);
    // 0, 50 and 100 ms, the failure too: rank 0.99 of 2 is 1.98.
    let lateness = open.lateness.expect("three");
    assert_eq!(
        (lateness.avg_ms, lateness.max_ms, lateness.n),
        (50.0, 100.0, 3)
    );
    assert!(near(Some(lateness.p99_ms), 99.0));
    assert!(near(open.scheduled_per_s, 10.0));
    assert!(near(got.achieved_per_s, 2.0 / 0.3));
    assert_eq!(open.exhausted, Some(1));
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
    let got = LoadSummary::of(&samples, open());
    let open = got.open.as_ref().expect("open");
    let (due, sent) = (got.waits.latency, open.from_sent.latency);
    let (due, sent) = (due.expect("100"), sent.expect("100"));
    // Request 50 takes 2000 ms; the one k behind it is due at 20k, sent at 2000 + 10 (k − 1), so takes 2000 − 10k.
    // The largest two of 100 are 2000 and 1990: rank 0.99 of 99 is 98.01.
    assert!(near(Some(due.p99_ms), 1990.1), "{due:?}");
    // 50 requests take 10 ms; the median is of 10 and 1510.
    assert!(near(Some(due.p50_ms), 760.0), "{due:?}");
    // One request in a hundred took long: p99 is 0.01 of the way to it.
    assert!(near(Some(sent.p99_ms), 10.0 + 0.01 * 1990.0), "{sent:?}");
    assert_eq!((sent.p95_ms, sent.max_ms), (10.0, 2000.0));
}

#[test]
fn hits_are_those_of_successes_once_any_reply_says_so() {
    let samples = [
        repeated(plain(0, 100, Some(false)), false),
        repeated(plain(100, 200, None), false),
        repeated(plain(300, 10, Some(true)), true),
        failed(repeated(plain(400, 5, Some(true)), true)),
    ];
    let got = LoadSummary::of(&samples, closed());
    assert!(near(got.response_cache_hit_rate, 1.0 / 3.0));
    assert_eq!(got.hit_by, Some(HitBy::Response));
    let n = |(part, waits): &(Part, Waits)| {
        let latency = waits.latency.expect("some");
        (part.name(), latency.avg_ms, latency.n)
    };
    let parts: Vec<_> = got.splits.iter().map(n).collect();
    let wanted = [
        ("first_use", 150.0, 2),
        ("repeat", 10.0, 1),
        ("hit", 10.0, 1),
        ("miss", 150.0, 2),
    ];
    assert_eq!(parts, wanted);
    assert!(got.splits.iter().all(|(_, waits)| waits.ttft.is_none()));
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
    let got = LoadSummary::of(&samples, closed());
    assert_eq!(got.round.prefix_cache_hit_rate, Some(0.0));
    assert_eq!(got.response_cache_hit_rate, None);
    assert_eq!(got.hit_by, Some(HitBy::Prefix));
    let samples = [warmup(plain(0, 1, Some(false))), plain(10, 1, None)];
    let got = LoadSummary::of(&samples, closed());
    assert_eq!(got.response_cache_hit_rate, Some(0.0));
    assert_eq!(got.round.prefix_cache_hit_rate, None);
}

#[test]
fn prefix_hits_split_where_no_whole_reply_is_cached() {
    let cached = |sample, tokens| Sample {
        cached_tokens: Some(tokens),
        ..sample
    };
    let samples = [cached(success(0, 300), 0), cached(success(0, 100), 60)];
    let got = LoadSummary::of(&samples, closed());
    assert_eq!(got.round.prefix_cache_hit_rate, Some(0.3));
    let ttft: Vec<_> = got
        .splits
        .iter()
        .map(|(part, waits)| (*part, waits.ttft.expect("one").avg_ms))
        .collect();
    assert_eq!(ttft, [(Part::Hit, 100.0), (Part::Miss, 300.0)]);
}

#[test]
fn nothing_sent_has_no_figures() {
    for facts in [closed(), open()] {
        let is_open = facts.exhausted.is_some();
        let got = LoadSummary::of(&[], facts);
        assert_eq!((got.waits.ttft, got.waits.latency), (None, None));
        assert_eq!((got.tpot_ms(), got.error_rate()), (None, None));
        assert_eq!(
            (got.response_cache_hit_rate, got.achieved_per_s),
            (None, None)
        );
        assert!(got.splits.is_empty() && !got.is_not_streamed());
        assert_eq!(got.open.is_some(), is_open);
        if let Some(open) = got.open {
            assert_eq!((open.scheduled_per_s, open.lateness), (None, None));
        }
    }
    // One request, or several at the same time, are no rate.
    let got = LoadSummary::of(&[due(success(5, 1), 5)], open());
    assert_eq!(got.open.expect("open").scheduled_per_s, None);
}
