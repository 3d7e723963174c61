//! The JSON of a reply: a chunk of a stream, or a whole plain reply.
//!
//! A chunk is read in one pass over borrowed bytes; texts are measured, not copied, so that a
//! token costs no allocation.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::api::Api;
use super::usage::{RawUsage, Usage, lenient, sane};

/// One chunk of a streamed reply, or a whole plain one.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// Generated text that is the answer, in bytes of UTF-8.
    pub answer_bytes: usize,
    /// Generated text that is reasoning, in bytes of UTF-8.
    pub reasoning_bytes: usize,
    /// The number of JSON values that hold this text, and the last string of them.
    pub texts: u32,
    pub text: Option<&'a RawValue>,
    /// The answer's text of the first choice as it stands in the JSON, without its quotes.
    pub answer: &'a [u8],
    /// A choice is in it.
    pub has_choice: bool,
    /// A choice has the field at all, null included.
    pub has_finish_field: bool,
    /// The reason and the number of the last choice that finished here.
    pub finish: Option<(&'a RawValue, u64)>,
    pub usage: Option<Usage>,
    /// Whether the whole reply came from a cache; only `/generate` says so.
    pub cached: Option<bool>,
    /// The error object or text, as it stands in the JSON.
    pub error: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    /// Reads one JSON object of the API; `null` is an empty chunk (llama.cpp sends it between two prompts).
    pub fn parse(api: Api, json: &'a [u8]) -> serde_json::Result<Chunk<'a>> {
        // serde would take a list for the fields in order.
        if json.trim_ascii_start().starts_with(b"[") {
            return Err(serde_json::Error::custom("a list, not an object"));
        }
        let object: Option<Object<'a>> = serde_json::from_slice(json)?;
        let Some(object) = object else {
            return Ok(Chunk::default());
        };
        let mut chunk = object.choices.0;
        if api == Api::Generate {
            chunk.add_text(object.text);
            chunk.cached = object.cached;
        }
        chunk.error = object.error;
        chunk.usage = object.usage.map(RawUsage::flatten);
        if let (Some(usage), Some(timings)) = (&mut chunk.usage, object.timings) {
            usage.cached_tokens = usage.cached_tokens.or(sane(timings.cache_n));
        }
        Ok(chunk)
    }

    /// The answer of a whole reply, unescaped; `None` where there is none, or no valid text.
    pub fn answer_text(&self) -> Option<String> {
        let json = [b"\"", self.answer, b"\""].concat();
        let text: String = serde_json::from_slice(&json).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Bytes of a text, which is noted.
    fn measured(&mut self, text: Option<&'a RawValue>) -> usize {
        let bytes = text_bytes(text);
        if bytes > 0 {
            self.texts += 1;
            self.text = text;
        }
        bytes
    }

    /// The text of an object without choices.
    fn add_text(&mut self, text: Option<&'a RawValue>) {
        let bytes = self.measured(text);
        if bytes > 0 {
            self.answer = inside(text).unwrap_or_default().as_bytes();
            self.answer_bytes += bytes;
            self.has_choice = true;
        }
    }

    fn add(&mut self, choice: &Choice<'a>) {
        self.has_choice = true;
        let is_first = choice.index.unwrap_or(0) == 0;
        let answer = |chunk: &mut Chunk<'a>, text: Option<&'a RawValue>| {
            let bytes = chunk.measured(text);
            if bytes > 0 && is_first {
                chunk.answer = inside(text).unwrap_or_default().as_bytes();
            }
            chunk.answer_bytes += bytes;
        };
        answer(self, choice.text);
        for delta in [&choice.delta, &choice.message].into_iter().flatten() {
            answer(self, delta.content);
            let tool_bytes = tool_bytes(delta.tool_calls);
            self.answer_bytes += tool_bytes;
            self.texts += u32::from(tool_bytes > 0);
            // Some servers send both spellings with the same text.
            let spellings = [delta.reasoning_content, delta.reasoning];
            self.reasoning_bytes += spellings
                .map(|text| self.measured(text))
                .into_iter()
                .max()
                .unwrap_or(0);
        }
        if let Some(reason) = choice.finish_reason {
            self.has_finish_field = true;
            // Some gateways write "" where others write null.
            if !matches!(reason.get(), "null" | "\"\"" | "false") {
                self.finish = Some((reason, choice.index.unwrap_or(0)));
            }
        }
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    choices: Choices<'a>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<RawUsage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient")]
    timings: Option<Timings>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient")]
    cached: Option<bool>,
}

/// llama.cpp's own figures beside `usage`.
#[derive(Deserialize)]
struct Timings {
    #[serde(default, deserialize_with = "lenient")]
    cache_n: Option<u64>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// Keeps a null as a value, so that an absent field can be told from it.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// The choices of a chunk, folded as they are read: a Vec would allocate once a token.
#[derive(Default)]
struct Choices<'a>(Chunk<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Choices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut chunk = Chunk::default();
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    chunk.add(&choice);
                }
                Ok(Choices(chunk))
            }
        }
        deserializer.deserialize_any(Fold)
    }
}

