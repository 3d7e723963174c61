//! Data as JSON: those of documents, and result files that hold a value of their own.

use serde::Serialize;

use super::document::Document;

/// Writes the data of a document, indented, and a line break.
pub fn render(document: &Document) -> String {
    pretty(&document.data)
}

/// Writes a value, indented, and a line break.
pub fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("every key is a string and no value fails to serialize") + "\n"
}

/// Writes a value on one line.
pub fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value);
    text.expect("every key is a string and no value fails to serialize") + "\n"
}
