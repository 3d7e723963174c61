use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;

fn data(name: &str) -> PathBuf {
    format!("{}/tests/data/datasets/{name}", env!("CARGO_MANIFEST_DIR")).into()
}

fn from_text(text: impl AsRef<[u8]>) -> Result<Dataset> {
    load_from("--dataset f", text.as_ref(), None, 0)
}

fn records(text: &str) -> Vec<Arc<Record>> {
    from_text(text).expect(text).sample(None)
}

/// Returns the error's text after the file name.
fn why(text: impl AsRef<[u8]>) -> String {
    let error = from_text(text).expect_err("an error").to_string();
    let why = error.strip_prefix("[ERROR] --dataset f").expect(&error);
    assert!(!why.contains('\n'), "{why}");
    why.to_string()
}

fn asked(record: &Record) -> (Vec<&str>, Vec<&str>) {
    match &record.content {
        Content::Conversation { opening, questions } => (
            opening.iter().map(|said| said.text.as_ref()).collect(),
            questions.iter().map(AsRef::as_ref).collect(),
        ),
        Content::Request { .. } | Content::Body { .. } => panic!("it goes out as it stands"),
    }
}

/// Returns the members of the body, and the last question.
fn as_it_stands(line: &str) -> (String, String) {
    match &records(line)[0].content {
        Content::Request {
            members, prompt, ..
        } => (members.to_string(), prompt.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_format_of_the_project_is_read() {
    for (name, total, first_line, first_question, turns) in [
        ("text.jsonl", 6, 1, "The ferry leaves", 6),
        ("prompt.json", 5, 2, "Name four birds", 5),
        ("sessions.jsonl", 5, 1, "How deep must", 12),
        ("sharegpt.json", 5, 2, "Why do leaves turn red?", 9),
        ("messages.jsonl", 4, 1, "Where do I find maps?", 6),
        ("data-object.json", 4, 4, "What is the capital", 5),
    ] {
        let dataset = load(&data(name), None, 3).expect(name);
        assert_eq!(dataset.total(), total, "{name}");
        let records = dataset.sample(None);
        assert_eq!(records[0].line, first_line, "{name}");
        assert!(
            asked(&records[0]).1[0].starts_with(first_question),
            "{name}"
        );
        let sum: usize = records.iter().map(|record| asked(record).1.len()).sum();
        assert_eq!(sum, turns, "{name}");
    }
}

#[test]
fn system_texts_come_first_and_parts_are_joined() {
    let records = load(&data("messages.jsonl"), None, 0)
        .expect("valid")
        .sample(None);
    assert_eq!(
        asked(&records[0]),
        (
            vec!["You are a librarian."],
            vec!["Where do I find maps?", "Can I borrow them?"]
        )
    );
    assert_eq!(
        asked(&records[1]).1,
        [r#"Read this note: \"back at five\". When is she back?"#]
    );
    assert_eq!(records[1].session_id.as_deref(), Some("note"));
    assert_eq!(
        asked(&records[3]),
        (
            vec!["Numbers as digits."],
            vec!["Pick a number.", "Double it."]
        )
    );
}

#[test]
fn messages_with_more_than_text_are_sent_unchanged() {
    for (messages, prompt) in [
        // A tool call and its result.
        (
            r#"[{"role":"user","content":"list"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1"}]}, {"role":"tool","tool_call_id":"c1","content":"a b"},{"role":"user","content":"delete"}]"#,
            "delete",
        ),
        // A call alone, the older function calls, a name, an image, sound.
        (
            r#"[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c"}]}]"#,
            "q",
        ),
        (
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":null,"function_call":{"name":"f"}},{"role":"function","name":"f","content":"1"}]"#,
            "q",
        ),
        (
            r#"[{"role":"user","name":"ann","content":"q \u00e9"}]"#,
            "q é",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text","text":"what"},{"type":"image_url","image_url":{"url":"data:"}}]}]"#,
            "",
        ),
        (
            r#"[{"role":"system","content":"s"},{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]"#,
            "",
        ),
    ] {
        for key in ["messages", "conversation"] {
            let (members, last) = as_it_stands(&format!("{{\"id\":7,\"{key}\":{messages}}}"));
            assert_eq!(members, format!("\"messages\":{messages}"));
            assert_eq!(last, prompt, "{messages}");
        }
    }
}

#[test]
fn tools_and_the_like_go_out_beside_their_messages() {
    let messages = r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#;
    for beside in [
        r#""tools":[{"type":"function", "function":{"name":"ls"}}]"#,
        r#""functions":[{"name":"ls"}]"#,
        r#""stop":["x"]"#,
        r#""response_format":{"type":"json_object"}"#,
        r#""chat_template_kwargs":{"enable_thinking":false}"#,
    ] {
        let line = format!("{{{beside},\"source\":\"x\",\"messages\":{messages}}}");
        let (members, prompt) = as_it_stands(&line);
        assert_eq!(members, format!("\"messages\":{messages},{beside}"));
        assert_eq!(prompt, "c");
    }
    // Empty values count as absent.
    let plain = format!("{{\"tools\":[],\"images\":[ ],\"stop\":null,\"messages\":{messages}}}");
    assert_eq!(asked(&records(&plain)[0]), (vec![], vec!["a", "c"]));
}

#[test]
fn words_before_the_first_question_open_every_turn_in_their_roles() {
    use crate::plan::Role::{Assistant, Developer, System};
    for (line, wanted) in [
        (
            r#"{"messages":[{"role":"developer","content":"d"},{"role":"assistant","content":"hello"},{"role":"user","content":"a"}]}"#,
            vec![(Developer, "d"), (Assistant, "hello")],
        ),
        (
            r#"{"system":"s","conversations":[{"from":"gpt","value":"hi"},{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}"#,
            vec![(System, "s"), (Assistant, "hi")],
        ),
        (
            r#"{"system_prompt":"","conversations":[{"from":"human","value":"a"}]}"#,
            vec![],
        ),
    ] {
        let records = records(line);
        let Content::Conversation { opening, questions } = &records[0].content else {
            panic!("{records:?}");
        };
        let opening: Vec<_> = opening
            .iter()
            .map(|said| (said.role, &*said.text))
            .collect();
        assert_eq!((opening, &*questions[0]), (wanted, "a"), "{line}");
    }
}

#[test]
fn content_that_would_be_left_out_silently_is_refused() {
    let form = "which can only be sent from messages of role and content; write the record that way, or drop it as convert sharegpt does";
    let media =
        "which is not sent; want it in messages as a part such as image_url, or take it out";
    for (line, wanted) in [
        (r#"{"text":"a","image":"/x/y.png"}"#, format!("image beside the text, {media}")),
        (
            r#"{"prompt":"a","images":["x"]}"#,
            format!("images beside the text, {media}"),
        ),
        (
            r#"{"videos":["v"],"messages":[{"role":"user","content":"a"}]}"#,
            format!("videos beside the text, {media}"),
        ),
        (
            r#"{"conversations":[{"from":"human","value":"run"},{"from":"function_call","value":"{}"},{"from":"observation","value":"b"}]}"#,
            format!("conversations: message 2: role \"function_call\", {form}"),
        ),
        (
            r#"{"conversations":[{"from":"human","value":"a"},{"from":"tool","value":"b"}]}"#,
            format!("conversations: message 2: role \"tool\", {form}"),
        ),
        (
            r#"{"conversations":[{"from":"human","value":[{"type":"image","image":"x"}]}]}"#,
            format!("conversations: message 1: a part of type \"image\", {form}"),
        ),
        (
            r#"{"tools":"[{}]","conversations":[{"from":"human","value":"a"}]}"#,
            "tools beside conversations of from and value, which cannot be sent with them; want it beside messages of role and content, or take it out".to_string(),
        ),
        (
            r#"{"tools":[{}],"text":"a"}"#,
            "tools beside text, which cannot be sent with it; want it beside messages of role and content, or take it out".to_string(),
        ),
        (
            r#"{"tools":"[]","messages":[{"role":"user","content":"a"}]}"#,
            "tools: a text; want a list of objects".to_string(),
        ),
        (
            r#"{"tools":[{}],"system":"s","messages":[{"role":"user","content":"a"}]}"#,
            "system beside messages that are sent unchanged; want it as the first message".to_string(),
        ),
        (
            r#"{"id":"q2","conversations":[]}"#,
            "no user text in conversations; its keys: conversations, id; remove the record, or for ShareGPT use convert sharegpt".to_string(),
        ),
        (
            r#"{"conversations":[{"from":"gpt","value":"alone"}]}"#,
            "no user text in conversations; its keys: conversations; remove the record, or for ShareGPT use convert sharegpt".to_string(),
        ),
    ] {
        assert_eq!(why(format!("{{\"text\":\"a\"}}\n{line}\n")), format!(", line 2: {wanted}"));
    }
}

#[test]
fn a_record_value_that_differs_from_the_run_is_named() {
    let rest = r#""model":"m","temperature":0,"max_tokens":9,"stream":true,"tools":[1]}"#;
    for (own, wanted) in [
        (r#""temperature":0"#, None),
        (r#""model":"m","stream":true,"max_tokens":9"#, None),
        (
            r#""temperature":0.7"#,
            Some("temperature 0.7 in it, but the run sends 0"),
        ),
        (
            r#""max_completion_tokens":9"#,
            Some("max_completion_tokens 9 in it, but the run sends nothing"),
        ),
        (
            r#""model":"other""#,
            Some(r#"model "other" in it, but the run sends "m""#),
        ),
        (
            r#""tools":[{}]"#,
            Some("tools is both in it and in --extra-body"),
        ),
    ] {
        let line = format!("{{{own},\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}]}}");
        assert_eq!(records(&line)[0].unlike(rest).as_deref(), wanted, "{own}");
    }
    // Beside texts that belong to no API these keys describe the record.
    let line = r#"{"model":"other","text":"a"}"#;
    assert_eq!(records(line)[0].unlike(rest), None);
}

#[test]
fn a_batch_line_keeps_its_body_byte_for_byte() {
    let path = data("batch.jsonl");
    let text = std::fs::read_to_string(&path).expect("the file");
    let records = load(&path, None, 0).expect("valid").sample(None);
    let seen: Vec<(&str, Option<&str>, bool)> = records
        .iter()
        .zip(text.lines())
        .map(|(record, line)| match &record.content {
            Content::Body {
                json,
                prompt,
                url,
                streamed,
            } => {
                let (_, body) = line.split_once("\"body\": ").expect("a body");
                assert_eq!(**json, body[..body.len() - 1]);
                (prompt.as_str(), url.as_deref(), *streamed)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let (chat, plain) = (Some("/v1/chat/completions"), Some("/v1/completions"));
    assert_eq!(
        seen,
        [
            ("What is ballast?", chat, false),
            ("Another one.", chat, true),
            ("The wind from the west brings", plain, false),
            ("Café au lait is made of", plain, false),
        ]
    );
}

#[test]
fn when_several_keys_fit_the_first_of_the_order_is_taken() {
    let all = [
        ("messages", r#"[{"role":"user","content":"m"}]"#, "m"),
        ("conversations", r#"[{"from":"human","value":"c"}]"#, "c"),
        ("user_messages", r#"["u"]"#, "u"),
        ("prompt", r#""p""#, "p"),
        ("text", r#""t""#, "t"),
    ];
    for from in 0..all.len() {
        // Here the keys are in the opposite order.
        let keys: Vec<String> = all[from..]
            .iter()
            .rev()
            .map(|(key, value, _)| format!("\"{key}\":{value}"))
            .collect();
        assert_eq!(
            asked(&records(&format!("{{{}}}", keys.join(",")))[0]).1,
            [all[from].2]
        );
    }
    let body = records(r#"{"text":"t","messages":[{"role":"user","content":"m"}],"body":{}}"#);
    assert!(
        matches!(&body[0].content, Content::Body { json, prompt, .. } if &**json == "{}" && prompt.is_empty())
    );
    // Values of the wrong kind are ignored: no object, no array, no text.
    for other in [
        r#""body":"b""#,
        r#""messages":"m""#,
        r#""messages":[]"#,
        r#""prompt":"  ""#,
        r#""prompt":null"#,
    ] {
        assert_eq!(
            asked(&records(&format!("{{{other},\"text\":\"t\"}}"))[0]).1,
            ["t"],
            "{other}"
        );
    }
}

#[test]
fn the_same_records_are_read_from_every_form_of_file() {
    let (a, b) = (r#"{"text":"a"}"#, r#"{"text":"b"}"#);
    for (form, lines) in [
        (format!("{a}\n{b}\n"), [1, 2]),
        (format!("{a}\r\n{b}\r\n"), [1, 2]),
        (format!("\u{feff}{a}\n\n \r\n{b}"), [1, 4]),
        (format!("\n\n{a}\n{b}"), [3, 4]),
        (format!("[{a},{b}]"), [1, 1]),
        (format!("[{a},{b}]\n\n"), [1, 1]),
        (format!("\u{feff}[\r\n{a},\r\n\r\n{b}\r\n]\r\n"), [2, 4]),
        (format!("{{\"data\":[{a},{b}]}}"), [1, 1]),
        (
            format!("\n{{\n\"name\":\"x\",\n\"data\":\n[{a},\n{b}]}}"),
            [5, 6],
        ),
    ] {
        let records = records(&form);
        let texts: Vec<&str> = records.iter().map(|record| asked(record).1[0]).collect();
        assert_eq!(texts, ["a", "b"], "{form}");
        assert_eq!([records[0].line, records[1].line], lines, "{form}");
    }
    let one = records("{\n  \"text\":\n    \"alone\"\n}\n");
    assert_eq!(
        (one.len(), one[0].line, asked(&one[0]).1[0]),
        (1, 1, "alone")
    );
}

#[test]
fn a_session_id_is_text_or_a_number() {
    for (json, wanted) in [
        ("\"a\\u00e9\"", Some("aé")),
        ("17", Some("17")),
        ("-3.5", Some("-3.5")),
        ("null", None),
    ] {
        let records = records(&format!("{{\"text\":\"t\",\"session_id\":{json}}}"));
        assert_eq!(records[0].session_id.as_deref(), wanted);
    }
    assert_eq!(
        why(r#"{"text":"t","session_id":[1]}"#),
        ", line 1: session_id: an array, not text"
    );
}

#[test]
fn a_record_that_fits_nothing_is_named_with_its_line_and_what_was_found() {
    let good = "{\"text\":\"a\"}\n\n";
    for (bad, wanted) in [
        (
            r#"{"question":"q","answer":1}"#,
            "none of body, messages, conversations, user_messages, prompt and text in it; its keys: answer, question",
        ),
        (
            "{}",
            "none of body, messages, conversations, user_messages, prompt and text in it; it has no keys",
        ),
        (
            r#"{"text":" \n"}"#,
            "no user text in text; its keys: text; remove the record, or for ShareGPT use convert sharegpt",
        ),
        (
            r#"{"messages":[{"role":"assistant","content":"a"}],"text":7}"#,
            "no user text in messages, text; its keys: messages, text; remove the record, or for ShareGPT use convert sharegpt",
        ),
        ("[1]", "an array; want an object"),
        ("\"hello\"", "a text; want an object"),
        ("null", "null; want an object"),
        ("12", "a number; want an object"),
        (
            r#"{"messages":[{"role":"user","content":"a"},{"role":"narrator","content":"b"}]}"#,
            "messages: message 2: role \"narrator\" is unknown; want system, user, assistant or tool",
        ),
        (
            r#"{"messages":[{"content":"a"}]}"#,
            "messages: message 1: it has no role",
        ),
        (
            r#"{"messages":[{"role":"user"}]}"#,
            "messages: message 1: of user: it has no content",
        ),
        (
            r#"{"conversations":["hi"]}"#,
            "conversations: message 1: a text, want an object",
        ),
        (
            r#"{"conversation":[{"from":"human","value":{"a":1}}]}"#,
            "conversation: message 1: of human: content: an object, not text",
        ),
        (
            r#"{"user_messages":["a",2]}"#,
            "user_messages: message 2: a number, not text",
        ),
        (r#"{"text":"a","text":"b"}"#, "duplicate field `text`"),
        (
            r#"{"messages":[{"role":"user","role":"user","content":"a"}]}"#,
            "messages: message 1: duplicate field `role`",
        ),
        (
            r#"{"prompt":[{"text":"a","text":"b"}]}"#,
            "prompt: part 1 is wrong: duplicate field `text`",
        ),
        (
            r#"{"text":null}"#,
            "no user text in text; its keys: text; remove the record, or for ShareGPT use convert sharegpt",
        ),
        (r#"{"body":{},"url":1}"#, "url: a number, not text"),
    ] {
        assert_eq!(why(format!("{good}{bad}\n")), format!(", line 3: {wanted}"));
        assert_eq!(
            why(format!("[{{\"text\":\"a\"}},\n\n{bad}]")),
            format!(", line 3: {wanted}")
        );
    }
}

#[test]
fn text_that_is_not_json_is_named_with_line_and_column() {
    for (text, wanted) in [
        (
            "{\"text\":\"a\"}\n{\"text\":}\n",
            ", line 2: not JSON at column 9: expected value",
        ),
        (
            "{'text': 1}\n{\"text\":\"a\"}\n",
            ", line 1: not JSON at column 2: key must be a string",
        ),
        (
            "{\"text\":\"a\n{\"text\":\"a\"}\n",
            ", line 1: not JSON at column 10: EOF while parsing a string",
        ),
        (
            "{\"text\":\"a\"} {\"text\":\"b\"}\n",
            ", line 1: not JSON at column 14: trailing characters",
        ),
        (
            "hello world\n",
            ", line 1: not JSON at column 1: expected value",
        ),
        (
            "[\n{\"text\":\"a\"},\n{\"text\" \"b\"}\n]",
            ", line 3: not JSON at column 9: expected `:`",
        ),
        (
            "\n[\n{\"text\":\"a\"}\n",
            ", line 3: not JSON at column 12: EOF while parsing a list",
        ),
        (
            "{\"text\":\"a\"}\n{\"text\":\"b\"\n",
            ", line 2: not JSON at column 11: EOF while parsing an object",
        ),
    ] {
        assert_eq!(why(text), wanted, "{text}");
    }
}

#[test]
fn a_file_of_another_format_is_refused_by_its_format() {
    for (bytes, wanted) in [
        (&b""[..], ": no record in it"),
        (b"\n \r\n\n", ": no record in it"),
        (b"[]", ": no record in it"),
        (b"{\"data\":[]}", ": no record in it"),
        (
            b"\xff\xfe{\0",
            ": UTF-16 or binary; want JSON in UTF-8, such as iconv -f UTF-16 -t UTF-8 writes",
        ),
        (
            b"{\0\"\0",
            ": UTF-16 or binary; want JSON in UTF-8, such as iconv -f UTF-16 -t UTF-8 writes",
        ),
        (
            b"\x1f\x8b\x08\0",
            ": compressed; unpack it with gunzip first",
        ),
        (
            b"PAR1xxxx",
            ": a Parquet file; want JSON lines or a JSON array",
        ),
        (b"ab\0cd\n", ": binary; want JSON in UTF-8"),
        (
            b"{\"text\":\"caf\xe9\"}\n",
            ", line 1: not UTF-8: byte 0xe9 in column 13",
        ),
    ] {
        assert_eq!(why(bytes), wanted);
    }
    let folder = load(&data(""), None, 0).expect_err("a folder").to_string();
    assert!(
        folder.ends_with("/tests/data/datasets/: a folder; want a file"),
        "{folder}"
    );
    let missing = load(&data("none.jsonl"), None, 0)
        .expect_err("missing")
        .to_string();
    assert!(
        missing.ends_with("none.jsonl: cannot read: No such file or directory (os error 2)"),
        "{missing}"
    );
}

fn numbered(n: u64) -> String {
    (0..n).map(|k| format!("{{\"text\":\"t{k}\"}}\n")).collect()
}

fn lines(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().map(|record| record.line).collect()
}

#[test]
fn a_draw_is_nested_in_order_and_the_same_for_the_same_seed() {
    let text = numbered(500);
    let draw = |most, seed| load_from("f", text.as_bytes(), most, seed).expect("valid");
    let all = draw(None, 9);
    assert_eq!((all.total(), all.sample(None).len()), (500, 500));
    let mut larger: HashSet<u64> = (1..=500).collect();
    for n in [200, 50, 7, 1, 0] {
        let drawn = lines(&all.sample(Some(n)));
        assert_eq!(drawn.len() as u64, n);
        assert!(drawn.is_sorted(), "{drawn:?}");
        assert!(drawn.iter().all(|line| larger.contains(line)), "{n}");
        // The same, with no more than `n` in memory.
        let few = draw(Some(n), 9);
        assert_eq!(
            (few.total(), lines(&few.sample(None))),
            (500, drawn.clone())
        );
        assert_eq!(lines(&few.sample(Some(n + 1))), drawn);
        larger = drawn.into_iter().collect();
    }
    assert_ne!(
        lines(&draw(Some(50), 10).sample(None)),
        lines(&draw(Some(50), 9).sample(None))
    );
}

#[test]
fn every_record_is_as_likely_to_be_drawn() {
    let text = numbered(20);
    let mut drawn = [0_u32; 20];
    for seed in 0..2000 {
        for line in lines(
            &load_from("f", text.as_bytes(), Some(5), seed)
                .expect("valid")
                .sample(None),
        ) {
            drawn[line as usize - 1] += 1;
        }
    }
    // 2000 · 5/20 = 500 each, standard deviation √(2000 · 1/4 · 3/4) = 19; five of them are 97.
    assert!(drawn.iter().all(|n| (403..=597).contains(n)), "{drawn:?}");
}

#[test]
fn a_scan_goes_on_after_a_wrong_record() {
    let path = std::env::temp_dir().join(format!("tmesh-scan-{}.json", std::process::id()));
    let mut results = Vec::new();
    for text in [
        "{\"text\":\"a\"}\nnope\n{\"x\":1}\n{\"text\":\"b\"}\n",
        "[{\"text\":\"a\"},\n[],\n{\"x\":1},\n{\"text\":\"b\"}]",
        "[{\"text\":\"a\"},\n{]",
    ] {
        std::fs::write(&path, text).expect("a temporary file");
        let mut seen = Vec::new();
        scan(&path, |record| {
            let line = record.map(|draft| draft.line);
            seen.push(line.map_err(|problem| problem.line));
        })
        .expect("read");
        results.push(seen);
    }
    std::fs::remove_file(&path).expect("written above");
    assert_eq!(
        results,
        [
            vec![Ok(1), Err(2), Err(3), Ok(4)],
            vec![Ok(1), Err(2), Err(3), Ok(4)],
            vec![Err(2)]
        ]
    );
}

#[test]
fn a_scan_tells_how_each_record_is_read() {
    let mut seen = Vec::new();
    for name in ["sessions.jsonl", "sharegpt.json", "batch.jsonl"] {
        let on_record = |record: std::result::Result<Draft, Problem>| {
            let draft = record.expect("valid");
            let last = draft.prompts().pop().unwrap_or_default().into_owned();
            seen.push((draft.kind, draft.turns(), last));
        };
        scan(&data(name), on_record).expect(name);
    }
    assert_eq!(seen.len(), 14);
    for (at, kind, turns, last) in [
        (2, "user_messages", 4, "How long does it keep?"),
        (7, "conversation", 1, "Count to three in Danish."),
        (
            8,
            "conversations",
            2,
            "It stands on a wall that faces south.",
        ),
        (11, "body", 1, "Another one."),
        (13, "body", 1, "Café au lait is made of"),
    ] {
        assert_eq!(seen[at], (kind, turns, last.to_string()));
    }
}
