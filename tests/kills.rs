//! SIGKILL at random moments by a seed: requests that had ended are in the files, and `report` says what is missing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::util::{Cmd, Dir, Output, Server, until};

/// Environment variable: kills of each command; `make faults` sets more.
const KILLS: &str = "TMESH_KILLS";
const LANES: usize = 4;
/// Most requests in flight of any run.
const IN_FLIGHT: usize = 4;
/// The mock's options, with which each run takes about a second.
const PACE: [&str; 4] = ["--base", "5ms", "--itl", "500us"];
/// The notes of `report` where samples may be missing.
const NOTES: [&str; 4] = [
    "has no end in this file",
    "may lack",
    "end before",
    "is incomplete",
];

struct Command {
    words: &'static str,
    samples: &'static str,
    /// Samples of a whole run, including the warm-up.
    requests: usize,
    /// Returns the measured requests in the JSON of `report`.
    counted: fn(&Value) -> u64,
}

/// The files after one kill.
struct Left {
    run_id: String,
    ids: HashSet<String>,
    is_whole: bool,
}

/// The event after which a kill comes, at most so much later.
enum After {
    Start,
    Header,
    /// The last sample but one.
    Samples,
}

/// The phases: start-up, warm-up, twice the run, and its end.
const PHASES: [(After, u64); 5] = [
    (After::Start, 40),
    (After::Header, 120),
    (After::Header, 800),
    (After::Header, 800),
    (After::Samples, 40),
];

/// Kills the command repeatedly, and compares the files with the mock's log.
fn check(command: &Command) {
    let kills = std::env::var(KILLS).map_or(10, |kills| kills.parse().expect(KILLS));
    let server = Server::start(&PACE);
    let url = server.url();
    let lane = |lane| {
        let url = &url;
        move || -> Vec<Left> {
            let numbers = (lane..kills).step_by(LANES);
            numbers
                .filter_map(|number| kill(command, url, number))
                .collect()
        }
    };
    let left: Vec<Left> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(lane(number))).collect();
        let left = lanes
            .into_iter()
            .flat_map(|lane| lane.join().expect("a lane"));
        left.collect()
    });
    let truth = answered(&server.truth());
    let missing = left.iter().map(|left| missing(left, &truth, command));
    let more = missing.filter(|&missing| missing > IN_FLIGHT).count();
    // A worker may have sent its next request while a sample is still on its way to the file: once in 1,500 kills, with
    // 15 busy processes on two cores.
    assert!(
        more <= 1 + kills / 100,
        "{more} of {kills}: {}",
        command.words
    );
    let cut = left.iter().filter(|left| !left.ids.is_empty());
    let cut = cut.filter(|left| !left.is_whole).count();
    // Three in five kills come between the header and the end, and one of these may come before the first sample.
    assert!(
        cut * 5 >= kills * 2,
        "{cut} of {kills} in mid-run: {}",
        command.words
    );
}

/// Returns the requests whose answers were completely written, by the run's id.
fn answered(truth: &[Value]) -> HashMap<String, HashSet<String>> {
    let mut runs: HashMap<String, HashSet<String>> = HashMap::new();
    for line in truth.iter().filter(|line| line["aborted"] == false) {
        let id = line["id"].as_str().expect("every request has an id");
        let (run_id, id) = id.split_once('-').expect("RUN-ID");
        if !id.starts_with("setup") {
            runs.entry(run_id.to_string())
                .or_default()
                .insert(id.to_string());
        }
    }
    runs
}

/// Returns how many answered requests are missing; at most one in flight and one handed over for each worker. Every
/// request in the files was answered.
fn missing(left: &Left, truth: &HashMap<String, HashSet<String>>, command: &Command) -> usize {
    let none = HashSet::new();
    let answered = truth.get(&left.run_id).unwrap_or(&none);
    let missing: Vec<&String> = answered.difference(&left.ids).collect();
    let made_up: Vec<&String> = left.ids.difference(answered).collect();
    let words = command.words;
    assert!(
        missing.len() <= 2 * IN_FLIGHT,
        "{missing:?} of {}: {words}",
        answered.len()
    );
    assert!(made_up.is_empty(), "{made_up:?}: {words}");
    missing.len()
}

/// Kills a run at a random moment; `None` if it had no header yet.
fn kill(command: &Command, url: &str, number: usize) -> Option<Left> {
    let dir = Dir::new();
    dir.write(
        "d.jsonl",
        "{\"user_messages\": [\"a b\", \"c d\"]}\n".repeat(100),
    );
    let mut running = Cmd::new(&dir)
        .args(command.words.split(' '))
        .args(["--endpoint", url])
        .start();
    let mut random = Rng::with_seed(number as u64);
    let path = dir.path().join(command.samples);
    let (after, most_ms) = &PHASES[number % PHASES.len()];
    match after {
        After::Start => (),
        After::Header => until(command.samples, || path.exists()),
        After::Samples => until("last sample", || samples_in(&path) + 1 >= command.requests),
    }
    thread::sleep(Duration::from_millis(random.u64(..most_ms)));
    // The run may be over.
    running.kill();
    let output = running.wait();
    let has_ended = output.status.success();
    let left = read(command, &dir, has_ended);
    if has_ended {
        let all = left.as_ref().filter(|left| left.is_whole);
        assert_eq!(
            all.map(|left| left.ids.len()),
            Some(command.requests),
            "{output}"
        );
    }
    left
}

