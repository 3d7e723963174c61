//! `report` on the samples of a run repeats what the run printed and wrote: every line and every figure.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, Server, until};

/// Beginnings of lines that only the command prints, after its results.
const FILES: [&str; 3] = ["Figures in ", "Samples in ", "Results in "];
/// Beginnings of charts, which `benchmark` and `replay` leave to `report`.
const CHARTS: [&str; 4] = [
    "TTFT: ",
    "Token gap: ",
    "Chunk gap: ",
    "Token gap or chunk gap: ",
];

/// Options of a fast mock without equal figures.
const QUICK: &str = "base=2ms,itl=1ms,jitter=500us";

/// A finished run.
struct Run {
    dir: Dir,
    printed: Output,
    samples: &'static str,
}

impl Run {
    /// Runs the command to its end.
    fn whole(words: &str, samples: &'static str) -> Run {
        let dir = prepared();
        let printed = Cmd::new(&dir).args(words.split(' ')).ok();
        Run {
            dir,
            printed,
            samples,
        }
    }

    /// Runs the command until it has twelve samples, and ends it with SIGINT.
    fn cut(words: &str, samples: &'static str, code: i32) -> Run {
        let dir = prepared();
        let running = Cmd::new(&dir).args(words.split(' ')).start();
        let path = dir.path().join(samples);
        let count = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.matches("\n{\"id\":").count()
        };
        until("samples", || count() >= 12);
        running.signal("INT");
        let printed = running.wait();
        assert_eq!(printed.status.code(), Some(code), "{printed}");
        Run {
            dir,
            printed,
            samples,
        }
    }

    fn json(&self, name: &str) -> Value {
        let text = self.dir.read(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Asserts that the report of the samples, alone in a folder of their own, has the same table and JSON.
    ///
    /// `written` picks the parts of the run's files and of the report's JSON that must be equal.
    fn check(&self, written: impl Fn(&Run, &Value) -> (Value, Value)) {
        let samples = self.dir.write("alone/s.jsonl", self.dir.read(self.samples));
        let report = |format: &str| {
            let command = Cmd::new(&self.dir).args(["report", "--format", format, "-i"]);
            command.arg(&samples).ok()
        };
        let table = report("table");
        let (wanted, got) = lines(&self.printed.stdout, &table.stdout);
        assert_eq!(got, wanted, "{}\n{table}", self.printed);
        let report: Value = serde_json::from_str(&report("json").stdout).expect("JSON");
        let (wanted, got) = written(self, &report);
        let mut found = Vec::new();
        walk("", &wanted, &got, &mut found);
        assert!(found.is_empty(), "{found:#?}\n{}", self.printed);
    }
}

/// Makes a folder with an SLO and a dataset of sessions of three turns.
fn prepared() -> Dir {
    let dir = Dir::new();
    let session = |number: usize| {
        let turn = |turn: usize| format!("session {number} turn {turn} ").repeat(20);
        let session = json!({"user_messages": [turn(0), turn(1), turn(2)]});
        format!("{session}\n")
    };
    dir.write("d.jsonl", (0..8).map(session).collect::<String>());
    dir.write("slo.yaml", "slo:\n  ttft_ms: 4\n");
    dir
}

/// Returns the lines that both texts should have.
///
/// Lines that the run prints before the report's first line are of the set-up or progress.
fn lines(run: &str, report: &str) -> (Vec<String>, Vec<String>) {
    let first = report.lines().next().unwrap_or_default();
    let is_file = |line: &&str| FILES.iter().any(|start| line.starts_with(start));
    let own = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| *line != first);
        let lines = lines.filter(|line| !line.is_empty() && !is_file(line));
        lines.map(str::to_string).collect()
    };
    let (run, mut report) = (own(run), own(report));
    if !run.iter().any(|line| is_chart(line)) {
        report = without_charts(report);
    }
    (run, report)
}

fn is_chart(line: &str) -> bool {
    CHARTS.iter().any(|start| line.starts_with(start)) && line.contains(" columns; ")
}

/// Removes charts: a title, indented lines with a bar, and remarks on the gaps.
fn without_charts(lines: Vec<String>) -> Vec<String> {
    let is_bar = |line: &String| {
        let is_of_chart = line.contains(" |") || line.contains(" of the gaps are 0: ");
        line.starts_with("  ") && is_of_chart
    };
    let mut in_chart = false;
    let keep = |line: &String| {
        in_chart = is_chart(line) || in_chart && is_bar(line);
        !in_chart
    };
    lines.into_iter().filter(keep).collect()
}

/// Collects the paths at which two values differ, with both values.
fn walk(path: &str, wanted: &Value, got: &Value, found: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let keys: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
            for key in keys {
                // An absent key differs from null.
                let absent = json!("absent");
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(key).unwrap_or(&absent).clone()
                };
                walk(&format!("{path}/{key}"), &of(wanted), &of(got), found);
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (at, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                walk(&format!("{path}/{at}"), wanted, got, found);
            }
        }
        _ if wanted == got => (),
        _ => found.push(format!("{path}: {wanted} is reported as {got}")),
    }
}

