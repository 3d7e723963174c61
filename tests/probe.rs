//! `probe` against the mock, whose cache is known exactly.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, Server, until};

/// The options of a mock with one tier of 8,000 tokens.
const ONE_TIER: &str = "tier1_tokens=8k,tier2_tokens=0,max_model_len=2k";

/// Runs a probe of a mock in the same process.
fn probe(dir: &Dir, mock: &str, words: &str) -> Cmd {
    let start = ["probe", "--backend", "mock", "--mock", mock];
    Cmd::new(dir).args(start).args(words.split_whitespace())
}

fn json(dir: &Dir, name: &str) -> Value {
    let text = dir.read(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

/// Returns the report that a run has printed: from the head of its table on.
fn printed(output: &Output) -> &str {
    let at = output.stdout.find("\nStep  ");
    &output.stdout[at.unwrap_or_else(|| panic!("{output}")) + 1..]
}

#[test]
fn the_capacity_of_one_tier_comes_within_a_tenth() {
    let dir = Dir::new();
    // Prefill so slow that no late wake-up beside the other tests looks like a miss, which would cost more requests.
    let mock = format!("{ONE_TIER},prefill_rate=10k");
    let output = probe(&dir, &mock, "--steps capacity --output r.json").ok();
    let result = json(&dir, "r.json");
    let tiers = result["tiers"].as_array().expect("tiers");
    assert_eq!(tiers.len(), 1, "{output}");
    let capacity = tiers[0]["capacity_tokens"].as_f64().expect("a number");
    assert!((capacity / 8000.0 - 1.0).abs() <= 0.1, "{output}");
    let uncached = result["cost"]["uncached_tokens"].as_f64().expect("a cost");
    assert!(uncached <= 5.0 * 8000.0, "{output}");
    assert!(
        output.stdout.contains("\nPrefix cache: 1 tier: "),
        "{output}"
    );
}

#[test]
fn counters_that_count_twice_are_a_lie() {
    let dir = Dir::new();
    let mock = format!("{ONE_TIER},counters=double");
    let words = "--steps usage,capacity --output r.json --fail-on-lies";
    let output = probe(&dir, &mock, words).fails(1);
    let usage = &json(&dir, "r.json")["usage"];
    assert_eq!(usage["verdict"], "wrong", "{output}");
    let why = "the server's counters say 2.00 x the cached tokens of its replies";
    assert!(
        usage["why"].as_str().is_some_and(|text| text.contains(why)),
        "{output}"
    );
    assert!(
        output
            .stderr
            .contains("[ERROR] --fail-on-lies: usage: wrong: "),
        "{output}"
    );
}

#[test]
fn lies_are_told_apart_and_decide_the_exit_code() {
    let dir = Dir::new();
    let words = "--steps usage,answer --fail-on-lies";
    for (lie, step) in [
        ("usage_cached=all", "usage"),
        ("usage_cached=zero", "usage"),
        ("usage_cached=double", "usage"),
        ("corrupt_hits=100", "answer"),
    ] {
        let output = probe(&dir, &format!("{ONE_TIER},{lie}"), words).fails(1);
        let said = format!("[ERROR] --fail-on-lies: {step}: ");
        assert!(output.stderr.contains(&said), "{lie}\n{output}");
        assert!(output.stdout.contains(" [A LIE]\n"), "{lie}\n{output}");
    }
    probe(&dir, ONE_TIER, words).ok();
    // A lie alone is an answer.
    let mock = format!("{ONE_TIER},usage_cached=zero");
    probe(&dir, &mock, "--steps usage").ok();
}

#[test]
fn a_reset_that_lies_is_found_and_one_that_fails_ends_the_probe() {
    let options = [
        "--tier1-tokens",
        "8k",
        "--tier2-tokens",
        "0",
        "--reset",
        "lie",
    ];
    let server = Server::start(&options);
    let dir = Dir::new();
    let reset = |path: &str| {
        let command = Cmd::new(&dir).args(["probe", "--steps", "reset", "--fail-on-lies"]);
        let url = server.url();
        let command = command.args(["--output", "r.json", "--endpoint", &url]);
        command.args(["--reset-cache-url".to_string(), format!("{url}{path}")])
    };
    let output = reset("/reset_prefix_cache").fails(1);
    assert_eq!(json(&dir, "r.json")["reset"]["emptied"], false, "{output}");
    let said = "[ERROR] --fail-on-lies: reset: ";
    assert!(output.stderr.contains(said), "{output}");
    let output = reset("/nowhere").fails(3);
    let stopped = json(&dir, "r.json")["stopped"].to_string();
    assert!(
        stopped.contains("/nowhere: the reset failed: HTTP 404"),
        "{output}"
    );
}

#[test]
fn reports_of_samples_and_of_the_result_equal_what_was_printed() {
    let dir = Dir::new();
    let words = "--budget-tokens 50k --samples s.jsonl --output r.json";
    let output = probe(&dir, ONE_TIER, words).fails(3);
    let report = |path: &str, format: &str| {
        let command = Cmd::new(&dir).args(["report", "--format", format, "-i"]);
        command.arg(path).ok().stdout
    };
    assert_eq!(report("s.jsonl", "table"), printed(&output));
    // Beside its samples, the result file is shown by these.
    assert_eq!(report("r.json", "table"), printed(&output));
    assert_eq!(report("s.jsonl", "json"), dir.read("r.json"));
    let alone = dir.write("alone/r.json", dir.read("r.json"));
    let alone = alone.display().to_string();
    let findings = printed(&output).split("\n\n").next().expect("a table");
    assert!(report(&alone, "table").starts_with(findings), "{output}");
    for format in ["markdown", "html"] {
        let page = report("s.jsonl", format);
        assert!(page.contains("Prefix cache: "), "{page}");
    }
    let result = json(&dir, "r.json");
    assert_eq!(result["schema"], "tmesh-cli/probe/1");
    assert_eq!(result["stopped"], "the budget of tokens is spent");
    let sent = result["cost"]["prompt_tokens"].as_u64().expect("a cost");
    assert!((1..=50_000).contains(&sent), "{output}");
    let samples = dir.read("s.jsonl");
    let requests = samples.matches("\n{\"id\":").count() as u64;
    assert_eq!(result["cost"]["requests"], requests, "{output}");
}

/// Adds the keys of all objects in a value.
fn keys_of(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, keys)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            keys.push(key.clone());
            keys_of(value, keys);
        }),
        _ => {}
    }
}

