//! `report` on the samples of a run gives what the run printed and wrote: every line and every figure.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, Server, until};

/// How often something that is known is seen.
#[derive(PartialEq)]
enum Seen {
    Always,
    /// A busy machine or an unlucky moment shows it.
    Sometimes,
}

use Seen::{Always, Sometimes};

/// What `report` cannot give today: the run, and how the line of the table or the path of the figure in the JSON begins.
/// Whoever mends one takes it off the list, and what is seen only sometimes for the same reason.
const KNOWN: &[(&str, &str, Seen)] = &[
    // The start of a round is in no line of the samples, and the first request is sent some microseconds after it. The
    // table has it where the client could not keep up.
    ("replay", "figure /*/summary/client/", Always),
    ("replay", "line \"client", Sometimes),
    ("replay, cut", "figure /*/summary/client/", Always),
    ("replay, cut", "line \"client", Sometimes),
    // Whether a round was complete, and the turns that it did not send, are known to its own file only.
    ("replay", "figure /*/complete", Always),
    ("replay", "figure /*/summary/turns_not_sent", Always),
    (
        "replay",
        "figure /*/summary/goodput_requests_percent",
        Always,
    ),
    ("replay", "line \"Turns not Sent: \" of the run", Always),
    (
        "replay",
        "line \"  Requests Meeting SLO: \" of the ",
        Always,
    ),
    ("replay", "line \"Note: Not beside the samples", Always),
    ("replay, cut", "line \"Note: Not beside the samples", Always),
    // A round that was cut between two requests looks complete.
    ("replay, cut", "figure /*/complete", Sometimes),
    ("replay, cut", "line \"The round was cut short", Sometimes),
    // The run says nothing of the rounds that it did not come to.
    ("replay, cut", "line \"Note: The samples end before", Always),
];

/// What begins a line that only the command prints, behind its results.
const FILES: [&str; 3] = ["Figures in ", "Samples in ", "Results in "];
/// What begins a chart, which `benchmark` and `replay` leave to `report`.
const CHARTS: [&str; 2] = ["TTFT: ", "Gaps: "];

/// A mock that is quick, and of whose figures no two are alike.
const QUICK: &str = "base=2ms,itl=1ms,jitter=500us";

/// A run that is over.
struct Run {
    name: &'static str,
    dir: Dir,
    printed: Output,
    samples: &'static str,
}

impl Run {
    /// Runs the command to its end.
    fn whole(name: &'static str, words: &str, samples: &'static str) -> Run {
        let dir = prepared();
        let printed = Cmd::new(&dir).args(words.split(' ')).ok();
        Run {
            name,
            dir,
            printed,
            samples,
        }
    }

