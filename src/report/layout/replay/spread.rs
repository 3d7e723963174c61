//! Figures of a round with a spread over its requests: the guide's times, then the server's metrics.

use crate::report::document::Cell;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::Time;

/// The decimals of times and rates, then those of the server's metrics.
pub const DECIMALS: usize = 2;
pub const METRIC_DECIMALS: usize = 4;

/// A figure of a round with its spread over requests.
pub struct Distribution<'a> {
    pub name: &'a str,
    spread: Option<Spread>,
    decimals: usize,
    /// Whether the readings also cover other requests that were in flight at the time.
    is_shared: bool,
}

impl Distribution<'_> {
    /// Returns TTFT, ITL and latency, then the server's metrics.
    pub fn all(pass: &Pass) -> impl Iterator<Item = Distribution<'_>> {
        let times = [
            ("TTFT (ms)", Time::Ttft),
            ("ITL (ms)", Time::Itl),
            ("Latency (ms)", Time::Latency),
        ];
        let times = times.map(|(name, time)| Distribution::time(name, pass.figures.time(time)));
        times.into_iter().chain(Distribution::metrics(pass))
    }

    /// Returns the same with the time to the first answer token after TTFT, where replies reason before they answer.
    pub fn with_answers(pass: &Pass) -> impl Iterator<Item = Distribution<'_>> {
        let answers = pass.figures.time_to_answer;
        let answers =
            answers.map(|spread| Distribution::time("First answer token (ms)", Some(spread)));
        let mut all = Distribution::all(pass);
        let ttft = all.next();
        ttft.into_iter().chain(answers).chain(all)
    }

    fn time(name: &str, spread: Option<Spread>) -> Distribution<'_> {
        Distribution {
            name,
            spread,
            decimals: DECIMALS,
            is_shared: false,
        }
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

    /// Returns the statistics as cells in the order of the table.
    pub fn cells(&self) -> [Cell; 7] {
        statistics(self.spread).map(|value| Cell::exact(value, self.decimals))
    }

    /// Returns the name, with a mark if the figure is shared with other requests.
    pub fn marked(&self) -> String {
        let mark = if self.is_shared { "*" } else { "" };
        format!("{}{mark}", self.name)
    }

    pub fn n(&self) -> u64 {
        self.spread.map_or(0, |spread| spread.n)
    }
}

/// Returns mean, p50, p90, p99, minimum, maximum and standard deviation; all are absent without a spread.
pub fn statistics(spread: Option<Spread>) -> [Option<f64>; 7] {
    let Some(s) = spread else { return [None; 7] };
    let [avg, p50, p90, p99, min, max] = [s.avg, s.p50, s.p90, s.p99, s.min, s.max].map(Some);
    [avg, p50, p90, p99, min, max, s.stddev]
}
