//! A record that borrows from the text it was read from: checked but not copied.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::beside::Beside;
use super::message::{Talk, Turns, last_question};
use super::record::{Content, Record};
use super::source::{Problem, Raw};
use super::text::Text;
use crate::plan::json::{self, kind, shortened};
use crate::plan::turn::{Message, Role};

/// The keys of a record's content, of which the first that fits is used, and the other keys that are read.
const KEYS: [&str; 9] = [
    "body",
    "messages",
    "conversations",
    "conversation",
    "user_messages",
    "prompt",
    "text",
    "session_id",
    "url",
];

/// A checked record; `record` makes an owned copy.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The line of the record's first byte, from 1.
    pub line: u64,
    /// The key that the record was read by, such as `messages`.
    pub kind: &'static str,
    pub session_id: Option<Cow<'a, str>>,
    asked: Asked<'a>,
    settings: Vec<(&'static str, &'a str)>,
}

#[derive(Debug)]
enum Asked<'a> {
    Turns(Turns<'a>),
    Request {
        messages: &'a str,
        /// The record's other keys that the chat API has.
        members: Vec<(&'static str, &'a str)>,
    },
    Body {
        json: &'a str,
        url: Option<Cow<'a, str>>,
    },
}

impl<'a> Draft<'a> {
    /// Returns the number of turns of the session.
    pub fn turns(&self) -> u64 {
        match &self.asked {
            Asked::Turns(turns) => turns.questions.len() as u64,
            Asked::Request { .. } | Asked::Body { .. } => 1,
        }
    }

    /// Returns whether its messages are sent unchanged, to the chat API.
    pub fn is_request(&self) -> bool {
        matches!(self.asked, Asked::Request { .. })
    }

    /// Returns the user's messages; for a request only the last one, for a body the last one or the prompt, if any.
    pub fn prompts(&self) -> Vec<Cow<'a, str>> {
        match &self.asked {
            Asked::Turns(turns) => turns.questions.iter().map(Text::decoded).collect(),
            Asked::Request { messages, .. } => {
                let last = last_question(messages);
                last.iter().map(Text::decoded).collect()
            }
            Asked::Body { json, .. } => body_prompt(json).into_iter().collect(),
        }
    }

    pub fn record(&self) -> Record {
        let content = match &self.asked {
            Asked::Turns(turns) => Content::Conversation {
                opening: turns
                    .opening
                    .iter()
                    .map(|(role, text)| Message::new(*role, &text.escaped()))
                    .collect(),
                questions: turns.questions.iter().map(Text::escaped).collect(),
            },
            Asked::Request { messages, members } => {
                let others = members
                    .iter()
                    .map(|(key, json)| format!(",\"{key}\":{json}"));
                let others: String = others.collect();
                Content::Request {
                    members: format!("\"messages\":{messages}{others}").into(),
                    keys: members.iter().map(|(key, _)| *key).collect(),
                    prompt: last_question(messages)
                        .map(|text| text.decoded().into_owned())
                        .unwrap_or_default(),
                }
            }
            Asked::Body { json, url } => Content::Body {
                json: (*json).into(),
                prompt: body_prompt(json).unwrap_or_default().into_owned(),
                url: url.as_deref().map(str::to_string),
                streamed: is_streamed(json),
            },
        };
        Record {
            line: self.line,
            session_id: self.session_id.as_deref().map(str::to_string),
            content,
            settings: self
                .settings
                .iter()
                .map(|(key, json)| (*key, (*json).into()))
                .collect(),
        }
    }
}

/// Reads a record by the first key that fits.
pub(super) fn parse(raw: Raw<'_>) -> Result<Draft<'_>, Problem> {
    let problem = |why| raw.problem(why);
    let [candidates @ .., session_id, url] = raw.object(|json| json::values(json, KEYS))?;
    let beside = raw.object(Beside::of)?;
    for (kind, value) in KEYS.into_iter().zip(candidates) {
        let Some(value) = value else { continue };
        if let Some(asked) = fit(kind, value, url, &beside).map_err(problem)? {
            let session_id = session_id.map(self::session_id).transpose();
            return Ok(Draft {
                line: raw.line,
                kind,
                session_id: under("session_id", session_id).map_err(problem)?,
                asked,
                settings: beside.settings(kind),
            });
        }
    }
    Err(problem(unfit(raw.json)))
}

/// Reads the value of a key; `None` if it is of another kind or has no user text.
///
/// # Errors
/// Fails when the value is wrong, or when something beside it cannot be sent with it.
fn fit<'a>(
    key: &'static str,
    value: &'a RawValue,
    url: Option<&'a RawValue>,
    beside: &Beside<'a>,
) -> Result<Option<Asked<'a>>, String> {
    let json = value.get();
    let turns = match (key, json.as_bytes().first()) {
        ("body", Some(b'{')) => {
            let url = under("url", url.map(text_alone).transpose())?;
            return Ok(Some(Asked::Body { json, url }));
        }
        ("messages" | "conversations" | "conversation", Some(b'[')) => {
            return talk(key, json, beside);
        }
        ("user_messages", Some(b'[')) => user_messages(json),
        ("prompt" | "text", Some(b'"' | b'[')) => {
            Text::parse(value).map(|text| Turns::new(Vec::new(), vec![text]))
        }
        _ => return Ok(None),
    };
    let turns = under(key, turns)?;
    if turns.questions.is_empty() {
        return Ok(None);
    }
    beside.refuse_media()?;
    if let Some((other, _)) = beside.members(key).first() {
        return Err(format!(
            "{other} beside {key}, which cannot be sent with it; want it beside messages of role and content, or take it out"
        ));
    }
    Ok(Some(Asked::Turns(turns)))
}

