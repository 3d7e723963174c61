//! Reads the body of a reply: an event stream, or a whole document. Its bytes decide which, not its label.

use std::io::Read;
use std::sync::Arc;

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
/// The buffer for parts of a body: at first enough for some events, and doubled whenever a part fills it.
const MIN_BUFFER_BYTES: usize = 1 << 10;
const MAX_BUFFER_BYTES: usize = 16 << 10;

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
            buffer: vec![0; MIN_BUFFER_BYTES],
        }
    }

    /// Prepares for a reply of about `tokens` tokens; `keeps_answer`: its text is wanted.
    pub fn start(&mut self, tokens: u64, keeps_answer: bool) {
        self.sse.reset();
        self.reply.start(tokens, keeps_answer);
    }

    /// Reads a body whose content does not matter to its end, or to the failure of its connection.
    pub fn skip(&mut self, mut body: impl Read) {
        while body.read(&mut self.buffer).is_ok_and(|n| n > 0) {}
    }

    /// Reads the body; returns whether it was a stream, which its bytes decide. With `is_labelled` as an event stream
    /// it is not read as a text document.
    pub fn read(&mut self, body: &mut impl Read, is_labelled: bool) -> Result<bool, Failure> {
        let n = self.first_read(body)?;
        if is_stream(&self.buffer[..n], is_labelled) {
            self.stream(body, n)?;
            return Ok(true);
        }
        let whole = self.whole(body, n)?;
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

    /// Reads until the bytes in the buffer decide whether the body is a stream, which no cut between two reads may do;
    /// returns their number. White space before them is dropped.
    fn first_read(&mut self, reader: &mut impl Read) -> Result<usize, Failure> {
        let mut held = 0;
        loop {
            let read = reader.read(&mut self.buffer[held..]);
            let n = read.map_err(|error| classify(&error.into(), &self.wire))?;
            let end = held + n;
            let blank = end - self.buffer[..end].trim_ascii_start().len();
            self.buffer.copy_within(blank..end, 0);
            held = end - blank;
            if n == 0 || !is_undecided(&self.buffer[..held]) {
                return Ok(held);
            }
        }
    }

    /// Doubles a buffer that a part of `n` bytes has filled.
    fn make_room(&mut self, n: usize) {
        if n == self.buffer.len() && n < MAX_BUFFER_BYTES {
            self.buffer.resize(2 * n, 0);
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
            self.make_room(n);
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
            self.make_room(n);
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

/// The beginnings that the first line of an event stream can have.
const FIELDS: [&[u8]; 6] = [b":", b"data:", b"event:", b"id:", b"retry:", b"error:"];
const DONE: &[u8] = b"[DONE]";

/// Returns whether more bytes can change what `is_stream` says of this beginning.
fn is_undecided(start: &[u8]) -> bool {
    let start = if sse::BOM.starts_with(start) {
        b""
    } else {
        unmarked(start)
    };
    let begins = |known: &[u8]| start.len() < known.len() && known.starts_with(start);
    begins(DONE) || FIELDS.into_iter().any(begins)
}

/// Returns whether a body that begins like this is an event stream. With `is_labelled` it is one unless it begins like
/// JSON.
fn is_stream(start: &[u8], is_labelled: bool) -> bool {
    let start = unmarked(start);
    let is_json = start.starts_with(b"{") || start.starts_with(b"[") && !start.starts_with(DONE);
    !is_json && (is_labelled || FIELDS.iter().any(|field| start.starts_with(field)))
}

/// The bytes after a byte order mark and white space.
fn unmarked(start: &[u8]) -> &[u8] {
    let text = start.strip_prefix(sse::BOM).unwrap_or(start);
    text.trim_ascii_start()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::wire::Timeouts;
    use crate::units::Epoch;

    /// Reads one byte at a time.
    struct Bytewise<'a>(&'a [u8]);

    impl Read for Bytewise<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }

    #[test]
    fn a_cut_between_reads_decides_nothing() {
        // Body, whether it is a stream without a label, whether it is one with a label.
        let cases: [(&[u8], bool, bool); 16] = [
            (b"data: x\n\n", true, true),
            (b" \n data: x\n\n", true, true),
            (b"\xef\xbb\xbfdata: x\n\n", true, true),
            (b"\xef\xbb\xbf\n\n{\"id\": 1}", false, false),
            (b": a comment\n\n", true, true),
            (b"event: error\n", true, true),
            (b"error: no\n", true, true),
            (b"id: 7\ndata: x\n\n", true, true),
            (b"retry: 7\n", true, true),
            (b"d", false, true),
            (b"identity", false, true),
            (b"[DONE]\n\n", false, true),
            (b"[DO", false, false),
            (b"[1]", false, false),
            (b"{\"choices\": []}", false, false),
            (b"", false, true),
        ];
        for (body, unlabelled, labelled) in cases {
            let timeouts = Timeouts::all(Duration::from_secs(1));
            let wire = Wire::new(Epoch::start(), timeouts, false);
            let mut receiver = Receiver::new(wire, Api::Chat);
            let n = receiver.first_read(&mut Bytewise(body)).expect("bytes");
            let start = &receiver.buffer[..n];
            let shown = String::from_utf8_lossy(body);
            assert_eq!(is_stream(start, false), unlabelled, "{shown}");
            assert_eq!(is_stream(start, true), labelled, "{shown}");
            assert_eq!(is_stream(body, false), unlabelled, "{shown}");
            assert_eq!(is_stream(body, true), labelled, "{shown}");
        }
    }
}
