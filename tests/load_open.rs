//! `load` in an open loop: due times against the mock's truth, a frozen server, a trace.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Samples, Server, json_file};

fn load(dir: &Dir, args: &[&str]) -> Cmd {
    Cmd::new(dir).arg("load").args(args)
}

fn number(of: &Value, key: &str) -> f64 {
    of[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// The same 50 requests a second to a server that freezes for two of four seconds.
#[test]
fn a_frozen_server_shows_at_a_rate_and_hides_in_a_closed_loop() {
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
        // From the last byte of the request to the first token that the server wrote.
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
    // 149 gaps of the seed's draw; 100 a second within four deviations of their mean.
    let rate = number(&result, "scheduled_rate_per_s");
    assert!((100.0 / 1.33..100.0 / 0.67).contains(&rate), "{rate}");
    assert_eq!(result["exhausted_requests"], 0);
}

#[test]
fn a_pool_that_runs_out_is_said_and_its_waiting_is_in_the_figures() {
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
    // Two at a time, 100 ms each: the last of 20 is sent at 900 ms and was due at 190.
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

/// Lines of conversations: each goes on from an earlier one's blocks, or begins anew. No length is a multiple of 16.
struct Trace {
    lines: Vec<(u64, Vec<u64>)>,
}

const BLOCK: u64 = 512;

impl Trace {
    fn of(count: usize) -> Trace {
        let mut state: u64 = 9;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut lines: Vec<(u64, Vec<u64>)> = Vec::new();
        let mut next_id = 0;
        for _ in 0..count {
            let mut ids = Vec::new();
            if let Some(last) = lines.len().checked_sub(1).filter(|_| draw(4) > 0) {
                let (_, from) = &lines[last - draw(20.min(last as u64 + 1)) as usize];
                let kept = draw(from.len() as u64 + 1) as usize;
                ids.extend(&from[..kept.min(5)]);
            }
            for _ in 0..=draw(3) {
                ids.push(next_id);
                next_id += 1;
            }
            let tokens = BLOCK * (ids.len() as u64 - 1) + 16 * draw(32) + 1 + draw(15);
            lines.push((tokens, ids));
        }
        Trace { lines }
    }

    /// One line a request, `gap_ms` apart.
    fn text(&self, gap_ms: f64) -> String {
        let mut text = String::new();
        for (k, (tokens, ids)) in self.lines.iter().enumerate() {
            let timestamp = k as f64 * gap_ms;
            let _ = writeln!(
                text,
                r#"{{"timestamp": {timestamp}, "input_length": {tokens}, "output_length": 1, "hash_ids": {ids:?}}}"#
            );
        }
        text
    }

    /// Whole blocks of 16 tokens in all prompts, and how many of them are different ones.
    ///
    /// A block of 512 is named by its id and those before it; here an id stands behind the same ids always.
    fn blocks(&self) -> (u64, u64) {
        let mut all = 0;
        let mut different: HashSet<(u64, u64)> = HashSet::new();
        for (tokens, ids) in &self.lines {
            all += tokens / 16;
            for (place, id) in ids.iter().enumerate() {
                let of_this = (tokens - BLOCK * place as u64).min(BLOCK) / 16;
                different.extend((0..of_this).map(|block| (*id, block)));
            }
        }
        (all, different.len() as u64)
    }
}

/// Enough for all blocks of the trace, and no time of its own.
const ROOMY: [&str; 12] = [
    "--base",
    "0s",
    "--itl",
    "0s",
    "--prefill-rate",
    "1000M",
    "--tier1-tokens",
    "900M",
    "--max-running",
    "4096",
    "--seed",
    "1",
];

#[test]
fn a_trace_of_20000_lines_shares_what_its_ids_say_in_little_memory() {
    let server = Server::start(&ROOMY);
    let dir = Dir::new();
    let trace = Trace::of(20_000);
    // 20,000 at 100 times the speed in 24 s.
    dir.write("t.jsonl", trace.text(120.0));
    let args = [
        "--endpoint",
        server.addr(),
        "--trace",
        "t.jsonl",
        "--speed",
        "100",
        "--warmup",
        "0",
    ];
    let running = load(&dir, &args)
        .args(["--max-inflight", "64", "--output", "r.json"])
        .deadline(Duration::from_secs(240))
        .start();
    let peak = running.peak_mib();
    let output = running.wait();
    assert!(output.status.success(), "{output}");
    assert!(peak > 5.0 && peak < 300.0, "{peak} MiB\n{output}");
    let (all, different) = trace.blocks();
    let mut hits = 0;
    let mut tokens = 0;
    let mut requests = HashSet::new();
    for told in server.truth() {
        let id = told["id"].as_str().expect("every request has an id");
        let (_, place) = id.split_once('-').expect("RUN-ID");
        // Of the set-up there is no place.
        let Ok(place) = place.parse::<usize>() else {
            continue;
        };
        assert!(requests.insert(place), "{id} came twice");
        let (wanted, _) = trace.lines[place];
        assert_eq!(told["prompt_tokens"], json!(wanted), "{id}");
        hits += told["hit_tier1_tokens"].as_u64().expect("a count");
        tokens += wanted;
    }
    assert_eq!(requests.len(), 20_000);
    // Each different block is computed once, all others are hits: in whatever order requests arrive.
    assert_eq!(hits, 16 * (all - different));
    let result = json_file(&dir, "r.json");
    assert_eq!(result["successful_requests"], 20_000);
    let rate = number(&result, "prefix_cache_hit_rate");
    assert!((rate - hits as f64 / tokens as f64).abs() < 1e-9, "{rate}");
    let perfect = number(&result, "perfect_prefix_cache_hit_rate");
    assert!((rate - perfect).abs() < 1e-9, "{rate} {perfect}");
}
