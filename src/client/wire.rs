//! The state that a worker shares with its connection: the request's clock, limits and progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::ConnectionDetails;

use crate::units::{Epoch, nanoseconds};

/// A connection that was read this recently is not checked for being open, which takes three system calls. If it is
/// closed after all, the request is sent again on a new one.
const FRESH_NS: u64 = 10_000_000;

/// The number of connections made so far by all wires.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// How long the body may take to end after a complete reply: some servers leave it open.
const END_NS: u64 = 100_000_000;

/// The limits of a request. All run from the send, except `idle`, which every read restarts.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// Time until the first event with generated text.
    pub first_token: Duration,
    /// Time between two reads after the first token.
    pub idle: Duration,
    pub total: Duration,
}

impl Timeouts {
    /// Returns one limit for every phase.
    pub const fn all(timeout: Duration) -> Timeouts {
        Timeouts {
            connect: timeout,
            first_token: timeout,
            idle: timeout,
            total: timeout,
        }
    }
}

/// The limit that a read ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    FirstToken,
    Idle,
    Total,
    /// The reply was complete, but its body did not end.
    End,
}

/// The state of one worker's connection. Only one thread uses it; the fields are atomic because ureq wants its
/// transports `Sync`, and relaxed access costs nothing.
#[derive(Debug)]
pub struct Wire {
    pub epoch: Epoch,
    timeouts: Timeouts,
    /// Whether a tunnel through a proxy is made first.
    is_proxied: bool,
    /// The longest wait of one read, the same in every phase because a change costs a `setsockopt`.
    pub read_step_ns: u64,
    /// The longest wait of one write, for the same reason.
    pub write_step_ns: u64,
    /// The total timeout of the current request.
    total_ns: AtomicU64,
    sent_ns: AtomicU64,
    last_ns: AtomicU64,
    /// The stamp of the last read of any request.
    heard_ns: AtomicU64,
    has_token: AtomicBool,
    is_complete: AtomicBool,
    reads: AtomicU64,
    connecting: AtomicBool,
    tcp_done: AtomicBool,
    connect_ns: AtomicU64,
    /// The set-up of the connection made last, by whichever request.
    last_connect_ns: AtomicU64,
    /// The number of the connection made last, counted over all wires; 0: none was made.
    connection: AtomicU64,
    /// The connection is to carry no further request.
    is_left: AtomicBool,
    /// The request was ended by this side.
    is_cut: AtomicBool,
    expired: AtomicU8,
    body_bytes: AtomicUsize,
}

/// The events on the wire since the request began.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The number of reads that brought bytes.
    pub reads: u64,
    /// Whether a connection was asked for.
    pub connecting: bool,
    /// Whether its TCP part was made.
    pub tcp_done: bool,
    /// The duration of TCP and TLS set-up, once it is complete.
    pub connect_ns: Option<u64>,
    pub expired: Option<Expired>,
    /// The request was ended by this side.
    pub is_cut: bool,
}

impl Wire {
    pub fn new(epoch: Epoch, timeouts: Timeouts, is_proxied: bool) -> Arc<Wire> {
        let shortest = timeouts.idle.min(timeouts.first_token).min(timeouts.total);
        Arc::new(Wire {
            epoch,
            timeouts,
            is_proxied,
            read_step_ns: nanoseconds(shortest),
            write_step_ns: nanoseconds(timeouts.total.min(timeouts.first_token)) / 16 + 1,
            total_ns: AtomicU64::new(nanoseconds(timeouts.total)),
            sent_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            heard_ns: AtomicU64::new(0),
            has_token: AtomicBool::new(false),
            is_complete: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            connecting: AtomicBool::new(false),
            tcp_done: AtomicBool::new(false),
            connect_ns: AtomicU64::new(0),
            last_connect_ns: AtomicU64::new(0),
            connection: AtomicU64::new(0),
            is_left: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            expired: AtomicU8::new(0),
            body_bytes: AtomicUsize::new(0),
        })
    }

    /// Starts a request's clock and returns the stamp of the send.
    pub fn begin(&self) -> u64 {
        self.begin_within(self.timeouts.total)
    }

    /// Starts the clock of a request that may take no longer than `total`.
    pub fn begin_within(&self, total: Duration) -> u64 {
        self.total_ns
            .store(nanoseconds(total.min(self.timeouts.total)), Relaxed);
        let now = self.epoch.now_ns();
        self.last_ns.store(now, Relaxed);
        self.has_token.store(false, Relaxed);
        self.is_complete.store(false, Relaxed);
        self.reads.store(0, Relaxed);
        self.connecting.store(false, Relaxed);
        self.tcp_done.store(false, Relaxed);
        self.connect_ns.store(0, Relaxed);
        self.expired.store(0, Relaxed);
        self.is_cut.store(false, Relaxed);
        self.body_bytes.store(0, Relaxed);
        self.sent_ns.store(now, Relaxed);
        now
    }

