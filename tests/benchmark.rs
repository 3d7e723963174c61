//! `tmesh-cli benchmark` as a process: its output, its end, and its errors.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, RawServer, Request, Samples, Server, json_file};

/// A workload that is over in a moment.
const SMALL: [&str; 6] = [
    "--contexts",
    "4",
    "--input-length",
    "100",
    "--output-length",
    "5",
];

fn benchmark(dir: &Dir, endpoint: &str) -> Cmd {
    Cmd::new(dir)
        .args(["benchmark", "--endpoint", endpoint])
        .args(SMALL)
}

fn quick_mock() -> Server {
    Server::start(&["--itl", "1ms", "--base", "1ms"])
}

/// Starts a quick mock with faults; requests count from 1, the first is the set-up's.
fn faulty_mock(faults: &str) -> Server {
    Server::start(&["--itl", "1ms", "--base", "1ms", "--faults", faults])
}

fn assert_contains(output: &Output, parts: &[&str]) {
    for part in parts {
        let found = output.stdout.contains(part) || output.stderr.contains(part);
        assert!(found, "no {part:?} in\n{output}");
    }
}

/// Returns the requests of `s.jsonl`, without the lines of other series.
fn samples(dir: &Dir) -> Vec<Value> {
    Samples::read(dir, "s.jsonl").requests().cloned().collect()
}

#[test]
fn a_finite_run_ends_with_its_report_samples_and_result() {
    let server = quick_mock();
    let dir = Dir::new();
    let output = benchmark(&dir, &server.url())
        .args([
            "--rotations",
            "3",
            "--samples",
            "s.jsonl",
            "--output",
            "r.json",
            "--seed",
            "7",
            "--nonce",
            "n1",
        ])
        .ok();
    assert_contains(
        &output,
        &[
            "Final Report (all requests were sent)",
            "Total Number of Requests Processed: 12",
            "First rotation (cold): TTFT mean",
            "Later rotations (warm): TTFT mean",
            "Seed: 7, nonce: n1",
            "Failed Requests: 0",
            "Requests Cut at the End: 0",
        ],
    );
    assert!(!output.stdout.contains("NOTE:"), "{output}");
    let samples = samples(&dir);
    assert_eq!(samples.len(), 12);
    let mut order: Vec<(u64, u64, u64)> = samples
        .iter()
        .map(|s| {
            ["id", "context", "rotation"]
                .map(|key| s[key].as_u64().expect(key))
                .into()
        })
        .collect();
    order.sort_unstable();
    let wanted: Vec<_> = (0..12).map(|k| (k, k % 4, k / 4)).collect();
    assert_eq!(order, wanted);
    let result = json_file(&dir, "r.json");
    assert_eq!(result["schema"], "tmesh-cli/benchmark/1");
    assert_eq!(result["summary"]["averages"]["requests"], 12);
    assert_eq!(result["ended"], "all requests were sent");
}

#[test]
fn the_same_seed_and_nonce_send_the_same_prompts_and_another_nonce_does_not() {
    let first_words = |seed: &str, nonce: &str| {
        let server = quick_mock();
        let dir = Dir::new();
        benchmark(&dir, &server.url())
            .args(["--requests", "4", "--seed", seed, "--nonce", nonce])
            .ok();
        let mut words: Vec<String> = server
            .truth()
            .iter()
            .map(|line| line["first_word"].to_string())
            .collect();
        words.sort();
        words
    };
    assert_eq!(first_words("1", "a"), first_words("1", "a"));
    assert_ne!(first_words("1", "a"), first_words("1", "b"));
}

#[test]
fn a_second_run_with_the_same_nonce_is_told_that_it_was_not_cold() {
    let server = quick_mock();
    let dir = Dir::new();
    let run = || {
        benchmark(&dir, &server.url())
            .args(["--rotations", "1", "--nonce", "same"])
            .ok()
    };
    assert!(!run().stdout.contains("not cold"));
    assert_contains(&run(), &["The first rotation was not cold: "]);
}