    /// Runs the command until it has twelve samples, and ends it by SIGINT.
    fn cut(name: &'static str, words: &str, samples: &'static str, code: i32) -> Run {
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
            name,
            dir,
            printed,
            samples,
        }
    }

    /// What `report` makes of the samples: alone in a folder of their own, or beside the run's other files.
    fn report(&self, format: &str, is_alone: bool) -> Output {
        let input = if is_alone {
            self.dir.write("alone/s.jsonl", self.dir.read(self.samples));
            "alone/s.jsonl"
        } else {
            self.samples
        };
        Cmd::new(&self.dir)
            .args(["report", "-i", input, "--format", format])
            .ok()
    }

    fn json(&self, name: &str) -> Value {
        let text = self.dir.read(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Asserts that the report is equal in table and JSON, but for what is known of a run of this name.
    ///
    /// `written` picks from the report's JSON and from the run's files what are to be the same figures.
    fn check(&self, is_alone: bool, written: impl Fn(&Run, &Value) -> (Value, Value)) {
        let table = self.report("table", is_alone);
        let mut found: BTreeSet<String> = other_lines(&self.printed.stdout, &table.stdout)
            .into_iter()
            .collect();
        let shown = self.report("json", is_alone);
        let report: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        let (wanted, got) = written(self, &report);
        let mut figures = Vec::new();
        walk("", &wanted, &got, &mut figures);
        found.extend(figures.iter().map(|(path, _)| format!("figure {path}")));
        let known = || KNOWN.iter().filter(|(run, ..)| *run == self.name);
        let is_known = |what: &&String| known().any(|(_, start, _)| what.starts_with(start));
        let new: Vec<&String> = found.iter().filter(|what| !is_known(what)).collect();
        let always = known().filter(|(.., seen)| *seen == Always);
        let mended: Vec<&str> = always
            .map(|(_, start, _)| *start)
            .filter(|start| !found.iter().any(|what| what.starts_with(start)))
            .collect();
        assert!(
            new.is_empty() && mended.is_empty(),
            "{}\nnot on the list: {new:#?}\nmended, so take it off the list: {mended:#?}\n{figures:#?}\n{}\n{table}",
            self.name,
            self.printed
        );
    }
}

/// A folder with a dataset of sessions of three turns and an SLO.
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

/// The lines that stand in only one of the two texts, as `LINE of the run` and `LINE of the report`; numbers are left out
/// of a line.
///
/// What the run prints before the report's first line is of the set-up or of its progress.
fn other_lines(run: &str, report: &str) -> Vec<String> {
    let first = report.lines().next().unwrap_or_default();
    let run: Vec<&str> = run.lines().collect();
    let start = run.iter().position(|line| *line == first);
    let start = start.unwrap_or_else(|| panic!("no line {first:?}\n{}", run.join("\n")));
    let is_file = |line: &str| FILES.iter().any(|start| line.starts_with(start));
    let own = |lines: Vec<&str>| -> Vec<String> {
        let lines = lines.into_iter();
        let lines = lines.filter(|line| !line.is_empty() && !is_file(line));
        lines.map(str::to_string).collect()
    };
    let run = own(run[start..].to_vec());
    let mut report = own(report.lines().collect());
    if !run.iter().any(|line| is_chart(line)) {
        report = without_charts(report);
    }
    difference(&run, &report)
}

fn is_chart(line: &str) -> bool {
    CHARTS.iter().any(|start| line.starts_with(start)) && line.contains(" columns; ")
}

/// A chart is its title and the lines with a bar, which are indented.
fn without_charts(lines: Vec<String>) -> Vec<String> {
    let is_bar = |line: &String| line.starts_with("  ") && line.contains(" |");
    let mut in_chart = false;
    let keep = |line: &String| {
        in_chart = is_chart(line) || in_chart && is_bar(line);
        !in_chart
    };
    lines.into_iter().filter(keep).collect()
}

/// The lines of neither's longest common part.
fn difference(run: &[String], report: &[String]) -> Vec<String> {
    let (rows, columns) = (run.len(), report.len());
    // The length of the longest common part of what is left from row and column on.
    let mut common = vec![vec![0_usize; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = if run[row] == report[column] {
                common[row + 1][column + 1] + 1
            } else {
                common[row + 1][column].max(common[row][column + 1])
            };
        }
    }
    let mut found = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < rows || column < columns {
        if row < rows && column < columns && run[row] == report[column] {
            (row, column) = (row + 1, column + 1);
        } else if column == columns
            || row < rows && common[row + 1][column] >= common[row][column + 1]
        {
            found.push(format!("line {} of the run", without_numbers(&run[row])));
            row += 1;
        } else {
            found.push(format!(
                "line {} of the report",
                without_numbers(&report[column])
            ));
            column += 1;
        }
    }
    found
}

/// The line up to its first number, or its first 40 characters.
fn without_numbers(line: &str) -> String {
    let text = line.split(|c: char| c.is_ascii_digit()).next();
    let text: String = text.unwrap_or_default().chars().take(40).collect();
    format!("{:?}", text)
}

/// Collects the paths at which two values differ, with both values; an index in a path is written as `*`.
fn walk(path: &str, wanted: &Value, got: &Value, found: &mut Vec<(String, String)>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let keys: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
            for key in keys {
                // An absent key is not the same as null.
                let absent = json!("absent");
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(key).unwrap_or(&absent).clone()
                };
                walk(&format!("{path}/{key}"), &of(wanted), &of(got), found);
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (wanted, got) in wanted.iter().zip(got) {
                walk(&format!("{path}/*"), wanted, got, found);
            }
        }
        _ if wanted == got => (),
        _ => found.push((path.to_string(), format!("{wanted} is reported as {got}"))),
    }
}

