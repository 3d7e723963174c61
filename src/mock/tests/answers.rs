//! Answers, faults and the truth log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mock::testing::{self, Reply, TruthFile, post, send, start};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A streamed request for `tokens` with usage, to either OpenAI route.
fn streamed(tokens: usize) -> String {
    format!(
        r#"{{"model":"tiny","prompt":"a b","messages":[{{"role":"user","content":"a b"}}],"max_tokens":{tokens},"stream":true,"stream_options":{{"include_usage":true}}}}"#
    )
}

/// The text and the finish reason of a stream.
fn text_of(reply: &Reply) -> (String, Value) {
    let events = reply.events();
    let choices = events.iter().map(|event| &event["choices"][0]);
    let text = |choice: &Value| {
        let text = choice["text"]
            .as_str()
            .or(choice["delta"]["content"].as_str());
        text.unwrap_or_default().to_string()
    };
    let finish = choices
        .clone()
        .map(|choice| choice["finish_reason"].clone())
        .find(|it| !it.is_null());
    (choices.map(text).collect(), finish.unwrap_or_default())
}

#[test]
fn a_streamed_answer_says_what_the_whole_one_says() {
    let mock = start(&[]);
    for (path, field) in [
        (COMPLETIONS, "/choices/0/text"),
        (CHAT, "/choices/0/message/content"),
    ] {
        let stream = post(&mock, path, &streamed(5));
        let whole =
            r#"{"prompt":"a b","messages":[{"role":"user","content":"a b"}],"max_tokens":5}"#;
        let whole = post(&mock, path, whole).json();
        let (text, finish) = text_of(&stream);
        assert_eq!(text.split_whitespace().count(), 5);
        assert_eq!(
            whole.pointer(field).and_then(Value::as_str),
            Some(text.as_str())
        );
        assert_eq!(
            (finish, &whole["choices"][0]["finish_reason"]),
            ("length".into(), &"length".into())
        );
        assert_eq!(
            stream.events().last().map(|event| &event["usage"]),
            Some(&whole["usage"])
        );
        assert_eq!(whole["usage"]["total_tokens"], 7);
    }
}

#[test]
fn a_stream_is_role_tokens_usage_and_done_a_chunk_each() {
    let mock = start(&[]);
    let reply = post(&mock, CHAT, &streamed(3));
    assert!(
        reply.is_whole && reply.head.contains("content-type: text/event-stream"),
        "{reply:?}"
    );
    assert!(
        reply
            .chunks
            .iter()
            .all(|chunk| chunk.starts_with(b"data: ") && chunk.ends_with(b"\n\n"))
    );
    assert_eq!((reply.chunks.len(), reply.events().len()), (6, 5));
    assert!(reply.body.ends_with("data: [DONE]\n\n"));
    let events = reply.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[4]["choices"], Value::Array(Vec::new()));
    assert_eq!(events[4]["usage"]["completion_tokens"], 3);
}

#[test]
fn continuous_usage_counts_the_tokens_so_far() {
    let mock = start(&[]);
    let body = streamed(3).replace(
        "\"include_usage\":true",
        "\"include_usage\":true,\"continuous_usage_stats\":true",
    );
    let events = post(&mock, COMPLETIONS, &body).events();
    let counts: Vec<_> = events
        .iter()
        .map(|event| event["usage"]["completion_tokens"].as_u64())
        .collect();
    assert_eq!(counts, [Some(1), Some(2), Some(3), Some(3)]);
}

#[test]
fn generate_answers_text_and_cached() {
    let mock = start(&[]);
    let whole = post(
        &mock,
        "/generate",
        r#"{"prompt":"a b","max_tokens":4,"temperature":0}"#,
    )
    .json();
    let stream = post(
        &mock,
        "/generate",
        r#"{"prompt":"a b","max_tokens":4,"stream":true}"#,
    );
    let text: String = stream
        .events()
        .iter()
        .filter_map(|event| event["text"].as_str().map(str::to_string))
        .collect();
    assert_eq!(
        (whole["text"].as_str(), &whole["cached"]),
        (Some(text.as_str()), &Value::Bool(false))
    );
    assert_eq!(text.split_whitespace().count(), 4);
    assert_eq!(stream.events()[4]["cached"], false);
}

