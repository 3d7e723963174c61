//! HTTP/1.1 on one connection: bytes to requests, responses and error replies to bytes.
//!
//! Reads heads of up to 64 KiB and bodies of up to 64 MiB, by Content-Length or chunked. Everything that a client
//! can send without end is bounded: head, headers, body, and what a chunked body has beside its chunks. Knows no
//! routes.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::units::Epoch;

const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_BODY_BYTES: usize = 64 << 20;
const MAX_HEADERS: usize = 64;
/// All chunk extensions of one body together.
const MAX_EXTENSION_BYTES: usize = 4 << 10;
/// All lines after the last chunk together, the empty one that ends them included.
const MAX_TRAILER_BYTES: usize = 8 << 10;
/// The longest line in front of a chunk without extensions: 16 hex digits and the line's end.
const CHUNK_LINE_BYTES: usize = 18;

/// A request as read.
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The value of `X-Request-Id`.
    pub request_id: Option<String>,
    /// The value of `X-Session-Id`.
    pub session_id: Option<String>,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
    /// How the end of a body whose length is not known can be told to the client.
    pub framing: Framing,
    pub body: Vec<u8>,
    /// When the last byte had been read.
    pub read_ns: u64,
}

/// Why there is no request.
#[derive(Debug, PartialEq, Eq)]
pub enum NoRequest {
    /// The connection ended or failed.
    Closed,
    /// What was read is no request: the status to answer with, after which the connection must close, and why.
    Invalid(u16, &'static str),
}

/// Reads the requests of one connection.
pub struct Reader<'a> {
    stream: &'a TcpStream,
    epoch: Epoch,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// What the head says about the request's body.
struct BodyHead {
    chunked: bool,
    length: usize,
    expects_continue: bool,
}

impl<'a> Reader<'a> {
    pub fn new(stream: &'a TcpStream, epoch: Epoch) -> Reader<'a> {
        Reader {
            stream,
            epoch,
            buffer: Vec::new(),
        }
    }

    /// Reads the next request; waits for it as long as it takes.
    pub fn read(&mut self) -> Result<Request, NoRequest> {
        let (mut request, body) = loop {
            if let Some((used, request, body)) = parse_head(&self.buffer)? {
                self.buffer.drain(..used);
                break (request, body);
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(NoRequest::Invalid(431, "a head of more than 64 KiB"));
            }
            self.fill()?;
        };
        if body.expects_continue {
            let mut stream = self.stream;
            stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .map_err(|_| NoRequest::Closed)?;
        }
        request.body = match body.chunked {
            true => self.read_chunked()?,
            false => self.read_sized(body.length)?,
        };
        request.read_ns = self.epoch.now_ns();
        Ok(request)
    }

    fn fill(&mut self) -> Result<(), NoRequest> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => Err(NoRequest::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }

    fn read_sized(&mut self, length: usize) -> Result<Vec<u8>, NoRequest> {
        if length > MAX_BODY_BYTES {
            return Err(BODY_TOO_LARGE);
        }
        let have = self.buffer.len().min(length);
        let mut body = vec![0; length];
        body[..have].copy_from_slice(&self.buffer[..have]);
        self.buffer.drain(..have);
        self.stream
            .read_exact(&mut body[have..])
            .map_err(|_| NoRequest::Closed)?;
        Ok(body)
    }

    fn read_chunked(&mut self) -> Result<Vec<u8>, NoRequest> {
        let mut body = Vec::new();
        let mut extension_bytes = 0;
        loop {
            let (line_bytes, size) = self.read_chunk_size()?;
            extension_bytes += line_bytes.saturating_sub(CHUNK_LINE_BYTES);
            if extension_bytes > MAX_EXTENSION_BYTES {
                return Err(EXTENSIONS_TOO_LARGE);
            }
            if body.len() + size > MAX_BODY_BYTES {
                return Err(BODY_TOO_LARGE);
            }
            if size == 0 {
                self.skip_trailers()?;
                return Ok(body);
            }
            while self.buffer.len() < size + 2 {
                self.fill()?;
            }
            if &self.buffer[size..size + 2] != b"\r\n" {
                let why = "a chunk that does not end where its size says";
                return Err(NoRequest::Invalid(400, why));
            }
            body.extend_from_slice(&self.buffer[..size]);
            self.buffer.drain(..size + 2);
        }
    }

    /// Reads the line in front of a chunk; returns the line's length and the chunk's.
    fn read_chunk_size(&mut self) -> Result<(usize, usize), NoRequest> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.drain(..used);
                    return Ok((used, usize::try_from(size).unwrap_or(usize::MAX / 2)));
                }
                Ok(httparse::Status::Partial)
                    if self.buffer.len() > CHUNK_LINE_BYTES + MAX_EXTENSION_BYTES =>
                {
                    return Err(EXTENSIONS_TOO_LARGE);
                }
                Ok(httparse::Status::Partial) => self.fill()?,
                Err(_) => return Err(NoRequest::Invalid(400, "a chunk without its size")),
            }
        }
    }

    /// Reads the lines that may follow the last chunk, to the empty one that ends the body.
    fn skip_trailers(&mut self) -> Result<(), NoRequest> {
        let mut skipped_bytes = 0;
        loop {
            let line = self.buffer.windows(2).position(|pair| pair == b"\r\n");
            let line_bytes = line.map_or(self.buffer.len(), |end| end + 2);
            if skipped_bytes + line_bytes > MAX_TRAILER_BYTES {
                let why = "trailers of more than 8 KiB";
                return Err(NoRequest::Invalid(431, why));
            }
            let Some(end) = line else {
                self.fill()?;
                continue;
            };
            self.buffer.drain(..line_bytes);
            skipped_bytes += line_bytes;
            if end == 0 {
                return Ok(());
            }
        }
    }
}

