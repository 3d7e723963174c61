//! Streams keep their schedule and their bytes, whatever their clients do.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mock::Mock;
use crate::mock::testing::{Reply, TruthFile, ask, post, reply, send, start};

const COMPLETIONS: &str = "/v1/completions";
const SLOW_TOKENS: usize = 500;

fn streamed(tokens: usize) -> String {
    format!(r#"{{"prompt":"a b","max_tokens":{tokens},"stream":true}}"#)
}

/// A mock whose events are of 64 KiB, because each carries the model's name.
fn start_large(truth: &TruthFile) -> Mock {
    start(&[
        ("model", &"m".repeat(64 << 10)),
        ("truth_log", truth.path()),
    ])
}

/// Asks for 32 MB, many times what a connection's buffers take, at an event a millisecond.
fn ask_slowly(mock: &Mock) -> TcpStream {
    let line = format!("POST {COMPLETIONS}");
    ask(
        mock,
        &line,
        "x-request-id: slow\r\n",
        &streamed(SLOW_TOKENS),
    )
}

/// Reads one answer after another until the slow client's would have ended.
fn read_others(mock: &Mock) -> Vec<Reply> {
    let asked = Instant::now();
    let mut replies = Vec::new();
    while asked.elapsed() < Duration::from_millis(SLOW_TOKENS as u64 + 50) {
        replies.push(post(mock, COMPLETIONS, &streamed(20)));
    }
    replies
}

fn text_of(reply: &Reply) -> String {
    let events = reply.events();
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str());
    texts.collect()
}

fn times_ns(line: &Value, key: &str) -> Vec<u64> {
    let times = line[key].as_array().into_iter().flatten();
    times.filter_map(Value::as_u64).collect()
}

#[test]
fn streams_keep_their_schedule_while_a_client_does_not_read() {
    let truth = TruthFile::new();
    let mock = start_large(&truth);
    let slow = ask_slowly(&mock);
    let replies = read_others(&mock);
    assert!(replies.iter().all(|reply| reply.is_whole));
    let lines = truth.lines();
    assert_eq!(lines.len(), replies.len(), "the slow one has not ended");
    let mut late_ns: Vec<u64> = lines
        .iter()
        .flat_map(|line| {
            let (due, written) = (times_ns(line, "t_due_ns"), times_ns(line, "t_written_ns"));
            assert_eq!((due.len(), written.len()), (20, 20));
            written.into_iter().zip(due)
        })
        .map(|(written, due)| written - due)
        .collect();
    late_ns.sort_unstable();
    let median_ns = late_ns[late_ns.len() / 2];
    assert!(median_ns < 50_000_000, "{median_ns} ns late");
    drop(slow);
}

#[test]
fn a_client_that_reads_late_gets_every_byte() {
    let truth = TruthFile::new();
    let mock = start_large(&truth);
    let slow = ask_slowly(&mock);
    let others = read_others(&mock).len();
    assert_eq!(truth.lines().len(), others, "its answer waits for it");
    let slow = reply(slow);
    let body = streamed(SLOW_TOKENS).replace(",\"stream\":true", "");
    let whole = post(&mock, COMPLETIONS, &body).json();
    assert!(slow.is_whole && slow.body.ends_with("\n\ndata: [DONE]\n\n"));
    assert_eq!(slow.chunks.len(), SLOW_TOKENS + 1);
    assert!(
        slow.chunks
            .iter()
            .all(|chunk| chunk.starts_with(b"data: ") && chunk.ends_with(b"\n\n"))
    );
    assert_eq!(whole["choices"][0]["text"], text_of(&slow));
    let lines = truth.lines();
    let line = lines.iter().find(|line| line["id"] == "slow");
    let line = line.expect("it is in the log once its answer is whole");
    assert_eq!(times_ns(line, "t_written_ns").len(), SLOW_TOKENS);
    assert_eq!(line["aborted"], false);
}

#[test]
fn an_answer_is_whole_whatever_its_pace() {
    for (base, itl, jitter, tokens) in [
        ("0s", "0s", "0s", 40),
        ("0s", "1ms", "0s", 40),
        ("5ms", "0s", "0s", 40),
        ("1ms", "10us", "1ms", 40),
        // To write so many takes longer than the pacing thread may be late.
        ("1ms", "0s", "0s", 20_000),
    ] {
        let mock = start(&[("base", base), ("itl", itl), ("jitter", jitter)]);
        let body = streamed(tokens);
        let whole = post(&mock, COMPLETIONS, &body.replace(",\"stream\":true", ""));
        let stream = post(&mock, COMPLETIONS, &body);
        assert!(stream.is_whole, "{base} {itl} {jitter}");
        assert_eq!(whole.json()["choices"][0]["text"], text_of(&stream));
    }
}

#[test]
fn what_waits_when_the_server_stops_is_logged_as_aborted() {
    let truth = TruthFile::new();
    let mock = start(&[("base", "1h"), ("truth_log", truth.path())]);
    let waiting = ask(
        &mock,
        &format!("POST {COMPLETIONS}"),
        "x-request-id: waiting\r\n",
        &streamed(5),
    );
    let running = "num_requests_running{engine=\"0\",model_name=\"tiny\"} 1.0\n";
    wait_until(|| send(&mock, "GET /metrics", "", "").body.contains(running));
    drop(mock);
    wait_until(|| !truth.lines().is_empty());
    let line = &truth.lines()[0];
    assert_eq!(
        (&line["id"], &line["aborted"]),
        (&"waiting".into(), &true.into())
    );
    drop(waiting);
}

fn wait_until(is_so: impl Fn() -> bool) {
    let given_up = Instant::now() + Duration::from_secs(4);
    while !is_so() {
        assert!(Instant::now() < given_up, "it does not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}
