use super::*;
use crate::sample::{FailKind, Failure, Sample};
use crate::stats::facts::Facts;
use crate::stats::figures::Figures;
use crate::stats::records::Records;

const MS: u64 = 1_000_000;

/// Returns a success with five token events and ten tokens: the first event after a fifth of its time in flight, the
/// last at its end.
fn sample(send_ms: u64, end_ms: u64) -> Sample {
    Sample {
        t_send_ns: send_ms * MS,
        t_first_ns: Some((send_ms + (end_ms - send_ms) / 5) * MS),
        t_last_ns: Some(end_ms * MS),
        t_end_ns: end_ms * MS,
        token_events: 5,
        completion_tokens: Some(10),
        ..Sample::default()
    }
}

fn figures(wanted: u64, samples: &[Sample]) -> Figures {
    let facts = Facts {
        concurrency: Some(wanted),
        ..Facts::default()
    };
    Records::kept().with(samples).figures(&facts)
}

fn near(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() < 1e-9
}

#[test]
fn the_window_is_the_time_with_all_connections_busy() {
    // Two connections: one sends at 0, 100, 200, 300 and 400 ms, the other at 50, 152, 254 and 356 ms, 2 ms after the
    // end of the request before. They are both busy from 50 to 456 ms; the mean time in flight is 100 ms, so that a
    // hand-over may take 5 ms.
    let one = (0..5).map(|k| sample(100 * k, 100 * (k + 1)));
    let other = (0..4).map(|k| sample(50 + 102 * k, 150 + 102 * k));
    let samples: Vec<Sample> = one.chain(other).collect();
    let got = figures(2, &samples).steady.expect("a window");
    assert!(near(got.duration_s, 0.406), "{got:?}");
    // Half of the first request of the one connection lies before the window, and 44 of 100 ms of the last behind it.
    let requests = 0.5 + 3.0 + 0.56 + 4.0;
    assert!(near(got.requests_per_s, requests / 0.406), "{got:?}");
    // Events of the first come at 20, 40, 60, 80 and 100 ms and count as evenly spread, two tokens each: from 50 to 100
    // ms one and 50 / 80 of four. Of the last, which come from 420 to 500 ms, one and 36 / 80 of four by 456 ms.
    let tokens = 2.0 * (1.0 + 4.0 * 50.0 / 80.0) + 70.0 + 2.0 * (1.0 + 4.0 * 36.0 / 80.0);
    let tokens_per_s = got.tokens_per_s.expect("counted tokens");
    assert!(near(tokens_per_s, tokens / 0.406), "{got:?}");
}

#[test]
fn a_pass_that_is_never_full_for_two_requests_or_that_is_open_has_no_window() {
    let row = |n: u64| (0..n).map(|k| sample(100 * k, 100 * (k + 1)));
    let all: Vec<Sample> = row(4).collect();
    assert!(figures(1, &all).steady.is_some());
    assert_eq!(figures(2, &all).steady, None);
    assert_eq!(figures(1, &all[..1]).steady, None);
    assert_eq!(figures(1, &[]).steady, None);
    // A pause of 6 ms is more than a twentieth of 100 ms, and leaves two windows of one request each.
    let apart = [sample(0, 100), sample(106, 206)];
    assert_eq!(figures(1, &apart).steady, None);
    let open = all.iter().map(|one| Sample {
        t_due_ns: Some(one.t_send_ns),
        ..one.clone()
    });
    assert_eq!(figures(1, &open.collect::<Vec<_>>()).steady, None);
    let windowed = Facts {
        concurrency: Some(1),
        window_ns: Some((0, 400 * MS)),
        ..Facts::default()
    };
    assert_eq!(Records::kept().with(&all).figures(&windowed).steady, None);
}

