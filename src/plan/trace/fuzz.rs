//! Traces of any JSON: traces by the grammar are read as written, anything else is a clean error.

use fastrand::Rng;

use super::reader::KEYS;
use super::*;
use crate::fuzz;
use crate::plan::Prompt;
use crate::plan::calibration::Calibration;
use crate::plan::prompt::Writer;

const WORDS: &[&str] = &[
    "\"timestamp\":",
    "\"hash_ids\":[",
    "\"input_length\":512",
    "\"output_length\":0",
    "\"delay\":1",
    "},{",
    "}\n{",
    "{\"data\":[",
    "\"session_id\":1,",
    "\"chat_id\":1,\"parent_chat_id\":0,",
    "1,2,3\n",
    "Timestamp,",
];

/// Timestamp, input tokens, output tokens and blocks of a request.
type Made = (u64, u64, u64, Vec<u64>);

/// Makes a trace by the grammar, and its requests.
fn valid(rng: &mut Rng) -> (String, Vec<Made>) {
    let mut made: Vec<Made> = Vec::new();
    let mut records = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let (ms, input, output) = (rng.u64(..100_000), rng.u64(1..2000), rng.u64(..500));
        let blocks: Vec<u64> = (0..input.div_ceil(512))
            .map(|_| rng.u64(..) >> rng.u32(..64))
            .collect();
        let more = ["", ",\"session\":7", ",\"delay\":null"][rng.usize(..3)];
        records.push(format!(
            "{{\"timestamp\":{ms},\"input_length\":{input}{more},\"hash_ids\":{blocks:?},\"output_length\":{output}}}"
        ));
        made.push((ms, input, output, blocks));
    }
    made.sort_by_key(|request| request.0);
    let text = match rng.u8(..4) {
        0 => format!("[{}]", records.join(",\n")),
        1 => format!("{{\"data\":[{}]}}", records.join(",")),
        2 => "\u{feff}".to_string() + &records.join("\r\n"),
        _ => records.join("\n") + "\n\n",
    };
    (text, made)
}

#[test]
fn a_trace_by_the_grammar_has_the_requests_it_was_made_of() {
    fuzz::run("trace (grammar)", 2000, |rng| {
        let (text, made) = valid(rng);
        let trace = Trace::of("f", text.as_bytes(), Some(Unit::Milliseconds)).expect(&text);
        assert_eq!(trace.len(), made.len(), "{text}");
        let start = made[0].0;
        for (k, (ms, input, output, blocks)) in made.into_iter().enumerate() {
            assert_eq!(trace.due_ns(k, 1.0), (ms - start) * 1_000_000, "{text}");
            assert_eq!(
                (trace.input_tokens(k), trace.output_tokens(k)),
                (input, output.max(1)),
                "{text}"
            );
            assert_eq!(trace.hash_ids(k), blocks, "{text}");
        }
    });
}

/// Makes a trace in columns, correct or nearly so.
fn columns(rng: &mut Rng) -> String {
    let mut text = "Timestamp,Model,Request tokens,Response tokens,Session ID\n".to_string();
    for _ in 0..rng.usize(..4) {
        let time = [
            "5",
            "1.25",
            "2023-11-16 18:15:46.68",
            "2024-02-29T00:00:00-05:30",
            "",
        ];
        let time = time[rng.usize(..time.len())];
        let (input, output, session) = (rng.u64(..2000), rng.u64(..3), rng.u64(..3));
        text += &format!("{time},\"a,b\",{input},{output},{session}\n");
    }
    text
}

#[test]
fn any_bytes_are_a_clean_error_or_requests_with_prompts() {
    let calibration = Calibration::fit((10, 10), (20, 20)).expect("a rising line");
    let texts = [16, 512].map(|block| Texts::new(&Writer::new(1, "n"), &calibration, block));
    let (mut read, mut refused) = (0, 0);
    fuzz::run("trace", 3000, |rng| {
        let bytes = fuzz::input(rng, WORDS, |rng| match rng.u8(..5) {
            0 => fuzz::json(rng, 3, &KEYS).into_bytes(),
            1 => columns(rng).into_bytes(),
            _ => valid(rng).0.into_bytes(),
        });
        match Trace::of("f", &bytes[..], [None, Some(Unit::Seconds)][rng.usize(..2)]) {
            Ok(trace) => {
                read += 1;
                let mut before = 0;
                for k in 0..trace.len() {
                    let due_ns = trace
                        .due_ns(k, [1.0, 1e-9, 1e9][rng.usize(..3)])
                        .max(before);
                    before = before.max(due_ns);
                    let parts: u64 = trace.parts(k).iter().map(|(_, tokens)| tokens).sum();
                    assert_eq!(parts, trace.input_tokens(k));
                    assert!(trace.output_tokens(k) > 0);
                    let Prompt::Text(pieces) =
                        trace.prompt(k, &texts[usize::from(trace.block_tokens() == 512)])
                    else {
                        panic!("no text");
                    };
                    let words: usize = pieces
                        .iter()
                        .map(|piece| piece.split(' ').filter(|w| !w.is_empty()).count())
                        .sum();
                    assert_eq!(
                        words as u64,
                        trace.input_tokens(k),
                        "request {k} of {}",
                        fuzz::text(&bytes)
                    );
                }
            }
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn a_trace_as_deep_as_it_gets_is_an_error() {
    for key in KEYS {
        for deep in fuzz::deep_json(key) {
            for text in [
                format!("{{\"{key}\":{deep}}}"),
                format!("{{\"data\":[{deep}]}}"),
                deep,
            ] {
                let error = Trace::of("f", text.as_bytes(), None).expect_err("too deep");
                fuzz::assert_shown(&error.to_string());
            }
        }
    }
}

#[test]
fn time_is_linear_in_the_trace() {
    let record = "{\"timestamp\":0,\"input_length\":9,\"output_length\":1,\"hash_ids\":[1]}";
    for (head, piece, tail) in [
        ("", &(record.to_string() + "\n")[..], ""),
        ("[", &(record.to_string() + ","), "1]"),
        ("[", &(record.to_string() + ",\n"), "1]"),
        ("", "\n", record),
        ("", " ", record),
        ("Timestamp,ContextTokens,GeneratedTokens\n", "1,2,3\n", ""),
        ("Timestamp,ContextTokens,GeneratedTokens\n", ",", ""),
        ("Timestamp,ContextTokens,GeneratedTokens\n", "\"", ""),
        ("{\"hash_ids\":[", "1,", "1]}"),
        ("{\"x\":\"", "\\u0041", "\"}"),
        ("[", "[", ""),
        ("{", "\"x\":1,\n", "\"y\":1}"),
        ("", "[\n", ""),
        ("", "{\n", ""),
    ] {
        let make = |bytes| {
            [head, &piece.repeat(bytes / piece.len()), tail]
                .concat()
                .into_bytes()
        };
        fuzz::assert_linear(piece, make, |trace| {
            let _ = Trace::of("f", trace, None);
        });
    }
}
