//! One request and its answer: what a worker sends, whichever plan made it.

use std::sync::Arc;

use crate::sample::{Labels, named};

/// The answer to a turn, as far as the next turn needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, escaped for the inside of a JSON string; without reasoning.
    pub text: Arc<str>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
}

/// One request: its prompt and its labels.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The id, unique in the run; sent as the end of `x-request-id`.
    pub id: u64,
    pub labels: Labels,
    pub prompt: Prompt,
    /// The output limit; `None`: the server's own.
    pub max_tokens: Option<u64>,
    /// The id of its session, escaped for a JSON string.
    pub session: Option<Arc<str>>,
    /// Whether the next turn needs the text of the reply.
    pub keeps_reply: bool,
}

impl Turn {
    /// Makes a request that belongs to no session and whose reply is not needed.
    pub fn alone(id: u64, labels: Labels, prompt: Prompt, max_tokens: Option<u64>) -> Turn {
        Turn {
            id,
            labels,
            prompt,
            max_tokens,
            session: None,
            keeps_reply: false,
        }
    }
}

/// The content of a request. Texts are escaped for the inside of a JSON string, so that a long text is escaped once and
/// shared by every request that uses it.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// One text, in pieces that are concatenated.
    Text(Vec<Arc<str>>),
    /// A chat; the nonce begins the first message's text.
    Messages {
        nonce: Option<Arc<str>>,
        messages: Vec<Message>,
    },
    /// Members of a chat's body, including its messages: JSON that is sent unchanged, before the members that all
    /// requests have.
    Request(Arc<str>),
    /// A whole request body: JSON that is sent unchanged.
    Body(Arc<str>),
}

impl Prompt {
    /// Makes a chat after its nonce, or its texts concatenated.
    pub fn new(nonce: Option<Arc<str>>, messages: Vec<Message>, as_text: bool) -> Prompt {
        if as_text {
            let texts = messages.into_iter().map(|message| message.text);
            Prompt::Text(nonce.into_iter().chain(texts).collect())
        } else {
            Prompt::Messages { nonce, messages }
        }
    }

    /// Returns the bytes of its texts as sent; of unchanged JSON, all of its bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Prompt::Text(texts) => texts.iter().map(|text| text.len()).sum(),
            Prompt::Messages { nonce, messages } => {
                let texts = messages.iter().map(|message| &message.text);
                texts.chain(nonce).map(|text| text.len()).sum()
            }
            Prompt::Request(json) | Prompt::Body(json) => json.len(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    pub role: Role,
    pub text: Arc<str>,
}

impl Message {
    pub fn new(role: Role, text: &Arc<str>) -> Message {
        let text = Arc::clone(text);
        Message { role, text }
    }
}

named! {
    /// The speaker of a message.
    #[derive(Hash)]
    pub enum Role {
        System = "system",
        Developer = "developer",
        User = "user",
        Assistant = "assistant",
    }
}

impl Role {
    /// Finds the speaker under any name that datasets use; `None` for one that is none of the four, such as `tool`.
    pub fn parse(name: &str) -> Option<Role> {
        match name.to_ascii_lowercase().as_str() {
            "system" => Some(Role::System),
            "developer" => Some(Role::Developer),
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
