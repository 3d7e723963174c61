//! JSON from the user: parses it, takes values out of it, and says which line or key is wrong.
//!
//! It knows no format: the callers know what keys mean. Values stay slices of the file's text where possible.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::file;
use crate::units::{self, steers};

/// Reads a whole file; `what` is the flag with the file, as typed.
pub fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    file::read(path).map_err(|error| Error::input(what, format!("cannot read: {error}")))
}

/// Parses a whole file; an error names the line.
pub fn parse<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if let Some(found) = not_text(text) {
        return Err(Error::input(what, found));
    }
    serde_json::from_slice(text).map_err(|error| {
        let kind = if error.is_data() { "" } else { "not JSON: " };
        let why = format!("{kind}{}", cause(&error));
        match error.line() {
            0 => Error::input(what, why),
            line => Error::input(format!("{what}, line {line}"), why),
        }
    })
}

/// Says what a file is that begins with `first` and is not UTF-8 text.
pub fn not_text(first: &[u8]) -> Option<&'static str> {
    match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some("UTF-16 or binary; want JSON in UTF-8, such as iconv -f UTF-16 -t UTF-8 writes")
        }
        [0x1f, 0x8b, ..] => Some("compressed; unpack it with gunzip first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("compressed; unpack it with unzstd first"),
        [b'P', b'K', 3 | 5, ..] => Some("a zip archive; unpack it with unzip first"),
        [b'P', b'A', b'R', b'1', ..] => Some("a Parquet file; want JSON lines or a JSON array"),
        _ if first.contains(&0) => Some("binary; want JSON in UTF-8"),
        _ => None,
    }
}

/// Returns the values of an object's `keys` as slices of the text; `None` if the key is absent or null.
///
/// # Errors
/// Fails when the text is not JSON or not an object, or when one of the keys occurs twice.
pub fn values<'a, const N: usize>(
    json: &'a str,
    keys: [&'static str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    let mut object = serde_json::Deserializer::from_str(json);
    let values = object.deserialize_map(Keys(keys))?;
    object.end()?;
    Ok(values.map(|value| value.filter(|value| value.get() != "null")))
}

struct Keys<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Keys<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        let mut values = [None; N];
        while let Some(Key(key)) = map.next_key()? {
            match self.0.iter().position(|known| *known == key) {
                None => _ = map.next_value::<IgnoredAny>()?,
                Some(at) if values[at].is_none() => values[at] = Some(map.next_value()?),
                Some(at) => return Err(A::Error::duplicate_field(self.0[at])),
            }
        }
        Ok(values)
    }
}

/// Returns the elements of an array as slices of the text.
///
/// # Errors
/// Fails with the reason; the caller puts the name of the value in front.
pub fn elements(json: &str) -> std::result::Result<Vec<&RawValue>, String> {
    serde_json::from_str(json).map_err(|error| without_place(&error))
}

/// Returns whether a value is empty: a text, list or object without content.
pub fn is_empty(value: &RawValue) -> bool {
    let json = value.get();
    let inside = json
        .get(1..json.len().saturating_sub(1))
        .unwrap_or_default();
    json.starts_with(['"', '[', '{']) && inside.trim_ascii().is_empty()
}

/// Returns a whole number above 0, also from text ("8"); `None` if absent or null.
pub fn count(key: &str, value: Option<&Value>) -> std::result::Result<Option<u64>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = match value {
        Value::String(text) => units::parse_count(text).ok(),
        other => other.as_u64(),
    };
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => {
            let have = shown(value);
            Err(format!("{key}: want a whole number above 0, have {have}"))
        }
    }
}

/// Returns a value as the file has it, on one line of bounded length.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_string(),
        Value::Object(_) => "an object".to_string(),
        scalar => scalar.to_string().chars().take(60).collect(),
    }
}

/// Returns the word for the kind of a JSON value in an error; `json` begins with the value.
pub fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Says what is wrong with a part of a record, without line and column inside the part, which would mislead.
pub fn without_place(error: &serde_json::Error) -> String {
    shortened(&cause(error))
}

fn cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rsplit_once(" at line ") {
        Some((cause, _)) => cause.to_string(),
        None => message,
    }
}

/// Returns text from the file on one line of bounded length.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let short: String = text.chars().take(MOST).collect();
    let mut short = short.replace(steers, " ");
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_however_their_key_is_written() {
        let json = r#"{"x": [1, 2], "\u0061": "t", "b": null, "c" : {"a": 3}, "x": 4}"#;
        let found = values(json, ["a", "b", "c", "d"]).expect("an object");
        let found = found.map(|value| value.map(RawValue::get));
        assert_eq!(found, [Some("\"t\""), None, Some("{\"a\": 3}"), None]);
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_and_so_is_no_object() {
        for (json, why) in [
            (r#"{"a": null, "a": 1}"#, "duplicate field `a`"),
            ("[1]", "invalid type: sequence, expected an object"),
            ("{} {}", "trailing characters"),
            (r#"{"a": 1"#, "EOF while parsing an object"),
        ] {
            let error = values(json, ["a"]).expect_err(json);
            assert_eq!(without_place(&error), why);
        }
    }

    #[test]
    fn text_from_a_file_is_shown_on_one_short_line() {
        assert_eq!(shortened("a\n\u{1b}b"), "a  b");
        assert_eq!(shortened(&"é".repeat(120)), "é".repeat(120));
        assert_eq!(shortened(&"é".repeat(121)), "é".repeat(120) + "…");
    }
}
