//! `report` as a process: the same figures as the command that measured, and its errors.

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

/// Runs a replay on the mock with failures, several turns, an SLO and metrics, at two levels.
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

/// Returns what a command printed from this line on.
fn from<'a>(output: &'a Output, start: &str) -> &'a str {
    // Where more than 1 % failed, this stands before it.
    let at = output.stdout.find("FAILED REQUESTS: ");
    let at = at.or_else(|| output.stdout.find(start));
    &output.stdout[at.unwrap_or_else(|| panic!("no {start}\n{output}"))..]
}

/// Splits off the notes and the verdict at the end; a report has its charts before them.
fn before_answer(printed: &str) -> (&str, &str) {
    let end = printed.find("\nNote: ").or(printed.find("\nKV cache: "));
    printed.split_at(end.expect("a verdict"))
}

#[test]
fn a_replay_is_reported_as_it_was_printed() {
    let dir = Dir::new();
    let printed = replayed(&dir);
    let printed = from(&printed, "====").replace("Results in benchmark_results\n", "");
    let (printed, answer) = before_answer(&printed);
    // The missing summary stands for its folder.
    let shown = report(&dir, &[]).ok();
    let rest = shown.stdout.strip_prefix(printed);
    assert!(shown.stdout.ends_with(answer), "{answer}\n{shown}");
    let rest = rest.unwrap_or_else(|| panic!("printed was {printed}\n{shown}"));
    let titles: Vec<&str> = rest
        .lines()
        .filter(|line| line.contains(" columns; "))
        .collect();
    assert_eq!(titles.len(), 2, "TTFT and gaps, and no notes\n{shown}");
    assert!(rest.is_ascii() && !rest.contains("Note: "), "{shown}");
    // The note on shared metrics is only there for metrics with the mark.
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
    for input in [
        "benchmark_results",
        "benchmark_results/samples.jsonl",
        "benchmark_results/metrics_summary.csv",
    ] {
        assert_eq!(
            report(&dir, &["-i", input]).ok().stdout,
            shown.stdout,
            "{input}"
        );
    }
}

/// Returns the rounds of the JSON report.
fn rounds(dir: &Dir) -> Vec<Value> {
    let shown = report(dir, &["--format", "json"]).ok();
    let file: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    file["rounds"].as_array().expect("a list").clone()
}

#[test]
fn a_round_is_reported_alone_and_without_samples_not_at_all() {
    let dir = Dir::new();
    let printed = replayed(&dir);
    // A round in which requests failed begins with a line on them.
    let without = |text: &str| -> String {
        let lines = text.split_inclusive('\n');
        let others = lines.filter(|line| !line.starts_with("FAILED REQUESTS: "));
        others.collect()
    };
    let rounds_printed = without(from(&printed, "===="));
    let blocks: Vec<&str> = rounds_printed.split("\n\n====").collect();
    assert_eq!(blocks.len(), 4, "{printed}");
    let path = "benchmark_results/concurrency_3_round_1.json";
    let alone = report(&dir, &["-i", path]).ok();
    let block = format!("===={}\n", blocks[2]);
    assert!(
        without(&alone.stdout).starts_with(&block),
        "{block}\n{alone}"
    );
    assert!(alone.stdout.contains("\nTTFT: "), "{alone}");

    let all = rounds(&dir);
    assert_eq!(all.len(), 4);
    for (at, (level, round)) in [(1, 1), (1, 2), (3, 1), (3, 2)].into_iter().enumerate() {
        let path = format!("benchmark_results/concurrency_{level}_round_{round}.json");
        let file: Value = serde_json::from_str(&dir.read(&path)).expect("JSON");
        assert_eq!(all[at]["summary"], file["summary"], "{path}");
        assert_eq!(all[at]["complete"], file["configuration"]["complete"]);
        let shown = report(&dir, &["-i", &path, "--format", "json"]).ok();
        let alone: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        // Without the first round there is nothing to compare the second with.
        let mut wanted = all[at].clone();
        wanted["against_round_1"] = Value::Null;
        assert_eq!(alone["rounds"], json!([wanted]), "{path}");
    }
    // The requests in its file are not samples, so without samples there is no report.
    std::fs::remove_file(dir.path().join("benchmark_results/samples.jsonl")).expect("a file");
    refused_without_samples(&dir, path);
}

