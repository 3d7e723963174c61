//! What to send: sessions of turns, and the texts in them. Knows nothing of sockets or results.

pub mod convert;
pub mod dataset;
pub mod hf_config;
mod json_file;
mod model_file;
pub mod models;
pub mod prompt;
pub mod sizing;
pub mod tiling;

use std::sync::Arc;

use crate::sample::Labels;

/// One job of a worker: turns that go out one after the other.
#[derive(Debug, Clone)]
pub struct Session {
    pub turns: Vec<Turn>,
}

/// One request: its prompt and what to call it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Unique in the run; sent as the end of `x-request-id`.
    pub id: u64,
    pub labels: Labels,
    /// Pieces of the prompt in order, each escaped for a JSON string, so that a long context is
    /// escaped once and shared by every request that uses it.
    pub prompt: Vec<Arc<str>>,
    pub max_tokens: u64,
}

/// Escapes text for the inside of a JSON string, quotes not included.
pub fn escape(text: &str) -> Arc<str> {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_the_inside_of_a_json_string() {
        assert_eq!(&*escape("a \"b\"\n\\ é"), "a \\\"b\\\"\\n\\\\ é");
    }
}
