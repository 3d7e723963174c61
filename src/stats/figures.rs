//! The figures of a pass, the same for every command: they are worked out from its requests, and reports show them.
//!
//! Absent is `None`. `catalog` says what each figure means.

use std::collections::BTreeMap;

use serde::Serialize;

use super::goodput::Goodput;
use super::kv_cache::Share;
use super::lengths::Lengths;
use super::overload::Overload;
use super::record::Record;
use super::reuse::Reuse;
use super::separation::NoShare;
use super::spread::{Mean, Spread};
use super::steady::Steady;
use super::time::{Reported, Time};
use crate::units::{seconds, share};

/// The figures of the measured requests. Times are over successes, and percentiles are exact where the pass kept its
/// records.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Successes and failures.
    pub requests: u64,
    pub successful: u64,
    pub failed: u64,
    /// Requests in flight at the end, including those without a sample.
    pub cut: u64,
    /// Requests of the warm-up, which are in no other figure.
    pub warmup: u64,
    /// Successes whose reply was not streamed: they have no TTFT and no ITL.
    pub not_streamed: u64,
    pub stale_connections: u64,
    /// Successes whose tokens came in a burst: they have no ITL and no decode rate.
    pub bursts: u64,
    /// Successes whose server kept some output tokens to itself: their ITL and decode rate are over the streamed
    /// tokens.
    pub partly_streamed: u64,
    /// The number of events of successes that could not be read, and the first of them.
    pub unread: Option<(u64, String)>,
    /// Successes with an impossible token count, which is left out.
    pub impossible_counts: u64,
    /// The lengths of successes compared with those that were wanted.
    pub lengths: Lengths,
    /// The length of the window of the pass, or else last `t_end` − first `t_send`; 0 without requests.
    pub duration_s: f64,
    pub means: Means,
    pub prompt_tokens: Tokens,
    pub output_tokens: Tokens,
    pub wanted_output_tokens_mean: Option<f64>,
    /// Output tokens per second; `None` where no reply has a count.
    pub token_throughput: Option<f64>,
    /// Successes per second.
    pub request_throughput: Option<f64>,
    /// The rates in the steady window; `None` if there is none, in an open loop, and without records.
    pub steady: Option<Steady>,
    /// The token-weighted decode rate: Σ (n − 1) / Σ (t_last − t_first), where n is the number of output tokens that
    /// were streamed.
    pub decode_tokens_per_s_weighted: Option<f64>,
    /// Mean of `(t_last − t_send) / n_out` in milliseconds, the first token included.
    pub tpot_with_first_ms: Option<f64>,
    /// Mean of `n_out / (t_last − t_send)` in tokens per second.
    pub request_tokens_per_s: Option<f64>,
    /// The spread of every time in milliseconds, at the index `Time as usize`.
    pub times: [Option<Spread>; Time::NAMES.len()],
    /// The spread of the times to the first answer token, in milliseconds; `None` if no reply has had reasoning before
    /// its answer.
    pub time_to_answer: Option<Spread>,
    /// The spread of the times between adjacent token events, in milliseconds.
    pub gap: Option<Spread>,
    /// Whether there are at least nine tenths as many events as tokens, so that gaps are between tokens and not chunks.
    pub gaps_are_tokens: bool,
    pub gaps_in_one_read_share: Option<f64>,
    pub all: Side,
    /// The successes of the first rotation, then those of all later ones.
    pub cold: Side,
    pub warm: Side,
    /// The ratio of the TTFT of cold requests to that of warm ones, at like load.
    pub reuse: Reuse,
    /// Cached tokens over the prompt tokens of warm requests, both without the tokens that all prompts have in common
    /// before their texts; `None` where no reply counts its prompt.
    pub warm_hits: Option<Share>,
    /// The share of the warm requests that hit, estimated from their times by controls, or why there is none; `None`
    /// without controls for it.
    pub hits_by_times: Option<Result<Share, NoShare>>,
    /// Requests sent in the first rotation and in later ones without those of the warm-up, whatever became of them.
    pub rotations_sent: [u64; 2],
    /// The successes that are first turns of sessions.
    pub first_turns: Side,
    /// The prefix cache hit rate of first turns alone; `None` where no session has a second turn.
    pub first_turn_hit_rate: Option<f64>,
    /// Whether the replies of this pass or of earlier ones have reported cache hits.
    pub reported: Reported,
    /// Successes that were cached as a whole, over successes; `None` if no reply says whether it was.
    pub response_cache_hit_rate: Option<f64>,
    /// The goodput; `None` without an SLO.
    pub goodput: Option<Goodput>,
    pub concurrency_mean: Option<f64>,
    /// The time of connection set-up as a share of all TTFT, 0..=1.
    pub connect_share: Option<f64>,
    pub is_open: bool,
    /// The scheduled rate `(n − 1) / (last due − first due)` of the requests that were sent; `None` for fewer than two.
    pub scheduled_per_s: Option<f64>,
    /// The achieved rate `(n − 1) / (last send − first send)`; `None` for fewer than two requests.
    pub achieved_per_s: Option<f64>,
    /// Whether an open loop ran away; `None` in a closed loop, with too few requests, and without records.
    pub overload: Option<Overload>,
    pub failures: Failures,
    /// The number of successes by the source of their count of output tokens.
    pub token_sources: BTreeMap<&'static str, u64>,
}

