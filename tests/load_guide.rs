//! Every command line of the guide of `load`, with its first words changed, on the mock's `/generate`: a test each.

use crate::command_lines::{run, runnable};
use crate::util::{Dir, Output, Server, json_file};

/// Runs the line against a fast mock; `requests` and `repeats` are the expected numbers.
fn guide(line: &str, dir: &Dir, requests: u64, repeats: u64) -> Output {
    let server = Server::start(&["--base", "2ms", "--itl", "200us"]);
    let output = run(&runnable(line, server.addr()), dir);
    let first_uses = requests - repeats;
    let counts = format!("Requests: {requests} = {first_uses} first uses + {repeats} repeats\n");
    assert!(output.stdout.contains(&counts), "{output}");
    let sent = format!("Requests: {requests} sent = {requests} succeeded + 0 failed\n");
    assert!(output.stdout.contains(&sent), "{output}");
    let mut rest = output.stdout.lines();
    for label in [
        "TTFT P50 ",
        "TTFT P95 ",
        "TTFT P99 ",
        "TPOT ",
        "Throughput ",
        "Cache Hit Rate ",
        "Avg Latency ",
    ] {
        assert!(
            rest.any(|line| line.starts_with(label)),
            "{label}\n{output}"
        );
    }
    output
}

#[test]
fn basic_benchmark() {
    let line = "tmesh-cli load --endpoint http://localhost:8000/generate";
    guide(line, &Dir::new(), 50, 15);
}

#[test]
fn high_concurrency_test() {
    let line =
        "tmesh-cli load --endpoint http://localhost:8000/generate --concurrency 20 --requests 200";
    guide(line, &Dir::new(), 200, 60);
}

#[test]
fn cache_effectiveness_test() {
    let line = "tmesh-cli load --endpoint http://localhost:8000/generate --repeat-ratio 0.5 --requests 100";
    let output = guide(line, &Dir::new(), 100, 50);
    assert!(
        output.stdout.contains("a perfect cache: 50.0 %"),
        "{output}"
    );
}

#[test]
fn save_results() {
    let dir = Dir::new();
    let line = "tmesh-cli load --endpoint http://localhost:8000/generate --output results.json";
    guide(line, &dir, 50, 15);
    let result = json_file(&dir, "results.json");
    assert_eq!(result["schema"], "tmesh-cli/load/1");
    assert!(
        result["avg_latency_ms"].as_f64().is_some_and(|ms| ms > 1.0),
        "{result}"
    );
    assert!(result["response_cache_hit_rate"].is_number(), "{result}");
}

/// The guide uses the default endpoint, which tests must not use; so the endpoint is given here.
#[test]
fn timeouts() {
    let line =
        "tmesh-cli load --concurrency 2 --requests 20 --endpoint http://localhost:8000/generate";
    guide(line, &Dir::new(), 20, 6);
}
