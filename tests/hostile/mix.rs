//! A server that answers some requests badly: the figures of the other requests, and a long run.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::{Case, content_cases, refusal_cases, transport_cases};
use super::server::Mix;
use crate::util::{Cmd, Dir, Samples, Server, errors_ms, json_file, median};

/// Returns all faults that neither stall nor send megabytes without end.
fn cases() -> Vec<Case> {
    let mut cases = transport_cases();
    cases.extend(content_cases());
    cases.extend(refusal_cases());
    cases.retain(|case| !case.act.stalls());
    cases
}

/// Returns the failures by kind as the server made them.
fn failures(mix: &Mix) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for &case in mix.met().bad.values() {
        if let Some(kind) = mix.cases[case].kind {
            *failures.entry(kind.to_string()).or_default() += 1;
        }
    }
    failures
}

/// Returns the failures by kind as the client reported them.
fn told(failures: &Value) -> BTreeMap<String, u64> {
    let failures = failures.as_object().expect("an object");
    failures
        .iter()
        .map(|(kind, failure)| (kind.clone(), failure["count"].as_u64().expect("a count")))
        .collect()
}

const IN_FLIGHT: &str = "50";
const EVERY: usize = 100;

#[test]
fn a_fault_in_a_hundred_leaves_the_figures_of_the_others_as_they_are() {
    let server = Server::start(&["--base", "30ms", "--prefill-rate", "100M", "--itl", "2ms"]);
    let mix = Mix::new(cases(), server.addr().parse().expect("an address"), EVERY);
    let requests = (mix.cases.len() * EVERY).to_string();
    let dir = Dir::new();
    let url = format!("http://{}/v1/completions", mix.serve());
    Cmd::new(&dir)
        .args(["load", "--endpoint", &url, "--requests", &requests])
        .args(["--concurrency", IN_FLIGHT, "--warmup", "0"])
        .args(["--input-tokens", "100", "--max-tokens", "5"])
        .args(["--samples", "s.jsonl", "--output", "r.json"])
        .deadline(Duration::from_secs(120))
        .ok();
    let result = json_file(&dir, "r.json");
    assert_eq!(result["sent_requests"].to_string(), requests);
    // Where this machine stands still for 100 ms, a stale connection counts as a reply that was truncated.
    let resent = result["detail"]["stale_connections"].as_u64();
    let resent = resent.expect("a count");
    let late = mix.met().stale.saturating_sub(resent);
    let mut wanted = failures(&mix);
    if late > 0 {
        *wanted.entry("truncated".to_string()).or_default() += late;
    }
    assert_eq!(told(&result["failures"]), wanted);

    let truth = server.truth();
    let truth: HashMap<&str, &Value> = truth
        .iter()
        .filter_map(|line| Some((line["id"].as_str()?, line)))
        .collect();
    let met = mix.met();
    assert_eq!(met.bad.len() as u64 + met.stale, mix.cases.len() as u64);
    let (mut ttft_ms, mut itl_ms) = (Vec::new(), Vec::new());
    let samples = Samples::read(&dir, "s.jsonl");
    let (mut stale, mut seen_late) = (0, 0);
    for sample in samples.requests() {
        assert_eq!(sample["phase"], "measured", "{sample}");
        stale += u64::from(sample["resent"] == true);
        let id = samples.request_id(sample);
        if let Some(&case) = met.bad.get(&id) {
            mix.cases[case].check(sample, "");
            continue;
        }
        let Some(told) = truth.get(id.as_str()) else {
            seen_late += 1;
            assert_eq!(sample["error_kind"], "truncated", "{sample}");
            continue;
        };
        assert_eq!(sample["ok"], true, "{sample}");
        for (mine, theirs) in [
            ("prompt_tokens", "prompt_tokens"),
            ("completion_tokens", "output_tokens"),
        ] {
            assert_eq!(sample[mine], told[theirs], "{sample} {told}");
        }
        let (ttft, itl) = errors_ms(sample, told);
        ttft_ms.push(ttft);
        itl_ms.push(itl);
    }
    assert_eq!(seen_late, late);
    assert!(stale + late >= met.stale, "{stale} of {}", met.stale);
    // The figures include the way through this server and back, on a busy machine.
    let (ttft_ms, itl_ms) = (median(&ttft_ms), median(&itl_ms));
    assert!(
        ttft_ms.abs() < 10.0 && itl_ms.abs() < 1.0,
        "{ttft_ms} ms, {itl_ms} ms"
    );
}

/// Environment variable: requests of the long run.
const SOAK: &str = "TMESH_SOAK";

#[test]
#[ignore = "takes an hour: make soak"]
fn a_long_run_with_every_fault_has_counts_that_add_up_and_keeps_its_memory() {
    let requests = std::env::var(SOAK).expect("TMESH_SOAK, a number of requests");
    let program =
        std::env::var_os("TMESH_STATIC_BIN").expect("TMESH_STATIC_BIN, as make test sets it");
    let dir = Dir::new();
    let mut mock = Cmd::program(&program, &dir)
        .args([
            "mock",
            "--port",
            "0",
            "--base",
            "0s",
            "--itl",
            "0s",
            "--prefill-rate",
            "1000M",
        ])
        .deadline(Duration::from_secs(7200))
        .start();
    let line = mock.wait_for_line(|line| line.contains("http://127.0.0.1:"));
    let upstream = line.split(['/', ' ']).find_map(|word| word.parse().ok());
    let cases = cases();
    // Each case is a tenth of a percent.
    let every = 1000 / cases.len();
    let mix = Mix::new(cases, upstream.expect("an address"), every);
    let url = format!("http://{}/v1/completions", mix.serve());
    let client = Cmd::program(&program, &dir)
        .args([
            "benchmark",
            "--endpoint",
            &url,
            "--contexts",
            "50",
            "--input-length",
            "20",
        ])
        .args([
            "--output-length",
            "2",
            "--max-inflight",
            "10",
            "--requests",
            &requests,
        ])
        .args(["--interval", "60s", "--output", "r.json"])
        .deadline(Duration::from_secs(7200))
        .start();
    let begun = Instant::now();
    let mut minutes = Vec::new();
    while let Some(mib) = client.resident_mib() {
        let minute = (begun.elapsed().as_secs() / 60) as usize;
        minutes.resize(minute + 1, 0.0_f64);
        minutes[minute] = minutes[minute].max(mib);
        std::thread::sleep(Duration::from_secs(1));
    }
    let output = client.wait();
    println!("{output}\nresident MiB at the most, minute by minute: {minutes:.1?}");
    assert_eq!(output.status.code(), Some(0), "{output}");
    let result = json_file(&dir, "r.json");
    let (mut failures, stale) = (failures(&mix), mix.met().stale);
    println!("failures: {failures:?}, stale: {stale}");
    let summary = &result["summary"];
    let count = |figure: &Value| figure.as_u64().expect("a count");
    // Where this machine stands still for 100 ms, a stale connection counts as a reply that was truncated.
    let late = stale - count(&summary["stale_connections"]);
    assert!(late * 20 < stale, "{late} of {stale}");
    *failures.get_mut("truncated").expect("some are") += late;
    assert_eq!(told(&summary["failures"]), failures);
    let succeeded = count(&summary["ttft"]["n"]);
    assert_eq!(
        (succeeded + count(&summary["failed"])).to_string(),
        requests
    );
    // One record is kept of each request; nothing else grows.
    let records = requests.parse::<f64>().expect("a number") * 128.0 / f64::from(1 << 20);
    assert!(minutes.iter().all(|mib| mib - minutes[0] < 5.0 + records));
}
