//! Request bodies: the part that all requests of a run share, and a turn's own parts.
//!
//! A body is written piece by piece: long texts are shared and never copied.

use std::fmt::Write;
use std::io::Read;

use serde_json::{Map, Value, json};

use super::api::Api;
use crate::plan::{Message, Prompt, Turn};

/// Fields that some servers refuse; each is left out if the server refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Optional {
    pub ignore_eos: bool,
    pub min_tokens: bool,
    pub stream_options: bool,
    pub temperature: bool,
}

impl Optional {
    pub const ALL: Optional = Optional {
        ignore_eos: true,
        min_tokens: true,
        stream_options: true,
        temperature: true,
    };

    pub const NONE: Optional = Optional {
        ignore_eos: false,
        min_tokens: false,
        stream_options: false,
        temperature: false,
    };

    /// Returns the fields by name.
    pub fn fields(&mut self) -> [(&'static str, &mut bool); 4] {
        [
            ("ignore_eos", &mut self.ignore_eos),
            ("min_tokens", &mut self.min_tokens),
            ("stream_options", &mut self.stream_options),
            ("temperature", &mut self.temperature),
        ]
    }

    /// Switches off the fields that an error text names; returns their names.
    pub fn drop_named(&mut self, text: &str) -> Vec<&'static str> {
        let fields = self.fields().into_iter();
        let named = fields.filter(|(name, on)| **on && text.contains(name));
        named
            .map(|(name, on)| {
                *on = false;
                name
            })
            .collect()
    }
}

/// How tokens are sampled, and the least number in an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    pub temperature: f64,
    pub top_p: Option<f64>,
    /// `None`: as many as `max_tokens`, if `Optional::min_tokens` is on.
    pub min_tokens: Option<u64>,
}

/// The usual name of the limit on an answer's tokens.
pub const LIMIT: &str = "max_tokens";

/// The part that all request bodies of a run share.
#[derive(Debug, Clone)]
pub struct BodyShape {
    pub api: Api,
    pub model: String,
    pub optional: Optional,
    /// `LIMIT`, or another name that the server accepts instead.
    pub limit_name: &'static str,
    pub sampling: Sampling,
    /// Whether each request carries `metadata` with its session's id and its own.
    pub sends_metadata: bool,
    /// The keys of `--extra-body`, which override ours.
    pub extra: Map<String, Value>,
}

impl BodyShape {
    /// Asks for an exact number of tokens, greedy sampling and all optional fields.
    pub fn new(api: Api, model: impl Into<String>) -> BodyShape {
        BodyShape {
            api,
            model: model.into(),
            optional: Optional::ALL,
            limit_name: LIMIT,
            sampling: Sampling::default(),
            sends_metadata: false,
            extra: Map::new(),
        }
    }

    /// Returns the end of a body, from the key after the prompt.
    pub fn rest(&self, max_tokens: Option<u64>) -> String {
        let mut fields = Map::new();
        if self.api != Api::Generate {
            fields.insert("model".into(), json!(self.model));
        }
        if let Some(max_tokens) = max_tokens {
            fields.insert(self.limit_name.into(), json!(max_tokens));
        }
        if self.optional.temperature {
            fields.insert("temperature".into(), number(self.sampling.temperature));
        }
        if let Some(top_p) = self.sampling.top_p {
            fields.insert("top_p".into(), number(top_p));
        }
        // Servers with this API know no other keys, and decide themselves whether to stream.
        if self.api == Api::Generate {
            return end_of_object(fields, &self.extra);
        }
        fields.insert("stream".into(), json!(true));
        if self.optional.stream_options {
            fields.insert("stream_options".into(), json!({"include_usage": true}));
        }
        if self.optional.ignore_eos {
            fields.insert("ignore_eos".into(), json!(true));
        }
        let least = self.sampling.min_tokens.or(max_tokens);
        // Set-up requests ask for one token, whatever the run's minimum is.
        let least = least.map(|least| least.min(max_tokens.unwrap_or(u64::MAX)));
        if let Some(least) = least.filter(|_| self.optional.min_tokens) {
            fields.insert("min_tokens".into(), json!(least));
        }
        end_of_object(fields, &self.extra)
    }

