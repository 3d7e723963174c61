//! The content of a stream's event or of a whole plain reply, and the tables of keys under which servers put it, which
//! the dialects share.
//!
//! Strings are measured inside the JSON, not copied.

use serde_json::Value;

use super::json::{self, Raw, inside, pick, text_bytes};
use super::usage::Usage;

/// The content of an event, or of a whole plain reply.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// Bytes of generated answer text, in UTF-8.
    pub answer_bytes: usize,
    /// Bytes of generated reasoning text, in UTF-8.
    pub reasoning_bytes: usize,
    /// The number of JSON values that hold generated text, and the last such string.
    pub texts: u32,
    pub text: Option<Raw<'a>>,
    /// The answer's text of the first choice as the JSON has it, without quotes.
    pub answer: &'a [u8],
    /// Whether the chunk has a choice.
    pub has_choice: bool,
    /// Whether a choice has the field at all, even if null.
    pub has_finish_field: bool,
    /// The reason and the number of the last choice that finished here.
    pub finish: Option<(Raw<'a>, u64)>,
    pub usage: Option<Usage>,
    /// Whether the whole reply came from a cache; only `/generate` says so.
    pub cached: Option<bool>,
    /// The server's message about an error.
    pub error: Option<Box<str>>,
}

/// The kind of generated text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Answer,
    Reasoning,
    /// Names and arguments of a tool call, which count as answer.
    Tool,
}

/// Keys of text in a delta, a message or a part of one. Several keys of reasoning may hold the same text.
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
/// Keys of text in a value that is not a string.
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
/// Keys of text in a tool call.
const CALLS: [&str; 6] = [
    "function",
    "custom",
    "name",
    "arguments",
    "input",
    "parameters",
];
/// Finish reasons that mean failure.
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
/// Values that mean no finish reason: some gateways write these where others write null.
const NO_REASON: [&str; 4] = ["null", "\"\"", "false", "\"null\""];

impl<'a> Chunk<'a> {
    /// Returns the answer of a whole reply, unescaped; `None` if there is none, or no valid text.
    pub fn answer_text(&self) -> Option<String> {
        let json = [b"\"", self.answer, b"\""].concat();
        let text: String = serde_json::from_slice(&json).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Reads a finish reason: a word, or an object with a type and a message (SGLang).
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

    /// Reads a value that holds an answer, and perhaps reasoning.
    pub fn add_content(&mut self, value: Option<Raw<'a>>, is_first: bool) {
        let [answer, reasoning] = self.measured(value, Kind::Answer);
        if answer > 0 && is_first {
            self.answer = inside(value).unwrap_or_default().as_bytes();
        }
        self.answer_bytes += answer;
        self.reasoning_bytes += reasoning;
    }

    /// Returns the bytes of answer and of reasoning in a value, and records the value if it has any.
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

/// Returns the bytes of answer and of reasoning in parts and calls. Allocates, but only for replies that have them.
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
