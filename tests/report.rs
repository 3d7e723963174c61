//! `report` from outside: the same figures as the command that measured, and what it refuses.

use std::time::Duration;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, Server, not_run};

const FIXED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/report/replay.jsonl"
);

fn report(dir: &Dir, options: &[&str]) -> Cmd {
    Cmd::new(dir).arg("report").args(options)
}

/// A replay on the mock with failures, several turns, an SLO and metrics, at two levels.
fn replayed(dir: &Dir) -> Output {
    let sessions = (0..10).map(|k| {
        let question = |turn: usize| format!("session {k} turn {turn} ").repeat(40);
        let session =
            json!({"session_id": format!("s{k}"), "user_messages": [question(0), question(1)]});
        format!("{session}\n")
    });
    dir.write("d.jsonl", sessions.collect::<String>());
    let server = Server::start(&[
        "--base",
        "4ms",
        "--itl",
        "2ms",
        "--jitter",
        "1ms",
        "--faults",
        "http:503@10%",
    ]);
    dir.write("slo.yaml", "slo:\n  ttft_ms: 12\n");
    Cmd::new(dir)
        .args([
            "replay",
            "--dataset",
            "d.jsonl",
            "--endpoint",
            &server.url(),
        ])
        .args(["--max-output-tokens", "6", "--concurrency", "1", "3"])
        .args(["--slo-file", "slo.yaml", "--prometheus-url", &server.url()])
        .args([
            "--prometheus-metrics",
            "vllm:prompt_tokens",
            "lmcache_hit_rate",
            "gone",
        ])
        .deadline(Duration::from_secs(60))
        .ok()
}

/// What a command printed from this line on.
fn from<'a>(output: &'a Output, start: &str) -> &'a str {
    let at = output.stdout.find(start);
    &output.stdout[at.unwrap_or_else(|| panic!("no {start}\n{output}"))..]
}

#[test]
fn a_replay_is_reported_as_it_was_printed() {
    let dir = Dir::new();
    let printed = replayed(&dir);
    let printed = from(&printed, "====").replace("Results in benchmark_results\n", "");
    // The summary that is missing means its folder.
    let shown = report(&dir, &[]).ok();
    let rest = shown.stdout.strip_prefix(&printed);
    let rest = rest.unwrap_or_else(|| panic!("printed was {printed}\n{shown}"));
    let titles: Vec<&str> = rest
        .lines()
        .filter(|line| line.contains(" columns; "))
        .collect();
    assert_eq!(titles.len(), 2, "TTFT and gaps, and no notes\n{shown}");
    assert!(rest.is_ascii() && !rest.contains("Note: "), "{shown}");
    // The note on what is shared is of metrics with the mark.
    let markdown = report(&dir, &["--format", "markdown"]).ok();
    for line in [
        "\n| lmcache_hit_rate\\* | ",
        "\n| \\* shared | ",
        "\n| Prometheus over the Whole Round: lmcache_hit_rate | ",
    ] {
        assert!(markdown.stdout.contains(line), "{line}\n{markdown}");
    }
    let utf8 = report(&dir, &["-i", "benchmark_results"])
        .env("LC_ALL", "C.UTF-8")
        .ok();
    assert!(utf8.stdout.contains('▇'), "{utf8}");
    for input in ["benchmark_results", "benchmark_results/samples.jsonl"] {
        assert_eq!(
            report(&dir, &["-i", input]).ok().stdout,
            shown.stdout,
            "{input}"
        );
    }
}

/// Those of the JSON report.
fn rounds(dir: &Dir) -> Value {
    let shown = report(dir, &["--format", "json"]).ok();
    let mut file: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    file["rounds"].take()
}

