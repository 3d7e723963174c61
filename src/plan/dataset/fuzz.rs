//! Broken files must end in an error or in records, never in a panic, and what is written of them can be read.

use super::*;
use crate::plan::convert::sharegpt::Sharegpt;

const SEEDS: [&[u8]; 6] = [
    include_bytes!("../../../tests/data/datasets/text.jsonl"),
    include_bytes!("../../../tests/data/datasets/prompt.json"),
    include_bytes!("../../../tests/data/datasets/sharegpt.json"),
    include_bytes!("../../../tests/data/datasets/messages.jsonl"),
    include_bytes!("../../../tests/data/datasets/batch.jsonl"),
    include_bytes!("../../../tests/data/datasets/data-object.json"),
];

const SHAREGPT: &[u8] = br#"{"id":"x_1","conversations":[{"from":"system","value":"s"},{"from":"human","value":"a\u00e9"},{"from":"gpt","value":[{"type":"text","text":"b"}]},{"role":"user","content":"c"}]}"#;

const PIECES: [&[u8]; 16] = [
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\xff",
    b"null",
    b"\"text\":",
];

#[test]
fn no_mutation_of_a_dataset_panics() {
    let mut rng = fastrand::Rng::with_seed(20_261_124);
    let (mut read, mut refused) = (0, 0);
    for round in 0..6000 {
        let mut bytes = SEEDS[round % SEEDS.len()].to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..4) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes.truncate(at.max(1)),
                2 => {
                    bytes.drain(at..(at + rng.usize(1..9)).min(bytes.len()));
                }
                _ => {
                    let piece = PIECES[rng.usize(..PIECES.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        match load_from("f", &bytes[..], Some(3), round as u64) {
            Ok(dataset) => {
                read += 1;
                for record in dataset.sample(None) {
                    check(&record);
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
    // Both ends are reached.
    assert!(
        read > 500 && refused > 500,
        "{read} read, {refused} refused"
    );
}

/// What a record holds must be JSON once it is put between quotes, or as it is.
fn check(record: &Record) {
    match &record.content {
        Content::Conversation { system, questions } => {
            assert!(!questions.is_empty());
            for text in system.iter().chain(questions) {
                let quoted = format!("\"{text}\"");
                let decoded: String = serde_json::from_str(&quoted).expect(&quoted);
                assert_eq!(crate::plan::escape(&decoded), *text);
            }
        }
        Content::Body { json, .. } => {
            serde_json::from_str::<serde::de::IgnoredAny>(json).expect(json);
        }
    }
}

#[test]
fn what_convert_sharegpt_writes_is_read_again() {
    let mut rng = fastrand::Rng::with_seed(20_261_125);
    let (mut written, mut refused) = (0, 0);
    for _ in 0..6000 {
        let mut bytes = SHAREGPT.to_vec();
        let at = rng.usize(..bytes.len());
        let end = (at + rng.usize(..3)).min(bytes.len());
        let piece = PIECES[rng.usize(..PIECES.len())];
        bytes.splice(at..end, piece.iter().copied());
        let mut sharegpt = Sharegpt::new(1, Some(1));
        let ended = source::read("f", &bytes[..], &mut |raw| {
            match raw.and_then(|raw| sharegpt.line(raw)) {
                Ok(Some(line)) => {
                    written += 1;
                    load_from("f", line.as_bytes(), None, 0).expect(&line);
                }
                Ok(None) => {}
                Err(_) => refused += 1,
            }
            ControlFlow::Continue(())
        });
        refused += u64::from(ended.is_err());
    }
    assert!(written > 300 && refused > 300, "{written} {refused}");
}