/// Reads an array of messages as turns, or as a request if it has more than texts or has tools beside it.
fn talk<'a>(
    key: &'static str,
    json: &'a str,
    beside: &Beside<'a>,
) -> Result<Option<Asked<'a>>, String> {
    let members = beside.members(key);
    let asked = match under(key, Talk::parse(json))? {
        Talk::Turns { mut turns, .. } if members.is_empty() => {
            let system = under("system", beside.system.map(Text::parse).transpose())?;
            if let Some(system) = system.filter(|text| !text.is_blank()) {
                turns.opening.insert(0, (Role::System, system));
            }
            if turns.questions.is_empty() {
                return Ok(None);
            }
            Asked::Turns(turns)
        }
        Talk::Turns { turns, .. } if turns.questions.is_empty() => return Ok(None),
        Talk::Turns { is_chat: false, .. } => {
            let (other, _) = members[0];
            return Err(format!(
                "{other} beside {key} of from and value, which cannot be sent with them; want it beside messages of role and content, or take it out"
            ));
        }
        Talk::Turns { .. } | Talk::AsItStands => {
            beside.refuse_odd()?;
            Asked::Request {
                messages: json,
                members,
            }
        }
    };
    beside.refuse_media()?;
    Ok(Some(asked))
}

/// Puts the key in front of an error about its value.
fn under<T>(key: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|why| format!("{key}: {why}"))
}

fn user_messages(json: &str) -> Result<Turns<'_>, String> {
    let texts = (1..).zip(json::elements(json)?).map(|(number, value)| {
        Text::parse(value).map_err(|why| format!("message {number}: {why}"))
    });
    Ok(Turns::new(Vec::new(), texts.collect::<Result<_, _>>()?))
}

/// Says what a record has instead of user text.
fn unfit(json: &str) -> String {
    const MOST: usize = 8;
    let keys: BTreeMap<Cow<str>, IgnoredAny> = serde_json::from_str(json).unwrap_or_default();
    let names = keys.keys().take(MOST).map(|key| shortened(key));
    let names = names.collect::<Vec<_>>().join(", ");
    let found = match keys.len() {
        0 => "it has no keys".to_string(),
        1..=MOST => format!("its keys: {names}"),
        _ => format!("its keys: {names}, …"),
    };
    let mut without_text = KEYS.to_vec();
    without_text.retain(|key| keys.contains_key(*key) && !["session_id", "url"].contains(key));
    if without_text.is_empty() {
        return format!(
            "none of body, messages, conversations, user_messages, prompt and text in it; {found}"
        );
    }
    format!(
        "no user text in {}; {found}; remove the record, or for ShareGPT use convert sharegpt",
        without_text.join(", ")
    )
}

/// Returns text, or a number as the file has it.
///
/// # Errors
/// Fails with the kind of the value; the caller puts the name of the value in front.
pub(in crate::plan) fn session_id(value: &RawValue) -> Result<Cow<'_, str>, String> {
    match value.get() {
        json if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Ok(json.into()),
        _ => text_alone(value),
    }
}

fn text_alone(value: &RawValue) -> Result<Cow<'_, str>, String> {
    match value.get() {
        json if json.starts_with('"') => Ok(Text::parse(value)?.decoded()),
        json => Err(format!("{}, not text", kind(json))),
    }
}

/// Returns the last user message of a request body, else its prompt. Bodies are sent unchanged, so nothing in one is an
/// error here.
fn body_prompt(json: &str) -> Option<Cow<'_, str>> {
    let [messages, prompt] = json::values(json, ["messages", "prompt"]).ok()?;
    let last = messages.and_then(|messages| last_question(messages.get()));
    let text = last.or_else(|| Text::parse(prompt?).ok())?;
    Some(text.decoded())
}

fn is_streamed(json: &str) -> bool {
    let stream = json::values(json, ["stream"]);
    stream.is_ok_and(|[stream]| stream.is_some_and(|stream| stream.get() == "true"))
}
