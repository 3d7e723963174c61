//! The protocol of the paced server and the floor: one request, and the bytes of one reply.
//!
//! A reply looks like vLLM's: one HTTP chunk an event. Its length follows from its tokens alone, so the floor finds the
//! end by counting bytes and parses nothing.

use std::io::Write;

const CREATED: &str = r#""created":1795325512,"model":"bench""#;

/// The head of a stream, sent as soon as the request has been read.
pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// The events of replies, framed and ready to be written.
pub struct Events {
    pub token: Vec<u8>,
    pub last_token: Vec<u8>,
}

impl Events {
    pub fn new() -> Events {
        Events {
            token: event("null"),
            last_token: event(r#""length""#),
        }
    }

    /// Returns the end after the last token: usage, `[DONE]` and the last chunk.
    pub fn tail(prompt_tokens: usize, tokens: usize) -> Vec<u8> {
        // Numbers have a fixed width, so that all replies of as many tokens have the same length. JSON has no leading
        // zeros, so blanks pad them.
        let usage = format!(
            r#"{{"id":"cmpl-000000000000001a","object":"text_completion",{CREATED},"choices":[],"usage":{{"prompt_tokens":{prompt_tokens:9},"total_tokens":{:9},"completion_tokens":{tokens:9}}}}}"#,
            prompt_tokens + tokens
        );
        let mut bytes = chunk(&format!("data: {usage}\n\n"));
        bytes.extend_from_slice(&chunk("data: [DONE]\n\n"));
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Returns the bytes of a whole reply, including its head.
    pub fn reply_bytes(&self, tokens: usize) -> usize {
        let events = self.token.len() * (tokens - 1) + self.last_token.len();
        HEAD.len() + events + Events::tail(0, tokens).len()
    }
}

fn event(finish_reason: &str) -> Vec<u8> {
    chunk(&format!(
        "data: {{\"id\":\"cmpl-000000000000001a\",\"object\":\"text_completion\",{CREATED},\"choices\":[{{\"index\":0,\
         \"text\":\" token\",\"logprobs\":null,\"finish_reason\":{finish_reason},\"stop_reason\":null}}]}}\n\n"
    ))
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A request of the floor; its number is at `id_at`, in eight digits.
pub struct Request {
    pub bytes: Vec<u8>,
    pub id_at: usize,
}

impl Request {
    /// Makes a request with a prompt of `prompt_bytes` that asks for `tokens` tokens.
    pub fn new(prompt_bytes: usize, tokens: usize) -> Request {
        let prompt = "word ".repeat(prompt_bytes / 5);
        let body = format!(
            r#"{{"prompt":"{prompt}","model":"bench","max_tokens":{tokens},"stream":true,"stream_options":{{"include_usage":true}}}}"#
        );
        let head = "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nx-request-id: ";
        let mut bytes = head.as_bytes().to_vec();
        let id_at = bytes.len();
        bytes.extend_from_slice(b"00000000\r\n");
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        Request { bytes, id_at }
    }

    pub fn set_id(&mut self, id: usize) {
        let mut digits = &mut self.bytes[self.id_at..self.id_at + 8];
        write!(digits, "{id:08}").expect("eight digits are enough");
    }
}
