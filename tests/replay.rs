//! `replay` as a process: its errors, its files, and its ends.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, RawServer, Running, Samples, Server, json_file, not_run};

const DATASETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/datasets");

fn replay(dir: &Dir, options: &[&str]) -> Cmd {
    Cmd::new(dir)
        .args(["replay"])
        .args(options)
        .deadline(Duration::from_secs(60))
}

/// Returns a replay against a mock in the same process without delays.
fn against_mock(dir: &Dir, dataset: &str, options: &[&str]) -> Cmd {
    replay(dir, &["--dataset", dataset, "--backend", "mock"])
        .args(["--mock", "base=1ms,itl=1ms,prefill_rate=10M"])
        .args(["--max-output-tokens", "4"])
        .args(options)
}

fn samples(dir: &Dir) -> Samples {
    Samples::read(dir, "benchmark_results/samples.jsonl")
}

#[test]
fn options_that_cannot_work_are_refused_before_the_first_request() {
    let dir = Dir::new();
    dir.write("bad.jsonl", "{\"text\":\"fine\"}\n{\"txt\":\"not\"}\n");
    dir.write("ok.jsonl", "{\"text\":\"fine\"}\n");
    dir.write("slo.yaml", "slo:\n  ttft: 5\n");
    dir.write("a-file", "");
    let server = Server::start(&[]);
    let bad = ["--endpoint", &server.url(), "--dataset", "bad.jsonl"].join(" ");
    let ok = bad.replace("bad", "ok");
    for (base, options, message) in [
        ("--backend mock", "", "--dataset: not given"),
        (&bad, "", "--dataset bad.jsonl, line 2: "),
        (
            &ok,
            "--mock-server",
            "--mock-server: not together with --endpoint",
        ),
        (&ok, "--mock-port 1", "--mock-port: only with --mock-server"),
        (
            &ok,
            "--concurrency 5 5",
            "--concurrency 5: the same level twice",
        ),
        (&ok, "--concurrency 0", "--concurrency 0: want 1 or more"),
        (
            &ok,
            "--concurrency 1 2 3 --num-samples 4,5",
            "--num-samples: 2 numbers for 3 levels",
        ),
        (&ok, "--concurrency 10M", "--concurrency 10000000: needs "),
        (
            &ok,
            "--no-nonce --nonce x",
            "--no-nonce: not together with --nonce",
        ),
        (
            &ok,
            "--reset-cache-url h:1/x",
            "--reset-cache-url http://h:1/x: does not say when to reset",
        ),
        (
            &ok,
            "--reset-cache-between-rounds",
            "--reset-cache-url: not given",
        ),
        (
            &ok,
            "--prometheus-url ftp://h",
            "--prometheus-url ftp://h: the scheme is neither http nor https",
        ),
        (
            &ok,
            "--prometheus-interval 2s --metrics-url off",
            "--prometheus-interval: not together with --metrics-url off",
        ),
        (
            &ok,
            "--prometheus-url 127.0.0.1:1 --prometheus-metrics x",
            "--prometheus-url http://127.0.0.1:1/metrics: connect",
        ),
        (&ok, "--slo-file slo.yaml", "--slo-file slo.yaml"),
        (&ok, "--output-dir a-file", "--output-dir a-file"),
        (
            &ok,
            "--debug --debug-log-dir a-file",
            "--debug-log-dir a-file",
        ),
        (
            &ok,
            "--debug-log-dir logs",
            "--debug-log-dir logs: only with --debug",
        ),
        (
            &ok,
            "--min-output-tokens 9 --max-output-tokens 8",
            "--min-output-tokens 9: more than --max-output-tokens 8",
        ),
        (&ok, "--top-p 1.5", "--top-p 1.5: want 0 to 1"),
        (
            &ok,
            "--concurency 1",
            "--concurency: replay has no such option\nDid you mean --concurrency?",
        ),
    ] {
        let words: Vec<&str> = base
            .split(' ')
            .chain(options.split(' '))
            .filter(|w| !w.is_empty())
            .collect();
        let output = replay(&dir, &words).fails(2);
        let message = format!("[ERROR] {message}");
        assert!(output.stderr.contains(&message), "want {message}\n{output}");
    }
    let truth = server.truth();
    let ids = truth.iter().filter_map(|line| line["id"].as_str());
    let sent: Vec<&str> = ids.filter(|id| !id.contains("-setup-")).collect();
    assert_eq!(
        sent, [""; 0],
        "requests before the run are no measured ones"
    );
}

