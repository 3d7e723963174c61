//! `/generate`: the text is not inside a choice, and its key differs from server to server.

use crate::client::chunk::Chunk;
use crate::client::json::{self, Raw, each, inside, pick};
use crate::client::usage::Usage;

/// Keys of the text; the first that has any counts.
pub const NAMES: [&str; 8] = [
    "text",
    "response",
    "token",
    "generated_text",
    "text_output",
    "output",
    "output_text",
    "content",
];

/// Reads a reply, or one event of it; returns its JSON and its content.
///
/// # Errors
/// Fails when the bytes are not JSON, or are JSON of another type.
pub fn read(text: &str) -> serde_json::Result<(&str, Chunk<'_>)> {
    let mut chunk = Chunk::default();
    let text = first(text);
    let found = json::read(text, &NAMES)?.map(whole);
    let found = found.into_iter().flatten();
    let mut found = found.filter(|value| inside(Some(value)).is_some_and(|text| !text.is_empty()));
    if let Some(value) = found.next() {
        chunk.add_content(Some(value), true);
        chunk.has_choice = true;
    }
    let [cached, meta, finish] = json::read(text, &["cached", "meta_info", "finish_reason"])?;
    chunk.cached = cached.and_then(|cached| serde_json::from_str(cached.get()).ok());
    // SGLang puts counts and the finish reason into an object of their own.
    if let Some(usage) = Usage::read(meta) {
        chunk.add_usage(usage);
    }
    let [of_meta] = pick(meta, &["finish_reason"]);
    if let Some(reason) = of_meta.or(finish) {
        chunk.finish_with(reason, 0);
    }
    Ok((text, chunk))
}

/// Returns the JSON of one reply: some servers answer with a list of one.
fn first(text: &str) -> &str {
    let is_list = text.trim_start().starts_with('[');
    let list: Option<Vec<Raw>> = is_list.then(|| serde_json::from_str(text).ok()).flatten();
    let first = list.and_then(|list| list.first().map(|first| first.get()));
    first.unwrap_or(text)
}

/// Returns a text in any of the servers' formats: bare, the first of a list, or in an object of one token.
fn whole(value: Option<Raw<'_>>) -> Option<Raw<'_>> {
    let mut first = None;
    match value?.get().as_bytes().first() {
        Some(b'[') => each(value, |element| first = first.or(Some(element))),
        Some(b'{') => [first] = pick(value, &["text"]),
        _ => first = value,
    }
    first
}
