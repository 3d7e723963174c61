//! `check endpoint URL`: its findings, its requests, and when it fails.

use std::io::Write;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, RawServer, Request, Server};

fn check(dir: &Dir, url: &str) -> Cmd {
    Cmd::new(dir).args(["check", "endpoint", url])
}

/// Returns the value after a name, which takes the first 22 columns.
fn value<'a>(output: &'a Output, name: &str) -> &'a str {
    let named = |line: &&str| line.get(..22).is_some_and(|start| start.trim_end() == name);
    let line = output.stdout.lines().find(named);
    &line.unwrap_or_else(|| panic!("no line {name}\n{output}"))[22..]
}

fn assert_lines(output: &Output, wanted: &[(&str, &str)]) {
    for (name, wanted) in wanted {
        assert_eq!(value(output, name), *wanted, "{name}\n{output}");
    }
}

/// The finding if no reply reports cached tokens.
const NOT_REPORTED: &str = "not reported: usage gives no hit rate; vLLM reports cached tokens with --enable-prompt-tokens-details, SGLang with --enable-cache-report";

#[test]
fn the_mock_has_everything_and_its_log_has_every_request_that_was_counted() {
    let server = Server::start(&["--itl", "1ms", "--base", "1ms", "--block-tokens", "32"]);
    let dir = Dir::new();
    let output = check(&dir, server.addr()).ok();
    let url = server.url();
    assert_lines(
        &output,
        &[
            ("endpoint", &format!("{url}/v1/")),
            ("models", "openai/gpt-oss-20b, max_model_len 131072"),
            ("/v1/completions", "streams"),
            ("/v1/chat/completions", "streams"),
            ("/generate", "answers: HTTP 200"),
            ("API used below", "chat/completions"),
            // 32 words of context; the question "Question 1: how are A, B and C related in the text above?" has 13.
            (
                "usage",
                "45 prompt and 16 output tokens; stream_options is accepted",
            ),
            ("continuous usage", "honoured: on every event"),
            (
                "optional fields",
                "ignore_eos and min_tokens are accepted; 16 of 16 tokens came",
            ),
            ("reasoning", "none seen"),
            ("tokens an event", "one"),
            // A word is a token: 600 words have 18 whole blocks of 32, which are 576.
            ("cached tokens", "576 of 600 at the second sending"),
            ("/tokenize", "600 tokens, as usage says"),
            (
                "hit rate",
                "vLLM: vllm:prompt_tokens_cached_total / vllm:prompt_tokens_total",
            ),
            (
                "reset route",
                "not tried, since it empties the cache; --try-reset tries it",
            ),
            // Completions, chat, /generate and continuous usage ask for 16 tokens; the prompt that is sent twice for 4
            // each time.
            (
                "requests",
                "6 of at most 20 that generate, 72 output tokens asked for",
            ),
        ],
    );
    // The events are a role, 16 tokens and usage.
    let streaming = value(&output, "streaming");
    assert!(
        streaming.starts_with("18 events, 16 with text, the first of these after "),
        "{output}"
    );
    let trip = value(&output, "round trip");
    assert!(
        trip.starts_with("connect ") && trip.ends_with(" ms on a kept connection"),
        "{output}"
    );
    assert!(
        value(&output, "/metrics").starts_with("names of vLLM ("),
        "{output}"
    );
    let start = format!(
        "\nStart from\ntmesh-cli benchmark --endpoint {url}/v1 \\\n  --api chat \\\n  --contexts 20 --rotations 2\n\n\
         tmesh-cli replay --endpoint {url}/v1 \\\n  --synthetic 20 --max-output-tokens 128 \\\n  \
         --prometheus-url {url}/metrics --prometheus-metrics lmcache_hit_rate\n"
    );
    assert!(output.stdout.ends_with(&start), "{output}");
    assert_eq!(output.stderr, "", "{output}");
    let truth = server.truth();
    let sent: Vec<(&str, u64)> = truth
        .iter()
        .map(|line| {
            let tokens = line["output_tokens"].as_u64().expect("a number");
            (line["path"].as_str().expect("a path"), tokens)
        })
        .collect();
    let chat = "/v1/chat/completions";
    assert_eq!(
        sent,
        [
            ("/v1/completions", 16),
            (chat, 16),
            ("/generate", 16),
            (chat, 16),
            (chat, 4),
            (chat, 4)
        ]
    );
}

