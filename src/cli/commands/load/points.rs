//! The points of a run: each is a pass at one concurrency, at one rate, or by a trace.

use crate::sample::Labels;
use crate::stats::facts::Facts;

/// A pass: how it schedules its requests, and the number of its run, from 1, if there are several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub way: Way,
    pub run: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// A closed loop with this many requests in flight.
    Concurrency(u64),
    /// An open loop with this many requests a second.
    Rate(f64),
    /// An open loop by the times of a file.
    Trace,
}

impl Point {
    pub fn is_open(&self) -> bool {
        !matches!(self.way, Way::Concurrency(_))
    }

    /// Returns the title of the pass, for the progress line.
    pub fn title(&self) -> String {
        let facts = Facts {
            concurrency: self.concurrency(),
            rate_per_s: self.rate_per_s(),
            run: self.run,
            ..Facts::default()
        };
        facts.title()
    }

    /// Returns the name in file names and in conditions.
    pub fn name(&self) -> String {
        let way = self.way.name();
        match self.run {
            Some(run) => format!("{way}_run_{run}"),
            None => way,
        }
    }

    pub fn concurrency(&self) -> Option<u64> {
        match self.way {
            Way::Concurrency(n) => Some(n),
            Way::Rate(_) | Way::Trace => None,
        }
    }

    pub fn rate_per_s(&self) -> Option<f64> {
        match self.way {
            Way::Rate(rate) => Some(rate),
            Way::Concurrency(_) | Way::Trace => None,
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

impl Way {
    /// Returns the name in file names and in conditions.
    pub fn name(self) -> String {
        match self {
            Way::Concurrency(n) => format!("concurrency_{n}"),
            Way::Rate(rate) => format!("rate_{rate}"),
            Way::Trace => "trace".to_string(),
        }
    }
}