#[test]
fn failures_take_part_in_the_load_and_cut_requests_with_their_events() {
    let failed = Sample {
        failure: Some(Failure::new(FailKind::Http, "x")),
        ..sample(100, 200)
    };
    let cut = Sample {
        phase: Phase::Cut,
        completion_tokens: None,
        ..sample(200, 300)
    };
    let plain = Sample {
        t_first_ns: None,
        t_last_ns: None,
        token_events: 0,
        ..sample(300, 400)
    };
    let got = figures(1, &[sample(0, 100), failed, cut, plain]);
    let got = got.steady.expect("a window");
    assert!(near(got.duration_s, 0.4), "{got:?}");
    assert!(near(got.requests_per_s, 2.0 / 0.4), "{got:?}");
    // Nobody counted the tokens of events here, so that each of the five events of the cut request is one.
    let tokens = 10.0 + 5.0 + 10.0;
    assert_eq!(
        got.tokens_per_s.map(|of| near(of, tokens / 0.4)),
        Some(true),
        "{got:?}"
    );
    let uncounted = Sample {
        completion_tokens: None,
        ..sample(0, 100)
    };
    let next = Sample {
        completion_tokens: None,
        ..sample(100, 200)
    };
    let got = figures(1, &[uncounted, next]).steady.expect("a window");
    assert_eq!((got.tokens_per_s, got.requests_per_s), (None, 10.0));
}

/// Finds the window by trying every pair of stamps.
fn by_trial(spans: &[(u64, u64)], wanted: u64, (from, to): (u64, u64)) -> Option<(u64, u64)> {
    let least = (1..=wanted.max(1)).find(|n| 100 * n >= 95 * wanted)?;
    let mean = spans.iter().map(|(send, end)| end - send).sum::<u64>() / spans.len() as u64;
    let stamps = spans.iter().flat_map(|&(send, end)| [send, end]);
    let mut stamps: Vec<u64> = stamps.chain([from, to]).collect();
    stamps.retain(|stamp| (from..=to).contains(stamp));
    stamps.sort_unstable();
    stamps.dedup();
    let is_full = |at: u64| {
        let in_flight = spans.iter().filter(|(send, end)| *send <= at && at < *end);
        in_flight.count() as u64 >= least
    };
    let is_window = |a: usize, b: usize| {
        let mut pause = 0;
        let parts = stamps[a..=b].windows(2);
        let all = parts.clone().all(|part| {
            pause = match is_full(part[0]) {
                true => 0,
                false => pause + part[1] - part[0],
            };
            pause <= mean / 20
        });
        all && is_full(stamps[a]) && is_full(stamps[b - 1])
    };
    let mut best: Option<(u64, u64)> = None;
    for a in 0..stamps.len() {
        for b in a + 1..stamps.len() {
            let length = stamps[b] - stamps[a];
            let is_longer = best.is_none_or(|(from, to)| length > to - from);
            if is_longer && length >= 2 * mean && is_window(a, b) {
                best = Some((stamps[a], stamps[b]));
            }
        }
    }
    best
}

#[test]
fn the_window_is_the_one_that_trying_every_pair_of_stamps_finds() {
    let mut found = 0;
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let workers = rng.u64(1..5);
        let mut spans = Vec::new();
        for _ in 0..workers {
            let mut at = rng.u64(0..40);
            for _ in 0..rng.u64(1..7) {
                let end = at + rng.u64(0..60);
                spans.push((at, end));
                // Most requests follow at once, some after a pause, and some overlap the one before.
                at = match rng.u64(0..10) {
                    0 => end + rng.u64(0..30),
                    1 => end.saturating_sub(3),
                    _ => end + rng.u64(0..3),
                };
            }
        }
        let last = spans.iter().map(|(_, end)| *end).max().unwrap_or(0);
        let span_ns = match rng.bool() {
            true => (0, last),
            false => (rng.u64(0..=last / 2), rng.u64(last / 2..=last)),
        };
        let samples = spans.iter().map(|&(send, end)| Sample {
            t_send_ns: send,
            t_end_ns: end,
            ..Sample::default()
        });
        let records: Vec<Record> = samples.map(|sample| Record::from(&sample)).collect();
        let wanted = rng.u64(1..=workers);
        let finder = Finder {
            records: &records,
            wanted,
            span_ns,
            tokens_an_event: None,
        };
        let got = finder.window();
        assert_eq!(
            got,
            by_trial(&spans, wanted, span_ns),
            "seed {seed}: {spans:?}"
        );
        found += u64::from(got.is_some());
    }
    assert!(found > 500, "{found}");
}