#[test]
fn the_cache_is_emptied_only_when_that_is_asked_for() {
    let server = Server::start(&["--itl", "1ms", "--base", "1ms"]);
    let dir = Dir::new();
    let output = check(&dir, &format!("{}/v1/completions", server.url()))
        .args(["--try-reset"])
        .ok();
    assert_lines(
        &output,
        &[
            ("API used below", "completions"),
            (
                "reset route",
                "POST /reset_prefix_cache: the cache is empty now",
            ),
        ],
    );
    let options = format!(
        "--reset-cache-url {}/reset_prefix_cache --reset-cache-between-concurrency\n",
        server.url()
    );
    assert!(output.stdout.contains("--api completions \\\n"), "{output}");
    assert!(output.stdout.ends_with(&options), "{output}");

    let server = odd_server(|_| stream(""));
    let resets = |server: &RawServer| {
        let requests = server.requests().into_iter();
        let paths = requests.map(|request| request.path);
        let resets = paths.filter(|path| path.contains("reset") || path.contains("flush"));
        resets.collect::<Vec<_>>()
    };
    check(&dir, &server.addr().to_string()).ok();
    assert_eq!(resets(&server), Vec::<String>::new());
    let output = check(&dir, &server.addr().to_string())
        .args(["--try-reset"])
        .ok();
    assert_eq!(resets(&server), ["/reset_prefix_cache", "/flush_cache"]);
    assert_eq!(
        value(&output, "reset route"),
        "none: /reset_prefix_cache: HTTP 404, /flush_cache: HTTP 404"
    );
}

