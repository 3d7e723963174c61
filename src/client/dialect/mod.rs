//! The JSON of replies, one file a dialect.

mod chat;
mod completions;
mod error;
mod generate;

use super::api::Api;
use super::chunk::Chunk;
use super::json::{self, Raw, each, pick};
use super::usage::{Usage, cached_in_tiers};

pub use self::generate::NAMES as GENERATE_NAMES;

/// Reads one JSON object of the API; `null` is an empty chunk (llama.cpp sends it between two prompts).
///
/// # Errors
/// Fails when the bytes are not JSON, or are JSON of another type.
pub fn parse(api: Api, data: &[u8]) -> serde_json::Result<Chunk<'_>> {
    let text = std::str::from_utf8(data).map_err(serde::de::Error::custom)?;
    let (text, mut chunk) = match api {
        Api::Completions | Api::Chat => (text, Chunk::default()),
        Api::Generate => generate::read(text)?,
    };
    let [choices, usage, timings, groq, sglang, error, errors, status] = json::read(
        text,
        &[
            "choices",
            "usage",
            "timings",
            "x_groq",
            "sglext",
            "error",
            "errors",
            "base_resp",
        ],
    )?;
    each(choices, |choice| add_choice(&mut chunk, choice));
    // Groq has its counts under a key of its own, llama.cpp some of them beside the others.
    let [groq] = pick(groq, &["usage"]);
    for usage in [usage, groq].into_iter().filter_map(Usage::read) {
        chunk.add_usage(usage);
    }
    let [cached] = pick(timings, &["cache_n"]).map(json::count);
    if let Some(usage) = &mut chunk.usage {
        usage.cached_tokens = usage.cached_tokens.or(cached);
    }
    // SGLang tells the tiers in an event of their own, or beside the usage, which may have no cached tokens.
    let [tiers] = pick(sglang, &["cached_tokens_details"]);
    if let Some(cached) = cached_in_tiers(tiers) {
        let usage = chunk.usage.get_or_insert_default();
        usage.cached_tokens.get_or_insert(cached);
    }
    let is_bare = !chunk.has_choice && chunk.usage.is_none();
    if is_bare || error.or(errors).or(status).is_some() {
        let words = error::words(text, is_bare);
        chunk.error = words.map(String::into_boxed_str).or(chunk.error);
    }
    Ok(chunk)
}

