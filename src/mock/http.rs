//! Responses and error replies as bytes of HTTP/1.1, and how a body is framed.
//!
//! Knows no routes.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

use serde_json::Value;

/// A header of every response, by which clients in other processes learn that a mock answers, and its version.
const MARK: &str = concat!("x-tmesh-mock: ", env!("CARGO_PKG_VERSION"));

/// A whole response.
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    /// One more header, name and value.
    pub header: Option<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            content_type: "application/json",
            header: None,
            body: body.into(),
        }
    }

    pub fn with_header(mut self, name: &'static str, value: String) -> Response {
        self.header = Some((name, value));
        self
    }

    /// Head and body as they go over the wire; `keep_alive`: whether the connection stays open.
    pub fn into_bytes(mut self, keep_alive: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n{MARK}\r\n{}\r\ncontent-length: {}\r\ncontent-type: {}\r\n",
            self.status,
            reason(self.status),
            date(),
            self.body.len(),
            self.content_type
        );
        if let Some((name, value)) = &self.header {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(if keep_alive {
            "\r\n"
        } else {
            "connection: close\r\n\r\n"
        });
        let mut bytes = head.into_bytes();
        bytes.append(&mut self.body);
        bytes
    }
}

/// An error as vLLM words it: a reply, or an event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorReply {
    status: u16,
    kind: &'static str,
    message: String,
    /// The field at fault.
    parameter: Option<&'static str>,
}

impl ErrorReply {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            status,
            kind,
            message: message.into(),
            parameter: None,
        }
    }

    /// An error that a fault asks for.
    pub fn told(status: u16) -> ErrorReply {
        ErrorReply::new(status, "InternalServerError", "The mock was told to fail.")
    }

    /// A value is out of bounds.
    pub fn value(parameter: &'static str, message: impl Into<String>) -> ErrorReply {
        ErrorReply {
            parameter: Some(parameter),
            ..ErrorReply::new(400, "BadRequestError", message)
        }
    }

    /// A body is not what was wanted: no JSON, a wrong type, a missing field.
    pub fn invalid(parameter: Option<&'static str>, why: impl fmt::Display) -> ErrorReply {
        let message = format!("1 validation error:\n  {why}");
        ErrorReply {
            parameter,
            ..ErrorReply::new(400, "Bad Request", message)
        }
    }

    pub fn unknown_model(asked: &str, served: &str) -> ErrorReply {
        let message = format!("The model `{asked}` does not exist. Valid aliases: {served}.");
        ErrorReply {
            parameter: Some("model"),
            ..ErrorReply::new(404, "NotFoundError", message)
        }
    }

    pub fn response(&self) -> Response {
        Response::json(self.status, self.to_string())
    }
}

/// The JSON.
impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, kind) = (Value::from(&*self.message), Value::from(self.kind));
        let (parameter, status) = (Value::from(self.parameter), self.status);
        write!(
            f,
            r#"{{"error":{{"message":{message},"type":{kind},"param":{parameter},"code":{status}}}}}"#
        )
    }
}

/// The ways to tell the end of a body whose length is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The body comes in chunks, and an empty one ends it.
    Chunked,
    /// The body ends when the connection does: HTTP/1.0 has no chunks.
    UntilClose,
}

impl Framing {
    /// Appends a piece of the body; nothing for an empty one, because an empty chunk ends the body.
    pub fn push(self, out: &mut Vec<u8>, content: &[u8]) {
        match self {
            _ if content.is_empty() => {}
            Framing::UntilClose => out.extend_from_slice(content),
            Framing::Chunked => {
                write!(out, "{:x}\r\n", content.len()).expect("a Vec takes everything");
                out.extend_from_slice(content);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Appends the end of the body.
    pub fn push_end(self, out: &mut Vec<u8>) {
        if self == Framing::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// The head of an event stream.
pub fn stream_head(framing: Framing, keep_alive: bool) -> String {
    let chunked = match framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n",
        Framing::UntilClose => "",
    };
    let close = if keep_alive {
        ""
    } else {
        "connection: close\r\n"
    };
    let date = date();
    format!(
        "HTTP/1.1 200 OK\r\n{MARK}\r\n{date}\r\ncontent-type: text/event-stream; charset=utf-8\r\n{chunked}{close}\r\n"
    )
}

/// The header with the time of the response.
fn date() -> String {
    format!("date: {}", httpdate::fmt_http_date(SystemTime::now()))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_size_its_content_and_a_line_end() {
        let chunk = |content: &[u8]| {
            let mut out = Vec::new();
            Framing::Chunked.push(&mut out, content);
            out
        };
        for (size, head) in [
            (1, "1\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (255, "ff\r\n"),
            (256, "100\r\n"),
            (70_000, "11170\r\n"),
        ] {
            let content = "x".repeat(size);
            let expected = format!("{head}{content}\r\n");
            assert_eq!(chunk(content.as_bytes()), expected.as_bytes());
        }
        assert_eq!(chunk(b""), b"");
    }

    #[test]
    fn a_response_says_its_length_and_whether_it_closes() {
        let response = Response::json(429, "{}").with_header("retry-after", "3".to_string());
        let expected = format!(
            "HTTP/1.1 429 Too Many Requests\r\nx-tmesh-mock: {}\r\nDATE\r\ncontent-length: 2\r\n\
             content-type: application/json\r\nretry-after: 3\r\nconnection: close\r\n\r\n{{}}",
            env!("CARGO_PKG_VERSION")
        );
        let text = String::from_utf8(response.into_bytes(false)).expect("it is text");
        let date = text.lines().find(|line| line.starts_with("date: "));
        let date = date.expect("a date");
        assert!(date.ends_with(" GMT"), "{date}");
        assert_eq!(text.replace(date, "DATE"), expected);
    }

    #[test]
    fn an_unknown_model_gets_vllms_reply() {
        // A reply of vLLM to an unknown model, with its names.
        let bytes = ErrorReply::unknown_model("no-such-model", "tiny-chain")
            .response()
            .into_bytes(true);
        let text = String::from_utf8(bytes).expect("it is text");
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
        assert!(text.ends_with(
            "\r\n\r\n{\"error\":{\"message\":\"The model `no-such-model` does not exist. Valid aliases: tiny-chain.\",\
             \"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}"
        ), "{text}");
    }
}
