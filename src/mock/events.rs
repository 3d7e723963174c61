//! The bytes of answers: stream events and whole replies in vLLM's shape.
//!
//! Knows no time.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::generation::{Api, Generation};

/// The event that ends a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Token counts as an answer reports them.
#[derive(Clone, Copy)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    /// `None`: not mentioned.
    pub cached_tokens: Option<usize>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prompt, completion) = (self.prompt_tokens, self.completion_tokens);
        let total = prompt + completion;
        write!(
            f,
            r#"{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion}"#
        )?;
        if let Some(cached) = self.cached_tokens {
            write!(
                f,
                r#","prompt_tokens_details":{{"cached_tokens":{cached}}}"#
            )?;
        }
        f.write_str("}")
    }
}

/// Makes the events of one answer, each appended whole, `data: ` and empty line included.
pub struct Events {
    api: Api,
    /// Whether the answer came from the response cache, as `/generate` tells.
    is_cached: bool,
    /// An event's JSON up to its choices.
    head: String,
    /// The JSON of a reply that is not streamed, up to its choices.
    whole_head: String,
}

impl Events {
    pub fn new(generation: &Generation, number: u64, model: &str) -> Events {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let created_s = since_1970.map_or(0, |time| time.as_secs());
        Events {
            is_cached: generation.is_cached,
            ..Events::created(generation.api, number, model, created_s)
        }
    }

    fn created(api: Api, number: u64, model: &str, created_s: u64) -> Events {
        let (kind, object, whole_object) = match api {
            Api::Chat => ("chatcmpl", "chat.completion.chunk", "chat.completion"),
            Api::Completions | Api::Generate => ("cmpl", "text_completion", "text_completion"),
        };
        let model = Value::from(model);
        let head = |object| {
            format!(
                r#"{{"id":"{kind}-{number:016x}","object":"{object}","created":{created_s},"model":{model},"choices":["#
            )
        };
        Events {
            api,
            is_cached: false,
            head: head(object),
            whole_head: head(whole_object),
        }
    }

