//! `merge` of samples files that are written here, so that every figure is known: faults of files and their codes.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, Samples, json_file};

const S: u64 = 1_000_000_000;

/// A file of a shard of a run with three requests a shard.
struct File {
    header: Value,
    lines: Vec<Value>,
}

/// Returns the file of a shard whose first request is sent so many seconds after stamp 0. Each is sent a second after the
/// one before it and takes a second; `wall_s` is the wall clock at stamp 0.
fn shard((index, of): (u64, u64), requests: u64, from_s: u64, wall_s: u64) -> File {
    let clock =
        json!({"shard": index, "wall_us": wall_s * 1_000_000, "t_ns": 0, "server_us": null});
    let header = json!({
        "schema": "tmesh-cli/samples/2", "tool_version": "0.1.0", "command": "load", "run_id": "feed", "seed": 1,
        "nonce": "n", "model": "m", "mock": false, "slo": null, "options": {"requests": requests * of},
        "setup": {"common_tokens": 0}, "shard": {"of": of, "held": [index]}, "clock": clock,
    });
    let sample = |k: u64| {
        let send_ns = (from_s + k) * S;
        json!({
            "id": k * of + index, "phase": "measured", "ok": true, "t_send_ns": send_ns,
            "t_first_ns": send_ns + S / 2, "t_last_ns": send_ns + S, "t_end_ns": send_ns + S,
            "completion_tokens": 2, "token_source": "usage", "token_events": 2, "concurrency": of,
        })
    };
    let shares: Vec<u64> = (0..of).map(|_| requests).collect();
    let pass = json!({
        "series": "pass", "concurrency": of, "t_start_ns": from_s * S, "planned": requests, "shares": shares,
        "told": {"peak_mem_mb": {"value": 5.0, "source": "the page"}},
    });
    let mut end = clock;
    end["series"] = json!("clock");
    let mut lines: Vec<Value> = (0..requests).map(sample).collect();
    lines.extend([pass, end]);
    File { header, lines }
}