#[test]
fn every_finding_of_the_result_stands_in_the_help() {
    let dir = Dir::new();
    probe(&dir, ONE_TIER, "--ttl 1s --output r.json").ok();
    let help = |topic: &str| Cmd::new(&dir).args(["help", topic]).ok().stdout;
    let (of_probe, of_files) = (help("probe"), help("files"));
    let stands_in = |help: &str, key: &str| help.contains(&format!("`{key}`"));
    let mut findings = 0;
    for (key, value) in json(&dir, "r.json").as_object().expect("an object") {
        if stands_in(&of_files, key) && !stands_in(&of_probe, key) {
            continue;
        }
        let mut keys = vec![key.clone()];
        keys_of(value, &mut keys);
        let missing = keys.iter().find(|key| !stands_in(&of_probe, key));
        assert_eq!(missing, None, "of {key}");
        findings += 1;
    }
    assert!(findings > 12, "{findings}");
}

#[test]
fn without_a_budget_nothing_is_sent_to_another_machine() {
    let dir = Dir::new();
    // An address for documentation: nothing answers there, and a connection would time out.
    let command = Cmd::new(&dir).args(["probe", "--endpoint", "http://192.0.2.1:8000"]);
    let output = command.deadline(Duration::from_secs(5)).fails(2);
    let why =
        "[ERROR] --budget-tokens: not given, and http://192.0.2.1:8000/v1/ is not this machine";
    assert!(output.stderr.starts_with(why), "{output}");
    assert_eq!(output.stdout, "", "{output}");
}

#[test]
fn a_signal_ends_it_with_what_it_has() {
    let dir = Dir::new();
    let mock = format!("{ONE_TIER},prefill_rate=10k");
    let running = probe(&dir, &mock, "--samples s.jsonl --output r.json").start();
    let samples = dir.path().join("s.jsonl");
    let count = || {
        let text = fs::read_to_string(&samples).unwrap_or_default();
        text.matches("\n{\"id\":").count()
    };
    until("samples", || count() >= 2);
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
    assert_eq!(json(&dir, "r.json")["stopped"], "stopped by a signal");
    let note = "Note: stopped by a signal; the step ";
    assert!(output.stdout.contains(note), "{output}");
}

#[test]
fn it_ends_when_others_use_the_server() {
    let options = [
        "--tier1-tokens",
        "8k",
        "--tier2-tokens",
        "0",
        "--max-model-len",
        "2k",
        "--prefill-rate",
        "20k",
    ];
    let server = Server::start(&options);
    let (dir, other) = (Dir::new(), Dir::new());
    let words = "--rate 4 --duration 30s --input-tokens 1000 --max-tokens 2";
    let load = Cmd::new(&other).args(["load", "--api", "completions", "--endpoint"]);
    let mut load = load.arg(server.url()).args(words.split(' ')).start();
    let command = Cmd::new(&dir).args(["probe", "--output", "r.json", "--endpoint"]);
    let output = command.arg(server.url()).fails(3);
    load.kill();
    let result = json(&dir, "r.json");
    let stopped = result["stopped"].as_str().unwrap_or_default();
    assert!(stopped.starts_with("others use the server: "), "{output}");
}

#[test]
fn the_other_key_is_never_shown() {
    const KEY: &str = "sk-telltale-0123456789";
    let dir = Dir::new();
    dir.write("key.txt", KEY);
    let words = "--steps sharing --other-key-file key.txt --samples s.jsonl --output r.json";
    let mock = format!("{ONE_TIER},keys=separate");
    let output = probe(&dir, &mock, words).ok();
    let files = ["s.jsonl", "r.json"].map(|name| dir.read(name));
    for text in files.iter().chain([&output.stdout, &output.stderr]) {
        assert!(!text.contains("telltale"), "{text}");
    }
    let result = json(&dir, "r.json");
    assert_eq!(result["options"]["has_other_key"], true);
    assert_eq!(result["shared_between_keys"], false, "{output}");
    // A pass has one key.
    assert!(files[0].matches("{\"series\":\"pass\"").count() > 1);
    // The key of all requests as the other one could tell nothing.
    let words = format!("--other-key-file key.txt --api-key {KEY}");
    let output = probe(&dir, ONE_TIER, &words).fails(2);
    let why = "[ERROR] --other-key-file: the same key as the one that all other requests carry\n";
    assert_eq!(output.stderr, why, "{output}");
}