    /// An event with text; `finish_reason` on the last one. Allocates nothing once `out` has grown.
    pub fn push_text(
        &self,
        out: &mut Vec<u8>,
        text: &str,
        finish_reason: Option<&str>,
        usage: Option<Usage>,
    ) {
        match self.api {
            Api::Generate => {
                out.extend_from_slice(br#"data: {"text":"#);
                push_json(out, &text);
                out.extend_from_slice(b"}\n\n");
            }
            Api::Completions => {
                self.open(out, r#""text":"#);
                push_json(out, &text);
                close(out, finish_reason, usage);
            }
            Api::Chat => {
                self.open(out, r#""delta":{"content":"#);
                push_json(out, &text);
                out.push(b'}');
                close(out, finish_reason, usage);
            }
        }
    }

    /// The first event of a chat: the role and no text.
    pub fn push_role(&self, out: &mut Vec<u8>, usage: Option<Usage>) {
        self.open(out, r#""delta":{"role":"assistant","content":""}"#);
        close(out, None, usage);
    }

    /// The event before `[DONE]`: usage and no choice, or for `/generate` whether it was cached.
    ///
    /// Nothing if there is nothing to say.
    pub fn push_closing(&self, out: &mut Vec<u8>, usage: Option<Usage>) {
        if self.api == Api::Generate {
            let event = format!("data: {{\"text\":\"\",\"cached\":{}}}\n\n", self.is_cached);
            out.extend_from_slice(event.as_bytes());
        } else if let Some(usage) = usage {
            let event = format!("data: {}],\"usage\":{usage}}}\n\n", self.head);
            out.extend_from_slice(event.as_bytes());
        }
    }

    /// The JSON of a reply that is not streamed.
    pub fn whole(&self, text: &str, finish_reason: &str, usage: Option<Usage>) -> String {
        let (text, finish) = (Value::from(text), Value::from(finish_reason));
        let content = match self.api {
            Api::Generate => return format!(r#"{{"text":{text},"cached":{}}}"#, self.is_cached),
            Api::Completions => format!(r#""text":{text}"#),
            Api::Chat => format!(r#""message":{{"role":"assistant","content":{text}}}"#),
        };
        let rest = format!(r#""logprobs":null,"finish_reason":{finish},"stop_reason":null"#);
        let usage = usage
            .map(|usage| format!(r#","usage":{usage}"#))
            .unwrap_or_default();
        format!(
            r#"{}{{"index":0,{content},{rest}}}]{usage}}}"#,
            self.whole_head
        )
    }

    /// Starts an event with the first choice's content, or the start of it.
    fn open(&self, out: &mut Vec<u8>, content: &str) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(br#"{"index":0,"#);
        out.extend_from_slice(content.as_bytes());
    }
}

/// Ends an event after its choice's content.
fn close(out: &mut Vec<u8>, finish_reason: Option<&str>, usage: Option<Usage>) {
    out.extend_from_slice(br#","logprobs":null,"finish_reason":"#);
    push_json(out, &finish_reason);
    out.extend_from_slice(br#","stop_reason":null}]"#);
    if let Some(usage) = usage {
        write!(out, r#","usage":{usage}"#).expect("a Vec takes everything");
    }
    out.extend_from_slice(b"}\n\n");
}

fn push_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("a Vec takes everything, and texts are JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage {
        prompt_tokens: 14,
        completion_tokens: 12,
        cached_tokens: None,
    };

    fn events(api: Api) -> Events {
        Events::created(api, 26, "tiny-chain", 1795325512)
    }

    fn made(make: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        make(&mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn completions_events_have_vllms_fields() {
        // An event that vLLM sent with continuous usage, without its last two null fields.
        let events = events(Api::Completions);
        assert_eq!(
            made(|out| events.push_text(out, " nuqua", Some("length"), Some(USAGE))),
            "data: {\"id\":\"cmpl-000000000000001a\",\"object\":\"text_completion\",\"created\":1795325512,\"model\":\"tiny-chain\",\"choices\":[{\"index\":0,\"text\":\" nuqua\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":14,\"total_tokens\":26,\"completion_tokens\":12}}\n\n"
        );
        let cached_tokens = Some(0);
        assert_eq!(
            made(|out| events.push_closing(
                out,
                Some(Usage {
                    cached_tokens,
                    ..USAGE
                })
            )),
            "data: {\"id\":\"cmpl-000000000000001a\",\"object\":\"text_completion\",\"created\":1795325512,\"model\":\"tiny-chain\",\"choices\":[],\"usage\":{\"prompt_tokens\":14,\"total_tokens\":26,\"completion_tokens\":12,\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\n"
        );
        assert_eq!(made(|out| events.push_closing(out, None)), "");
    }

    #[test]
    fn chat_events_have_vllms_fields() {
        let events = events(Api::Chat);
        assert_eq!(
            made(|out| events.push_role(out, None)),
            "data: {\"id\":\"chatcmpl-000000000000001a\",\"object\":\"chat.completion.chunk\",\"created\":1795325512,\"model\":\"tiny-chain\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n"
        );
        assert_eq!(
            made(|out| events.push_text(out, " \"é", None, None)),
            "data: {\"id\":\"chatcmpl-000000000000001a\",\"object\":\"chat.completion.chunk\",\"created\":1795325512,\"model\":\"tiny-chain\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\\"é\"},\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n"
        );
    }

    #[test]
    fn whole_replies_are_those_of_their_routes() {
        assert_eq!(
            events(Api::Generate).whole(" a", "length", Some(USAGE)),
            r#"{"text":" a","cached":false}"#
        );
        assert_eq!(
            events(Api::Chat).whole(" a", "stop", None),
            r#"{"id":"chatcmpl-000000000000001a","object":"chat.completion","created":1795325512,"model":"tiny-chain","choices":[{"index":0,"message":{"role":"assistant","content":" a"},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}"#
        );
    }
}
