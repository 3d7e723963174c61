//! Every fault on every request, with `load`.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cases::{Case, content_cases, oversized_cases, refusal_cases, transport_cases};
use super::server::serve;
use crate::util::{Cmd, Dir, Output, json_file};

const REQUESTS: usize = 4;

/// Runs `load` against the server; returns its output, its samples and its peak memory in MiB.
fn attack(addr: SocketAddr, dir: &Dir, timeouts: &[&str]) -> (Output, f64) {
    let running = Cmd::new(dir)
        .args(["load", "--endpoint", &addr.to_string(), "--model", "m"])
        .args([
            "--requests",
            &REQUESTS.to_string(),
            "--concurrency",
            "2",
            "--warmup",
            "0",
            "--max-tokens",
            "20",
        ])
        .args([
            "--repeat-ratio",
            "0",
            "--samples",
            "s.jsonl",
            "--output",
            "r.json",
        ])
        .args(timeouts)
        .deadline(Duration::from_secs(30))
        .start();
    let mib = running.peak_mib();
    (running.wait(), mib)
}

fn check(case: &Case) {
    let dir = Dir::new();
    let begun = Instant::now();
    let (output, mib) = attack(serve(case.act.clone()), &dir, &case.timeouts());
    let name = format!("{} {:?}\n{output}", case.name, case.status);
    // Two sequential requests of a second each, the waits between them, and the set-up.
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?} {name}",
        begun.elapsed()
    );
    assert!(mib < 80.0, "{mib} MiB {name}");
    let code = i32::from(case.kind.is_some());
    assert_eq!(output.status.code(), Some(code), "{name}");
    let result = json_file(&dir, "r.json");
    let count = |key: &str| result[key].as_u64().expect(key);
    let (succeeded, failed) = (count("successful_requests"), count("failed_requests"));
    assert_eq!(
        (count("sent_requests"), count("cut_requests")),
        (succeeded + failed, 0),
        "{name}"
    );
    assert_eq!(succeeded + failed, REQUESTS as u64, "{name}");
    let samples = dir.read("s.jsonl");
    let samples = samples
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let samples: Vec<Value> = samples.filter(|line| line["phase"] == "measured").collect();
    assert_eq!(samples.len(), REQUESTS, "{name}");
    for sample in samples {
        case.check(&sample, &name);
        let reason = sample["error"].as_str().unwrap_or_default();
        assert!(
            reason.chars().count() <= 200 && !reason.contains(char::is_control),
            "{name}"
        );
    }
}

/// Checks several at a time, since most of them only wait.
pub fn side_by_side<T: Sync>(all: &[T], check: impl Fn(&T) + Sync) {
    for some in all.chunks(8) {
        thread::scope(|scope| {
            for one in some {
                scope.spawn(|| check(one));
            }
        });
    }
}

#[test]
fn every_fault_of_connection_and_http_has_its_kind() {
    side_by_side(&transport_cases(), check);
}

#[test]
fn every_fault_of_status_and_content_has_its_kind() {
    side_by_side(&content_cases(), check);
}

#[test]
fn an_oversized_reply_fails_before_it_fills_the_memory() {
    side_by_side(&oversized_cases(), check);
}

#[test]
fn a_server_that_refuses_every_request_ends_the_run() {
    for case in refusal_cases() {
        let (output, _) = attack(serve(case.act.clone()), &Dir::new(), &case.timeouts());
        assert_eq!(output.status.code(), Some(2), "{output}");
        let wanted = format!(
            "[ERROR] HTTP {} from http://127.0.0.1:",
            case.status.unwrap_or(0)
        );
        assert!(output.stderr.contains(&wanted), "{output}");
    }
}

#[test]
fn a_port_without_a_listener_is_reported_before_any_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    drop(listener);
    let (output, _) = attack(addr, &Dir::new(), &["--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stderr.contains("Reason: connect: "), "{output}");
}
