//! Chunks of any JSON: the parser reads the same as a tree of values gives, and the template the same as the parser.

use fastrand::Rng;
use serde_json::Value;

use super::Template;
use crate::client::api::{Api, error_words};
use crate::client::chunk::Chunk;
use crate::client::dialect::parse;
use crate::client::json::is_empty;
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

/// Makes a chunk as servers send it.
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

/// The facts on which two readings of a chunk must agree.
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

    /// Reads a chunk from a tree of values; `None` if text is in lists and objects, which other tests cover.
    fn slowly(api: Api, chunk: &Value) -> Option<Seen> {
        let chunk = match (api, chunk) {
            (Api::Generate, Value::Array(list)) => list.first()?,
            _ => chunk,
        };
        let mut seen = Seen {
            answer_bytes: 0,
            reasoning_bytes: 0,
            has_finish_field: false,
            finish: None,
            usage: usage(chunk),
            has_error: !is_empty(&chunk["error"]),
            cached: None,
        };
        let choices = match &chunk["choices"] {
            Value::Array(list) => list.iter().collect(),
            object @ Value::Object(_) => vec![object],
            _ => Vec::new(),
        };
        for choice in choices {
            if choice["usage"].is_object() {
                return None;
            }
            seen.answer_bytes += bytes(&choice["text"])?;
            for delta in [&choice["delta"], &choice["message"]] {
                seen.answer_bytes += bytes(&delta["content"])? + tool_bytes(&delta["tool_calls"])?;
                let reasoning = bytes(&delta["reasoning"])?;
                seen.reasoning_bytes += reasoning.max(bytes(&delta["reasoning_content"])?);
            }
            if let Some(reason) = choice.get("finish_reason") {
                seen.has_finish_field = true;
                let is_none =
                    [Value::Null, false.into(), "".into(), "null".into()].contains(reason);
                if !is_none {
                    seen.finish = Some(count(&choice["index"]).unwrap_or(0));
                }
            }
        }
        if api == Api::Generate {
            let texts = ["text", "content"].map(|name| match &chunk[name] {
                Value::Array(list) => list.first().unwrap_or(&Value::Null),
                object @ Value::Object(_) => &object["text"],
                text => text,
            });
            let texts = texts.map(|text| text.as_str().map_or(0, str::len));
            seen.answer_bytes += texts.into_iter().find(|&bytes| bytes > 0).unwrap_or(0);
            seen.cached = chunk["cached"].as_bool();
            if chunk.get("finish_reason").is_some() {
                return None;
            }
        }
        Some(seen)
    }
}

/// Names that the readers know in addition to `KEYS`. Other tests cover them; the tree below does not read them.
const OTHER_NAMES: &[&str] = &[
    "refusal",
    "audio",
    "tool_call",
    "function_call",
    "custom_tool_call",
    "reasoning_text",
    "reasoning_details",
    "thinking",
    "thinking_content",
    "thinking_blocks",
    "thought",
    "errors",
    "base_resp",
    "detail",
    "x_groq",
    "meta_info",
    "response",
    "token",
    "generated_text",
    "text_output",
    "output",
    "output_text",
    "input_tokens",
    "output_tokens",
    "total_tokens",
];

fn has_other_names(value: &Value) -> bool {
    let tree = value.to_string();
    OTHER_NAMES
        .iter()
        .any(|name| tree.contains(&format!("\"{name}\":")))
}

/// Returns whether no relevant key occurs twice in an object, or under another spelling.
fn has_all_keys(json: &str, value: &Value) -> bool {
    let tree = value.to_string();
    KEYS.iter().all(|key| {
        let quoted = format!("\"{key}\"");
        json.matches(&quoted).count() == tree.matches(&quoted).count()
    })
}

/// Returns the bytes of a text; `None` if the value is not a text, but may hold one.
fn bytes(value: &Value) -> Option<usize> {
    let is_more = value.is_array() || value.is_object();
    (!is_more).then(|| value.as_str().map_or(0, str::len))
}

/// Returns the bytes of tool calls; `None` if it is not a list of calls with a name and arguments.
fn tool_bytes(calls: &Value) -> Option<usize> {
    let Value::Array(calls) = calls else {
        return bytes(calls);
    };
    let of_call = |call: &Value| {
        let call = call.as_object().filter(|call| call.len() == 1)?;
        let function = call
            .get("function")?
            .as_object()
            .filter(|function| function.len() == 2)?;
        Some(bytes(function.get("name")?)? + bytes(function.get("arguments")?)?)
    };
    calls.iter().map(of_call).sum()
}

fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (number.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&number)).then_some(number as u64)
}

fn usage(chunk: &Value) -> Option<Usage> {
    let usage = &chunk["usage"];
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
    let reasoning = count(&usage["completion_tokens_details"]["reasoning_tokens"]);
    let mut found = Usage {
        prompt_tokens: count(&usage["prompt_tokens"]),
        completion_tokens: count(&usage["completion_tokens"]),
        cached_tokens: cached
            .or(count(&usage["cached_tokens"]))
            .or(count(&usage["prompt_cache_hit_tokens"])),
        reasoning_tokens: reasoning.or(count(&usage["reasoning_tokens"])),
        total_tokens: None,
    };
    if found == Usage::default() {
        return None;
    }
    found.cached_tokens = found.cached_tokens.or(count(&chunk["timings"]["cache_n"]));
    Some(found)
}

#[test]
fn a_chunk_is_what_a_tree_of_its_values_says() {
    let (mut compared, mut refused) = (0, 0);
    fuzz::run("chunk", 20_000, |rng| {
        let json = fuzz::input(rng, WORDS, |rng| token(rng).into_bytes());
        let shown = fuzz::text(&json);
        let _ = error_words(&shown);
        for api in APIS {
            let Ok(chunk) = parse(api, &json) else {
                refused += 1;
                continue;
            };
            let _ = chunk.answer_text();
            // A tree cannot hold half of a surrogate pair, numbers beyond the largest, or duplicate keys.
            if let Ok(value) = serde_json::from_slice::<Value>(&json)
                && has_all_keys(&shown, &value)
                && !has_other_names(&value)
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
        if let Ok(chunk) = parse(api, first.as_bytes()) {
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
            let parsed = parse(api, &next).expect(&shown);
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

/// Returns the event with one string replaced.
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
        "content",
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
                    let _ = parse(api, json.as_bytes()).map(|chunk| chunk.answer_text());
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
            let _ = parse(Api::Chat, json).map(|chunk| chunk.answer_text());
        });
    }
}
