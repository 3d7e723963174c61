//! One request as measured: stamps, counts and how it ended. No derived figures.
//!
//! Stamps are nanoseconds from the run's epoch. Absent is `None`, never 0.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Declares an enum whose values have names in files: beside each value its name, by which it is also serialized.
macro_rules! named {
    ($(#[$about:meta])* pub enum $Kind:ident {
        $($(#[$doc:meta])* $Value:ident = $name:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Kind {
            $($(#[$doc])* $Value,)+
        }

        impl $Kind {
            /// Every value in the order of the declaration, with its name in files.
            pub const NAMES: [($Kind, &str); [$($name),+].len()] = [$(($Kind::$Value, $name)),+];

            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize].1
            }
        }

        impl serde::Serialize for $Kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Which part of the run a request belongs to.
    #[derive(Default)]
    pub enum Phase {
        /// Sent before the measurement began to count.
        Warmup = "warmup",
        #[default]
        Measured = "measured",
        /// Still in flight when the run ended: neither a success nor a failure.
        Cut = "cut",
    }
}

named! {
    /// One of the fixed workloads of `run`, in the order in which they are run.
    pub enum Workload {
        Short = "short_input",
        Long = "long_input",
        Stress = "stress_test",
    }
}

impl Workload {
    /// Tokens that are wanted of a prompt, and of the answer to it.
    pub fn tokens(self) -> u64 {
        match self {
            Workload::Short => 128,
            Workload::Long => 200,
            Workload::Stress => 256,
        }
    }
}

named! {
    /// How a request failed. Failures are counted and shown; they never enter latency figures.
    pub enum FailKind {
        Dns = "dns",
        Connect = "connect",
        Tls = "tls",
        TimeoutConnect = "timeout_connect",
        /// No token event within `--first-token-timeout` of the send.
        TimeoutFirstToken = "timeout_first_token",
        /// Nothing arrived for `--idle-timeout` after the first token.
        TimeoutIdle = "timeout_idle",
        TimeoutTotal = "timeout_total",
        /// A status outside 2xx, redirects included.
        Http = "http",
        /// The server reported an error inside a 2xx reply.
        StreamError = "stream_error",
        /// The reply ended before its framing or its finish reason said so.
        Truncated = "truncated",
        /// A whole reply without any generated text.
        Empty = "empty",
        /// Bytes that are not the protocol: broken HTTP, SSE data that is not JSON, another content type.
        Malformed = "malformed",
        /// An event, a body or a stream of more bytes than the client takes.
        Oversized = "oversized",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailKind,
    /// The reason; in a sample one line of at most 200 characters, the API key removed.
    pub reason: String,
    /// The server's `Retry-After`, when it sent one in seconds.
    pub retry_after: Option<Duration>,
}

/// Kind and reason, as a user reads them.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.reason)
    }
}

impl Failure {
    pub fn new(kind: FailKind, reason: impl Into<String>) -> Failure {
        Failure {
            kind,
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// Says why a request failed, its HTTP status first.
pub fn why(status: Option<u16>, reason: &str) -> String {
    match status {
        Some(status) => format!("HTTP {status}: {reason}"),
        None => reason.to_string(),
    }
}

named! {
    /// Where `completion_tokens` comes from.
    pub enum TokenSource {
        /// The final `usage` of the reply.
        Usage = "usage",
        /// The last `usage` of a stream that repeats it on its events and has no final one.
        ContinuousUsage = "continuous_usage",
        /// The number of token events: no `usage` came.
        Events = "events",
        /// The number of token events: the `usage` reports fewer tokens.
        EventsOverUsage = "events_over_usage",
        /// The `total_tokens` of the `usage` less its prompt tokens: it reports fewer output tokens than came.
        Total = "total_tokens",
        /// The server's own count of the text of a plain reply, asked for after the run.
        Tokenize = "tokenize",
        /// The bytes of that text, at the tokens a byte of plain replies that were counted, else of prompts.
        Estimate = "estimate",
    }
}

/// Which request of the plan this is; labels that do not apply are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// Which session of the dataset, from 0, in the dataset's order.
    pub session: Option<u64>,
    /// Which turn of its session, from 0.
    pub turn: Option<u64>,
    /// Which time the dataset is sent, from 1.
    pub round: Option<u64>,
    /// The level of concurrency that the round was sent at.
    pub concurrency: Option<u64>,
    /// The rate at which its requests were to be sent, in an open loop.
    pub rate_per_s: Option<f64>,
    /// Whether its prompt was sent before in the same pass.
    pub repeat: Option<bool>,
    pub context: Option<u64>,
    pub question: Option<u64>,
    pub rotation: Option<u64>,
    pub workload: Option<Workload>,
    /// Prompt tokens that the plan meant to send.
    pub wanted_prompt_tokens: Option<u64>,
    /// Output tokens that the request asked for.
    pub wanted_output_tokens: Option<u64>,
}

/// One request as measured; the default is one before anything has happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    pub id: u64,
    pub labels: Labels,
    pub phase: Phase,
    pub failure: Option<Failure>,
    pub status: Option<u16>,
    /// The time at which it was to be sent; `None` in a closed loop, where the reply before it decides.
    pub t_due_ns: Option<u64>,
    /// Dispatch, connection set-up included.
    pub t_send_ns: u64,
    /// Status line and headers read.
    pub t_headers_ns: Option<u64>,
    /// First SSE data event.
    pub t_event_ns: Option<u64>,
    /// First event with generated text, reasoning included.
    pub t_first_ns: Option<u64>,
    /// First event with generated text, reasoning left out.
    pub t_answer_ns: Option<u64>,
    /// Last event with generated text.
    pub t_last_ns: Option<u64>,
    /// `[DONE]`, else the end of the body or the failure.
    pub t_end_ns: u64,
    /// TCP and TLS set-up, when this request opened its connection.
    pub connect_ns: Option<u64>,
    /// A pooled connection carried it.
    pub reused: bool,
    /// A pooled connection turned out closed before a byte came; this is the second sending.
    pub resent: bool,
    pub prompt_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub token_source: Option<TokenSource>,
    /// Output tokens whose events came, where the server kept some of them to itself; `None`: all of them.
    pub streamed_tokens: Option<u64>,
    /// Events with generated text.
    pub token_events: u64,
    /// Those of them that were the first of a read.
    pub token_reads: u64,
    /// The number of events that could not be read, and the first of them.
    pub unread: Option<(u64, String)>,
    /// Time between adjacent token events, whole microseconds; 0 when they shared a read.
    pub gaps_us: Vec<u32>,
    pub finish_reason: Option<String>,
    /// Whether the reply says that it came whole from a cache; `None`: it does not say.
    pub response_cached: Option<bool>,
    pub prompt_bytes: u64,
    pub text_bytes: u64,
    /// The text of a plain reply without `usage`, until its tokens are counted after the run. In no file.
    pub text: Option<Arc<str>>,
}

/// Whether a status says that the server cannot serve now, but may later: 429 and 5xx.
pub fn is_overload(status: Option<u16>) -> bool {
    matches!(status, Some(429 | 500..=599))
}

impl Sample {
    /// Whether the request ended as it should; a request that was cut did not.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.phase != Phase::Cut
    }

    /// Whether the tokens came in a burst: fewer than a fifth of their events began a new read, and all came within
    /// 2 % of the latency. Something on the way held them back, so their times are not those of the server.
    pub fn is_burst(&self) -> bool {
        let (Some(first_ns), Some(last_ns)) = (self.t_first_ns, self.t_last_ns) else {
            return false;
        };
        let latency_ns = last_ns.saturating_sub(self.t_send_ns);
        self.token_events > 1
            && self.token_reads * 5 < self.token_events
            && last_ns.saturating_sub(first_ns) * 50 < latency_ns
    }
}

/// How many requests are in flight; workers write it, the live view reads it.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU64,
    peak: AtomicU64,
    /// 0 until the first request.
    started_ns: AtomicU64,
}

impl Gauge {
    /// A request is about to be sent at `now_ns`; whether it is the first.
    pub fn enter(&self, now_ns: u64) -> bool {
        let first = self
            .started_ns
            .compare_exchange(0, now_ns.max(1), Relaxed, Relaxed);
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
        first.is_ok()
    }

    pub fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    pub fn in_flight(&self) -> u64 {
        self.now.load(Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// The stamp of the first send; 0 where nothing was sent.
    pub fn started_ns(&self) -> u64 {
        self.started_ns.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_their_values() {
        for (at, (kind, _)) in FailKind::NAMES.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
        for (at, (source, _)) in TokenSource::NAMES.into_iter().enumerate() {
            assert_eq!(source as usize, at);
        }
        assert_eq!(Phase::NAMES.map(|(phase, _)| phase as usize), [0, 1, 2]);
        assert_eq!(Workload::NAMES.map(|(one, _)| one as usize), [0, 1, 2]);
    }

    #[test]
    fn a_burst_has_few_reads_and_takes_no_time_of_its_latency() {
        // Sent at 0, the first token at 300 ms, the last one so many microseconds later.
        let is_burst = |events, reads, later_us: u64| {
            let sample = Sample {
                t_first_ns: Some(300_000_000),
                t_last_ns: Some(300_000_000 + later_us * 1000),
                token_events: events,
                token_reads: reads,
                ..Sample::default()
            };
            sample.is_burst()
        };
        assert!(is_burst(100, 1, 0));
        assert!(is_burst(100, 3, 9));
        // A buffer of a proxy that is filled some times: 19 of 100, over 1.9 % of the latency.
        assert!(is_burst(100, 19, 5_800));
        // A fifth, or over more than 2 %: a server that sends several tokens a step, or few of them.
        assert!(!is_burst(100, 20, 9));
        assert!(!is_burst(100, 19, 6_200));
        assert!(!is_burst(5, 1, 0));
        assert!(!is_burst(1, 1, 0));
        assert!(!Sample::default().is_burst());
    }
}
