//! The points of a run: each a pass at one concurrency, at one rate, or of a trace.

use crate::sample::Labels;
use crate::stats::facts::Facts;

/// How requests of a pass come about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Point {
    /// Of a closed loop: requests in flight at once.
    Concurrency(u64),
    /// Of an open loop: requests a second.
    Rate(f64),
    /// Of an open loop: the file says when.
    Trace,
}

impl Point {
    pub fn is_open(&self) -> bool {
        !matches!(self, Point::Concurrency(_))
    }

    /// The title of its pass, for the line of progress.
    pub fn title(&self) -> String {
        let facts = Facts {
            concurrency: self.concurrency(),
            rate_per_s: self.rate_per_s(),
            ..Facts::default()
        };
        facts.title()
    }

    /// In names of files and in conditions.
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

    /// The labels that all requests of the point carry.
    pub fn labels(&self) -> Labels {
        Labels {
            concurrency: self.concurrency(),
            rate_per_s: self.rate_per_s(),
            ..Labels::default()
        }
    }
}
