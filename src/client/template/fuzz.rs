//! Chunks of any JSON: what the parser folds from borrowed bytes is what a tree of values gives, and what the
//! template reads is what the parser reads.

use fastrand::Rng;
use serde_json::Value;

use super::Template;
use crate::client::api::{Api, error_words};
use crate::client::chunk::Chunk;
use crate::client::usage::Usage;
use crate::fuzz;

const APIS: [Api; 3] = [Api::Completions, Api::Chat, Api::Generate];
const KEYS: &[&str] = &[
    "choices",
    "text",
    "delta",
    "message",
    "content",
    "reasoning",
    "reasoning_content",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "finish_reason",
    "index",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "prompt_cache_hit_tokens",
    "completion_tokens_details",
    "reasoning_tokens",
    "cached_tokens",
    "error",
    "cached",
    "timings",
    "cache_n",
    "id",
];
const WORDS: &[&str] = &[
    "\"text\":",
    "\"cached\":true",
    "\"cached\":false,",
    "\"content\":\"a\"",
    "\"reasoning\":\"a\"",
    "\"finish_reason\":\"stop\"",
    "\"finish_reason\":null,",
    "\"usage\":{\"completion_tokens\":3}",
    "\"error\":{\"message\":\"x\"}",
    "\"choices\":[",
    "\"index\":1,",
    "\",\"",
    "\"a\",\"x\":\"b\"",
];

/// A chunk as servers send it.
fn token(rng: &mut Rng) -> String {
    let text = fuzz::string(rng).1;
    let finish = ["", ",\"finish_reason\":null", ",\"finish_reason\":\"stop\""][rng.usize(..3)];
    let usage = [
        "",
        "",
        ",\"usage\":null",
        ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}",
        ",\"timings\":{\"cache_n\":3},\"usage\":{\"completion_tokens\":2}",
    ][rng.usize(..5)];
    let index = ["", "\"index\":0,", "\"index\":1,"][rng.usize(..3)];
    match rng.u8(..6) {
        0 => format!(
            "{{\"text\":{text}{}}}",
            [",\"cached\":true", ""][rng.usize(..2)]
        ),
        1 => format!("{{\"choices\":[{{{index}\"text\":{text}{finish}}}]{usage}}}"),
        2 => {
            format!("{{\"choices\":[{{{index}\"delta\":{{\"content\":{text}}}{finish}}}]{usage}}}")
        }
        3 => format!(
            "{{\"choices\":[{{{index}\"delta\":{{\"reasoning_content\":{text}}}{finish}}}]{usage}}}"
        ),
        4 => format!(
            "{{\"choices\":[{{\"delta\":{{\"content\":null,\"tool_calls\":[{{\"function\":{{\"name\":{text},\
             \"arguments\":\"b\"}}}}]}}}},{{\"index\":1,\"text\":\"c\"}}]{usage}}}"
        ),
        _ => fuzz::json(rng, 5, KEYS),
    }
}

/// What two readings of a chunk must agree on.
#[derive(Debug, PartialEq)]
struct Seen {
    answer_bytes: usize,
    reasoning_bytes: usize,
    has_finish_field: bool,
    finish: Option<u64>,
    usage: Option<Usage>,
    has_error: bool,
    cached: Option<bool>,
}

impl Seen {
    fn of(chunk: &Chunk) -> Seen {
        Seen {
            answer_bytes: chunk.answer_bytes,
            reasoning_bytes: chunk.reasoning_bytes,
            has_finish_field: chunk.has_finish_field,
            finish: chunk.finish.map(|(_, index)| index),
            usage: chunk.usage,
            has_error: chunk.error.is_some(),
            cached: chunk.cached,
        }
    }

    /// From a tree of values; `None` where an object is given as a list, which serde takes for its fields in order.
    fn slowly(api: Api, chunk: &Value) -> Option<Seen> {
        let mut seen = Seen {
            answer_bytes: 0,
            reasoning_bytes: 0,
            has_finish_field: false,
            finish: None,
            usage: usage(chunk)?,
            has_error: !chunk["error"].is_null(),
            cached: None,
        };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            seen.answer_bytes += bytes(&choice["text"]);
            for delta in [&object(choice)?["delta"], &choice["message"]] {
                seen.answer_bytes += bytes(&object(delta)?["content"]);
                seen.answer_bytes += tool_bytes(&delta["tool_calls"])?;
                let reasoning = bytes(&delta["reasoning"]);
                seen.reasoning_bytes += reasoning.max(bytes(&delta["reasoning_content"]));
            }
            if let Some(reason) = choice.get("finish_reason") {
                seen.has_finish_field = true;
                if !matches!(reason, Value::Null | Value::Bool(false)) && reason != "" {
                    seen.finish = Some(choice["index"].as_u64().unwrap_or(0));
                }
            }
        }
        if api == Api::Generate {
            seen.answer_bytes += bytes(&chunk["text"]);
            seen.cached = chunk["cached"].as_bool();
        }
        Some(seen)
    }
}

/// Whether no key that counts stands twice in an object, or under another spelling.
fn has_all_keys(json: &str, value: &Value) -> bool {
    let tree = value.to_string();
    KEYS.iter().all(|key| {
        let quoted = format!("\"{key}\"");
        json.matches(&quoted).count() == tree.matches(&quoted).count()
    })
}

fn object(value: &Value) -> Option<&Value> {
    (!value.is_array()).then_some(value)
}

