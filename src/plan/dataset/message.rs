//! The messages of a conversation: `{"role", "content"}` or `{"from", "value"}`, in any array.

use serde_json::value::RawValue;

use super::text::Text;
use crate::plan::json::{self, kind, shortened};
use crate::plan::turn::Role;

/// Keys of a message that a text cannot carry. All but the first two may be ignored in an answer, since a reply
/// replaces it.
const MORE: [&str; 10] = [
    "tool_calls",
    "function_call",
    "tool_call_id",
    "name",
    "cache_control",
    "prefix",
    "partial",
    "image",
    "images",
    "audio",
];

/// The texts of a conversation that are sent.
#[derive(Debug)]
pub(super) struct Turns<'a> {
    /// The messages before the first question: all system messages, and assistant messages that answer nothing.
    pub opening: Vec<(Role, Text<'a>)>,
    pub questions: Vec<Text<'a>>,
}

/// An array of messages, by how it can be sent.
#[derive(Debug)]
pub(super) enum Talk<'a> {
    Turns {
        turns: Turns<'a>,
        /// Whether all messages have the chat API's format, so that the array can also be sent unchanged.
        is_chat: bool,
    },
    /// Messages of the chat API of which one is more than a text: they can only be sent unchanged.
    AsItStands,
}

impl<'a> Turns<'a> {
    /// Leaves out texts that are only white space.
    pub fn new(mut opening: Vec<(Role, Text<'a>)>, mut questions: Vec<Text<'a>>) -> Turns<'a> {
        opening.retain(|(_, text)| !text.is_blank());
        questions.retain(|text| !text.is_blank());
        Turns { opening, questions }
    }
}

impl<'a> Talk<'a> {
    /// Reads the messages of the JSON array `json`. In turns, the dataset's answers to questions are dropped.
    ///
    /// # Errors
    /// Fails with the message that is wrong, and how.
    pub fn parse(json: &'a str) -> Result<Talk<'a>, String> {
        let (mut opening, mut questions) = (Vec::new(), Vec::new());
        let (mut is_chat, mut more, mut wrong) = (true, None, None);
        for (number, message) in (1..).zip(messages(json)?) {
            let message = message?;
            is_chat &= message.is_chat;
            if let Some(what) = message.more {
                more = more.or(Some((number, what)));
                continue;
            }
            match (message.role, message.text) {
                (Some(Role::Assistant), Err(_)) | (None, _) => {}
                (Some(Role::Assistant), Ok(text)) => {
                    if questions.is_empty() {
                        opening.push((Role::Assistant, text));
                    }
                }
                (Some(Role::User), Ok(text)) => questions.push(text),
                (Some(role), Ok(text)) => opening.push((role, text)),
                (Some(_), Err(why)) => wrong = wrong.or(Some(why)),
            }
        }
        match (more, wrong) {
            (Some(_), _) if is_chat => Ok(Talk::AsItStands),
            (Some((number, what)), _) => Err(format!(
                "message {number}: {what}, which can only be sent from messages of role and content; write the record that way, or drop it as convert sharegpt does"
            )),
            (None, Some(why)) => Err(why),
            (None, None) => Ok(Talk::Turns {
                turns: Turns::new(opening, questions),
                is_chat,
            }),
        }
    }
}

/// Returns the last user text in the JSON array `json`, ignoring messages that cannot be read.
pub(super) fn last_question(json: &str) -> Option<Text<'_>> {
    let texts = messages(json).ok()?.filter_map(|message| {
        let message = message.ok()?;
        let text = message.text.ok()?;
        (message.role == Some(Role::User) && !text.is_blank()).then_some(text)
    });
    texts.last()
}

/// One message.
pub(in crate::plan) struct Message<'a> {
    /// The speaker; `None`: a tool, or a call of one.
    pub role: Option<Role>,
    /// The content, or why it is not text.
    pub text: Result<Text<'a>, String>,
    /// The name of what the message has that a text cannot carry.
    pub more: Option<String>,
    /// Whether it has the keys and the roles of the chat API.
    is_chat: bool,
}

/// Returns the messages of the JSON array `json`, one after the other.
///
/// # Errors
/// Fails when it is not an array; each message is an error that says which one is wrong, and how.
pub(in crate::plan) fn messages(
    json: &str,
) -> Result<impl Iterator<Item = Result<Message<'_>, String>>, String> {
    let messages = (1..).zip(json::elements(json)?);
    Ok(messages.map(|(number, json)| {
        let placed = |why| format!("message {number}: {why}");
        let message = message(json.get()).map_err(placed)?;
        let text = message.text.map_err(placed);
        Ok(Message { text, ..message })
    }))
}

fn message(json: &str) -> Result<Message<'_>, String> {
    if !json.starts_with('{') {
        return Err(format!("{}, want an object", kind(json)));
    }
    let without_place = |error| json::without_place(&error);
    let [role, from, content, value] =
        json::values(json, ["role", "from", "content", "value"]).map_err(without_place)?;
    let name = role.or(from).ok_or("it has no role")?;
    let name = Text::parse(name).map_err(|why| format!("role: {why}"))?;
    let name = name.decoded();
    let speaker = Role::parse(&name);
    if speaker.is_none() && !is_tool(&name) {
        let name = shortened(&name);
        return Err(format!(
            "role \"{name}\" is unknown; want system, user, assistant or tool"
        ));
    }
    let (mut more, content) = (None, content.or(value));
    if speaker.is_none() {
        more = Some(format!("role \"{name}\""));
    } else {
        let mut keys = MORE
            .into_iter()
            .zip(json::values(json, MORE).map_err(without_place)?);
        let of_answer = 2;
        let keys = keys.by_ref().take(if speaker == Some(Role::Assistant) {
            of_answer
        } else {
            MORE.len()
        });
        for (key, value) in keys {
            if value.is_some_and(|value| !json::is_empty(value)) {
                more = more.or_else(|| Some(key.to_string()));
            }
        }
        if speaker != Some(Role::Assistant) {
            more = more.or_else(|| other_part(content?));
        }
    }
    let text = match content {
        Some(content) => Text::parse(content).map_err(|why| format!("of {name}: content: {why}")),
        None => Err(format!("of {name}: it has no content")),
    };
    let is_chat = role.is_some()
        && value.is_none()
        && matches!(
            &*name,
            "system" | "developer" | "user" | "assistant" | "tool" | "function"
        );
    Ok(Message {
        role: speaker,
        text,
        more,
        is_chat,
    })
}

/// Returns whether the role is that of a tool or of a tool call, by the names that datasets use.
fn is_tool(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', ' '], "_");
    matches!(
        name.as_str(),
        "tool" | "function" | "observation" | "ipython"
    ) || ["tool_", "function_"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Returns the name of the first part that is not text, such as an image.
fn other_part(content: &RawValue) -> Option<String> {
    let parts = json::elements(content.get()).ok()?;
    parts.into_iter().find_map(|part| {
        let [type_] = json::values(part.get(), ["type"]).ok()?;
        let type_ = type_?.get();
        let is_other = type_.starts_with('"') && type_ != "\"text\"";
        is_other.then(|| format!("a part of type {}", shortened(type_)))
    })
}