/// Checks that a result file alone is refused with the next step.
fn refused_without_samples(dir: &Dir, path: &str) {
    let refused = report(dir, &["-i", path]).fails(2);
    for part in [
        &format!(
            "[ERROR] --input {path}: a result file, but the samples of its run are not in the same folder"
        ),
        "--samples FILE",
        "tmesh-cli report --input FILE",
    ] {
        assert!(refused.stderr.contains(part), "{part}\n{refused}");
    }
    assert_eq!(refused.stdout, "", "{refused}");
}

#[test]
fn samples_alone_have_the_figures_of_the_files_that_are_not_there() {
    let dir = Dir::new();
    replayed(&dir);
    dir.write("alone.jsonl", dir.read("benchmark_results/samples.jsonl"));
    for format in ["table", "json", "csv", "markdown", "html"] {
        let whole = report(&dir, &["--format", format]).ok();
        let alone = report(&dir, &["-i", "alone.jsonl", "--format", format]).ok();
        assert_eq!(alone.stdout, whole.stdout, "{format}");
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
        let (printed, answer) = before_answer(from(&printed, "Final Report ("));
        for input in ["s.jsonl", "r.json"] {
            let shown = report(&dir, &["--input", input]).ok();
            assert!(shown.stdout.starts_with(printed), "{printed}\n{shown}");
            assert!(shown.stdout.ends_with(answer), "{answer}\n{shown}");
        }
        // The figures agree to the last digit, not only as printed.
        let shown = report(&dir, &["-i", "s.jsonl", "--format", "json"]).ok();
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let wanted = parse(&dir.read("r.json"));
        let got = parse(&shown.stdout);
        assert_eq!(got, wanted, "{options:?}");
        let content = report(&dir, &["-i", "r.json", "--format", "json"]).ok();
        assert_eq!(content.stdout, dir.read("r.json"));
        // The samples of another run are ignored.
        let other = dir
            .read("s.jsonl")
            .replacen("\"run_id\":\"", "\"run_id\":\"x", 1);
        dir.write("s.jsonl", other);
        refused_without_samples(&dir, "r.json");
    }
}

#[test]
fn samples_without_gaps_say_so() {
    let dir = Dir::new();
    benchmarked(&dir, &["--rotations", "2", "--no-gaps"]);
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    let note = "Note: The samples were written without gaps between tokens (--no-gaps)";
    assert!(shown.stdout.contains(note), "{shown}");
    assert!(!shown.stdout.contains(" gap: "), "{shown}");
    for (words, samples) in [
        (
            "load --backend mock --requests 4 --max-tokens 4 --samples l.jsonl",
            "l.jsonl",
        ),
        (
            "run --workload short --requests 2 --output r",
            "r/samples.jsonl",
        ),
    ] {
        let command = || Cmd::new(&dir).args(words.split(' '));
        let has_gaps = || {
            let text = dir.read(samples);
            text.matches("\"gaps_us\":[").count() > text.matches("\"gaps_us\":[]").count()
        };
        command().arg("--no-gaps").ok();
        assert!(!has_gaps(), "{words}");
        let shown = report(&dir, &["-i", samples]).ok();
        assert!(shown.stdout.contains(note), "{shown}");
        command().ok();
        assert!(has_gaps(), "{words}");
        let shown = report(&dir, &["-i", samples]).ok();
        assert!(!shown.stdout.contains(note), "{shown}");
    }
}

