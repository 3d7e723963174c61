//! Writes an answer by its schedule: as a stream of events, or whole.
//!
//! An event is one HTTP chunk and, unless the client is slow, one write call. Every event waits for the absolute
//! time at which its last token is due, so being late once delays nothing after it. The head goes out at once. What
//! is late when the server freezes waits for the freeze's end.
//! What is due already is written by the connection's own thread, what is due later by the pacer, which gives the
//! answer back when there is something for the own thread to do. The last bytes are returned instead of being written.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::chunk::Chunk;
use super::clock::Clock;
use super::faults::Kind;
use super::freeze::Freeze;
use super::http::{Response, write_stream_head};
use super::pacer::Pacer;
use super::script::{End, Script};

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const DONE_AND_LAST_CHUNK: &[u8] = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// An answer to write, and what of it has been written.
pub struct Answer {
    pub script: Script,
    pub connection: Arc<TcpStream>,
    /// For each token that has been written, when; see `Truth::t_written_ns`.
    pub written_ns: Vec<u64>,
    /// When nothing is to be written.
    pub freeze: Freeze,
    clock: Clock,
    keep_alive: bool,
    chunk: Chunk,
    /// When the write of `chunk` began.
    begun_ns: u64,
}

impl Answer {
    pub fn new(
        script: Script,
        connection: Arc<TcpStream>,
        clock: Clock,
        freeze: Freeze,
        keep_alive: bool,
    ) -> Answer {
        Answer {
            written_ns: Vec::with_capacity(script.total()),
            script,
            connection,
            freeze,
            clock,
            keep_alive,
            chunk: Chunk::default(),
            begun_ns: 0,
        }
    }

    /// Writes all but the last bytes, which are returned; fails if the client has hung up.
    pub fn write(mut self: Box<Self>, pacer: &Pacer) -> (Box<Self>, io::Result<(End, Vec<u8>)>) {
        if !self.script.generation.stream {
            let whole = self.whole();
            return (self, Ok(whole));
        }
        let mut answer = self;
        answer.clock.sleep_through(answer.freeze);
        let mut result = write_stream_head(&answer.connection, answer.keep_alive);
        result = result.and_then(|()| answer.write_due());
        while result.is_ok() && answer.may_be_paced() {
            (answer, result) = pacer.pace(answer);
            result = result.and_then(|()| answer.write_due());
        }
        let last = result.and_then(|()| answer.write_rest());
        (answer, last)
    }

    /// When the next event is due; `None` if there is nothing left to wait for.
    pub fn due_ns(&self) -> Option<u64> {
        self.script.due_ns()
    }

    /// Whether two or more tokens are left and none of them has to be waited for.
    pub fn is_rest_due(&self, now_ns: u64) -> bool {
        self.script.tokens() + 1 < self.script.total() && self.script.plan.last_due_ns() <= now_ns
    }

    /// Makes the next event and writes it, whether it is due or not.
    ///
    /// If that fails because the client is slow, `write` goes on behind the last byte written.
    pub fn write_next(&mut self) -> io::Result<()> {
        if let Some(piece_bytes) = self.script.faults.number(Kind::Split) {
            return self.write_split(piece_bytes as usize);
        }
        let script = &mut self.script;
        self.chunk.fill(|out| script.push_next(out));
        self.begun_ns = self.clock.now_ns();
        self.write_chunk()?;
        self.take_note();
        Ok(())
    }

    /// The end of the event that is being written, and what is due already.
    fn write_due(&mut self) -> io::Result<()> {
        self.write_chunk()?;
        self.take_note();
        while self.due_ns().is_some_and(|due| due <= self.clock.now_ns()) {
            self.clock.sleep_through(self.freeze);
            self.write_next()?;
        }
        Ok(())
    }

    /// A split event is many writes, which would delay the events of other streams.
    fn may_be_paced(&self) -> bool {
        self.due_ns().is_some() && !self.script.faults.has(Kind::Split)
    }

    /// What is left; returns the last bytes instead of writing them.
    fn write_rest(&mut self) -> io::Result<(End, Vec<u8>)> {
        let end = loop {
            if let Some(due_ns) = self.due_ns() {
                self.clock.sleep_until(due_ns);
            }
            self.clock.sleep_through(self.freeze);
            if let Some(end) = self.script.end() {
                break end;
            }
            self.write_next()?;
        };
        let last = match end {
            End::Cut | End::Stalled => &[],
            End::Whole | End::Failed if self.script.faults.has(Kind::NoDone) => LAST_CHUNK,
            End::Whole | End::Failed => DONE_AND_LAST_CHUNK,
        };
        Ok((end, last.to_vec()))
    }

    /// The next event as chunks of so many bytes.
    fn write_split(&mut self, piece_bytes: usize) -> io::Result<()> {
        let mut event = Vec::new();
        self.script.push_next(&mut event);
        for piece in event.chunks(piece_bytes) {
            self.chunk.fill(|out| out.extend_from_slice(piece));
            self.begun_ns = self.clock.now_ns();
            self.write_chunk()?;
        }
        self.take_note();
        Ok(())
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        while !self.chunk.unsent().is_empty() {
            match (&*self.connection).write(self.chunk.unsent()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.chunk.advance(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The event made last has been written.
    fn take_note(&mut self) {
        self.written_ns.resize(self.script.tokens(), self.begun_ns);
    }

    /// The reply that is not streamed, once its last token is due.
    fn whole(&mut self) -> (End, Vec<u8>) {
        let body = self.script.whole();
        let half = body.len() / 2;
        let mut reply = Response::json(200, body).into_bytes(self.keep_alive);
        self.clock.sleep_until(self.script.plan.last_due_ns());
        self.clock.sleep_through(self.freeze);
        if self.script.faults.has(Kind::Stall) {
            return (End::Stalled, Vec::new());
        }
        self.written_ns = vec![self.clock.now_ns(); self.script.total()];
        if self.script.faults.has(Kind::Reset) {
            reply.truncate(reply.len() - half);
            return (End::Cut, reply);
        }
        (End::Whole, reply)
    }
}
