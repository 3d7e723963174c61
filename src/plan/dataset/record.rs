//! A record of a dataset, in memory of its own.

use std::sync::Arc;

/// One record of a dataset: a session, or one request as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line of the record's first byte, from 1.
    pub line: u64,
    pub session_id: Option<String>,
    pub content: Content,
}

/// The part of a record that goes to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Texts are escaped for the inside of a JSON string (`plan::escape`). Messages without any text are left out.
    Conversation {
        system: Vec<Arc<str>>,
        /// One a turn, never empty.
        questions: Vec<Arc<str>>,
    },
    /// A line of an OpenAI batch file.
    Body {
        /// The body as it stands in the file.
        json: Arc<str>,
        /// Its last user message, or its prompt, unescaped, for reports; empty if it has none.
        prompt: String,
        /// The line's `url`, such as `/v1/chat/completions`.
        url: Option<String>,
        /// Whether the body asks for a stream.
        streamed: bool,
    },
}
