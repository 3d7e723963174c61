//! The response cache of `/generate`, as its clients see it.

use crate::mock::Mock;
use crate::mock::testing::{Reply, TruthFile, ask, post, reply, send, start};

const GENERATE: &str = "/generate";
const ASK: &str = r#"{"prompt":"a b c","max_tokens":4,"temperature":0.0}"#;

/// What each request's answer says of itself, in turn.
fn cached(mock: &Mock, bodies: &[&str]) -> Vec<bool> {
    let is_cached = |reply: Reply| reply.json()["cached"] == true;
    bodies
        .iter()
        .map(|body| is_cached(post(mock, GENERATE, body)))
        .collect()
}

#[test]
fn a_prompt_asked_again_gets_the_same_answer_from_the_cache() {
    let mock = start(&[]);
    let first = post(&mock, GENERATE, ASK).json();
    let second = post(&mock, GENERATE, ASK).json();
    assert_eq!(
        (&first["cached"], &second["cached"]),
        (&false.into(), &true.into())
    );
    assert_eq!(first["text"], second["text"]);
    assert_eq!(second.as_object().map(serde_json::Map::len), Some(2));
    let stream = post(
        &mock,
        GENERATE,
        &ASK.replace("\"max", "\"stream\":true,\"max"),
    );
    let events = stream.events();
    let text: String = events
        .iter()
        .filter_map(|event| event["text"].as_str())
        .collect();
    // 4 tokens and the closing event.
    assert_eq!(
        (events.len(), text.as_str()),
        (5, second["text"].as_str().unwrap_or(""))
    );
    assert_eq!(events[4]["cached"], true);
    assert!(stream.is_whole && stream.body.ends_with("data: [DONE]\n\n"));
}

#[test]
fn another_prompt_length_or_temperature_is_a_miss() {
    let mock = start(&[]);
    let bodies = [
        ASK,
        r#"{"prompt":"a b  c","max_tokens":4,"temperature":0.0}"#,
        r#"{"prompt":"a b c","max_tokens":5,"temperature":0.0}"#,
        r#"{"prompt":"a b c","max_tokens":4,"temperature":0.7}"#,
        r#"{"prompt":"a b c","max_tokens":4}"#,
    ];
    assert_eq!(cached(&mock, &bodies), [false; 5]);
    assert_eq!(cached(&mock, &bodies), [true; 5]);
    let off = start(&[("response_cache", "0")]);
    assert_eq!(cached(&off, &[ASK, ASK]), [false; 2]);
}

#[test]
fn two_requests_at_once_for_one_prompt_are_both_misses() {
    let mock = start(&[("base", "200ms")]);
    let connections = [0; 2].map(|_| ask(&mock, "POST /generate", "", ASK));
    let replies = connections.map(|connection| reply(connection).json());
    assert!(replies.iter().all(|reply| reply["cached"] == false));
    assert_eq!(cached(&mock, &[ASK]), [true]);
}

#[test]
fn the_answer_used_least_lately_makes_room() {
    let mock = start(&[("response_cache", "2")]);
    let [a, b, c] = ["a", "b", "c"].map(|prompt| format!(r#"{{"prompt":"{prompt}"}}"#));
    // Held after each, newest first: a, ba, ab, ca, bc, ab.
    let asked = [&a, &b, &a, &c, &b, &a].map(String::as_str);
    let hits = [false, false, true, false, false, false];
    assert_eq!(cached(&mock, &asked), hits);
}

#[test]
fn only_an_answer_that_was_written_whole_is_taken_in() {
    let mock = start(&[("faults", "reset@1;error@2;http@3;refuse@4;stop:3@5")]);
    let streamed = r#"{"prompt":"a b c","max_tokens":4,"stream":true,"temperature":0}"#;
    for _ in 0..4 {
        post(&mock, GENERATE, streamed);
    }
    let stopped = post(&mock, GENERATE, ASK).json();
    let held = post(&mock, GENERATE, ASK).json();
    assert_eq!(
        (&stopped["cached"], &held["cached"]),
        (&false.into(), &true.into())
    );
    // 3 tokens, the last of them an end of sequence.
    let words = |text: &str| text.split_whitespace().count();
    assert_eq!(held["text"].as_str().map(words), Some(2));
    assert_eq!(held["text"], stopped["text"]);
}

#[test]
fn faults_hit_cached_answers_too() {
    let mock = start(&[("faults", "reset:2@2;http:503@3;bad_json@4")]);
    let streamed = ASK.replace("\"max", "\"stream\":true,\"max");
    assert_eq!(cached(&mock, &[ASK]), [false]);
    let reset = post(&mock, GENERATE, &streamed);
    assert_eq!((reset.events().len(), reset.is_whole), (2, false));
    assert!(post(&mock, GENERATE, ASK).starts("HTTP/1.1 503 "));
    let broken = post(&mock, GENERATE, ASK).body;
    assert!(broken.ends_with("\"cached\":true"), "{broken}");
}

#[test]
fn a_hit_is_due_at_base_all_at_once_and_the_engine_has_no_part_in_it() {
    let truth = TruthFile::new();
    let mock = start(&[
        ("truth_log", truth.path()),
        ("block_tokens", "1"),
        ("prefill_rate", "1k"),
        ("base", "2ms"),
        ("api_key", "k"),
        ("faults", "http@4"),
    ]);
    let key = "authorization: Bearer k\r\n";
    assert!(post(&mock, GENERATE, ASK).starts("HTTP/1.1 401 "));
    let other = ASK.replace("a b c", "a b d");
    for body in [ASK, ASK, &other, ASK] {
        send(&mock, "POST /generate", key, body);
    }
    send(&mock, "POST /v1/completions", key, ASK);
    let lines = truth.lines();
    let after_read_us = |k: usize| -> Vec<u64> {
        let read = lines[k]["t_read_ns"].as_u64().unwrap_or_default();
        let due = lines[k]["t_due_ns"].as_array().into_iter().flatten();
        due.filter_map(|due| Some((due.as_u64()? - read) / 1_000))
            .collect()
    };
    // 3 tokens at 1/ms and 2 ms, then 1 ms a token; the hit: 2 ms; "d" alone is computed: 1 + 2 ms.
    assert_eq!(after_read_us(0), [5_000, 6_000, 7_000, 8_000]);
    assert_eq!(after_read_us(1), [2_000; 4]);
    assert_eq!(after_read_us(2), [3_000, 4_000, 5_000, 6_000]);
    let of = |name: &str| -> Vec<serde_json::Value> {
        lines.iter().map(|line| line[name].clone()).collect()
    };
    let null = serde_json::Value::Null;
    assert_eq!(
        of("response_cached"),
        [
            false.into(),
            true.into(),
            false.into(),
            null.clone(),
            null.clone()
        ]
    );
    assert_eq!(
        of("hit_tier1_tokens"),
        [0.into(), null.clone(), 2.into(), null.clone(), 2.into()]
    );
    assert_eq!(
        of("prompt_tokens"),
        [3.into(), 3.into(), 3.into(), null, 3.into()]
    );
    let metrics = send(&mock, "GET /metrics", key, "").body;
    // The hit's 3 are not among the 9.
    let line = "\nvllm:prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} 9.0\n";
    assert!(metrics.contains(line), "{metrics}");
}
