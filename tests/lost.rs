//! A full disk, a removed folder, a stdout whose reader leaves: reported once, the run continues, and written files are
//! complete.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, RawServer, json_file, until};

/// Runs of two seconds with a samples file in the folder `d`, and the last words of their reports.
const RUNS: [(&str, &str, &str); 4] = [
    (
        "load --backend mock --mock base=10ms,itl=10ms --requests 60 --concurrency 2 --max-tokens 6 --output r.json --samples d/samples.jsonl",
        "--samples",
        "Figures in r.json",
    ),
    (
        "benchmark --backend mock --mock base=10ms,itl=10ms --contexts 4 --max-inflight 2 --input-length 50 --output-length 6 --requests 60 --output r.json --samples d/samples.jsonl",
        "--samples",
        "Final Report",
    ),
    (
        "replay --backend mock --mock base=10ms,itl=10ms --dataset d.jsonl --concurrency 2 --rounds 2 --max-output-tokens 6 --output-dir d",
        "samples.jsonl",
        "Round 2 against round 1",
    ),
    (
        "run --mock base=10ms,itl=4ms --workload stress --requests 20 --output d",
        "samples.jsonl",
        "Requests/s",
    ),
];

fn start(dir: &Dir, words: &str, before: &str) -> Cmd {
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n".repeat(30));
    fs::create_dir(dir.path().join("d")).expect("a fresh folder");
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    Cmd::program("sh", dir).args(["-c", &format!("{before} exec {bin} {words}")])
}

/// Checks for one warning about the samples, one message at the end about all losses, exit code 1, and the report.
fn check(output: &Output, samples: &str, reason: &str, report: &str) {
    assert_eq!(output.status.code(), Some(1), "{output}");
    let warning = format!("warning: {samples}: {reason}");
    assert_eq!(
        output.stderr.matches(&warning).count(),
        1,
        "{warning}\n{output}"
    );
    let errors = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("[ERROR]"));
    assert_eq!(errors.count(), 1, "{output}");
    assert!(output.stdout.contains(report), "{output}");
}

#[test]
fn a_disk_that_fills_up_in_a_run_costs_the_samples_and_nothing_else() {
    for (words, samples, report) in RUNS {
        let dir = Dir::new();
        // The limit is 20 or 40 KiB, depending on the shell; a write beyond it fails like one to a full disk.
        let output = start(&dir, words, "trap '' XFSZ; ulimit -f 40;").run();
        check(
            &output,
            samples,
            "File too large (os error 27); the run goes on without it",
            report,
        );
        let text = dir.read("d/samples.jsonl");
        let (whole, _) = text.rsplit_once('\n').expect("lines");
        for line in whole.lines() {
            serde_json::from_str::<Value>(line).expect(line);
        }
    }
}

#[test]
fn a_folder_that_is_removed_in_a_run_is_reported_within_a_second_or_two() {
    for (words, samples, report) in RUNS {
        let dir = Dir::new();
        let folder = dir.path().join("d");
        let running = start(&dir, words, "").start();
        until("samples", || lines(&folder.join("samples.jsonl")) > 5);
        fs::remove_dir_all(&folder).expect("it is there");
        let output = running.wait();
        check(
            &output,
            samples,
            "the file was removed; the run goes on without it",
            report,
        );
        let at = output.stderr.find("the file was removed");
        assert!(at < output.stderr.find("[ERROR]"), "{output}");
    }
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_reader_that_has_seen_enough_of_a_load_gets_a_quiet_end_and_whole_files() {
    let dir = Dir::new();
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let words = RUNS[0].0.replace("d/", "");
    let script = format!("{{ {bin} {words}; echo $? >code; }} 2>errors | head -n 5");
    let output = Cmd::program("sh", &dir)
        .args(["-c", &script])
        .deadline(Duration::from_secs(20))
        .ok();
    assert_eq!(output.stdout.lines().count(), 5, "{output}");
    assert_eq!(
        (dir.read("code").as_str(), dir.read("errors").as_str()),
        ("0\n", "")
    );
    let result = json_file(&dir, "r.json");
    assert_eq!(result["successful_requests"], 60);
    let samples = dir.read("samples.jsonl");
    assert_eq!(samples.matches("\"phase\":\"measured\"").count(), 60);
}

#[test]
fn a_path_that_cannot_be_written_is_refused_before_the_first_request() {
    let server = RawServer::start(|_, _| ());
    for (words, message) in [
        ("load --output d.jsonl/r", "--output d.jsonl/r: "),
        ("load --samples d.jsonl/s", "--samples d.jsonl/s: "),
        ("load --export vllm d.jsonl/v", "--export vllm d.jsonl/v: "),
        ("benchmark --output d.jsonl/r", "--output d.jsonl/r: "),
        ("benchmark --samples d.jsonl/s", "--samples d.jsonl/s: "),
        (
            "replay --dataset d.jsonl --output-dir d.jsonl/d",
            "--output-dir d.jsonl/d: ",
        ),
        ("run --output d.jsonl/d", "--output d.jsonl/d: "),
    ] {
        let dir = Dir::new();
        let words = format!("{words} --endpoint http://{}", server.addr());
        let refused = start(&dir, &words, "").fails(2);
        let wanted = format!("[ERROR] {message}Not a directory (os error 20)\n");
        assert_eq!(refused.stderr, wanted, "{refused}");
        assert_eq!(dir.read("d.jsonl").lines().count(), 30, "{refused}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

/// Runs `load` or `benchmark` with both of their files in a removed folder.
fn lose_both(words: &str, report: &str) {
    let dir = Dir::new();
    let words = words.replace("r.json", "d/r.json");
    let running = start(&dir, &format!("{words} >out 2>errors"), "").start();
    let folder = dir.path().join("d");
    until("samples", || lines(&folder.join("samples.jsonl")) > 5);
    fs::remove_dir_all(&folder).expect("it is there");
    until("warning", || dir.read("errors").contains("was removed"));
    thread::sleep(Duration::from_millis(100));
    assert!(!dir.read("out").contains(report), "told only at the end");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(1), "{output}");
    let [samples, result] = [
        "--samples: the file was removed",
        "--output d/r.json: No such file or directory (os error 2)",
    ];
    let errors = dir.read("errors");
    let last = errors.lines().last();
    let wanted = format!("[ERROR] output: {samples}; {result}");
    assert_eq!(last, Some(wanted.as_str()), "{errors}");
    let warning = format!("warning: {samples}; the run goes on without it");
    assert_eq!(errors.matches(&warning).count(), 1, "{errors}");
    let shown = dir.read("out");
    assert!(shown.contains(report), "{shown}");
    // No missing file is named.
    assert!(!shown.contains(" in d/"), "{shown}");
    assert!(!folder.exists(), "{shown}");
}

#[test]
fn both_files_in_a_removed_folder_are_lost_with_one_message_and_the_report_is_printed() {
    thread::scope(|scope| {
        scope.spawn(|| lose_both(RUNS[0].0, "Requests: 60 sent = 60 succeeded"));
        scope.spawn(|| lose_both(RUNS[1].0, "Final Report"));
    });
}

#[test]
fn a_reader_that_has_seen_enough_of_a_replay_gets_a_quiet_end() {
    let dir = Dir::new();
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let script = format!(
        "{{ {bin} {}; echo $? >code; }} 2>errors | head -n 1",
        RUNS[2].0
    );
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n".repeat(30));
    let output = Cmd::program("sh", &dir).args(["-c", &script]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert_eq!(
        (dir.read("code").as_str(), dir.read("errors").as_str()),
        ("0\n", "")
    );
}
