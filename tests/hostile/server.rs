//! The server: what it sends instead of a right reply, and to which requests.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::cases::Case;
use crate::util::{self, Request, read_request};

/// The server's action after reading a request's head.
#[derive(Clone)]
pub enum Act {
    /// Reads the body, writes these bytes, and keeps the connection.
    Keep(Vec<u8>),
    /// Reads the body, writes these bytes, and closes the connection.
    Close(Vec<u8>),
    /// Writes these bytes, and resets the connection.
    Reset(Vec<u8>),
    /// Answers one request of each connection, and resets at the next.
    ResetReused(Vec<u8>),
    /// Writes these bytes, then neither writes nor closes.
    Hang(Vec<u8>),
    /// Writes these bytes one at a time.
    Drip(Vec<u8>),
    /// Writes the first bytes, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

pub const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub const TOKEN: &str =
    "data: {\"choices\":[{\"text\":\" a\",\"index\":0,\"finish_reason\":null}]}\n\n";
pub const LAST: &str =
    "data: {\"choices\":[{\"text\":\" b\",\"index\":0,\"finish_reason\":\"length\"}]}\n\n";
pub const DONE: &str = "data: [DONE]\n\n";

pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Returns a stream of these events without its last chunk.
pub fn open_stream(events: &[&str]) -> String {
    let chunks: String = events.iter().map(|event| chunk(event)).collect();
    format!("{HEAD}{chunks}")
}

pub fn stream(events: &[&str]) -> String {
    open_stream(events) + "0\r\n\r\n"
}

/// Returns a right stream with this usage in its last event but one.
pub fn with_usage(usage: &str) -> String {
    let event = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    stream(&[TOKEN, LAST, &event, DONE])
}

pub fn plain(status: &str, media_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Serves until the test ends. It lists a model and answers the set-up requests correctly.
pub fn serve(act: Act) -> SocketAddr {
    listen(move |request, connection| {
        if !request.path.ends_with("/completions") {
            let reply = match request.path.as_str() {
                "/v1/models" => plain("200 OK", "application/json", r#"{"data":[{"id":"m"}]}"#),
                _ => plain("404 Not Found", "application/json", "{}"),
            };
            return connection.stream.write_all(reply.as_bytes());
        }
        if is_setup(request) {
            return connection.stream.write_all(stream_of_one().as_bytes());
        }
        connection.perform(&act)
    })
}

/// A server in front of a correct one, to which it passes the requests without a fault.
pub struct Mix {
    pub cases: Vec<Case>,
    pub upstream: SocketAddr,
    /// One in this many requests is answered badly, by each case in turn.
    pub every: usize,
    sent: AtomicUsize,
    met: Mutex<Met>,
}

/// The requests that the faults affected.
#[derive(Default)]
pub struct Met {
    /// The ids of requests that got bad replies, with the case.
    pub bad: HashMap<String, usize>,
    /// Requests on a pooled connection that got no byte and are sent again.
    pub stale: u64,
}

impl Mix {
    pub fn new(cases: Vec<Case>, upstream: SocketAddr, every: usize) -> Arc<Mix> {
        Arc::new(Mix {
            cases,
            upstream,
            every,
            sent: AtomicUsize::new(0),
            met: Mutex::default(),
        })
    }

    /// Serves until the test ends.
    pub fn serve(self: &Arc<Mix>) -> SocketAddr {
        let mix = Arc::clone(self);
        listen(move |request, connection| mix.answer(request, connection))
    }

    pub fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().expect("no holder panics")
    }

    fn answer(&self, request: &Request, connection: &mut Connection) -> io::Result<()> {
        let is_measured = request.path.ends_with("/completions") && !is_setup(request);
        if !is_measured {
            return connection.pass_on(request, self.upstream);
        }
        let sent = self.sent.fetch_add(1, Relaxed) + 1;
        if !sent.is_multiple_of(self.every) {
            return connection.pass_on(request, self.upstream);
        }
        let case = sent / self.every % self.cases.len();
        let act = &self.cases[case].act;
        if connection.served > 0 && act.is_silent() {
            self.met().stale += 1;
        } else {
            let id = request.header("x-request-id").unwrap_or_default();
            self.met().bad.insert(id.to_string(), case);
        }
        connection.perform(act)
    }
}

impl Act {
    /// Returns whether the fault only ends when the client gives up.
    pub fn stalls(&self) -> bool {
        matches!(self, Act::Hang(_) | Act::Drip(_) | Act::Endless(..))
    }

    /// Returns whether a pooled connection ends without a byte.
    fn is_silent(&self) -> bool {
        match self {
            Act::Close(bytes) | Act::Reset(bytes) => bytes.is_empty(),
            Act::ResetReused(_) => true,
            Act::Keep(_) | Act::Hang(_) | Act::Drip(_) | Act::Endless(..) => false,
        }
    }
}

fn is_setup(request: &Request) -> bool {
    let id = request.header("x-request-id");
    id.is_some_and(|id| id.contains("-setup-"))
}

/// A connection of a client.
struct Connection {
    stream: TcpStream,
    /// Requests that were answered on it.
    served: u32,
    upstream: Option<TcpStream>,
}

/// Serves connections; an `answer` that fails ends its connection with a reset.
fn listen(
    answer: impl Fn(&Request, &mut Connection) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let answer = Arc::new(answer);
    util::serve(move |stream| serve_one(stream, &*answer))
}

fn serve_one(
    stream: TcpStream,
    answer: &dyn Fn(&Request, &mut Connection) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut connection = Connection {
        stream,
        served: 0,
        upstream: None,
    };
    while let Some(request) = read_request(&mut reader)? {
        match answer(&request, &mut connection) {
            Ok(()) => connection.served += 1,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                set_socket_linger(&connection.stream, Some(Duration::ZERO))?;
                break;
            }
            Err(_) => break,
        }
    }
    Ok(())
}

fn stream_of_one() -> String {
    stream(&[
        LAST,
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":97,\"completion_tokens\":1}}\n\n",
        DONE,
    ])
}

impl Connection {
    fn perform(&mut self, act: &Act) -> io::Result<()> {
        let stream = &mut self.stream;
        match act {
            Act::Keep(bytes) => stream.write_all(bytes),
            Act::ResetReused(bytes) if self.served == 0 => stream.write_all(bytes),
            Act::ResetReused(_) => Err(io::ErrorKind::ConnectionReset.into()),
            Act::Close(bytes) => {
                stream.write_all(bytes)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Act::Reset(bytes) => {
                stream.write_all(bytes)?;
                // An immediate reset would discard the written bytes.
                thread::sleep(Duration::from_millis(60));
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Act::Hang(bytes) => {
                stream.write_all(bytes)?;
                // This waits until the client hangs up.
                let _ = stream.read(&mut [0]);
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Act::Drip(bytes) => {
                for byte in bytes {
                    thread::sleep(Duration::from_millis(10));
                    stream.write_all(&[*byte])?;
                }
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Act::Endless(first, again) => {
                stream.write_all(first)?;
                loop {
                    stream.write_all(again)?;
                    if again.len() < 1 << 16 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
    }

    fn pass_on(&mut self, request: &Request, upstream: SocketAddr) -> io::Result<()> {
        let server = match &mut self.upstream {
            Some(server) => server,
            none => {
                let server = none.insert(TcpStream::connect(upstream)?);
                server.set_nodelay(true)?;
                server
            }
        };
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend(&request.body);
        server.write_all(&bytes)?;
        pass_back(server, &mut self.stream)
    }
}

/// Passes on one reply as it arrives: a body with its length, or chunks without trailers.
fn pass_back(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<()> {
    let mut reply = Vec::new();
    let mut piece = [0; 4 << 10];
    let mut whole = None;
    loop {
        let n = server.read(&mut piece)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        client.write_all(&piece[..n])?;
        reply.extend_from_slice(&piece[..n]);
        if whole.is_none() {
            whole = length(&reply);
        }
        let is_over = match whole {
            Some(0) => reply.ends_with(b"\r\n0\r\n\r\n"),
            Some(length) => reply.len() >= length,
            None => false,
        };
        if is_over {
            return Ok(());
        }
    }
}

/// Returns the length of a reply whose head is complete: all its bytes, or 0 if it has chunks.
fn length(reply: &[u8]) -> Option<usize> {
    let head = reply.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&reply[..head]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
    Some(length.map_or(0, |length| head + length))
}
