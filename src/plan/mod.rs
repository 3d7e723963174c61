//! What to send: sessions of turns, and the texts in them. Knows nothing of sockets or results.

pub mod arrival;
pub mod convert;
pub mod dataset;
pub mod dialogue;
pub mod fixed;
pub mod groups;
pub mod hf_config;
mod json_file;
pub mod lengths;
mod model_file;
pub mod models;
pub mod perfect;
pub mod prompt;
mod random;
pub mod repeat;
pub mod requests;
pub mod sizing;
pub mod tiling;
pub mod trace;

use std::sync::Arc;

use self::dialogue::Walk;
use crate::sample::Labels;

/// One job of a worker: turns that go out one after the other.
#[derive(Debug)]
pub enum Session {
    /// A request that depends on no other; `None` once it was taken.
    Single(Option<Turn>),
    Dialogue(Walk),
}

impl Session {
    pub fn single(turn: Turn) -> Session {
        Session::Single(Some(turn))
    }

    /// The next turn, built from the reply to the one before; `None` at the end.
    pub fn next(&mut self, reply: Option<Reply>) -> Option<Turn> {
        match self {
            Session::Single(turn) => turn.take(),
            Session::Dialogue(walk) => walk.next(reply),
        }
    }
}

/// What a turn is answered, as far as the next one needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Escaped for the inside of a JSON string; without reasoning.
    pub text: Arc<str>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
}

/// One request: its prompt and what to call it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Unique in the run; sent as the end of `x-request-id`.
    pub id: u64,
    pub labels: Labels,
    pub prompt: Prompt,
    /// `None`: the server's own limit.
    pub max_tokens: Option<u64>,
    /// The id of its session, escaped for a JSON string.
    pub session: Option<Arc<str>>,
    /// The next turn needs the text of the reply.
    pub keeps_reply: bool,
}

/// What is sent. Texts are escaped for the inside of a JSON string, so that a long one is escaped once
/// and shared by every request that uses it.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// One text, in pieces.
    Text(Vec<Arc<str>>),
    /// A chat; the nonce begins the first message's text.
    Messages {
        nonce: Option<Arc<str>>,
        messages: Vec<Message>,
    },
    /// A whole request body: JSON that goes out as it is.
    Body(Arc<str>),
}

impl Prompt {
    /// Bytes of its texts as they are sent; of a body, all.
    pub fn bytes(&self) -> usize {
        match self {
            Prompt::Text(texts) => texts.iter().map(|text| text.len()).sum(),
            Prompt::Messages { nonce, messages } => {
                let texts = messages.iter().map(|message| &message.text);
                texts.chain(nonce).map(|text| text.len()).sum()
            }
            Prompt::Body(body) => body.len(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub text: Arc<str>,
}

/// Who speaks, whatever a dataset calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }

    /// `None` for a name that is none of the three, such as `tool`.
    pub fn parse(name: &str) -> Option<Role> {
        match name.to_ascii_lowercase().as_str() {
            "system" | "developer" => Some(Role::System),
            "user" | "human" => Some(Role::User),
            "assistant" | "gpt" | "chatgpt" | "bing" | "bard" | "model" | "bot" | "ai"
            | "claude" | "gemini" | "llama" => Some(Role::Assistant),
            _ => None,
        }
    }
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
