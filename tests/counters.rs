//! The server's own counters in every command that sends: `--metrics-url`.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, RawServer, Server};

/// Requests that each of `COMMANDS` measures.
const REQUESTS: u64 = 4;

/// A command, and where its figures are: a file and a pointer into it.
const COMMANDS: [(&str, &str, &str); 4] = [
    (
        "benchmark --contexts 2 --max-inflight 1 --input-length 100 --output-length 2 --requests 4 --output r.json",
        "r.json",
        "/summary",
    ),
    (
        "load --api completions --requests 4 --warmup 2 --concurrency 1 --max-tokens 2 --output r.json",
        "r.json",
        "",
    ),
    (
        "replay --synthetic 4 --rounds 1 --max-output-tokens 2",
        "benchmark_results/concurrency_1_round_1.json",
        "/summary",
    ),
    (
        "run --workload short --requests 4",
        "benchmark_results/short_input_metrics.json",
        "",
    ),
];

/// The answer of a server to requests for its page.
enum Page {
    /// Its counters rise with every completion.
    Counters,
    Missing,
}

fn reply(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A server whose replies report 100 prompt tokens, 25 of them cached. Its counters say 30 of 100: 20 from the device,
/// 7 from the host, 3 from elsewhere.
fn server(page: Page) -> RawServer {
    let completions = AtomicU64::new(0);
    RawServer::start(move |request, stream| {
        let answer = match (request.path.as_str(), &page) {
            ("/metrics", Page::Counters) => {
                let page = counters(completions.load(Relaxed));
                reply("200 OK", "text/plain", &page)
            }
            ("/v1/models", _) => reply("200 OK", "application/json", r#"{"data":[{"id":"m"}]}"#),
            (path, _) if path.ends_with("completions") => {
                completions.fetch_add(1, Relaxed);
                reply("200 OK", "text/event-stream", EVENTS)
            }
            _ => reply("404 Not Found", "text/plain", "none"),
        };
        let _ = stream.write_all(answer.as_bytes());
    })
}

const EVENTS: &str = concat!(
    r#"data: {"choices":[{"index":0,"text":" a","delta":{"content":" a"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"choices":[{"index":0,"text":" b","delta":{"content":" b"},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":100,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":25}}}"#,
    "\n\ndata: [DONE]\n\n"
);

fn counters(completions: u64) -> String {
    let tokens = |per: u64| 7 + per * completions;
    format!(
        "# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total {}\n\
         # TYPE vllm:prompt_tokens_cached counter\nvllm:prompt_tokens_cached_total {}\n\
         # TYPE vllm:prefix_cache_queries counter\nvllm:prefix_cache_queries_total {}\n\
         # TYPE vllm:prompt_tokens_cached_by_source counter\n\
         vllm:prompt_tokens_cached_by_source_total{{source=\"device\"}} {}\n\
         vllm:prompt_tokens_cached_by_source_total{{source=\"host\"}} {}\n\
         vllm:prompt_tokens_cached_by_source_total{{source=\"p2p\"}} {}\n\
         # TYPE vllm:num_preemptions counter\nvllm:num_preemptions_total {}\n\
         # TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc 0.5\n\
         # TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\n\
         # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 2\n",
        tokens(100),
        tokens(30),
        tokens(100),
        tokens(20),
        tokens(7),
        tokens(3),
        tokens(1)
    )
}

fn command(dir: &Dir, words: &str) -> Cmd {
    Cmd::new(dir).args(words.split(' '))
}

fn figures(dir: &Dir, (_, file, pointer): (&str, &str, &str)) -> Value {
    let text = dir.read(file);
    let data: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
    data.pointer(pointer).expect(pointer).clone()
}

fn url(server: &RawServer) -> String {
    format!("http://{}", server.addr())
}

fn reads(server: &RawServer, path: &str) -> usize {
    let requests = server.requests();
    requests.iter().filter(|of| of.path == path).count()
}

fn check(figures: &Value, output: &Output) {
    for (key, wanted) in [
        ("counter_hit_rate", 0.3),
        ("counter_hit_tokens", (30 * REQUESTS) as f64),
        ("counter_prompt_tokens", (100 * REQUESTS) as f64),
        ("device_hit_rate", 0.2),
        ("host_hit_rate", 0.07),
        ("remote_hit_rate", 0.03),
        ("kv_cache_use_peak", 0.5),
        ("running_requests_peak", 3.0),
        ("waiting_requests_peak", 2.0),
        ("total_preemption_count", REQUESTS as f64),
    ] {
        let value = figures[key].as_f64();
        let is_equal = value.is_some_and(|value| (value - wanted).abs() < 1e-12);
        assert!(is_equal, "{key}: {value:?}, want {wanted}\n{output}");
    }
}

#[test]
fn every_command_reads_the_page_beside_its_endpoint() {
    for of in COMMANDS {
        let (dir, server) = (Dir::new(), server(Page::Counters));
        let output = command(&dir, of.0).args(["--endpoint", &url(&server)]).ok();
        check(&figures(&dir, of), &output);
        // At the start, before and after.
        assert!(reads(&server, "/metrics") >= 3, "{output}");
        let lines: &[&str] = match of.0.starts_with("run") {
            true => &[
                "Prefix cache hit rate                    30.0 %",
                "  the same by usage                      25.0 %",
                "Hit rate, host tier                       7.0 %",
                "Waiting requests, peak                        2",
            ],
            false => &[
                "  Prefix Cache Hit Rate by Counters: 30.0 % (by usage: 25.0 %)",
                "  Counters of the Hit Rate: Δ vllm:prompt_tokens_cached_total / Δ vllm:prompt_tokens_total",
                "  Hit Rate by Tier: device 20.0 %, host 7.0 %, remote 3.0 %",
                "  KV Cache Use: peak 50.0 %",
                "  Preemptions: 4 (Δ vllm:num_preemptions_total)",
            ],
        };
        for line in lines {
            assert!(
                output.stdout.lines().any(|have| have == *line),
                "{line}\n{output}"
            );
        }
    }
}

#[test]
fn a_named_page_is_read_in_place_of_the_one_beside_the_endpoint() {
    for of in COMMANDS {
        let (dir, server, page) = (Dir::new(), server(Page::Missing), server(Page::Counters));
        let output = command(&dir, of.0)
            .args(["--endpoint", &url(&server), "--api-key", "sk-telltale-5"])
            .args(["--metrics-url", &url(&page)])
            .ok();
        // Nothing is sent to that server: its counters stand still.
        let figures = figures(&dir, of);
        assert_eq!(figures["counter_prompt_tokens"], 0, "{output}");
        assert_eq!(figures["counter_hit_rate"], Value::Null, "{output}");
        assert_eq!(figures["kv_cache_use_peak"], 0.5, "{output}");
        assert!(
            reads(&page, "/metrics") >= 3 && reads(&server, "/metrics") == 0,
            "{output}"
        );
        // The key is sent to the endpoint alone.
        let has_key = |server: &RawServer| {
            let requests = server.requests();
            requests
                .iter()
                .any(|of| of.header("authorization").is_some())
        };
        assert!(has_key(&server) && !has_key(&page), "{output}");
    }
}

#[test]
fn off_leaves_the_page_alone() {
    for of in COMMANDS {
        let (dir, server) = (Dir::new(), server(Page::Counters));
        let output = command(&dir, of.0)
            .args(["--endpoint", &url(&server), "--metrics-url", "off"])
            .ok();
        assert_eq!(reads(&server, "/metrics"), 0, "{output}");
        assert_eq!(
            figures(&dir, of)["counter_hit_tokens"],
            Value::Null,
            "{output}"
        );
        assert!(!output.stderr.contains("metrics"), "{output}");
    }
}

#[test]
fn a_server_without_a_page_costs_one_line() {
    for of in COMMANDS {
        let (dir, server) = (Dir::new(), server(Page::Missing));
        let output = command(&dir, of.0).args(["--endpoint", &url(&server)]).ok();
        let note = format!(
            "note: no page of metrics at {}/metrics: HTTP status 404; figures that only the server reports are n/a\n",
            url(&server)
        );
        assert_eq!(output.stderr.matches("metrics at").count(), 1, "{output}");
        assert!(output.stderr.contains(&note), "{output}");
        assert_eq!(reads(&server, "/metrics"), 1, "{output}");
        assert_eq!(
            figures(&dir, of)["counter_hit_rate"],
            Value::Null,
            "{output}"
        );
    }
}

#[test]
fn a_named_page_that_does_not_answer_is_an_error_before_anything_is_measured() {
    for (words, file, _) in COMMANDS {
        let (dir, server) = (Dir::new(), server(Page::Counters));
        for (page, error) in [
            (
                "127.0.0.1:1".to_string(),
                "[ERROR] --metrics-url http://127.0.0.1:1/metrics: connect: ".to_string(),
            ),
            (
                format!("{}/none", url(&server)),
                format!(
                    "[ERROR] --metrics-url {}/none: HTTP status 404\n",
                    url(&server)
                ),
            ),
        ] {
            let output = command(&dir, words)
                .args(["--endpoint", &url(&server), "--metrics-url", &page])
                .fails(2);
            assert!(output.stderr.contains(&error), "{output}");
            assert!(!dir.path().join(file).exists(), "{output}");
        }
    }
}

#[test]
fn both_options_of_replay_name_the_same_page() {
    let (dir, server) = (Dir::new(), server(Page::Counters));
    let (words, ..) = COMMANDS[2];
    let url = url(&server);
    let replay = |more: &[&str]| command(&dir, words).args(["--endpoint", &url]).args(more);
    let output = replay(&["--prometheus-url", &url]).ok();
    check(&figures(&dir, COMMANDS[2]), &output);
    for (more, error) in [
        (
            ["--prometheus-url", &url, "--metrics-url", &url],
            "[ERROR] --metrics-url: not together with --prometheus-url; both name the page of metrics\n",
        ),
        (
            ["--prometheus-metrics", "x", "--metrics-url", "off"],
            "[ERROR] --prometheus-metrics: not together with --metrics-url off\n",
        ),
    ] {
        let output = replay(&more).fails(2);
        assert!(output.stderr.contains(error), "{output}");
    }
    // Metrics by name are read from the page beside the endpoint, too.
    replay(&["--prometheus-metrics", "vllm:num_preemptions_total"]).ok();
    let metric = "vllm:num_preemptions_total";
    let over = &figures(&dir, COMMANDS[2])["prometheus_metrics"][metric]["over_round"];
    assert_eq!(over.as_f64(), Some(REQUESTS as f64));
}

#[test]
fn names_that_were_asked_for_need_a_page() {
    let (dir, server) = (Dir::new(), server(Page::Missing));
    let output = command(&dir, COMMANDS[2].0)
        .args(["--endpoint", &url(&server), "--prometheus-metrics", "x"])
        .fails(2);
    let error = format!(
        "[ERROR] --prometheus-metrics: no page of metrics at {}/metrics: HTTP status 404\nName the page with --metrics-url URL.\n",
        url(&server)
    );
    assert!(output.stderr.contains(&error), "{output}");
}

#[test]
fn the_mocks_counters_agree_with_the_usage_of_its_replies() {
    for of in COMMANDS {
        let dir = Dir::new();
        let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
        let output = command(&dir, of.0).args(["--endpoint", &server.url()]).ok();
        let figures = figures(&dir, of);
        let number = |key: &str| figures[key].as_f64();
        let usage = number("prefix_cache_hit_rate").or(number("usage_prefix_hit_rate"));
        assert!(usage.is_some(), "{output}");
        assert_eq!(number("counter_hit_rate"), usage, "{output}");
        assert_eq!(number("device_hit_rate"), usage, "{output}");
        assert_eq!(number("remote_hit_rate"), Some(0.0), "{output}");
    }
}

#[test]
fn a_block_of_benchmark_ends_with_what_the_server_tells() {
    let words = "benchmark --backend mock --mock base=1ms,itl=1ms --contexts 2 --max-inflight 2 --input-length 100 \
                 --output-length 5 --duration 1300ms --interval 1200ms --samples s.jsonl";
    let dir = Dir::new();
    let output = command(&dir, words).ok();
    let mut lines = output.stdout.lines();
    lines.find(|line| line.starts_with("Prefix Cache Hit Rate: "));
    let mut starts = |start: &str| {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(start), "{line}\n{output}");
    };
    starts("Prefix Cache Hit Rate by Counters: ");
    starts("KV Cache Use: ");
    starts("Running / Waiting Requests: ");
    starts("");
    // Before, once a second, and after.
    let samples = dir.read("s.jsonl");
    assert_eq!(
        samples.matches("{\"series\":\"metrics\",").count(),
        3,
        "{output}"
    );
}
