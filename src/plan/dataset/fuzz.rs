//! Broken files: they yield an error or records, never a panic, and converted records can be read.

use fastrand::Rng;

use super::*;
use crate::fuzz;
use crate::plan::convert::longbench::Longbench;
use crate::plan::convert::sharegpt::Sharegpt;

const TOOLS: &str = r#"{"tools":[{"type":"function"}],"temperature":0,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c"}]},{"role":"tool","tool_call_id":"c","content":"b"}]}"#;
const SEEDS: [&[u8]; 7] = [
    TOOLS.as_bytes(),
    include_bytes!("../../../tests/data/datasets/text.jsonl"),
    include_bytes!("../../../tests/data/datasets/prompt.json"),
    include_bytes!("../../../tests/data/datasets/sharegpt.json"),
    include_bytes!("../../../tests/data/datasets/messages.jsonl"),
    include_bytes!("../../../tests/data/datasets/batch.jsonl"),
    include_bytes!("../../../tests/data/datasets/data-object.json"),
];
const SHAREGPT: &str = r#"{"id":"x_1","conversations":[{"from":"system","value":"s"},{"from":"human","value":"a\u00e9"},{"from":"gpt","value":[{"type":"text","text":"b"}]},{"role":"user","content":"c"}]}"#;
const LONGBENCH: &str = r#"{"_id":"x","dataset":"narrativeqa","context":"once","input":"who?","length":7,"all_classes":null}"#;
const KEYS: &[&str] = &[
    "text",
    "prompt",
    "messages",
    "conversations",
    "user_messages",
    "role",
    "from",
    "content",
    "value",
    "body",
    "url",
    "session_id",
    "type",
    "id",
    "_id",
    "dataset",
    "context",
    "input",
    "tools",
    "tool_calls",
    "system",
    "image",
];
const WORDS: &[&str] = &[
    "\"text\":",
    "\"messages\":[",
    "{\"role\":\"user\",\"content\":\"a\"},",
    "\"conversations\":",
    "{\"data\":[",
    "}\n{",
    "},{",
    "\"session_id\":",
    "\"body\":{",
    "\"stream\":true",
];

fn seed(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..8) {
        0 => fuzz::json(rng, 4, KEYS).into_bytes(),
        1 => grammar(rng).0.into_bytes(),
        _ => SEEDS[rng.usize(..SEEDS.len())].to_vec(),
    }
}

/// Makes records of one question each, by several keys and in several formats, and the questions.
fn grammar(rng: &mut Rng) -> (String, Vec<String>) {
    let (mut records, mut questions) = (Vec::new(), Vec::new());
    for number in 0..rng.usize(1..5) {
        let (text, json) = fuzz::string(rng);
        let (text, json) = (
            format!("{number}{text}"),
            format!("\"{number}{}", &json[1..]),
        );
        records.push(match rng.u8(..6) {
            0 => format!("{{\"text\":{json}}}"),
            1 => format!("{{\"id\":null,\"prompt\":[{{\"type\":\"text\",\"text\":{json}}}]}}"),
            2 => format!("{{\"messages\":[{{\"role\":\"user\",\"content\":{json}}}]}}"),
            3 => format!("{{\"conversations\":[{{\"from\":\"human\",\"value\":{json}}},{{\"from\":\"gpt\",\"value\":\"b\"}}]}}"),
            4 => format!("{{\"session_id\":{number},\"user_messages\":[{json}]}}"),
            _ => format!("{{\"messages\":[],\"text\":{json}}}"),
        });
        questions.push(text);
    }
    let file = match rng.u8(..4) {
        0 => format!("[{}]", records.join(",")),
        1 => format!("[\n{}\n]\n", records.join(",\r\n")),
        2 => format!("{{\"data\":\n[{}]}}", records.join(",\n")),
        _ => "\u{feff}".to_string() + &records.join("\r\n"),
    };
    (file, questions)
}

#[test]
fn a_dataset_by_the_grammar_has_the_questions_it_was_made_of() {
    fuzz::run("dataset (grammar)", 2000, |rng| {
        let (file, questions) = grammar(rng);
        let dataset = load_from("f", file.as_bytes(), None, 0).expect(&file);
        let records = dataset.sample(None);
        assert_eq!(records.len(), questions.len(), "{file}");
        for (record, question) in records.iter().zip(questions) {
            let Content::Conversation { questions, .. } = &record.content else {
                panic!("{record:?}");
            };
            assert_eq!(questions[..], [crate::plan::escape(&question)], "{file}");
        }
    });
}

