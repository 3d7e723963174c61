//! Every command line of the guide of `run`, with its first word changed, as written there.

use std::path::Path;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, engine, serving};

/// Workloads, and their numbers of requests.
type Counts = &'static [(&'static str, u64)];

const ALL: Counts = &[("short_input", 5), ("long_input", 3), ("stress_test", 10)];
const SHORT: Counts = &[("short_input", 5)];
const STRESS: Counts = &[("stress_test", 10)];

/// Makes a folder with an engine for `--backend cpu`.
fn guide_dir() -> Dir {
    let dir = Dir::new();
    let script = serving("--base 1ms --itl 0s");
    engine(&dir, "transformers", &format!("{script}\nserve"));
    dir
}

/// Runs a line of the guide in a shell, on a mock without delays.
fn guide(line: &str, dir: &Dir) -> Output {
    let fast = "tmesh-cli run --mock 'base=1ms,itl=0s'";
    let line = line.replace("sagellm-benchmark", "tmesh-cli");
    let line = match line.contains("--backend cpu") {
        true => line,
        false => line.replace("tmesh-cli run", fast),
    };
    let bin = Path::new(env!("CARGO_BIN_EXE_tmesh-cli")).parent();
    let path = format!(
        "{}:{}:{}",
        bin.expect("the binary is in a folder").display(),
        dir.path().join("bin").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let shell = Cmd::program("sh", dir).env("PATH", path);
    shell.args(["-c", &line]).run()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asserts that the folder has the complete result of a run of these workloads in which all requests succeeded.
fn check_results(dir: &Dir, folder: &str, wanted: Counts, line: &str) {
    let summary = json(&dir.read(&format!("{folder}/benchmark_summary.json")));
    let workloads = summary["workloads"].as_object().expect("an object");
    assert_eq!(workloads.len(), wanted.len(), "{line}");
    for (name, requests) in wanted {
        let file = json(&dir.read(&format!("{folder}/{name}_metrics.json")));
        assert_eq!(file["successful_requests"], *requests, "{line}: {name}");
        assert_eq!(file["failed_requests"], 0, "{line}: {name}");
        assert_eq!(workloads[*name], file, "{line}: {name}");
    }
    let requests: u64 = wanted.iter().map(|(_, requests)| requests).sum();
    let overall = serde_json::json!({"total_workloads": wanted.len(), "total_requests": requests,
        "successful_requests": requests, "failed_requests": 0});
    assert_eq!(summary["overall"], overall, "{line}");
    for name in ["samples.jsonl", "REPORT.md", "report.html"] {
        assert!(!dir.read(&format!("{folder}/{name}")).is_empty(), "{name}");
    }
}

/// Runs each of these lines in a folder of its own.
fn check_runs(lines: &[(&str, &str, Counts)]) {
    for (line, folder, wanted) in lines {
        let dir = guide_dir();
        let output = guide(line, &dir);
        assert!(output.status.success(), "{line}\n{output}");
        check_results(&dir, folder, wanted, line);
        assert!(output.stdout.contains("\nWorkload  "), "{output}");
        let said = format!("{} request ", wanted[0].0);
        let is_verbose = line.contains("-v");
        assert_eq!(output.stderr.contains(&said), is_verbose, "{output}");
    }
}

#[test]
fn lines_that_run_the_mock() {
    let all = "benchmark_results";
    check_runs(&[
        (
            "sagellm-benchmark run --workload year1 --backend mock",
            all,
            ALL,
        ),
        (
            "sagellm-benchmark run --workload stress --backend mock -v -o ./my_results",
            "my_results",
            STRESS,
        ),
        (
            "sagellm-benchmark run --output ./my_results",
            "my_results",
            ALL,
        ),
        ("sagellm-benchmark run -v", all, ALL),
        (
            "sagellm-benchmark run --workload short --backend mock",
            all,
            SHORT,
        ),
    ]);
}

#[test]
fn lines_that_run_the_cpu_backend() {
    let all = "benchmark_results";
    check_runs(&[
        (
            "sagellm-benchmark run --workload short --backend cpu --model gpt2",
            all,
            SHORT,
        ),
        (
            "sagellm-benchmark run --workload year1 --backend cpu --model gpt2",
            all,
            ALL,
        ),
        ("sagellm-benchmark run --backend cpu --model gpt2", all, ALL),
        (
            "sagellm-benchmark run --backend cpu --model gpt2  # 124M params",
            all,
            ALL,
        ),
        (
            "sagellm-benchmark run --backend cpu --model facebook/opt-125m",
            all,
            ALL,
        ),
        (
            "sagellm-benchmark run --workload stress --backend cpu --model gpt2",
            all,
            STRESS,
        ),
    ]);
}

#[test]
fn lines_that_report_a_run() {
    let dir = guide_dir();
    let ran = guide("sagellm-benchmark run", &dir);
    assert!(ran.status.success(), "{ran}");
    let ran = guide("sagellm-benchmark run --output ./my_results", &dir);
    assert!(ran.status.success(), "{ran}");
    let ok = |line: &str| {
        let output = guide(line, &dir);
        assert!(output.status.success(), "{line}\n{output}");
        assert_eq!(output.stderr, "", "{line}");
        output.stdout
    };
    let table = ok("sagellm-benchmark report");
    assert!(table.starts_with("Workload  "), "{table}");
    let table = ok("sagellm-benchmark report --input ./my_results/benchmark_summary.json");
    let printed = ran.stdout.find("Workload  ").map(|at| &ran.stdout[at..]);
    let printed = printed.map(|text| text.replacen("\nResults in ./my_results\n", "", 1));
    assert_eq!(printed, Some(table));
    assert_eq!(
        ok("sagellm-benchmark report --format markdown > REPORT.md"),
        ""
    );
    assert_eq!(
        dir.read("REPORT.md"),
        dir.read("benchmark_results/REPORT.md")
    );
    let shown = ok("sagellm-benchmark report --format json");
    assert_eq!(shown, dir.read("benchmark_results/benchmark_summary.json"));
    // The result of the guide's `| jq '.overall'`.
    let overall = &json(&shown)["overall"];
    assert_eq!((&overall["total_requests"]), 18, "{overall}");
}

/// Runs the steps of a CI job in one folder, and checks the files that it keeps.
fn check_job(steps: &[&str], artifacts: &[&str]) {
    let dir = guide_dir();
    for step in steps {
        let output = guide(step, &dir);
        assert!(output.status.success(), "{step}\n{output}");
    }
    for name in artifacts {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    check_results(&dir, "benchmark_results", ALL, steps[0]);
    let markdown = dir.read("REPORT.md");
    assert!(markdown.starts_with("# tmesh-cli run"), "{markdown}");
    assert!(markdown.contains("stress_test"), "{markdown}");
}

#[test]
fn the_steps_of_github_actions() {
    let steps = [
        "sagellm-benchmark run --workload year1 --backend mock",
        "sagellm-benchmark report --format markdown > REPORT.md",
    ];
    check_job(&steps, &["benchmark_results/", "REPORT.md"]);
}

#[test]
fn the_script_of_gitlab_ci() {
    // A script's lines share one shell, and the first failure ends it.
    let script = "set -e\nsagellm-benchmark run --workload year1 --backend mock\n\
                  sagellm-benchmark report --format markdown > REPORT.md\n";
    check_job(&[script], &["benchmark_results/", "REPORT.md"]);
}

#[test]
fn troubles_have_the_texts_of_the_guide() {
    let dir = guide_dir();
    for (line, wanted) in [
        (
            "sagellm-benchmark run --backend cpu",
            "[ERROR] --model required for CPU backend\n\
             Try: tmesh-cli run --backend cpu --model gpt2\n",
        ),
        (
            "sagellm-benchmark report",
            "[ERROR] --input ./benchmark_results/benchmark_summary.json: file not found\n\
             Run a benchmark first: tmesh-cli run --workload year1 --backend mock\n",
        ),
    ] {
        let output = guide(line, &dir);
        assert_eq!(output.status.code(), Some(2), "{output}");
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("", wanted)
        );
    }
    assert!(!dir.path().join("benchmark_results").exists());
}
