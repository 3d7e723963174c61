//! Cold against warm, and the throughput of a window, against what the mock server does.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::alone;
use crate::util::{Cmd, Dir, Output, Server};

/// A mock whose prefill of 100 tokens takes 5 ms: cold TTFT is 7 ms and more.
const MOCK: [&str; 8] = [
    "--base",
    "2ms",
    "--itl",
    "4ms",
    "--jitter",
    "1ms",
    "--prefill-rate",
    "20k",
];

fn benchmark(url: &str, options: &[&str]) -> (Value, Output) {
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args(["benchmark", "--endpoint", url, "--output", "b.json"])
        .args(["--input-length", "100"])
        .args(options)
        .ok();
    let file: Value = serde_json::from_str(&dir.read("b.json")).expect("JSON");
    (file["summary"].clone(), output)
}

/// The ratio of cold and warm TTFT with its interval.
fn ratio(url: &str, in_flight: &str) -> (f64, f64, f64) {
    let sizes = [
        "--contexts",
        "40",
        "--output-length",
        "6",
        "--rotations",
        "3",
    ];
    let (summary, output) = benchmark(url, &[&sizes[..], &["--max-inflight", in_flight]].concat());
    let of = |key: &str| {
        let value = summary["cold_warm_ttft"][key].as_f64();
        value.unwrap_or_else(|| panic!("{key}: {summary}\n{output}"))
    };
    (of("ratio"), of("low"), of("high"))
}

/// A ratio is off by as much as the machine's own noise, beside its interval.
const NOISE: f64 = 0.05;

#[test]
fn a_cache_that_does_nothing_shows_a_ratio_of_1_at_any_number_in_flight() {
    let _machine = alone();
    // No block is ever full.
    let server = Server::start(&[&MOCK[..], &["--block-tokens", "1000000"]].concat());
    for in_flight in ["1", "4"] {
        let (ratio, low, high) = ratio(&server.url(), in_flight);
        let holds_1 = low < 1.0 + NOISE && high > 1.0 - NOISE;
        assert!(holds_1, "{ratio}, {low} to {high} at {in_flight}");
    }
}

#[test]
fn a_cache_shows_the_same_ratio_at_any_number_in_flight() {
    let _machine = alone();
    let server = Server::start(&MOCK);
    let found = ["1", "4"].map(|in_flight| ratio(&server.url(), in_flight));
    let (first, ..) = found[0];
    // About 7.5 ms of base, prefill and jitter against 3 ms.
    assert!((1.7..3.2).contains(&first), "{found:?}");
    for (_, low, high) in found {
        let holds = low < first * (1.0 + NOISE) && high > first * (1.0 - NOISE);
        assert!(holds, "{found:?}");
    }
}

#[test]
fn the_throughput_of_a_window_is_that_of_the_tokens_that_the_server_wrote_in_it() {
    let _machine = alone();
    let server = Server::start(&MOCK);
    // Some 250 requests of 160 ms each, of which 16 are cut: each may have had one more token written, 0.2 % of all.
    let options = [
        "--contexts",
        "20",
        "--output-length",
        "40",
        "--max-inflight",
        "16",
        "--duration",
        "2500ms",
    ];
    let (summary, output) = benchmark(&server.url(), &options);
    assert_eq!(summary["requests_cut"], 16, "{output}");
    // The mock writes of a request that was cut when its next token shows it that the client is gone.
    thread::sleep(Duration::from_millis(50));
    // After two rotations of 20 requests come eight controls, which are in no figure.
    let is_measured = |told: &&Value| {
        let id = told["id"].as_str().unwrap_or_default();
        let number = id
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse::<u64>().ok());
        !id.contains("setup") && number.is_some_and(|number| !(40..48).contains(&number))
    };
    let truth = server.truth();
    let written = truth.iter().filter(is_measured);
    let written = written.map(|told| told["t_written_ns"].as_array().map_or(0, Vec::len));
    let written: usize = written.sum();
    let number = |key: &str| {
        summary[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {output}"))
    };
    let told = number("output_tokens_per_s") * number("elapsed_s");
    let error = told / written as f64 - 1.0;
    assert!(
        error.abs() < 0.005,
        "{told} told, {written} written\n{output}"
    );
    // Without those at the edge it would be far off.
    assert!(
        number("output_tokens_total") < 0.98 * written as f64,
        "{output}"
    );
}
