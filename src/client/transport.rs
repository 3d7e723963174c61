//! Our layer between ureq and the socket: stamps every read, sets each read's deadline by the phase
//! of the request, and notes connections as they are made.
//!
//! The layer sits outside TLS, so that a stamp is taken when plain bytes are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout,
    RustlsConnector, Transport,
};

use super::socket::SocketConnector;

use crate::units::{Epoch, nanoseconds};

/// A connection that was read this recently is not asked whether it is still open, which takes three
/// system calls: should it be closed all the same, the request is sent again on a new one.
const FRESH_NS: u64 = 10_000_000;

/// How long a request may take; each runs from the send, but `idle`, which every read restarts.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// Until the first event with generated text.
    pub first_token: Duration,
    /// Between two reads after the first token.
    pub idle: Duration,
    pub total: Duration,
}

impl Timeouts {
    /// The same for every phase.
    pub const fn all(timeout: Duration) -> Timeouts {
        Timeouts {
            connect: timeout,
            first_token: timeout,
            idle: timeout,
            total: timeout,
        }
    }
}

/// Which limit a read ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    FirstToken,
    Idle,
    Total,
}

/// What one worker and its connection tell each other. One thread uses it; the atomics are there
/// because ureq wants its transports `Sync`, and cost nothing relaxed.
#[derive(Debug)]
pub struct Wire {
    pub epoch: Epoch,
    timeouts: Timeouts,
    /// A tunnel through a proxy is made first.
    is_proxied: bool,
    /// What one system call waits at the most: the same number in every phase, because another one
    /// would cost a `setsockopt` each time.
    step_ns: u64,
    /// The total timeout of the request under way.
    total_ns: AtomicU64,
    sent_ns: AtomicU64,
    last_ns: AtomicU64,
    /// The last read of any request.
    heard_ns: AtomicU64,
    has_token: AtomicBool,
    reads: AtomicU64,
    connecting: AtomicBool,
    tcp_done: AtomicBool,
    connect_ns: AtomicU64,
    expired: AtomicU8,
    body_bytes: AtomicUsize,
}

/// What happened on the wire since the request began.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Reads that brought bytes.
    pub reads: u64,
    /// A connection was asked for.
    pub connecting: bool,
    /// Its TCP part was made.
    pub tcp_done: bool,
    /// TCP and TLS set-up, when it was completed.
    pub connect_ns: Option<u64>,
    pub expired: Option<Expired>,
}

impl Wire {
    pub fn new(epoch: Epoch, timeouts: Timeouts, is_proxied: bool) -> Arc<Wire> {
        let shortest = timeouts.idle.min(timeouts.first_token).min(timeouts.total);
        Arc::new(Wire {
            epoch,
            timeouts,
            is_proxied,
            step_ns: nanoseconds(shortest),
            total_ns: AtomicU64::new(nanoseconds(timeouts.total)),
            sent_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            heard_ns: AtomicU64::new(0),
            has_token: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            connecting: AtomicBool::new(false),
            tcp_done: AtomicBool::new(false),
            connect_ns: AtomicU64::new(0),
            expired: AtomicU8::new(0),
            body_bytes: AtomicUsize::new(0),
        })
    }

    /// Starts a request's clock; the stamp of the send.
    pub fn begin(&self) -> u64 {
        self.begin_within(self.timeouts.total)
    }

    /// The same for a request that may take no longer than `total`.
    pub fn begin_within(&self, total: Duration) -> u64 {
        self.total_ns
            .store(nanoseconds(total.min(self.timeouts.total)), Relaxed);
        let now = self.epoch.now_ns();
        self.last_ns.store(now, Relaxed);
        self.has_token.store(false, Relaxed);
        self.reads.store(0, Relaxed);
        self.connecting.store(false, Relaxed);
        self.tcp_done.store(false, Relaxed);
        self.connect_ns.store(0, Relaxed);
        self.expired.store(0, Relaxed);
        self.body_bytes.store(0, Relaxed);
        self.sent_ns.store(now, Relaxed);
        now
    }

    /// From the first token on, the idle timeout holds instead of the first-token timeout.
    pub fn token_seen(&self) {
        self.has_token.store(true, Relaxed);
    }