/// Returns the result file of `load` or `benchmark`, which is the whole report.
fn whole_file(run: &Run, report: &Value) -> (Value, Value) {
    (run.json("r.json"), report.clone())
}

/// Returns the files of `run`: the whole report, and one a workload.
fn summary_and_workloads(run: &Run, report: &Value) -> (Value, Value) {
    let summary = run.json("d/benchmark_summary.json");
    let names = summary["workloads"].as_object().expect("workloads").keys();
    let files: Vec<Value> = names
        .clone()
        .map(|name| run.json(&format!("d/{name}_metrics.json")))
        .collect();
    let reported: Vec<&Value> = names.map(|name| &report["workloads"][name]).collect();
    (
        json!({"summary": summary, "workloads": files}),
        json!({"summary": report, "workloads": reported}),
    )
}

/// Returns the files of `replay`, one a round.
fn rounds(run: &Run, report: &Value) -> (Value, Value) {
    let names = fs::read_dir(run.dir.path().join("d")).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name().display().to_string());
    let mut names: Vec<String> = names.filter(|name| name.contains("_round_")).collect();
    // Levels and rounds have one digit, so this is their order.
    names.sort();
    let files = names.iter().map(|name| {
        let file = run.json(&format!("d/{name}"));
        json!({"complete": file["configuration"]["complete"], "summary": file["summary"]})
    });
    let reported = report["rounds"].as_array().expect("rounds").iter();
    let reported =
        reported.map(|round| json!({"complete": round["complete"], "summary": round["summary"]}));
    (files.collect(), reported.collect())
}

const BENCHMARK: &str = "benchmark --backend mock --contexts 4 --max-inflight 2 --input-length 100 --output-length 6 --samples s.jsonl --output r.json --mock";
const LOAD: &str = "load --backend mock --max-tokens 6 --slo-file slo.yaml --samples s.jsonl --output r.json --mock";
const REPLAY: &str =
    "replay --dataset d.jsonl --max-output-tokens 6 --slo-file slo.yaml --output-dir d";

/// Two set-up requests come before the first turn; a round of eight sessions has 23 requests if one fails in its second
/// turn.
const FAULTS: &str = "http:503@7+30";

#[test]
fn a_benchmark_of_some_requests_is_reported_as_it_was() {
    let words = format!("{BENCHMARK} {QUICK},faults=http:503@9+10 --requests 24");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_benchmark_of_some_time_is_reported_as_it_was() {
    let words =
        format!("{BENCHMARK} {QUICK} --duration 400ms --warmup-seconds 0.1 --interval 100ms");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_benchmark_that_a_signal_ends_is_reported_as_it_was() {
    let words = format!("{BENCHMARK} {QUICK}");
    Run::cut(&words, "s.jsonl", 0).check(whole_file);
}

#[test]
fn a_load_in_a_closed_loop_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK},faults=http:503@12+13 --requests 24 --concurrency 3");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_load_at_a_rate_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 24 --rate 80 --max-inflight 4");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_load_that_is_a_sweep_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 12 --concurrency 1 2 4");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_load_of_some_time_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --duration 300ms --concurrency 2");
    Run::whole(&words, "s.jsonl").check(whole_file);
}

#[test]
fn a_load_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 10000 --concurrency 2");
    Run::cut(&words, "s.jsonl", 130).check(whole_file);
}

/// Two levels of two rounds, and metrics, against a server that fails in the second turn of a session, in both rounds:
/// the third turn is not sent in either.
#[test]
fn a_replay_of_two_levels_is_reported_as_it_was() {
    let server = Server::start(&[
        "--base", "2ms", "--itl", "1ms", "--jitter", "500us", "--faults", FAULTS,
    ]);
    let url = server.url();
    let metrics = "vllm:prompt_tokens lmcache_hit_rate gone";
    let words = format!(
        "{REPLAY} --endpoint {url} --concurrency 1 3 --prometheus-url {url} --prometheus-metrics {metrics}"
    );
    Run::whole(&words, "d/samples.jsonl").check(rounds);
}

#[test]
fn a_replay_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("{REPLAY} --backend mock --mock {QUICK} --rounds 9");
    Run::cut(&words, "d/samples.jsonl", 130).check(rounds);
}

#[test]
fn a_run_of_all_workloads_is_reported_as_it_was() {
    let words = format!("run --mock {QUICK},faults=http:503@10+11 --output d");
    Run::whole(&words, "d/samples.jsonl").check(summary_and_workloads);
}

#[test]
fn a_run_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("run --mock {QUICK} --requests 1000 --output d");
    Run::cut(&words, "d/samples.jsonl", 130).check(summary_and_workloads);
}
