//! Faults on every request with the other commands that send: five that represent all, or all of them in `make faults`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::{Case, content_cases, oversized_cases, transport_cases};
use super::load::side_by_side;
use super::server::serve;
use crate::util::{Cmd, Dir};

/// The names of the faults in the tables, with their status.
const FIVE: [(&str, Option<u16>); 5] = [
    ("reset mid-event", Some(200)),
    ("accepted and silent", None),
    ("a status with HTML", Some(500)),
    ("200 with HTML", Some(200)),
    ("a line of 100 MB", Some(200)),
];

fn cases() -> Vec<Case> {
    let mut cases = transport_cases();
    cases.extend(content_cases());
    cases.extend(oversized_cases());
    if std::env::var_os("TMESH_FAULTS").is_none() {
        cases.retain(|case| FIVE.contains(&(case.name, case.status)));
        assert_eq!(cases.len(), FIVE.len());
    }
    // A right reply is no fault, and requests on a reset pooled connection are sent again.
    cases.retain(|case| case.kind.is_some());
    cases
}

/// A command line with its samples file and its number of requests.
struct Command {
    words: &'static str,
    samples: &'static str,
    requests: usize,
}

const COMMANDS: [Command; 3] = [
    Command {
        words: "benchmark --contexts 2 --input-length 50 --output-length 5 --max-inflight 2 --requests 4 --samples s.jsonl",
        samples: "s.jsonl",
        requests: 4,
    },
    Command {
        words: "replay --api completions --concurrency 2 --rounds 1 --max-output-tokens 5 --dataset d.jsonl",
        samples: "benchmark_results/samples.jsonl",
        requests: 2,
    },
    Command {
        words: "run --workload short --requests 3",
        samples: "benchmark_results/samples.jsonl",
        requests: 3,
    },
];

fn attack(words: &str, case: &Case) -> (Dir, String) {
    let dir = Dir::new();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"c d\"}\n");
    let addr = serve(case.act.clone()).to_string();
    let mut words: Vec<&str> = words.split(' ').collect();
    match words[..] {
        ["check", "endpoint"] => words.push(&addr),
        _ => words.extend(["--endpoint", &addr]),
    }
    let begun = Instant::now();
    let running = Cmd::new(&dir)
        .args(words)
        .args(["--model", "m"])
        .args(case.timeouts())
        .start();
    let mib = running.peak_mib();
    let output = running.wait();
    let shown = format!("{} {:?}\n{output}", case.name, case.status);
    // `run` waits for the server's gauges before and after.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?} {shown}",
        begun.elapsed()
    );
    assert!(mib < 100.0, "{mib} MiB {shown}");
    assert_eq!(output.status.code(), Some(1), "{shown}");
    (dir, shown)
}

fn check(command: &Command, case: &Case) {
    let (dir, shown) = attack(command.words, case);
    let samples = dir.read(command.samples);
    let samples = samples
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line));
    let samples: Vec<Value> = samples.filter(|line| line["phase"] == "measured").collect();
    assert_eq!(samples.len(), command.requests, "{shown}");
    for sample in samples {
        case.check(&sample, &shown);
    }
}

#[test]
fn the_other_commands_call_every_fault_by_its_kind() {
    let cases = cases();
    let pairs: Vec<_> = COMMANDS
        .iter()
        .flat_map(|command| cases.iter().map(move |case| (command, case)))
        .collect();
    side_by_side(&pairs, |(command, case)| check(command, case));
}

#[test]
fn check_endpoint_names_what_is_wrong_with_an_answer() {
    side_by_side(&cases(), |case| {
        let (_, shown) = attack("check endpoint", case);
        let kind = match (case.kind, case.status) {
            (Some("http"), Some(status)) => format!("HTTP {status}"),
            (kind, _) => kind.unwrap_or_default().to_string(),
        };
        assert!(
            shown.contains(&format!("/v1/completions       no: {kind}")),
            "{kind}: {shown}"
        );
    });
}