#[test]
fn a_round_is_reported_alone_and_without_samples_says_what_is_missing() {
    let dir = Dir::new();
    let printed = replayed(&dir);
    let blocks: Vec<&str> = from(&printed, "====").split("\n\n====").collect();
    assert_eq!(blocks.len(), 4, "{printed}");
    let path = "benchmark_results/concurrency_3_round_1.json";
    let alone = report(&dir, &["-i", path]).ok();
    let block = format!("===={}\n", blocks[2]);
    assert!(alone.stdout.starts_with(&block), "{block}\n{alone}");
    assert!(alone.stdout.contains("\nTTFT: "), "{alone}");

    let with_samples = rounds(&dir);
    std::fs::remove_file(dir.path().join("benchmark_results/samples.jsonl")).expect("a file");
    let bare = report(&dir, &["-i", path]).ok();
    assert!(bare.stdout.starts_with(&block), "{block}\n{bare}");
    assert!(
        bare.stdout
            .contains("Note: The input has no samples: no charts of TTFT"),
        "{bare}"
    );
    let without = rounds(&dir);
    for (at, (level, round)) in [(1, 1), (1, 2), (3, 1), (3, 2)].into_iter().enumerate() {
        let path = format!("benchmark_results/concurrency_{level}_round_{round}.json");
        let text = dir.read(&path);
        let file: Value = serde_json::from_str(&text).expect("JSON");
        for rounds in [&with_samples, &without] {
            assert_eq!(rounds[at]["summary"], file["summary"], "{path}");
        }
        let content = report(&dir, &["-i", &path, "--format", "json"]).ok();
        assert_eq!(content.stdout, text);
    }
}

#[test]
fn samples_alone_have_the_figures_of_the_files_that_are_not_there() {
    let dir = Dir::new();
    replayed(&dir);
    let whole = report(&dir, &["--format", "json"]).ok();
    dir.write("alone.jsonl", dir.read("benchmark_results/samples.jsonl"));
    let alone = report(&dir, &["-i", "alone.jsonl", "--format", "json"]).ok();
    let parse = |output: &Output| -> Value { serde_json::from_str(&output.stdout).expect("JSON") };
    let (whole, mut alone) = (parse(&whole), parse(&alone));
    let note = alone["notes"][0].as_str().expect("a note").to_string();
    assert!(note.contains("concurrency_C_round_R.json"), "{note}");
    for (round, of) in alone["rounds"]
        .as_array_mut()
        .expect("rounds")
        .iter_mut()
        .zip(whole["rounds"].as_array().expect("rounds"))
    {
        assert_eq!(round["complete"].take(), Value::Null);
        assert_eq!(of["complete"], true);
        round["complete"] = of["complete"].clone();
        // What the samples tell only in part: turns not sent, with them goodput's base, and the round's start.
        let summary = round["summary"].as_object_mut().expect("an object");
        for (key, value) in of["summary"].as_object().expect("an object") {
            if key.starts_with("goodput") || key == "turns_not_sent" || key == "client" {
                summary.insert(key.clone(), value.clone());
            }
        }
        assert_eq!(round, of);
    }
}

fn benchmarked(dir: &Dir, options: &[&str]) -> Output {
    Cmd::new(dir)
        .args(["benchmark", "--backend", "mock", "--contexts", "4"])
        .args(["--input-length", "400", "--output-length", "10"])
        .args(["--mock", "base=4ms,itl=2ms,jitter=1ms,faults=http:503@10%"])
        .args(["--samples", "s.jsonl", "--output", "r.json"])
        .args(options)
        .ok()
}

#[test]
fn a_benchmark_is_reported_as_it_was_printed() {
    for options in [
        &["--rotations", "6", "--max-inflight", "2"][..],
        &["--duration", "1.3s", "--warmup-seconds", "0.2"],
    ] {
        let dir = Dir::new();
        let printed = benchmarked(&dir, options);
        let printed = from(&printed, "Final Report (");
        for input in ["s.jsonl", "r.json"] {
            let shown = report(&dir, &["--input", input]).ok();
            assert!(shown.stdout.starts_with(printed), "{printed}\n{shown}");
        }
        // Not only as printed, but to the last digit.
        let shown = report(&dir, &["-i", "s.jsonl", "--format", "json"]).ok();
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let wanted = parse(&dir.read("r.json"));
        let got = parse(&shown.stdout);
        assert_eq!(got, wanted, "{options:?}");
        let content = report(&dir, &["-i", "r.json", "--format", "json"]).ok();
        assert_eq!(content.stdout, dir.read("r.json"));
    }
}

#[test]
fn samples_without_gaps_say_so() {
    let dir = Dir::new();
    benchmarked(&dir, &["--rotations", "2", "--no-gaps"]);
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    let note = "Note: The samples were written without gaps between tokens (--no-gaps)";
    assert!(shown.stdout.contains(note), "{shown}");
    assert!(!shown.stdout.contains("Gaps: "), "{shown}");
}

