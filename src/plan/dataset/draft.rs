//! A record that borrows from the text it was read from, checked but not copied.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::message::{self, Turns};
use super::source::{Problem, Raw, kind, shortened, without_place};
use super::text::Text;
use super::{Content, Record};

/// A checked record; `record` makes a copy that lasts.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Of the record's first byte, from 1.
    pub line: u64,
    /// The key that it was read by, such as `messages`.
    pub kind: &'static str,
    pub session_id: Option<Cow<'a, str>>,
    asked: Asked<'a>,
}

#[derive(Debug)]
enum Asked<'a> {
    Turns(Turns<'a>),
    Body {
        json: &'a str,
        url: Option<Cow<'a, str>>,
    },
}

/// Every key that a record may be read by.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    body: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    conversations: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    user_messages: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

/// `null` is a value too: the key is there.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl<'a> Draft<'a> {
    /// Turns of the session.
    pub fn turns(&self) -> u64 {
        match &self.asked {
            Asked::Turns(turns) => turns.questions.len() as u64,
            Asked::Body { .. } => 1,
        }
    }

    /// The user's messages; of a body its last one or its prompt, if it has any.
    pub fn prompts(&self) -> Vec<Cow<'a, str>> {
        match &self.asked {
            Asked::Turns(turns) => turns.questions.iter().map(Text::decoded).collect(),
            Asked::Body { json, .. } => body_prompt(json).into_iter().collect(),
        }
    }

    pub fn record(&self) -> Record {
        let content = match &self.asked {
            Asked::Turns(turns) => Content::Conversation {
                system: turns.system.iter().map(Text::escaped).collect(),
                questions: turns.questions.iter().map(Text::escaped).collect(),
            },
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
        }
    }
}

/// Reads a record by the first key that fits.
pub(super) fn parse(raw: Raw<'_>) -> Result<Draft<'_>, Problem> {
    let line = raw.line;
    let problem = |why: String| Problem { line, why };
    let fields: Fields = raw.object()?;
    let candidates = [
        ("body", fields.body),
        ("messages", fields.messages),
        ("conversations", fields.conversations),
        ("conversation", fields.conversation),
        ("user_messages", fields.user_messages),
        ("prompt", fields.prompt),
        ("text", fields.text),
    ];
    let mut without_text = Vec::new();
    for (kind, value) in candidates {
        let Some(value) = value else { continue };
        let asked =
            fit(kind, value, fields.url).map_err(|(key, why)| problem(format!("{key}: {why}")))?;
        let Some(asked) = asked else {
            without_text.push(kind);
            continue;
        };
        let session_id = fields.session_id.map(session_id).transpose();
        return Ok(Draft {
            line,
            kind,
            session_id: session_id.map_err(|why| problem(format!("session_id: {why}")))?,
            asked,
        });
    }
    let found = keys(raw.json);
    Err(problem(if without_text.is_empty() {
        format!(
            "none of body, messages, conversations, user_messages, prompt and text in it; {found}"
        )
    } else {
        format!("no user text in {}; {found}", without_text.join(", "))
    }))
}

/// What the value of that key asks; `None` where it is of another kind or holds no user text.
///
/// An error is a key and what is wrong with its value.
fn fit<'a>(
    key: &'static str,
    value: &'a RawValue,
    url: Option<&'a RawValue>,
) -> Result<Option<Asked<'a>>, (&'static str, String)> {
    let json = value.get();
    let turns = match (key, json.as_bytes().first()) {
        ("body", Some(b'{')) => {
            let url = url
                .map(text_alone)
                .transpose()
                .map_err(|why| ("url", why))?;
            return Ok(Some(Asked::Body { json, url }));
        }
        ("messages" | "conversations" | "conversation", Some(b'[')) => {
            message::turns(json).map_err(|why| (key, why))?
        }
        ("user_messages", Some(b'[')) => user_messages(json).map_err(|why| (key, why))?,
        ("prompt" | "text", Some(b'"' | b'[')) => {
            let text = Text::parse(value).map_err(|why| (key, why))?;
            Turns {
                system: Vec::new(),
                questions: if text.is_blank() {
                    Vec::new()
                } else {
                    vec![text]
                },
            }
        }
        _ => return Ok(None),
    };
    Ok((!turns.questions.is_empty()).then_some(Asked::Turns(turns)))
}

fn user_messages(json: &str) -> Result<Turns<'_>, String> {
    let values: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| without_place(&error))?;
    let mut turns = Turns::default();
    for (at, value) in values.into_iter().enumerate() {
        let text = Text::parse(value).map_err(|why| format!("message {}: {why}", at + 1))?;
        if !text.is_blank() {
            turns.questions.push(text);
        }
    }
    Ok(turns)
}

/// Text, or a number as it stands in the file.
///
/// # Errors
/// What else it is, to be put behind the name of the value.
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

/// The last user message of a request body, else its prompt. Bodies are sent as they are: nothing in one is wrong here.
fn body_prompt(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
        #[serde(borrow)]
        prompt: Option<&'a RawValue>,
    }
    let body: Body = serde_json::from_str(json).ok()?;
    let last = body
        .messages
        .and_then(|messages| message::turns(messages.get()).ok()?.questions.pop());
    let text = last.or_else(|| Text::parse(body.prompt?).ok())?;
    Some(text.decoded())
}

fn is_streamed(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        stream: Option<&'a RawValue>,
    }
    serde_json::from_str::<Body>(json)
        .ok()
        .and_then(|body| body.stream)
        .is_some_and(|stream| stream.get() == "true")
}

/// The first keys of an object, for an error.
fn keys(json: &str) -> String {
    const MOST: usize = 8;
    let object: std::collections::BTreeMap<Cow<str>, serde::de::IgnoredAny> =
        serde_json::from_str(json).unwrap_or_default();
    if object.is_empty() {
        return "it has no keys".to_string();
    }
    let names = object.keys().take(MOST).map(|key| shortened(key));
    let more = if object.len() > MOST { ", …" } else { "" };
    format!("its keys: {}{more}", names.collect::<Vec<_>>().join(", "))
}
