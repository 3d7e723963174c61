//! The points of a run: each is a pass at one concurrency, at one rate, or by a trace.

use crate::sample::Labels;
use crate::stats::facts::Facts;

/// How a pass schedules its requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Point {
    /// A closed loop with this many requests in flight.
    Concurrency(u64),
    /// An open loop with this many requests a second.
    Rate(f64),
    /// An open loop by the times of a file.
    Trace,
}

impl Point {
    pub fn is_open(&self) -> bool {
        !matches!(self, Point::Concurrency(_))
    }

    /// Returns the title of the pass, for the progress line.
    pub fn title(&self) -> String {
        let facts = Facts {
            concurrency: self.concurrency(),
            rate_per_s: self.rate_per_s(),
            ..Facts::default()
        };
        facts.title()
    }

    /// Returns the name in file names and in conditions.
    pub fn name(&self) -> String {
        match self {
            Point::Concurrency(n) => format!("concurrency_{n}"),
            Point::Rate(rate) => format!("rate_{rate}"),
            Point::Trace => "trace".to_string(),
        }
    }

    pub fn concurrency(&self) -> Option<u64> {
        match self {
            Point::Concurrency(n) => Some(*n),
            Point::Rate(_) | Point::Trace => None,
        }
    }

    pub fn rate_per_s(&self) -> Option<f64> {
        match self {
            Point::Rate(rate) => Some(*rate),
            Point::Concurrency(_) | Point::Trace => None,
        }
    }

    /// Returns the labels that all requests of the point carry.
    pub fn labels(&self) -> Labels {
        Labels {
            concurrency: self.concurrency(),
            rate_per_s: self.rate_per_s(),
            ..Labels::default()
        }
    }
}