#[test]
fn each_form_of_dataset_is_sent_in_two_rounds() {
    for (file, requests) in [
        ("text.jsonl", 8),
        ("prompt.json", 6),
        ("sessions.jsonl", 12),
        ("data-object.json", 4),
    ] {
        let dir = Dir::new();
        let dataset = format!("{DATASETS}/{file}");
        let output = against_mock(&dir, &dataset, &["--concurrency", "3"]).ok();
        for round in [1, 2] {
            let file = json_file(
                &dir,
                &format!("benchmark_results/concurrency_3_round_{round}.json"),
            );
            let got = file["summary"]["successful_requests"].as_u64();
            assert!(got.is_some_and(|got| got >= requests / 2), "{output}");
            let list = file["requests"].as_array().expect("a list");
            assert_eq!(list.len() as u64, got.unwrap_or(0));
            let indices: Vec<u64> = list
                .iter()
                .filter_map(|line| line["index"].as_u64())
                .collect();
            assert!(
                indices.is_sorted() && indices.len() == list.len(),
                "{indices:?}"
            );
        }
        let samples = samples(&dir);
        let of_round = |round| move |sample: &&Value| sample["round"] == round;
        let count = |round: u64| samples.requests().filter(of_round(round)).count();
        assert_eq!(count(1), count(2));
    }
}