fn bytes(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

/// Calls of which one is no call are none.
fn tool_bytes(calls: &Value) -> Option<usize> {
    let mut all = 0;
    for call in calls.as_array().into_iter().flatten() {
        let function = &object(call)?["function"];
        object(function)?;
        let fits = |value: &Value| value.is_object() || value.is_null();
        if !call.is_object() || !fits(function) {
            return Some(0);
        }
        all += bytes(&function["name"]) + bytes(&function["arguments"]);
    }
    Some(all)
}

fn usage(chunk: &Value) -> Option<Option<Usage>> {
    let usage = object(&chunk["usage"])?;
    let prompt = object(&usage["prompt_tokens_details"])?;
    let completion = object(&usage["completion_tokens_details"])?;
    let timings = object(&chunk["timings"])?;
    let sane = |value: &Value| value.as_u64().filter(|&n| n < 1 << 32);
    Some(usage.is_object().then(|| {
        let cached = prompt["cached_tokens"].as_u64();
        let cached = cached.or(usage["prompt_cache_hit_tokens"].as_u64());
        let cached = cached.filter(|&n| n < 1 << 32);
        Usage {
            prompt_tokens: sane(&usage["prompt_tokens"]),
            completion_tokens: sane(&usage["completion_tokens"]),
            cached_tokens: cached.or(sane(&timings["cache_n"])),
            reasoning_tokens: sane(&completion["reasoning_tokens"]),
        }
    }))
}

#[test]
fn a_chunk_is_what_a_tree_of_its_values_says() {
    let (mut compared, mut refused) = (0, 0);
    fuzz::run("chunk", 20_000, |rng| {
        let json = fuzz::input(rng, WORDS, |rng| token(rng).into_bytes());
        let shown = fuzz::text(&json);
        let _ = error_words(&shown);
        for api in APIS {
            let Ok(chunk) = Chunk::parse(api, &json) else {
                refused += 1;
                continue;
            };
            let _ = chunk.answer_text();
            // A tree holds less: no half of a surrogate pair, no number above the largest, no key twice.
            if let Ok(value) = serde_json::from_slice::<Value>(&json)
                && has_all_keys(&shown, &value)
                && let Some(seen) = Seen::slowly(api, &value)
            {
                assert_eq!(Seen::of(&chunk), seen, "{api:?} {shown}");
                compared += 1;
            }
        }
    });
    fuzz::assert_both(compared, refused);
}

#[test]
fn an_event_that_the_template_reads_is_what_the_parser_reads() {
    let (mut read, mut left) = (0, 0);
    fuzz::run("template", 20_000, |rng| {
        let api = APIS[rng.usize(..APIS.len())];
        let first = token(rng);
        let mut template = Template::default();
        if let Ok(chunk) = Chunk::parse(api, first.as_bytes()) {
            template.learn(first.as_bytes(), &chunk);
        }
        for _ in 0..4 {
            let next = match rng.bool() {
                true => other_text(rng, &first).into_bytes(),
                false => fuzz::input(rng, WORDS, |_| first.clone().into_bytes()),
            };
            let Some(seen) = template.read(&next) else {
                left += 1;
                continue;
            };
            read += 1;
            let shown = fuzz::text(&next);
            let parsed = Chunk::parse(api, &next).expect(&shown);
            assert_eq!(
                Seen::of(&seen),
                Seen::of(&parsed),
                "{api:?} {shown} after {first}"
            );
            assert_eq!(seen.answer, parsed.answer, "{shown}");
        }
    });
    fuzz::assert_both(read, left);
}

/// The same event with another string in the place of one.
fn other_text(rng: &mut Rng, event: &str) -> String {
    let quotes: Vec<usize> = memchr::memchr_iter(b'"', event.as_bytes()).collect();
    if quotes.len() < 2 {
        return event.to_string();
    }
    let at = rng.usize(..quotes.len() - 1);
    let (head, tail) = (&event[..quotes[at]], &event[quotes[at + 1] + 1..]);
    head.to_string() + &fuzz::string(rng).1 + tail
}

#[test]
fn a_chunk_as_deep_as_it_gets_overflows_no_stack() {
    for key in [
        "choices",
        "text",
        "delta",
        "tool_calls",
        "usage",
        "error",
        "x",
    ] {
        for deep in fuzz::deep_json(key) {
            for json in [
                &deep,
                &format!("{{\"{key}\":{deep}}}"),
                &format!("{{\"choices\":[{{\"{key}\":{deep}}}]}}"),
            ] {
                for api in APIS {
                    let _ = Chunk::parse(api, json.as_bytes()).map(|chunk| chunk.answer_text());
                }
                let _ = error_words(json);
            }
        }
    }
}

#[test]
fn time_is_linear_in_the_chunk() {
    for (head, piece, tail) in [
        ("{\"choices\":[{\"text\":\"", "a", "\"}]}"),
        ("{\"choices\":[{\"text\":\"", "\\n", "\"}]}"),
        ("{\"choices\":[{\"text\":\"", "\\ud83d\\ude00", "\"}]}"),
        ("{\"choices\":[", "{\"text\":\"a\"},", "{}]}"),
        (
            "{\"choices\":[{\"delta\":{\"tool_calls\":[",
            "{\"function\":{\"name\":\"a\"}},",
            "{}]}}]}",
        ),
        ("{", "\"x\":1,", "\"y\":1}"),
        ("", " ", "{}"),
        ("", "[", ""),
        ("{\"error\":", "{\"a\":", ""),
    ] {
        let make = |bytes| {
            [head, &piece.repeat(bytes / piece.len()), tail]
                .concat()
                .into_bytes()
        };
        fuzz::assert_linear(piece, make, |json| {
            let _ = Chunk::parse(Api::Chat, json).map(|chunk| chunk.answer_text());
        });
    }
}