#[test]
fn a_signal_cuts_requests_in_a_long_prefill_and_reports_within_a_second() {
    // The first token takes 4 s.
    let server = Server::start(&["--base", "4s"]);
    let dir = Dir::new();
    let mut running = benchmark(&dir, &server.url())
        .args([
            "--interval",
            "200ms",
            "--idle-timeout",
            "60s",
            "--samples",
            "s.jsonl",
        ])
        .start();
    running.wait_for_line(|line| line == "Interval Average TTFT: n/a");
    let signalled = Instant::now();
    running.signal("INT");
    let output = running.wait();
    assert!(
        signalled.elapsed() < Duration::from_millis(1500),
        "{:?}\n{output}",
        signalled.elapsed()
    );
    // Nothing was measured, so this is not a success.
    assert_eq!(output.status.code(), Some(1), "{output}");
    assert_contains(
        &output,
        &[
            "Final Report (stopped by a signal)",
            "Requests Cut at the End: 1",
            "no measured request succeeded: none had ended; run longer",
        ],
    );
    assert_eq!(samples(&dir)[0]["phase"], "cut");
}

#[test]
fn a_signal_is_heard_while_connections_are_opened_and_nothing_has_run_yet() {
    // The server lists its models once, for the discovery; the workers' connections wait in vain.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = RawServer::start(move |request, stream| {
        if request.method == "POST" {
            let _ = stream.write_all(small_stream().as_bytes());
        } else if request.path == "/metrics" {
            let _ = stream.write_all(reply("404 Not Found", "").as_bytes());
        } else if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            let _ = stream.write_all(reply("200 OK", ONE_MODEL).as_bytes());
        }
    });
    let mut running = benchmark(&Dir::new(), &server.addr().to_string()).start();
    let deadline = Instant::now() + Duration::from_secs(20);
    let asked = |server: &RawServer| {
        server
            .requests()
            .iter()
            .filter(|r| r.method == "GET" && r.path != "/metrics")
            .count()
    };
    while asked(&server) < 2 {
        assert!(Instant::now() < deadline, "no worker opened its connection");
        std::thread::sleep(Duration::from_millis(5));
    }
    let signalled = Instant::now();
    running.signal("INT");
    running.wait_for_line(|line| line == "Elapsed Time: 0.00");
    let output = running.wait();
    assert!(
        signalled.elapsed() < Duration::from_millis(1500),
        "{output}"
    );
    assert_contains(&output, &["QPS: n/a", "Requests Cut at the End: 0"]);
}

#[test]
fn a_signal_ends_an_endless_run_with_0_and_a_finite_one_with_130() {
    let server = quick_mock();
    let dir = Dir::new();
    for (options, code) in [
        (&["--interval", "100ms"][..], 0),
        (&["--interval", "100ms", "--requests", "1000000"], 130),
    ] {
        for signal in ["INT", "TERM"] {
            let mut running = benchmark(&dir, &server.url()).args(options).start();
            running.wait_for_line(|line| line.starts_with("Interval Average TTFT: 0"));
            running.signal(signal);
            let output = running.wait();
            assert_eq!(output.status.code(), Some(code), "{signal}\n{output}");
            assert_contains(&output, &["Final Report (stopped by a signal)"]);
        }
    }
}

#[test]
fn closing_the_terminal_ends_a_run_but_not_one_under_nohup() {
    let server = quick_mock();
    let dir = Dir::new();
    let line = format!(
        "exec nohup {} benchmark --endpoint {} --contexts 2 --input-length 50 --output-length 2 --interval 100ms",
        env!("CARGO_BIN_EXE_tmesh-cli"),
        server.url()
    );
    let mut kept = Cmd::program("sh", &dir).args(["-c", &line]).start();
    kept.wait_for_line(|line| line.starts_with("Interval Average TTFT: 0"));
    kept.signal("HUP");
    kept.wait_for_line(|line| line.starts_with("Elapsed Time: "));
    kept.signal("TERM");
    assert_contains(&kept.wait(), &["Final Report"]);

    // The test run itself may be under nohup, and child processes inherit its ignored SIGHUP.
    let mut ended = Cmd::program("env", &dir)
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_tmesh-cli")])
        .args(["benchmark", "--endpoint", &server.url()])
        .args(SMALL)
        .args(["--interval", "100ms"])
        .start();
    ended.wait_for_line(|line| line.starts_with("Interval Average TTFT: 0"));
    ended.signal("HUP");
    assert_contains(&ended.wait(), &["Final Report (stopped by a signal)"]);
}