/// A JSON string without its quotes; `None` for anything else.
fn inside(raw: Option<&RawValue>) -> Option<&str> {
    raw?.get().strip_prefix('"')?.strip_suffix('"')
}

/// Bytes of UTF-8 in a JSON string; 0 for null and for anything else.
pub fn text_bytes(raw: Option<&RawValue>) -> usize {
    let mut rest = inside(raw).unwrap_or_default().as_bytes();
    let mut bytes = 0;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        let (escaped, after) = match rest.get(at + 1) {
            Some(b'u') => (utf8_bytes(rest.get(at + 2..at + 6)), at + 6),
            _ => (1, at + 2),
        };
        bytes += at + escaped;
        rest = rest.get(after..).unwrap_or_default();
    }
    bytes + rest.len()
}

/// Bytes that the four hex digits of `\u` stand for; each half of a surrogate pair counts 2 of 4.
fn utf8_bytes(digits: Option<&[u8]>) -> usize {
    let code = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match code {
        Some(0..=0x7f) => 1,
        Some(0x80..=0x7ff | 0xd800..=0xdfff) => 2,
        _ => 3,
    }
}

/// Bytes of the names and arguments in a list of tool calls. Allocates; only replies with tools pay.
fn tool_bytes(raw: Option<&RawValue>) -> usize {
    #[derive(Deserialize)]
    struct Call<'a> {
        #[serde(borrow)]
        function: Option<Function<'a>>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let calls: Option<Vec<Call>> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let functions = calls.into_iter().flatten().filter_map(|call| call.function);
    functions
        .map(|f| text_bytes(f.name) + text_bytes(f.arguments))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_measured_as_utf8_without_decoding_it() {
        for text in [
            "", "a", "é", "😀", "\n\t\"\\", "a\u{1}b", "x\\u00e9", "日本",
        ] {
            for json in [json!(text).to_string(), ascii_only(text)] {
                let raw: &RawValue = serde_json::from_str(&json).expect("a JSON string");
                assert_eq!(text_bytes(Some(raw)), text.len(), "{json}");
            }
        }
        for other in ["null", "7", "[\"a\"]"] {
            let raw: &RawValue = serde_json::from_str(other).expect("JSON");
            assert_eq!(text_bytes(Some(raw)), 0, "{other}");
        }
        assert_eq!(text_bytes(None), 0);
    }

    fn ascii_only(text: &str) -> String {
        let units: String = text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect();
        format!("\"{units}\"")
    }

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
            let chunk = Chunk::parse(Api::Chat, json.as_bytes()).expect(json);
            assert_eq!(
                (chunk.answer_bytes, chunk.reasoning_bytes),
                (answer, reasoning),
                "{json}"
            );
        }
        for bad in [
            "",
            "{",
            "[]",
            "7",
            r#"{"choices":[{"text":"a"}]}}"#,
            r#"{"choices":7}"#,
        ] {
            assert!(Chunk::parse(Api::Chat, bad.as_bytes()).is_err(), "{bad}");
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
            (r#"{"text":["a"]}"#, 0, None, None),
            (r#"{"error":"busy"}"#, 0, None, None),
        ] {
            let chunk = Chunk::parse(Api::Generate, json.as_bytes()).expect(json);
            assert_eq!(
                (chunk.answer_bytes, chunk.cached),
                (bytes, cached),
                "{json}"
            );
            assert_eq!(chunk.answer_text().as_deref(), text, "{json}");
            let chunk = Chunk::parse(Api::Completions, json.as_bytes()).expect(json);
            assert_eq!((chunk.answer_bytes, chunk.cached), (0, None), "{json}");
        }
    }

    #[test]
    fn an_absent_finish_reason_is_not_a_null_one() {
        let chunk = |json: &'static str| Chunk::parse(Api::Chat, json.as_bytes()).expect(json);
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
                r#"{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":18446744073709551615}}"#,
                None,
            ),
            (
                r#"{"usage":{"prompt_tokens":9},"timings":{"cache_n":18446744073709551615}}"#,
                None,
            ),
        ] {
            let usage = Chunk::parse(Api::Chat, json.as_bytes())
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
    fn a_usage_that_is_none_is_absent_number_by_number() {
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
                None,
                None,
            ),
            (
                r#"{"prompt_tokens":99999999999999999999,"completion_tokens":1e3}"#,
                None,
                None,
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":7}"#,
                Some(9),
                Some(5),
            ),
        ] {
            let json = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            let found = Chunk::parse(Api::Chat, json.as_bytes()).expect(usage).usage;
            let found = found.expect("an object");
            assert_eq!(
                (found.prompt_tokens, found.completion_tokens),
                (prompt, completion),
                "{usage}"
            );
        }
        for usage in ["null", "7", "\"x\""] {
            let json = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            let chunk = Chunk::parse(Api::Chat, json.as_bytes()).expect(usage);
            assert_eq!(chunk.usage, None, "{usage}");
        }
    }
}
