//! Servers that count only some of their replies, or count what cannot be: in every command.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Output, RawServer, Request};

/// The words that are asked for, but for those of `run`.
const WORDS: u64 = 40;

fn answer(stream: &mut TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that has left does not matter.
    let _ = stream.write_all((head + &body).as_bytes());
}

/// A server that streams nothing. `usage` gives the counts of the n-th reply beside the set-up's, from 0, which has so
/// many words; null for none.
fn plain_server(usage: impl Fn(u64, u64) -> Value + Send + Sync + 'static) -> RawServer {
    let replies = AtomicU64::new(0);
    RawServer::start(move |request: &Request, stream| {
        if request.path.ends_with("/models") {
            return answer(stream, "200 OK", &json!({"data": [{"id": "m"}]}));
        }
        if request.method != "POST" || request.path.contains("tokenize") {
            return answer(stream, "404 Not Found", &json!({}));
        }
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let words = asked["max_tokens"].as_u64().unwrap_or(WORDS);
        let text = "w ".repeat(usize::try_from(words).expect("few words"));
        let is_setup = request
            .header("x-request-id")
            .is_some_and(|id| id.contains("setup"));
        let usage = match is_setup {
            true => json!({"prompt_tokens": 100, "completion_tokens": words}),
            false => usage(replies.fetch_add(1, Relaxed), words),
        };
        let choice = match request.path.contains("chat") {
            true => json!({"index": 0, "message": {"content": text}, "finish_reason": "length"}),
            false => json!({"index": 0, "text": text, "finish_reason": "length"}),
        };
        let mut body = json!({"choices": [choice]});
        if !usage.is_null() {
            body["usage"] = usage;
        }
        answer(stream, "200 OK", &body);
    })
}

/// The output of a command, and its figures.
struct Ran {
    output: Output,
    /// The object with the figures of all kinds.
    detail: Value,
    /// Words of a reply.
    words: u64,
    throughput: f64,
    duration_s: f64,
    prompt_tokens: f64,
}

impl Ran {
    /// Asserts that the throughput is that of the words of so many replies.
    fn has_tokens_of(&self, replies: u64) {
        let tokens = self.throughput * self.duration_s;
        let of = (replies * self.words) as f64;
        let output = &self.output;
        assert!(
            (tokens / of - 1.0).abs() < 1e-6,
            "{tokens} of {of}\n{output}"
        );
    }
}

/// Runs each command with forty replies.
fn every_command(server: &RawServer) -> [Ran; 4] {
    let dir = Dir::new();
    let url = format!("http://{}", server.addr());
    let session = json!({"user_messages": ["one two three four"]});
    dir.write("d.jsonl", format!("{session}\n").repeat(40));
    // The words, the file, and the way to the object with its figures; benchmark has names of its own for three.
    let detail = ["token_throughput", "test_duration_s", "avg_input_tokens"];
    let own = ["output_tokens_per_s", "elapsed_s", "prompt_tokens_mean"];
    [
        (
            "benchmark --contexts 4 --input-length 50 --output-length 40 --requests 40 --output b.json",
            "b.json",
            "summary",
            own,
        ),
        (
            "load --concurrency 2 --requests 40 --output-tokens 40 --output l.json",
            "l.json",
            "detail",
            detail,
        ),
        (
            "replay --dataset d.jsonl --concurrency 2 --rounds 1 --max-output-tokens 40 --output-dir r",
            "r/concurrency_2_round_1.json",
            "summary",
            detail,
        ),
        (
            "run --workload short --requests 40 --output f",
            "f/short_input_metrics.json",
            "detail",
            detail,
        ),
    ]
    .map(|(words, file, object, keys)| {
        let args = words.split(' ');
        let output = Cmd::new(&dir).args(args).args(["--endpoint", &url]).ok();
        let file: Value = serde_json::from_str(&dir.read(file)).expect("JSON");
        let detail = file[object].clone();
        let number = |key: &str| detail[key].as_f64().unwrap_or_else(|| panic!("{key}: {output}"));
        let [throughput, duration_s, prompt_tokens] = keys.map(number);
        Ran {
            words: if words.starts_with("run") { 128 } else { WORDS },
            throughput,
            duration_s,
            prompt_tokens,
            detail,
            output,
        }
    })
}

#[test]
fn replies_without_a_count_are_counted_in_every_command() {
    let server = plain_server(|n, words| match n % 2 {
        0 => json!({"prompt_tokens": 100, "completion_tokens": words}),
        _ => Value::Null,
    });
    for ran in every_command(&server) {
        // The server has no /tokenize, but every text is as long as those that it counted.
        let wanted = json!({"usage": 20, "estimate": 20});
        assert_eq!(ran.detail["token_sources"], wanted, "{}", ran.output);
        ran.has_tokens_of(40);
    }
}

#[test]
fn counts_that_cannot_be_are_in_no_figure_of_any_command_and_said_once() {
    let server = plain_server(|n, words| match n % 4 {
        0 => json!({"prompt_tokens": 100, "completion_tokens": words,
            "prompt_tokens_details": {"cached_tokens": 10_000}}),
        1 => json!({"prompt_tokens": 4_000_000_000_u64, "completion_tokens": words}),
        2 => json!({"prompt_tokens": 100, "completion_tokens": 4_000_000_000_u64}),
        _ => json!({"prompt_tokens": 100, "completion_tokens": words,
            "prompt_tokens_details": {"cached_tokens": 50}}),
    });
    for ran in every_command(&server) {
        let said = "of 40 replies carry counts of tokens that cannot be";
        assert_eq!(ran.output.stdout.matches(said).count(), 1, "{}", ran.output);
        // Three of four replies count a prompt of 100 tokens, and one of these tells of 50 that were cached.
        let rate = ran.detail["prefix_cache_hit_rate"].as_f64();
        let is_sixth = rate.is_some_and(|rate| (rate - 1.0 / 6.0).abs() < 1e-9);
        assert!(is_sixth, "{rate:?}\n{}", ran.output);
        assert_eq!(ran.prompt_tokens, 100.0, "{}", ran.output);
        // Three of four replies have a count of their words.
        ran.has_tokens_of(30);
    }
}
