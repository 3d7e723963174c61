//! `load` in an open loop: due times against the mock's truth, a frozen server, an exhausted pool.

use serde_json::{Value, json};

use crate::alone;
use crate::util::{Cmd, Dir, Samples, Server, json_file};

fn load(dir: &Dir, args: &[&str]) -> Cmd {
    Cmd::new(dir).arg("load").args(args)
}

fn number(of: &Value, key: &str) -> f64 {
    of[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// Sends 50 requests a second, in both loops, to a server that freezes for two of four seconds.
#[test]
fn a_frozen_server_shows_at_a_rate_and_hides_in_a_closed_loop() {
    let _machine = alone();
    let options = [
        "--base",
        "5ms",
        "--itl",
        "0s",
        "--freeze-at",
        "1s",
        "--freeze-for",
        "2s",
    ];
    let run = |args: &[&str]| {
        let server = Server::start(&options);
        let dir = Dir::new();
        let common = [
            "--endpoint",
            server.addr(),
            "--duration",
            "4s",
            "--max-tokens",
            "1",
            "--warmup",
            "0",
            "--output",
            "r.json",
        ];
        load(&dir, &common).args(args).ok();
        json_file(&dir, "r.json")
    };
    let (open, closed) = std::thread::scope(|scope| {
        let open = scope.spawn(|| run(&["--rate", "50", "--burstiness", "inf"]));
        let closed = scope.spawn(|| run(&["--concurrency", "1"]));
        (open.join().expect("it ran"), closed.join().expect("it ran"))
    });
    assert_eq!(
        (&open["latency_from"], &closed["latency_from"]),
        (&json!("due"), &json!("sent"))
    );
    let (open_ms, closed_ms) = (
        number(&open, "latency_p99_ms"),
        number(&closed, "latency_p99_ms"),
    );
    assert!(open_ms >= 1500.0, "{open_ms} ms");
    assert!(closed_ms < 500.0, "{closed_ms} ms");
}

#[test]
fn times_from_due_are_those_of_the_servers_log_and_of_the_send() {
    let _machine = alone();
    let server = Server::start(&["--base", "3ms", "--itl", "1ms"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--rate",
        "100",
        "--requests",
        "150",
        "--max-tokens",
        "5",
        "--seed",
        "3",
    ];
    load(&dir, &args)
        .args(["--samples", "s.jsonl", "--output", "r.json"])
        .ok();
    let joined = Samples::read(&dir, "s.jsonl").with_truth(server.truth());
    let measured = joined.iter();
    let measured = measured.filter(|(sample, _)| sample["phase"] == "measured");
    let measured: Vec<&(Value, Value)> = measured.collect();
    let result = json_file(&dir, "r.json");
    assert_eq!(measured.len(), 150);
    let (mut late_ms, mut ttft_ms) = (0.0, 0.0);
    for (sample, told) in measured {
        let stamp = |key: &str| number(sample, key) / 1e6;
        late_ms += stamp("t_send_ns") - stamp("t_due_ns");
        ttft_ms += stamp("t_first_ns") - stamp("t_due_ns");
        // Measured from the last byte of the request to the first token that the server wrote.
        let written_ns = told["t_written_ns"][0].as_f64().expect("a first token");
        let server_ms = (written_ns - number(told, "t_read_ns")) / 1e6;
        let own_ms = stamp("t_first_ns") - stamp("t_send_ns");
        assert!(
            (0.0..5.0).contains(&(own_ms - server_ms)),
            "{sample}: {own_ms} {server_ms}"
        );
    }
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(
        close(number(&result, "lateness_avg_ms"), late_ms / 150.0),
        "{result}"
    );
    assert!(
        close(number(&result, "ttft_avg_ms"), ttft_ms / 150.0),
        "{result}"
    );
    assert!(number(&result, "lateness_avg_ms") < 5.0, "{result}");
    // The seed draws 149 gaps; the rate is 100 a second within four deviations of their mean.
    let rate = number(&result, "scheduled_rate_per_s");
    assert!((100.0 / 1.33..100.0 / 0.67).contains(&rate), "{rate}");
    assert_eq!(result["exhausted_requests"], 0);
}

#[test]
fn an_exhausted_pool_is_reported_and_its_waits_are_in_the_figures() {
    let _machine = alone();
    let server = Server::start(&["--base", "100ms", "--itl", "0s"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--rate",
        "100",
        "--burstiness",
        "inf",
        "--requests",
        "20",
        "--max-inflight",
        "2",
    ];
    let more = ["--max-tokens", "1", "--warmup", "0", "--output", "r.json"];
    let output = load(&dir, &args).args(more).ok();
    assert!(
        output
            .stdout
            .contains("Pool Exhausted: 18 requests found no idle worker"),
        "{output}"
    );
    let result = json_file(&dir, "r.json");
    // Two at a time, 100 ms each: the last of 20 is sent at 900 ms and was due at 190 ms.
    let max_ms = number(&result, "lateness_max_ms");
    assert!((700.0..1500.0).contains(&max_ms), "{max_ms}");
    let (from_due, from_sent) = (
        number(&result, "latency_p99_ms"),
        number(&result, "latency_from_sent_p99_ms"),
    );
    assert!(
        from_due > 750.0 && from_sent < 400.0,
        "{from_due} {from_sent}"
    );
}
