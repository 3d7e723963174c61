//! The data of charts: distributions, and the requests themselves.

use crate::stats::record::Record;

/// The data of a set of charts, in groups such as rounds. A group keeps its colour by its place.
#[derive(Debug, Clone, Default)]
pub struct Charts {
    /// Times to first token, drawn as a distribution and side by side.
    pub ttft: Vec<Series>,
    /// The title of the chart that has the groups side by side.
    pub beside: &'static str,
    /// Times between adjacent token events.
    pub gaps: Vec<Series>,
    /// The requests that are drawn over time: latency, tokens per second, requests in flight.
    pub requests: Vec<Requests>,
}

/// The requests of a group without those of its warm-up, in the order of their ends.
#[derive(Debug, Clone)]
pub struct Requests {
    pub name: String,
    pub records: Vec<Record>,
}

/// The distribution of a figure over a group.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    /// The values in ascending order, each with the number of values up to and including it.
    ranked: Vec<(f64, u64)>,
}

impl Series {
    /// Makes a series from values with their counts, ascending: those of a histogram, or each value with a count of 1.
    pub fn new(name: impl Into<String>, counted: impl IntoIterator<Item = (f64, u64)>) -> Series {
        let mut n = 0;
        let ranked = counted.into_iter().map(|(value, count)| {
            n += count;
            (value, n)
        });
        Series {
            name: name.into(),
            ranked: ranked.collect(),
        }
    }

    pub fn n(&self) -> u64 {
        self.ranked.last().map_or(0, |&(_, n)| n)
    }

    /// Returns each value with its count.
    pub fn counted(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut before = 0;
        self.ranked.iter().map(move |&(value, n)| {
            let count = n - before;
            before = n;
            (value, count)
        })
    }

    /// Returns the quantile `q` (0..=1) by linear interpolation between the closest ranks; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.n().checked_sub(1)? as f64;
        let value = |rank: f64| {
            let at = self.ranked.partition_point(|&(_, n)| n <= rank as u64);
            self.ranked[at].0
        };
        let (below, above) = (value(rank.floor()), value(rank.ceil()));
        Some(below + (above - below) * rank.fract())
    }

    pub fn count_up_to(&self, value: f64) -> u64 {
        let at = self.ranked.partition_point(|&(other, _)| other <= value);
        at.checked_sub(1).map_or(0, |last| self.ranked[last].1)
    }

    /// Returns the rank of a value, from 0, by the same interpolation as `quantile`; `None` outside the values.
    pub fn rank_of(&self, value: f64) -> Option<f64> {
        let at = self.ranked.partition_point(|&(other, _)| other <= value);
        let &(above, _) = self.ranked.get(at)?;
        let (below, n) = self.ranked[at.checked_sub(1)?];
        Some((n - 1) as f64 + (value - below) / (above - below))
    }
}