/// Means over successes, of a whole pass or of one interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Means {
    pub requests: u64,
    pub ttft_ms: Mean,
    pub itl_ms: Mean,
    pub prefill_tokens_per_s: Mean,
    pub decode_tokens_per_s: Mean,
}

impl Means {
    pub fn add(&mut self, good: &Record) {
        self.requests += 1;
        let ttft_ms = good.ttft_ns().map(|ns| ns as f64 / 1e6);
        let figures = [
            (&mut self.ttft_ms, ttft_ms),
            (&mut self.itl_ms, good.itl_ns().map(|ns| ns / 1e6)),
            (&mut self.prefill_tokens_per_s, good.prefill_tokens_per_s()),
            (&mut self.decode_tokens_per_s, good.decode_tokens_per_s()),
        ];
        for (mean, value) in figures {
            value.into_iter().for_each(|value| mean.add(value));
        }
    }
}

/// Failures by the name of their kind.
pub type Failures = BTreeMap<&'static str, FailureCount>;

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    pub count: u64,
    /// HTTP status and reason of the first failure of this kind.
    pub status: Option<u16>,
    pub example: String,
}

/// Token counts of the requests that have one; `None` if no request has one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tokens {
    /// The number of requests that have a count.
    pub n: u64,
    pub total: Option<u64>,
}

impl Tokens {
    /// Adds the count of a request, if it has one.
    pub fn add(&mut self, tokens: Option<u64>) {
        if let Some(tokens) = tokens {
            self.n += 1;
            self.total = Some(self.total.unwrap_or(0) + tokens);
        }
    }

    /// Returns the mean over the requests that have a count; `None` if none has.
    pub fn mean(&self) -> Option<f64> {
        share(self.total?, self.n)
    }
}

/// The figures of a part of the successes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Side {
    pub requests: u64,
    /// Σ cached / Σ prompt tokens; `None` if no reply of the run has reported cached tokens.
    pub prefix_cache_hit_rate: Option<f64>,
    /// The hit rate without the tokens that all prompts begin with before their own text, such as those of a chat
    /// template.
    pub text_hit_rate: Option<f64>,
}

impl Figures {
    /// Adds the output tokens of requests that cross the edges of the window.
    pub fn with_edge_tokens(mut self, window_ns: (u64, u64), tokens: f64) -> Figures {
        let duration_s = seconds(window_ns.1.saturating_sub(window_ns.0));
        if duration_s > 0.0 && (tokens > 0.0 || self.token_throughput.is_some()) {
            let at_edges = tokens / duration_s;
            self.token_throughput = Some(self.token_throughput.unwrap_or(0.0) + at_edges);
        }
        self
    }

    pub fn time(&self, time: Time) -> Option<Spread> {
        self.times[time as usize]
    }

    /// Returns the name of the gaps, which are between tokens or between chunks of several tokens.
    pub fn gap_name(&self) -> &'static str {
        match self.gaps_are_tokens {
            true => "token gap",
            false => "chunk gap",
        }
    }

    /// Returns failures over successes and failures; `None` if there were neither.
    pub fn error_rate(&self) -> Option<f64> {
        share(self.failed, self.requests)
    }

    /// Whether it was an open loop that ran away.
    pub fn is_overloaded(&self) -> bool {
        self.overload.is_some_and(|of| of.is_overloaded())
    }

    /// Whether there were replies and none of them was streamed.
    pub fn is_not_streamed(&self) -> bool {
        self.successful > 0 && self.not_streamed == self.successful
    }
}