fn add_choice<'a>(chunk: &mut Chunk<'a>, choice: Raw<'a>) {
    chunk.has_choice = true;
    let [index, text, delta, message, finish, usage] = pick(
        Some(choice),
        &[
            "index",
            "text",
            "delta",
            "message",
            "finish_reason",
            "usage",
        ],
    );
    // An unreadable number counts as 0, which belongs to no other choice.
    let index = json::count(index).unwrap_or(0);
    completions::read(chunk, text, index == 0);
    chat::read(chunk, delta, index == 0);
    chat::read(chunk, message, index == 0);
    if let Some(usage) = Usage::read(usage) {
        chunk.add_usage(usage);
    }
    if let Some(reason) = finish {
        chunk.has_finish_field = true;
        chunk.finish_with(reason, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_tell_answer_reasoning_and_tools_apart() {
        for (json, answer, reasoning) in [
            (
                r#"{"choices":[{"text":" ab","index":0,"finish_reason":null}]}"#,
                3,
                0,
            ),
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#,
                0,
                0,
            ),
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                0,
                0,
            ),
            (r#"{"choices":[{"delta":{"content":"a"}}]}"#, 1, 0),
            (r#"{"choices":[{"delta":{"reasoning":"abc"}}]}"#, 0, 3),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"abc","reasoning":"abc"}}]}"#,
                0,
                3,
            ),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}"#,
                3,
                0,
            ),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"","arguments":null}}]}}]}"#,
                0,
                0,
            ),
            (r#"{"choices":[{"message":{"content":"abcd"}}]}"#, 4, 0),
            (r#"{"choices":[]}"#, 0, 0),
            (r#"{"choices":null}"#, 0, 0),
            ("null", 0, 0),
        ] {
            let chunk = parse(Api::Chat, json.as_bytes()).expect(json);
            assert_eq!(
                (chunk.answer_bytes, chunk.reasoning_bytes),
                (answer, reasoning),
                "{json}"
            );
        }
        for bad in ["", "{", "[]", "7", r#"{"choices":[{"text":"a"}]}}"#] {
            assert!(parse(Api::Chat, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_beside_no_choices_is_read_where_the_api_has_it() {
        for (json, bytes, cached, text) in [
            (
                r#"{"text":"a\u00e9","cached":true}"#,
                3,
                Some(true),
                Some("aé"),
            ),
            (r#"{"cached":false,"text":""}"#, 0, Some(false), None),
            (r#"{"text":"a","cached":"yes"}"#, 1, None, Some("a")),
            (r#"{"text":null,"cached":null}"#, 0, None, None),
            (r#"{"text":["a"]}"#, 1, None, Some("a")),
            (r#"{"error":"busy"}"#, 0, None, None),
        ] {
            let chunk = parse(Api::Generate, json.as_bytes()).expect(json);
            assert_eq!(
                (chunk.answer_bytes, chunk.cached),
                (bytes, cached),
                "{json}"
            );
            assert_eq!(chunk.answer_text().as_deref(), text, "{json}");
            let chunk = parse(Api::Completions, json.as_bytes()).expect(json);
            assert_eq!((chunk.answer_bytes, chunk.cached), (0, None), "{json}");
        }
    }

    #[test]
    fn an_absent_finish_reason_is_not_a_null_one() {
        let chunk = |json: &'static str| parse(Api::Chat, json.as_bytes()).expect(json);
        assert!(!chunk(r#"{"choices":[{"text":"a"}]}"#).has_finish_field);
        let null = chunk(r#"{"choices":[{"text":"a","finish_reason":null}]}"#);
        assert!(null.has_finish_field && null.finish.is_none());
        let (reason, index) = chunk(r#"{"choices":[{"index":3,"finish_reason":"stop"}]}"#)
            .finish
            .expect("finished");
        assert_eq!((reason.get(), index), ("\"stop\"", 3));
    }

    #[test]
    fn cached_tokens_are_found_under_each_of_their_names() {
        for (json, cached) in [
            (
                r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}}"#,
                Some(4),
            ),
            (
                r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":null}}"#,
                None,
            ),
            (
                r#"{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":5}}"#,
                Some(5),
            ),
            (
                r#"{"usage":{"prompt_tokens":9},"timings":{"cache_n":6}}"#,
                Some(6),
            ),
            (
                r#"{"usage":{"prompt_tokens":9},"sglext":{"cached_tokens_details":{"device":4,"host":2,"storage":1,"storage_backend":"file"}}}"#,
                Some(7),
            ),
            (
                r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5}},"sglext":{"cached_tokens_details":{"device":4,"host":1}}}"#,
                Some(5),
            ),
            (
                r#"{"usage":{"prompt_tokens":9},"sglext":{"cached_tokens_details":null}}"#,
                None,
            ),
            (
                r#"{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":18446744073709551615}}"#,
                None,
            ),
            (
                r#"{"usage":{"prompt_tokens":9},"timings":{"cache_n":18446744073709551615}}"#,
                None,
            ),
        ] {
            let usage = parse(Api::Chat, json.as_bytes())
                .expect(json)
                .usage
                .expect("usage");
            assert_eq!(
                (usage.prompt_tokens, usage.cached_tokens),
                (Some(9), cached),
                "{json}"
            );
        }
    }

    #[test]
    fn a_malformed_usage_is_absent_number_by_number() {
        for (usage, prompt, completion) in [
            (
                r#"{"prompt_tokens":9,"completion_tokens":-5}"#,
                Some(9),
                None,
            ),
            (
                r#"{"prompt_tokens":9.5,"completion_tokens":5}"#,
                None,
                Some(5),
            ),
            (
                r#"{"prompt_tokens":"9","completion_tokens":null}"#,
                Some(9),
                None,
            ),
            (
                r#"{"prompt_tokens":99999999999999999999,"completion_tokens":1e3}"#,
                None,
                Some(1000),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":7}"#,
                Some(9),
                Some(5),
            ),
        ] {
            let json = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            let found = parse(Api::Chat, json.as_bytes()).expect(usage).usage;
            let found = found.expect("an object");
            assert_eq!(
                (found.prompt_tokens, found.completion_tokens),
                (prompt, completion),
                "{usage}"
            );
        }
        for usage in ["null", "7", "\"x\""] {
            let json = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            let chunk = parse(Api::Chat, json.as_bytes()).expect(usage);
            assert_eq!(chunk.usage, None, "{usage}");
        }
    }

    /// Returns the bytes of answer and of reasoning in a delta.
    fn bytes_of(delta: &str) -> (usize, usize) {
        let json = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        let chunk = parse(Api::Chat, json.as_bytes()).expect(delta);
        (chunk.answer_bytes, chunk.reasoning_bytes)
    }

    #[test]
    fn text_is_found_wherever_servers_put_it() {
        for (delta, answer, reasoning) in [
            (r#"{"content":[{"type":"text","text":"abc"}]}"#, 3, 0),
            (
                r#"{"content":["ab",{"type":"output_text","text":"c"}]}"#,
                3,
                0,
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":"abc"}]}"#,
                0,
                3,
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"abc"}]},{"type":"text","text":"d"}]}"#,
                1,
                3,
            ),
            (r#"{"content":[{"type":"refusal","refusal":"abc"}]}"#, 3, 0),
            (r#"{"content":{"parts":[{"text":"abc"}]}}"#, 3, 0),
            (r#"{"refusal":"abc","content":null}"#, 3, 0),
            (r#"{"function_call":{"name":"f"}}"#, 1, 0),
            (r#"{"function_call":{"arguments":"{}"}}"#, 2, 0),
            (
                r#"{"tool_calls":[{"index":0,"type":"custom","custom":{"name":"f","input":"ab"}}]}"#,
                3,
                0,
            ),
            (r#"{"tool_calls":{"function":{"arguments":"ab"}}}"#, 2, 0),
            (
                r#"{"tool_calls":[{"id":"call_1","type":"function"}]}"#,
                0,
                0,
            ),
            (r#"{"audio":{"id":"a1","transcript":"abc"}}"#, 3, 0),
            (r#"{"audio":{"id":"a1","expires_at":7}}"#, 0, 0),
            (r#"{"reasoning_text":"abc"}"#, 0, 3),
            (
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"abc"}]}"#,
                0,
                3,
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"abc"}]}"#,
                0,
                3,
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"abc"}]}"#,
                0,
                0,
            ),
            (r#"{"reasoning":{"content":"abc"}}"#, 0, 3),
            (r#"{"thinking":"abc"}"#, 0, 3),
            (
                r#"{"reasoning_content":"abc","thinking_blocks":[{"type":"thinking","thinking":"abc","signature":"s"}]}"#,
                0,
                3,
            ),
            (
                r#"{"role":"assistant","content":[],"tool_calls":[],"refusal":null}"#,
                0,
                0,
            ),
        ] {
            assert_eq!(bytes_of(delta), (answer, reasoning), "{delta}");
        }
    }

    #[test]
    fn some_finish_reasons_are_those_of_a_failure() {
        for (reason, words) in [
            (r#""abort""#, Some("finish reason abort")),
            (r#""error""#, Some("finish reason error")),
            (r#""Cancelled""#, Some("finish reason Cancelled")),
            (r#""network_error""#, Some("finish reason network_error")),
            (
                r#"{"type":"abort","message":"out of memory"}"#,
                Some("out of memory"),
            ),
            (
                r#"{"type":"abort","message":""}"#,
                Some("finish reason abort"),
            ),
            (r#"{"type":"length","length":10}"#, None),
            (r#""stop""#, None),
            (r#""content_filter""#, None),
            (r#""tool_calls""#, None),
        ] {
            let json = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":{reason}}}]}}"#);
            let chunk = parse(Api::Chat, json.as_bytes()).expect(reason);
            assert_eq!(chunk.error.as_deref(), words, "{reason}");
            assert!(chunk.finish.is_some(), "{reason}");
            let json = format!(r#"{{"text":"a","meta_info":{{"finish_reason":{reason}}}}}"#);
            let chunk = parse(Api::Generate, json.as_bytes()).expect(reason);
            assert_eq!(chunk.error.as_deref(), words, "{reason}");
        }
    }

    #[test]
    fn counts_are_found_wherever_servers_put_them() {
        for json in [
            r#"{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":30}}"#,
            r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":20,"completion_tokens":30}}]}"#,
            r#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":20,"completion_tokens":30}}}"#,
            r#"{"choices":[],"usage":null,"x_groq":{"usage":{"input_tokens":20.0,"output_tokens":30.0}}}"#,
        ] {
            let usage = parse(Api::Chat, json.as_bytes()).expect(json).usage;
            let usage = usage.expect(json);
            assert_eq!(
                (usage.prompt_tokens, usage.completion_tokens),
                (Some(20), Some(30)),
                "{json}"
            );
        }
        let meta = r#"{"text":"a","meta_info":{"prompt_tokens":20,"completion_tokens":30,"cached_tokens":16}}"#;
        let usage = parse(Api::Generate, meta.as_bytes())
            .expect(meta)
            .usage
            .expect("counts");
        assert_eq!(
            (usage.completion_tokens, usage.cached_tokens),
            (Some(30), Some(16))
        );
    }

    #[test]
    fn the_text_of_a_generate_has_many_names() {
        for json in [
            r#"{"text":"abc"}"#,
            r#"{"text":["abc","other"]}"#,
            r#"{"response":"abc","done":true}"#,
            r#"{"generated_text":"abc"}"#,
            r#"[{"generated_text":"abc"}]"#,
            r#"{"text_output":"abc","model_name":"m"}"#,
            r#"{"output":"abc"}"#,
            r#"{"content":"abc","stop":true}"#,
            r#"{"token":{"id":7,"text":"abc"},"generated_text":"all of it"}"#,
        ] {
            let chunk = parse(Api::Generate, json.as_bytes()).expect(json);
            assert_eq!(chunk.answer_text().as_deref(), Some("abc"), "{json}");
        }
    }
}