/// Lists the model `m` and answers its two APIs with `complete`; other paths get a 404.
fn odd_server(complete: impl Fn(&Request) -> String + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |request, stream| {
        let answer = if request.path == "/v1/models" {
            reply("200 OK", r#"{"data":[{"id":"m"}]}"#)
        } else if request.path.ends_with("completions") {
            complete(request)
        } else {
            reply("404 Not Found", r#"{"detail":"Not Found"}"#)
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

/// Returns a stream of two tokens for either API; `usage` is a member of the last event, with a comma before it.
fn stream(usage: &str) -> String {
    let events = format!(
        "data: {{\"choices\":[{{\"text\":\" a\",\"delta\":{{}},\"finish_reason\":null}}]}}\n\n\
         data: {{\"choices\":[{{\"text\":\" b\",\"delta\":{{}},\"finish_reason\":\"length\"}}]{usage}}}\n\n\
         data: [DONE]\n\n"
    );
    let length = events.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{events}"
    )
}

/// Returns the bodies of the requests to the two APIs.
fn bodies(server: &RawServer) -> Vec<Value> {
    let requests = server.requests().into_iter();
    let asked = requests.filter(|request| request.path.ends_with("completions"));
    asked
        .map(|request| serde_json::from_slice(&request.body).expect("JSON"))
        .collect()
}

#[test]
fn a_server_without_usage_and_without_routes_beside_is_described_as_that() {
    let server = odd_server(|_| stream(""));
    let dir = Dir::new();
    let output = check(&dir, &server.addr().to_string()).ok();
    assert_lines(
        &output,
        &[
            ("models", "m, no max_model_len"),
            (
                "usage",
                "none: a run counts events as tokens; stream_options is accepted",
            ),
            ("continuous usage", "ignored"),
            ("optional fields", "ignore_eos and min_tokens are accepted"),
            ("tokens an event", "unknown without usage"),
            ("cached tokens", NOT_REPORTED),
            ("/tokenize", "no: runs estimate lengths"),
            ("/metrics", "no: HTTP status 404"),
        ],
    );
    let streaming = value(&output, "streaming");
    assert!(streaming.starts_with("2 events, 2 with text, "), "{output}");
    assert!(streaming.ends_with(" ms; all at once: no ITL"), "{output}");
    assert!(
        !output.stdout.contains("\n/generate"),
        "it has none\n{output}"
    );
    assert!(!output.stdout.contains("--prometheus-url"), "{output}");
}

#[test]
fn fields_that_are_refused_one_by_one_are_all_named_and_the_requests_stay_few() {
    const USAGE: &str = r#","usage":{"prompt_tokens":9,"completion_tokens":8}"#;
    let server = odd_server(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let fields = ["stream_options", "ignore_eos", "min_tokens"];
        match fields.into_iter().find(|field| !body[*field].is_null()) {
            Some(field) => {
                let error = format!(r#"{{"error":{{"message":"{field} is not supported"}}}}"#);
                reply("400 Bad Request", &error)
            }
            None => stream(USAGE),
        }
    });
    let dir = Dir::new();
    let output = check(&dir, &server.addr().to_string()).ok();
    assert_lines(
        &output,
        &[
            (
                "usage",
                "9 prompt and 8 output tokens; stream_options is refused",
            ),
            ("continuous usage", "not tried: stream_options is refused"),
            (
                "optional fields",
                "refused: stream_options, ignore_eos, min_tokens; 8 of 16 tokens came",
            ),
            (
                "tokens an event",
                "8 tokens in 2 events: ITL is a time between events",
            ),
            ("/tokenize", "no: runs take lengths from usage"),
            // Four requests for each API, one to /generate, and the prompt that is sent twice: 9 × 16 + 2 × 4.
            (
                "requests",
                "11 of at most 20 that generate, 152 output tokens asked for",
            ),
        ],
    );
    let bodies = bodies(&server);
    assert_eq!(bodies.len(), 10);
    for body in bodies {
        assert!(
            body["max_tokens"].as_u64().is_some_and(|n| n <= 16),
            "{body}"
        );
    }
}

/// Answers completions with the recorded answers of a real server; chat gets the same.
fn recorded_server(name: &'static str) -> RawServer {
    let recording = move |case: &str| {
        let path = format!(
            "{}/tests/data/captures/{name}/{case}.raw",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    RawServer::start(move |request, stream| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let case = match request.path.as_str() {
            "/v1/models" => "models",
            "/v1/chat/completions" => "chat_stream",
            "/v1/completions" if name == "transformers" && !body["ignore_eos"].is_null() => {
                "completions_stream_ignore_eos"
            }
            "/v1/completions" if !body["stream_options"]["continuous_usage_stats"].is_null() => {
                "completions_stream_continuous_usage"
            }
            "/v1/completions" if body["max_tokens"] == 4 => "completions_stream_prefix_2",
            "/v1/completions" => "completions_stream",
            _ => "err_not_found",
        };
        // A client that has hung up shows that in its own output.
        let _ = stream.write_all(&recording(case));
        // Not every recorded reply left its connection open.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    })
}

#[test]
fn recorded_replies_of_real_servers_are_told_apart() {
    let dir = Dir::new();
    let found = |name: &'static str| {
        let server = recorded_server(name);
        let url = server.addr().to_string();
        let model = ["--model", "tiny-chain", "--api", "completions"];
        check(&dir, &url).args(model).ok()
    };
    let output = found("llama-server");
    assert_lines(
        &output,
        &[
            ("models", "tiny-chain, max_model_len 8192"),
            ("model asked for", "tiny-chain (given)"),
            (
                "usage",
                "15 prompt and 12 output tokens; stream_options is accepted",
            ),
            ("continuous usage", "ignored"),
            (
                "optional fields",
                "ignore_eos and min_tokens are accepted; 12 of 16 tokens came",
            ),
            (
                "cached tokens",
                "320 of 321 at the second sending (320 at the first)",
            ),
        ],
    );
    let output = found("vllm");
    assert_lines(
        &output,
        &[
            (
                "usage",
                "14 prompt and 12 output tokens; stream_options is accepted",
            ),
            ("continuous usage", "honoured: on every event"),
            ("cached tokens", NOT_REPORTED),
        ],
    );
    let output = found("transformers");
    assert_lines(
        &output,
        &[
            ("models", "no usable list"),
            ("model asked for", "tiny-chain (given, not listed)"),
            (
                "usage",
                "14 prompt and 12 output tokens; stream_options is accepted",
            ),
            ("continuous usage", "ignored"),
            (
                "optional fields",
                "refused: ignore_eos, min_tokens; 12 of 16 tokens came",
            ),
        ],
    );
}

#[test]
fn a_field_that_is_refused_without_its_name_is_found() {
    let server = odd_server(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        match body["ignore_eos"].is_null() {
            true => stream(""),
            false => reply("422 Unprocessable Entity", r#"{"detail":"unknown field"}"#),
        }
    });
    let output = check(&Dir::new(), &server.addr().to_string()).ok();
    assert_eq!(
        value(&output, "optional fields"),
        "refused: ignore_eos",
        "{output}"
    );
}

#[test]
fn a_server_that_streams_with_no_api_fails_the_check_with_the_reasons() {
    let server = odd_server(|request| match request.path.contains("chat") {
        true => reply("500 Internal Server Error", "out \u{1b}[31mof order"),
        false => reply(
            "200 OK",
            r#"{"choices":[{"text":" a","finish_reason":"length"}]}"#,
        ),
    });
    let output = check(&Dir::new(), &server.addr().to_string()).fails(1);
    let completions = "answers, but does not stream: nothing to measure";
    let chat = "no: HTTP 500: out [31mof order";
    assert_lines(
        &output,
        &[
            ("/v1/completions", completions),
            ("/v1/chat/completions", chat),
            (
                "reset route",
                "not tried, since it empties the cache; --try-reset tries it",
            ),
            (
                "requests",
                "3 of at most 20 that generate, 48 output tokens asked for",
            ),
        ],
    );
    let error = format!(
        "[ERROR] check endpoint http://{}/v1/: no API streams an answer\n\
         /v1/completions: {completions}\n/v1/chat/completions: {chat}\n",
        server.addr()
    );
    assert_eq!(output.stderr, error, "{output}");
    assert!(!output.stdout.contains("Start from"), "{output}");
}

#[test]
fn a_server_with_completions_only_gets_a_line_to_start_from_that_says_so() {
    let server = odd_server(|request| match request.path.contains("chat") {
        true => reply("404 Not Found", r#"{"detail":"Not Found"}"#),
        false => stream(""),
    });
    let output = check(&Dir::new(), &server.addr().to_string()).ok();
    assert_lines(
        &output,
        &[
            ("/v1/completions", "streams"),
            ("/v1/chat/completions", "no: HTTP 404: Not Found"),
            ("API used below", "completions"),
        ],
    );
    assert!(output.stdout.contains(" --api completions "), "{output}");
}

#[test]
fn a_key_is_asked_for_and_never_shown() {
    const KEY: &str = "sk-0123456789abcdef-tail";
    let dir = Dir::new();
    let server = Server::start(&["--itl", "1ms", "--base", "1ms", "--api-key", KEY]);
    let output = check(&dir, server.addr()).fails(2);
    let refused = format!(
        "[ERROR] {}/v1/models: HTTP 401: Unauthorized\nGive the right key",
        server.url()
    );
    assert!(output.stderr.starts_with(&refused), "{output}");
    let output = check(&dir, server.addr()).args(["--api-key", KEY]).ok();
    assert_eq!(value(&output, "/v1/completions"), "streams");
    assert!(!output.stdout.contains("sk-"), "{output}");
    assert!(output.stdout.contains("own options for key"), "{output}");

    // The list of models is open to all, and the server repeats the key.
    let server = odd_server(|request| {
        let key = request
            .header("authorization")
            .unwrap_or("none")
            .to_string();
        reply(
            "401 Unauthorized",
            &format!(r#"{{"error":"not with {key}"}}"#),
        )
    });
    let output = check(&dir, &server.addr().to_string())
        .args(["--api-key", KEY])
        .fails(2);
    assert_eq!(
        value(&output, "/v1/completions"),
        "no: HTTP 401: not with Bearer ****tail",
        "{output}"
    );
    let refused = format!(
        "[ERROR] http://{}/v1/completions: HTTP 401: not with Bearer ****tail\nGive the right key",
        server.addr()
    );
    assert!(output.stderr.starts_with(&refused), "{output}");
    assert_eq!(bodies(&server).len(), 2, "both APIs and no more");
}

#[test]
fn impossible_checks_are_refused_before_anything_is_sent() {
    let dir = Dir::new();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        listener.local_addr().expect("an address").to_string()
    };
    for (words, message) in [
        (
            &[][..],
            "[ERROR] check endpoint: not given; want tmesh-cli check endpoint URL\n",
        ),
        (
            &["ftp://h"],
            "[ERROR] check endpoint ftp://h: the scheme is neither http nor https\n",
        ),
        (
            &[&closed],
            "[ERROR] Could not connect to endpoint: http://127.0.0.1:",
        ),
        (
            &[&closed, "--extra-body", r#"{"max_tokens":500}"#],
            "[ERROR] --extra-body: max_tokens is set by check endpoint\n",
        ),
        (
            // This is llama.cpp's name, which takes precedence over max_tokens there.
            &[&closed, "--extra-body", r#"{"n_predict":500}"#],
            "[ERROR] --extra-body: n_predict is set by check endpoint\n",
        ),
        (
            &[&closed, "--endpoint", "h"],
            "[ERROR] --endpoint: not together with a URL without an option, which says the same\n",
        ),
    ] {
        let output = Cmd::new(&dir)
            .args(["check", "endpoint"])
            .args(words)
            .fails(2);
        assert!(output.stderr.starts_with(message), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
}
