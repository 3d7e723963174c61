//! Figures of closed and open loops, of replies that are not streamed, and of repeats and hits.

use super::*;

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

fn open() -> Facts {
    Facts {
        rate_per_s: Some(10.0),
        exhausted: Some(0),
        ..Facts::default()
    }
}

/// Returns the mean of a time and the number of its values.
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
    // TTFT is 100 and 300 ms: p95 is at rank 0.95 of 1, p99 at rank 0.99 of 1.
    assert_eq!((ttft.avg, ttft.p50, ttft.max), (200.0, 200.0, 300.0));
    assert!(near(Some(ttft.p95), 290.0) && near(Some(ttft.p99), 298.0));
    let latency = got.time(Time::Latency).expect("two");
    assert_eq!((latency.avg, latency.n), (400.0, 2));
    // ITL is 200 ms over ten gaps.
    assert_eq!(mean(&got, Time::Itl), Some((20.0, 2)));
    assert!(near(got.error_rate(), 1.0 / 3.0));
    assert_eq!((got.requests + got.cut, got.warmup, got.cut), (4, 1, 1));
    // Sends are at 500, 1000, 1100 and 1200 ms.
    assert!(near(got.achieved_per_s, 3.0 / 0.7));
    assert!(!got.is_open);
    assert!(!got.is_not_streamed());
    // The replies have 22 tokens from 1000 to 1610 ms.
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
    // TTFT is 100 ms, and 100 ms after 50 ms of waiting.
    assert_eq!((ttft.avg, ttft.max), (125.0, 150.0));
    assert_eq!(got.time(Time::Latency).expect("two").max, 350.0);
    assert!(got.is_open);
    let sent = [Time::TtftFromSent, Time::LatencyFromSent];
    let sent = sent.map(|time| got.time(time).expect("two").max);
    assert_eq!(sent, [100.0, 300.0]);
    // Lateness is 0, 50 and 100 ms, with that of the failure: rank 0.99 of 2 is 1.98.
    let lateness = got.time(Time::Lateness).expect("three");
    assert_eq!((lateness.avg, lateness.max, lateness.n), (50.0, 100.0, 3));
    assert!(near(Some(lateness.p99), 99.0));
    assert!(near(got.scheduled_per_s, 10.0));
    assert!(near(got.achieved_per_s, 2.0 / 0.3));
    // The second request waited 150 ms. Requests that were not sent are no failure of the server.
    let goodput = got.goodput.expect("an SLO");
    assert_eq!((goodput.requests, goodput.of_requests), (1, 3));
    // There are 11 tokens from the first send at 1000 ms to the end of the failure at 1515 ms.
    assert!(near(goodput.tokens_per_s, 11.0 / 0.515));
}

/// Sends 100 requests, due 20 ms apart, one at a time to a server that takes 10 ms for each and stands still for 2 s
/// from 1 s on. Requests that are due in that time are sent late and then answered at once.
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
    // Request 50 takes 2000 ms. The k-th request after it is due 20k ms later and sent 2000 + 10 (k − 1) ms later, so
    // it takes 2000 − 10k ms. The largest two of the 100 values are 2000 and 1990: rank 0.99 of 99 is 98.01.
    assert!(near(Some(due.p99), 1990.1), "{due:?}");
    // Since 50 requests take 10 ms, the median lies between 10 and 1510.
    assert!(near(Some(due.p50), 760.0), "{due:?}");
    // From the send, one request in a hundred took long: p99 is 0.01 of the way to it.
    assert!(near(Some(sent.p99), 10.0 + 0.01 * 1990.0), "{sent:?}");
    assert_eq!((sent.p95, sent.max), (10.0, 2000.0));
}

#[test]
fn hits_are_counted_over_successes_once_any_reply_reports_one() {
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
fn a_reply_of_the_warm_up_shows_that_a_cache_reports_hits() {
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
    // The server cached 60 of 2 x 1000 prompt tokens.
    assert_eq!(got.all.prefix_cache_hit_rate, Some(0.03));
    assert_eq!(mean(&got, Time::TtftHit), Some((100.0, 1)));
    assert_eq!(mean(&got, Time::TtftMiss), Some((300.0, 1)));
    // The samples do not say which prompts repeat, so there is no other split.
    let split = (got.time(Time::TtftFirstUse), got.time(Time::TtftRepeat));
    assert_eq!(split, (None, None));
}

#[test]
fn a_hit_of_no_more_than_the_chat_template_is_a_miss() {
    let cached = |ttft, tokens| Sample {
        cached_tokens: Some(tokens),
        ..success(0, ttft)
    };
    // Every request hits the 20 tokens that all prompts begin with, as with llama.cpp.
    let samples = [cached(300, 20), cached(100, 980), cached(200, 19)];
    let facts = Facts {
        common_tokens: Some(20),
        ..Facts::default()
    };
    let got = figures(&samples, facts);
    assert_eq!(mean(&got, Time::TtftHit), Some((100.0, 1)));
    assert_eq!(mean(&got, Time::TtftMiss), Some((250.0, 2)));
    assert_eq!(mean(&got, Time::LatencyMiss).map(|(_, n)| n), Some(2));
    // The rate is over all tokens that the server reported: 20 + 980 + 19 of 3 x 1000.
    assert!(near(got.all.prefix_cache_hit_rate, 1019.0 / 3000.0));
    assert!(near(got.all.text_hit_rate, 960.0 / 3000.0));
}

#[test]
fn first_turns_are_told_apart_from_the_history_of_their_sessions() {
    let turn = |turn, cached| Sample {
        labels: Labels {
            turn: Some(turn),
            ..Labels::default()
        },
        cached_tokens: Some(cached),
        ..success(0, 1)
    };
    let facts = || Facts {
        common_tokens: Some(30),
        ..Facts::default()
    };
    // In each first turn 30 of 1000 tokens are the cached template, and one of them has 40 more.
    let samples = [turn(0, 30), turn(1, 900), turn(0, 70), turn(1, 900)];
    let got = figures(&samples, facts());
    assert_eq!(got.first_turns.requests, 2);
    assert!(near(got.first_turns.prefix_cache_hit_rate, 0.05));
    assert!(near(got.first_turns.text_hit_rate, 0.02));
    assert!(near(got.first_turn_hit_rate, 0.05));
    // Without a second turn first turns cannot be told apart from history, but they are still first turns.
    let got = figures(&[turn(0, 70)], facts());
    assert_eq!(got.first_turn_hit_rate, None);
    assert!(near(got.first_turns.text_hit_rate, 0.04));
}

#[test]
fn a_pass_that_sent_nothing_has_no_figures() {
    for facts in [Facts::default(), open()] {
        let is_open = facts.exhausted.is_some();
        let got = figures(&[], facts);
        assert!(
            Time::NAMES
                .iter()
                .all(|(time, _)| got.time(*time).is_none())
        );
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
    // One request, or several sent at the same time, have no rate.
    let got = figures(&[due(success(5, 1), 5)], open());
    assert_eq!(got.scheduled_per_s, None);
}
