//! The findings of a search for the highest rate under an SLO, as its result file has them.

use serde::Serialize;

use crate::sample::named;

named! {
    /// Whether the rate was verified.
    pub enum Status {
        Confirmed = "confirmed",
        Unresolved = "unresolved",
    }
}

named! {
    /// How the requests of a probe were sent.
    pub enum Kind {
        /// A number of requests in flight.
        Closed = "closed",
        /// A rate.
        Open = "open",
        /// A rate, once more and for longer, with other prompts.
        Verify = "verify",
    }
}

named! {
    /// How a probe ended.
    pub enum Outcome {
        /// The interval of the attainment is above the target; in a verification the attainment itself is not below it.
        Pass = "pass",
        /// The interval of the attainment is below the target; in a verification the attainment itself is.
        Fail = "fail",
        /// The server fell behind: more requests came than it ended.
        Overload = "overload",
        /// The interval of the attainment holds the target. The search goes by all probes together, so that most of them
        /// can be short.
        Unclear = "unclear",
        /// A rung of the ladder whose throughput counts.
        Counted = "counted",
        /// A rung whose requests in flight, throughput and latency contradict each other.
        Unsteady = "unsteady",
    }
}

/// The result of a search.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    pub status: Status,
    /// Why it is unresolved, in words.
    pub why: Option<String>,
    /// The rate that was verified, or the likeliest one where none was, and the ends of the 95 % interval of the highest
    /// rate, by all probes together; `None` if no probe at a rate was made.
    pub rate_per_s: Option<f64>,
    pub low_per_s: Option<f64>,
    pub high_per_s: Option<f64>,
    /// The highest throughput of the closed loop.
    pub x_max_per_s: Option<f64>,
    /// The highest rate of a probe that passed, and the lowest of one that failed or was an overload.
    pub last_pass_per_s: Option<f64>,
    pub first_fail_per_s: Option<f64>,
    pub cliff: Option<Cliff>,
    /// Whether the most requests that the client has in flight, not the server, may have limited the rate.
    pub is_client_limited: bool,
    /// The share of requests that must meet the SLO, 0..1.
    pub target: f64,
    /// In the order in which they were made.
    pub probes: Vec<Probe>,
    /// Requests that were sent in all.
    pub requests: u64,
    /// How long the search took, from the clock of its caller.
    pub seconds: f64,
}

/// Neighbouring rates, at most 10 % apart, between which the attainment falls by more than 20 points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cliff {
    pub from_per_s: f64,
    pub to_per_s: f64,
    pub attainment_from: f64,
    pub attainment_to: f64,
}

/// Requests sent at one concurrency or rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    pub kind: Kind,
    pub concurrency: Option<u64>,
    pub rate_per_s: Option<f64>,
    /// Requests that were judged: those between the warm-up and the ones that were sent while these were in flight.
    pub requests: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// The share of the judged requests that met the SLO, 0..=1, and its 95 % interval.
    pub attainment: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub outcome: Outcome,
    /// Successes per second.
    pub throughput_per_s: Option<f64>,
    pub ttft_p50_ms: Option<f64>,
    pub ttft_p99_ms: Option<f64>,
    pub latency_mean_ms: Option<f64>,
}
