//! `benchmark` against mocks whose cache works or not, and the verdict that it ends with.

use serde_json::Value;

use super::{Cmd, Dir, Output, Server, json_file};

/// A prefill of 1,000 tokens takes 10 ms; 100,000 tokens fit on the device.
const QUICK: [&str; 6] = ["--itl", "1ms", "--base", "2ms", "--prefill-rate", "100k"];
/// Nothing fits.
pub const NO_CACHE: [&str; 4] = ["--tier1-tokens", "0", "--tier2-tokens", "0"];

pub fn mock(words: &[&str]) -> Server {
    Server::start(&[&QUICK, words].concat())
}

/// Runs `benchmark` over contexts of 1,000 tokens; returns its output and its answer in JSON.
pub fn benchmark(server: &Server, words: &str) -> (Output, Value) {
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args([
            "benchmark",
            "--input-length",
            "1000",
            "--output-length",
            "2",
        ])
        .args(["--output", "r.json", "--samples", "s.jsonl"])
        .args(["--endpoint", &server.url()])
        .args(words.split(' '))
        .ok();
    let answer = json_file(&dir, "r.json")["kv_cache"].clone();
    // The verdict comes from what the server does, not from its mark.
    let samples = dir.read("s.jsonl");
    let unmarked = samples.replacen("\"mock\":true", "\"mock\":false", 1);
    assert_ne!(samples, unmarked);
    dir.write("unmarked.jsonl", unmarked.as_bytes());
    let report = Cmd::new(&dir).args(["report", "-i", "unmarked.jsonl"]).ok();
    let line = sentence(&output);
    assert!(report.stdout.contains(line), "{line}\n{report}");
    (output, answer)
}

pub fn sentence(output: &Output) -> &str {
    let mut lines = output.stdout.lines();
    let line = lines.find(|line| line.starts_with("KV cache: "));
    line.unwrap_or_else(|| panic!("{output}"))
}

/// Checks the beginning and the end of the sentence, and the verdict in JSON.
pub fn check(server: &Server, words: &str, (begin, end, verdict): (&str, &str, &str)) -> Value {
    let (output, answer) = benchmark(server, words);
    let line = sentence(&output);
    assert!(line.starts_with(begin) && line.ends_with(end), "{output}");
    assert_eq!(answer["verdict"], verdict, "{output}");
    let next = output.stdout.lines().last().unwrap_or_default();
    assert_eq!(
        next,
        format!("Next: {}", answer["next"].as_str().expect("a command"))
    );
    answer
}

pub const CYCLE: &str = "--contexts 24 --max-inflight 1 --rotations 2";
