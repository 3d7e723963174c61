//! The data of charts: distributions, and the requests themselves.

use std::sync::Arc;

use crate::sample::Phase;
use crate::stats::record::Record;

/// The data of a set of charts, in groups such as rounds. A group keeps its colour by its place.
#[derive(Debug, Clone, Default)]
pub struct Charts {
    /// Times to first token, drawn as a distribution and side by side.
    pub ttft: Vec<Series>,
    /// The title of the chart that has the groups side by side.
    pub beside: &'static str,
    /// Times between adjacent token events, their name, and remarks on them.
    pub gaps: Vec<Series>,
    pub gap_name: &'static str,
    pub gap_remarks: Vec<String>,
    /// ITL and latency of requests, drawn as distributions.
    pub itl: Vec<Series>,
    pub latency: Vec<Series>,
    /// The requests that are drawn over time: latency, tokens per second, requests in flight.
    pub requests: Vec<Requests>,
    pub trends: Vec<Trend>,
}

/// A chart of points, with lines that join them in their order, such as the points of a sweep.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    pub title: &'static str,
    /// The labels of the axes, with their units.
    pub x: &'static str,
    pub y: &'static str,
    /// The end of the y axis, which is 100 for shares in percent; `None` if the largest value decides.
    pub y_max: Option<f64>,
    /// Whether the x axis counts things, so that it has whole numbers only.
    pub is_whole: bool,
    /// Lines with their names; the key has the names where there are several lines.
    pub lines: Vec<(String, Vec<Point>)>,
    /// Whether only the points are drawn.
    pub is_scattered: bool,
    /// Limits on the x axis, with their names.
    pub limits: Vec<(f64, String)>,
    /// Limits on the y axis, with names of at most three characters.
    pub levels: Vec<(f64, &'static str)>,
    /// The places of the groups, each with the text that the key has for it.
    pub key: Vec<(usize, String)>,
    pub note: String,
}

/// A point of a trend, with the place of the group that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub group: usize,
}

/// The requests of a group without those of its warm-up: records of a pass, which are shared with it.
#[derive(Debug, Clone)]
pub struct Requests {
    pub name: String,
    pub of_pass: Arc<Vec<Record>>,
    /// Whether the group has a record.
    pub has: fn(&Record) -> bool,
}

impl Requests {
    /// Returns the records in the order of their ends.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let drawn = |record: &&Record| record.phase() != Phase::Warmup && (self.has)(record);
        self.of_pass.iter().filter(drawn)
    }
}

/// The distribution of a figure over a group.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    /// Whether the series is of all groups at once, so that it has no group's colour.
    pub is_whole: bool,
    /// The number of requests that have these values.
    pub requests: u64,
    /// The values in ascending order, each with the number of values up to and including it.
    ranked: Vec<(f64, u64)>,
    /// Whether the values are quantiles at equal steps of others, whose number is not known.
    are_quantiles: bool,
}

impl Series {
    /// Makes a series from values with their counts, ascending: those of a histogram, or each value with a count of 1. Each
    /// value is that of one request.
    pub fn new(name: impl Into<String>, counted: impl IntoIterator<Item = (f64, u64)>) -> Series {
        let mut n = 0;
        let ranked = counted.into_iter().map(|(value, count)| {
            n += count;
            (value, n)
        });
        let ranked: Vec<(f64, u64)> = ranked.collect();
        Series {
            name: name.into(),
            is_whole: false,
            requests: ranked.last().map_or(0, |&(_, n)| n),
            ranked,
            are_quantiles: false,
        }
    }

    /// Makes a series from its quantiles at equal steps from 0 to 1, ascending.
    pub fn of_quantiles(
        name: impl Into<String>,
        quantiles: impl IntoIterator<Item = f64>,
        requests: u64,
    ) -> Series {
        let values = quantiles.into_iter().map(|value| (value, 1));
        Series {
            are_quantiles: true,
            ..Series::new(name, values).of_requests(requests)
        }
    }

    /// Returns the series as one of this many requests, which have several values each.
    pub fn of_requests(self, requests: u64) -> Series {
        Series { requests, ..self }
    }

    /// Returns the series as one of all groups at once.
    pub fn of_all_groups(self) -> Series {
        let is_whole = true;
        Series { is_whole, ..self }
    }

    pub fn n(&self) -> u64 {
        self.ranked.last().map_or(0, |&(_, n)| n)
    }

    /// Returns the number of values; `None` where only their quantiles are known.
    pub fn known(&self) -> Option<u64> {
        (!self.are_quantiles).then(|| self.n())
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
