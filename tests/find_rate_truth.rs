//! The rate that `find-rate` finds against the mock, and the one that the mock's model has.

use fastrand::Rng;
use serde_json::Value;

use crate::alone;
use crate::util::{Cmd, Dir};

/// The mock's times in milliseconds: prompts of 40 tokens are computed one after the other.
const PREFILL_MS: f64 = 1.0;
const BASE_MS: f64 = 1.0;
const LIMIT_MS: f64 = 8.0;

/// The share of requests that meet the limit at a rate: Poisson arrivals at a server that computes one prompt at a time,
/// in order of arrival.
fn attainment(rate_per_s: f64) -> f64 {
    const REQUESTS: u32 = 400_000;
    let mut rng = Rng::with_seed(7);
    let (mut arrives_ms, mut free_ms, mut met) = (0.0_f64, 0.0_f64, 0);
    for _ in 0..REQUESTS {
        arrives_ms -= (1.0 - rng.f64()).ln() * 1000.0 / rate_per_s;
        free_ms = free_ms.max(arrives_ms) + PREFILL_MS;
        met += u32::from(free_ms + BASE_MS - arrives_ms < LIMIT_MS);
    }
    f64::from(met) / f64::from(REQUESTS)
}

/// The highest rate at which 95 % of the requests meet the limit.
fn highest_rate() -> f64 {
    let (mut low, mut high) = (200.0, 1000.0);
    for _ in 0..20 {
        let middle = (low + high) / 2.0;
        match attainment(middle) >= 0.95 {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

#[test]
fn the_rate_is_within_a_tenth_of_the_one_that_the_model_of_the_mock_has() {
    let _alone = alone();
    let dir = Dir::new();
    dir.write("slo.yaml", "slo:\n  ttft_ms: 8\n");
    let words = "find-rate --backend mock --mock base=1ms,prefill_rate=40k,block_tokens=1024 --input-tokens 40 --max-tokens 1 --slo-file slo.yaml --output r.json";
    let command = Cmd::new(&dir).args(words.split(' '));
    let output = command.deadline(std::time::Duration::from_secs(120)).ok();
    let text = dir.read("r.json");
    let result: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(result["status"], "confirmed", "{output}");
    let (found, truth) = (
        result["rate_per_s"].as_f64().expect("a rate"),
        highest_rate(),
    );
    assert!(
        (found / truth - 1.0).abs() <= 0.1,
        "{found} for {truth}\n{output}"
    );
}
