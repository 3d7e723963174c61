//! The findings of a comparison of two sides, as its result file has them, and how they are made.
//!
//! [`paired`] makes estimates of pairs of requests and [`runs`] of whole runs; [`verdict`] judges both alike.

pub mod interval;
pub mod paired;
mod quantile;
pub mod runs;
pub mod share;
pub mod side;
pub mod verdict;

use serde::Serialize;

use crate::sample::named;

/// Pairs of requests that a comparison sends by default, at least.
pub const DEFAULT_PAIRS: u64 = 2000;
/// The share of failed requests, or of pairs with one, from which on the times of the others tell too little.
const MOST_FAILED: f64 = 0.1;
/// The names of the sides in reasons.
const SIDES: [&str; 2] = ["base", "new"];

named! {
    /// How the new side stands to the base. A side with more errors or fewer cache hits is `Slower` too.
    pub enum Verdict {
        Slower = "slower",
        Same = "same",
        Faster = "faster",
        Unclear = "unclear",
    }
}

named! {
    /// The figures that can be compared.
    pub enum Name {
        TtftMean = "ttft_mean",
        TtftP95 = "ttft_p95",
        ItlMean = "itl_mean",
        LatencyMean = "latency_mean",
        LatencyP95 = "latency_p95",
        OutputThroughput = "output_throughput",
        ErrorRate = "error_rate",
        HitRate = "hit_rate",
    }
}

impl Name {
    /// Whether it is a share of requests or tokens, of which differences are compared and not ratios.
    pub fn is_share(self) -> bool {
        matches!(self, Name::ErrorRate | Name::HitRate)
    }

    /// Whether less is better.
    pub fn is_better_low(self) -> bool {
        !matches!(self, Name::OutputThroughput | Name::HitRate)
    }

    /// Says what replies lack where they do not have a figure.
    pub fn lacking(self) -> &'static str {
        match self {
            Name::TtftMean | Name::TtftP95 => "are not streamed",
            Name::ItlMean => "have no two tokens that came apart",
            Name::OutputThroughput => "have no count of output tokens",
            Name::HitRate => "do not report cached tokens",
            Name::LatencyMean | Name::LatencyP95 | Name::ErrorRate => "have no latency",
        }
    }
}

named! {
    /// The things that are counted as independent.
    pub enum Unit {
        /// Pairs of requests, one to each side in random order.
        Pairs = "pairs",
        /// Whole runs of each side.
        Runs = "runs",
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// The verdict of those that decide: slower if any is, else unclear if any is, else faster if any is, else same. It is
    /// unclear, too, where no figure of speed that was asked for can decide.
    pub verdict: Verdict,
    pub unit: Unit,
    /// A change of less than this share counts as none, 0..1; of a rate of errors or hits it is a difference.
    pub margin: f64,
    pub figures: Vec<Figure>,
    /// The base and the new side.
    pub sides: [Side; 2],
    /// The ways in which the sides differ beside speed, in sentences.
    pub notes: Vec<String>,
    /// Why the comparison ended before its last pair, if it was cut.
    pub stopped: Option<String>,
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub name: Name,
    /// The point of a sweep, such as `concurrency 8`; `None`: there is only one.
    pub point: Option<String>,
    /// Whether it decides the verdict of the whole.
    pub decides: bool,
    /// The values of the sides: milliseconds, tokens per second, or shares 0..=1. Of several runs it is their geometric
    /// mean; of shares it is their mean.
    pub base: Option<f64>,
    pub new: Option<f64>,
    /// New over base; `None` for shares.
    pub ratio: Option<f64>,
    /// New less base, of shares only.
    pub difference: Option<f64>,
    /// The ends of the interval of the ratio, or of the difference of shares.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The confidence of the interval, 0..1: 0.95, or 0.995 where a comparison ended before its last pair.
    pub confidence: Option<f64>,
    pub verdict: Verdict,
    /// Pairs of requests that have the figure, or the runs of the side that has fewer.
    pub pairs: u64,
    /// Pairs, or runs a side, that an answer probably still takes beyond those; `None` where the verdict is clear or
    /// nobody knows.
    pub needed: Option<u64>,
    /// Why the figure is unclear or decides nothing, where numbers do not tell.
    pub why: Option<String>,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Side {
    /// The endpoint as shown to the user, or the names of its files.
    pub name: String,
    pub model: String,
    pub requests: u64,
    pub failed: u64,
    /// Runs; 1 for a live side.
    pub runs: u64,
    /// Means over successes.
    pub prompt_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    /// For the chart: quantiles of the times in milliseconds, at 0, 1, … 100 %. Empty without times.
    pub ttft_ms: Vec<f64>,
    pub itl_ms: Vec<f64>,
    pub latency_ms: Vec<f64>,
}
