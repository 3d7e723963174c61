//! The messages of a conversation: `{"role", "content"}` or `{"from", "value"}`, whichever array they stand in.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::source::{kind, shortened, without_place};
use super::text::Text;
use crate::plan::Role;

/// The texts of a conversation that go out; those without any text are left out.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    pub system: Vec<Text<'a>>,
    pub questions: Vec<Text<'a>>,
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
    let mut turns = Turns::default();
    each(json, |role, text| {
        let texts = match role {
            Role::System => &mut turns.system,
            Role::User => &mut turns.questions,
            Role::Assistant => return Ok(()),
        };
        let text = text()?;
        if !text.is_blank() {
            texts.push(text);
        }
        Ok(())
    })?;
    Ok(turns)
}

/// Hands over who speaks, and a function that reads what is said.
///
/// # Errors
/// Which message is wrong, and how; what `on_message` finds is one of that message.
pub(in crate::plan) fn each<'a>(
    json: &'a str,
    mut on_message: impl FnMut(Role, &dyn Fn() -> Result<Text<'a>, String>) -> Result<(), String>,
) -> Result<(), String> {
    let messages: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| without_place(&error))?;
    for (at, message) in messages.into_iter().enumerate() {
        let handed = speaker(message.get()).and_then(|(role, name, content)| {
            on_message(role, &|| {
                let content = content.ok_or_else(|| format!("of {name}: it has no content"))?;
                Text::parse(content).map_err(|why| format!("of {name}: content: {why}"))
            })
        });
        handed.map_err(|why| format!("message {}: {why}", at + 1))?;
    }
    Ok(())
}

/// The role, what the dataset calls it, and what is said.
fn speaker(json: &str) -> Result<(Role, Cow<'_, str>, Option<&RawValue>), String> {
    if !json.starts_with('{') {
        return Err(format!("{}, want an object", kind(json)));
    }
    let message: Message = serde_json::from_str(json).map_err(|error| without_place(&error))?;
    let name = message.role.or(message.from).ok_or("it has no role")?;
    let name = Text::parse(name).map_err(|why| format!("role: {why}"))?;
    let name = name.decoded();
    let role = Role::parse(&name).ok_or_else(|| {
        let name = shortened(&name);
        format!("role \"{name}\" is unknown; want system, user or assistant")
    })?;
    Ok((role, name, message.content.or(message.value)))
}
