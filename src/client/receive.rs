//! The body of a reply as it is read: an event stream, or something whole. Its bytes decide, not its label.

use std::io::Read;
use std::sync::Arc;

use ureq::Body;

use super::api::Api;
use super::http::{MAX_BODY_BYTES, classify};
use super::reply::Reply;
use super::sse;
use super::wire::Wire;
use crate::sample::{FailKind, Failure};

/// The limit of an event: one that does not end may not eat the memory of the machine that the server runs on.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The limit of a stream: of one that does not end, the times between its tokens are kept.
const MAX_STREAM_BYTES: usize = 256 << 20;

/// Reads bodies one after the other; its buffers keep their capacity.
pub struct Receiver {
    wire: Arc<Wire>,
    sse: sse::Parser,
    /// The reply under way, or the last one.
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

    /// Makes ready for a reply of about `tokens` tokens, whose answer is wanted or not.
    pub fn start(&mut self, tokens: u64, keeps_answer: bool) {
        self.sse.reset();
        self.reply.start(tokens, keeps_answer);
    }

    /// Reads the body; returns whether it was a stream, which its bytes decide. `is_labelled` as an event stream, it
    /// is no text.
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
        // Several JSON values, a line each: a stream all the same.
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

    /// Reads until something but white space has come; returns how many bytes of it are in the buffer.
    fn first_read(&mut self, reader: &mut impl Read) -> Result<usize, Failure> {
        loop {
            let n = reader.read(&mut self.buffer);
            let n = n.map_err(|error| classify(&error.into(), &self.wire))?;
            if n == 0 || !self.buffer[..n].trim_ascii().is_empty() {
                return Ok(n);
            }
        }
    }

    /// Reads a body that is no event stream to its end, behind the `n` bytes of it that are in the buffer.
    fn whole(&mut self, reader: &mut impl Read, mut n: usize) -> Result<Whole, Failure> {
        let mut whole = Whole::default();
        while n > 0 {
            // Between JSON values some servers write a zero byte in place of the end of a line.
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

    /// The hot path, behind the first `n` bytes in the buffer. Order: read (the transport stamps it), then parse.
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
                // Whatever happens behind a complete reply; the connection is not used again.
                Err(_) if self.reply.is_complete() => return Ok(()),
                Err(error) => {
                    // An error event outranks the broken end that follows it.
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

/// A body that is no event stream, and when each part of it had come: its end in the bytes, and the stamp.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    reads: Vec<(usize, u64)>,
}

/// Whether a body that begins so is an event stream. `is_labelled` as one, it is one unless it begins as JSON does.
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

/// Hands the events that end with these bytes to the reply.
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
