//! The points of a run: each a pass at one concurrency, at one rate, or of a trace.

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

    /// The option that asks for it, and its value.
    pub fn option(&self) -> (&'static str, String) {
        match self {
            Point::Concurrency(n) => ("--concurrency", n.to_string()),
            Point::Rate(rate) => ("--rate", rate.to_string()),
            Point::Trace => ("--trace", String::new()),
        }
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
}