    /// The stamp of the last read.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.load(Relaxed)
    }

    pub fn seen(&self) -> Seen {
        let connect_ns = self.connect_ns.load(Relaxed);
        Seen {
            reads: self.reads.load(Relaxed),
            connecting: self.connecting.load(Relaxed),
            tcp_done: self.tcp_done.load(Relaxed),
            connect_ns: (connect_ns > 0).then_some(connect_ns),
            expired: match self.expired.load(Relaxed) {
                1 => Some(Expired::FirstToken),
                2 => Some(Expired::Idle),
                3 => Some(Expired::Total),
                _ => None,
            },
        }
    }

    /// How long a read or write that begins at `from_ns` may wait, and which limit that is.
    ///
    /// A read counts from the last stamp, which saves a clock read an event.
    fn limit(&self, from_ns: u64) -> (u64, Expired) {
        let elapsed = from_ns.saturating_sub(self.sent_ns.load(Relaxed));
        let total = self.total_ns.load(Relaxed).saturating_sub(elapsed);
        let (phase, kind) = if self.has_token.load(Relaxed) {
            (nanoseconds(self.timeouts.idle), Expired::Idle)
        } else {
            let first_token = nanoseconds(self.timeouts.first_token);
            (first_token.saturating_sub(elapsed), Expired::FirstToken)
        };
        if total <= phase {
            (total, Expired::Total)
        } else {
            (phase, kind)
        }
    }

    /// The head that is sent next is followed by a body of this size: one write can take both. Where the next head may
    /// be one to a proxy, it is left at two.
    pub fn body_follows(&self, bytes: usize) {
        if !self.is_proxied {
            self.body_bytes.store(bytes, Relaxed);
        }
    }

    /// What `body_follows` said; 0 from then on.
    pub fn take_body_bytes(&self) -> usize {
        let bytes = self.body_bytes.load(Relaxed);
        self.body_bytes.store(0, Relaxed);
        bytes
    }

    /// Whether the connection was read a moment ago.
    pub fn is_fresh(&self) -> bool {
        self.epoch.now_ns() - self.heard_ns.load(Relaxed) < FRESH_NS
    }

    /// Whether this is the connection that was asked for. One to a proxy is asked for without a proxy, before its
    /// tunnel is there.
    fn is_whole(&self, details: &ConnectionDetails) -> bool {
        !self.is_proxied || details.config.proxy().is_some()
    }

    /// Whether a connection is being made: what is said to a proxy then has ureq's limit, that of the connection.
    fn is_connecting(&self) -> bool {
        self.connecting.load(Relaxed) && self.connect_ns.load(Relaxed) == 0
    }

    fn expire(&self, kind: Expired) {
        self.expired.store(kind as u8 + 1, Relaxed);
    }
}

/// The connector of one worker: TCP, or a tunnel through a proxy, then TLS where the scheme says so, then the stamping
/// layer.
pub fn connector(wire: &Arc<Wire>) -> impl Connector {
    ().chain(Begin(wire.clone()))
        // Calls the whole chain for the connection to the proxy.
        .chain(ConnectProxyConnector::default())
        .chain(SocketConnector(wire.clone()))
        .chain(TcpDone(wire.clone()))
        .chain(RustlsConnector::default())
        .chain(Stamping(wire.clone()))
}

#[derive(Debug)]
struct Begin(Arc<Wire>);

impl Connector<()> for Begin {
    type Out = ();

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<()>, Error> {
        self.0.connecting.store(true, Relaxed);
        // Until the connection stands this holds the time of the attempt.
        self.0.last_ns.store(self.0.epoch.now_ns(), Relaxed);
        Ok(None)
    }
}

#[derive(Debug)]
struct TcpDone(Arc<Wire>);

impl<In: Transport> Connector<In> for TcpDone {
    type Out = In;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<In>, Error> {
        if self.0.is_whole(details) {
            self.0.tcp_done.store(true, Relaxed);
        }
        Ok(chained)
    }
}

#[derive(Debug)]
struct Stamping(Arc<Wire>);

impl<In: Transport> Connector<In> for Stamping {
    type Out = Either<(), Stamped<In>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let wire = &self.0;
        if wire.is_whole(details) {
            let now = wire.epoch.now_ns();
            let took = now.saturating_sub(wire.last_ns.swap(now, Relaxed));
            wire.connect_ns.store(took.max(1), Relaxed);
        }
        Ok(chained.map(|inner| {
            Either::B(Stamped {
                inner,
                wire: wire.clone(),
            })
        }))
    }
}

#[derive(Debug)]
struct Stamped<In> {
    inner: In,
    wire: Arc<Wire>,
}

impl<In: Transport> Transport for Stamped<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, mut timeout: NextTimeout) -> Result<(), Error> {
        if self.wire.is_connecting() {
            return self.inner.transmit_output(amount, timeout);
        }
        let (limit_ns, kind) = self.wire.limit(self.wire.epoch.now_ns());
        if limit_ns == 0 {
            self.wire.expire(kind);
            return Err(Error::Timeout(ureq::Timeout::PerWrite));
        }
        // In steps, so that the many writes of a long prompt cost no setsockopt each.
        let timeouts = &self.wire.timeouts;
        let step_ns = nanoseconds(timeouts.total.min(timeouts.first_token)) / 16 + 1;
        let limit_ns = limit_ns.div_ceil(step_ns).saturating_mul(step_ns);
        timeout.per_write = Some(Duration::from_nanos(limit_ns).into());
        let sent = self.inner.transmit_output(amount, timeout);
        if sent.as_ref().is_err_and(is_timeout) {
            self.wire.expire(kind);
        }
        sent
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        let wire = &self.wire;
        if wire.is_connecting() {
            return self.inner.await_input(timeout);
        }
        let from_ns = wire.last_ns();
        let (limit_ns, kind) = wire.limit(from_ns);
        let mut left_ns = limit_ns;
        while left_ns > 0 {
            timeout.per_read = Some(Duration::from_nanos(left_ns.min(wire.step_ns)).into());
            let read = self.inner.await_input(timeout);
            let now_ns = wire.epoch.now_ns();
            if read.as_ref().is_err_and(is_timeout) {
                left_ns = limit_ns.saturating_sub(now_ns - from_ns);
                continue;
            }
            wire.last_ns.store(now_ns, Relaxed);
            if matches!(read, Ok(true)) {
                wire.heard_ns.store(now_ns, Relaxed);
                // One thread writes it, so no atomic addition is needed.
                wire.reads.store(wire.reads.load(Relaxed) + 1, Relaxed);
            }
            return read;
        }
        wire.expire(kind);
        Err(Error::Timeout(ureq::Timeout::PerRead))
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Whether an error is a timeout, whichever way ureq wrapped it.
pub fn is_timeout(error: &Error) -> bool {
    match error {
        Error::Timeout(_) => true,
        Error::Io(io) => io.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}