/// The result file of `load` and `benchmark` is the whole report.
fn whole_file(run: &Run, report: &Value) -> (Value, Value) {
    (run.json("r.json"), report.clone())
}

/// `run` writes the whole report and a file a workload.
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

/// `replay` writes a file a round.
fn rounds(run: &Run, report: &Value) -> (Value, Value) {
    let names = fs::read_dir(run.dir.path().join("d")).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name().display().to_string());
    let mut names: Vec<String> = names.filter(|name| name.contains("_round_")).collect();
    // Levels and rounds have one digit, so that they are in their order.
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

/// Two requests of the set-up come before the first turn; a round of eight sessions has 23 requests where one fails in
/// its second turn.
const FAULTS: &str = "http:503@7+30";

#[test]
fn a_benchmark_of_some_requests_is_reported_as_it_was() {
    let words = format!("{BENCHMARK} {QUICK},faults=http:503@9+10 --requests 24");
    Run::whole("benchmark", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_benchmark_of_some_time_is_reported_as_it_was() {
    let words =
        format!("{BENCHMARK} {QUICK} --duration 400ms --warmup-seconds 0.1 --interval 100ms");
    Run::whole("benchmark --duration", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_benchmark_that_a_signal_ends_is_reported_as_it_was() {
    let words = format!("{BENCHMARK} {QUICK}");
    Run::cut("benchmark, cut", &words, "s.jsonl", 0).check(true, whole_file);
}

#[test]
fn a_load_in_a_closed_loop_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK},faults=http:503@12+13 --requests 24 --concurrency 3");
    Run::whole("load", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_load_at_a_rate_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 24 --rate 80 --max-inflight 4");
    Run::whole("load --rate", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_load_that_is_a_sweep_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 12 --concurrency 1 2 4");
    Run::whole("load, a sweep", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_load_of_some_time_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --duration 300ms --concurrency 2");
    Run::whole("load --duration", &words, "s.jsonl").check(true, whole_file);
}

#[test]
fn a_load_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("{LOAD} {QUICK} --requests 10000 --concurrency 2");
    Run::cut("load, cut", &words, "s.jsonl", 130).check(true, whole_file);
}

/// Two levels of two rounds, and metrics, against a server that fails in the second turn of a session, in the first
/// round and in the second: the third turn of both is not sent.
fn replayed(name: &'static str) -> Run {
    let server = Server::start(&[
        "--base", "2ms", "--itl", "1ms", "--jitter", "500us", "--faults", FAULTS,
    ]);
    let url = server.url();
    let metrics = "vllm:prompt_tokens lmcache_hit_rate gone";
    let words = format!(
        "{REPLAY} --endpoint {url} --concurrency 1 3 --prometheus-url {url} --prometheus-metrics {metrics}"
    );
    Run::whole(name, &words, "d/samples.jsonl")
}

#[test]
fn a_replay_of_two_levels_is_reported_as_it_was() {
    replayed("replay, beside its files").check(false, rounds);
    replayed("replay").check(true, rounds);
}

#[test]
fn a_replay_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("{REPLAY} --backend mock --mock {QUICK} --rounds 9");
    Run::cut("replay, cut", &words, "d/samples.jsonl", 130).check(true, rounds);
}

#[test]
fn a_run_of_all_workloads_is_reported_as_it_was() {
    let words = format!("run --mock {QUICK},faults=http:503@10+11 --output d");
    Run::whole("run", &words, "d/samples.jsonl").check(true, summary_and_workloads);
}

#[test]
fn a_run_that_a_signal_cuts_is_reported_as_it_was() {
    let words = format!("run --mock {QUICK} --requests 1000 --output d");
    Run::cut("run, cut", &words, "d/samples.jsonl", 130).check(true, summary_and_workloads);
}
