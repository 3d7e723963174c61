//! What a freeze does to streams, requests and errors.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mock::testing::{TruthFile, ask, post, reply, start};

const COMPLETIONS: &str = "/v1/completions";
const STREAMED: &str = r#"{"prompt":"a b","max_tokens":20,"stream":true}"#;
const US: u64 = 1_000;
const MS: u64 = 1_000_000;

fn times_ns(line: &Value, key: &str) -> Vec<u64> {
    let times = line[key].as_array().into_iter().flatten();
    times.filter_map(Value::as_u64).collect()
}

#[test]
fn a_stream_has_one_gap_longer_by_the_window_and_the_others_as_before() {
    let truth = TruthFile::new();
    let mock = start(&[
        ("truth_log", truth.path()),
        ("prefill_rate", "2k"),
        ("itl", "5ms"),
        ("freeze_at", "54ms"),
        ("freeze_for", "300ms"),
    ]);
    let reply = post(&mock, COMPLETIONS, STREAMED);
    assert_eq!((reply.is_whole, reply.events().len()), (true, 20));
    let line = &truth.lines()[0];
    let read_ns = line["t_read_ns"].as_u64().expect("it was read");
    let due_ns = times_ns(line, "t_due_ns");
    // 2 tokens at 2/ms and 1 ms, then every 5 ms: the eleventh at 52 ms, the twelfth at 57 + 300 ms.
    assert_eq!(due_ns[0], read_ns + 2 * MS);
    let gaps_ms: Vec<u64> = due_ns
        .windows(2)
        .map(|two| (two[1] - two[0]) / MS)
        .collect();
    let mut expected = vec![5; 19];
    expected[10] = 305;
    assert_eq!(gaps_ms, expected);
    let written_ns = times_ns(line, "t_written_ns");
    let early = written_ns
        .iter()
        .zip(&due_ns)
        .find(|(written, due)| written < due);
    assert_eq!(early, None);
    // To stamp a write takes a moment after it was allowed.
    let frozen = read_ns + 54 * MS + 500 * US..read_ns + 354 * MS;
    assert!(!written_ns.iter().any(|ns| frozen.contains(ns)), "{line}");
}

#[test]
fn what_arrives_in_the_window_is_answered_after_it() {
    let truth = TruthFile::new();
    let asked = Instant::now();
    let mock = start(&[
        ("truth_log", truth.path()),
        ("prefill_rate", "2k"),
        ("freeze_at", "20ms"),
        ("freeze_for", "300ms"),
    ]);
    let first = ask(
        &mock,
        "POST /v1/completions",
        "x-request-id: 1\r\n",
        STREAMED,
    );
    std::thread::sleep(Duration::from_millis(60));
    let second = ask(&mock, "POST /generate", "x-request-id: 2\r\n", STREAMED);
    let health = ask(&mock, "GET /health", "", "");
    assert!(reply(health).starts("HTTP/1.1 200 OK\r\n"));
    assert!(asked.elapsed() >= Duration::from_millis(320));
    assert!(reply(first).is_whole && reply(second).is_whole);
    let lines = truth.lines();
    let of = |id: &str| {
        let line = lines
            .iter()
            .find(|line| line["id"] == id)
            .expect("it is logged");
        let read_ns = line["t_read_ns"].as_u64().expect("it was read");
        (
            read_ns,
            times_ns(line, "t_due_ns"),
            times_ns(line, "t_written_ns"),
        )
    };
    let ((first_read_ns, ..), (read_ns, due_ns, written_ns)) = (of("1"), of("2"));
    let end_ns = first_read_ns + 320 * MS;
    assert!((end_ns - 300 * MS..end_ns).contains(&read_ns));
    // 2 tokens at 2/ms and 1 ms.
    assert_eq!(due_ns[0], end_ns + 2 * MS);
    assert!(written_ns[0] >= due_ns[0]);
}

#[test]
fn errors_and_comments_wait_for_the_end_as_well() {
    for fault in ["http", "refuse"] {
        let asked = Instant::now();
        let mock = start(&[("freeze_for", "100ms"), ("faults", fault)]);
        assert!(!post(&mock, "/generate", STREAMED).starts("HTTP/1.1 200"));
        assert!(asked.elapsed() >= Duration::from_millis(100), "{fault}");
    }
    let asked = Instant::now();
    let mock = start(&[
        ("freeze_at", "30ms"),
        ("freeze_for", "100ms"),
        ("base", "60ms"),
        ("faults", "keepalive:3"),
    ]);
    let mut connection = ask(&mock, "POST /generate", "", STREAMED);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("the head comes");
        head.extend(byte);
    }
    // Three comments over 160 ms: at 40 and 80 ms, which is in the window, and at 120.
    connection.read_exact(&mut [0]).expect("a comment comes");
    assert!(asked.elapsed() >= Duration::from_millis(130));
}
