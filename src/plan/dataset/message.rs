//! The messages of a conversation: `{"role", "content"}` or `{"from", "value"}`, whichever array they stand in.

use super::text::Text;
use crate::plan::json::{self, kind, shortened};
use crate::plan::turn::Role;

/// The texts of a conversation that go out.
#[derive(Debug)]
pub(super) struct Turns<'a> {
    pub system: Vec<Text<'a>>,
    pub questions: Vec<Text<'a>>,
}

impl<'a> Turns<'a> {
    /// Leaves out texts of nothing but white space.
    pub fn new(mut system: Vec<Text<'a>>, mut questions: Vec<Text<'a>>) -> Turns<'a> {
        system.retain(|text| !text.is_blank());
        questions.retain(|text| !text.is_blank());
        Turns { system, questions }
    }

    /// Takes the messages of the array that `json` is; what the dataset's model said is dropped.
    ///
    /// # Errors
    /// Which message is wrong, and how.
    pub fn parse(json: &'a str) -> Result<Turns<'a>, String> {
        let (mut system, mut questions) = (Vec::new(), Vec::new());
        for message in messages(json)? {
            match message? {
                (Role::System, text) => system.push(text?),
                (Role::User, text) => questions.push(text?),
                (Role::Assistant, _) => {}
            }
        }
        Ok(Turns::new(system, questions))
    }
}

/// One message: who speaks, and what is said or why that cannot be read.
type Message<'a> = (Role, Result<Text<'a>, String>);

/// The messages of the array that `json` is, one after the other.
///
/// # Errors
/// It is no array; then which message is wrong, and how.
pub(in crate::plan) fn messages(
    json: &str,
) -> Result<impl Iterator<Item = Result<Message<'_>, String>>, String> {
    let messages = (1..).zip(json::elements(json)?);
    Ok(messages.map(|(number, json)| {
        let placed = |why| format!("message {number}: {why}");
        let (role, text) = message(json.get()).map_err(placed)?;
        Ok((role, text.map_err(placed)))
    }))
}

fn message(json: &str) -> Result<Message<'_>, String> {
    if !json.starts_with('{') {
        return Err(format!("{}, want an object", kind(json)));
    }
    let [role, from, content, value] = json::values(json, ["role", "from", "content", "value"])
        .map_err(|error| json::without_place(&error))?;
    let name = role.or(from).ok_or("it has no role")?;
    let name = Text::parse(name).map_err(|why| format!("role: {why}"))?;
    let name = name.decoded();
    let role = Role::parse(&name).ok_or_else(|| {
        let name = shortened(&name);
        format!("role \"{name}\" is unknown; want system, user or assistant")
    })?;
    let text = match content.or(value) {
        Some(content) => Text::parse(content).map_err(|why| format!("of {name}: content: {why}")),
        None => Err(format!("of {name}: it has no content")),
    };
    Ok((role, text))
}