#[test]
fn a_closed_stdout_ends_the_run_with_0() {
    let server = quick_mock();
    let dir = Dir::new();
    let line = format!(
        "{} benchmark --endpoint {} --contexts 2 --input-length 50 --output-length 2 --interval 100ms | head -n $LINES; echo code ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_tmesh-cli"),
        server.url()
    );
    // Closed within the start-up lines, and within a block.
    for lines in ["1", "30"] {
        let output = Cmd::program("bash", &dir)
            .args(["-c", &line])
            .env("LINES", lines)
            .ok();
        assert!(output.stdout.ends_with("code 0\n"), "{output}");
    }
}

#[test]
fn the_duration_cuts_and_the_warm_up_is_left_out() {
    let server = quick_mock();
    let dir = Dir::new();
    let output = benchmark(&dir, &server.url())
        .args([
            "--duration",
            "900ms",
            "--warmup-seconds",
            "0.4",
            "--samples",
            "s.jsonl",
        ])
        .ok();
    assert_contains(
        &output,
        &["Final Report (the duration is over)", "Warm-up: "],
    );
    let count = |phase: &str| samples(&dir).iter().filter(|s| s["phase"] == phase).count();
    assert!(count("warmup") > 0 && count("measured") > 0);
    assert_contains(
        &output,
        &[
            &format!("Total Number of Requests Processed: {}", count("measured")),
            &format!("Warm-up: {} requests", count("warmup")),
        ],
    );
}

#[test]
fn failures_are_counted_by_kind_and_never_enter_latencies() {
    // Requests count from 1; the first is the set-up's.
    let faults = "http:500@3;reset:2@4;error:2@5;bad_json:1@6;refuse@7";
    let server = faulty_mock(faults);
    let dir = Dir::new();
    let output = benchmark(&dir, &server.url())
        .args([
            "--requests",
            "10",
            "--max-inflight",
            "1",
            "--samples",
            "s.jsonl",
            "--output",
            "r.json",
        ])
        .ok();
    let kinds: Vec<String> = samples(&dir)
        .iter()
        .filter_map(|s| s["error_kind"].as_str().map(str::to_string))
        .collect();
    assert_eq!(kinds, ["http", "truncated", "stream_error"], "{output}");
    assert_contains(
        &output,
        &[
            "Failed Requests: 3",
            "  http 1, the first: HTTP 500: ",
            "Total Number of Requests Processed: 7",
            // A broken event in a stream that has an end.
            "Note: 1 event of the streams could not be read and counts for nothing; the first: event is not",
        ],
    );
    // The reused connection was closed without a byte: the request was sent again, and reported.
    assert_contains(&output, &["Stale connections: 1 requests"]);
    let result = json_file(&dir, "r.json");
    assert_eq!(result["summary"]["failures"]["stream_error"]["count"], 1);
    assert_eq!(result["summary"]["ttft"]["n"], 7);
}

#[test]
fn an_overloaded_server_is_asked_again_after_its_retry_after() {
    let server = faulty_mock("busy:1@2");
    let dir = Dir::new();
    let output = benchmark(&dir, &server.url())
        .args([
            "--requests",
            "3",
            "--max-inflight",
            "1",
            "--samples",
            "s.jsonl",
        ])
        .ok();
    let samples = samples(&dir);
    assert_eq!(
        (&samples[0]["status"], &samples[1]["ok"]),
        (&Value::from(429), &Value::from(true)),
        "{output}"
    );
    let ns = |sample: &Value, key: &str| sample[key].as_u64().expect(key);
    let waited_ms = (ns(&samples[1], "t_send_ns") - ns(&samples[0], "t_end_ns")) / 1_000_000;
    assert!((1000..1200).contains(&waited_ms), "{waited_ms}");
    // The wait is between requests and in no latency.
    assert!(ns(&samples[1], "t_first_ns") - ns(&samples[1], "t_send_ns") < 500_000_000);
}

#[test]
fn a_set_up_request_that_failed_does_not_make_lengths_an_estimate() {
    let server = Server::start(&["--faults", "http:503@1"]);
    let output = benchmark(&Dir::new(), &server.url())
        .args(["--requests", "2"])
        .ok();
    assert_contains(
        &output,
        &[
            "warning: the set-up request failed (http 503: The mock was told to fail.); lengths by /tokenize",
            "Failed Requests: 0",
        ],
    );
    assert!(!output.stderr.contains("were meant"), "{output}");
}

#[test]
fn events_that_hold_several_tokens_are_not_called_short_output() {
    let server = faulty_mock("no_usage;chunk:4");
    let output = benchmark(&Dir::new(), &server.url())
        .args(["--requests", "2"])
        .ok();
    assert_contains(&output, &["Output tokens counted by: events (2 requests)"]);
    assert!(!output.stdout.contains("as long as asked for"), "{output}");
}