#[test]
fn a_file_that_is_torn_or_has_no_end_says_so() {
    let dir = Dir::new();
    benchmarked(&dir, &["--rotations", "3"]);
    let text = dir.read("s.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with(r#"{"series":"end""#))
    );
    let without_end = lines[..lines.len() - 1].join("\n") + "\n";
    dir.write("s.jsonl", &without_end);
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    assert!(
        shown
            .stdout
            .starts_with("Final Report (the samples end here)\n"),
        "{shown}"
    );
    assert!(
        shown
            .stdout
            .contains("Note: The run has no end in this file"),
        "{shown}"
    );
    dir.write("s.jsonl", &without_end[..without_end.len() - 9]);
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    assert!(
        shown
            .stdout
            .contains("Note: The last line of the samples is torn"),
        "{shown}"
    );
    let broken = without_end.replacen("\"phase\":\"", "\"phase\":\"un", 1);
    dir.write("s.jsonl", broken);
    let refused = report(&dir, &["-i", "s.jsonl"]).fails(2);
    assert!(
        refused.stderr.contains("--input s.jsonl, line "),
        "{refused}"
    );
}

#[test]
fn each_format_goes_to_stdout_or_into_a_file() {
    let dir = Dir::new();
    for (format, start) in [
        ("table", "===="),
        ("json", "{"),
        ("markdown", "# tmesh-cli replay"),
        ("html", "<!DOCTYPE html>"),
    ] {
        let shown = report(&dir, &["-i", FIXED, "--format", format]).ok();
        assert!(shown.stdout.starts_with(start), "{shown}");
        let written = report(&dir, &["-i", FIXED, "--format", format, "-o", "out"]).ok();
        let told = format!("out: {} bytes\n", shown.stdout.len());
        assert_eq!(
            (written.stdout.as_str(), written.stderr),
            ("", told),
            "{format}"
        );
        assert_eq!(dir.read("out"), shown.stdout, "{format}");
    }
}

#[test]
fn the_json_of_a_replay_can_be_read_by_jq() {
    let dir = Dir::new();
    let line = format!(
        "{} report -i {FIXED} --format json | jq -r '.rounds[1].summary.failed_requests'",
        env!("CARGO_BIN_EXE_tmesh-cli")
    );
    let found = Cmd::program("sh", &dir).args(["-c", "command -v jq"]).run();
    if !found.status.success() {
        not_run("report and jq", "jq is not installed");
        return;
    }
    let shown = Cmd::program("sh", &dir).args(["-c", &line]).ok();
    assert_eq!(shown.stdout, "1\n");
}

#[test]
fn what_cannot_be_reported_says_why() {
    let dir = Dir::new();
    dir.write("other.json", "{\"a\":1}\n");
    dir.write("text", "hello\n");
    dir.write("empty/x", "");
    dir.write("s.jsonl", std::fs::read(FIXED).expect(FIXED));
    for (options, message) in [
        (
            &[][..],
            "--input ./benchmark_results/benchmark_summary.json: file not found",
        ),
        (&["-i", "no"], "--input no: file not found"),
        (
            &["-i", "other.json"],
            "--input other.json: not a result of tmesh-cli; want ",
        ),
        (
            &["-i", "text"],
            "--input text: not a result of tmesh-cli; want ",
        ),
        (&["-i", "empty"], "--input empty: holds no results; want "),
        (
            &["-i", "s.jsonl", "--format", "pdf"],
            "--format pdf: want table, json, markdown or html",
        ),
        (
            &["-i", "s.jsonl", "-o", "./s.jsonl"],
            "the report is made from this file",
        ),
        (&["-i"], "-i: no value; want -i PATH"),
        (&["x"], "x: not an option"),
    ] {
        let refused = report(&dir, options).fails(2);
        assert!(refused.stderr.contains(message), "{message}\n{refused}");
        assert_eq!(refused.stdout, "", "{refused}");
    }
    let missing = report(&dir, &[]).fails(2);
    assert!(
        missing
            .stderr
            .contains("\nRun a benchmark first: tmesh-cli "),
        "{missing}"
    );
    let unwritten = report(&dir, &["-i", "s.jsonl", "-o", "no/such/r.html"]).fails(1);
    assert!(
        unwritten.stderr.contains("--output no/such/r.html: "),
        "{unwritten}"
    );
}
