//! Golden files, and samples that the tests of several formats share.

use crate::sample::{Sample, TokenSource};
use crate::stats::client::{ClientStats, ClientSummary};
use crate::vitals::Vitals;

pub const MS: u64 = 1_000_000;

/// Compares the text with tests/golden/NAME. UPDATE_GOLDEN=1 writes the file instead, so that its diff can be read.
pub fn check(name: &str, text: &str) {
    hold(&format!("tests/golden/{name}"), text, "UPDATE_GOLDEN");
}

/// Compares the text with a file of the repository, or writes the file if the environment variable `variable` is set.
pub fn hold(path: &str, text: &str, variable: &str) {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os(variable).is_some() {
        std::fs::write(&path, text).expect(&path);
    }
    let kept = std::fs::read_to_string(&path).expect(&path);
    let lines = text.lines().zip(kept.lines());
    let differs = lines.enumerate().find(|(_, (new, old))| new != old);
    assert!(
        text == kept,
        "{path}: first difference (line counted from 0, text now, text in the file): {differs:?}; set {variable}=1 to rewrite the file"
    );
}

/// Returns a success of 1000 prompt tokens, with the first of 5 tokens `ttft_ms` after the send and the others 20 ms
/// apart.
pub fn five_tokens(id: u64, send_ms: u64, ttft_ms: u64, cached: u64) -> Sample {
    let first_ms = send_ms + ttft_ms;
    Sample {
        id,
        t_send_ns: send_ms * MS,
        t_first_ns: Some(first_ms * MS),
        t_last_ns: Some((first_ms + 80) * MS),
        t_end_ns: (first_ms + 81) * MS,
        prompt_tokens: Some(1000),
        cached_tokens: Some(cached),
        completion_tokens: Some(5),
        token_source: Some(TokenSource::Usage),
        token_events: 5,
        ..Sample::default()
    }
}

/// Returns a client that was watched for these seconds, each with its CPU time in milliseconds and its throttled
/// periods.
pub fn client(seconds: &[(u64, u64)]) -> ClientSummary {
    let mut client = ClientStats::default();
    for (k, &(cpu_ms, throttled)) in (0..).zip(seconds) {
        client.add(&second(k, cpu_ms, throttled), 0);
    }
    client.summary(0, false)
}

/// Returns second `k` of a client on one core, with 20 probes 0.14 ms late.
fn second(k: u64, cpu_ms: u64, throttled: u64) -> Vitals {
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
