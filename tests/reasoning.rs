//! Replies that reason before they answer: the time to the first answer token, in every command that sends load.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, RawServer, Request};

const REASONING: Duration = Duration::from_millis(40);

fn event(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    format!("data: {}\n\n", json!({"choices": [choice]}))
}

fn head(kind: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}

/// Streams a reply: two reasoning tokens and a pause, if it reasons, then two tokens of the answer.
fn stream(to: &mut TcpStream, reasons: bool) -> std::io::Result<()> {
    let token = |key: &str| event(&json!({key: "w "}), None);
    let reasoning = match reasons {
        true => token("reasoning_content").repeat(2),
        false => String::new(),
    };
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 128, "completion_tokens": if reasons { 4 } else { 2 }}});
    let end = event(&json!({"content": "w"}), Some("length"));
    let answer = token("content");
    let rest = format!("{end}data: {usage}\n\ndata: [DONE]\n\n");
    let length = reasoning.len() + answer.len() + rest.len();
    // Else the second write waits for the receipt of the first.
    to.set_nodelay(true)?;
    to.write_all(head("text/event-stream", length).as_bytes())?;
    if reasons {
        to.write_all(reasoning.as_bytes())?;
        thread::sleep(REASONING);
    }
    to.write_all(answer.as_bytes())?;
    thread::sleep(Duration::from_millis(2));
    to.write_all(rest.as_bytes())
}

/// A chat server of which every second reply reasons, if any.
fn server(reasons: bool) -> RawServer {
    let replies = AtomicU64::new(0);
    RawServer::start(move |request: &Request, to| {
        let models = json!({"data": [{"id": "m"}]}).to_string();
        let sent = match (request.method.as_str(), request.path.contains("chat")) {
            ("POST", true) => stream(
                to,
                reasons && replies.fetch_add(1, Relaxed).is_multiple_of(2),
            ),
            _ => to.write_all((head("application/json", models.len()) + &models).as_bytes()),
        };
        // A client that has left does not matter.
        let _ = sent;
    })
}

/// Runs a command, and returns its output and its result.
fn ran(dir: &Dir, reasons: bool, words: &str) -> (Output, Value) {
    let server = server(reasons);
    let output = Cmd::new(dir)
        .args(words.split(' '))
        .args(["--samples", "s.jsonl", "--output", "r.json", "--endpoint"])
        .arg(format!("http://{}/v1/chat/completions", server.addr()))
        .ok();
    let result = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    (output, result)
}

/// Returns the means over measured requests of the time from the send to a stamp, in milliseconds.
fn mean_ms(dir: &Dir, stamp: &str) -> f64 {
    let text = dir.read("s.jsonl");
    let lines = text
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).expect("JSON") });
    let measured = lines.filter(|line| line["phase"] == "measured");
    let times = measured.map(|line| {
        let ns = |key: &str| line[key].as_u64().expect("a stamp") as f64;
        (ns(stamp) - ns("t_send_ns")) / 1e6
    });
    let times: Vec<f64> = times.collect();
    times.iter().sum::<f64>() / times.len() as f64
}

fn reported(dir: &Dir) -> String {
    Cmd::new(dir).args(["report", "-i", "s.jsonl"]).ok().stdout
}

const LOAD: &str = "load --concurrency 2 --requests 12 --warmup 0 --output-tokens 4";

#[test]
fn a_load_tells_the_time_to_the_first_answer_token() {
    let dir = Dir::new();
    let (output, result) = ran(&dir, true, LOAD);
    let spread = &result["distributions"]["time_to_answer"];
    assert_eq!(spread["n"], 12, "{output}");
    let (ttft, answer) = (mean_ms(&dir, "t_first_ns"), mean_ms(&dir, "t_answer_ns"));
    // Half of the replies reason for 40 ms.
    assert!(answer > ttft + 10.0, "{ttft} {answer}\n{output}");
    let printed = result["time_to_answer_avg_ms"].as_f64().expect("a time");
    assert!(
        (printed - answer).abs() < 1e-6,
        "{printed} {answer}\n{output}"
    );
    let row = |text: &str| {
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with("First answer token "));
        found.map(str::to_string)
    };
    let shown = row(&output.stdout).unwrap_or_else(|| panic!("no row\n{output}"));
    assert!(
        shown.contains(&format!(" {answer:.2} ")),
        "{answer}: {shown}"
    );
    assert_eq!(row(&reported(&dir)), Some(shown));
}

#[test]
fn a_benchmark_tells_the_time_to_the_first_answer_token() {
    let dir = Dir::new();
    let words = "benchmark --contexts 4 --max-inflight 2 --input-length 100 --output-length 4 --rotations 3";
    let (output, result) = ran(&dir, true, words);
    let summary = &result["summary"];
    assert_eq!(summary["time_to_answer"]["n"], 12, "{output}");
    let p99 = |key: &str| summary[key]["p99_s"].as_f64().expect("a time");
    assert!(p99("time_to_answer") > p99("ttft") + 0.02, "{output}");
    let row = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("to answer "))
            .map(str::to_string)
    };
    assert!(row(&output.stdout).is_some(), "{output}");
    assert_eq!(row(&output.stdout), row(&reported(&dir)));
}

#[test]
fn replies_that_do_not_reason_have_no_time_to_the_first_answer_token() {
    let dir = Dir::new();
    let (output, result) = ran(&dir, false, LOAD);
    assert_eq!(result["time_to_answer_avg_ms"], Value::Null, "{output}");
    assert_eq!(
        result["metric_sources"]["time_to_answer_avg_ms"],
        "not reported: no reply had reasoning before its answer, so it would be TTFT"
    );
    assert!(!output.stdout.contains("First answer token"), "{output}");
}
