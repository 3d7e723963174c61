//! Figures of a round that are spread over its requests: the guide's times, then the server's metrics.

use crate::report::document::Cell;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::Time;

/// Decimals of times and rates, and of the server's metrics.
pub const DECIMALS: usize = 2;
pub const METRIC_DECIMALS: usize = 4;

/// A figure of a round over its requests.
pub struct Distribution<'a> {
    pub name: &'a str,
    spread: Option<Spread>,
    decimals: usize,
    /// Time with other requests is in it.
    is_shared: bool,
}

impl Distribution<'_> {
    /// TTFT, ITL and latency, then the server's metrics.
    pub fn all(pass: &Pass) -> impl Iterator<Item = Distribution<'_>> {
        let times = [
            ("TTFT (ms)", Time::Ttft),
            ("ITL (ms)", Time::Itl),
            ("Latency (ms)", Time::Latency),
        ];
        let times = times.map(|(name, time)| Distribution {
            name,
            spread: pass.figures.time(time),
            decimals: DECIMALS,
            is_shared: false,
        });
        times.into_iter().chain(Distribution::metrics(pass))
    }

    pub fn metrics(pass: &Pass) -> impl Iterator<Item = Distribution<'_>> {
        let metrics = pass.facts.metrics.iter();
        metrics.map(|metric| Distribution {
            name: &metric.name,
            spread: metric.spread,
            decimals: METRIC_DECIMALS,
            is_shared: metric.shared,
        })
    }

    /// The statistics in their order.
    pub fn cells(&self) -> [Cell; 7] {
        statistics(self.spread).map(|value| Cell::exact(value, self.decimals))
    }

    /// The name with a mark of what is shared.
    pub fn marked(&self) -> String {
        let mark = if self.is_shared { "*" } else { "" };
        format!("{}{mark}", self.name)
    }

    pub fn n(&self) -> u64 {
        self.spread.map_or(0, |spread| spread.n)
    }
}

/// Mean, p50, p90, p99, least, most and deviation; all absent without a spread.
pub fn statistics(spread: Option<Spread>) -> [Option<f64>; 7] {
    let Some(s) = spread else { return [None; 7] };
    let [avg, p50, p90, p99, min, max] = [s.avg, s.p50, s.p90, s.p99, s.min, s.max].map(Some);
    [avg, p50, p90, p99, min, max, s.stddev]
}
