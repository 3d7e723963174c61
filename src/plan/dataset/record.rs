//! A record of a dataset, with memory of its own.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::plan::json::shortened;
use crate::plan::turn::Message;

/// One record of a dataset: a session, or one request that is sent unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line of the record's first byte, from 1.
    pub line: u64,
    pub session_id: Option<String>,
    pub content: Content,
    /// The record's values of keys that the run sets itself, such as `temperature`: key and JSON.
    pub settings: Vec<(&'static str, Arc<str>)>,
}

impl Record {
    /// Says which of the record's own values the run would not send; `rest` is the end of the run's bodies.
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
        twice.map(|key| format!("{key} is both in it and in --extra-body"))
    }
}

/// The part of a record that is sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A conversation of texts, escaped for the inside of a JSON string (`plan::escape`). Messages without text are
    /// left out.
    Conversation {
        /// The messages before the first question.
        opening: Vec<Message>,
        /// The questions, one a turn, never empty.
        questions: Vec<Arc<str>>,
    },
    /// Messages of the chat API that are more than texts, or that have tools and the like beside them.
    Request {
        /// The members of the body as the file has them, joined by commas.
        members: Arc<str>,
        /// The members' keys except `messages`.
        keys: Vec<&'static str>,
        /// The last user message, unescaped, for reports; empty if there is none.
        prompt: String,
    },
    /// A line of an OpenAI batch file.
    Body {
        /// The body as the file has it.
        json: Arc<str>,
        /// The last user message, or the prompt, unescaped, for reports; empty if there is none.
        prompt: String,
        /// The line's `url`, such as `/v1/chat/completions`.
        url: Option<String>,
        /// Whether the body asks for a stream.
        streamed: bool,
    },
}
