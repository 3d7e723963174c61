//! The state that a worker shares with its connection: the request's clock and limits, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::unversioned::transport::ConnectionDetails;

use crate::units::{Epoch, nanoseconds};

/// A connection that was read this recently is not asked whether it is still open, which takes three
/// system calls: should it be closed all the same, the request is sent again on a new one.
const FRESH_NS: u64 = 10_000_000;

/// Connections made so far by all wires.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// How long the end of a body may take behind the end of its reply: some servers leave it open.
const END_NS: u64 = 100_000_000;

/// The limits of a request. All run from the send, but `idle`, which every read restarts.
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
    /// One limit for every phase.
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
    /// The reply was complete, and its body did not end.
    End,
}

/// The state of one worker's connection. One thread uses it; the atomics are there
/// because ureq wants its transports `Sync`, and cost nothing relaxed.
#[derive(Debug)]
pub struct Wire {
    pub epoch: Epoch,
    timeouts: Timeouts,
    /// A tunnel through a proxy is made first.
    is_proxied: bool,
    /// The longest wait of one read: the same in every phase, because a change costs a `setsockopt`.
    pub read_step_ns: u64,
    /// The longest wait of one write, for the same reason.
    pub write_step_ns: u64,
    /// The total timeout of the request under way.
    total_ns: AtomicU64,
    sent_ns: AtomicU64,
    last_ns: AtomicU64,
    /// The last read of any request.
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
    /// Reads that brought bytes.
    pub reads: u64,
    /// A connection was asked for.
    pub connecting: bool,
    /// Its TCP part was made.
    pub tcp_done: bool,
    /// TCP and TLS set-up, when it was completed.
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

    /// Starts a request's clock; the stamp of the send.
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

    /// From the first token on, the idle timeout holds instead of the first-token timeout.
    pub fn token_seen(&self) {
        self.has_token.store(true, Relaxed);
    }

    /// From the end of the reply on, its body may take no longer than a moment to end.
    pub fn reply_complete(&self) {
        self.is_complete.store(true, Relaxed);
    }

    /// Stamps a read that ended at `now_ns`; `has_bytes`: it was not the end of the connection.
    pub fn read_ended(&self, now_ns: u64, has_bytes: bool) {
        self.last_ns.store(now_ns, Relaxed);
        if has_bytes {
            self.heard_ns.store(now_ns, Relaxed);
            // One thread writes it, so no atomic addition is needed.
            self.reads.store(self.reads.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Stamps the end of a write: the wait for the reply counts from here.
    pub fn write_ended(&self, now_ns: u64) {
        self.last_ns.store(now_ns, Relaxed);
    }

    /// The stamp of the last read of any request; 0: nothing was read.
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns.load(Relaxed)
    }

    /// The stamp of the last read or write.
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

    /// The nanoseconds that a read or write beginning at `from_ns` may wait, and the limit that sets them.
    ///
    /// A read counts from the last stamp, which saves a clock read an event.
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

    /// The head that is sent next is followed by a body of this size: one write can take both. Where the next head may
    /// be one to a proxy, it is left at two.
    pub fn body_follows(&self, bytes: usize) {
        if !self.is_proxied {
            self.body_bytes.store(bytes, Relaxed);
        }
    }

    /// Takes the size that `body_follows` noted; 0 from then on.
    pub fn take_body_bytes(&self) -> usize {
        let bytes = self.body_bytes.load(Relaxed);
        self.body_bytes.store(0, Relaxed);
        bytes
    }

    /// Whether the connection was read a moment ago.
    pub fn is_fresh(&self) -> bool {
        self.epoch.now_ns() - self.heard_ns.load(Relaxed) < FRESH_NS
    }

    /// Notes that ureq asks for a connection.
    pub fn connection_asked(&self) {
        self.connecting.store(true, Relaxed);
        // Until the connection stands this holds the time of the attempt.
        self.last_ns.store(self.epoch.now_ns(), Relaxed);
    }

    /// Notes that the TCP part of a connection was made.
    pub fn tcp_made(&self, details: &ConnectionDetails) {
        if self.is_whole(details) {
            self.tcp_done.store(true, Relaxed);
        }
    }

    /// Notes that a connection was made, TLS and all.
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

    /// The number of the connection made last, which no other connection of this process has; 0: none was made.
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

    /// The set-up of the connection made last in nanoseconds; 0: none was made.
    pub fn last_connect_ns(&self) -> u64 {
        self.last_connect_ns.load(Relaxed)
    }

    /// Whether this is the connection that was asked for. One to a proxy is asked for without a proxy, before its
    /// tunnel is there.
    fn is_whole(&self, details: &ConnectionDetails) -> bool {
        !self.is_proxied || details.config.proxy().is_some()
    }

    /// Whether a connection is being made: what is said to a proxy then has ureq's limit, that of the connection.
    pub fn is_connecting(&self) -> bool {
        self.connecting.load(Relaxed) && self.connect_ns.load(Relaxed) == 0
    }

    /// Notes which limit the request ran into.
    pub fn expire(&self, kind: Expired) {
        self.expired.store(kind as u8 + 1, Relaxed);
    }
}
