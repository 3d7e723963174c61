//! The text of a message as the file has it: a JSON string, or an array of text parts.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::plan::json::{self, kind, shortened};
use crate::plan::turn::escape;

/// Text that is known to be decodable, but is only decoded when needed: the inside of a JSON string.
#[derive(Debug, Clone)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Reads a string or an array of text parts, which are joined without separators.
    ///
    /// # Errors
    /// Fails with the kind of the value; the caller puts the name of the value in front.
    pub fn parse(value: &'a RawValue) -> Result<Text<'a>, String> {
        let json = value.get();
        if json.starts_with('"') {
            return Ok(Text(inside(json)?.into()));
        }
        if !json.starts_with('[') {
            return Err(format!("{}, not text", kind(json)));
        }
        let parts = (1..).zip(json::elements(json)?).map(|(number, part)| {
            text_part(part.get()).map_err(|why| format!("part {number} is {why}"))
        });
        Ok(Text(parts.collect::<Result<_, _>>()?))
    }

    /// Returns whether the text is only white space.
    pub fn is_blank(&self) -> bool {
        // Most texts begin with a letter, which shows it without decoding.
        let first = self.0.bytes().next();
        !first.is_some_and(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && self.decoded().trim().is_empty()
    }

    /// Returns the text for the inside of a JSON string, as `plan::escape` writes it.
    pub fn escaped(&self) -> Arc<str> {
        match self.decoded() {
            // Text without a backslash needs no escaping.
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => escape(&text),
        }
    }

    pub fn decoded(&self) -> Cow<'a, str> {
        if memchr::memchr(b'\\', self.0.as_bytes()).is_none() {
            return self.0.clone();
        }
        let decoded = serde_json::from_str(&format!("\"{}\"", self.0));
        Cow::Owned(decoded.expect("`inside` has checked it"))
    }
}

/// Returns the text of a `{"type": "text", "text": …}`; the error says what it is instead.
fn text_part(json: &str) -> Result<&str, String> {
    if !json.starts_with('{') {
        return Err(format!("{}, not a text part", kind(json)));
    }
    let [type_, text] = json::values(json, ["type", "text"])
        .map_err(|error| format!("wrong: {}", json::without_place(&error)))?;
    if let Some(other) = type_.filter(|name| name.get() != "\"text\"") {
        return Err(format!("of type {}, not text", shortened(other.get())));
    }
    match text.map(RawValue::get) {
        Some(text) if text.starts_with('"') => inside(text),
        Some(other) => Err(format!("one whose text is {}", kind(other))),
        None => Err("one without text".to_string()),
    }
}

/// Returns the inside of a JSON string, if it can be decoded.
fn inside(quoted: &str) -> Result<&str, String> {
    let inside = &quoted[1..quoted.len() - 1];
    // serde_json has checked everything except the pairing of surrogates.
    let mut rest = inside.as_bytes();
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if matches!(rest[at..], [_, b'u', b'd' | b'D', ..]) {
            return match serde_json::from_str::<String>(quoted) {
                Ok(_) => Ok(inside),
                Err(_) => Err("text with half a surrogate pair (\\ud800 to \\udfff)".to_string()),
            };
        }
        rest = &rest[(at + 2).min(rest.len())..];
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn text_is_decoded_and_escaped_again_in_one_form() {
        for (json, decoded, escaped) in [
            (r#""plain""#, "plain", "plain"),
            (
                r#""a\/b \u00e9 \"q\"\n""#,
                "a/b é \"q\"\n",
                r#"a/b é \"q\"\n"#,
            ),
            (r#""\ud83d\ude00 \\ud800""#, "😀 \\ud800", r"😀 \\ud800"),
            (
                r#"[{"type":"text","text":"a\t"},{"type":"text","text":"b"}]"#,
                "a\tb",
                r"a\tb",
            ),
            (r#"[{"text":"no type"}]"#, "no type", "no type"),
            ("[]", "", ""),
        ] {
            let text = Text::parse(raw(json)).expect(json);
            assert_eq!(text.decoded(), decoded);
            assert_eq!(&*text.escaped(), escaped);
        }
    }

    #[test]
    fn a_value_that_is_not_text_is_named() {
        for (json, why) in [
            ("7", "a number, not text"),
            (r#"{"a":1}"#, "an object, not text"),
            (r#"["a"]"#, "part 1 is a text, not a text part"),
            (
                r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]"#,
                "part 2 is of type \"image_url\", not text",
            ),
            (r#"[{"type":"text"}]"#, "part 1 is one without text"),
            (
                r#"[{"type":"text","text":3}]"#,
                "part 1 is one whose text is a number",
            ),
            (
                r#""a \ud800""#,
                "text with half a surrogate pair (\\ud800 to \\udfff)",
            ),
        ] {
            assert_eq!(Text::parse(raw(json)).expect_err(json), why);
        }
    }

    #[test]
    fn white_space_alone_is_blank_however_it_is_written() {
        for (json, blank) in [
            (r#""""#, true),
            (r#"" \n\u0020\t""#, true),
            ("\"\u{3000}\"", true),
            (r#""\n.""#, false),
            (r#""é""#, false),
            (r#"[{"text":" "},{"text":"x"}]"#, false),
            (r#"[{"text":" "},{"text":""}]"#, true),
        ] {
            assert_eq!(
                Text::parse(raw(json)).expect(json).is_blank(),
                blank,
                "{json}"
            );
        }
    }
}
