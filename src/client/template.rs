//! The previous token event as a template for the next one: most servers repeat every byte except the text.
//!
//! An event with the same bytes around another string is the same JSON around another text, so only the text is read.
//! Events that differ elsewhere are left to the parser. The template is copied into buffers that are reused, so nothing
//! is allocated once they are large enough.
//!
//! By Callgrind, a token costs 1,288 user instructions in the static binary against the unpaced server of `make bench`
//! (`benchmark`, 40 requests of 1,100 tokens minus those of 100); the parser alone would take some 13,000 more.

use serde_json::value::RawValue;

use super::chunk::Chunk;
use super::json::text_bytes;

#[cfg(test)]
mod fuzz;

/// Largest event that is kept: larger ones are not single tokens.
const MAX_BYTES: usize = 4 << 10;

#[derive(Debug, Default)]
pub struct Template {
    /// The event's bytes up to the text; empty until an event was learned.
    before: Vec<u8>,
    /// The event's bytes after the text.
    after: Vec<u8>,
    is_reasoning: bool,
    /// Whether the text belongs to the first choice.
    is_first: bool,
    has_finish_field: bool,
    /// The `cached` of `/generate`, where every event may have it.
    cached: Option<bool>,
}

impl Template {
    /// Reads an event that repeats the learned one; `None` leaves it to the parser.
    pub fn read<'a>(&self, data: &'a [u8]) -> Option<Chunk<'a>> {
        if self.before.is_empty() {
            return None;
        }
        let from_text = data.strip_prefix(&self.before[..])?;
        let text = from_text.strip_suffix(&self.after[..])?;
        let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let bytes = if inside.iter().all(is_plain) && std::str::from_utf8(inside).is_ok() {
            inside.len()
        } else {
            // The bytes may be more than a string (`"a","b":"c"`), or not one; the parser decides.
            let value: &RawValue = serde_json::from_slice(text).ok()?;
            text_bytes(Some(value))
        };
        let (answer_bytes, reasoning_bytes, answer) = if self.is_reasoning {
            (0, bytes, &[][..])
        } else {
            (bytes, 0, if self.is_first { inside } else { &[] })
        };
        Some(Chunk {
            answer_bytes,
            reasoning_bytes,
            answer,
            has_choice: true,
            has_finish_field: self.has_finish_field,
            cached: self.cached,
            ..Chunk::default()
        })
    }

    /// Learns a parsed event if it has nothing but a text.
    pub fn learn(&mut self, data: &[u8], chunk: &Chunk<'_>) {
        let says_more = chunk.usage.is_some() || chunk.finish.is_some() || chunk.error.is_some();
        let is_all = chunk.texts == 1 && !says_more && data.len() <= MAX_BYTES;
        let Some(text) = chunk.text.filter(|_| is_all) else {
            return;
        };
        // The value borrows from `data`, so the pointers give its place.
        let from = text.get().as_ptr() as usize - data.as_ptr() as usize;
        self.before.clear();
        self.before.extend_from_slice(&data[..from]);
        self.after.clear();
        self.after
            .extend_from_slice(&data[from + text.get().len()..]);
        self.is_reasoning = chunk.reasoning_bytes > 0;
        self.is_first = !chunk.answer.is_empty();
        self.has_finish_field = chunk.has_finish_field;
        self.cached = chunk.cached;
    }
}

/// Returns whether a byte needs no escape in a JSON string.
fn is_plain(byte: &u8) -> bool {
    *byte >= 0x20 && !matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::Api;
    use crate::client::dialect::parse;

    fn learned(event: &str) -> Template {
        let mut template = Template::default();
        let chunk = parse(Api::Chat, event.as_bytes()).expect(event);
        template.learn(event.as_bytes(), &chunk);
        template
    }

    const TOKEN: &str = r#"{"id":"1","choices":[{"index":0,"text":" a","finish_reason":null}]}"#;

    #[test]
    fn an_event_that_repeats_all_but_the_text_is_read_as_the_parser_reads_it() {
        let chat = r#"{"choices":[{"delta":{"content":" a"}}]}"#;
        let thought = r#"{"choices":[{"delta":{"reasoning_content":" a"},"finish_reason":null}]}"#;
        for event in [TOKEN, chat, thought] {
            let template = learned(event);
            for text in [
                r#"" b""#,
                r#""""#,
                r#""\n\"é\\""#,
                r#""日本""#,
                r#""\ud83d\ude00""#,
            ] {
                let next = event.replace(r#"" a""#, text);
                let parsed = parse(Api::Chat, next.as_bytes()).expect(&next);
                let read = template.read(next.as_bytes()).expect(&next);
                assert_eq!(
                    (
                        read.answer_bytes,
                        read.reasoning_bytes,
                        read.has_finish_field
                    ),
                    (
                        parsed.answer_bytes,
                        parsed.reasoning_bytes,
                        parsed.has_finish_field
                    ),
                    "{next}"
                );
                assert!(read.has_choice && read.finish.is_none() && read.usage.is_none());
            }
        }
    }

    #[test]
    fn an_event_that_says_of_a_cache_says_it_again_where_it_is_repeated() {
        // The template is kept from reply to reply, so the second reply needs no parser.
        for (event, cached) in [
            (r#"{"text":" a","cached":true}"#, Some(true)),
            (r#"{"text":" a","cached":false}"#, Some(false)),
            (r#"{"text":" a"}"#, None),
        ] {
            let mut template = Template::default();
            let chunk = parse(Api::Generate, event.as_bytes()).expect(event);
            template.learn(event.as_bytes(), &chunk);
            let next = event.replace(" a", " b");
            let read = template.read(next.as_bytes()).expect(&next);
            assert_eq!(read.cached, cached, "{next}");
        }
    }

    #[test]
    fn events_that_differ_beside_the_text_are_left_to_the_parser() {
        let template = learned(TOKEN);
        for (from, to) in [
            ("null", "\"stop\""),
            ("\"1\"", "\"2\""),
            ("]}", "],\"usage\":{\"completion_tokens\":3}}"),
            // Other JSON, or none, replaces the string.
            ("\" a\"", "null"),
            ("\" a\"", "\"a\",\"finish_reason\":\"stop\",\"x\":\"b\""),
            ("\" a\"", "\"a\"b\""),
            ("\" a\"", "\"\\x\""),
            ("\" a\"", "\"\\\""),
            ("\" a\"", "\"\n\""),
            ("\" a\"", "\""),
            ("\" a\"", " \"a\" "),
        ] {
            let event = TOKEN.replacen(from, to, 1);
            assert!(template.read(event.as_bytes()).is_none(), "{event}");
        }
        let broken = TOKEN.replace(" a", "\u{0}").into_bytes();
        assert!(template.read(&broken).is_none());
        let invalid: Vec<u8> = TOKEN
            .bytes()
            .map(|b| if b == b'a' { 0xff } else { b })
            .collect();
        assert!(template.read(&invalid).is_none(), "no UTF-8");
        assert!(Template::default().read(TOKEN.as_bytes()).is_none());
    }

    #[test]
    fn an_event_that_says_more_than_one_text_is_not_learned() {
        for event in [
            r#"{"choices":[{"text":" a","finish_reason":"length"}]}"#,
            r#"{"choices":[{"text":" a"}],"usage":{"completion_tokens":1}}"#,
            r#"{"choices":[{"text":" a"},{"index":1,"text":" b"}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":[{"function":{"name":"f"}}]}}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[]}"#,
        ] {
            assert!(learned(event).read(event.as_bytes()).is_none(), "{event}");
        }
    }
}