#[test]
fn a_run_in_which_nothing_succeeds_ends_with_1() {
    let server = Server::start(&["--faults", "http:500"]);
    let dir = Dir::new();
    let output = benchmark(&dir, &server.url())
        .args(["--requests", "2"])
        .fails(1);
    assert_contains(
        &output,
        &[
            "Failed Requests: 2",
            "[ERROR] no measured request succeeded",
            "Global Average TTFT: n/a",
        ],
    );
}

#[test]
fn refusals_end_the_run_with_the_servers_own_words() {
    let locked = Server::start(&["--api-key", "right-key-0123456789"]);
    let dir = Dir::new();
    let output = benchmark(&dir, &locked.url()).fails(2);
    assert_contains(
        &output,
        &["/v1/models: HTTP 401: Unauthorized", "--api-key"],
    );
    let output = benchmark(&dir, &locked.url())
        .args(["--requests", "2", "--api-key", "right-key-0123456789"])
        .ok();
    assert_contains(&output, &["api_key: ****6789"]);

    let open = quick_mock();
    let output = benchmark(&dir, &open.url())
        .args(["--model", "no-such-model"])
        .fails(2);
    assert_contains(
        &output,
        &[
            "[ERROR] --model no-such-model: the server lists no such model; it lists openai/gpt-oss-20b\nThe server says: HTTP 404: ",
            "note: /v1/models does not list no-such-model; it lists openai/gpt-oss-20b",
        ],
    );
}

#[test]
fn an_endpoint_out_of_reach_gives_the_guides_three_lines() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let output = benchmark(&Dir::new(), &closed.to_string()).fails(2);
    let wanted = format!(
        "[ERROR] Could not connect to endpoint: http://{closed}/v1/\nMake sure a model server is running and accessible.\n\
         Try: curl http://{closed}/v1/models\n"
    );
    assert!(output.stderr.starts_with(&wanted), "{output}");
}

