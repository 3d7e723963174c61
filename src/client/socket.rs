//! The TCP connection below TLS and HTTP: like ureq's own, with fewer system calls.
//!
//! Head and start of the body are sent together, long prompts in few large writes, and a connection that was just read
//! is not checked for being open.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::wire::Wire;
use crate::units::nanoseconds;

/// Bytes of one write of a long prompt; short ones need less.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
const MIN_OUTPUT_BYTES: usize = 2 << 10;
/// Initial input buffer, enough for a few events; doubled whenever a read fills it, up to the longest head of a reply.
const MIN_INPUT_BYTES: usize = 1 << 10;
const MAX_INPUT_BYTES: usize = 16 << 10;
/// Least time for trying one of several addresses.
const MIN_CONNECT: Duration = Duration::from_millis(10);

/// Opens connections for the worker with this wire.
#[derive(Debug)]
pub struct SocketConnector(pub Arc<Wire>);

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // The connection is a tunnel through a proxy.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = connect(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        let stream = Arc::new(Cut {
            stream,
            is_cut: AtomicBool::new(false),
        });
        let handle: Weak<dyn ShutdownHandle> = Arc::<Cut>::downgrade(&stream);
        if let Err(error) = (details.register_shutdown)(handle) {
            // Only an agent that was shut down refuses it.
            self.0.cut();
            return Err(error);
        }
        Ok(Some(Either::B(Socket {
            stream,
            wire: self.0.clone(),
            buffers: SocketBuffers::default(),
            read_timeout: None,
            write_timeout: None,
        })))
    }
}

/// Tries the addresses in order; each gets an equal share of the remaining time.
fn connect(addrs: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
    let started = std::time::Instant::now();
    let mut last = Error::Io(io::ErrorKind::ConnectionRefused.into());
    for (at, addr) in addrs.iter().enumerate() {
        let attempt = match timeout.not_zero() {
            Some(limit) => {
                let left = limit.saturating_sub(started.elapsed());
                let share = left / u32::try_from(addrs.len() - at).unwrap_or(u32::MAX);
                TcpStream::connect_timeout(addr, share.max(MIN_CONNECT))
            }
            None => TcpStream::connect(addr),
        };
        last = match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) if is_timeout(&error) => Error::Timeout(Timeout::Connect),
            Err(error) => Error::Io(error),
        };
    }
    Err(last)
}

/// The stream, which another thread may shut down.
struct Cut {
    stream: TcpStream,
    /// Set before the stream is shut down: what ends the stream before that is the server's doing.
    is_cut: AtomicBool,
}

impl ShutdownHandle for Cut {
    fn shutdown(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        // The connection may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

pub struct Socket {
    stream: Arc<Cut>,
    wire: Arc<Wire>,
    buffers: SocketBuffers,
    /// The timeout last set: a change costs a `setsockopt`.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Socket {
    /// Writes all of it within the timeout, which no part of it renews.
    fn write(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let limit_ns = timeout.not_zero().map(|limit| nanoseconds(*limit));
        let from_ns = self.wire.epoch.now_ns();
        let mut left_ns = limit_ns;
        let mut bytes = self.buffers.take_output(amount);
        let mut stream = &self.stream.stream;
        while !bytes.is_empty() {
            if left_ns == Some(0) {
                return Err(Error::Timeout(timeout.reason));
            }
            let step_ns = left_ns.map(|left_ns| left_ns.min(self.wire.write_step_ns));
            let wanted = step_ns.map(Duration::from_nanos);
            if wanted != self.write_timeout {
                stream.set_write_timeout(wanted)?;
                self.write_timeout = wanted;
            }
            match stream.write(bytes) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(amount) => bytes = &bytes[amount..],
                Err(error) if is_timeout(&error) || is_interrupted(&error) => {}
                Err(error) => {
                    self.stream.tell(&self.wire);
                    return Err(Error::Io(error));
                }
            }
            if !bytes.is_empty() {
                let waited_ns = self.wire.epoch.now_ns() - from_ns;
                left_ns = limit_ns.map(|limit_ns| limit_ns.saturating_sub(waited_ns));
            }
        }
        Ok(())
    }
}

impl Cut {
    /// Notes on the wire whether the stream, which has just ended, was ended by this side.
    fn tell(&self, wire: &Wire) {
        if self.is_cut.load(Ordering::SeqCst) {
            wire.cut();
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// Sends the output, but holds a head back until its body starts.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        match self.wire.take_body_bytes() {
            0 => self.write(amount, timeout),
            body_bytes => {
                self.buffers.hold(amount, body_bytes);
                Ok(())
            }
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // The request is sent, and thousands of workers may wait for tokens.
        self.buffers.output = Vec::new();
        let timeout = timeout.for_read();
        let wanted = timeout.not_zero().map(|limit| *limit);
        let mut stream = &self.stream.stream;
        if wanted != self.read_timeout {
            stream.set_read_timeout(wanted)?;
            self.read_timeout = wanted;
        }
        let amount = loop {
            match stream.read(self.buffers.input_append_buf()) {
                Err(error) if is_interrupted(&error) => {}
                Ok(amount) => break amount,
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                Err(error) => {
                    self.stream.tell(&self.wire);
                    return Err(Error::Io(error));
                }
            }
        };
        if amount == 0 {
            self.stream.tell(&self.wire);
        }
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        !self.wire.is_left()
            && (self.wire.is_fresh() || probe(&self.stream.stream).unwrap_or(false))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.stream.stream).finish()
    }
}

/// Returns whether nothing waits to be read: neither the end nor unexpected bytes.
fn probe(mut stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
}

/// Returns whether an error is a timeout; the socket reports one as `WouldBlock`.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// The bytes to be sent and those read; allocated on first use.
#[derive(Default)]
struct SocketBuffers {
    output: Vec<u8>,
    /// Bytes at the start of `output` that wait for more.
    held: usize,
    input: Vec<u8>,
    consumed: usize,
    filled: usize,
    /// Whether the last use of the input consumed anything.
    progress: bool,
}

impl SocketBuffers {
    /// Keeps `amount` bytes back, and makes room for a body of this size, or for its largest piece.
    fn hold(&mut self, amount: usize, body_bytes: usize) {
        self.held += amount;
        let wanted = self.held.saturating_add(body_bytes);
        let wanted = wanted.min(self.held + MAX_OUTPUT_BYTES);
        if self.output.len() < wanted {
            // Zeroed memory from the allocator is faster than `resize`, which would also copy what is not held.
            let mut larger = vec![0; wanted];
            larger[..self.held].copy_from_slice(&self.output[..self.held]);
            self.output = larger;
        }
    }