    /// Returns the member `metadata` of a turn's body with a comma after it; empty if it has none.
    pub fn metadata(&self, turn: &Turn, request_id: &str) -> String {
        let mut text = String::new();
        if let Some(session) = turn.session.as_ref().filter(|_| self.sends_metadata) {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                r#""metadata":{{"session_id":"{session}","request_id":"{request_id}"}},"#
            );
        }
        text
    }
}

/// Returns the fields, overridden by those of `extra`, up to the closing brace.
fn end_of_object(mut fields: Map<String, Value>, extra: &Map<String, Value>) -> String {
    fields.extend(extra.clone());
    let object = Value::Object(fields).to_string();
    object[1..].to_string()
}

/// Returns a number; whole numbers have no fraction.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// The parts of a request body, read in order without joining them.
pub struct Pieces<'a> {
    pieces: &'a [&'a [u8]],
    offset: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(pieces: &'a [&'a [u8]]) -> Pieces<'a> {
        Pieces { pieces, offset: 0 }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while let Some(piece) = self.pieces.first().filter(|_| filled < out.len()) {
            let rest = &piece[self.offset..];
            let n = rest.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&rest[..n]);
            filled += n;
            self.offset += n;
            if self.offset == piece.len() {
                self.pieces = &self.pieces[1..];
                self.offset = 0;
            }
        }
        Ok(filled)
    }
}

