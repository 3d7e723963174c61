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

use super::buffers::GrowingBuffers;
use super::wire::Wire;
use crate::units::nanoseconds;

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
            buffers: GrowingBuffers::default(),
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
    buffers: GrowingBuffers,
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
        self.buffers.free_output();
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
