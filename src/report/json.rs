//! Data as JSON: of documents, and of the result files that hold a value of their own.

use serde::Serialize;

use super::document::Document;

/// Writes the data of a document, indented, and a line break.
pub fn render(document: &Document) -> String {
    pretty(&document.data)
}

/// Writes a value, indented, and a line break.
pub fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("keys are texts and no value fails") + "\n"
}

/// Writes a value on one line.
pub fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value);
    text.expect("keys are texts and no value fails") + "\n"
}