/// Returns the request body as consecutive slices, concatenated without separators; `metadata` and `rest` are made by
/// the functions above.
pub fn pieces<'a>(api: Api, turn: &'a Turn, metadata: &'a str, rest: &'a str) -> Vec<&'a [u8]> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    match (&turn.prompt, api) {
        (Prompt::Body(body), _) => return vec![body.as_bytes()],
        (Prompt::Request(members), _) => pieces.extend([&b"{"[..], members.as_bytes(), b","]),
        (Prompt::Text(texts), Api::Completions | Api::Generate) => {
            pieces.push(br#"{"prompt":""#);
            pieces.extend(texts.iter().map(|text| text.as_bytes()));
            pieces.push(br#"","#);
        }
        (Prompt::Text(texts), Api::Chat) => {
            pieces.push(br#"{"messages":[{"role":"user","content":""#);
            pieces.extend(texts.iter().map(|text| text.as_bytes()));
            pieces.push(br#""}],"#);
        }
        (Prompt::Messages { nonce, messages }, _) => {
            pieces.push(br#"{"messages":["#);
            push_messages(&mut pieces, nonce.as_deref(), messages);
            pieces.push(b"],");
        }
    }
    pieces.push(metadata.as_bytes());
    pieces.push(rest.as_bytes());
    pieces
}

/// Pushes the messages, separated by commas; the nonce begins the first one's text.
fn push_messages<'a>(pieces: &mut Vec<&'a [u8]>, nonce: Option<&'a str>, messages: &'a [Message]) {
    let mut nonce = nonce;
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            pieces.push(b",");
        }
        pieces.push(br#"{"role":""#);
        pieces.push(message.role.name().as_bytes());
        pieces.push(br#"","content":""#);
        pieces.extend(nonce.take().map(str::as_bytes));
        pieces.push(message.text.as_bytes());
        pieces.push(br#""}"#);
    }
}

/// Returns the messages as the JSON list in a body.
pub fn messages_json(nonce: Option<&str>, messages: &[Message]) -> String {
    let mut pieces: Vec<&[u8]> = vec![b"["];
    push_messages(&mut pieces, nonce, messages);
    pieces.push(b"]");
    String::from_utf8_lossy(&pieces.concat()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Role;
    use crate::sample::Labels;

    fn shape() -> BodyShape {
        BodyShape::new(Api::Completions, "m\"1")
    }

    fn turn(prompt: Prompt, max_tokens: Option<u64>) -> Turn {
        Turn {
            id: 7,
            labels: Labels::default(),
            prompt,
            max_tokens,
            session: Some("s 1".into()),
            keeps_reply: false,
        }
    }

    fn text() -> Turn {
        turn(Prompt::Text(vec!["one \\n".into(), " two".into()]), Some(7))
    }

    fn body(shape: &BodyShape, turn: &Turn) -> Value {
        let (metadata, rest) = (shape.metadata(turn, "run-7"), shape.rest(turn.max_tokens));
        let bytes = pieces(shape.api, turn, &metadata, &rest).concat();
        serde_json::from_slice(&bytes).expect("valid JSON")
    }

    #[test]
    fn a_text_is_a_prompt_or_the_one_message_of_a_chat() {
        let mut shape = shape();
        assert_eq!(
            body(&shape, &text()),
            json!({"prompt": "one \n two", "model": "m\"1", "max_tokens": 7, "temperature": 0,
                "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true, "min_tokens": 7})
        );
        shape.api = Api::Chat;
        shape.optional = Optional {
            temperature: true,
            ..Optional::NONE
        };
        shape.extra = json!({"temperature": 1, "top_k": 4})
            .as_object()
            .cloned()
            .expect("an object");
        assert_eq!(
            body(&shape, &text()),
            json!({"messages": [{"role": "user", "content": "one \n two"}], "model": "m\"1",
                "max_tokens": 7, "temperature": 1, "top_k": 4, "stream": true})
        );
    }

    #[test]
    fn generate_has_three_keys_and_those_that_the_user_adds() {
        let mut shape = BodyShape::new(Api::Generate, "");
        assert_eq!(
            body(&shape, &text()),
            json!({"prompt": "one \n two", "max_tokens": 7, "temperature": 0})
        );
        let extra = json!({"stream": true, "max_tokens": 3});
        shape.extra = extra.as_object().cloned().expect("an object");
        assert_eq!(
            body(&shape, &text()),
            json!({"prompt": "one \n two", "max_tokens": 3, "temperature": 0, "stream": true})
        );
    }

    #[test]
    fn messages_go_out_in_order_with_the_nonce_in_front_of_the_first() {
        let message = |role, text: &str| Message {
            role,
            text: text.into(),
        };
        let prompt = Prompt::Messages {
            nonce: Some("[n]\\n".into()),
            messages: vec![
                message(Role::System, "be brief"),
                message(Role::User, "why?"),
                message(Role::Assistant, "\\u00e9"),
                message(Role::User, "and?"),
            ],
        };
        let shape = BodyShape {
            api: Api::Chat,
            optional: Optional {
                ignore_eos: false,
                ..Optional::ALL
            },
            sampling: Sampling {
                temperature: 0.7,
                top_p: Some(0.9),
                min_tokens: Some(3),
            },
            sends_metadata: true,
            ..shape()
        };
        assert_eq!(
            body(&shape, &turn(prompt, None)),
            json!({"messages": [
                    {"role": "system", "content": "[n]\nbe brief"}, {"role": "user", "content": "why?"},
                    {"role": "assistant", "content": "é"}, {"role": "user", "content": "and?"}],
                "metadata": {"session_id": "s 1", "request_id": "run-7"},
                "model": "m\"1", "temperature": 0.7, "top_p": 0.9, "min_tokens": 3, "stream": true,
                "stream_options": {"include_usage": true}})
        );
    }

    #[test]
    fn a_body_is_sent_as_it_is_and_a_probe_wants_no_more_than_it_allows() {
        let own = r#"{ "model":"x",  "messages":[] }"#;
        let turn = turn(Prompt::Body(own.into()), Some(1));
        assert_eq!(
            pieces(Api::Chat, &turn, "", "rest").concat(),
            own.as_bytes()
        );
        let prompt = Prompt::Request(r#""messages":[{"role":"tool"}],"tools":[1]"#.into());
        let turn = Turn { prompt, ..turn };
        assert_eq!(
            pieces(Api::Chat, &turn, "", "\"model\":\"m\"}").concat(),
            br#"{"messages":[{"role":"tool"}],"tools":[1],"model":"m"}"#
        );
        let mut shape = shape();
        shape.sampling.min_tokens = Some(5);
        assert!(shape.rest(Some(1)).contains(r#""min_tokens":1"#));
    }

    #[test]
    fn an_error_that_names_fields_takes_them_out() {
        let mut optional = Optional::ALL;
        let text = "Unexpected fields in the request: {'min_tokens', 'ignore_eos'}";
        assert_eq!(optional.drop_named(text), ["ignore_eos", "min_tokens"]);
        assert_eq!(
            optional,
            Optional {
                ignore_eos: false,
                min_tokens: false,
                ..Optional::ALL
            }
        );
        assert!(optional.drop_named(text).is_empty());
    }
}