#[test]
fn the_truth_log_tells_due_and_written_times_and_hits() {
    let file = TruthFile::new();
    let mock = start(&[
        ("truth_log", file.path()),
        ("block_tokens", "1"),
        ("prefill_rate", "1k"),
    ]);
    send(
        &mock,
        "POST /v1/completions",
        "x-request-id: run-1\r\n",
        &streamed(3),
    );
    let second = send(
        &mock,
        "POST /v1/completions",
        "x-request-id: run-2\r\n",
        &streamed(3),
    );
    let lines = file.lines();
    assert_eq!(
        (&lines[0]["id"], &lines[1]["id"]),
        (&"run-1".into(), &"run-2".into())
    );
    let times = |line: &Value, key: &str| -> Vec<u64> {
        line[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect()
    };
    for (line, uncached) in lines.iter().zip([2, 1]) {
        let (due, written) = (times(line, "t_due_ns"), times(line, "t_written_ns"));
        // 1 ms for each token computed, 1 ms base, then 1 ms a token.
        let read = line["t_read_ns"].as_u64().expect("it was read");
        let expected: Vec<u64> = (0..3)
            .map(|k| read + (uncached + 1 + k) * 1_000_000)
            .collect();
        assert_eq!(due, expected);
        assert!(
            written.len() == 3
                && written
                    .iter()
                    .zip(&due)
                    .all(|(written, due)| written >= due),
            "{line}"
        );
        assert_eq!(
            (&line["prompt_tokens"], &line["output_tokens"]),
            (&2.into(), &3.into())
        );
        assert_eq!(line["hit_tier1_tokens"], 2 - uncached);
        assert_eq!(
            (&line["first_word"], &line["aborted"]),
            (&"a".into(), &false.into())
        );
    }
    let usage = &second.events()[3]["usage"];
    assert_eq!(
        usage["prompt_tokens_details"]["cached_tokens"],
        lines[1]["hit_tier1_tokens"]
    );
}

/// Waits until it is so; fails after 4 s.
fn wait_until(is_so: impl Fn() -> bool) {
    let given_up = Instant::now() + Duration::from_secs(4);
    while !is_so() {
        assert!(Instant::now() < given_up, "it has not come to be so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_that_hangs_up_on_a_plain_reply_ends_its_generation() {
    let file = TruthFile::new();
    // One request runs at a time, and the first would take an hour.
    let mock = start(&[
        ("truth_log", file.path()),
        ("max_running", "1"),
        ("faults", "stop:1@2"),
        ("itl", "1h"),
    ]);
    let ask = r#"{"prompt":"a b","max_tokens":2}"#;
    let client = testing::ask(&mock, &format!("POST {COMPLETIONS}"), "", ask);
    let running = |n: u64| {
        let line = format!("num_requests_running{{engine=\"0\",model_name=\"tiny\"}} {n}.0\n");
        send(&mock, "GET /metrics", "", "").body.contains(&line)
    };
    wait_until(|| running(1));
    drop(client);
    wait_until(|| !file.lines().is_empty());
    let line = &file.lines()[0];
    assert_eq!(
        (&line["aborted"], &line["status"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(line["t_written_ns"], Value::Array(Vec::new()));
    assert_eq!(line["output_tokens"], 2);
    assert!(running(0));
    let metrics = send(&mock, "GET /metrics", "", "").body;
    assert!(
        metrics.contains("prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 0.0\n"),
        "{metrics}"
    );
    // Its place is free: the next one, of one token, does not wait an hour.
    let next = post(&mock, COMPLETIONS, ask).json();
    assert_eq!(next["usage"]["completion_tokens"], 1);
}

#[test]
fn a_client_that_hangs_up_before_a_stream_of_one_token_has_no_answer() {
    let file = TruthFile::new();
    let mock = start(&[("truth_log", file.path()), ("base", "50ms")]);
    let mut client = testing::ask(&mock, &format!("POST {COMPLETIONS}"), "", &streamed(1));
    client
        .read_exact(&mut [0; 15])
        .expect("the head comes at once");
    drop(client);
    wait_until(|| !file.lines().is_empty());
    let line = &file.lines()[0];
    assert_eq!(
        (&line["aborted"], &line["status"]),
        (&true.into(), &200.into())
    );
    assert_eq!(line["t_written_ns"], Value::Array(Vec::new()));
    let metrics = send(&mock, "GET /metrics", "", "").body;
    assert!(
        metrics.contains("generation_tokens_total{engine=\"0\",model_name=\"tiny\"} 0.0\n"),
        "{metrics}"
    );
}

#[test]
fn a_client_that_sends_its_next_request_early_has_not_hung_up() {
    let file = TruthFile::new();
    let mock = start(&[("truth_log", file.path()), ("itl", "20ms")]);
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    let body = r#"{"prompt":"a b","max_tokens":2}"#;
    let length = body.len();
    let request = |close| {
        format!("POST {COMPLETIONS} HTTP/1.1\r\n{close}content-length: {length}\r\n\r\n{body}")
    };
    let both = request("") + &request("connection: close\r\n");
    client.write_all(both.as_bytes()).expect("it reads");
    let mut text = String::new();
    client.read_to_string(&mut text).expect("it answers");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    let aborted: Vec<Value> = file
        .lines()
        .iter()
        .map(|line| line["aborted"].clone())
        .collect();
    assert_eq!(aborted, [false, false]);
}

#[test]
fn a_client_that_hangs_up_is_logged_and_leaves_nothing_behind() {
    let file = TruthFile::new();
    let mock = start(&[("truth_log", file.path()), ("itl", "5ms")]);
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    let body = streamed(1000);
    let request = format!(
        "POST {COMPLETIONS} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).expect("it reads");
    client.read_exact(&mut [0; 200]).expect("it answers");
    drop(client);
    wait_until(|| !file.lines().is_empty());
    let line = &file.lines()[0];
    assert_eq!(line["aborted"], true);
    assert!(
        line["t_written_ns"]
            .as_array()
            .is_some_and(|times| times.len() < 1000)
    );
    let metrics = send(&mock, "GET /metrics", "", "").body;
    assert!(
        metrics.contains("num_requests_running{engine=\"0\",model_name=\"tiny\"} 0.0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 0.0\n"),
        "{metrics}"
    );
}

#[test]
fn faults_before_an_answer_give_their_status_or_nothing() {
    let file = TruthFile::new();
    let mock = start(&[
        ("faults", "refuse@1;http:503@2;busy:7@3"),
        ("truth_log", file.path()),
    ]);
    assert_eq!(post(&mock, COMPLETIONS, &streamed(3)).head, "");
    assert!(post(&mock, COMPLETIONS, &streamed(3)).starts("HTTP/1.1 503 Service Unavailable\r\n"));
    let busy = post(&mock, COMPLETIONS, &streamed(3));
    assert!(
        busy.starts("HTTP/1.1 429 Too Many Requests\r\n")
            && busy.head.contains("\r\nretry-after: 7\r\n")
    );
    assert_eq!(text_of(&post(&mock, COMPLETIONS, &streamed(3))).1, "length");
    let of =
        |key: &str| -> Vec<Value> { file.lines().iter().map(|line| line[key].clone()).collect() };
    assert_eq!(
        of("status"),
        [Value::Null, 503.into(), 429.into(), 200.into()]
    );
    assert_eq!(
        of("fault"),
        ["refuse".into(), "http".into(), "busy".into(), Value::Null]
    );
}

#[test]
fn a_reset_cuts_the_body_after_its_tokens() {
    let mock = start(&[("faults", "reset:2")]);
    let reply = post(&mock, COMPLETIONS, &streamed(5));
    assert_eq!((reply.events().len(), reply.is_whole), (2, false));
    let whole = post(&mock, COMPLETIONS, r#"{"prompt":"a"}"#);
    assert!(whole.starts("HTTP/1.1 200 OK\r\n") && !whole.is_whole && !whole.body.is_empty());
}

#[test]
fn a_stall_falls_silent_and_stays_open() {
    let mock = start(&[("faults", "stall:1")]);
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    let body = streamed(5);
    let request = format!(
        "POST {COMPLETIONS} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).expect("it reads");
    let mut text = Vec::new();
    while !text.ends_with(b"\n\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an event comes");
        text.extend(byte);
    }
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("it is not zero");
    let error = client.read_exact(&mut [0]).expect_err("nothing more comes");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(String::from_utf8_lossy(&text).matches("data: ").count(), 1);
}

#[test]
fn an_error_event_is_followed_by_done_and_a_proper_end() {
    let mock = start(&[("faults", "error:2")]);
    let reply = post(&mock, COMPLETIONS, &streamed(5));
    let events = reply.events();
    assert_eq!(
        (events.len(), &events[2]["error"]["code"]),
        (3, &500.into())
    );
    assert!(reply.is_whole && reply.body.ends_with("data: [DONE]\n\n"));
    assert!(post(&mock, COMPLETIONS, r#"{"prompt":"a"}"#).starts("HTTP/1.1 500 "));
}

#[test]
fn faults_of_a_stream_change_its_shape_and_nothing_else() {
    let shape = |fault: &str, path: &str| {
        let reply = post(&start(&[("faults", fault)]), path, &streamed(9));
        assert!(reply.is_whole, "{fault}: {reply:?}");
        reply
    };
    let plain = text_of(&shape("", COMPLETIONS));
    let reply = shape("no_done", COMPLETIONS);
    assert!(!reply.body.contains("[DONE]") && text_of(&reply) == plain);
    let reply = shape("no_usage", COMPLETIONS);
    assert!(!reply.body.contains("usage") && text_of(&reply) == plain);
    let events = shape("zero_usage", COMPLETIONS).events();
    assert!(
        events.len() == 10
            && events
                .iter()
                .all(|event| event["usage"]["total_tokens"] == 0)
    );
    assert!(!shape("no_role", CHAT).body.contains("role"));
    // 1 token, then 8 by fours: 3 events with text, and usage.
    let reply = shape("chunk:4", COMPLETIONS);
    assert!(reply.events().len() == 4 && text_of(&reply) == plain);
    let reply = shape("split:3", COMPLETIONS);
    assert!(reply.chunks[..20].iter().all(|chunk| chunk.len() == 3) && text_of(&reply) == plain);
    let reply = shape("keepalive:2", COMPLETIONS);
    assert!(
        reply
            .body
            .starts_with(": keepalive 1/2\n\n: keepalive 2/2\n\ndata: ")
            && text_of(&reply) == plain
    );
    let events = shape("bad_json:4", COMPLETIONS).events();
    assert_eq!(events.iter().position(Value::is_null), Some(4));
    let reply = shape("stop:5", COMPLETIONS);
    let (text, finish) = text_of(&reply);
    assert_eq!(
        (text.split_whitespace().count(), finish),
        (4, "stop".into())
    );
    assert_eq!(reply.events()[5]["usage"]["completion_tokens"], 5);
}

#[test]
fn a_warm_answer_has_the_words_of_the_cold_one_unless_the_cache_is_broken() {
    for (corrupt_hits, are_equal) in [("0", true), ("100", false)] {
        let file = TruthFile::new();
        let mock = start(&[
            ("block_tokens", "1"),
            ("corrupt_hits", corrupt_hits),
            ("truth_log", file.path()),
        ]);
        for path in [COMPLETIONS, CHAT] {
            let texts = [(); 3].map(|()| text_of(&post(&mock, path, &streamed(6))).0);
            let words = texts
                .each_ref()
                .map(|text| text.split(' ').collect::<Vec<_>>());
            // A blank is in front of each of the six words.
            assert_eq!(words.each_ref().map(Vec::len), [7; 3]);
            let equal = (1..7).filter(|k| words[0][*k] == words[1][*k]).count();
            assert_eq!(equal, if are_equal { 6 } else { 0 }, "{texts:?}");
            // What is wrong is wrong in the same way each time.
            assert_eq!(words[1], words[2]);
        }
        let lines = file.lines();
        let corrupt: Vec<_> = lines
            .iter()
            .map(|line| line.get("corrupt").is_some())
            .collect();
        let of_a_path = [false, !are_equal, !are_equal];
        assert_eq!(corrupt, [of_a_path; 2].concat());
    }
}
