//! What an event of a stream, or a whole plain reply, says, and where servers put it: the tables that the dialects
//! share.
//!
//! Strings are measured where they stand in the JSON, not copied.

use serde_json::Value;

use super::json::{self, Raw, inside, pick, text_bytes};
use super::usage::Usage;

/// What an event, or a whole plain reply, says.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// Generated text that is the answer, in bytes of UTF-8.
    pub answer_bytes: usize,
    /// Generated text that is reasoning, in bytes of UTF-8.
    pub reasoning_bytes: usize,
    /// The number of JSON values that hold this text, and the last string of them.
    pub texts: u32,
    pub text: Option<Raw<'a>>,
    /// The answer's text of the first choice as it stands in the JSON, without its quotes.
    pub answer: &'a [u8],
    /// A choice is in it.
    pub has_choice: bool,
    /// A choice has the field at all, null included.
    pub has_finish_field: bool,
    /// The reason and the number of the last choice that finished here.
    pub finish: Option<(Raw<'a>, u64)>,
    pub usage: Option<Usage>,
    /// Whether the whole reply came from a cache; only `/generate` says so.
    pub cached: Option<bool>,
    /// The server's words for what went wrong.
    pub error: Option<Box<str>>,
}

/// What generated text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Answer,
    Reasoning,
    /// Names and arguments of a call are an answer.
    Tool,
}

/// Where text may stand in a delta, a message or a part of one. Several of the names of reasoning may hold the same
/// text.
pub const TEXTS: [(&str, Kind); 15] = [
    ("content", Kind::Answer),
    ("refusal", Kind::Answer),
    ("audio", Kind::Answer),
    ("tool_calls", Kind::Tool),
    ("tool_call", Kind::Tool),
    ("function_call", Kind::Tool),
    ("custom_tool_call", Kind::Tool),
    ("reasoning_content", Kind::Reasoning),
    ("reasoning", Kind::Reasoning),
    ("reasoning_text", Kind::Reasoning),
    ("reasoning_details", Kind::Reasoning),
    ("thinking", Kind::Reasoning),
    ("thinking_content", Kind::Reasoning),
    ("thinking_blocks", Kind::Reasoning),
    ("thought", Kind::Reasoning),
];
/// Where text may stand in a value that is no string.
const PARTS: [&str; 9] = [
    "text",
    "content",
    "refusal",
    "transcript",
    "output_text",
    "thinking",
    "reasoning",
    "summary",
    "parts",
];
/// Where a call of a tool has its text.
const CALLS: [&str; 6] = [
    "function",
    "custom",
    "name",
    "arguments",
    "input",
    "parameters",
];
/// Finish reasons of a reply that failed.
const FAILED: [&str; 14] = [
    "abort",
    "aborted",
    "error",
    "cancel",
    "cancelled",
    "canceled",
    "failed",
    "timeout",
    "network_error",
    "engine_error",
    "server_error",
    "internal_error",
    "overloaded",
    "insufficient_system_resource",
];
/// Finish reasons of a reply that goes on: some gateways write these where others write null.
const NO_REASON: [&str; 4] = ["null", "\"\"", "false", "\"null\""];

impl<'a> Chunk<'a> {
    /// The answer of a whole reply, unescaped; `None` where there is none, or no valid text.
    pub fn answer_text(&self) -> Option<String> {
        let json = [b"\"", self.answer, b"\""].concat();
        let text: String = serde_json::from_slice(&json).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Takes a finish reason: a word, or an object of a type and a message (SGLang).
    pub fn finish_with(&mut self, reason: Raw<'a>, index: u64) {
        if NO_REASON.contains(&reason.get()) {
            return;
        }
        self.finish = Some((reason, index));
        let [kind, message] = pick(Some(reason), &["type", "message"]);
        let word = json::string(kind).or_else(|| json::string(Some(reason)));
        if let Some(word) = word.filter(|word| FAILED.contains(&word.to_lowercase().as_str())) {
            let message = json::string(message).filter(|message| !message.is_empty());
            let words = message.unwrap_or_else(|| format!("finish reason {word}"));
            self.error = Some(words.into());
        }
    }

    pub fn add_usage(&mut self, usage: Usage) {
        self.usage = Some(self.usage.map_or(usage, |before| before.updated(usage)));
    }

    /// Takes a value that has answer, and perhaps reasoning too.
    pub fn add_content(&mut self, value: Option<Raw<'a>>, is_first: bool) {
        let [answer, reasoning] = self.measured(value, Kind::Answer);
        if answer > 0 && is_first {
            self.answer = inside(value).unwrap_or_default().as_bytes();
        }
        self.answer_bytes += answer;
        self.reasoning_bytes += reasoning;
    }

    /// Bytes of answer and of reasoning in a value; where it has any, it is noted.
    pub fn measured(&mut self, value: Option<Raw<'a>>, kind: Kind) -> [usize; 2] {
        let is_string = inside(value).is_some();
        let bytes = match value {
            Some(_) if is_string => of_kind(text_bytes(value), kind),
            Some(value) if value.get().starts_with(['[', '{']) => {
                let value: Option<Value> = serde_json::from_str(value.get()).ok();
                value.map_or([0; 2], |value| parts(&value, kind))
            }
            _ => [0; 2],
        };
        if bytes != [0; 2] {
            self.texts += 1;
            self.text = value.filter(|_| is_string);
        }
        bytes
    }
}

fn of_kind(bytes: usize, kind: Kind) -> [usize; 2] {
    match kind {
        Kind::Answer | Kind::Tool => [bytes, 0],
        Kind::Reasoning => [0, bytes],
    }
}

/// Bytes of answer and of reasoning in parts and calls. Allocates; only replies that have them pay.
fn parts(value: &Value, kind: Kind) -> [usize; 2] {
    let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
    match value {
        Value::String(text) => of_kind(text.len(), kind),
        Value::Array(list) => list.iter().map(|part| parts(part, kind)).fold([0; 2], add),
        Value::Object(object) => {
            let is_thought =
                |word: &str| word.contains("think") || word.contains("reason") || word == "summary";
            let of_part = match object.get("type").and_then(Value::as_str) {
                Some(word) if is_thought(word) && kind == Kind::Answer => Kind::Reasoning,
                _ => kind,
            };
            let names: &[&str] = if kind == Kind::Tool { &CALLS } else { &PARTS };
            let found = names
                .iter()
                .filter_map(|name| Some((name, object.get(*name)?)));
            let found = found.map(|(name, value)| match is_thought(name) {
                true => parts(value, Kind::Reasoning),
                false => parts(value, of_part),
            });
            found.fold([0; 2], add)
        }
        _ => [0; 2],
    }
}
