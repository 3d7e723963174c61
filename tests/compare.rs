//! `compare` against mocks whose times are known, live and by saved runs.

use std::time::Duration;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, Server};

/// Compares two mocks in the same process, with requests of one kind.
fn compare(dir: &Dir, base: &str, new: &str, words: &str) -> Cmd {
    let start = ["compare", "--backend", "mock", "--mock", base];
    let lengths = "--input-tokens 200 --max-tokens 3 --warmup 1";
    Cmd::new(dir)
        .args(start)
        .args(["--against-mock", new])
        .args(lengths.split(' '))
        .args(words.split_whitespace())
}

fn json(dir: &Dir, name: &str) -> Value {
    let text = dir.read(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

fn figure<'a>(result: &'a Value, name: &str) -> &'a Value {
    let mut figures = result["figures"].as_array().into_iter().flatten();
    let found = figures.find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {result}"))
}

/// Returns the report that a comparison has printed: from the head of its table on.
fn printed(output: &Output) -> &str {
    let at = output.stdout.find("Figure   ");
    &output.stdout[at.unwrap_or_else(|| panic!("{output}"))..]
}

#[test]
fn a_slower_prefill_is_found_with_its_size_and_fails_the_job() {
    let dir = Dir::new();
    let (base, new) = ("base=10ms,prefill_rate=20k", "base=10ms,prefill_rate=10k");
    let words = "--figure ttft_mean error_rate --output r.json --samples s.jsonl --summary pr.md";
    let output = compare(&dir, base, new, words).fails(1);
    let result = json(&dir, "r.json");
    assert_eq!(result["verdict"], "slower", "{output}");
    // 200 tokens take 10 ms at the one rate and 20 ms at the other: 20 ms and 30 ms with the base.
    let ttft = figure(&result, "ttft_mean");
    let ratio = ttft["ratio"].as_f64().expect("a ratio");
    assert!((1.35..1.6).contains(&ratio), "{output}");
    assert_eq!(figure(&result, "error_rate")["verdict"], "same", "{output}");
    let pairs = ttft["pairs"].as_u64().expect("a count");
    assert!((120..2000).contains(&pairs), "{output}");
    assert!(
        output.stderr.contains("[ERROR] compare: Slower: TTFT +"),
        "{output}"
    );
    assert_eq!(dir.read("pr.md").lines().count(), 5, "{output}");
    for input in ["s.jsonl", "r.json"] {
        let report = Cmd::new(&dir).args(["report", "-i", input]).ok();
        assert_eq!(printed(&report), printed(&output), "{input}");
    }
    let page = Cmd::new(&dir)
        .args(["report", "-i", "r.json", "--format", "html"])
        .ok();
    assert!(page.stdout.contains("<svg"), "{page}");
}

#[test]
fn two_servers_alike_are_the_same_and_too_few_pairs_are_unclear() {
    let dir = Dir::new();
    let mock = "base=20ms,prefill_rate=1M";
    let words = "--margin 30% --figure ttft_mean error_rate --output r.json";
    let output = compare(&dir, mock, mock, words).ok();
    assert_eq!(json(&dir, "r.json")["verdict"], "same", "{output}");
    for (unclear, code) in [("", 3), ("--unclear pass", 0), ("--unclear fail", 1)] {
        let words = format!("--pairs 3 --output u.json {unclear}");
        let output = compare(&dir, mock, mock, &words).fails(code);
        let result = json(&dir, "u.json");
        assert_eq!(result["verdict"], "unclear", "{output}");
        let requests: Vec<u64> = result["sides"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|side| side["requests"].as_u64())
            .collect();
        assert_eq!(requests, [3, 3], "{output}");
    }
}