#[test]
fn an_unknown_model_names_the_ways_on_and_each_of_them_works() {
    let server = Server::start(&["--itl", "1ms", "--base", "1ms", "--model", "acme/llm-7b"]);
    let dir = Dir::new();
    let run = |options: &[&str]| {
        let fixed = [
            "--max-inflight",
            "2",
            "--requests",
            "2",
            "--output-length",
            "2",
        ];
        Cmd::new(&dir)
            .args(["benchmark", "--endpoint", &server.url()])
            .args(fixed)
            .args(options)
    };
    let output = run(&[]).fails(2);
    assert!(
        output
            .stderr
            .starts_with("[ERROR] model acme/llm-7b not found in model_configs.json\n"),
        "{output}"
    );
    assert_contains(
        &output,
        &[
            "openai/gpt-oss-20b",
            "--model-configs FILE",
            "--bytes-per-token N",
            "--hf-config",
            "--contexts N",
        ],
    );

    run(&["--contexts", "3", "--input-length", "50"]).ok();
    // 0.9 GB / (1 MiB x 100 tokens) = 921.6 / 100
    let output = run(&[
        "--bytes-per-token",
        "1048576",
        "--offload-size",
        "1",
        "--input-length",
        "100",
    ])
    .ok();
    assert_contains(&output, &["Number of Contexts: 9", "offload_size: 1"]);
    dir.write("config.json", r#"{"num_hidden_layers": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 4096}"#);
    // 2 x 32 x 8 x 128 x 2 = 131,072 bytes; 0.9 GB / (131,072 x 1,000) = 7.37
    let output = run(&[
        "--hf-config",
        "config.json",
        "--offload-size",
        "1",
        "--input-length",
        "1000",
    ])
    .ok();
    assert_contains(
        &output,
        &[
            "bytes per token: 131072 (2 bytes per KV element)",
            "Number of Contexts: 7",
        ],
    );
    dir.write(
        "models.json",
        r#"[{"model_name": "acme/llm-7b", "tensorParallelSize": 2, "cpuOffloadingBufferSize": 1, "bytes_per_tok": 1048576}]"#,
    );
    // 0.9 x 2 GB / (1 MiB x 100 tokens) = 1843.2 / 100
    let output = run(&["--model-configs", "models.json", "--input-length", "100"]).ok();
    assert_contains(
        &output,
        &[
            "model entry: acme/llm-7b (models.json)",
            "offload_size: 2",
            "Number of Contexts: 18",
        ],
    );
}

const ONE_MODEL: &str = r#"{"data":[{"id":"m"}]}"#;

/// Answers `/v1/models` with this status and body, completions with the result of `complete`.
fn odd_server(
    status: &'static str,
    models: &'static str,
    complete: impl Fn(&Request) -> String + Send + Sync + 'static,
) -> RawServer {
    RawServer::start(move |request, stream| {
        let answer = if request.method == "GET" {
            reply(status, models)
        } else if request.path.ends_with("completions") {
            complete(request)
        } else {
            reply("404 Not Found", "")
        };
        // A client that has hung up shows that in its own output.
        let _ = stream.write_all(answer.as_bytes());
    })
}

/// Returns a whole reply that is not a stream.
fn reply(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn small_stream() -> String {
    let events = "data: {\"choices\":[{\"index\":0,\"text\":\" a\",\"finish_reason\":null}]}\n\n\
                  data: {\"choices\":[{\"index\":0,\"text\":\" b\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":101,\"completion_tokens\":2}}\n\n\
                  data: [DONE]\n\n";
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{events}",
        events.len()
    )
}

#[test]
fn a_useless_model_list_can_be_survived_with_a_name() {
    let dir = Dir::new();
    for (status, body) in [
        ("500 Internal Server Error", "Internal Server Error"),
        ("200 OK", ""),
        ("200 OK", r#"{"object":"list","data":[]}"#),
        ("404 Not Found", "{}"),
    ] {
        let server = odd_server(status, body, |_| small_stream());
        let url = format!("http://{}", server.addr());
        assert_contains(
            &benchmark(&dir, &url).fails(2),
            &["/v1/models: ", "--model NAME"],
        );
        let output = benchmark(&dir, &url)
            .args(["--model", "m", "--requests", "2"])
            .ok();
        assert_contains(
            &output,
            &["model: m (given)", "Total Number of Requests Processed: 2"],
        );
    }
    // A path given as a name is a name like any other.
    let server = odd_server(
        "200 OK",
        r#"{"data":[{"id":"/models/x.gguf"},{"id":"other"}]}"#,
        |_| small_stream(),
    );
    let output = benchmark(&dir, &format!("http://{}", server.addr()))
        .args(["--requests", "1"])
        .ok();
    assert_contains(
        &output,
        &[
            "found model: /models/x.gguf",
            "also served: other (pick one with --model)",
        ],
    );
}

#[test]
fn fields_that_the_server_refuses_are_left_out_and_named() {
    let server = odd_server("200 OK", ONE_MODEL, |request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.contains("ignore_eos") || body.contains("min_tokens") {
            let why =
                r#"{"detail":"Unexpected fields in the request: {'min_tokens', 'ignore_eos'}"}"#;
            return reply("422 Unprocessable", why);
        }
        small_stream()
    });
    let dir = Dir::new();
    let output = benchmark(&dir, &format!("http://{}", server.addr()))
        .args(["--requests", "2"])
        .ok();
    assert_contains(
        &output,
        &[
            "does not accept ignore_eos, min_tokens",
            "Failed Requests: 0",
            // The server sends two tokens, whatever it is asked for.
            "2 of 2 replies are not as long as asked for: 2 tokens came for ",
        ],
    );
    let sent: Vec<Request> = server
        .requests()
        .into_iter()
        .filter(|r| r.path.ends_with("completions"))
        .collect();
    let last: Value = serde_json::from_slice(&sent[sent.len() - 1].body).expect("JSON");
    assert_eq!(last["stream_options"]["include_usage"], true);
    assert!(last.get("min_tokens").is_none());
}

#[test]
fn every_command_names_the_options_that_make_servers_tell_of_cached_tokens() {
    let server = odd_server("200 OK", ONE_MODEL, |_| {
        let event = |text: &str, rest: &str| {
            format!(
                r#"data: {{"choices":[{{"index":0,"text":"{text}","delta":{{"content":"{text}"}},"finish_reason":{rest}}}"#
            )
        };
        let events = format!(
            "{}]}}\n\n{}],\"usage\":{{\"prompt_tokens\":101,\"completion_tokens\":2}}}}\n\ndata: [DONE]\n\n",
            event(" a", "null"),
            event(" b", "\"length\"")
        );
        let length = events.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{events}"
        )
    });
    let dir = Dir::new();
    dir.write("d.jsonl", r#"{"user_messages":["a","b"]}"#);
    let url = format!("http://{}", server.addr());
    for command in [
        "benchmark --contexts 2 --input-length 100 --output-length 2 --requests 2",
        "load --requests 2 --warmup 0 --repeat-ratio 0",
        "replay --dataset d.jsonl",
        "run --workload short",
    ] {
        let words = command.split(' ').chain(["--endpoint", &url]);
        let output = Cmd::new(&dir).args(words).run();
        assert!(
            output.stdout.contains("--enable-prompt-tokens-details"),
            "{command}\n{output}"
        );
    }
}

#[test]
fn options_that_cannot_work_are_refused_before_the_first_request() {
    let server = Server::start(&["--max-model-len", "1000"]);
    let dir = Dir::new();
    let url = server.url();
    let run = |options: &[&str]| benchmark(&dir, &url).args(options).fails(2);
    let output = Cmd::new(&dir)
        .args([
            "benchmark",
            "--endpoint",
            &url,
            "--contexts",
            "2",
            "--input-length",
            "900",
        ])
        .fails(2);
    assert_contains(
        &output,
        &[
            "--input-length 900",
            "accepts 1000",
            "Try: --input-length 836",
        ],
    );
    assert_contains(
        &run(&["--samples", "no/such/dir/s.jsonl"]),
        &["[ERROR] --samples no/such/dir/s.jsonl: No such file"],
    );
    assert_contains(
        &run(&["--output", "/"]),
        &["[ERROR] --output /: Is a directory"],
    );
    assert_contains(
        &run(&["--cacert", "none.pem"]),
        &["--cacert none.pem: cannot read: No such file"],
    );
    assert_contains(&run(&["--extra-body", "[1]"]), &["not a JSON object"]);
    assert_contains(
        &run(&["--header", "no-colon"]),
        &["--header: no colon in it"],
    );
    assert_contains(
        &run(&["--warmup-seconds", "5", "--duration", "5s"]),
        &["leaves nothing of --duration"],
    );
    assert_contains(&run(&["--endpont", "x"]), &["Did you mean --endpoint?"]);
    assert_contains(&run(&["--interval", "1e18"]), &["longer than 30 years"]);
    for (shorter, option, wanted) in [
        (
            "--input-length",
            "--output-length",
            "leaves no room for a prompt in the 1000 tokens",
        ),
        ("--output-length", "--input-length", "accepts 1000"),
        (
            "--input-length",
            "--questions",
            "MiB of memory are available",
        ),
        ("--input-length", "--max-inflight", "are allowed"),
    ] {
        let output = Cmd::new(&dir)
            .args(["benchmark", "--endpoint", &url, "--contexts", "2"])
            .args([shorter, "100", option, "18446744073709551615"])
            .fails(2);
        assert_contains(&output, &[wanted]);
    }
    let many = format!(
        "ulimit -n 64; exec {} benchmark --endpoint {url} --contexts 4 --input-length 100 --max-inflight 60",
        env!("CARGO_BIN_EXE_tmesh-cli")
    );
    let output = Cmd::program("sh", &dir).args(["-c", &many]).fails(2);
    assert_contains(
        &output,
        &[
            "--max-inflight 60",
            "but only 64 are allowed",
            "ulimit -n 84",
        ],
    );
    let completions = server
        .truth()
        .iter()
        .filter(|line| line["path"] == "/v1/completions")
        .count();
    assert_eq!(completions, 0);
}

#[test]
fn a_result_goes_through_links_and_into_files_that_cannot_be_renamed_over() {
    let server = quick_mock();
    let dir = Dir::new();
    let run = |path: &str| {
        let options = ["--requests", "2", "--output", path];
        benchmark(&dir, &server.url()).args(options).ok();
    };
    dir.write("kept.json", "");
    std::os::unix::fs::symlink("kept.json", dir.path().join("link")).expect("a link");
    run("link");
    let is_link = std::fs::symlink_metadata(dir.path().join("link")).is_ok_and(|l| l.is_symlink());
    assert!(is_link && dir.read("kept.json").contains("tmesh-cli/benchmark/1"));
    // A file name has at most 255 bytes, so no file can be created beside it.
    let longest = "r".repeat(255);
    dir.write(&longest, "an old and much longer text ".repeat(1000));
    run(&longest);
    let result: Value = serde_json::from_str(&dir.read(&longest)).expect("JSON, and no more");
    assert_eq!(result["ended"], "all requests were sent");
    run("/dev/null");
    let same = ["--samples", "f", "--output", "f"];
    assert_contains(
        &benchmark(&dir, &server.url()).args(same).fails(2),
        &["the same file as --samples"],
    );
}

#[test]
fn a_disk_that_is_full_at_the_start_is_found_before_the_first_request_of_the_run() {
    let server = quick_mock();
    let output = benchmark(&Dir::new(), &server.url())
        .args(["--requests", "4", "--samples", "/dev/full"])
        .fails(2);
    assert_contains(&output, &["[ERROR] --samples /dev/full: No space left"]);
}

#[test]
fn the_api_key_stands_in_no_output_even_when_the_server_repeats_it() {
    const KEY: &str = "sk-live-0123456789abcdef";
    let server = odd_server("200 OK", ONE_MODEL, |request| {
        reply("500 No", &format!("{:?}", request.header("authorization")))
    });
    let dir = Dir::new();
    dir.write("key", format!("{KEY}\n"));
    let url = format!("http://{}", server.addr());
    for (options, variable) in [
        (vec!["--api-key", KEY], None),
        (vec!["--api-key-file", "key"], None),
        (vec![], Some("TMESH_API_KEY")),
        (vec![], Some("OPENAI_API_KEY")),
    ] {
        let mut command = benchmark(&dir, &url)
            .args([
                "--requests",
                "2",
                "--samples",
                "s.jsonl",
                "--output",
                "r.json",
            ])
            .args(&options);
        if let Some(name) = variable {
            command = command.env(name, KEY);
        }
        let output = command.fails(1);
        let written = format!(
            "{}{}{}{}",
            output.stdout,
            output.stderr,
            dir.read("s.jsonl"),
            dir.read("r.json")
        );
        assert!(
            written.contains("****cdef"),
            "the server was sent it, and its reply is shown masked\n{output}"
        );
        assert!(!written.contains("0123456789"), "{output}");
    }
}

#[test]
fn a_password_in_the_url_is_refused_and_not_repeated() {
    let output = benchmark(&Dir::new(), "http://me:s3cret@127.0.0.1:1").fails(2);
    assert_contains(
        &output,
        &["a user name or password in the URL is not accepted"],
    );
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
}

#[test]
fn an_output_that_stdout_goes_to_is_refused() {
    let dir = Dir::new();
    let program = env!("CARGO_BIN_EXE_tmesh-cli");
    for (flag, path) in [("--output", "/dev/stdout"), ("--samples", "log")] {
        let line = format!("exec {program} benchmark --endpoint 127.0.0.1:1 {flag} {path} > log");
        let output = Cmd::program("sh", &dir).args(["-c", &line]).fails(2);
        assert_contains(&output, &["the file that stdout goes to"]);
    }
}

#[test]
fn chat_is_spoken_when_the_path_says_so() {
    let server = quick_mock();
    let dir = Dir::new();
    let output = benchmark(&dir, &format!("{}/v1/chat/completions", server.url()))
        .args(["--requests", "4"])
        .ok();
    assert_contains(
        &output,
        &["Total Number of Requests Processed: 4", "/v1/\n"],
    );
    let truth = server.truth();
    assert!(
        truth
            .iter()
            .all(|line| line["path"] == "/v1/chat/completions"),
        "{truth:?}"
    );
}

#[test]
fn the_embedded_mock_needs_no_server_and_says_what_it_is() {
    let output = Cmd::new(&Dir::new())
        .args([
            "benchmark",
            "--backend",
            "mock",
            "--mock",
            "itl=1ms,base=1ms",
            "--requests",
            "4",
        ])
        .args(SMALL)
        .ok();
    assert_eq!(
        output
            .stdout
            .matches("Mock server: not a measurement of an engine")
            .count(),
        2,
        "{output}"
    );
}

#[test]
fn a_duration_of_whole_intervals_ends_with_the_block_of_the_last_one() {
    let server = quick_mock();
    let dir = Dir::new();
    for _ in 0..5 {
        let output = benchmark(&dir, &server.url())
            .args(["--duration", "400ms", "--interval", "200ms"])
            .ok();
        assert_eq!(
            output
                .stdout
                .matches("Requests Processed in Last 0.2 second")
                .count(),
            2,
            "{output}"
        );
    }
}

#[test]
fn a_signal_before_the_duration_is_over_ends_with_130() {
    let server = quick_mock();
    let mut running = benchmark(&Dir::new(), &server.url())
        .args(["--duration", "60s", "--interval", "100ms"])
        .start();
    running.wait_for_line(|line| line.starts_with("Interval Average TTFT: 0"));
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
}

#[test]
fn ipv6_and_path_prefixes_are_spoken() {
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args(["benchmark", "--backend", "mock", "--requests", "2"])
        .args(["--mock", "host=::1,itl=1ms,base=1ms,path_prefix=/inference"])
        .args(SMALL)
        .ok();
    assert_contains(
        &output,
        &["normalized endpoint: http://[::1]:", "/inference/v1/\n"],
    );
    let server = Server::start(&["--path-prefix", "/inference", "--itl", "1ms"]);
    for path in ["/inference", "/inference/v1", "/inference/v1/completions"] {
        benchmark(&dir, &format!("{}{path}", server.url()))
            .args(["--requests", "2"])
            .ok();
    }
}

#[test]
fn a_404_is_a_failure_like_others_once_a_request_has_succeeded() {
    let server = faulty_mock("http:404@3");
    let output = benchmark(&Dir::new(), &server.url())
        .args(["--requests", "4", "--max-inflight", "1"])
        .ok();
    assert_contains(
        &output,
        &[
            "Failed Requests: 1",
            "Total Number of Requests Processed: 3",
        ],
    );
}

#[test]
fn a_404_before_any_success_ends_the_run() {
    // The set-up request is the first; the run's own start with the second.
    let server = faulty_mock("http:404@2+3+4+5+6");
    let output = benchmark(&Dir::new(), &server.url())
        .args(["--max-inflight", "2"])
        .fails(2);
    assert_contains(
        &output,
        &[
            "[ERROR] HTTP 404 from http://127.0.0.1:",
            "so the run was ended",
        ],
    );
}

#[test]
fn a_server_that_goes_away_is_counted_and_waited_for() {
    let server = Server::start(&["--itl", "1ms", "--base", "1ms"]);
    let dir = Dir::new();
    let mut running = benchmark(&dir, &server.url())
        .args([
            "--interval",
            "200ms",
            "--max-inflight",
            "2",
            "--samples",
            "s.jsonl",
        ])
        .start();
    running.wait_for_line(|line| line.starts_with("Interval Average TTFT: 0"));
    drop(server);
    running
        .wait_for_line(|line| line.starts_with("Failed Requests: ") && line.contains("connect "));
    // Connections are refused for a second: attempts are 100, 200 and 400 ms apart, not thousands a second.
    std::thread::sleep(Duration::from_millis(90));
    running.signal("TERM");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(1), "{output}");
    assert_contains(&output, &["gone at the end of the run: the last "]);
    let refused = samples(&dir)
        .iter()
        .filter(|s| s["error_kind"] == "connect")
        .count();
    assert!((1..=8).contains(&refused), "{refused}\n{output}");
}

