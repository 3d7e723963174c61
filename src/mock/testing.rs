//! A bare client for the tests of this folder, and the truth log as JSON.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Mock, Options};

/// A mock with fast defaults for tests (1 ms base and ITL) and these options.
pub fn start(options: &[(&str, &str)]) -> Mock {
    let mut all = Options::default();
    for (name, value) in [("base", "1ms"), ("itl", "1ms"), ("model", "tiny")]
        .iter()
        .chain(options)
    {
        all.set(name, value).expect("it is well formed");
    }
    Mock::start(all).expect("there is a free port")
}

/// The reply that came back until the mock closed the connection.
#[derive(Debug)]
pub struct Reply {
    /// The status line and headers; empty if there was none.
    pub head: String,
    /// The body, without chunk framing.
    pub body: String,
    /// The chunks, if it had any.
    pub chunks: Vec<Vec<u8>>,
    /// Whether all of the body came, by its framing.
    pub is_whole: bool,
}

impl Reply {
    /// The JSON of every `data:` event but `[DONE]`; `Null` for what is no JSON.
    pub fn events(&self) -> Vec<Value> {
        let data = self
            .body
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "));
        let json = data
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap_or_default());
        json.collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    pub fn starts(&self, status_line: &str) -> bool {
        self.head.starts_with(status_line)
    }
}

/// Sends a request on a connection of its own; `headers`: lines that end with CRLF.
pub fn send(mock: &Mock, line: &str, headers: &str, body: &str) -> Reply {
    reply(ask(mock, line, headers, body))
}

/// Sends a request and leaves its answer unread.
pub fn ask(mock: &Mock, line: &str, headers: &str, body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(mock.addr()).expect("it listens");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).expect("it reads");
    // What never comes is a failure, not a test that never ends.
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("it is not zero");
    connection
}

/// Reads the answer of a request.
pub fn reply(mut connection: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    connection
        .read_to_end(&mut bytes)
        .expect("it answers and closes");
    parse(&bytes)
}

pub fn post(mock: &Mock, path: &str, body: &str) -> Reply {
    send(mock, &format!("POST {path}"), "", body)
}

fn parse(bytes: &[u8]) -> Reply {
    let head_end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut rest = &bytes[head_end..];
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    if !head.contains("transfer-encoding: chunked") {
        let length = format!("content-length: {}\r\n", rest.len());
        let body = String::from_utf8_lossy(rest).into_owned();
        let is_whole = head.contains(&length);
        return Reply {
            head,
            body,
            chunks,
            is_whole,
        };
    }
    while let Ok(httparse::Status::Complete((used, size))) = httparse::parse_chunk_size(rest) {
        let end = used + size as usize;
        if size == 0 || rest.len() < end + 2 {
            break;
        }
        chunks.push(rest[used..end].to_vec());
        rest = &rest[end + 2..];
    }
    let body = String::from_utf8(chunks.concat()).expect("events are UTF-8");
    Reply {
        head,
        body,
        chunks,
        is_whole: rest == b"0\r\n\r\n",
    }
}

/// A truth log of its own in the directory for temporary files; removed when dropped.
pub struct TruthFile(PathBuf);

impl TruthFile {
    pub fn new() -> TruthFile {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        TruthFile(std::env::temp_dir().join(format!("tmesh-truth-{}-{number}", std::process::id())))
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("it is text")
    }

    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).expect("the mock created it");
        // What is still being written has no end yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }
}

impl Drop for TruthFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // Left behind, it harms nobody.
    }
}
