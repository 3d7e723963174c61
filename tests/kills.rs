//! SIGKILL at moments that a seed decides: what had ended is in the files, and `report` tells what is missing.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::util::{Cmd, Dir, Server, ns};

/// Kills of each command, where it says so; `make faults` asks for more.
const KILLS: &str = "TMESH_KILLS";
const IN_FLIGHT: usize = 4;
/// The mock's; so is each run about a second long.
const PACE: [&str; 4] = ["--base", "5ms", "--itl", "1ms"];

/// Written when there are no more samples to come.
const LAST_FILES: [&str; 3] = [
    "r.json",
    "benchmark_results/concurrency_4_round_2.json",
    "benchmark_results/stress_test_metrics.json",
];

struct Command {
    words: &'static str,
    samples: &'static str,
    /// The last moment at which it is killed, in milliseconds: most runs are over then.
    last_ms: u64,
    /// At most so many are in flight.
    in_flight: usize,
}

/// What one killed run has left.
struct Left {
    run_id: String,
    ids: HashSet<String>,
}

/// Kills it so many times, and compares what is left with the mock's log.
fn check(command: &Command) {
    let kills = std::env::var(KILLS).map_or(10, |kills| kills.parse().expect(KILLS));
    let mut rng = Rng::with_seed(7);
    let moments: Vec<u64> = (0..kills).map(|_| rng.u64(..command.last_ms)).collect();
    let (mut begun, mut too_many) = (0, 0);
    // A mock for some at a time: its log is read for each of them.
    for some in moments.chunks(20) {
        let server = Server::start(&PACE);
        let url = server.url();
        let left: Vec<Left> = some
            .iter()
            .filter_map(|&ms| kill(command, &url, Duration::from_millis(ms)))
            .collect();
        let truth = server.truth();
        let missing = left.iter().map(|left| missing(left, &truth));
        too_many += missing.filter(|&n| n > command.in_flight).count();
        begun += left.len();
    }
    let words = command.words;
    // On a busy machine some may have been on their way from a worker to the file.
    assert!(too_many * 10 <= begun, "{too_many} of {begun}: {words}");
    assert!(begun * 2 > moments.len(), "{begun} had begun: {words}");
}

/// How many requests the mock has answered that are not in the file; they must be among the last.
fn missing(left: &Left, truth: &[Value]) -> usize {
    let mut missing = Vec::new();
    let mut last_ns = 0;
    for line in truth.iter().filter(|line| line["aborted"] == false) {
        let id = line["id"]
            .as_str()
            .and_then(|id| id.strip_prefix(&left.run_id)?.strip_prefix('-'));
        let (Some(id), Some(written)) = (id, line["t_written_ns"].as_array()) else {
            continue;
        };
        let ended_ns = written.last().map_or(0, ns);
        last_ns = last_ns.max(ended_ns);
        if !id.starts_with("setup") && !left.ids.contains(id) {
            missing.push(ended_ns);
        }
    }
    assert!(
        missing
            .iter()
            .all(|ended_ns| last_ns - ended_ns < 200_000_000),
        "{missing:?}, {last_ns}"
    );
    missing.len()
}

/// `None` where it was killed before it had a file.
fn kill(command: &Command, url: &str, moment: Duration) -> Option<Left> {
    let dir = Dir::new();
    dir.write(
        "d.jsonl",
        "{\"user_messages\": [\"a b\", \"c d\"]}\n".repeat(50),
    );
    let mut running = Cmd::new(&dir)
        .args(command.words.split(' '))
        .args(["--endpoint", url])
        .start();
    thread::sleep(moment);
    // It may be over.
    running.kill();
    running.wait();
    let path = dir.path().join(command.samples);
    let text = std::fs::read_to_string(&path).ok()?;
    // What stands behind the last line break is torn.
    let (whole, torn) = text.rsplit_once('\n').unwrap_or(("", &text));
    let lines: Vec<Value> = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let report = Cmd::new(&dir)
        .args(["report", "--input", command.samples])
        .run();
    let Some(run_id) = lines.first().and_then(|header| header["run_id"].as_str()) else {
        assert_eq!(report.status.code(), Some(2), "{report}");
        return None;
    };
    assert_eq!(report.status.code(), Some(0), "{report}");
    let has_end = lines.iter().any(|line| line["series"] == "end")
        || LAST_FILES.iter().any(|file| dir.path().join(file).exists());
    let notes = ["no end", "may lack", "end before", "torn"];
    let is_told = notes.iter().any(|note| report.stdout.contains(note));
    assert!(has_end || is_told, "{report}");
    assert!(
        torn.is_empty() || report.stdout.contains("torn"),
        "{report}"
    );
    check_results(&dir);
    let samples = lines.iter().filter(|line| line["series"].is_null());
    Some(Left {
        run_id: run_id.to_string(),
        ids: samples.skip(1).map(|line| line["id"].to_string()).collect(),
    })
}

/// A finished round's or workload's file is whole; each file is, but for the samples.
fn check_results(dir: &Dir) {
    let Ok(files) = std::fs::read_dir(dir.path().join("benchmark_results")) else {
        return;
    };
    for file in files {
        let path = file.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = std::fs::read_to_string(&path).expect("a file");
            let whole = serde_json::from_str::<Value>(&text);
            whole.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn a_killed_load_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "load --api completions --requests 400 --concurrency 4 --max-tokens 5 --samples s.jsonl --output r.json",
        samples: "s.jsonl",
        last_ms: 1200,
        in_flight: IN_FLIGHT,
    });
}

#[test]
fn a_killed_benchmark_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "benchmark --contexts 4 --max-inflight 4 --input-length 50 --output-length 5 --requests 400 --samples s.jsonl --output r.json",
        samples: "s.jsonl",
        last_ms: 1200,
        in_flight: IN_FLIGHT,
    });
}

#[test]
fn a_killed_replay_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "replay --dataset d.jsonl --concurrency 4 --rounds 2 --max-output-tokens 5",
        samples: "benchmark_results/samples.jsonl",
        last_ms: 1200,
        in_flight: IN_FLIGHT,
    });
}

#[test]
fn a_killed_run_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "run --workload year1 --requests 4",
        samples: "benchmark_results/samples.jsonl",
        last_ms: 4000,
        in_flight: IN_FLIGHT,
    });
}