#[test]
fn a_file_that_is_torn_or_has_no_end_says_so() {
    let dir = Dir::new();
    benchmarked(&dir, &["--rotations", "3"]);
    let text = dir.read("s.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .iter()
        .position(|line| line.starts_with(r#"{"series":"pass""#));
    let end = end.expect("an end");
    // Only the clock is read after it.
    assert_eq!(end, lines.len() - 2);
    let without_end = lines[..end].join("\n") + "\n";
    dir.write("s.jsonl", &without_end);
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    assert!(
        shown
            .stdout
            .contains("\nFinal Report (the samples end here)\n"),
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
            .contains("Note: The last line of the samples is incomplete"),
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
fn an_endless_run_that_was_killed_lasts_from_its_first_send_to_its_last_end() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/report/benchmark.jsonl"
    );
    let text = std::fs::read_to_string(path).expect(path);
    let endless = text.replacen("\"requests\":5", "\"requests\":null", 1);
    let lines = endless.lines();
    let lines = lines.filter(|line| !line.starts_with(r#"{"series":"pass""#));
    let killed: String = lines.map(|line| format!("{line}\n")).collect();
    let dir = Dir::new();
    dir.write("s.jsonl", &killed);
    let shown = report(&dir, &["-i", "s.jsonl", "--format", "json"]).ok();
    let file: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let summary = &file["summary"];
    // Five sequential requests, from 6,256,507 to 29,174,828 ns.
    assert_eq!(summary["elapsed_s"], 0.022918321);
    assert_eq!(summary["qps"], 5.0 / 0.022918321);
    assert_eq!(summary["concurrency_peak"], 1);

    // The run was killed before the first reply.
    let header = killed.lines().next().expect("a header");
    dir.write("s.jsonl", format!("{header}\n"));
    let shown = report(&dir, &["-i", "s.jsonl"]).ok();
    for part in [
        "Final Report (the samples end here)\n",
        "Total Number of Requests Processed: 0\n",
        "Note: The run has no end in this file",
    ] {
        assert!(shown.stdout.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn each_format_goes_to_stdout_or_into_a_file() {
    let dir = Dir::new();
    for (format, start) in [
        ("table", "FAILED REQUESTS: 1 of 11 (9.1 %): http 1\n===="),
        ("json", "{"),
        ("csv", "tmesh-cli replay"),
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
        std::fs::remove_file(dir.path().join("out")).expect("it was written");
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
fn input_without_a_report_says_why() {
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
            "--format pdf: want table, json, csv, markdown or html",
        ),
        (
            &["-i", "s.jsonl", "-o", "./s.jsonl"],
            "--output ./s.jsonl: the same file as s.jsonl, which is read",
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

#[test]
fn a_folder_and_the_summary_in_it_show_the_same_or_the_folder_says_that_they_are_of_two_runs() {
    let dir = Dir::new();
    let run = |nonce: &str| {
        let words = "run --backend mock --workload short --requests 5 --output f --nonce";
        Cmd::new(&dir).args(words.split(' ')).arg(nonce).ok()
    };
    let shown = |input: &str| report(&dir, &["-i", input]).ok().stdout;
    run("one");
    let first = shown("f");
    assert_eq!(shown("f/benchmark_summary.json"), first);
    // The summary of the first run beside the samples of the second, whose own was lost.
    let old = dir.read("f/benchmark_summary.json");
    run("two");
    dir.write("f/benchmark_summary.json", old);
    let note = "Note: benchmark_summary.json in this folder is of another run";
    assert!(shown("f").contains(note), "{}", shown("f"));
    // The samples of the first run were moved aside, and its summary leads to them.
    assert_eq!(shown("f/benchmark_summary.json"), first);
    std::fs::remove_file(dir.path().join("f/samples.1.jsonl")).expect("it was moved there");
    let alone = shown("f/benchmark_summary.json");
    assert!(alone.contains("The input has no samples"), "{alone}");
    // Without samples the folder is its summary.
    std::fs::remove_file(dir.path().join("f/samples.jsonl")).expect("it was written");
    assert_eq!(shown("f"), alone);
}