#[test]
fn several_requests_in_flight_go_out_in_turns() {
    let dir = Dir::new();
    let (base, new) = ("base=10ms,prefill_rate=1M", "base=20ms,prefill_rate=1M");
    let words = "--concurrency 4 --figure ttft_mean --output r.json --samples s.jsonl";
    let output = compare(&dir, base, new, words).fails(1);
    assert_eq!(json(&dir, "r.json")["verdict"], "slower", "{output}");
    let text = dir.read("s.jsonl");
    let samples = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let samples: Vec<Value> = samples
        .filter(|line: &Value| line["phase"] == "measured")
        .collect();
    // No request of one side was in flight together with one of the other.
    let span = |line: &Value| (line["t_send_ns"].as_u64(), line["t_end_ns"].as_u64());
    for one in samples.iter().filter(|line| line["side"] == "base") {
        let ((from, to), new) = (
            span(one),
            samples.iter().filter(|line| line["side"] == "new"),
        );
        let together = new
            .map(span)
            .filter(|(sent, ended)| *sent < to && *ended > from);
        assert_eq!(together.count(), 0, "{output}");
    }
}

/// Sends a few runs to a mock in the same process, and keeps the samples.
fn load(dir: &Dir, mock: &str, runs: u64, samples: &str) {
    let words = format!(
        "load --backend mock --mock {mock} --concurrency 1 --requests 10 --warmup 1 --max-tokens 3 --input-tokens 200 --repeat-ratio 0 --runs {runs} --samples {samples}"
    );
    Cmd::new(dir).args(words.split(' ')).ok();
}

#[test]
fn saved_runs_are_the_units_and_one_of_them_tells_nothing() {
    let dir = Dir::new();
    load(&dir, "base=10ms,prefill_rate=20k", 4, "base.jsonl");
    load(&dir, "base=10ms,prefill_rate=10k", 4, "new.jsonl");
    load(&dir, "base=10ms,prefill_rate=10k", 1, "one.jsonl");
    let compare = |base: &str, new: &str| {
        let command = Cmd::new(&dir).args(["compare", "--base", base, "--new", new]);
        command.args(["--figure", "ttft_mean", "--output", "r.json"])
    };
    let output = compare("base.jsonl", "new.jsonl").fails(1);
    let result = json(&dir, "r.json");
    let ttft = figure(&result, "ttft_mean");
    assert_eq!(
        (&result["verdict"], &ttft["pairs"]),
        (&"slower".into(), &4.into()),
        "{output}"
    );
    let ratio = ttft["ratio"].as_f64().expect("a ratio");
    assert!((1.35..1.6).contains(&ratio), "{output}");
    let output = compare("new.jsonl", "base.jsonl").ok();
    assert_eq!(json(&dir, "r.json")["verdict"], "faster", "{output}");
    let output = compare("base.jsonl", "one.jsonl").fails(3);
    assert_eq!(json(&dir, "r.json")["verdict"], "unclear", "{output}");
    let output = compare("one.jsonl", "one.jsonl").ok();
    assert_eq!(json(&dir, "r.json")["verdict"], "same", "{output}");
    let report = Cmd::new(&dir).args(["report", "-i", "r.json"]).ok();
    assert_eq!(printed(&report), printed(&output));
    let words =
        "load --backend mock --concurrency 2 --requests 4 --max-tokens 3 --samples two.jsonl";
    Cmd::new(&dir).args(words.split(' ')).ok();
    let refused = Cmd::new(&dir).args(["compare", "--base", "base.jsonl", "--new", "two.jsonl"]);
    assert_eq!(
        refused.fails(2).stderr,
        "[ERROR] --new two.jsonl: concurrency 2, but --base has concurrency 1; want runs of the same points on both \
         sides\n"
    );
}

