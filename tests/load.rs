//! `load` as a process: APIs, caches, repeats, limits, sweeps and files.

use std::io::Write;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, RawServer, Server, json_file, until};

/// A mock that answers at once.
const FAST: [&str; 4] = ["--base", "1ms", "--itl", "0s"];

fn load(dir: &Dir, args: &[&str]) -> Cmd {
    Cmd::new(dir).arg("load").args(args)
}

/// Returns the requests of a samples file that are in the figures.
fn measured(dir: &Dir, name: &str) -> Vec<Value> {
    let lines = dir.read(name);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    lines
        .filter(|line: &Value| line["phase"] == "measured")
        .collect()
}

/// Returns the number of a request in the truth log.
fn id(request: &Value) -> Option<u64> {
    let id = request["id"].as_str()?;
    // Ids of set-up requests have one word more.
    let [_, number] = id.split('-').collect::<Vec<_>>()[..] else {
        return None;
    };
    number.parse().ok()
}

fn assert_lines(output: &Output, wanted: &[&str]) {
    let mut rest = output.stdout.lines();
    for line in wanted {
        assert!(
            rest.any(|found| found.starts_with(line)),
            "{line:?} is missing or out of order\n{output}"
        );
    }
}

#[test]
fn hits_of_the_response_cache_are_those_of_the_servers_log() {
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let args = [
        "--endpoint",
        &url,
        "--repeat-ratio",
        "0.5",
        "--requests",
        "100",
        "--seed",
        "1",
    ];
    let files = [
        "--max-tokens",
        "20",
        "--output",
        "r.json",
        "--samples",
        "s.jsonl",
    ];
    let output = load(&dir, &args).args(files).ok();
    assert_lines(
        &output,
        &[
            "Requests: 100 = 50 first uses + 50 repeats",
            "TTFT P50                  not streamed",
        ],
    );
    let samples = measured(&dir, "s.jsonl");
    assert_eq!(samples.len(), 100);
    let truth = server.truth();
    let mut hits = 0;
    for sample in &samples {
        let told = truth.iter().find(|told| id(told) == sample["id"].as_u64());
        let told = told.expect("every request is in the log");
        assert_eq!(
            sample["response_cached"], told["response_cached"],
            "{sample}"
        );
        hits += u64::from(told["response_cached"] == true);
    }
    assert!(hits > 40, "{hits} hits");
    let result = json_file(&dir, "r.json");
    assert_eq!(
        result["response_cache_hit_rate"],
        json!(hits as f64 / 100.0)
    );
    assert_eq!(result["perfect_response_cache_hit_rate"], 0.5);
    assert_eq!(result["ttft_p50_ms"], Value::Null);
    // 100 answers of 20 words; the mock's tokenizer makes one token of each word.
    assert_eq!(result["token_sources"], json!({"tokenize": 100}));
    assert_eq!(result["detail"]["avg_output_tokens"], 20.0);
}

#[test]
fn a_cache_of_single_tokens_hits_no_more_than_the_perfect_one() {
    let server = Server::start(&[&FAST[..], &["--block-tokens", "1"]].concat());
    let dir = Dir::new();
    let url = server.url();
    let args = [
        "--endpoint",
        &url,
        "--concurrency",
        "1",
        "--requests",
        "40",
        "--repeat-ratio",
        "0.25",
        "--input-tokens",
        "150",
        "--shared-prefix-tokens",
        "101",
        "--max-tokens",
        "2",
        "--output",
        "r.json",
    ];
    load(&dir, &args).ok();
    let result = json_file(&dir, "r.json");
    // 29 of 30 first uses find the shared text, and 10 repeats all but their last token.
    let hits = 29.0 * 101.0 + 10.0 * 149.0;
    assert_eq!(result["prefix_cache_hit_rate"], hits / 6000.0);
    // A perfect cache may also find the 8 tokens that any two texts may begin with alike.
    let hits = 8.0 + 29.0 * 109.0 + 10.0 * 149.0;
    assert_eq!(result["perfect_prefix_cache_hit_rate"], hits / 6000.0);
    let source = &result["metric_sources"]["perfect_prefix_cache_hit_rate"];
    assert_eq!(source, "the plan and usage of the replies");
}