#[test]
fn replies_that_are_not_streamed_have_no_ttft_and_say_so() {
    let whole = r#"{"choices":[{"text":"whole","finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    let server = odd_server("200 OK", ONE_MODEL, |_| reply("200 OK", whole));
    let output = benchmark(&Dir::new(), &server.addr().to_string())
        .args(["--requests", "2"])
        .ok();
    assert_contains(
        &output,
        &[
            "Global Average TTFT: n/a",
            "Not streamed: 2 replies",
            "Total Number of Requests Processed: 2",
        ],
    );
}

#[test]
fn sixty_one_contexts_of_32000_tokens_take_less_than_40_mb() {
    let server = Server::start(&[]);
    let dir = Dir::new();
    let pid_file = "echo $$ > pid; exec";
    let line = format!(
        "{pid_file} {} benchmark --endpoint {} --interval 1s",
        env!("CARGO_BIN_EXE_tmesh-cli"),
        server.url()
    );
    let mut running = Cmd::program("sh", &dir).args(["-c", &line]).start();
    running.wait_for_line(|line| line.starts_with("Interval Average TTFT: "));
    let status = std::fs::read_to_string(format!("/proc/{}/status", dir.read("pid").trim()))
        .expect("it runs");
    running.signal("INT");
    assert_contains(&running.wait(), &["Number of Contexts: 61"]);
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("kB");
    assert!(peak_kb < 40_000, "{peak_kb} kB");
}
