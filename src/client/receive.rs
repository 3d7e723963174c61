//! Reads the body of a reply: an event stream, or a whole document. Its bytes decide which, not its label.

use std::io::Read;
use std::sync::Arc;

use ureq::Body;

use super::api::Api;
use super::http::{MAX_BODY_BYTES, classify};
use super::reply::Reply;
use super::sse;
use super::wire::Wire;
use crate::sample::{FailKind, Failure};

/// Largest event: an endless one must not use up the memory of the machine, which may run the server too.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// Largest stream: the gaps between tokens of an endless one would use up the memory.
const MAX_STREAM_BYTES: usize = 256 << 20;

/// Reads bodies one after the other; its buffers are reused.
pub struct Receiver {
    wire: Arc<Wire>,
    sse: sse::Parser,
    /// The current reply, or the last one.
    pub reply: Reply,
    buffer: Vec<u8>,
}

impl Receiver {
    pub fn new(wire: Arc<Wire>, api: Api) -> Receiver {
        Receiver {
            wire,
            sse: sse::Parser::default(),
            reply: Reply::new(api),
            buffer: vec![0; 4 << 10],
        }
    }

    /// Prepares for a reply of about `tokens` tokens; `keeps_answer`: its text is wanted.
    pub fn start(&mut self, tokens: u64, keeps_answer: bool) {
        self.sse.reset();
        self.reply.start(tokens, keeps_answer);
    }

    /// Reads the body; returns whether it was a stream, which its bytes decide. With `is_labelled` as an event stream
    /// it is not read as a text document.
    pub fn read(&mut self, body: &mut Body, is_labelled: bool) -> Result<bool, Failure> {
        let mut reader = body.as_reader();
        let n = self.first_read(&mut reader)?;
        if is_stream(&self.buffer[..n], is_labelled) {
            self.stream(&mut reader, n)?;
            return Ok(true);
        }
        let whole = self.whole(&mut reader, n)?;
        if self.reply.plain(&whole.bytes) {
            return Ok(false);
        }
        // Several JSON values, one a line, are a stream too.
        let mut from = 0;
        for (to, stamp_ns) in whole.reads {
            let part = &whole.bytes[from..to];
            feed(&mut self.sse, &mut self.reply, part, stamp_ns);
            from = to;
        }
        let (sse, reply) = (&mut self.sse, &mut self.reply);
        sse.end(|event| take(reply, &event, self.wire.last_ns()));
        Ok(true)
    }

    /// Reads until something other than white space has come; returns the number of bytes in the buffer.
    fn first_read(&mut self, reader: &mut impl Read) -> Result<usize, Failure> {
        loop {
            let n = reader.read(&mut self.buffer);
            let n = n.map_err(|error| classify(&error.into(), &self.wire))?;
            if n == 0 || !self.buffer[..n].trim_ascii().is_empty() {
                return Ok(n);
            }
        }
    }

    /// Reads a body that is not an event stream to its end; its first `n` bytes are in the buffer.
    fn whole(&mut self, reader: &mut impl Read, mut n: usize) -> Result<Whole, Failure> {
        let mut whole = Whole::default();
        while n > 0 {
            // Some servers write a zero byte instead of a line end between JSON values.
            let bytes = self.buffer[..n].iter();
            whole
                .bytes
                .extend(bytes.map(|&b| if b == 0 { b'\n' } else { b }));
            whole.reads.push((whole.bytes.len(), self.wire.last_ns()));
            if whole.bytes.len() as u64 > MAX_BODY_BYTES {
                return Err(oversized("a body", MAX_BODY_BYTES as usize));
            }
            let read = reader.read(&mut self.buffer);
            n = read.map_err(|error| classify(&error.into(), &self.wire))?;
        }
        Ok(whole)
    }

    /// Reads a stream: the hot path. Its first `n` bytes are in the buffer. Order: read (the transport stamps it), then
    /// parse.
    fn stream(&mut self, reader: &mut impl Read, mut n: usize) -> Result<(), Failure> {
        let mut stream_bytes = 0;
        loop {
            let stamp_ns = self.wire.last_ns();
            feed(&mut self.sse, &mut self.reply, &self.buffer[..n], stamp_ns);
            if n == 0 {
                let reply = &mut self.reply;
                self.sse.end(|event| take(reply, &event, stamp_ns));
                return Ok(());
            }
            if self.reply.has_token() {
                self.wire.token_seen();
            }
            if self.reply.is_complete() {
                self.wire.reply_complete();
            }
            stream_bytes += n;
            if self.sse.held_bytes() > MAX_EVENT_BYTES {
                return Err(oversized("an event", MAX_EVENT_BYTES));
            }
            if stream_bytes > MAX_STREAM_BYTES {
                return Err(oversized("a stream", MAX_STREAM_BYTES));
            }
            n = match reader.read(&mut self.buffer) {
                Ok(n) => n,
                // Errors after a complete reply do not matter; the connection is not used again.
                Err(_) if self.reply.is_complete() => return Ok(()),
                Err(error) => {
                    // An error event takes precedence over the broken end that follows it.
                    return match self.reply.judge(true) {
                        Some((FailKind::StreamError, words)) => {
                            Err(Failure::new(FailKind::StreamError, words))
                        }
                        _ => Err(classify(&error.into(), &self.wire)),
                    };
                }
            };
        }
    }
}

/// A body that is not an event stream, with the arrival of its parts: each part's end in the bytes, and its stamp.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    reads: Vec<(usize, u64)>,
}

/// Returns whether a body that begins like this is an event stream. With `is_labelled` it is one unless it begins like
/// JSON.
fn is_stream(start: &[u8], is_labelled: bool) -> bool {
    const FIELDS: [&[u8]; 6] = [b":", b"data", b"event", b"id", b"retry", b"error"];
    let start = start.strip_prefix(sse::BOM).unwrap_or(start);
    let start = start.trim_ascii_start();
    let is_json =
        start.starts_with(b"{") || start.starts_with(b"[") && !start.starts_with(b"[DONE]");
    let is_field = |field: &&[u8]| {
        let rest = start.strip_prefix(*field);
        rest.is_some_and(|rest| field.ends_with(b":") || rest.starts_with(b":"))
    };
    !is_json && (is_labelled || FIELDS.iter().any(is_field))
}

/// Passes the events that these bytes complete to the reply.
fn feed(sse: &mut sse::Parser, reply: &mut Reply, bytes: &[u8], stamp_ns: u64) {
    sse.feed(bytes, |event| take(reply, &event, stamp_ns));
}

fn take(reply: &mut Reply, event: &sse::Event<'_>, stamp_ns: u64) {
    match event {
        sse::Event::Data(data) => reply.event(data, stamp_ns),
        sse::Event::Error(data) => reply.error(data),
        sse::Event::Comment => {}
    }
}

fn oversized(what: &str, limit: usize) -> Failure {
    let why = format!("{what} of more than {} MiB", limit >> 20);
    Failure::new(FailKind::Oversized, why)
}