const BODY_TOO_LARGE: NoRequest = NoRequest::Invalid(413, "a body of more than 64 MiB");
const EXTENSIONS_TOO_LARGE: NoRequest =
    NoRequest::Invalid(400, "chunk extensions of more than 4 KiB");

/// The head's length, and what it says; `None` if it is not whole yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Request, BodyHead)>, NoRequest> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(NoRequest::Invalid(431, "more than 64 headers"));
        }
        Err(_) => return Err(NoRequest::Invalid(400, "no HTTP request")),
    };
    let value = |name: &str| {
        let header = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).trim().to_string())
    };
    let says = |name, word: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
    let length = match value("content-length") {
        Some(text) => {
            let why = "a content-length that is not a number of bytes";
            text.parse().map_err(|_| NoRequest::Invalid(400, why))?
        }
        None => 0,
    };
    let is_old = head.version == Some(0);
    let body = BodyHead {
        chunked: says("transfer-encoding", "chunked"),
        length,
        expects_continue: !is_old && says("expect", "100-continue"),
    };
    let path = head.path.unwrap_or_default();
    let request = Request {
        method: head.method.unwrap_or_default().to_string(),
        path: path.split('?').next().unwrap_or_default().to_string(),
        authorization: value("authorization"),
        request_id: value("x-request-id"),
        session_id: value("x-session-id"),
        // vLLM's HTTP server closes after a request of HTTP/1.0, even one that asks it not to.
        keep_alive: !is_old && !says("connection", "close"),
        framing: match is_old {
            true => Framing::UntilClose,
            false => Framing::Chunked,
        },
        body: Vec::new(),
        read_ns: 0,
    };
    Ok(Some((used, request, body)))
}

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
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\ncontent-type: {}\r\n",
            self.status,
            reason(self.status),
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

