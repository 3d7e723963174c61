//! The printed formats against golden files, from fixed samples.

use std::fmt::Write;

use super::*;
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, TokenSource};
use crate::stats::{Clock, Stats, Summary};
use crate::vitals::Vitals;

pub(super) const MS: u64 = 1_000_000;

/// Request `k` of 2 contexts, sent at `k` · 100 ms: first token after `ttft_ms`, 5 tokens 20 ms apart.
fn success(k: u64, ttft_ms: u64, cached: u64) -> Sample {
    let send = k * 100 * MS;
    let first = send + ttft_ms * MS;
    Sample {
        id: k,
        labels: Labels {
            context: Some(k % 2),
            rotation: Some(k / 2),
            wanted_output_tokens: Some(5),
            ..Labels::default()
        },
        t_send_ns: send,
        t_first_ns: Some(first),
        t_last_ns: Some(first + 80 * MS),
        t_end_ns: first + 81 * MS,
        prompt_tokens: Some(1000),
        cached_tokens: Some(cached),
        completion_tokens: Some(5),
        token_source: Some(TokenSource::Usage),
        token_events: 5,
        gaps_us: vec![20_000; 4],
        ..Sample::default()
    }
}

/// Second `k` on one core, with 20 probes 0.14 ms late.
pub(super) fn second(k: u64, cpu_ms: u64, throttled: u64) -> Vitals {
    Vitals {
        t_start_ns: k * 1000 * MS,
        t_end_ns: (k + 1) * 1000 * MS,
        t_first_probe_ns: k * 1000 * MS,
        lags_us: vec![140; 20],
        cpu_ms: Some(cpu_ms),
        cores_allowed: Some(1.0),
        periods: Some(10),
        throttled_periods: Some(throttled),
        steal_share: Some(0.0),
        open_files: Some(30),
        open_files_limit: Some(1024),
    }
}

/// Two cold requests, two warm ones, two failures, one cut, one resent; a client that uses up its core.
pub(super) fn fixed_run() -> (Stats, Summary) {
    let mut stats = Stats::default();
    let failed = |k, kind, reason: &str, status| Sample {
        failure: Some(Failure::new(kind, reason)),
        status,
        ..Sample {
            token_events: 0,
            ..success(k, 10, 0)
        }
    };
    for sample in [
        success(0, 500, 0),
        success(1, 700, 30),
        success(2, 100, 992),
        Sample {
            resent: true,
            ..success(3, 120, 992)
        },
        failed(4, FailKind::Http, "{\"error\":\"overloaded\"}", Some(503)),
        failed(
            5,
            FailKind::TimeoutIdle,
            "no byte for --idle-timeout",
            Some(200),
        ),
        Sample {
            phase: Phase::Cut,
            ..success(6, 10, 0)
        },
    ] {
        stats.add(&sample);
    }
    stats.add_vitals(&second(0, 120, 0), 0);
    stats.add_vitals(&second(1, 950, 3), 0);
    let clock = Clock {
        now_ns: 2000 * MS,
        in_flight: 3,
        peak: 4,
        ..Clock::default()
    };
    let summary = stats.summary(&clock);
    (stats, summary)
}

/// Compares with tests/golden/NAME; UPDATE_GOLDEN=1 writes it instead, for a reader of the diff.
pub fn check(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect(&path);
    }
    let golden = std::fs::read_to_string(&path).expect(&path);
    assert_eq!(text, golden, "{path}; make golden rewrites it");
}

#[test]
fn golden_block() {
    let (mut stats, summary) = fixed_run();
    let mut text = String::new();
    let interval = stats.end_interval();
    live::block(&mut text, &summary, &interval, 5.0).expect("a String takes all");
    // The next interval has nothing in it.
    live::block(&mut text, &summary, &stats.end_interval(), 5.0).expect("a String takes all");
    check("benchmark_block.txt", &text);
}

#[test]
fn golden_final_report() {
    let (_, summary) = fixed_run();
    let mut text = String::new();
    finish::report(&mut text, &summary, "stopped by a signal").expect("a String takes all");
    let empty = Stats::default().summary(&Clock::default());
    writeln!(text, "\n--- nothing measured ---").expect("a String takes all");
    finish::report(&mut text, &empty, "stopped by a signal").expect("a String takes all");
    check("benchmark_final.txt", &text);
}

#[test]
fn golden_json() {
    let (_, summary) = fixed_run();
    let about = serde_json::json!({"command": "benchmark", "model": "m"});
    let result = json::ResultFile::new(&about, &summary, Some("the duration is over"));
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    let text = text.replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1);
    check("benchmark_result.json", &format!("{text}\n"));
}
