//! `load` with a trace: shared ids become cache hits on the server, in little memory.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::util::{Cmd, Dir, Server, json_file, until};

/// Lines of conversations: each continues an earlier one's blocks, or starts anew. No length is a multiple of 16.
struct Trace {
    lines: Vec<(u64, Vec<u64>)>,
}

const BLOCK: u64 = 512;

impl Trace {
    fn of(count: usize) -> Trace {
        let mut state: u64 = 9;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut lines: Vec<(u64, Vec<u64>)> = Vec::new();
        let mut next_id = 0;
        for _ in 0..count {
            let mut ids = Vec::new();
            if let Some(last) = lines.len().checked_sub(1).filter(|_| draw(4) > 0) {
                let (_, from) = &lines[last - draw(20.min(last as u64 + 1)) as usize];
                let kept = draw(from.len() as u64 + 1) as usize;
                ids.extend(&from[..kept.min(5)]);
            }
            for _ in 0..=draw(3) {
                ids.push(next_id);
                next_id += 1;
            }
            let tokens = BLOCK * (ids.len() as u64 - 1) + 16 * draw(32) + 1 + draw(15);
            lines.push((tokens, ids));
        }
        Trace { lines }
    }

    /// Returns one line a request, `gap_ms` apart.
    fn text(&self, gap_ms: f64) -> String {
        let mut text = String::new();
        for (k, (tokens, ids)) in self.lines.iter().enumerate() {
            let timestamp = k as f64 * gap_ms;
            let _ = writeln!(
                text,
                r#"{{"timestamp": {timestamp}, "input_length": {tokens}, "output_length": 1, "hash_ids": {ids:?}}}"#
            );
        }
        text
    }

    /// Returns the number of whole blocks of 16 tokens in all prompts, and how many of them are distinct.
    ///
    /// A block of 512 is identified by its id and those before it; here an id always follows the same ids.
    fn blocks(&self) -> (u64, u64) {
        let mut all = 0;
        let mut different: HashSet<(u64, u64)> = HashSet::new();
        for (tokens, ids) in &self.lines {
            all += tokens / 16;
            for (place, id) in ids.iter().enumerate() {
                let of_this = (tokens - BLOCK * place as u64).min(BLOCK) / 16;
                different.extend((0..of_this).map(|block| (*id, block)));
            }
        }
        (all, different.len() as u64)
    }
}

/// Mock options: room for all blocks of the trace, and no delays.
const ROOMY: [&str; 12] = [
    "--base",
    "0s",
    "--itl",
    "0s",
    "--prefill-rate",
    "1000M",
    "--tier1-tokens",
    "900M",
    "--max-running",
    "4096",
    "--seed",
    "1",
];

#[test]
fn a_trace_of_20000_lines_shares_what_its_ids_say_in_little_memory() {
    let server = Server::start(&ROOMY);
    let dir = Dir::new();
    let trace = Trace::of(20_000);
    // 20,000 requests at 100 times the speed take 12 s.
    dir.write("t.jsonl", trace.text(60.0));
    let args = [
        "--endpoint",
        server.addr(),
        "--trace",
        "t.jsonl",
        "--speed",
        "100",
        "--warmup",
        "0",
    ];
    let running = Cmd::new(&dir)
        .arg("load")
        .args(args)
        .args(["--max-inflight", "64", "--output", "r.json"])
        .deadline(Duration::from_secs(240))
        .start();
    let peak = running.peak_mib();
    let output = running.wait();
    assert!(output.status.success(), "{output}");
    assert!(peak > 5.0 && peak < 300.0, "{peak} MiB\n{output}");
    let (all, different) = trace.blocks();
    let mut hits = 0;
    let mut tokens = 0;
    let mut requests = HashSet::new();
    for told in server.truth() {
        let id = told["id"].as_str().expect("every request has an id");
        let (_, place) = id.split_once('-').expect("RUN-ID");
        // Set-up requests have no place in the trace.
        let Ok(place) = place.parse::<usize>() else {
            continue;
        };
        assert!(requests.insert(place), "{id} came twice");
        let (wanted, _) = trace.lines[place];
        assert_eq!(told["prompt_tokens"], json!(wanted), "{id}");
        hits += told["hit_tier1_tokens"].as_u64().expect("a count");
        tokens += wanted;
    }
    assert_eq!(requests.len(), 20_000);
    // Each distinct block is computed once, all others are hits, in whatever order requests arrive.
    assert_eq!(hits, 16 * (all - different));
    let result = json_file(&dir, "r.json");
    assert_eq!(result["successful_requests"], 20_000);
    let number = |key: &str| result[key].as_f64().expect(key);
    let rate = number("prefix_cache_hit_rate");
    assert!((rate - hits as f64 / tokens as f64).abs() < 1e-9, "{rate}");
    let perfect = number("perfect_prefix_cache_hit_rate");
    assert!((rate - perfect).abs() < 1e-9, "{rate} {perfect}");
}

#[test]
fn a_trace_that_changes_during_the_run_is_an_error() {
    let server = Server::start(&ROOMY);
    let dir = Dir::new();
    let line = |k: u64, id: u64| {
        let blocks: Vec<u64> = (id..id + 10).collect();
        let timestamp = 10 * k;
        format!(
            r#"{{"timestamp": {timestamp}, "input_length": 5000, "output_length": 1, "hash_ids": {blocks:?}}}"#
        ) + "\n"
    };
    // 300 KB, of which a fraction is read at once, in 3 s.
    let text = |id: u64| (0..2000).map(|k| line(k, id)).collect::<String>();
    let path = dir.write("t.jsonl", text(100_000));
    let args = "load --trace t.jsonl --speed 7 --warmup 0 --max-inflight 4 --samples s.jsonl --output r.json";
    let running = Cmd::new(&dir)
        .args(args.split(' '))
        .args(["--endpoint", server.addr()])
        .deadline(Duration::from_secs(60))
        .start();
    let samples = dir.path().join("s.jsonl");
    until("samples", || {
        std::fs::read_to_string(&samples).is_ok_and(|text| text.lines().count() >= 3)
    });
    // The lengths stay the same, so that every record still begins where it did.
    std::fs::write(&path, text(200_000)).expect("written");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(2), "{output}");
    let wanted = "[ERROR] --trace t.jsonl: the file was changed during the run";
    assert!(output.stderr.contains(wanted), "{output}");
    assert!(!dir.path().join("r.json").exists(), "no figures");
}