impl File {
    fn text(&self) -> String {
        let lines = std::iter::once(&self.header).chain(&self.lines);
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// Writes four shards of three requests that work from second 0 to 3 of the wall clock of the first one.
fn four(dir: &Dir) {
    for index in 0..4 {
        // The later a process began, the earlier on its clock is the same moment.
        let file = shard((index, 4), 3, 10 - index, 1000 + index);
        dir.write(&format!("s{index}.jsonl"), file.text());
    }
}

fn merge(dir: &Dir, words: &str) -> Cmd {
    Cmd::new(dir).arg("merge").args(words.split_whitespace())
}

/// Returns the ids of the requests of a file, in its order.
fn ids(dir: &Dir, name: &str) -> Vec<u64> {
    let samples = Samples::read(dir, name);
    let id = |sample: &Value| sample["id"].as_u64().expect("an id");
    samples.requests().map(id).collect()
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

fn exists(dir: &Dir, name: &str) -> bool {
    dir.path().join(name).exists()
}

/// Returns the report of all.jsonl as JSON and as text.
fn report(dir: &Dir) -> (Value, String) {
    let words = "report -i all.jsonl --format json -o r.json";
    Cmd::new(dir).args(words.split(' ')).ok();
    let shown = Cmd::new(dir).args(["report", "-i", "all.jsonl"]).ok();
    (json_file(dir, "r.json"), shown.stdout)
}

/// Checks a line of stderr by its beginning.
fn says(output: &Output, start: &str) {
    let mut lines = output.stderr.lines();
    assert!(
        lines.any(|line| line.starts_with(start)),
        "{start}\n{output}"
    );
}

#[test]
fn four_shards_are_one_run_with_every_request_once() {
    let dir = Dir::new();
    four(&dir);
    let output = merge(&dir, "s3.jsonl s1.jsonl s0.jsonl s2.jsonl -o all.jsonl").ok();
    for text in [
        "Merged 4 of 4 shards of run feed: 12 requests\n",
        "\nOverlap: 100.0 % of the time\n",
        "\nClocks: not known to agree, ",
        "\nMerge: WHOLE. all.jsonl is the run of all 4 shards\n",
        "\nNext: tmesh-cli report --input all.jsonl\n",
    ] {
        assert!(output.stdout.contains(text), "{text}\n{output}");
    }
    // Requests k of all shards ended at one moment, 11 s + k after the clock of the first.
    let ends = Samples::read(&dir, "all.jsonl");
    let ends: Vec<u64> = ends
        .requests()
        .filter_map(|of| of["t_end_ns"].as_u64())
        .collect();
    assert_eq!(ends, [[11 * S; 4], [12 * S; 4], [13 * S; 4]].concat());
    assert_eq!(ids(&dir, "all.jsonl"), (0..12).collect::<Vec<u64>>());
    let (report, shown) = report(&dir);
    assert_eq!(report["successful_requests"], 12);
    // 12 requests of 2 tokens in 3 s, 4 at once.
    assert_eq!(report["request_throughput_rps"], 4.0);
    assert_eq!(report["throughput_tokens_per_s"], 8.0);
    assert!(
        shown.contains("\nAchieved Concurrency: mean 4.00, peak 4\n"),
        "{shown}"
    );
    assert_eq!(report["ttft_p99_ms"], 500.0);
}

#[test]
fn files_that_are_not_of_one_run_are_refused_and_nothing_is_written() {
    let dir = Dir::new();
    four(&dir);
    let not_of = "[ERROR] other.jsonl: not of the same run as s0.jsonl: ";
    for (key, value, error) in [
        ("run_id", json!("beef"), format!("{not_of}the run is \"beef\" here and \"feed\" there")),
        ("seed", json!(2), format!("{not_of}--seed is 2 here and 1 there")),
        ("nonce", json!("o"), format!("{not_of}--nonce is \"o\" here and \"n\" there")),
        ("model", json!("k"), format!("{not_of}the model is \"k\" here and \"m\" there")),
        ("options", json!({}), format!("{not_of}the options differ")),
        (
            "shard",
            json!({"of": 5, "held": [1]}),
            "[ERROR] other.jsonl: one of 5 shards, but s0.jsonl is one of 4".to_string(),
        ),
        (
            "shard",
            Value::Null,
            "[ERROR] other.jsonl: samples of a run without --shard, which is whole; want those of shards".to_string(),
        ),
    ] {
        let mut other = shard((1, 4), 3, 9, 1001);
        other.header[key] = value;
        dir.write("other.jsonl", other.text());
        let output = merge(&dir, "s0.jsonl other.jsonl s2.jsonl s3.jsonl -o all.jsonl").fails(2);
        says(&output, &error);
        assert!(!exists(&dir, "all.jsonl"), "{output}");
    }
    // Its first pass is another point of the sweep.
    let mut other = shard((1, 4), 3, 9, 1001);
    other.lines[3]["concurrency"] = json!(9);
    dir.write("other.jsonl", other.text());
    let output = merge(&dir, "s0.jsonl other.jsonl -o all.jsonl").fails(2);
    says(
        &output,
        "[ERROR] other.jsonl: has concurrency 9 where s0.jsonl has concurrency 4",
    );
    assert!(!exists(&dir, "all.jsonl"), "{output}");
}

#[test]
fn files_and_outputs_that_cannot_be_are_errors_before_anything_is_written() {
    let dir = Dir::new();
    four(&dir);
    symlink("s0.jsonl", dir.path().join("link.jsonl")).expect("a fresh name");
    dir.write("folder/x", "");
    dir.write("text.jsonl", "{}\n");
    let before = dir.read("s0.jsonl");
    for (words, error) in [
        (
            "-o all.jsonl",
            "[ERROR] merge: not given; want tmesh-cli merge FILE…",
        ),
        ("s0.jsonl s1.jsonl", "[ERROR] --output: not given; "),
        (
            "s0.jsonl none.jsonl -o all.jsonl",
            "[ERROR] none.jsonl: cannot read: ",
        ),
        (
            "s0.jsonl text.jsonl -o all.jsonl",
            "[ERROR] text.jsonl, line 1: not the header of ",
        ),
        (
            "s0.jsonl s1.jsonl -o s0.jsonl",
            "[ERROR] --output s0.jsonl: the same file as s0.jsonl, which is read",
        ),
        (
            "s0.jsonl s1.jsonl -o ./s1.jsonl",
            "[ERROR] --output ./s1.jsonl: the same file as s1.jsonl, which is read",
        ),
        (
            "s0.jsonl s1.jsonl -o link.jsonl",
            "[ERROR] --output link.jsonl: the same file as s0.jsonl, which is read",
        ),
        (
            "s0.jsonl s1.jsonl -o none/all.jsonl",
            "[ERROR] --output none/all.jsonl: No such file or directory",
        ),
        (
            "s0.jsonl s1.jsonl -o folder",
            "[ERROR] --output folder: Is a directory",
        ),
    ] {
        says(&merge(&dir, words).fails(2), error);
        assert!(!exists(&dir, "all.jsonl"), "{words}");
    }
    // A full disk loses an output, as in other commands.
    let full = merge(&dir, "s0.jsonl s1.jsonl -o /dev/full").fails(1);
    says(&full, "[ERROR] --output /dev/full: No space left on device");
    assert_eq!(dir.read("s0.jsonl"), before);
}

#[test]
fn a_wrong_line_in_the_middle_leaves_no_half_of_a_run() {
    let dir = Dir::new();
    four(&dir);
    dir.write(
        "s2.jsonl",
        shard((2, 4), 3, 8, 1002)
            .text()
            .replacen("\"id\":6", "\"id\":-6", 1),
    );
    let output = merge(&dir, "s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl").fails(2);
    says(
        &output,
        "[ERROR] s2.jsonl, line 3: id: want a whole number ",
    );
    assert!(!exists(&dir, "all.jsonl"), "{output}");
}

#[test]
fn a_shard_in_two_files_is_merged_once_and_named() {
    let dir = Dir::new();
    four(&dir);
    fs::copy(dir.path().join("s1.jsonl"), dir.path().join("copy.jsonl")).expect("a fresh name");
    for (words, named) in [
        (
            "s0.jsonl s1.jsonl s1.jsonl s2.jsonl s3.jsonl",
            "shard 1 is in s1.jsonl and in s1.jsonl, which is left out",
        ),
        (
            "copy.jsonl s0.jsonl s1.jsonl s2.jsonl s3.jsonl",
            "shard 1 is in copy.jsonl and in s1.jsonl, which is left out",
        ),
    ] {
        let output = merge(&dir, &format!("{words} -o all.jsonl")).fails(1);
        says(&output, &format!("[ERROR] merge: {named}"));
        assert!(
            output
                .stdout
                .contains(&format!("\nNote: Merged: {named}\n")),
            "{output}"
        );
        assert!(
            output.stdout.contains("\nMerge: WHOLE, BUT DOUBLED. "),
            "{output}"
        );
        assert_eq!(ids(&dir, "all.jsonl"), (0..12).collect::<Vec<u64>>());
        merge(&dir, &format!("{words} -o all.jsonl --allow-missing")).ok();
    }
}

#[test]
fn a_cut_shard_is_named_with_what_it_was_to_send_and_its_requests_count() {
    let dir = Dir::new();
    four(&dir);
    // It was killed while it wrote its third request.
    let text = shard((1, 4), 3, 9, 1001).text();
    let third = text
        .find("{\"completion_tokens\":2,\"concurrency\":4,\"id\":9")
        .expect("it");
    dir.write("s1.jsonl", &text[..third + 30]);
    let words = "s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl";
    let output = merge(&dir, words).fails(1);
    says(
        &output,
        "[ERROR] merge: shard 1 was cut: s1.jsonl has 2 of the 3 requests that it was to send",
    );
    let torn = "\nNote: Merged: the last line of s1.jsonl is incomplete and left out\n";
    assert!(output.stdout.contains(torn), "{output}");
    assert_eq!(
        sorted(ids(&dir, "all.jsonl")),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    );
    let output = merge(&dir, &format!("{words} --allow-missing")).ok();
    assert!(output.stdout.contains("\nMerge: NOT WHOLE. "), "{output}");
    let report = Cmd::new(&dir).args(["report", "-i", "all.jsonl"]).ok();
    assert!(report.stdout.contains(torn), "{report}");
    assert!(
        report.stdout.contains("\nNote: Merged: shard 1 was cut: "),
        "{report}"
    );
}

#[test]
fn a_line_that_is_torn_after_the_last_request_takes_nothing() {
    let dir = Dir::new();
    four(&dir);
    let text = dir.read("s2.jsonl");
    dir.write("s2.jsonl", &text[..text.len() - 5]);
    let output = merge(&dir, "s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl").ok();
    let torn = "\nNote: Merged: the last line of s2.jsonl is incomplete and left out\n";
    assert!(output.stdout.contains(torn), "{output}");
    assert!(output.stdout.contains("\nMerge: WHOLE. "), "{output}");
}

#[test]
fn missing_shards_are_named_and_can_be_merged_later() {
    let dir = Dir::new();
    four(&dir);
    let output = merge(&dir, "s0.jsonl s2.jsonl -o even.jsonl").fails(1);
    for index in [1, 3] {
        says(
            &output,
            &format!("[ERROR] merge: shard {index} is missing: 3 requests that it was to send"),
        );
    }
    assert_eq!(ids(&dir, "even.jsonl"), [0, 2, 4, 6, 8, 10]);
    merge(&dir, "s1.jsonl s3.jsonl -o odd.jsonl --allow-missing").ok();
    let output = merge(&dir, "odd.jsonl even.jsonl -o both.jsonl").ok();
    assert!(output.stdout.contains("\nMerge: WHOLE. "), "{output}");
    merge(&dir, "s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl").ok();
    let requests = |name: &str| {
        let samples = Samples::read(&dir, name);
        let mut requests: Vec<Value> = samples.requests().cloned().collect();
        requests.sort_by_key(|sample| sample["id"].as_u64());
        requests
    };
    assert_eq!(requests("both.jsonl"), requests("all.jsonl"));
    let parts = |name: &str| {
        let samples = Samples::read(&dir, name);
        let series = |name| samples.series(name).cloned().collect::<Vec<Value>>();
        (
            samples.header.clone(),
            series("pass"),
            series("clock").len(),
        )
    };
    assert_eq!(parts("both.jsonl"), parts("all.jsonl"));
    let told = &parts("both.jsonl").1[0]["told"]["peak_mem_mb"];
    assert_eq!(
        told,
        &json!({"value": 5.0, "source": "the page, read by shard 0"})
    );
}

#[test]
fn an_incomplete_replay_is_complete_once_its_missing_shards_are_merged() {
    let dir = Dir::new();
    for index in 0..3 {
        let mut file = shard((index, 3), 3, 10, 1000);
        file.header["command"] = json!("replay");
        file.lines[3]["is_complete"] = json!(true);
        dir.write(&format!("s{index}.jsonl"), file.text());
    }
    let is_complete = |name: &str| {
        let samples = Samples::read(&dir, name);
        let pass = samples.series("pass").next().expect("a pass");
        pass["is_complete"].as_bool()
    };
    merge(&dir, "s0.jsonl s1.jsonl -o two.jsonl --allow-missing").ok();
    assert_eq!(is_complete("two.jsonl"), Some(false));
    merge(&dir, "two.jsonl s2.jsonl -o all.jsonl").ok();
    assert_eq!(is_complete("all.jsonl"), Some(true));
}

#[test]
fn rates_are_taken_over_the_time_that_all_shards_have_in_common() {
    let dir = Dir::new();
    // Ten requests each, from second 0 to 10 and from 5 to 15.
    dir.write("s0.jsonl", shard((0, 3), 10, 10, 1000).text());
    dir.write("s1.jsonl", shard((1, 3), 10, 15, 1000).text());
    // From second 2 to 12.
    dir.write("s2.jsonl", shard((2, 3), 10, 12, 1000).text());
    merge(&dir, "s0.jsonl s1.jsonl -o two.jsonl --allow-missing").ok();
    for words in ["s0.jsonl s1.jsonl s2.jsonl", "two.jsonl s2.jsonl"] {
        let output = merge(&dir, &format!("{words} -o all.jsonl")).ok();
        // The 5 seconds from 5 to 10, of 15.
        assert!(
            output.stdout.contains("\nOverlap: 33.3 % of the time\n"),
            "{output}"
        );
        let note = "All shards were at work in 33.3 % of the time: rates are taken over that time only, latencies over all requests\n";
        assert!(output.stdout.contains(note), "{output}");
        let (report, shown) = report(&dir);
        assert_eq!(report["successful_requests"], 30);
        // Five requests of each shard end in these seconds.
        assert_eq!(report["request_throughput_rps"], 3.0);
        assert_eq!(report["throughput_tokens_per_s"], 6.0);
        assert!(
            shown.contains("\nAchieved Concurrency: mean 3.00, peak 3\n"),
            "{shown}"
        );
        assert_eq!(report["latency_p50_ms"], 1000.0);
    }
}

#[test]
fn shards_that_ran_one_after_the_other_have_no_rates() {
    let dir = Dir::new();
    dir.write("s0.jsonl", shard((0, 2), 3, 10, 1000).text());
    dir.write("s1.jsonl", shard((1, 2), 3, 20, 1000).text());
    let output = merge(&dir, "s0.jsonl s1.jsonl -o all.jsonl").ok();
    let note = "The shards were not at work at one time, so there are no rates of all of them";
    assert!(output.stdout.contains(note), "{output}");
    let (report, shown) = report(&dir);
    assert_eq!(report["successful_requests"], 6);
    for rate in ["request_throughput_rps", "throughput_tokens_per_s"] {
        assert_eq!(report.get(rate), Some(&Value::Null), "{rate}");
    }
    assert!(
        shown.contains("\nAchieved Concurrency: mean n/a, peak 1\n"),
        "{shown}"
    );
}

#[test]
fn an_earlier_merge_is_moved_aside_and_the_note_says_so() {
    let dir = Dir::new();
    four(&dir);
    merge(&dir, "s0.jsonl s1.jsonl -o all.jsonl --allow-missing").ok();
    let earlier = dir.read("all.jsonl");
    let output = merge(&dir, "s0.jsonl s1.jsonl s2.jsonl s3.jsonl -o all.jsonl").ok();
    says(
        &output,
        "note: --output all.jsonl has results of an earlier run; this file is moved to all.1.jsonl",
    );
    assert_eq!(dir.read("all.1.jsonl"), earlier);
}
