//! Results of an earlier run in the place of new ones: samples are moved aside, other files are named before they are
//! replaced.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::util::{Cmd, Dir};

fn run(dir: &Dir, words: &str) -> Cmd {
    Cmd::new(dir).args(words.split(' '))
}

/// Returns when the run of a file of samples started.
fn started_at(samples: &str) -> String {
    let header = samples.lines().next().expect("a header");
    let header: Value = serde_json::from_str(header).expect("JSON");
    let at = header["started_at"].as_str();
    at.expect("a time").to_string()
}

#[test]
fn the_samples_of_another_command_in_the_same_folder_are_kept_and_named() {
    let dir = Dir::new();
    let first = run(&dir, "run --workload short --requests 2 --backend mock").ok();
    assert!(!first.stderr.contains("samples.jsonl"), "{first}");
    let of_run = dir.read("benchmark_results/samples.jsonl");
    let replay = "replay --synthetic 2 --backend mock --max-output-tokens 5";
    let output = run(&dir, replay).ok();
    let note = format!(
        "note: benchmark_results/samples.jsonl has results of run, started at {}; this file is moved to benchmark_results/samples.1.jsonl\n",
        started_at(&of_run)
    );
    assert!(output.stderr.contains(&note), "{output}");
    assert_eq!(dir.read("benchmark_results/samples.1.jsonl"), of_run);
    let of_replay = dir.read("benchmark_results/samples.jsonl");
    assert!(of_replay.contains("\"command\":\"replay\""));
    run(&dir, replay).ok();
    assert_eq!(dir.read("benchmark_results/samples.1.jsonl"), of_run);
    assert_eq!(dir.read("benchmark_results/samples.2.jsonl"), of_replay);
}

#[test]
fn the_samples_that_an_option_names_are_kept_and_a_result_that_is_replaced_is_named() {
    for words in [
        "load --requests 2 --warmup 0 --backend mock --samples s.jsonl --output r.json",
        "benchmark --contexts 2 --input-length 50 --output-length 5 --requests 2 --backend mock --samples s.jsonl --output r.json",
    ] {
        let dir = Dir::new();
        let first = run(&dir, words).ok();
        assert!(!first.stderr.contains("this file"), "{first}");
        let (samples, command) = (dir.read("s.jsonl"), words.split(' ').next().expect("one"));
        let output = run(&dir, words).ok();
        let at = started_at(&samples);
        let held = format!("has results of {command}, started at {at}; this file is");
        for note in [
            format!("note: --samples s.jsonl {held} moved to s.1.jsonl\n"),
            format!("note: --output r.json {held} replaced\n"),
        ] {
            assert!(output.stderr.contains(&note), "{note}{output}");
        }
        assert_eq!(dir.read("s.1.jsonl"), samples);
        assert_ne!(dir.read("s.jsonl"), samples);
    }
}

#[test]
fn a_run_that_measures_nothing_leaves_every_file_where_it_is() {
    let dir = Dir::new();
    for name in ["s.jsonl", "r.json"] {
        dir.write(name, "{\"torn");
    }
    let words = "load --endpoint 127.0.0.1:1/generate --samples s.jsonl --output r.json";
    let output = run(&dir, words).fails(2);
    for (flag, name, end) in [
        ("--samples", "s.jsonl", "moved to s.1.jsonl"),
        ("--output", "r.json", "replaced"),
    ] {
        let note =
            format!("note: {flag} {name} has something else than results; this file is {end}\n");
        assert!(output.stderr.contains(&note), "{output}");
        assert_eq!(dir.read(name), "{\"torn");
    }
    assert!(!dir.path().join("s.1.jsonl").exists());
}

#[test]
fn a_foreign_file_is_moved_whole_and_links_and_devices_are_written_to() {
    let dir = Dir::new();
    dir.write("s.jsonl", "notes of somebody\n");
    dir.write("other", "old\n");
    symlink("other", dir.path().join("link.jsonl")).expect("a link");
    for samples in ["s.jsonl", "link.jsonl", "/dev/null"] {
        let words = "load --requests 2 --warmup 0 --backend mock --samples";
        run(&dir, words).arg(samples).ok();
    }
    assert_eq!(dir.read("s.1.jsonl"), "notes of somebody\n");
    assert!(!dir.path().join("link.1.jsonl").exists());
    let link = fs::symlink_metadata(dir.path().join("link.jsonl"));
    assert!(link.expect("still there").is_symlink());
    assert!(dir.read("other").starts_with("{\"schema\""));
}
