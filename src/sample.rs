//! One request as measured: stamps, counts and how it ended. No derived figures.
//!
//! Stamps are nanoseconds from the run's epoch. Absent is `None`, never 0.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock::lock;

/// Declares an enum whose values have names, in files or for the user; the values are serialized by these names.
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
            /// Every value in the order of the declaration, with its name.
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

/// Returns the value of a `named` enum that has this name.
pub fn find<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    let mut known = names.iter();
    let found = known.find(|(_, known)| *known == name);
    found.map(|(value, _)| *value)
}

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
        /// Sent beside the workload to find out how the server treats a text that it has just seen: in no figure.
        Control = "control",
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

named! {
    /// The side of a comparison that a request belongs to.
    pub enum Side {
        Base = "base",
        New = "new",
    }
}

impl Workload {
    /// Returns the wanted number of tokens of a prompt, and of its answer.
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
        /// No token event came within `--first-token-timeout` of the send.
        TimeoutFirstToken = "timeout_first_token",
        /// Nothing arrived for `--idle-timeout` after the first token.
        TimeoutIdle = "timeout_idle",
        TimeoutTotal = "timeout_total",
        /// The status is outside 2xx; redirects are failures too.
        Http = "http",
        /// The server reported an error inside a 2xx reply.
        StreamError = "stream_error",
        /// The reply ended before its framing or its finish reason said so.
        Truncated = "truncated",
        /// The reply is whole but has no generated text.
        Empty = "empty",
        /// The bytes are not the protocol: broken HTTP, SSE data that is not JSON, another content type.
        Malformed = "malformed",
        /// An event, a body or a stream has more bytes than the client accepts.
        Oversized = "oversized",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailKind,
    /// The reason; in a sample it is one line of at most 200 characters, without the API key.
    pub reason: String,
    /// The server's `Retry-After`, if it sent one in seconds.
    pub retry_after: Option<Duration>,
}

/// Shows kind and reason to the user.
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
    /// The source of `completion_tokens`.
    pub enum TokenSource {
        /// From the final `usage` of the reply.
        Usage = "usage",
        /// From the last `usage` of a stream that repeats `usage` on its events and has no final one.
        ContinuousUsage = "continuous_usage",
        /// Counted as token events, since no `usage` came.
        Events = "events",
        /// Counted as token events, since the `usage` reports fewer tokens.
        EventsOverUsage = "events_over_usage",
        /// Counted as the `total_tokens` of the `usage` minus its prompt tokens, since its output tokens are fewer than
        /// came.
        Total = "total_tokens",
        /// Counted by the server from the text of a plain reply, after the run.
        Tokenize = "tokenize",
        /// Estimated from the bytes of that text, at the tokens per byte of counted plain replies, or else of prompts.
        Estimate = "estimate",
    }
}

/// The place of a request in the plan; labels that do not apply are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// The session of the dataset, from 0, in the dataset's order.
    pub session: Option<u64>,
    /// The turn within its session, from 0.
    pub turn: Option<u64>,
    /// The round in which the dataset is sent, from 1.
    pub round: Option<u64>,
    /// The concurrency level of the round.
    pub concurrency: Option<u64>,
    /// The rate at which requests are scheduled, in an open loop.
    pub rate_per_s: Option<f64>,
    /// Whether the same prompt was sent before in this pass.
    pub repeat: Option<bool>,
    pub context: Option<u64>,
    pub question: Option<u64>,
    pub rotation: Option<u64>,
    pub workload: Option<Workload>,
    /// `None`: there is one side only.
    pub side: Option<Side>,
    /// Prompt tokens that the plan meant to send.
    pub wanted_prompt_tokens: Option<u64>,
    /// Output tokens that the request asked for.
    pub wanted_output_tokens: Option<u64>,
    /// Whether the request is a control; the samples file has the phase `control` for it.
    pub is_control: bool,
}

/// One request as measured; the default value is a request before anything has happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    pub id: u64,
    pub labels: Labels,
    pub phase: Phase,
    pub failure: Option<Failure>,
    pub status: Option<u16>,
    /// The scheduled time; `None` in a closed loop, where the previous reply decides when to send.
    pub t_due_ns: Option<u64>,
    /// The moment of dispatch, before any connection set-up.
    pub t_send_ns: u64,
    /// The moment at which the status line and the headers were read.
    pub t_headers_ns: Option<u64>,
    /// The first SSE data event.
    pub t_event_ns: Option<u64>,
    /// The first event with generated text, including reasoning.
    pub t_first_ns: Option<u64>,
    /// The first event with generated text, excluding reasoning.
    pub t_answer_ns: Option<u64>,
    /// The last event with generated text.
    pub t_last_ns: Option<u64>,
    /// The moment of `[DONE]`, else of the end of the body or of the failure.
    pub t_end_ns: u64,
    /// The time of TCP and TLS set-up, if this request opened its connection.
    pub connect_ns: Option<u64>,
    /// A pooled connection carried it.
    pub reused: bool,
    /// A pooled connection turned out to be closed before any byte came, and the request was sent a second time.
    pub resent: bool,
    /// The dispatch of the first sending of a request that was sent again.
    pub t_first_send_ns: Option<u64>,
    pub prompt_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub token_source: Option<TokenSource>,
    /// Output tokens whose events came, where the server did not stream some of them; `None`: all were streamed.
    pub streamed_tokens: Option<u64>,
    /// Events with generated text.
    pub token_events: u64,
    /// Token events that were the first of a read.
    pub token_reads: u64,
    /// The number of events that could not be parsed, and the first of them.
    pub unread: Option<(u64, String)>,
    /// Times between adjacent token events in whole microseconds; 0 when both came in one read.
    pub gaps_us: Vec<u32>,
    pub finish_reason: Option<String>,
    /// Whether the reply says that it came from a cache; `None`: it does not say.
    pub response_cached: Option<bool>,
    pub prompt_bytes: u64,
    pub text_bytes: u64,
    /// A hash of the answer's text, where the turn keeps its reply; equal texts have equal hashes within a run.
    pub answer: Option<u64>,
    /// The text of a plain reply without `usage`, kept until its tokens are counted after the run. Never written to a
    /// file.
    pub text: Option<Arc<str>>,
}