#[test]
fn no_mutation_of_a_dataset_panics() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("dataset", 6000, |rng| {
        let bytes = fuzz::input(rng, WORDS, seed);
        match load_from("f", &bytes[..], Some(3), rng.u64(..)) {
            Ok(dataset) => {
                read += 1;
                for record in dataset.sample(None) {
                    check(&record);
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

/// Checks that a record's texts are JSON, between quotes or as they are.
fn check(record: &Record) {
    match &record.content {
        Content::Conversation { opening, questions } => {
            assert!(!questions.is_empty());
            let opening = opening.iter().map(|said| &said.text);
            for text in opening.chain(questions) {
                let quoted = format!("\"{text}\"");
                let decoded: String = serde_json::from_str(&quoted).expect(&quoted);
                assert_eq!(crate::plan::escape(&decoded), *text);
            }
        }
        Content::Request { members, .. } => {
            let json = format!("{{{members}}}");
            serde_json::from_str::<serde::de::IgnoredAny>(&json).expect(&json);
        }
        Content::Body { json, .. } => {
            serde_json::from_str::<serde::de::IgnoredAny>(json).expect(json);
        }
    }
}

/// Checks that every line that `convert` makes of a record is a record.
fn converted(
    mut bytes: &[u8],
    mut line: impl FnMut(source::Raw<'_>) -> std::result::Result<Option<String>, Problem>,
) -> (u64, u64) {
    let (mut written, mut refused) = (0, 0);
    let ended = source::read("f", &mut bytes, &mut |raw| {
        match raw.and_then(&mut line) {
            Ok(Some(line)) => {
                written += 1;
                load_from("f", line.as_bytes(), None, 0).expect(&line);
            }
            Ok(None) => {}
            Err(problem) => {
                refused += 1;
                fuzz::assert_shown(&problem.why);
            }
        }
        Ok(())
    });
    (written, refused + u64::from(ended.is_err()))
}

#[test]
fn the_output_of_convert_sharegpt_can_be_read() {
    let (mut written, mut refused) = (0, 0);
    fuzz::run("sharegpt", 6000, |rng| {
        let bytes = fuzz::input(rng, WORDS, |_| SHAREGPT.into());
        let mut sharegpt = Sharegpt::new(1, Some(1));
        let (more, wrong) = converted(&bytes, |raw| sharegpt.line(raw));
        (written, refused) = (written + more, refused + wrong);
    });
    fuzz::assert_both(written, refused);
}

#[test]
fn the_output_of_convert_longbench_can_be_read() {
    let (mut written, mut refused) = (0, 0);
    fuzz::run("longbench", 6000, |rng| {
        let bytes = fuzz::input(rng, WORDS, |_| LONGBENCH.into());
        let mut longbench = Longbench::new(Vec::new(), None);
        let (more, wrong) = converted(&bytes, |raw| longbench.line(raw, "narrativeqa"));
        (written, refused) = (written + more, refused + wrong);
    });
    fuzz::assert_both(written, refused);
}

#[test]
fn a_dataset_as_deep_as_it_gets_overflows_no_stack() {
    for key in ["text", "messages", "conversations", "content", "body", "x"] {
        for deep in fuzz::deep_json(key) {
            for text in [
                format!("{{\"{key}\":{deep}}}"),
                format!("{{\"data\":[{deep}]}}"),
                format!("{{\"messages\":[{{\"{key}\":{deep}}}]}}"),
                deep,
            ] {
                if let Err(error) = load_from("f", text.as_bytes(), None, 0) {
                    fuzz::assert_shown(&error.to_string());
                }
            }
        }
    }
}

#[test]
fn time_is_linear_in_the_dataset() {
    for (head, piece, tail) in [
        ("", "{\"text\":\"a\"}\n", ""),
        ("[", "{\"text\":\"a\"},", "{\"text\":\"a\"}]"),
        ("[", "{\"text\":\"a\"},\n", "{\"text\":\"a\"}]"),
        ("{\"text\":\"", "a", "\"}"),
        ("{\"text\":\"", "\\u00e9", "\"}"),
        ("{\"text\":\"", "\\ud83d\\ude00", "\"}"),
        ("{\"text\":\"", " ", "\"}"),
        (
            "{\"messages\":[",
            "{\"role\":\"user\",\"content\":\"a\"},",
            "{}]}",
        ),
        ("{\"user_messages\":[", "\"a\",", "\"b\"]}"),
        ("{\"text\":[", "{\"text\":\"a\"},", "{\"text\":\"b\"}]}"),
        ("{", "\"x\":1,", "\"y\":1}"),
        ("", "\n", "{}"),
        ("", "[", ""),
        ("", "{\n", ""),
        ("", "{\"a\":", ""),
    ] {
        let make = |bytes| {
            [head, &piece.repeat(bytes / piece.len()), tail]
                .concat()
                .into_bytes()
        };
        fuzz::assert_linear(piece, make, |dataset| {
            let _ = load_from("f", dataset, None, 0);
        });
    }
}
