//! Failed requests come first in a report, and a run whose server is gone at its end does not end with 0.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use serde_json::Value;

use crate::util::{Cmd, Dir, RawServer, Request, json_file, read_request};

/// Answers in a stream of one token.
fn answer(request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
    let (media_type, body) = match request.path.as_str() {
        "/v1/models" => ("application/json", r#"{"data": [{"id": "m"}]}"#.to_string()),
        path if path.ends_with("completions") => {
            let choice = r#"{"index": 0, "text": "a", "delta": {"content": "a"}, "finish_reason": "length"}"#;
            let usage = r#"{"prompt_tokens": 50, "completion_tokens": 1}"#;
            let event = format!("data: {{\"choices\": [{choice}], \"usage\": {usage}}}\n\n");
            ("text/event-stream", event + "data: [DONE]\n\n")
        }
        _ => return write!(stream, "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Serves connections one after the other, and closes its port after so many answers to prompts.
fn dies_after(answers: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut left = answers;
        while left > 0 {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            if let Ok(Some(request)) = read_request(&mut stream) {
                left -= u64::from(request.path.ends_with("completions"));
                // The client may have hung up.
                let _ = answer(&request, &mut stream);
            }
        }
    });
    addr
}

const COMMANDS: [&str; 4] = [
    "benchmark --contexts 2 --input-length 50 --output-length 1 --max-inflight 2 --duration 1s --output r.json --endpoint URL",
    "load --rate 200 --requests 40 --warmup 0 --input-tokens 20 --max-tokens 1 --output r.json --endpoint URL/v1/completions",
    "replay --synthetic 15 --concurrency 3 --rounds 1 --max-output-tokens 1 --endpoint URL",
    "run --workload stress --requests 30 --endpoint URL",
];

#[test]
fn a_run_whose_server_dies_begins_with_the_failures_and_ends_with_1() {
    for words in COMMANDS {
        let dir = Dir::new();
        let words = words.replace("URL", &format!("http://{}", dies_after(8)));
        let output = Cmd::new(&dir).args(words.split(' ')).fails(1);
        let lines: Vec<&str> = output.stderr.lines().collect();
        let error = lines.iter().find(|line| line.starts_with("[ERROR]"));
        let error = error.unwrap_or_else(|| panic!("{output}"));
        assert!(
            error.contains("gone at the end of the run: the last "),
            "{output}"
        );
        let first = output.stdout.find("FAILED REQUESTS: ");
        let first = first.unwrap_or_else(|| panic!("{output}"));
        for figures in ["Final Report", "TTFT P50", "Success", "Succeeded"] {
            assert!(
                output.stdout.find(figures).is_none_or(|at| at > first),
                "{output}"
            );
        }
        if words.starts_with("load") {
            let result: Value = json_file(&dir, "r.json");
            let failed = result["failed_requests"].as_u64().expect("a count");
            let good = result["successful_requests"].as_u64().expect("a count");
            assert_eq!(failed + good, 40);
            let share = failed as f64 / 0.4;
            let line = format!("FAILED REQUESTS: {failed} of 40 ({share:.1} %): ");
            let line = output.stdout[first..]
                .lines()
                .next()
                .and_then(|of| of.strip_prefix(&line));
            let kinds = line.unwrap_or_else(|| panic!("{output}")).split(", ");
            let counts = kinds.map(|kind| kind.rsplit(' ').next().expect("a count"));
            let sum: u64 = counts
                .map(|count| count.parse::<u64>().expect("a count"))
                .sum();
            assert_eq!(sum, failed, "{output}");
        }
    }
}

/// Fails one prompt in so many, with status 500.
fn fails_each(n: u64) -> RawServer {
    let seen = Arc::new(AtomicU64::new(0));
    RawServer::start(move |request, stream| {
        let is_prompt = request.path.ends_with("completions");
        let number = match is_prompt {
            true => seen.fetch_add(1, SeqCst),
            false => 0,
        };
        // The first is the set-up; the client may have hung up.
        let _ = match number > 0 && number % n == 0 {
            true => write!(stream, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
            false => answer(request, stream),
        };
    })
}

#[test]
fn a_report_begins_with_the_failures_where_they_are_more_than_a_hundredth() {
    // Of 100 requests, every 100th or every 50th fails.
    for (each, line) in [
        (100, None),
        (
            50,
            Some("FAILED REQUESTS: 2 of 100 (2.0 %): http 2\nConcurrency 1\n"),
        ),
    ] {
        let server = fails_each(each);
        let url = format!("http://{}/v1/completions", server.addr());
        let dir = Dir::new();
        let words = "load --requests 100 --warmup 0 --concurrency 1 --max-tokens 1 --samples s.jsonl --endpoint";
        let output = Cmd::new(&dir).args(words.split(' ')).arg(url).ok();
        let report = Cmd::new(&dir).args(["report", "-i", "s.jsonl"]).ok();
        match line {
            Some(line) => {
                assert!(output.stdout.contains(line), "{output}");
                assert!(report.stdout.starts_with(line), "{report}");
            }
            None => assert!(
                !(output.stdout + &report.stdout).contains("FAILED"),
                "{report}"
            ),
        }
    }
}

#[test]
fn benchmark_replay_and_run_end_with_1_where_a_limit_is_missed() {
    for (words, place) in [
        (
            "benchmark --contexts 2 --input-length 50 --output-length 1 --max-inflight 1 --requests 8 --endpoint",
            "benchmark",
        ),
        (
            "replay --synthetic 8 --rounds 1 --max-output-tokens 1 --endpoint",
            "concurrency_1_round_1",
        ),
        (
            "run --workload short --requests 8 --endpoint",
            "short_input",
        ),
    ] {
        for (limit, option, is_missed) in [
            (["--max-error-rate", "0.25"], "--max-error-rate 0.25", false),
            (["--max-error-rate", "0.2"], "--max-error-rate 0.2", true),
            (
                ["--fail-if", "error_rate>=0.25"],
                "--fail-if error_rate>=0.25",
                true,
            ),
            (
                ["--fail-if", "failed_requests>2"],
                "--fail-if failed_requests>2",
                false,
            ),
        ] {
            // Requests 4 and 8 of 8 fail.
            let server = fails_each(4);
            let dir = Dir::new();
            let output = Cmd::new(&dir)
                .args(words.split(' '))
                .arg(format!("http://{}", server.addr()))
                .args(limit)
                .fails(i32::from(is_missed));
            let error = format!("[ERROR] {option}: {place}.error_rate is 0.250\n");
            assert_eq!(output.stderr.contains(&error), is_missed, "{output}");
        }
        let output = Cmd::new(&Dir::new())
            .args(words.split(' '))
            .args(["localhost:1", "--fail-if", "nowhere.error_rate>0"])
            .fails(2);
        let error = "[ERROR] --fail-if 'nowhere.error_rate>0': no such ";
        assert!(output.stderr.starts_with(error), "{output}");
        assert!(
            output.stderr.contains(&format!("want one of {place}")),
            "{output}"
        );
    }
}
