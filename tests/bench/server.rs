//! A fast paced server: one thread writes every stream's prepared events when they are due.
//!
//! It serves `benchmark` and the floor alike, counts no cache and checks nothing. When stdin ends, it writes one truth
//! line a reply to a file, `ID READ FIRST LAST` in nanoseconds: when the request had been read, and when the writes of
//! its first and last token began.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, tls_settings};
use crate::wire::{Events, HEAD};

const STACK_BYTES: usize = 64 << 10;

/// The due times of tokens after the request was read; both zero: all tokens at once, in one write.
#[derive(Clone, Copy)]
pub struct Pace {
    pub first: Duration,
    pub itl: Duration,
}

struct Stream {
    connection: Arc<Connection>,
    id: String,
    read_at: Instant,
    first_at: Option<Instant>,
    prompt_tokens: usize,
    tokens: usize,
    written: usize,
}

/// Serves on a free loopback port, printed first, until stdin ends; with `is_tls` as an https server.
pub fn run(pace: Pace, truth_file: &str, is_tls: bool) {
    let tls = is_tls.then(tls_settings);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    println!("{}", listener.local_addr().expect("bound").port());
    let epoch = Instant::now();
    let (to_pacer, streams) = channel();
    let (to_truth, truth) = channel();
    let pacer_truth = to_truth.clone();
    thread::spawn(move || pacer(pace, &streams, &pacer_truth, epoch));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = tls.clone();
            let (to_pacer, to_truth) = (to_pacer.clone(), to_truth.clone());
            let serving = thread::Builder::new().stack_size(STACK_BYTES);
            let started = serving.spawn(move || {
                let connection = Arc::new(Connection::new(stream, tls));
                while let Ok(Some(request)) = read_request(&connection) {
                    if answer(&connection, request, pace, (&to_pacer, &to_truth, epoch)).is_err() {
                        return;
                    }
                }
            });
            started.expect("a thread");
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).expect("an open stdin");
    let lines: Vec<String> = truth.try_iter().collect();
    fs::write(truth_file, lines.concat()).expect("a file that can be written");
}

struct Request {
    is_post: bool,
    path: String,
    id: String,
    body: Vec<u8>,
    read_at: Instant,
}

fn answer(
    connection: &Arc<Connection>,
    request: Request,
    pace: Pace,
    (to_pacer, to_truth, epoch): (&Sender<Stream>, &Sender<String>, Instant),
) -> io::Result<()> {
    let mut writer = &**connection;
    if !request.is_post || !request.path.ends_with("completions") {
        let (status, json) = if request.path.ends_with("models") {
            ("200 OK", r#"{"object":"list","data":[{"id":"bench"}]}"#)
        } else {
            ("404 Not Found", r#"{"detail":"Not Found"}"#)
        };
        let length = json.len();
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}"
        );
        return writer.write_all(reply.as_bytes());
    }
    let mut stream = Stream {
        connection: Arc::clone(connection),
        id: request.id,
        read_at: request.read_at,
        first_at: None,
        prompt_tokens: request.body.iter().filter(|&&byte| byte == b' ').count(),
        tokens: number_behind(&request.body, b"\"max_tokens\":"),
        written: 0,
    };
    if pace.first + pace.itl > Duration::ZERO {
        writer.write_all(HEAD)?;
        to_pacer.send(stream).expect("the pacer runs on");
        return Ok(());
    }
    let events = Events::new();
    let mut reply = HEAD.to_vec();
    reply.extend(events.token.repeat(stream.tokens - 1));
    reply.extend_from_slice(&events.last_token);
    reply.extend(Events::tail(stream.prompt_tokens, stream.tokens));
    stream.first_at = Some(Instant::now());
    writer.write_all(&reply)?;
    let line = truth_line(&stream, Instant::now(), epoch);
    to_truth.send(line).expect("read at the end");
    Ok(())
}

fn truth_line(stream: &Stream, last_at: Instant, epoch: Instant) -> String {
    let ns = |at: Instant| (at - epoch).as_nanos();
    let first_at = stream.first_at.unwrap_or(last_at);
    format!(
        "{} {} {} {}\n",
        stream.id,
        ns(stream.read_at),
        ns(first_at),
        ns(last_at)
    )
}

/// Writes each token of any stream when it is due.
fn pacer(pace: Pace, incoming: &Receiver<Stream>, truth: &Sender<String>, epoch: Instant) {
    let events = Events::new();
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut streams: Vec<Option<Stream>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        let wait = due
            .peek()
            .map_or(Duration::from_secs(1), |Reverse((at, _))| {
                at.saturating_duration_since(Instant::now())
            });
        let arrived = if wait.is_zero() {
            None
        } else {
            match incoming.recv_timeout(wait) {
                Ok(stream) => Some(stream),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        for stream in arrived.into_iter().chain(incoming.try_iter()) {
            let at = stream.read_at + pace.first;
            let place = free.pop().unwrap_or_else(|| {
                streams.push(None);
                streams.len() - 1
            });
            streams[place] = Some(stream);
            due.push(Reverse((at, place)));
        }
        let now = Instant::now();
        while let Some(Reverse((at, place))) = due.peek().copied().filter(|next| next.0.0 <= now) {
            due.pop();
            let stream = streams[place].as_mut().expect("a stream that is due");
            if next_token(stream, &events, epoch, truth) {
                due.push(Reverse((at + pace.itl, place)));
            } else {
                streams[place] = None;
                free.push(place);
            }
        }
    }
}

/// Writes a token, and the end after the last; returns whether there is another. A client that has hung up ends its
/// stream.
fn next_token(
    stream: &mut Stream,
    events: &Events,
    epoch: Instant,
    truth: &Sender<String>,
) -> bool {
    let mut connection = &*stream.connection;
    let is_last = stream.written + 1 == stream.tokens;
    let event = if is_last {
        &events.last_token
    } else {
        &events.token
    };
    let now = Instant::now();
    stream.first_at.get_or_insert(now);
    stream.written += 1;
    if connection.write_all(event).is_err() {
        return false;
    }
    if is_last {
        // The line is written first, since a reader that has the end may look for it.
        truth
            .send(truth_line(stream, now, epoch))
            .expect("read at the end");
        let _ = connection.write_all(&Events::tail(stream.prompt_tokens, stream.tokens));
    }
    !is_last
}

/// Reads one request; `None` when the client has closed.
fn read_request(mut connection: &Connection) -> io::Result<Option<Request>> {
    let mut bytes = Vec::with_capacity(4 << 10);
    let mut piece = [0; 16 << 10];
    let head_end = loop {
        let n = connection.read(&mut piece)?;
        if n == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..n]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", str::trim).to_string()
    };
    let length: usize = header("content-length:").parse().unwrap_or(0);
    let mut body = bytes.split_off(head_end);
    let have = body.len();
    body.resize(length, 0);
    connection.read_exact(&mut body[have..])?;
    let read_at = Instant::now();
    let mut words = head.split(' ');
    Ok(Some(Request {
        is_post: words.next() == Some("post"),
        path: words.next().unwrap_or_default().to_string(),
        id: header("x-request-id:"),
        body,
        read_at,
    }))
}

fn number_behind(body: &[u8], label: &[u8]) -> usize {
    let at = body
        .windows(label.len())
        .rposition(|bytes| bytes == label)
        .expect("a request for completions names its max_tokens");
    let digits = &body[at + label.len()..];
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}
