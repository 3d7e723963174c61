//! A streamed answer as its bytes are written: the head, each event when it is due, and how it ends.
//!
//! The pacer says when to go on. An event is one HTTP chunk (HTTP/1.0 has none) and, unless the client is slow, one write call; it
//! is due at the absolute time of its last token, so being late once delays nothing after it. While a client
//! does not take an event, no other is made. What is late when the server freezes waits for the freeze's end.
//! The bytes after the last event are not written here: the truth log has its line before they are.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::events::DONE;
use super::faults::Kind;
use super::freeze::Freeze;
use super::hang_up::has_hung_up;
use super::http::{Framing, stream_head};
use super::script::{End, Script};
use crate::units::Epoch;

/// The time for which a connection that takes no more bytes is left alone.
///
/// A client that has read on gets up to a socket buffer, megabytes, each time.
const RETRY_NS: u64 = 5_000_000;

/// An answer to write, and what of it has been written.
pub struct Stream {
    pub script: Script,
    /// The time at which the stream goes on; `None`: it is over.
    next_ns: Option<u64>,
    /// Fails if the client has hung up or the server stops.
    result: io::Result<()>,
    /// The time of each token that has been written; see `Truth::t_written_ns`.
    written_ns: Vec<u64>,
    connection: Arc<TcpStream>,
    framing: Framing,
    freeze: Freeze,
    /// Most bytes of an event in one write.
    piece_bytes: usize,
    /// The rest of an event that is written in pieces.
    event: Vec<u8>,
    /// The write buffer: the chunk that is being written.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that the connection has taken.
    sent_bytes: usize,
    /// The time at which the write of `buffer` began.
    begun_ns: u64,
}

/// An answer that is written but for its last bytes.
pub struct Written {
    pub script: Script,
    /// The time of each token that has been written; see `Truth::t_written_ns`.
    pub written_ns: Vec<u64>,
    /// How it ends, and its last bytes; fails if the client has hung up or the server stops.
    pub result: io::Result<(End, Vec<u8>)>,
}

impl Stream {
    /// Writes the head; `freeze`: when nothing is to be written from now on.
    pub fn open(
        script: Script,
        connection: Arc<TcpStream>,
        framing: Framing,
        freeze: Freeze,
        keep_alive: bool,
    ) -> Stream {
        let head = stream_head(framing, keep_alive);
        let result = (&*connection).write_all(head.as_bytes());
        let piece_bytes = script.faults.number(Kind::Split);
        Stream {
            written_ns: Vec::with_capacity(script.total()),
            next_ns: script.due_ns().filter(|_| result.is_ok()),
            result,
            piece_bytes: piece_bytes.map_or(usize::MAX, |bytes| bytes as usize),
            script,
            connection,
            framing,
            freeze,
            event: Vec::new(),
            buffer: Vec::new(),
            sent_bytes: 0,
            begun_ns: 0,
        }
    }

    /// The time at which `advance` is to be called; `None` if the stream is over.
    pub fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Writes what comes next, with at most one event. Never blocks.
    pub fn advance(&mut self, now_ns: u64) {
        let next_ns = self.write(now_ns);
        self.next_ns = next_ns.unwrap_or_else(|error| {
            self.result = Err(error);
            None
        });
    }

    /// Writes all that is due.
    pub fn write_due(&mut self, epoch: Epoch) {
        loop {
            let now_ns = epoch.now_ns();
            if self.next_ns.is_none_or(|next_ns| next_ns > now_ns) {
                return;
            }
            self.advance(now_ns);
        }
    }

    /// Ends the stream because the server stops.
    pub fn abort(&mut self) {
        self.next_ns = None;
        self.result = Err(ErrorKind::ConnectionAborted.into());
    }

    /// The answer, once the stream is over.
    pub fn into_written(mut self) -> Written {
        let result = std::mem::replace(&mut self.result, Ok(()));
        Written {
            result: result.map(|()| self.last_bytes()),
            script: self.script,
            written_ns: self.written_ns,
        }
    }

    /// How the answer ends, and what is left of it when there is nothing more to wait for.
    fn last_bytes(&mut self) -> (End, Vec<u8>) {
        let mut bytes = Vec::new();
        while self.script.end().is_none() || !self.event.is_empty() {
            self.fill(self.begun_ns);
            bytes.extend_from_slice(&self.buffer);
        }
        let end = self.script.end().expect("all events are made");
        match end {
            End::Cut | End::Stalled => {}
            End::Whole | End::Failed => {
                if !self.script.faults.has(Kind::NoDone) {
                    self.framing.push(&mut bytes, DONE);
                }
                self.framing.push_end(&mut bytes);
            }
        }
        (end, bytes)
    }

    /// Writes what comes next and returns when to go on; `None` if the rest is the last bytes.
    fn write(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        if let Some(end_ns) = self.freeze.end_at(now_ns) {
            return Ok(Some(end_ns));
        }
        // The first write to a client that has gone does not fail yet, and it may be the only one.
        if self.buffer.is_empty() && has_hung_up(&self.connection)? {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if self.sent_bytes == self.buffer.len() {
            self.fill(now_ns);
        }
        if !self.flush()? {
            return Ok(Some(now_ns + RETRY_NS));
        }
        if !self.event.is_empty() {
            return Ok(Some(now_ns));
        }
        self.written_ns.resize(self.script.tokens(), self.begun_ns);
        Ok(self.script.due_ns())
    }

    /// Puts the next chunk into the buffer; nothing if the next event is left out.
    fn fill(&mut self, now_ns: u64) {
        if self.event.is_empty() {
            self.script.push_next(&mut self.event);
        }
        let piece_bytes = self.piece_bytes.min(self.event.len());
        self.buffer.clear();
        self.framing
            .push(&mut self.buffer, &self.event[..piece_bytes]);
        self.event.drain(..piece_bytes);
        self.sent_bytes = 0;
        self.begun_ns = now_ns;
    }

    /// Writes the buffer; returns whether the connection has taken all of it.
    fn flush(&mut self) -> io::Result<bool> {
        while self.sent_bytes < self.buffer.len() {
            let unsent = &self.buffer[self.sent_bytes..];
            // The connection's own thread wants it to block, so this says for each call that it must not.
            match send(
                &self.connection,
                unsent,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(bytes) => self.sent_bytes += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
