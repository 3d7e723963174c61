//! `find-rate` against a mock whose queue is known.

use std::time::Duration;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, Server, until};

fn json(dir: &Dir, name: &str) -> Value {
    let text = dir.read(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

fn find_rate(dir: &Dir, mock: &str, slo: &str, words: &str) -> Cmd {
    dir.write("slo.yaml", format!("slo:\n  {slo}\n"));
    let start = [
        "find-rate",
        "--backend",
        "mock",
        "--mock",
        mock,
        "--slo-file",
        "slo.yaml",
    ];
    Cmd::new(dir).args(start).args(words.split_whitespace())
}

/// Returns the report that a search has printed: from the head of its table on.
fn printed(output: &Output) -> &str {
    let at = output.stdout.find("Probe   ");
    &output.stdout[at.unwrap_or_else(|| panic!("{output}"))..]
}

#[test]
fn an_slo_that_no_request_meets_is_unresolved_at_once() {
    let dir = Dir::new();
    let words = "--max-tokens 1 --output r.json --samples s.jsonl";
    let output = find_rate(&dir, "base=30ms", "ttft_ms: 10", words).fails(3);
    let result = json(&dir, "r.json");
    assert_eq!(result["status"], "unresolved", "{output}");
    assert!(
        result["requests"].as_u64().is_some_and(|n| n < 200),
        "{output}"
    );
    for input in ["s.jsonl", "r.json"] {
        let report = Cmd::new(&dir).args(["report", "-i", input]).ok();
        assert_eq!(printed(&report), printed(&output), "{input}");
    }
}

#[test]
fn a_server_that_answers_nothing_ends_the_search_at_once() {
    let server = Server::start(&["--faults", "http:500"]);
    let dir = Dir::new();
    dir.write("slo.yaml", "slo:\n  ttft_ms: 100\n");
    let words = ["find-rate", "--slo-file", "slo.yaml", "--warmup", "0"];
    let command = Cmd::new(&dir).args(words).args(["--output", "r.json"]);
    let output = command.args(["--endpoint", &server.url()]).fails(1);
    let result = json(&dir, "r.json");
    assert_eq!(result["requests"], 5, "{output}");
    let why = result["why"].to_string();
    assert!(
        why.contains("the first 5 requests failed: http"),
        "{output}"
    );
}

#[test]
fn budgets_of_requests_and_of_time_are_kept() {
    let dir = Dir::new();
    let mock = "base=1ms,prefill_rate=10k";
    let words = "--input-tokens 40 --max-tokens 1 --budget-requests 300 --output r.json";
    let output = find_rate(&dir, mock, "ttft_ms: 20", words).fails(3);
    let result = json(&dir, "r.json");
    assert!(
        result["requests"].as_u64().is_some_and(|n| n <= 300),
        "{output}"
    );
    let words = "--input-tokens 40 --max-tokens 1 --budget-time 2s --output r.json";
    let command = find_rate(&dir, mock, "ttft_ms: 20", words);
    let output = command.deadline(Duration::from_secs(10)).fails(3);
    let why = json(&dir, "r.json")["why"].to_string();
    assert!(why.contains("the budget of time is spent"), "{output}");
}

#[test]
fn a_signal_ends_a_search_with_what_it_has() {
    let dir = Dir::new();
    let words = "--input-tokens 40 --max-tokens 1 --output r.json --samples s.jsonl";
    let running = find_rate(&dir, "base=1ms,prefill_rate=10k", "ttft_ms: 20", words).start();
    let samples = || std::fs::read_to_string(dir.path().join("s.jsonl")).unwrap_or_default();
    until("a probe", || samples().contains("\"series\":\"pass\""));
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
    let result = json(&dir, "r.json");
    assert_eq!(result["status"], "unresolved", "{output}");
    assert_eq!(result["why"], "stopped by a signal", "{output}");
    let probes = result["probes"].as_array().expect("probes");
    assert!(!probes.is_empty(), "{output}");
}

#[test]
fn a_rate_below_the_least_one_is_a_limit_that_was_missed() {
    let dir = Dir::new();
    // Each request fills the only slot for 5 ms: the rate is below 200/s.
    let mock = "base=5ms,prefill_rate=10M,itl=0s,max_running=1";
    let words = "--max-tokens 1 --budget-requests 1500 --min-rate 2000 --output r.json";
    let command = find_rate(&dir, mock, "ttft_ms: 500", words);
    let output = command.deadline(Duration::from_secs(60)).run();
    let result = json(&dir, "r.json");
    let wanted = match result["status"] == "confirmed" {
        true => {
            let said = "[ERROR] --min-rate 2000: the highest rate is ";
            assert!(output.stderr.contains(said), "{output}");
            1
        }
        false => 3,
    };
    assert_eq!(output.status.code(), Some(wanted), "{output}");
}

#[test]
fn wrong_options_are_named_before_anything_is_sent() {
    let dir = Dir::new();
    dir.write("slo.yaml", "slo:\n  ttft_ms: 100\n");
    for (words, wanted) in [
        ("--endpoint h", "[ERROR] --slo-file: not given; "),
        (
            "--endpoint h --slo-file slo.yaml --attainment 30%",
            "[ERROR] --attainment 30%: want 50% to 99.9%\n",
        ),
        (
            "--endpoint h --slo-file slo.yaml --budget-requests 0",
            "[ERROR] --budget-requests 0: want 1 or more\n",
        ),
        (
            "--endpoint h --slo-file slo.yaml --rate 3",
            "[ERROR] --rate: find-rate has no such option\n",
        ),
    ] {
        let output = Cmd::new(&dir)
            .arg("find-rate")
            .args(words.split(' '))
            .fails(2);
        assert!(output.stderr.starts_with(wanted), "{words}\n{output}");
    }
}