#[test]
fn a_perfect_cache_is_by_the_plan_where_no_reply_counts_its_prompt() {
    let server = Server::start(&FAST);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let args = ["--endpoint", &url, "--requests", "10", "--output", "r.json"];
    let output = load(&dir, &args).ok();
    // 3 of 10 prompts of 128 tokens come again: seven blocks of 16 of each.
    let said = "prompt tokens; a perfect cache: 26.2 %, by planned lengths";
    assert!(output.stdout.contains(said), "{output}");
    let result = json_file(&dir, "r.json");
    let source = &result["metric_sources"]["perfect_prefix_cache_hit_rate"];
    assert_eq!(source, "the plan: no reply counts its prompt");
}

#[test]
fn warm_up_requests_are_in_no_figure_and_their_prompts_are_their_own() {
    let server = Server::start(&FAST);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let args = [
        "--endpoint",
        &url,
        "--requests",
        "10",
        "--warmup",
        "7",
        "--repeat-ratio",
        "0",
    ];
    let output = load(&dir, &args)
        .args(["--output", "r.json", "--samples", "s.jsonl"])
        .ok();
    assert_lines(
        &output,
        &[
            "Warm-up: 7 requests before it",
            "Requests: 10 sent",
            "Warm-up: 7 requests, left",
        ],
    );
    let result = json_file(&dir, "r.json");
    assert_eq!(
        (&result["total_requests"], &result["warmup_requests"]),
        (&json!(10), &json!(7))
    );
    assert_eq!(result["response_cache_hit_rate"], 0.0);
    let truth = server.truth();
    let sent = truth.iter().filter(|told| id(told).is_some());
    assert_eq!(sent.clone().count(), 17);
    assert!(sent.clone().all(|told| told["response_cached"] == false));
}

#[test]
fn a_sweep_ends_with_a_table_and_report_shows_the_same() {
    let server = Server::start(&FAST);
    let dir = Dir::new();
    dir.write("slo.yaml", "slo: {ttft_ms: 10000, latency_ms: 10000}");
    let args = [
        "--endpoint",
        server.addr(),
        "--requests",
        "12",
        "--max-tokens",
        "5",
        "--concurrency",
        "1",
        "2",
        "3",
    ];
    let files = [
        "--output",
        "r.json",
        "--samples",
        "s.jsonl",
        "--slo-file",
        "slo.yaml",
        "--export",
        "vllm",
        "v.json",
    ];
    let output = load(&dir, &args).args(files).ok();
    assert_lines(
        &output,
        &[
            "Load: concurrency 1, concurrency 2, concurrency 3",
            "Requests: 12 each = 8 first uses + 4 repeats",
            "Concurrency 1",
            "Concurrency 2",
            "Concurrency 3",
            "Times in ms       tokens/s    req/s  TTFT p50  TTFT p99  ITL p99  goodput errors",
            "concurrency 1",
            "concurrency 2",
            "concurrency 3",
        ],
    );
    let points = json_file(&dir, "r.json")["points"].clone();
    let points = points.as_array().expect("a list");
    assert_eq!(points.len(), 3);
    for (point, concurrency) in points.iter().zip(1..) {
        assert_eq!(point["concurrency"], concurrency);
        assert_eq!(point["successful_requests"], 12);
        assert_eq!(point["goodput_requests"], 12);
        assert_eq!(point["latency_from"], "sent");
        // The points have different prompts.
        assert_eq!(point["perfect_response_cache_hit_rate"], json!(4.0 / 12.0));
        let export = json_file(&dir, &format!("v_concurrency_{concurrency}.json"));
        assert_eq!(
            (&export["completed"], &export["max_concurrency"]),
            (&json!(12), &json!(concurrency))
        );
    }
    let table = output
        .stdout
        .split_once("\nConcurrency 1\n")
        .expect("a first point")
        .1;
    let table = table.replacen("\nFigures in r.json\nSamples in s.jsonl\n", "", 1);
    let again = Cmd::new(&dir).args(["report", "-i", "s.jsonl"]).ok();
    assert_eq!(again.stdout, format!("Concurrency 1\n{table}"));
    let page = Cmd::new(&dir)
        .args(["report", "-i", "r.json", "--format", "markdown"])
        .ok();
    assert!(page.stdout.contains("concurrency 3"), "{page}");
}