#[test]
fn whole_bodies_go_out_byte_for_byte() {
    let bodies = [
        r#"{ "model":"m","messages" : [{"role":"user","content":"caf\u00e9"}],"max_tokens":3 }"#,
        r#"{"messages":[{"role":"user","content":"b"}],"stream":true,"x":{"y":1}}"#,
    ];
    let dir = Dir::new();
    let lines = bodies
        .map(|body| format!(r#"{{"custom_id":"a","url":"/v1/chat/completions","body":{body}}}"#));
    dir.write("batch.jsonl", lines.join("\n"));
    let server = plain_server();
    let url = format!("http://{}", server.addr());
    let output = replay(&dir, &["--dataset", "batch.jsonl", "--endpoint", &url]).ok();
    let sent: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| {
            request.method == "POST"
                && !request
                    .header("x-request-id")
                    .is_some_and(|id| id.contains("setup"))
        })
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert_eq!(sent.len(), 4, "two rounds of two\n{output}");
    for body in bodies {
        assert_eq!(
            sent.iter().filter(|sent| *sent == body).count(),
            2,
            "{body}"
        );
    }
    assert!(output.stdout.contains("Not streamed: 2"), "{output}");
    let without = "Whole bodies: 2, sent exactly as they are, without nonce, ";
    assert!(output.stdout.contains(without), "{output}");
    let file = json_file(&dir, "benchmark_results/concurrency_1_round_1.json");
    assert_eq!(file["summary"]["avg_ttft"], Value::Null);
    assert_eq!(file["requests"][0]["prompt"], "café");
}

/// Starts a server of replies that are not streamed.
fn plain_server() -> RawServer {
    RawServer::start(|request, stream| {
        let reply = match request.path.as_str() {
            "/v1/models" => r#"{"data":[{"id":"m"}]}"#.to_string(),
            _ => r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#.to_string(),
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let _ = write!(
            stream,
            "{head}Content-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
    })
}

#[test]
fn messages_with_tools_are_sent_unchanged_with_the_keys_of_the_run() {
    let messages = [
        r#""messages":[{"role": "user", "content": "list"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "c1"}]}, {"role": "tool", "tool_call_id": "c1", "content": "a b"}]"#,
        r#""messages":[{"role":"user","content":"a"}],"tools":[{"type": "function"}]"#,
    ];
    let dir = Dir::new();
    dir.write(
        "t.jsonl",
        messages.map(|members| format!("{{{members}}}")).join("\n"),
    );
    let server = plain_server();
    let url = format!("http://{}", server.addr());
    let args = ["--dataset", "t.jsonl", "--endpoint", &url];
    let load = Cmd::new(&dir).arg("load").args(args);
    for (command, said, times) in [
        (replay(&dir, &args), "Requests as they stand: 2, ", 2),
        (
            load.args(["--api", "chat"]),
            "t.jsonl: 2 records are sent unchanged",
            3,
        ),
    ] {
        let output = command.ok().to_string();
        assert!(output.contains(said), "{output}");
        for members in messages {
            let start = format!("{{{members},");
            let sent = server.requests().into_iter().filter(|request| {
                let body = String::from_utf8_lossy(&request.body);
                body.starts_with(&start) && body.contains(r#""model":"m""#)
            });
            assert_eq!(sent.count(), times, "{members}");
        }
    }
    let refused = replay(&dir, &args)
        .args(["--api", "completions"])
        .fails(2)
        .stderr;
    assert!(
        refused.contains("line 1: messages that are sent unchanged"),
        "{refused}"
    );
}

#[test]
fn a_body_for_the_other_api_is_refused_before_the_first_request() {
    let dir = Dir::new();
    for (url, api, other) in [
        ("/v1/chat/completions", "completions", "/v1/completions"),
        ("/v1/completions", "chat", "/v1/chat/completions"),
    ] {
        let line = json!({"url": url, "body": {"prompt": "a"}});
        dir.write("batch.jsonl", line.to_string());
        let options = [
            "--dataset",
            "batch.jsonl",
            "--backend",
            "mock",
            "--api",
            api,
        ];
        let output = replay(&dir, &options).fails(2);
        let why = format!("--dataset batch.jsonl, line 1: a request to {url}, not to {other}");
        assert!(output.stderr.contains(&why), "{output}");
    }
}

#[test]
fn a_second_round_is_shuffled_by_the_seed_unless_told_otherwise() {
    let order = |options: &[&str]| -> Vec<u64> {
        let dir = Dir::new();
        against_mock(&dir, &format!("{DATASETS}/text.jsonl"), options).ok();
        let samples = samples(&dir);
        let second = samples.requests().filter(|sample| sample["round"] == 2);
        second
            .filter_map(|sample| sample["session"].as_u64())
            .collect()
    };
    let shuffled = order(&["--seed", "3"]);
    assert!(!shuffled.is_sorted());
    assert_eq!(order(&["--seed", "3"]), shuffled);
    assert_ne!(order(&["--seed", "4"]), shuffled);
    assert!(order(&["--no-shuffle-round2"]).is_sorted());
}

#[test]
fn a_failed_turn_ends_its_session_and_the_rest_is_counted() {
    let dir = Dir::new();
    let record = json!({"session_id": "s", "user_messages": ["a", "b", "c", "d"]});
    dir.write("one.jsonl", record.to_string());
    // Two requests come before the run; the fourth is the second turn of the first round.
    let server = Server::start(&["--faults", "http:500@4", "--itl", "0s"]);
    let url = server.url();
    let output = replay(&dir, &["--dataset", "one.jsonl", "--endpoint", &url]).ok();
    let summary = |round: u64| {
        json_file(
            &dir,
            &format!("benchmark_results/concurrency_1_round_{round}.json"),
        )["summary"]
            .clone()
    };
    let first = summary(1);
    assert_eq!(
        (
            &first["successful_requests"],
            &first["failed_requests"],
            &first["turns_not_sent"]
        ),
        (&json!(1), &json!(1), &json!(2)),
        "{output}"
    );
    // The second round sends the same two requests: turns that the first did not send have no bytes to repeat.
    let second = summary(2);
    assert_eq!(
        (&second["successful_requests"], &second["turns_not_sent"]),
        (&json!(2), &json!(2)),
        "{output}"
    );
    assert!(
        output.stdout.contains("http 1, the first: HTTP 500"),
        "{output}"
    );
}

#[test]
fn the_cache_is_reset_where_asked_and_a_reset_that_fails_ends_the_run() {
    // Four whole blocks of 16 of the 65 words.
    const WARM: f64 = 0.984_615;
    let dir = Dir::new();
    let prompt: Vec<String> = (0..65).map(|k| format!("w{k}")).collect();
    dir.write("long.jsonl", json!({"text": prompt.join(" ")}).to_string());
    let server = Server::start(&["--itl", "0s"]);
    let (url, reset) = (server.url(), format!("{}/reset_prefix_cache", server.url()));
    let rates = |options: &[&str]| -> Vec<f64> {
        let base = [
            "--dataset",
            "long.jsonl",
            "--endpoint",
            &url,
            "--max-output-tokens",
            "2",
        ];
        replay(&dir, &[&base[..], options].concat()).ok();
        let rate = |round| {
            let file = json_file(
                &dir,
                &format!("benchmark_results/concurrency_1_round_{round}.json"),
            );
            let rate = file["summary"]["prefix_cache_hit_rate"].as_f64();
            (rate.expect("a rate") * 1e6).round() / 1e6
        };
        vec![rate(1), rate(2)]
    };
    // The exact bytes are warm from the second run on, unless the cache is emptied before the level.
    assert_eq!(rates(&["--no-nonce"]), [0.0, WARM]);
    assert_eq!(rates(&["--no-nonce"]), [WARM, WARM]);
    let both = [
        "--reset-cache-url",
        &reset,
        "--reset-cache-between-concurrency",
    ];
    assert_eq!(rates(&both), [0.0, WARM]);
    let each = [&both[..], &["--reset-cache-between-rounds"]].concat();
    assert_eq!(rates(&each), [0.0, 0.0]);

    let refusing = RawServer::start(|_, stream| {
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"success\":false}");
    });
    let reset = format!("http://{}/reset_prefix_cache", refusing.addr());
    let options = [
        "--reset-cache-url",
        &reset,
        "--reset-cache-between-concurrency",
    ];
    let base = ["--dataset", "long.jsonl", "--endpoint", &url];
    let output = replay(&dir, &[&base[..], &options].concat()).fails(2);
    assert!(
        output.stderr.contains("says that the reset failed"),
        "{output}"
    );
}

#[test]
fn a_warm_first_round_is_reported() {
    let dir = Dir::new();
    let prompt: Vec<String> = (0..64).map(|k| format!("w{k}")).collect();
    dir.write("long.jsonl", json!({"text": prompt.join(" ")}).to_string());
    let server = Server::start(&["--itl", "0s"]);
    let url = server.url();
    let base = [
        "--dataset",
        "long.jsonl",
        "--endpoint",
        &url,
        "--nonce",
        "n",
    ];
    let cold = replay(&dir, &base).ok();
    assert!(!cold.stdout.contains("was not cold"), "{cold}");
    let warm = replay(&dir, &base).ok();
    // 65 words with the nonce, of which 64 are in whole blocks: 98.46 %.
    assert!(
        warm.stdout.contains("round 1 was not cold: 98.5 %"),
        "{warm}"
    );
}

#[test]
fn a_first_round_that_hits_the_history_of_its_own_sessions_was_cold() {
    let dir = Dir::new();
    let turn = |turn: usize| format!("turn {turn} of a session ").repeat(20);
    let session = json!({"user_messages": [turn(0), turn(1), turn(2)]});
    dir.write("d.jsonl", session.to_string());
    let server = Server::start(&["--itl", "0s"]);
    let url = server.url();
    let base = ["--dataset", "d.jsonl", "--endpoint", &url, "--nonce", "n"];
    let cold = replay(&dir, &base).ok();
    let rate = cold
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("Prefix Cache Hit Rate (usage): "));
    let rate = rate.and_then(|rate| rate.strip_suffix(" %")?.parse::<f64>().ok());
    assert!(rate.is_some_and(|rate| rate > 20.0), "{cold}");
    assert!(!cold.stdout.contains("was not cold"), "{cold}");
    // The first turn has 1 + 20 x 5 words, 96 of them in whole blocks.
    let warm = replay(&dir, &base).ok();
    let said = "round 1 was not cold: 95.0 % of the prompt tokens of first turns were cached";
    assert!(warm.stdout.contains(said), "{warm}");
}

#[test]
fn metadata_goes_to_the_mock_or_where_asked_and_nowhere_else() {
    for (options, wanted) in [(&[][..], false), (&["--send-metadata"], true)] {
        let dir = Dir::new();
        dir.write("one.jsonl", r#"{"user_messages":["a"],"session_id":"s-1"}"#);
        let server = RawServer::start(|request, stream| {
            let reply = match request.path.as_str() {
                "/v1/models" => r#"{"data":[{"id":"m"}]}"#,
                _ => r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#,
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}",
                reply.len()
            );
        });
        let url = format!("http://{}", server.addr());
        replay(&dir, &["--dataset", "one.jsonl", "--endpoint", &url])
            .args(options)
            .ok();
        let requests = server.requests();
        // Behind it the tokens of the reply, which has no usage, are asked for.
        let mut requests = requests.iter().rev();
        let last = requests.find(|request| request.path.contains("chat"));
        let last = last.expect("a chat request");
        let body: Value = serde_json::from_slice(&last.body).expect("JSON");
        assert_eq!(body.get("metadata").is_some(), wanted, "{body}");
        if wanted {
            assert_eq!(body["metadata"]["session_id"], "s-1");
            assert_eq!(
                body["metadata"]["request_id"].as_str(),
                last.header("x-request-id")
            );
        }
        assert_eq!(
            (&body["temperature"], body.get("max_tokens")),
            (&json!(0), None)
        );
    }
}

#[test]
fn the_key_is_in_no_file_even_where_the_server_repeats_it() {
    const KEY: &str = "sk-secret-0123456789abcdef";
    let dir = Dir::new();
    dir.write("one.jsonl", r#"{"user_messages":["a","b"]}"#);
    let server = RawServer::start(|request, stream| {
        let reply = match request.path.as_str() {
            "/v1/models" => r#"{"data":[{"id":"m"}]}"#.to_string(),
            _ => format!(
                r#"{{"choices":[{{"message":{{"content":"your key is {KEY}"}},"finish_reason":"stop"}}]}}"#
            ),
        };
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
    });
    let url = format!("http://{}", server.addr());
    let options = [
        "--dataset",
        "one.jsonl",
        "--endpoint",
        &url,
        "--api-key",
        KEY,
        "--debug",
    ];
    let output = replay(&dir, &options).ok();
    assert!(
        !output.stdout.contains(KEY) && !output.stderr.contains(KEY),
        "{output}"
    );
    for folder in ["benchmark_results", "debug_logs"] {
        for file in std::fs::read_dir(dir.path().join(folder)).expect("a folder") {
            let path = file.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            assert!(!text.contains(KEY), "{}", path.display());
        }
    }
    assert!(
        dir.read("debug_logs/concurrency_1_round_1.jsonl")
            .contains("your key is ****cdef")
    );
    use std::os::unix::fs::PermissionsExt;
    let log = dir.path().join("debug_logs/concurrency_1_round_1.jsonl");
    let mode = std::fs::metadata(log).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_body_over_several_lines_is_one_line_of_the_debug_log() {
    let dir = Dir::new();
    let body = "{\n \"messages\":[\r\n{\"role\":\"user\",\"content\":\"a\\nb\"}]\n}";
    dir.write("bodies.json", format!("[\n{{\"body\":{body}}}\n]"));
    against_mock(&dir, "bodies.json", &["--debug"]).ok();
    let log = dir.read("debug_logs/concurrency_1_round_1.jsonl");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert_eq!(lines[0]["body"]["messages"][0]["content"], "a\nb");
}

/// Starts a server that takes about 20 ms a request, and writes 40 prompts for it.
fn slow_run(dir: &Dir) -> (Server, String) {
    let lines: String = (0..40)
        .map(|k| format!("{}\n", json!({"text": format!("prompt {k}")})))
        .collect();
    dir.write("prompts.jsonl", lines);
    let server = Server::start(&["--base", "20ms", "--itl", "1ms"]);
    let url = server.url();
    (server, url)
}

/// Starts a replay of them, two in flight.
fn two_in_flight(dir: &Dir, url: &str) -> Running {
    replay(dir, &["--dataset", "prompts.jsonl", "--endpoint", url])
        .args(["--concurrency", "2", "--max-output-tokens", "4"])
        .start()
}

/// Waits until the samples file has this many lines of the round.
fn wait_for_samples(dir: &Dir, round: u64, wanted: usize) {
    let path = dir.path().join("benchmark_results/samples.jsonl");
    let given_up = Instant::now() + Duration::from_secs(20);
    let mark = format!("\"round\":{round},");
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.lines().filter(|line| line.contains(&mark)).count() >= wanted {
            return;
        }
        assert!(
            Instant::now() < given_up,
            "no {wanted} samples of round {round}:\n{text}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_kill_in_round_2_leaves_round_1_whole_and_every_finished_request() {
    let dir = Dir::new();
    let (server, url) = slow_run(&dir);
    let running = two_in_flight(&dir, &url);
    wait_for_samples(&dir, 2, 5);
    running.signal("KILL");
    drop(running);
    let file = json_file(&dir, "benchmark_results/concurrency_2_round_1.json");
    assert_eq!(file["summary"]["successful_requests"], 40);
    assert_eq!(file["requests"].as_array().map(Vec::len), Some(40));
    let csv = dir.read("benchmark_results/metrics_summary.csv");
    assert!(
        csv.starts_with("Metric/Round,Concurrency2-Round1\n"),
        "{csv}"
    );
    let samples = samples(&dir);
    let sampled = samples.requests().map(|sample| samples.request_id(sample));
    let sampled: Vec<String> = sampled.collect();
    // The requests that the mock has finished are there, except two in flight or on their way to the file.
    let finished: Vec<String> = server
        .truth()
        .iter()
        .filter(|truth| truth["aborted"] == false)
        .filter_map(|truth| truth["id"].as_str().map(str::to_string))
        .filter(|id| !id.contains("setup"))
        .collect();
    let missing = finished.iter().filter(|id| !sampled.contains(id)).count();
    assert!(
        finished.len() >= 45 && missing <= 2,
        "{missing} of {}",
        finished.len()
    );
    let left = std::fs::read_dir(dir.path().join("benchmark_results")).expect("a folder");
    assert_eq!(left.count(), 3, "nothing but the results");
}

#[test]
fn a_signal_ends_the_round_with_its_table_and_130() {
    let dir = Dir::new();
    let (_server, url) = slow_run(&dir);
    let running = two_in_flight(&dir, &url);
    wait_for_samples(&dir, 2, 5);
    let stopped = Instant::now();
    running.signal("INT");
    let output = running.wait();
    assert!(stopped.elapsed() < Duration::from_secs(2), "{output}");
    assert_eq!(output.status.code(), Some(130), "{output}");
    assert!(
        output
            .stdout
            .contains("Concurrency: 2 | Round 2 Performance Metrics"),
        "{output}"
    );
    assert!(
        output.stdout.contains("The round was cut short"),
        "{output}"
    );
    let file = json_file(&dir, "benchmark_results/concurrency_2_round_2.json");
    assert_eq!(file["configuration"]["complete"], false);
    let done = file["summary"]["successful_requests"].as_u64();
    assert!(done.is_some_and(|done| (5..40).contains(&done)), "{file}");
}

#[test]
fn a_debug_log_that_cannot_be_made_does_not_end_the_run() {
    let dir = Dir::new();
    let (_server, url) = slow_run(&dir);
    let running = replay(&dir, &["--dataset", "prompts.jsonl", "--endpoint", &url])
        .args(["--max-output-tokens", "4", "--debug"])
        .start();
    wait_for_samples(&dir, 1, 5);
    std::fs::remove_dir_all(dir.path().join("debug_logs")).expect("it is there");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(1), "{output}");
    let lost = "debug_logs/concurrency_1_round_2.jsonl: No such file or directory";
    assert!(output.stderr.contains(lost), "{output}");
    assert!(
        output.stdout.contains("Round 2 against round 1"),
        "{output}"
    );
}

/// Starts a server that answers everything in a run; a page that `is_stuck` gets no answer for 5 s.
fn stuck_server(is_stuck: impl Fn(&str) -> bool + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |request, stream| {
        if is_stuck(&request.path) {
            let (_wait, never) = std::sync::mpsc::channel::<()>();
            let _ = never.recv_timeout(Duration::from_secs(5));
        }
        let reply = match request.path.as_str() {
            "/v1/models" => r#"{"data":[{"id":"m"}]}"#,
            "/metrics" => "c_total 1\n",
            _ => r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#,
        };
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
    })
}

/// Waits until the server has been asked for the path `wanted` times.
fn wait_for_requests(server: &RawServer, path: &str, wanted: usize) {
    let given_up = Instant::now() + Duration::from_secs(20);
    let asked = |server: &RawServer| {
        let requests = server.requests();
        requests
            .iter()
            .filter(|request| request.path == path)
            .count()
    };
    while asked(server) < wanted {
        assert!(Instant::now() < given_up, "no {wanted} requests to {path}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_does_not_wait_for_a_reset_or_a_metrics_page_that_hangs() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let scrapes = AtomicU64::new(0);
    let stuck = move |path: &str| {
        path == "/reset" || (path == "/metrics" && scrapes.fetch_add(1, Ordering::Relaxed) >= 6)
    };
    let server = stuck_server(stuck);
    let url = format!("http://{}", server.addr());
    for (path, asked, options) in [
        (
            "/reset",
            1,
            "--reset-cache-between-concurrency --reset-cache-url",
        ),
        (
            "/metrics",
            7,
            "--prometheus-metrics c_total --prometheus-url",
        ),
    ] {
        let dir = Dir::new();
        dir.write("texts.jsonl", "{\"text\":\"a\"}\n".repeat(9));
        let running = replay(&dir, &["--dataset", "texts.jsonl", "--endpoint", &url])
            .args(options.split(' '))
            .args([format!("{url}{path}")])
            .start();
        wait_for_requests(&server, path, asked);
        let stopped = Instant::now();
        running.signal("INT");
        let output = running.wait();
        assert!(
            stopped.elapsed() < Duration::from_secs(2),
            "{path}: {output}"
        );
        assert_eq!(output.status.code(), Some(130), "{path}: {output}");
    }
}

#[test]
fn the_readings_at_both_edges_of_a_round_are_in_the_samples_file() {
    let dir = Dir::new();
    let (_server, url) = slow_run(&dir);
    let options = "--concurrency 4 --max-output-tokens 4 --prometheus-interval 1h \
                   --prometheus-metrics vllm:generation_tokens_total --prometheus-url";
    replay(&dir, &["--dataset", "prompts.jsonl", "--endpoint", &url])
        .args(options.split_whitespace())
        .arg(&url)
        .ok();
    let samples = samples(&dir);
    let readings: Vec<f64> = samples
        .series("metrics")
        .map(|line| line["values"]["vllm:generation_tokens_total"].clone())
        .map(|value| value.as_f64().expect("a number"))
        .collect();
    // 40 answers of 4 tokens in each round.
    let changes: Vec<f64> = readings.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(changes, [160.0, 0.0, 160.0], "{readings:?}");
}

#[test]
fn a_server_that_refuses_everything_is_named_and_nothing_is_measured() {
    let dir = Dir::new();
    dir.write("one.jsonl", r#"{"text":"a"}"#);
    let server = Server::start(&["--model", "here"]);
    let url = server.url();
    let options = [
        "--dataset",
        "one.jsonl",
        "--endpoint",
        &url,
        "--model",
        "elsewhere",
    ];
    let output = replay(&dir, &options).fails(2);
    let error = "[ERROR] --model elsewhere: the server lists no such model; it lists here\nThe server says: HTTP 404: ";
    assert!(output.stderr.contains(error), "{output}");
}

#[test]
fn failures_alone_are_exit_code_1_with_their_table() {
    let dir = Dir::new();
    dir.write("one.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    let server = Server::start(&["--faults", "http:400@100%"]);
    let url = server.url();
    let output = replay(&dir, &["--dataset", "one.jsonl", "--endpoint", &url]).fails(1);
    assert!(
        output
            .stdout
            .contains("Total Requests: 2 | Success: 0 | Failed: 2"),
        "{output}"
    );
    assert!(
        output.stderr.contains("no measured request succeeded"),
        "{output}"
    );
    let file = json_file(&dir, "benchmark_results/concurrency_1_round_1.json");
    assert!(
        file["requests"][0]["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("http: HTTP 400"))
    );
}

#[test]
fn pythons_csv_module_reads_the_tables_figures() {
    let dir = Dir::new();
    let output = against_mock(
        &dir,
        &format!("{DATASETS}/text.jsonl"),
        &["--concurrency", "2"],
    )
    .ok();
    let script = "import csv,json\nprint(json.dumps([r for r in csv.reader(open('benchmark_results/metrics_summary.csv'))]))";
    let python = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(dir.path())
        .output();
    let Ok(python) = python else {
        return not_run("pythons_csv_module_reads_the_tables_figures", "no python3");
    };
    let rows: Vec<Vec<String>> = serde_json::from_slice(&python.stdout).expect("rows");
    assert_eq!(
        rows[0],
        ["Metric/Round", "Concurrency2-Round1", "Concurrency2-Round2"]
    );
    // The table's rows of both rounds: name, then Avg P50 P90 P99 Min Max Stddev.
    let table = |name: &str| -> Vec<Vec<String>> {
        let lines = output
            .stdout
            .lines()
            .filter(|line| line.starts_with(&format!("│ {name} ")));
        lines
            .map(|line| {
                line.split('│')
                    .map(|cell| cell.trim().to_string())
                    .collect::<Vec<_>>()
            })
            .map(|cells| cells[2..9].to_vec())
            .collect()
    };
    for name in ["TTFT (ms)", "ITL (ms)", "Latency (ms)"] {
        let at = rows
            .iter()
            .position(|row| row.first().is_some_and(|cell| cell == name));
        let section = &rows[at.expect(name) + 1..][..7];
        let rounds = table(name);
        assert_eq!(rounds.len(), 2, "{output}");
        for (k, row) in section.iter().enumerate() {
            assert_eq!(
                row[1..],
                [rounds[0][k].clone(), rounds[1][k].clone()],
                "{name} {}",
                row[0]
            );
        }
    }
}

#[test]
fn a_limit_on_ttft_without_a_stream_is_noted_in_the_run_and_in_its_report() {
    let server = RawServer::start(|request, stream| {
        let (status, body) = match request.path.as_str() {
            "/v1/models" => ("200 OK", r#"{"data":[{"id":"m"}]}"#),
            path if path.starts_with("/v1/chat") => ("200 OK", PLAIN),
            _ => ("404 Not Found", ""),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        // A client that has gone shows in its own output.
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    });
    let dir = Dir::new();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n");
    dir.write("slo.yaml", "slo:\n  ttft_ms: 5000\n");
    let url = format!("http://{}", server.addr());
    let words = "replay --dataset d.jsonl --slo-file slo.yaml --output-dir r --endpoint";
    let output = Cmd::new(&dir).args(words.split(' ')).arg(&url).ok();
    let note = "Note: 2 of 2 replies came without a stream: they have no TTFT and fail the limit on ttft_ms; limit latency_ms in its place";
    assert!(output.stdout.contains(note), "{output}");
    let report = Cmd::new(&dir)
        .args(["report", "-i", "r/samples.jsonl"])
        .ok();
    assert!(report.stdout.contains(note), "{report}");
}

const PLAIN: &str = r#"{"choices":[{"index":0,"message":{"content":"a b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":2}}"#;