fn samples_in(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.matches("\n{\"id\":").count())
}

/// Checks that every line is JSON, except an incomplete last one, and that `report` shows the lines and says that there
/// is more.
fn read(command: &Command, dir: &Dir, has_ended: bool) -> Option<Left> {
    let report = |format| {
        let options = ["report", "--input", command.samples, "--format", format];
        Cmd::new(dir).args(options)
    };
    let text = fs::read_to_string(dir.path().join(command.samples)).unwrap_or_default();
    let (whole, torn) = text.rsplit_once('\n').unwrap_or(("", &text));
    let parsed = whole.lines().map(|line| (line, serde_json::from_str(line)));
    let lines = parsed.map(|(line, value)| value.unwrap_or_else(|error| panic!("{error}: {line}")));
    let lines: Vec<Value> = lines.collect();
    let Some((header, rest)) = lines.split_first() else {
        let refused = report("table").fails(2);
        assert!(refused.stderr.starts_with("[ERROR] --input "), "{refused}");
        return None;
    };
    let samples: Vec<&Value> = rest
        .iter()
        .filter(|line| line["series"].is_null())
        .collect();
    let is_whole = rest.iter().any(is_last);
    check_results(dir, &samples, has_ended);
    let shown = report("table").ok();
    let is_told = NOTES.iter().any(|note| shown.stdout.contains(note));
    assert_eq!(is_told, !is_whole || !torn.is_empty(), "{shown}");
    let measured = samples.iter().filter(|line| line["phase"] == "measured");
    check_report(command, &report("json").ok(), measured.count());
    let ids: HashSet<String> = samples.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), samples.len(), "an id stands there twice");
    Some(Left {
        run_id: header["run_id"]
            .as_str()
            .expect("its header has it")
            .to_string(),
        ids,
        is_whole,
    })
}

/// Returns whether this is the line of the last pass, after which no samples come.
fn is_last(line: &Value) -> bool {
    let is_last_round = line["round"].is_null() || line["round"] == 2;
    let is_last_workload = line["workload"].is_null() || line["workload"] == "stress_test";
    line["series"] == "pass" && is_last_round && is_last_workload
}

fn check_report(command: &Command, shown: &Output, measured: usize) {
    let report: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((command.counted)(&report), measured as u64, "{shown}");
}

/// Checks that each round or workload followed by another has its complete file, and that no file is incomplete.
fn check_results(dir: &Dir, samples: &[&Value], has_ended: bool) {
    let mut ended: Vec<(String, u64)> = Vec::new();
    for sample in samples {
        let name = match (&sample["round"], sample["workload"].as_str()) {
            (round, None) => format!("concurrency_4_round_{round}.json"),
            (_, Some(workload)) => format!("{workload}_metrics.json"),
        };
        match ended.last_mut().filter(|(last, _)| *last == name) {
            Some((_, count)) => *count += 1,
            None => ended.push((name, 1)),
        }
    }
    // Its file is written after its last line.
    if !has_ended {
        ended.pop();
    }
    let folder = dir.path().join("benchmark_results");
    if folder.exists() {
        for (name, count) in ended {
            let file = json(&folder.join(&name));
            let told = [&file["total_requests"], &file["summary"]["total_requests"]];
            assert!(
                told.iter().any(|told| **told == count),
                "{name}: {told:?}, {count}"
            );
        }
    }
    let files = fs::read_dir(folder).into_iter().flatten();
    for path in files.map(|file| file.expect("an entry").path()) {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => drop(json(&path)),
            Some("html") => {
                let text = fs::read_to_string(&path).expect("a file");
                assert!(text.ends_with("</html>\n"), "{}", path.display());
            }
            _ => (),
        }
    }
    let result = dir.path().join("r.json");
    if result.exists() {
        json(&result);
    }
}

fn json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sum<'a>(parts: impl Iterator<Item = &'a Value>) -> u64 {
    parts
        .map(|part| part["total_requests"].as_u64().expect("a count"))
        .sum()
}

#[test]
fn a_killed_load_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "load --api completions --requests 400 --warmup 40 --concurrency 4 --max-tokens 10 --samples s.jsonl --output r.json",
        samples: "s.jsonl",
        requests: 440,
        counted: |report| report["total_requests"].as_u64().unwrap_or(0),
    });
}

#[test]
fn a_killed_benchmark_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "benchmark --contexts 4 --max-inflight 4 --input-length 50 --output-length 10 --requests 400 --warmup-seconds 0.1 --samples s.jsonl --output r.json",
        samples: "s.jsonl",
        requests: 400,
        counted: |report| {
            report["summary"]["averages"]["requests"]
                .as_u64()
                .unwrap_or(0)
        },
    });
}

#[test]
fn a_killed_replay_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "replay --dataset d.jsonl --concurrency 4 --rounds 2 --max-output-tokens 10",
        samples: "benchmark_results/samples.jsonl",
        requests: 400,
        counted: |report| {
            let rounds = report["rounds"].as_array().expect("rounds").iter();
            sum(rounds.map(|round| &round["summary"]))
        },
    });
}

#[test]
fn a_killed_run_leaves_every_request_that_had_ended() {
    check(&Command {
        words: "run --workload year1 --requests 4",
        samples: "benchmark_results/samples.jsonl",
        requests: 12,
        counted: |report| sum(report["workloads"].as_object().expect("workloads").values()),
    });
}