/// How the end of a body whose length is not known is told.
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
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n{chunked}{close}\r\n"
    )
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
    use std::net::TcpListener;

    /// Two ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        (client, listener.accept().expect("it connects").0)
    }

    /// What is read of the bytes, written in pieces of `size`.
    fn read_pieces(bytes: &[u8], size: usize) -> Vec<Result<Request, NoRequest>> {
        let (mut client, server) = pair();
        client.set_nodelay(true).expect("it is a socket");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                bytes
                    .chunks(size)
                    .try_for_each(|piece| client.write_all(piece))
            });
            let mut reader = Reader::new(&server, Epoch::start());
            let mut requests = vec![reader.read()];
            while requests.last().is_some_and(Result::is_ok) {
                requests.push(reader.read());
            }
            requests
        })
    }

    #[test]
    fn requests_are_read_however_they_are_cut() {
        let bytes = b"POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\nX-Request-ID: 7-1\r\ncontent-length: 5\r\n\r\nhello\
            POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer k\r\n\r\n\
            3\r\nabc\r\nA;note=1\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n\
            GET /health HTTP/1.0\r\n\r\n";
        for size in [1, 2, 7, bytes.len()] {
            let requests = read_pieces(bytes, size);
            let [Ok(sized), Ok(chunked), Ok(bare), Err(NoRequest::Closed)] = &requests[..] else {
                panic!("{} results at size {size}", requests.len());
            };
            assert_eq!(
                (sized.method.as_str(), sized.path.as_str()),
                ("POST", "/v1/completions")
            );
            assert_eq!(sized.request_id.as_deref(), Some("7-1"));
            assert_eq!((&sized.body[..], sized.keep_alive), (&b"hello"[..], true));
            assert_eq!(&chunked.body[..], b"abc0123456789");
            assert_eq!(chunked.authorization.as_deref(), Some("Bearer k"));
            assert_eq!((bare.path.as_str(), bare.keep_alive), ("/health", false));
        }
    }

    /// Why the bytes are no request: the status, if there is to be an answer.
    fn refusal(bytes: &str) -> Option<u16> {
        match read_pieces(bytes.as_bytes(), 1000).pop() {
            Some(Err(NoRequest::Invalid(status, _))) => Some(status),
            _ => None,
        }
    }

    const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn what_is_no_request_gets_its_status() {
        for (bytes, status) in [
            ("nonsense\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n", 413),
            (&format!("{CHUNKED}4000001\r\n"), 413),
            (&format!("{CHUNKED}xyz\r\n"), 400),
            (&format!("{CHUNKED}3\r\nabcd\r\n0\r\n\r\n"), 400),
        ] {
            assert_eq!(refusal(bytes), Some(status), "{bytes}");
        }
    }

    #[test]
    fn a_head_is_read_up_to_its_bounds() {
        let head = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(
            refusal(&head(&format!("x: {}\r\n", "y".repeat(65_000)))),
            None
        );
        assert_eq!(refusal(&head(&"x: y\r\n".repeat(64))), None);
        assert_eq!(refusal(&head(&"x: y\r\n".repeat(65))), Some(431));
        let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(1 << 20));
        assert_eq!(refusal(&endless), Some(431));
    }

    #[test]
    fn what_a_chunked_body_has_beside_its_chunks_is_bounded() {
        let extended = |count: usize, bytes: usize| {
            let chunk = format!("1;{}\r\nx\r\n", "e".repeat(bytes));
            format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(count))
        };
        // A line has 4 bytes more than its extension; 4096 bytes beyond the first 18 of each line are allowed.
        for (count, bytes, status) in [
            (1, 4110, None),
            (1, 4111, Some(400)),
            (1, 1 << 20, Some(400)),
            (40, 100, None),
            (48, 100, Some(400)),
            (10_000, 14, None),
        ] {
            let said = refusal(&extended(count, bytes));
            assert_eq!(said, status, "{count} of {bytes} bytes");
        }
        let trailed = |trailers: &str| format!("{CHUNKED}1\r\nx\r\n0\r\n{trailers}");
        // 8192 bytes are 2 + 8186 and two line ends, or 1638 lines of 5 bytes and a line end.
        for (trailers, status) in [
            (format!("a:{}\r\n\r\n", "b".repeat(8186)), None),
            (format!("a:{}\r\n\r\n", "b".repeat(8187)), Some(431)),
            (format!("{}\r\n", "a:b\r\n".repeat(1638)), None),
            (format!("{}\r\n", "a:b\r\n".repeat(1639)), Some(431)),
            ("b".repeat(1 << 20), Some(431)),
        ] {
            let said = refusal(&trailed(&trailers));
            assert_eq!(said, status, "{} bytes", trailers.len());
        }
    }

    #[test]
    fn a_client_that_expects_100_continue_gets_it_before_its_body() {
        let (mut client, server) = pair();
        let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(head).expect("it is open");
        std::thread::scope(|scope| {
            let request = scope.spawn(|| Reader::new(&server, Epoch::start()).read());
            let mut interim = [0; 25];
            client
                .read_exact(&mut interim)
                .expect("it answers before the body");
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            client.write_all(b"ok").expect("it is open");
            let request = request.join().expect("it does not panic");
            assert_eq!(request.map(|request| request.body), Ok(b"ok".to_vec()));
        });
    }

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
        assert_eq!(
            String::from_utf8(response.into_bytes(false)).as_deref(),
            Ok(
                "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\
                retry-after: 3\r\nconnection: close\r\n\r\n{}"
            )
        );
    }

    #[test]
    fn an_unknown_model_gets_vllms_reply() {
        // shared/captures/vllm/err_unknown_model, with its names.
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
