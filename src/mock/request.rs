//! The requests of one connection: bytes of HTTP/1.1 go in, requests come out.
//!
//! Reads heads of up to 64 KiB and bodies of up to 64 MiB, by Content-Length or chunked. Everything that a client
//! can send without end is bounded: head, headers, body, and what a chunked body has beside its chunks. Knows no
//! routes.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::http::Framing;
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
    /// The connection ended, failed or was silent for too long.
    Closed,
    /// The bytes are no request: the status to answer with, after which the connection must close, and why.
    Invalid(u16, &'static str),
}

/// Reads the requests of one connection.
pub struct Reader<'a> {
    stream: &'a TcpStream,
    epoch: Epoch,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// The head's facts about the request's body.
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

    /// Reads the next request; each read waits as long as the connection's read timeout allows.
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

    /// The requests that are read from the bytes, which are written in pieces of `size`.
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
}