#[test]
fn a_prompt_of_one_point_is_sent_at_no_other() {
    let server = Server::start(&FAST);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let args = [
        "--endpoint",
        &url,
        "--requests",
        "10",
        "--repeat-ratio",
        "0",
        "--concurrency",
        "1",
        "2",
    ];
    load(&dir, &args).ok();
    let truth = server.truth();
    assert_eq!(truth.iter().filter(|told| id(told).is_some()).count(), 30);
    assert!(truth.iter().all(|told| told["response_cached"] != true));
}

#[test]
fn a_streamed_generate_has_times_and_its_tokens_are_events() {
    let server = Server::start(&["--base", "2ms", "--itl", "1ms"]);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let args = [
        "--endpoint",
        &url,
        "--requests",
        "10",
        "--max-tokens",
        "8",
        "--repeat-ratio",
        "0",
    ];
    let stream = ["--extra-body", r#"{"stream": true}"#, "--output", "r.json"];
    let output = load(&dir, &args).args(stream).ok();
    assert!(!output.stdout.contains("not streamed"), "{output}");
    let result = json_file(&dir, "r.json");
    assert_eq!(result["token_sources"], json!({"events": 10}));
    assert_eq!(result["detail"]["avg_output_tokens"], 8.0);
    assert!(
        result["ttft_p50_ms"]
            .as_f64()
            .is_some_and(|ms| (2.0..50.0).contains(&ms)),
        "{result}"
    );
    assert_eq!(result["response_cache_hit_rate"], 0.0);
}

/// Starts a server that answers only `{"text"}`, as in a course.
fn bare_server(body: &'static str) -> RawServer {
    RawServer::start(move |request, stream| {
        let (status, body) = match request.path.as_str() {
            "/generate" => ("200 OK", body),
            _ => ("404 Not Found", "{\"detail\":\"Not Found\"}"),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    })
}

/// A balancer gives every connection to one of its servers, of which the first that the run meets knows no model. The
/// set-up has met another.
#[test]
fn one_bad_server_behind_a_balancer_does_not_end_the_run() {
    let peers = std::sync::Mutex::new(Vec::new());
    let server = RawServer::start(move |request, stream| {
        let peer = stream.peer_addr().ok();
        let mut peers = peers.lock().expect("whole");
        // The first connection that is kept is that of the set-up, the second that of the worker.
        if request.header("connection") != Some("close") && !peers.contains(&peer) {
            peers.push(peer);
        }
        let is_bad = peers.get(1) == Some(&peer);
        drop(peers);
        let (status, body) = match is_bad {
            true => ("404 Not Found", r#"{"detail":"no such model"}"#),
            false => ("200 OK", r#"{"text": "one two", "cached": false}"#),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    });
    let dir = Dir::new();
    let url = format!("http://{}/generate", server.addr());
    let args = ["--endpoint", &url, "--warmup", "0", "--concurrency", "1"];
    load(&dir, &args)
        .args(["--requests", "4", "--output", "r.json"])
        .ok();
    let result = json_file(&dir, "r.json");
    let count = |key: &str| result[key].as_u64();
    assert_eq!(count("failed_requests"), Some(1), "{result}");
    assert_eq!(count("successful_requests"), Some(3), "{result}");
}

#[test]
fn a_server_that_counts_nothing_leads_to_an_estimate_with_a_note() {
    let server = bare_server(r#"{"text": "one two three four", "cached": false}"#);
    let dir = Dir::new();
    let url = format!("http://{}/generate", server.addr());
    let args = [
        "--endpoint",
        &url,
        "--requests",
        "4",
        "--output",
        "r.json",
        "--samples",
        "s.jsonl",
    ];
    let output = load(&dir, &args).ok();
    assert_lines(
        &output,
        &["Output tokens counted by: estimate (4 requests)"],
    );
    let bodies = server.requests();
    let asked: Vec<Value> = bodies
        .iter()
        .filter(|request| request.path.as_str() == "/generate")
        .map(|request| serde_json::from_slice(&request.body).expect("JSON"))
        .collect();
    // Set-up, warm-up and run.
    assert_eq!(asked.len(), 1 + 5 + 4);
    for body in &asked[1..] {
        let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["max_tokens", "prompt", "temperature"], "{body}");
        assert_eq!(
            (&body["max_tokens"], &body["temperature"]),
            (&json!(100), &json!(0))
        );
    }
    // One text is sent four times, but the server counts it only once.
    let counts = bodies.iter().filter(|request| {
        request.path.as_str() == "/tokenize"
            && String::from_utf8_lossy(&request.body).contains("one two")
    });
    assert_eq!(counts.count(), 1);
    assert!(
        bodies
            .iter()
            .all(|request| !request.path.contains("models"))
    );
    let tokens = dir.read("s.jsonl");
    assert_eq!(
        tokens.matches(r#""series":"tokens""#).count(),
        4,
        "{tokens}"
    );
    let figures = Cmd::new(&dir)
        .args(["report", "-i", "s.jsonl", "--format", "json"])
        .ok();
    let figures: Value = serde_json::from_str(&figures.stdout).expect("JSON");
    let result = json_file(&dir, "r.json");
    assert_eq!(
        figures["throughput_tokens_per_s"],
        result["throughput_tokens_per_s"]
    );
    assert_eq!(figures["token_sources"], json!({"estimate": 4}));
}

#[test]
fn a_limit_on_ttft_is_an_error_where_nothing_is_streamed() {
    let server = bare_server(r#"{"text": "one", "cached": false}"#);
    let dir = Dir::new();
    dir.write("slo.yaml", "slo: {ttft_ms: 100}");
    let url = format!("http://{}/generate", server.addr());
    let output = load(&dir, &["--endpoint", &url, "--slo-file", "slo.yaml"]).fails(2);
    let wanted = "[ERROR] --slo-file: a limit on ttft_ms, but the server does not stream: no request has a TTFT\n";
    assert!(output.stderr.starts_with(wanted), "{output}");
    let sent = server
        .requests()
        .into_iter()
        .filter(|request| request.path.as_str() == "/generate");
    assert_eq!(sent.count(), 1, "the set-up alone");
}

#[test]
fn limits_decide_the_exit_code() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s", "--faults", "http:500@12+13"]);
    let dir = Dir::new();
    let url = format!("{}/generate", server.url());
    let few = ["--endpoint", &url, "--requests", "8", "--warmup", "0"];
    // The first run is the requests 1 to 9, including its set-up.
    load(&dir, &few).args(["--max-error-rate", "0"]).ok();
    let output = load(&dir, &few).args(["--max-error-rate", "0.1"]).fails(1);
    assert!(
        output
            .stderr
            .contains("[ERROR] --max-error-rate 0.1: concurrency_5.error_rate is "),
        "{output}"
    );
    let fail_if = [
        "--fail-if",
        "avg_latency_ms>0",
        "--fail-if",
        "concurrency_5.ttft_p50_ms>0",
    ];
    let output = load(&dir, &few).args(fail_if).fails(1);
    assert_eq!(
        output.stderr.matches("[ERROR] --fail-if ").count(),
        2,
        "{output}"
    );
    assert!(
        output
            .stderr
            .contains("concurrency_5.ttft_p50_ms is not reported"),
        "{output}"
    );
}

#[test]
fn a_run_of_which_only_the_warm_up_succeeds_is_a_failure() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s", "--faults", "http:500@5+6"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--requests",
        "2",
        "--warmup",
        "3",
        "--concurrency",
        "2",
    ];
    // The set-up is request 1, the warm-up 2 to 4.
    let output = load(&dir, &args).fails(1);
    assert!(
        output
            .stderr
            .contains("[ERROR] no measured request succeeded"),
        "{output}"
    );
}

#[test]
fn the_default_endpoint_is_named_when_nothing_is_there() {
    if std::net::TcpStream::connect(("127.0.0.1", 8000)).is_ok() {
        eprintln!("something listens on port 8000: not tested");
        return;
    }
    let dir = Dir::new();
    for args in [&[][..], &["--concurrency", "2", "--requests", "20"]] {
        let output = load(&dir, args).fails(2);
        let wanted = "[ERROR] Could not connect to endpoint: http://localhost:8000/generate\n\
                      Make sure a model server is running and accessible.\nTry: curl http://localhost:8000/generate ";
        assert!(output.stderr.starts_with(wanted), "{output}");
    }
}

/// Command lines, and the beginnings of their errors.
const CONTRADICTIONS: [(&str, &str); 31] = [
    (
        "--concurrency 2 --rate 1",
        "--concurrency: not together with --rate",
    ),
    (
        "--concurrency 2 --trace t.jsonl",
        "--concurrency: not together with --trace, which",
    ),
    (
        "--rate 2 --trace t.jsonl",
        "--rate: not together with --trace, which",
    ),
    (
        "--dataset d.jsonl --trace t.jsonl",
        "--dataset: not together with --trace",
    ),
    (
        "--dataset d.jsonl --input-tokens 5",
        "--input-tokens: not together with --dataset",
    ),
    (
        "--trace t.jsonl --shared-prefix-tokens 5",
        "--shared-prefix-tokens: not together with --trace",
    ),
    (
        "--trace t.jsonl --max-tokens 5",
        "--max-tokens: not together with --trace, which",
    ),
    (
        "--trace t.jsonl --repeat-ratio 0.5",
        "--repeat-ratio: not together with --trace, which",
    ),
    (
        "--trace t.jsonl --duration 5s",
        "--duration: not together with --trace, which",
    ),
    (
        "--max-tokens 5 --output-tokens 5",
        "--max-tokens: not together with --output-tokens",
    ),
    (
        "--requests 5 --duration 5s",
        "--duration: not together with --requests",
    ),
    ("--groups 2", "--groups: only with --shared-prefix-tokens"),
    ("--burstiness 2", "--burstiness: only with --rate"),
    ("--speed 2", "--speed: only with --trace"),
    (
        "--max-inflight 2",
        "--max-inflight: only with --rate or --trace",
    ),
    (
        "--concurrency 2 4 2",
        "--concurrency 2: the same point twice",
    ),
    ("--rate 0", "--rate 0: want 0.001 to 100000"),
    ("--rate inf", "--rate inf: not a number"),
    ("--rate nan", "--rate nan: not a number"),
    ("--concurrency 0", "--concurrency 0: want 1 or more"),
    ("--concurrency -1", "--concurrency -1: not a whole number"),
    ("--repeat-ratio 1.5", "--repeat-ratio 1.5: want 0 to 1"),
    (
        "--shared-prefix-tokens 128",
        "--shared-prefix-tokens 128: the shortest prompt has 128",
    ),
    (
        "--api tokens",
        "--api tokens: no such API; want completions, chat or generate",
    ),
    ("--export", "--export: no value; want --export vllm FILE"),
    (
        "--export vllm",
        "--export: one value; want --export vllm FILE",
    ),
    ("--export csv f", "--export csv: no such format; want vllm"),
    (
        "--output f --samples f",
        "--output f: the same file as --samples",
    ),
    ("--fail-if ttft>5", "--fail-if 'ttft>5': no such figure"),
    (
        "--fail-if rate_2.error_rate>0",
        "--fail-if 'rate_2.error_rate>0': no such point in this run; want one of concurrency_5",
    ),
    (
        "--extra-body {\"prompt\":1} --api generate",
        "--extra-body {\"prompt\":1}: prompt is set by tmesh-cli",
    ),
];

#[test]
fn options_that_contradict_each_other_name_both() {
    let dir = Dir::new();
    dir.write(
        "t.jsonl",
        r#"{"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[1]}"#,
    );
    dir.write("d.jsonl", r#"{"prompt":"a"}"#);
    for (line, wanted) in CONTRADICTIONS {
        let args: Vec<&str> = line.split(' ').collect();
        let output = load(&dir, &["--endpoint", "127.0.0.1:9"])
            .args(args)
            .fails(2);
        assert!(
            output.stderr.starts_with(&format!("[ERROR] {wanted}")),
            "{line}\n{output}"
        );
    }
}

#[test]
fn only_load_speaks_generate() {
    let dir = Dir::new();
    for command in ["benchmark", "replay", "run"] {
        let output = Cmd::new(&dir).args([command, "--endpoint", "h/generate", "--dataset", "d"]);
        let output = if command == "replay" {
            output
        } else {
            Cmd::new(&dir).args([command, "--endpoint", "h/generate"])
        }
        .fails(2);
        let wanted = "[ERROR] --endpoint h/generate: only load, compare and find-rate speak /generate\nTry: tmesh-cli load --endpoint h/generate\n";
        assert_eq!(output.stderr, wanted, "{command}");
    }
    let output = Cmd::new(&dir)
        .args(["benchmark", "--backend", "mock", "--api", "generate"])
        .fails(2);
    assert_eq!(
        output.stderr,
        "[ERROR] --api generate: only load, compare and find-rate speak it\n"
    );
}

#[test]
fn a_dataset_goes_out_record_by_record_and_then_again_as_repeats() {
    let server = Server::start(&FAST);
    let dir = Dir::new();
    dir.write(
        "d.jsonl",
        "{\"prompt\":\"alpha beta\"}\n{\"text\":\"gamma\"}\n{\"user_messages\":[\"delta\"]}\n",
    );
    let url = format!("{}/generate", server.url());
    let args = [
        "--endpoint",
        &url,
        "--dataset",
        "d.jsonl",
        "--output",
        "r.json",
        "--nonce",
        "n",
    ];
    let output = load(&dir, &args).ok();
    assert_lines(
        &output,
        &[
            "Requests: 3 = 3 first uses + 0 repeats",
            "Prompts: d.jsonl, at most 100 tokens out",
        ],
    );
    assert_eq!(json_file(&dir, "r.json")["response_cache_hit_rate"], 0.0);
    // A second point sends other texts; five requests of three records include two repeats.
    let more = ["--requests", "5", "--concurrency", "1", "--nonce", "m"];
    let args = [
        "--endpoint",
        &url,
        "--dataset",
        "d.jsonl",
        "--output",
        "r.json",
    ];
    let output = load(&dir, &args).args(more).ok();
    assert!(
        output
            .stderr
            .contains("3 records, but 5 different prompts are needed"),
        "{output}"
    );
    let result = json_file(&dir, "r.json");
    assert_eq!(result["response_cache_hit_rate"], 0.4);
    assert_eq!(result["perfect_response_cache_hit_rate"], 0.4);
    assert_eq!(result["perfect_prefix_cache_hit_rate"], Value::Null);
    dir.write(
        "two.jsonl",
        "{\"prompt\":\"a\"}\n{\"user_messages\":[\"b\",\"c\"]}\n",
    );
    let output = load(&dir, &["--endpoint", &url, "--dataset", "two.jsonl"]).fails(2);
    assert!(
        output
            .stderr
            .starts_with("[ERROR] --dataset two.jsonl, line 2: several turns"),
        "{output}"
    );
    dir.write(
        "system.jsonl",
        r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}]}"#,
    );
    let output = load(&dir, &["--endpoint", &url, "--dataset", "system.jsonl"]).fails(2);
    assert!(
        output.stderr.contains("line 1: a system message") && output.stderr.contains("--api chat"),
        "{output}"
    );
    load(
        &dir,
        &[
            "--endpoint",
            server.addr(),
            "--api",
            "chat",
            "--dataset",
            "system.jsonl",
        ],
    )
    .ok();
}

#[test]
fn a_duration_ends_the_sending_and_waits_for_what_is_in_flight() {
    let server = Server::start(&["--base", "300ms", "--itl", "0s"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--duration",
        "700ms",
        "--warmup",
        "0",
        "--output",
        "r.json",
    ];
    for (kind, least, most) in [("--concurrency", 8, 12), ("--rate", 8, 60)] {
        let value = if kind == "--rate" { "40" } else { "4" };
        load(&dir, &args).args([kind, value]).ok();
        let result = json_file(&dir, "r.json");
        let sent = result["sent_requests"].as_u64().expect("a count");
        assert!((least..=most).contains(&sent), "{kind}: {sent}");
        assert_eq!(result["successful_requests"], sent, "{kind}");
        // A rate says how many are due in a duration: 40 a second for 0.7 s.
        let planned = if kind == "--rate" {
            json!(28)
        } else {
            Value::Null
        };
        assert_eq!(
            (&result["cut_requests"], &result["planned_requests"]),
            (&json!(0), &planned)
        );
    }
}

#[test]
fn a_rate_that_runs_out_of_workers_sends_nothing_after_its_duration() {
    let server = Server::start(&["--base", "100ms", "--itl", "0s"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--rate",
        "40",
        "--duration",
        "500ms",
        "--max-inflight",
        "1",
        "--warmup",
        "0",
        "--output",
        "r.json",
        "--samples",
        "s.jsonl",
    ];
    let output = load(&dir, &args).ok();
    let result = json_file(&dir, "r.json");
    let count = |key: &str| result[key].as_u64().expect(key);
    // 20 are due within the half second, and one worker takes up to five of them.
    let sent = count("sent_requests");
    assert!((2..=5).contains(&sent), "{sent}");
    assert_eq!(
        (count("planned_requests"), count("not_sent_requests")),
        (20, 20 - sent)
    );
    assert_lines(
        &output,
        &[&format!("Not Sent: {} of 20; workers ran out", 20 - sent)],
    );
    let sends: Vec<u64> = measured(&dir, "s.jsonl")
        .iter()
        .map(|sample| sample["t_send_ns"].as_u64().expect("a stamp"))
        .collect();
    let (first_ns, last_ns) = (sends.iter().min(), sends.iter().max());
    let took_ns = last_ns.zip(first_ns).map(|(last, first)| last - first);
    assert!(took_ns.is_some_and(|ns| ns <= 505_000_000), "{sends:?}");
}

#[test]
fn a_signal_cuts_the_run_and_keeps_what_was_measured() {
    let server = Server::start(&["--base", "20ms", "--itl", "0s"]);
    let dir = Dir::new();
    let args = [
        "--endpoint",
        server.addr(),
        "--requests",
        "100000",
        "--warmup",
        "0",
        "--samples",
        "s.jsonl",
        "--output",
        "r.json",
    ];
    let mut running = load(&dir, &args).start();
    running.wait_for_line(|line| line.starts_with("Seed:"));
    let samples = dir.path().join("s.jsonl");
    until("samples", || {
        std::fs::read_to_string(&samples).is_ok_and(|text| text.lines().count() >= 10)
    });
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
    let result = json_file(&dir, "r.json");
    let count = |key: &str| result[key].as_u64().expect(key);
    let sent = count("successful_requests") + count("failed_requests") + count("cut_requests");
    assert_eq!(
        (count("sent_requests"), count("not_sent_requests")),
        (sent, 100_000 - sent)
    );
    assert!(
        count("failed_requests") == 0 && count("successful_requests") >= 5,
        "{result}"
    );
    assert_lines(&output, &["Not Sent: "]);
}

#[test]
fn a_deployment_is_asked_under_its_path_with_the_query_and_names_its_model() {
    let server = RawServer::start(|request, stream| {
        let body = match request.path.contains("/chat/completions") {
            true => {
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n\
                 data: [DONE]\n\n"
            }
            false => "",
        };
        let status = if body.is_empty() {
            "404 Not Found"
        } else {
            "200 OK"
        };
        let length = body.len();
        // A client that has hung up shows that in its own output.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    });
    let dir = Dir::new();
    let place = format!("http://{}/openai/deployments/gpt-x", server.addr());
    let query = "api-version=2024-10-01-preview&code=s3cret-0123456789";
    let url = format!("{place}/chat/completions?{query}");
    let output = load(
        &dir,
        &["--endpoint", &url, "--requests", "2", "--warmup", "0"],
    )
    .args(["--samples", "s.jsonl"])
    .ok();
    let shown = format!("{place}/?api-version=2024-10-01-preview&code=****6789");
    let line = format!("normalized endpoint: {shown}\n");
    assert!(output.stdout.contains(&line), "{output}");
    assert!(output.stdout.contains("found model: gpt-x\n"), "{output}");
    let route = format!("/openai/deployments/gpt-x/chat/completions?{query}");
    let requests = server.requests();
    let asked = requests.iter().filter(|request| request.path == route);
    assert!(asked.count() >= 2, "{output}");
    let header: Value =
        serde_json::from_str(dir.read("s.jsonl").lines().next().expect("a header")).expect("JSON");
    assert_eq!(
        (&header["endpoint"], &header["model"]),
        (&json!(shown), &json!("gpt-x"))
    );
}

#[test]
fn a_route_without_a_version_is_asked_for_below_v1() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    for (route, api) in [
        ("chat/completions", "chat completions"),
        ("completions", "completions"),
    ] {
        let dir = Dir::new();
        let url = format!("{}/{route}", server.addr());
        let words = "load --requests 1 --warmup 0 --concurrency 1 --max-tokens 2 --endpoint";
        let output = Cmd::new(&dir).args(words.split(' ')).arg(&url).ok();
        let base = format!("normalized endpoint: {}/v1/", server.url());
        assert!(
            output.stderr.contains(&base) || output.stdout.contains(&base),
            "{api}: {output}"
        );
    }
}
