//! The messages of a conversation: `{"role", "content"}` or `{"from", "value"}`, whichever array they stand in.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::source::{kind, shortened};
use super::text::Text;

/// The texts of a conversation that go out; those without any text are left out.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    pub system: Vec<Text<'a>>,
    pub questions: Vec<Text<'a>>,
}

/// Who speaks, whatever the dataset calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
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

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// The messages of the array that `json` is; what the dataset's model said is dropped.
///
/// # Errors
/// Which message is wrong, and how.
pub(super) fn turns(json: &str) -> Result<Turns<'_>, String> {
    let messages: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| shortened(&error.to_string()))?;
    let mut turns = Turns::default();
    for (at, message) in messages.into_iter().enumerate() {
        let (role, text) =
            spoken(message.get()).map_err(|why| format!("message {}: {why}", at + 1))?;
        match text.filter(|text| !text.is_blank()) {
            Some(text) if role == Role::System => turns.system.push(text),
            Some(text) => turns.questions.push(text),
            None => {}
        }
    }
    Ok(turns)
}

/// Who says what; no text for the dataset's model.
fn spoken(json: &str) -> Result<(Role, Option<Text<'_>>), String> {
    if !json.starts_with('{') {
        return Err(format!("{}, want an object", kind(json)));
    }
    let message: Message =
        serde_json::from_str(json).map_err(|error| shortened(&error.to_string()))?;
    let name = message.role.or(message.from).ok_or("it has no role")?;
    let name = Text::parse(name)
        .map_err(|why| format!("role: {why}"))?
        .decoded();
    let role = Role::parse(&name).ok_or_else(|| {
        format!(
            "role \"{}\" is unknown; want system, user or assistant",
            shortened(&name)
        )
    })?;
    if role == Role::Assistant {
        return Ok((role, None));
    }
    let content = message.content.or(message.value);
    let content = content.ok_or_else(|| format!("of {name}: it has no content"))?;
    let text = Text::parse(content).map_err(|why| format!("of {name}: content: {why}"))?;
    Ok((role, Some(text)))
}
