//! A record of a dataset, in memory of its own.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::plan::json::shortened;
use crate::plan::turn::Message;

/// One record of a dataset: a session, or one request as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line of the record's first byte, from 1.
    pub line: u64,
    pub session_id: Option<String>,
    pub content: Content,
    /// Values that the record has for keys that a run sets itself, such as `temperature`: key and JSON.
    pub settings: Vec<(&'static str, Arc<str>)>,
}

impl Record {
    /// Says which of the record's own values a run would not send; `rest` is the end of the run's bodies.
    pub fn unlike(&self, rest: &str) -> Option<String> {
        let rest: Map<String, Value> =
            serde_json::from_str(&format!("{{{rest}")).unwrap_or_default();
        let is_unlike = |(key, own): &&(&'static str, Arc<str>)| {
            serde_json::from_str::<Value>(own).ok().as_ref() != rest.get(*key)
        };
        if let Some((key, own)) = self.settings.iter().find(is_unlike) {
            let own = shortened(own);
            let sent = rest
                .get(*key)
                .map_or("nothing".to_string(), Value::to_string);
            let sent = shortened(&sent);
            return Some(format!("{key} {own} in it, but the run sends {sent}"));
        }
        let Content::Request { keys, .. } = &self.content else {
            return None;
        };
        let twice = keys.iter().find(|key| rest.contains_key(**key));
        twice.map(|key| format!("{key} in it and in --extra-body"))
    }
}

/// The part of a record that goes to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Texts are escaped for the inside of a JSON string (`plan::escape`). Messages without any text are left out.
    Conversation {
        /// Stands before the first question.
        opening: Vec<Message>,
        /// One a turn, never empty.
        questions: Vec<Arc<str>>,
    },
    /// Messages of the chat API that are more than texts, or that stand beside tools and the like.
    Request {
        /// The members of the body as they stand in the file, with commas between them.
        members: Arc<str>,
        /// Their keys but `messages`.
        keys: Vec<&'static str>,
        /// Its last user message, unescaped, for reports; empty if it has none.
        prompt: String,
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
