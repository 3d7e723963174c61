//! The figures of a run, as every report shows them: the waist between statistics and reports.
//!
//! Absent is `None`. The names of the fields are the keys of the JSON result.

use std::collections::BTreeMap;

use serde::Serialize;

use super::client::ClientSummary;
use super::quantile::Quantiles;

/// Times and gauges that samples do not carry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// When the first request was sent, from the run's epoch.
    pub started_ns: u64,
    /// When the warm-up was over.
    pub measured_ns: u64,
    pub now_ns: u64,
    pub in_flight: u64,
    pub peak: u64,
    /// The mock server is a part of this process.
    pub mock_in_process: bool,
}

/// The figures of a run, as every report shows them. Absent is `None`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub elapsed_s: f64,
    /// Successes over elapsed time.
    pub qps: Option<f64>,
    pub averages: Averages,
    pub output_tokens_per_s: Option<f64>,
    /// Σ (n_out − 1) / Σ (t_last − t_first).
    pub decode_tokens_per_s_weighted: Option<f64>,
    pub ttft: Option<Quantiles>,
    pub itl: Option<Quantiles>,
    /// Between adjacent token events.
    pub gap: Option<Quantiles>,
    /// Events are at least nine tenths of the tokens, so a gap is one of tokens, not of chunks.
    pub gaps_are_tokens: bool,
    pub gaps_in_one_read_share: Option<f64>,
    pub first_rotation: RotationSummary,
    pub later_rotations: RotationSummary,
    /// Σ cached / Σ prompt tokens; `None`: no reply reported cached tokens.
    pub prefix_cache_hit_rate: Option<f64>,
    /// These five over the requests whose tokens somebody counted; `None`: nobody did.
    pub prompt_tokens_mean: Option<f64>,
    pub output_tokens_mean: Option<f64>,
    pub output_tokens_wanted_mean: Option<f64>,
    pub prompt_tokens_total: Option<u64>,
    pub output_tokens_total: Option<u64>,
    /// Requests by where their output tokens were counted.
    pub token_sources: BTreeMap<&'static str, u64>,
    pub concurrency_mean: Option<f64>,
    pub concurrency_peak: u64,
    pub in_flight: u64,
    pub failed: u64,
    pub failures: BTreeMap<&'static str, FailureCount>,
    pub requests_cut: u64,
    pub requests_in_warmup: u64,
    /// Connection set-up as a share of all TTFT.
    pub connect_share: Option<f64>,
    pub stale_connections: u64,
    /// Successes whose reply was no stream: they have no TTFT and no ITL.
    pub requests_not_streamed: u64,
    /// Whether this client kept up.
    pub client: ClientSummary,
}

impl Summary {
    /// Of a run that is over: what is still in flight was cut, and is not back in time.
    pub fn ended(mut self) -> Summary {
        self.requests_cut += std::mem::take(&mut self.in_flight);
        self
    }
}

/// One side of cold against warm.
#[derive(Debug, Clone, Serialize)]
pub struct RotationSummary {
    pub requests: u64,
    pub ttft_mean_s: Option<f64>,
    pub ttft: Option<Quantiles>,
    pub prefix_cache_hit_rate: Option<f64>,
}

/// The guides' averages; absent where no request has the figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Averages {
    pub requests: u64,
    pub ttft_s: Option<f64>,
    pub itl_s: Option<f64>,
    pub prefill_tokens_per_s: Option<f64>,
    pub decode_tokens_per_s: Option<f64>,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    pub count: u64,
    /// Of the first one: HTTP status and reason.
    pub status: Option<u16>,
    pub example: String,
}
