//! Odd replies that servers send, one a line of tests/data/replies.jsonl: its bytes, one a character, and the right
//! values, which were worked out by hand.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};

use super::{Cut, NO_HURRY, read_request, target, turn, write_cut};
use crate::client::Client;
use crate::client::api::Api;
use crate::sample::{Sample, TokenSource};

/// Serves the bytes in each of the cuts. The connection stays open afterwards, unless the reply is one that `closes`.
fn serving(bytes: Vec<u8>, closes: bool, cuts: Vec<Cut>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for cut in cuts {
            let (mut stream, _) = listener.accept().expect("the client connects");
            if read_request(&stream).is_some() {
                // A client that has seen enough hangs up.
                let _ = write_cut(&mut stream, &bytes, cut);
            }
            if closes {
                let _ = stream.shutdown(Shutdown::Write);
            }
            let _ = stream.read(&mut [0]);
        }
    });
    addr
}

fn facts(sample: &Sample) -> Value {
    json!({
        "kind": null,
        "events": sample.token_events,
        "text_bytes": sample.text_bytes,
        "prompt": sample.prompt_tokens,
        "completion": sample.completion_tokens,
        "cached": sample.cached_tokens,
        "reasoning": sample.reasoning_tokens,
        "source": sample.token_source.map(TokenSource::name),
        "finish": sample.finish_reason,
        "unread": sample.unread.as_ref().map_or(0, |(count, _)| *count),
    })
}

fn check(case: &Value) {
    let text = case["reply"].as_str().expect("a reply");
    let bytes = text.chars().map(|c| u8::try_from(c).expect("a byte"));
    let cuts = vec![Cut::Whole, Cut::Bytes, Cut::Random(1), Cut::Random(2)];
    let addr = serving(bytes.collect(), case["closes"] == true, cuts.clone());
    let want = &case["want"];
    for cut in cuts {
        let mut target = target(addr, NO_HURRY);
        target.body.api = Api::parse(case["api"].as_str().expect("an API")).expect("an API");
        let sample = Client::new(target.into()).send(&turn());
        let shown = format!("{} {cut:?}: {sample:#?}", case["name"]);
        let Some(failure) = &sample.failure else {
            assert_eq!(facts(&sample), *want, "{shown}");
            continue;
        };
        assert_eq!(failure.kind.name(), want["kind"], "{shown}");
        if let Some(words) = want["words"].as_str() {
            assert_eq!(failure.reason, words, "{shown}");
        }
    }
}

#[test]
fn every_odd_reply_is_read_as_what_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/replies.jsonl");
    let cases = std::fs::read_to_string(path).expect(path);
    let cases: Vec<Value> = cases
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(8)) {
            scope.spawn(|| part.iter().for_each(check));
        }
    });
}