    /// Returns the limits of the current request.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            total: Duration::from_nanos(self.total_ns.load(Relaxed)),
            ..self.timeouts
        }
    }

    /// From the first token on, the idle timeout holds instead of the first-token timeout.
    pub fn token_seen(&self) {
        self.has_token.store(true, Relaxed);
    }

    /// From the end of the reply on, its body may take no longer than a moment to end.
    pub fn reply_complete(&self) {
        self.is_complete.store(true, Relaxed);
    }

    /// Stamps a read that ended at `now_ns`; `has_bytes`: the connection did not end.
    pub fn read_ended(&self, now_ns: u64, has_bytes: bool) {
        self.last_ns.store(now_ns, Relaxed);
        if has_bytes {
            self.heard_ns.store(now_ns, Relaxed);
            // Only one thread writes it, so no atomic addition is needed.
            self.reads.store(self.reads.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Stamps the end of a write: the wait for the reply counts from here.
    pub fn write_ended(&self, now_ns: u64) {
        self.last_ns.store(now_ns, Relaxed);
    }

    /// Returns the stamp of the last read of any request; 0: nothing was read.
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns.load(Relaxed)
    }

    /// Returns the stamp of the last read or write.
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
                4 => Some(Expired::End),
                _ => None,
            },
            is_cut: self.is_cut.load(Relaxed),
        }
    }

    /// Returns how many nanoseconds a read or write beginning at `from_ns` may wait, and the limit that sets them.
    ///
    /// For a read, the time counts from the last stamp, which saves reading the clock for each event.
    pub fn limit(&self, from_ns: u64) -> (u64, Expired) {
        let elapsed = from_ns.saturating_sub(self.sent_ns.load(Relaxed));
        let total = self.total_ns.load(Relaxed).saturating_sub(elapsed);
        let (phase, kind) = if self.is_complete.load(Relaxed) {
            (END_NS, Expired::End)
        } else if self.has_token.load(Relaxed) {
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

    /// Notes that the next head is followed by a body of this size, so that one write can take both. If the next head
    /// may go to a proxy, two writes are used.
    pub fn body_follows(&self, bytes: usize) {
        if !self.is_proxied {
            self.body_bytes.store(bytes, Relaxed);
        }
    }

    /// Takes the size that `body_follows` noted, and resets it to 0.
    pub fn take_body_bytes(&self) -> usize {
        let bytes = self.body_bytes.load(Relaxed);
        self.body_bytes.store(0, Relaxed);
        bytes
    }

    /// Returns whether the connection was read a moment ago.
    pub fn is_fresh(&self) -> bool {
        self.epoch.now_ns() - self.heard_ns.load(Relaxed) < FRESH_NS
    }

    /// Notes that ureq asks for a connection.
    pub fn connection_asked(&self) {
        self.connecting.store(true, Relaxed);
        // Until the connection is made, this holds the time of the attempt.
        self.last_ns.store(self.epoch.now_ns(), Relaxed);
    }

    /// Notes that the TCP part of a connection was made.
    pub fn tcp_made(&self, details: &ConnectionDetails) {
        if self.is_whole(details) {
            self.tcp_done.store(true, Relaxed);
        }
    }

    /// Notes that a connection was made completely, including TLS.
    pub fn connection_made(&self, details: &ConnectionDetails) {
        if self.is_whole(details) {
            let now = self.epoch.now_ns();
            let took = now.saturating_sub(self.last_ns.swap(now, Relaxed));
            self.connect_ns.store(took.max(1), Relaxed);
            self.last_connect_ns.store(took, Relaxed);
            self.connection
                .store(CONNECTIONS.fetch_add(1, Relaxed) + 1, Relaxed);
            self.is_left.store(false, Relaxed);
        }
    }

    /// Returns the number of the connection made last, which no other connection of this process has; 0: none was made.
    pub fn connection(&self) -> u64 {
        self.connection.load(Relaxed)
    }

    /// Lets the next request open a connection of its own.
    pub fn leave_connection(&self) {
        self.is_left.store(true, Relaxed);
    }

    pub fn is_left(&self) -> bool {
        self.is_left.load(Relaxed)
    }

    /// Notes that the request was ended by this side, not by the server.
    pub fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    /// Returns the set-up time of the connection made last in nanoseconds; 0: none was made.
    pub fn last_connect_ns(&self) -> u64 {
        self.last_connect_ns.load(Relaxed)
    }

    /// Returns whether this is the connection that was asked for. A connection to a proxy is made first, before its
    /// tunnel.
    fn is_whole(&self, details: &ConnectionDetails) -> bool {
        !self.is_proxied || details.config.proxy().is_some()
    }

    /// Returns whether a connection is being made: the exchange with a proxy then has ureq's limit for connecting.
    pub fn is_connecting(&self) -> bool {
        self.connecting.load(Relaxed) && self.connect_ns.load(Relaxed) == 0
    }

    /// Notes which limit the request ran into.
    pub fn expire(&self, kind: Expired) {
        self.expired.store(kind as u8 + 1, Relaxed);
    }
}
