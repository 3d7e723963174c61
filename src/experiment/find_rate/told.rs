//! A request that has ended, as the search needs it.

use crate::sample::Phase;
use crate::stats::goodput::Slo;
use crate::stats::record::Record;

/// One request of a probe; stamps are nanoseconds from the run's epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    pub send_ns: u64,
    /// The scheduled time, or the send in a closed loop.
    pub due_ns: u64,
    pub end_ns: u64,
    pub ttft_ns: Option<u64>,
    pub latency_ns: u64,
    pub is_failed: bool,
    pub is_met: bool,
}

impl Told {
    pub fn new(record: &Record, slo: &Slo) -> Told {
        let is_failed = record.failure.is_some() || record.phase() == Phase::Cut;
        Told {
            send_ns: record.t_send_ns,
            due_ns: record.t_due_ns().unwrap_or(record.t_send_ns),
            end_ns: record.t_end_ns(),
            ttft_ns: record.ttft_ns(),
            latency_ns: record.latency_ns(),
            is_failed,
            is_met: !is_failed && slo.is_met(record),
        }
    }

    pub fn latency_s(&self) -> f64 {
        self.latency_ns as f64 / 1e9
    }
}