    /// Returns what to send now: what was held back, and `amount` bytes after it.
    fn take_output(&mut self, amount: usize) -> &[u8] {
        &self.output[..std::mem::take(&mut self.held) + amount]
    }
}

impl Buffers for SocketBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output = vec![0; MIN_OUTPUT_BYTES];
        }
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input[self.consumed..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.filled == self.input.len() && self.input.len() < MAX_INPUT_BYTES {
            self.input
                .resize((self.input.len() * 2).max(MIN_INPUT_BYTES), 0);
        }
        if self.consumed == self.filled {
            (self.consumed, self.filled) = (0, 0);
        } else if self.filled > self.input.len() / 2 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        &mut self.input[self.filled..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed += amount;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.output();
        self.input_append_buf();
        (
            &mut self.input[self.filled..],
            &mut self.output[self.held..],
        )
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_goes_out_with_the_start_of_its_body() {
        let mut buffers = SocketBuffers::default();
        buffers.output()[..4].copy_from_slice(b"head");
        buffers.hold(4, 100);
        let (_, room) = buffers.tmp_and_output();
        room[..5].copy_from_slice(b" body");
        assert_eq!(buffers.take_output(5), b"head body");
        // Nothing is held any more.
        buffers.output()[..4].copy_from_slice(b"more");
        assert_eq!(buffers.take_output(4), b"more");
    }

    #[test]
    fn the_output_grows_to_the_body_and_no_further_than_its_largest_piece() {
        let mut buffers = SocketBuffers::default();
        assert_eq!(buffers.output().len(), MIN_OUTPUT_BYTES);
        buffers.hold(200, 1 << 20);
        assert_eq!(buffers.output().len(), MAX_OUTPUT_BYTES);
        buffers.take_output(0);
        buffers.hold(300, 10);
        assert_eq!(buffers.output().len(), 200 + MAX_OUTPUT_BYTES - 300);
    }

    #[test]
    fn input_that_is_not_taken_yet_stays_in_order_when_room_is_made() {
        let mut buffers = SocketBuffers::default();
        let mut expected = Vec::new();
        let mut seen = Vec::new();
        // Up to 7,000 bytes in and 5,000 out at a time: the rest is moved to the front again and again.
        for round in 0..6u8 {
            let piece = vec![round; 7000.min(buffers.input_append_buf().len())];
            buffers.input_append_buf()[..piece.len()].copy_from_slice(&piece);
            buffers.input_appended(piece.len());
            expected.extend_from_slice(&piece);
            let taken = buffers.input().len().min(5000);
            seen.extend_from_slice(&buffers.input()[..taken]);
            buffers.input_consume(taken);
        }
        seen.extend_from_slice(buffers.input());
        assert_eq!(seen, expected);
        assert!(buffers.can_use_input());
        buffers.input_consume(0);
        assert!(!buffers.can_use_input(), "it needs more to go on");
    }
}
