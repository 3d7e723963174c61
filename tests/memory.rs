//! The memory that a finite run uses per request: a record, and at most as much again.
//!
//! For a million requests of each command: `TMESH_REQUESTS=1000000 cargo test --locked --test main memory:: --
//! --nocapture`.

use std::time::Duration;

use crate::util::{Cmd, Dir, Running};

/// Environment variable: requests of the long run.
const REQUESTS: &str = "TMESH_REQUESTS";
/// A record has 80 bytes, its count of tokens 4, and one of its times is also in a list. The rest is for what a short
/// run does not touch.
const BYTES_A_REQUEST: f64 = 144.0;
/// Samples that wait for the collector: 1024 of 616 bytes, which a short run does not reach.
const WAITING_MIB: f64 = 0.6;

/// Returns the peak memory of a run of this many requests, in MiB.
fn peak_mib(url: &str, words: &str, requests: u64) -> f64 {
    let dir = Dir::new();
    let running = Cmd::new(&dir)
        .args(words.split(' '))
        .args(["--requests", &requests.to_string(), "--endpoint", url])
        .deadline(Duration::from_secs(600))
        .start();
    let peak = running.peak_mib();
    let output = running.wait();
    assert!(output.status.success(), "{output}");
    peak
}

/// Compares with a short run, which has everything that does not depend on the number of requests. The mock is a
/// separate process without delays.
fn check(words: &str) {
    let requests = std::env::var(REQUESTS).map_or(50_000, |n| n.parse().expect(REQUESTS));
    let dir = Dir::new();
    let mut mock = Cmd::new(&dir)
        .args(["mock", "--port", "0", "--base", "0s", "--itl", "0s"])
        .args(["--prefill-rate", "1000M"])
        .deadline(Duration::from_secs(900))
        .start();
    let line = mock.wait_for_line(|line| line.contains("http://127.0.0.1:"));
    let url = line.split(' ').find(|word| word.starts_with("http://"));
    let url = url.expect("its address");
    let base = peak_mib(url, words, 1_000);
    let peak = peak_mib(url, words, requests);
    let most = base + WAITING_MIB + BYTES_A_REQUEST * requests as f64 / f64::from(1 << 20);
    let figures = format!("{base:.1} MiB for 1,000 requests, {peak:.1} for {requests}: {words}");
    println!("{figures}");
    assert!(peak <= most, "{figures}, at the most {most:.1}");
}

/// Returns the memory of a run that has written some samples into `s.jsonl`, in MiB; then ends it.
fn resident_mib(dir: &Dir, running: Running) -> f64 {
    let samples = dir.path().join("s.jsonl");
    crate::util::until("samples", || {
        std::fs::read_to_string(&samples).is_ok_and(|text| text.lines().count() >= 3)
    });
    let resident = running.resident_mib().expect("it runs");
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
    resident
}

/// Records grow as requests end; the plan of requests to come takes no memory.
#[test]
fn a_hundred_million_requests_are_planned_at_once_and_in_no_memory() {
    let server = crate::util::Server::start(&["--base", "20ms", "--itl", "0s"]);
    let load = "load --api completions --warmup 0 --input-tokens 20 --output-tokens 2";
    for words in [
        format!("{load} --concurrency 1"),
        format!("{load} --concurrency 1 --repeat-ratio 0.3"),
        format!("{load} --rate 50 --max-inflight 4"),
        "benchmark --contexts 5 --max-inflight 1 --input-length 20 --output-length 2".to_string(),
    ] {
        let dir = Dir::new();
        let running = Cmd::new(&dir)
            .args(words.split(' '))
            .args(["--requests", "100000000", "--samples", "s.jsonl"])
            .args(["--endpoint", &server.url()])
            .deadline(Duration::from_secs(20))
            .start();
        let resident = resident_mib(&dir, running);
        assert!(resident < 64.0, "{resident} MiB: {words}");
    }
}

/// A request of a trace takes 24 bytes, and 8 more in a file that is out of order and has sessions; the names of its
/// blocks stay in the file.
#[test]
fn a_trace_of_long_prompts_stays_in_its_file() {
    const LINES: u64 = 100_000;
    let server = crate::util::Server::start(&["--base", "1ms", "--itl", "0s"]);
    let resident = |lines: u64| {
        let dir = Dir::new();
        // 40 blocks a line: 8 bytes for each name would be 32 MB.
        let line = |k: u64| {
            let ids: Vec<u64> = (k..k + 40).collect();
            let timestamp = 1000 * k;
            format!(
                "{{\"timestamp\":{timestamp},\"input_length\":20000,\"output_length\":1,\"hash_ids\":{ids:?}}}\n"
            )
        };
        dir.write("t.jsonl", (0..lines).map(line).collect::<String>());
        let running = Cmd::new(&dir)
            .args("load --trace t.jsonl --speed 100 --warmup 0".split(' '))
            .args(["--max-inflight", "4", "--samples", "s.jsonl"])
            .args(["--endpoint", &server.url()])
            .deadline(Duration::from_secs(60))
            .start();
        resident_mib(&dir, running)
    };
    let (base, all) = (resident(100), resident(LINES));
    let most = base + 40.0 * LINES as f64 / f64::from(1 << 20);
    assert!(
        all <= most,
        "{base:.1} MiB for 100 lines, {all:.1} for {LINES}, at the most {most:.1}"
    );
}

#[test]
fn a_load_of_many_requests_stays_small() {
    check(
        "load --api completions --concurrency 8 --warmup 0 --input-tokens 20 --output-tokens 1:2",
    );
}

#[test]
fn a_benchmark_of_many_requests_stays_small() {
    check(
        "benchmark --contexts 50 --max-inflight 8 --input-length 20 --output-length 2 --interval 60s",
    );
}
