//! JSON files that the user wrote: reads them, and says which line or key is wrong.
//!
//! Knows no format: what the keys mean is for `models` and `hf_config`.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::dataset::source::not_text;
use crate::error::{Error, Result};
use crate::file;
use crate::units;

/// Reads a whole file; `what` is the flag with the file, as typed.
pub(super) fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    file::read(path).map_err(|error| Error::input(what, format!("cannot read: {error}")))
}

/// Parses JSON; an error names the line.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if let Some(found) = not_text(text) {
        return Err(Error::input(what, found));
    }
    serde_json::from_slice(text).map_err(|error| {
        let message = error.to_string();
        let why = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(why, _)| why);
        let kind = if error.is_data() { "" } else { "not JSON: " };
        match error.line() {
            0 => Error::input(what, format!("{kind}{why}")),
            line => Error::input(format!("{what}, line {line}"), format!("{kind}{why}")),
        }
    })
}

/// A whole number above 0, also as text ("8"); `None` if absent or null.
pub(super) fn count(key: &str, value: Option<&Value>) -> std::result::Result<Option<u64>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = match value {
        Value::String(text) => units::parse_count(text).ok(),
        other => other.as_u64(),
    };
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!(
            "{key}: want a whole number above 0, have {}",
            shown(value)
        )),
    }
}

/// The value as it stands in the file, on one line of bounded length.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_string(),
        Value::Object(_) => "an object".to_string(),
        scalar => scalar.to_string().chars().take(60).collect(),
    }
}
