//! Compares a client's measurements with the server's log.

use std::collections::HashMap;
use std::fs;

/// Stamps of one request, in nanoseconds of one clock: begin, first token, last token.
type Stamps = [i64; 3];

/// A client's errors against the truth, over the requests of a run.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    pub ttft_mean_ms: f64,
    pub ttft_p99_ms: f64,
    /// Mean over the requests of the error in their mean time between tokens.
    pub itl_mean_us: f64,
}

impl Errors {
    /// Compares `samples` with the truth by request id, without the `skipped` that were sent first; every request except
    /// those of a set-up must be in both.
    pub fn of(
        samples: &HashMap<String, Stamps>,
        truth_file: &str,
        tokens: usize,
        skipped: usize,
    ) -> Errors {
        let truth = lines_of_stamps(truth_file);
        let mut ttft_ms = Vec::new();
        let mut itl_us = Vec::new();
        let mut samples: Vec<_> = samples.iter().collect();
        samples.sort_by_key(|(_, [send, ..])| *send);
        for (id, [send, first, last]) in samples.into_iter().skip(skipped) {
            let [read, wrote_first, wrote_last] =
                truth.get(id).unwrap_or_else(|| panic!("no truth of {id}"));
            ttft_ms.push(((first - send) - (wrote_first - read)) as f64 / 1e6);
            let gaps = (tokens - 1) as f64;
            itl_us.push(((last - first) - (wrote_last - wrote_first)) as f64 / gaps / 1e3);
        }
        ttft_ms.sort_by(f64::total_cmp);
        let mean_of_size = |values: &[f64]| {
            values.iter().map(|value| value.abs()).sum::<f64>() / values.len() as f64
        };
        Errors {
            ttft_mean_ms: mean_of_size(&ttft_ms),
            ttft_p99_ms: ttft_ms[(ttft_ms.len() - 1) * 99 / 100],
            itl_mean_us: mean_of_size(&itl_us),
        }
    }
}

/// Reads the stamps that floor and server write: `ID BEGIN FIRST LAST` a line.
pub fn lines_of_stamps(file: &str) -> HashMap<String, Stamps> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let stamps = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next()?.to_string();
        let mut next = || words.next()?.parse().ok();
        Some((id, [next()?, next()?, next()?]))
    };
    text.lines()
        .map(|line| stamps(line).unwrap_or_else(|| panic!("{file}: {line}")))
        .collect()
}

/// Reads the stamps that the client writes with `--samples`.
pub fn samples_of_client(file: &str) -> HashMap<String, Stamps> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let header = lines.next().expect("a header");
    let run_id = header["run_id"].as_str().expect("a run id").to_string();
    lines
        .filter(|line| line.get("series").is_none())
        .map(|sample| {
            assert_eq!(sample["ok"], true, "{sample}");
            let ns = |key: &str| sample[key].as_i64().unwrap_or_else(|| panic!("{key}"));
            let stamps = [ns("t_send_ns"), ns("t_first_ns"), ns("t_last_ns")];
            (format!("{run_id}-{}", sample["id"]), stamps)
        })
        .collect()
}