/// Returns whether a status says that the server cannot serve now, but may later: 429 and 5xx.
pub fn is_overload(status: Option<u16>) -> bool {
    matches!(status, Some(429 | 500..=599))
}

impl Sample {
    /// Returns whether the request ended as it should; a request that was cut did not.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.phase != Phase::Cut
    }

    /// Returns its stamps, all of which count from the run's epoch.
    pub fn stamps_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let optional = [
            &mut self.t_due_ns,
            &mut self.t_headers_ns,
            &mut self.t_event_ns,
            &mut self.t_first_ns,
            &mut self.t_answer_ns,
            &mut self.t_last_ns,
            &mut self.t_first_send_ns,
        ];
        let always = [&mut self.t_send_ns, &mut self.t_end_ns];
        always.into_iter().chain(optional.into_iter().flatten())
    }

    /// Returns whether the tokens came in a burst: fewer than a fifth of their events began a new read, and all came
    /// within 2 % of the latency. Something on the way, such as a proxy, held them back, so their times are not the
    /// server's.
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

/// The number of requests in flight; workers write it, the live view reads it.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU64,
    /// Requests that have begun.
    begun: AtomicU64,
    peak: AtomicU64,
    /// The stamp of the first send; 0 before it.
    started_ns: AtomicU64,
    /// For each worker the stamp at which its request in flight began; 0: the worker has none.
    since_ns: Mutex<Vec<Arc<AtomicU64>>>,
}

/// A worker's place in the gauge.
pub struct Place {
    gauge: Arc<Gauge>,
    since_ns: Arc<AtomicU64>,
}

impl Place {
    pub fn new(gauge: &Arc<Gauge>) -> Place {
        let since_ns = Arc::default();
        lock(&gauge.since_ns).push(Arc::clone(&since_ns));
        Place {
            gauge: Arc::clone(gauge),
            since_ns,
        }
    }

    /// A request is about to be sent at `now_ns`; whether it is the first.
    pub fn enter(&self, now_ns: u64) -> bool {
        self.since_ns.store(now_ns.max(1), Relaxed);
        self.gauge.enter(now_ns)
    }

    pub fn leave(&self) {
        self.since_ns.store(0, Relaxed);
        self.gauge.leave();
    }
}

impl Gauge {
    /// Counts a request that is sent at `now_ns`; returns whether it is the first.
    fn enter(&self, now_ns: u64) -> bool {
        let first = self
            .started_ns
            .compare_exchange(0, now_ns.max(1), Relaxed, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
        first.is_ok()
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    /// The requests in flight that had begun at `now_ns`, and how long they have taken until then, added up.
    pub fn in_flight_at(&self, now_ns: u64) -> (u64, u64) {
        let since_ns = lock(&self.since_ns);
        let since_ns = since_ns.iter().map(|since_ns| since_ns.load(Relaxed));
        let begun = since_ns.filter(|&since_ns| since_ns > 0 && since_ns <= now_ns);
        begun.fold((0, 0), |(n, sum_ns), since_ns| {
            (n + 1, sum_ns + (now_ns - since_ns))
        })
    }

    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Returns the stamp of the first send; 0 if nothing was sent.
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
        assert_eq!(Phase::NAMES.map(|(phase, _)| phase as usize), [0, 1, 2, 3]);
        assert_eq!(Workload::NAMES.map(|(one, _)| one as usize), [0, 1, 2]);
    }

    #[test]
    fn a_burst_has_few_reads_and_takes_no_time_of_its_latency() {
        // Sent at 0, first token at 300 ms, last token `later_us` after it.
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
        // A proxy's buffer that is filled several times: 19 of 100 events begin a read, over 1.9 % of the latency.
        assert!(is_burst(100, 19, 5_800));
        // A fifth of the events, or more than 2 %: a server that sends several tokens a step, or few tokens.
        assert!(!is_burst(100, 20, 9));
        assert!(!is_burst(100, 19, 6_200));
        assert!(!is_burst(5, 1, 0));
        assert!(!is_burst(1, 1, 0));
        assert!(!Sample::default().is_burst());
    }
}