#[test]
fn merged_runs_with_one_seed_and_nonce_are_two_runs() {
    let dir = Dir::new();
    let merged = |mock: &str, name: &str| {
        for shard in ["0/2", "1/2"] {
            let words = format!(
                "load --backend mock --mock {mock} --shard {shard} --seed 1 --nonce n --requests 8 --concurrency 2 --max-tokens 3 --samples {}.jsonl",
                &shard[..1]
            );
            Cmd::new(&dir).args(words.split(' ')).ok();
        }
        let words = format!("merge 0.jsonl 1.jsonl -o {name}");
        Cmd::new(&dir).args(words.split(' ')).ok();
    };
    merged("itl=1ms", "base.jsonl");
    merged("itl=4ms", "new.jsonl");
    let compare = |base: &str, new: &str| {
        let words = [
            "compare", "--base", base, "--new", new, "--output", "r.json",
        ];
        Cmd::new(&dir).args(words)
    };
    let output = compare("base.jsonl", "new.jsonl").fails(3);
    let result = json(&dir, "r.json");
    let ratio = figure(&result, "itl_mean")["ratio"].as_f64();
    assert!(ratio > Some(2.0), "{output}");
    // A part of a run is not the run.
    compare("base.jsonl", "0.jsonl").fails(3);
    compare("base.jsonl", "base.jsonl").ok();
}

#[test]
fn a_comparison_with_a_mock_in_another_process_says_so() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    let dir = Dir::new();
    let words = "compare --pairs 2 --max-tokens 2 --samples s.jsonl --summary s.md --endpoint URL --against URL";
    let words = words.replace("URL", &server.url());
    let output = Cmd::new(&dir).args(words.split(' ')).fails(3);
    let warning = "Mock server: not a measurement of an engine";
    assert!(output.stdout.contains(warning), "{output}");
    let summary = dir.read("s.md");
    assert_eq!(summary.matches(warning).count(), 1, "{summary}");
    assert_eq!(summary.lines().count(), 5, "{summary}");
    for format in ["table", "markdown", "html"] {
        let report = ["report", "-i", "s.jsonl", "--format", format];
        let report = Cmd::new(&dir).args(report).ok();
        assert!(report.stdout.contains(warning), "{format}");
    }
}

#[test]
fn a_server_whose_replies_all_fail_is_found_at_once() {
    let broken = Server::start(&["--faults", "http:500"]);
    let sound = Server::start(&["--base", "5ms"]);
    let dir = Dir::new();
    let words = [
        "compare",
        "--max-tokens",
        "2",
        "--output",
        "r.json",
        "--endpoint",
    ];
    let command = Cmd::new(&dir)
        .args(words)
        .args([&sound.url(), "--against", &broken.url()]);
    let output = command.deadline(Duration::from_secs(30)).fails(1);
    let result = json(&dir, "r.json");
    assert_eq!(
        figure(&result, "error_rate")["verdict"],
        "slower",
        "{output}"
    );
    assert!(
        result["sides"][1]["requests"].as_u64().expect("a count") < 400,
        "{output}"
    );
}

#[test]
fn wrong_options_are_named_before_anything_is_sent() {
    let dir = Dir::new();
    dir.write("empty.jsonl", "");
    for (words, wanted) in [
        (
            "--endpoint h",
            "[ERROR] compare: no other server; want --against URL\n",
        ),
        ("--base a.jsonl", "[ERROR] --base: only with --new\n"),
        (
            "--base a --new b --pairs 3",
            "[ERROR] --base: not together with --pairs; ",
        ),
        (
            "--base a.jsonl --new b.jsonl",
            "[ERROR] --base a.jsonl: file not found; ",
        ),
        (
            "--base empty.jsonl --new b.jsonl",
            "[ERROR] --base empty.jsonl, line 1: ",
        ),
        (
            "--endpoint h --against i --figure ttft",
            "[ERROR] --figure ttft: no such figure",
        ),
        (
            "--endpoint h --against i --margin 300%",
            "[ERROR] --margin 300%: want a share such as ",
        ),
        (
            "--backend mock --against-mock itl",
            "[ERROR] --against-mock itl: want NAME=VALUE",
        ),
        (
            "--endpoint h --against i --against-header x",
            "[ERROR] --against-header: no colon in it",
        ),
    ] {
        let command = Cmd::new(&dir).arg("compare").args(words.split(' '));
        let output = command.fails(2);
        assert!(output.stderr.starts_with(wanted), "{words}\n{output}");
    }
}
