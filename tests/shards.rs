//! Shards of a run: together they send what one process sends, and merged they are one run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, RawServer, Request, Samples, Server, json_file};

const SHARDS: usize = 4;
/// The options that all shards of a run have in common.
const SAME: &str = "--seed 5 --nonce shared";

/// Answers the list of models, and every prompt with two tokens that depend on it.
fn answer(request: &Request, stream: &mut TcpStream) {
    let (kind, body) = match request.path.as_str() {
        "/v1/models" => (
            "application/json",
            json!({"data": [{"id": "m"}]}).to_string(),
        ),
        path if path.ends_with("completions") => ("text/event-stream", events(request)),
        _ => {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that hangs up is not this server's concern.
    let _ = stream.write_all((head + &body).as_bytes());
}

fn events(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let is_chat = request.path.ends_with("chat/completions");
    let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
    let text = |text: String| match is_chat {
        true => json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
        false => json!({"choices": [{"index": 0, "text": text}]}),
    };
    let words = |value: &Value| {
        value
            .as_str()
            .map_or(0, |text| text.split_whitespace().count())
    };
    let prompt: usize = match body["messages"].as_array() {
        Some(messages) => messages
            .iter()
            .map(|message| words(&message["content"]))
            .sum(),
        None => words(&body["prompt"]),
    };
    let usage = json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": 2}});
    let end = json!({"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "stop"}]});
    let events = [
        text(format!("w{sum}")),
        text(" end".to_string()),
        end,
        usage,
    ];
    let events = events.iter().map(|event| format!("data: {event}\n\n"));
    events.collect::<String>() + "data: [DONE]\n\n"
}

/// Returns what a server was asked by requests of the run: the body by its id.
fn asked(server: &RawServer) -> BTreeMap<String, String> {
    let mut asked = BTreeMap::new();
    for request in server.requests() {
        let Some(id) = request.header("x-request-id") else {
            continue;
        };
        // Every process asks the questions of the set-up itself.
        if !id.contains("setup") {
            let body = String::from_utf8(request.body.clone()).expect("JSON");
            assert!(
                asked.insert(id.to_string(), body).is_none(),
                "{id} came twice"
            );
        }
    }
    asked
}

/// Runs a command as one process and as shards, each against a server of its own kind, and compares what these were
/// asked. Returns the requests of each shard.
fn compare(dir: &Dir, words: &str) -> Vec<usize> {
    let sent = |shard: &str, server: &RawServer| {
        let url = format!("http://{}", server.addr());
        let words = format!("{words} --endpoint {url} {SAME} --shard {shard}");
        Cmd::new(dir).args(words.split_whitespace()).ok();
    };
    let whole = RawServer::start(answer);
    sent("0/1", &whole);
    let whole = asked(&whole);
    let server = RawServer::start(answer);
    let mut counts = Vec::new();
    for index in 0..SHARDS {
        let before = asked(&server).len();
        sent(&format!("{index}/{SHARDS}"), &server);
        counts.push(asked(&server).len() - before);
    }
    assert_eq!(asked(&server), whole, "{words}");
    counts
}

#[test]
fn shards_of_a_load_send_the_requests_of_one_process() {
    let dir = Dir::new();
    // 30 requests, and 5 of the warm-up.
    let words = "load --api completions --requests 30 --max-tokens 2 --repeat-ratio 0.4";
    let counts = compare(&dir, &format!("{words} --concurrency 8"));
    assert_eq!(counts, [8 + 2, 8 + 1, 7 + 1, 7 + 1]);
    compare(
        &dir,
        &format!("{words} --rate 200 --shared-prefix-tokens 20 --groups 3"),
    );
    // Two points; at the first, two shards have no request in flight.
    let counts = compare(&dir, &format!("{words} --warmup 0 --concurrency 2 6"));
    assert_eq!(counts, [15 + 8, 15 + 8, 7, 7]);
}

#[test]
fn shards_of_a_trace_keep_sessions_together() {
    let dir = Dir::new();
    let mut lines = String::new();
    for k in 0..12 {
        let session = k % 5;
        lines += &format!(
            "{}\n",
            json!({"timestamp": k * 20, "session_id": session, "input_length": 600 + k,
                "output_length": 2, "hash_ids": [session, 100 + k]})
        );
    }
    let trace = dir.write("trace.jsonl", lines);
    let words = format!(
        "load --api completions --warmup 0 --trace {}",
        trace.display()
    );
    let counts = compare(&dir, &words);
    assert_eq!(counts.iter().sum::<usize>(), 12);
}

#[test]
fn shards_of_a_replay_continue_their_own_conversations_in_every_round() {
    let dir = Dir::new();
    let talk = |k: usize| {
        let questions: Vec<String> = (0..1 + k % 3)
            .map(|turn| format!("question {k} {turn}"))
            .collect();
        format!(
            "{}\n",
            json!({"session_id": format!("s{k}"), "user_messages": questions})
        )
    };
    let dataset = dir.write("talks.jsonl", (0..10).map(talk).collect::<String>());
    let words = format!(
        "replay --dataset {} --concurrency 4 --max-output-tokens 2",
        dataset.display()
    );
    let counts = compare(&dir, &words);
    // Sessions k have 1 + k mod 3 turns; a shard has those with k mod 4 its index, in two rounds.
    assert_eq!(
        counts,
        [2 * (1 + 2 + 3), 2 * (2 + 3 + 1), 2 * (3 + 1), 2 * (1 + 2)]
    );
}

#[test]
fn shards_of_a_benchmark_keep_the_rotations_and_those_of_run_its_workloads() {
    let dir = Dir::new();
    let words =
        "benchmark --contexts 6 --input-length 40 --output-length 2 --rotations 3 --max-inflight 4";
    let counts = compare(&dir, words);
    assert_eq!(counts, [5, 5, 4, 4]);
    // Five and three requests one after the other, and ten at once.
    let counts = compare(&dir, "run --workload year1 --api completions --output out");
    assert_eq!(counts, [5 + 3 + 3, 3, 2, 2]);
}

/// Four shards of a load at a rate against one mock, started together.
struct Run {
    dir: Dir,
    files: Vec<PathBuf>,
}

fn at_a_rate(words: &str) -> Run {
    let dir = Dir::new();
    let server = Server::start(&["--base", "5ms", "--itl", "1ms", "--jitter", "5ms"]);
    let start = std::time::SystemTime::now() + std::time::Duration::from_millis(2500);
    let start = start
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let running: Vec<_> = (0..SHARDS)
        .map(|index| {
            let words = format!(
                "load --endpoint {} --api completions --max-tokens 4 {words} {SAME} \
                 --shard {index}/{SHARDS} --start-at {} --samples s{index}.jsonl",
                server.url(),
                start.as_secs_f64()
            );
            Cmd::new(&dir).args(words.split_whitespace()).start()
        })
        .collect();
    for shard in running {
        let output = shard.wait();
        assert_eq!(output.status.code(), Some(0), "{output}");
    }
    let files = (0..SHARDS).map(|index| dir.path().join(format!("s{index}.jsonl")));
    Run {
        files: files.collect(),
        dir,
    }
}

impl Run {
    fn samples(&self, index: usize) -> Samples {
        Samples::read(&self.dir, &format!("s{index}.jsonl"))
    }

    /// Returns the measured samples of all shards.
    fn pooled(&self) -> Vec<Value> {
        let all = (0..SHARDS).flat_map(|index| self.samples(index).lines);
        all.filter(|line| line["phase"] == "measured").collect()
    }

    fn merge(&self, files: &[PathBuf], more: &str) -> Cmd {
        Cmd::new(&self.dir)
            .arg("merge")
            .args(files)
            .args(["-o", "all.jsonl"])
            .args(more.split_whitespace())
    }

    fn report(&self) -> Value {
        Cmd::new(&self.dir)
            .args([
                "report",
                "-i",
                "all.jsonl",
                "--format",
                "json",
                "-o",
                "all.json",
            ])
            .ok();
        json_file(&self.dir, "all.json")
    }
}

/// Returns a percentile of values by linear interpolation between closest ranks.
fn percentile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let (below, above) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}

#[test]
fn merged_shards_have_the_percentiles_of_all_requests_and_the_schedule_of_one_process() {
    let run = at_a_rate("--rate 100 --requests 202 --warmup 3");
    let output = run.merge(&run.files, "").ok();
    assert!(output.stdout.contains("Merge: WHOLE."), "{output}");
    run.report();
    let report = run.dir.read("all.json");
    let pooled = run.pooled();
    assert_eq!(pooled.len(), 202);
    let ns = |sample: &Value, key: &str| sample[key].as_f64().expect("a stamp");
    let times = |to: &str| -> Vec<f64> {
        let of = |sample: &Value| (ns(sample, to) - ns(sample, "t_due_ns")) / 1e6;
        pooled.iter().map(of).collect()
    };
    for (key, to) in [("ttft", "t_first_ns"), ("latency", "t_last_ns")] {
        for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let key = format!("{key}_{name}_ms");
            // Equal digits are equal bits: the shortest text of a number names only that one.
            let wanted = format!("\"{key}\": {}", json!(percentile(times(to), q)));
            assert!(report.contains(&wanted), "{wanted}: {report}");
        }
    }
    // All shards begin at one time, so the due times are those of one schedule.
    let merged = Samples::read(&run.dir, "all.jsonl");
    let measured = merged
        .requests()
        .filter(|sample| sample["phase"] == "measured");
    let mut due: Vec<(u64, f64)> = measured
        .map(|sample| {
            (
                sample["id"].as_u64().expect("an id"),
                ns(sample, "t_due_ns"),
            )
        })
        .collect();
    due.sort_by_key(|(id, _)| *id);
    assert_eq!(due.len(), 202);
    for pair in due.windows(2) {
        // Two processes agree on the time within a millisecond.
        assert!(pair[1].1 > pair[0].1 - 1e6, "{pair:?}");
    }
}

#[test]
fn a_clock_that_is_half_a_second_off_changes_no_latency_and_is_noted() {
    let run = at_a_rate("--rate 100 --requests 240 --warmup 0");
    run.merge(&run.files, "").ok();
    let figures = |report: &Value| {
        ["ttft_p99_ms", "latency_p50_ms", "itl_p50_ms"].map(|key| report[key].as_f64())
    };
    let right = figures(&run.report());
    assert!(right.iter().all(Option::is_some), "{right:?}");
    for (by_us, side) in [(500_000_i64, "ahead of"), (-500_000, "behind")] {
        let mut lines: Vec<Value> = Vec::new();
        let samples = run.samples(2);
        lines.push(samples.header.clone());
        lines.extend(samples.lines.iter().cloned());
        for line in &mut lines {
            for clock in [&["clock", "wall_us"][..], &["wall_us"]] {
                let wall = clock.iter().try_fold(&mut *line, |of, key| of.get_mut(key));
                if let Some(wall) = wall {
                    *wall = json!(wall.as_i64().expect("a time") + by_us);
                }
            }
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut files = run.files.clone();
        files[2] = run.dir.write("skewed.jsonl", text);
        let output = run.merge(&files, "").ok();
        let note = format!("s {side} that of shard 0 by the dates of the server's replies");
        assert!(output.stdout.contains(&note), "{output}");
        assert!(
            output.stdout.contains("The clock of shard 2 is "),
            "{output}"
        );
        assert_eq!(figures(&run.report()), right, "{side}");
    }
}

#[test]
fn a_killed_shard_is_named_with_the_requests_that_it_was_to_send() {
    let dir = Dir::new();
    let server = Server::start(&["--base", "5ms", "--itl", "1ms"]);
    let shard = |index: usize| {
        let words = format!(
            "load --endpoint {} --api completions --max-tokens 4 --rate 100 --requests 202 --warmup 0 {SAME} \
             --shard {index}/{SHARDS} --samples s{index}.jsonl",
            server.url()
        );
        Cmd::new(&dir).args(words.split_whitespace()).start()
    };
    let mut killed = shard(1);
    let file = dir.path().join("s1.jsonl");
    crate::util::until("some requests have ended", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().count() > 5
    });
    killed.kill();
    for index in [0, 2, 3] {
        assert_eq!(shard(index).wait().status.code(), Some(0));
    }
    let run = Run {
        files: (0..SHARDS)
            .map(|index| dir.path().join(format!("s{index}.jsonl")))
            .collect(),
        dir,
    };
    let sent = run.samples(1).requests().count();
    // 202 requests are 51, 51, 50 and 50.
    let lacks = format!(
        "shard 1 was cut: {} has {sent} of the 51 requests",
        run.files[1].display()
    );
    let output = run.merge(&run.files, "").fails(1);
    assert!(output.stderr.contains(&lacks), "{output}");
    let without = [&run.files[..1], &run.files[2..]].concat();
    let output = run.merge(&without, "").fails(1);
    let lacks = "[ERROR] merge: shard 1 is missing: 51 requests that it was to send";
    assert!(output.stderr.contains(lacks), "{output}");
    run.merge(&without, "--allow-missing").ok();
    let report = run.report();
    assert_eq!(report["successful_requests"], 151);
    let shown = Cmd::new(&run.dir).args(["report", "-i", "all.jsonl"]).ok();
    assert!(shown.stdout.contains("shard 1 is missing"), "{shown}");
}

#[test]
fn a_start_that_has_passed_is_refused_before_anything_is_sent() {
    let dir = Dir::new();
    let server = RawServer::start(answer);
    let words = format!(
        "load --endpoint http://{} --api completions --start-at 2026-01-01T00:00:00Z",
        server.addr()
    );
    let output = Cmd::new(&dir).args(words.split_whitespace()).fails(2);
    let start = "[ERROR] --start-at 2026-01-01T00:00:00Z: passed ";
    assert!(output.stderr.starts_with(start), "{output}");
    assert!(server.requests().is_empty());
}
