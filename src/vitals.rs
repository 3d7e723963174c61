//! The watchdog's observations of this process in one second. Types only.
//!
//! Stamps are nanoseconds from the run's epoch. A figure that no source reports is `None`, never 0.

use serde::Serialize;

/// Nanoseconds between the due times of two probes: 20 probes a second.
pub const PROBE_EVERY_NS: u64 = 50_000_000;

/// The figures of about one second: longer if the watchdog itself woke late, shorter at the end of a run. The fields'
/// names are the keys in the samples file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Vitals {
    /// The start of the span that all counters cover; it ends at `t_end_ns`.
    pub t_start_ns: u64,
    pub t_end_ns: u64,
    /// The due time of the first probe; each further one is due `PROBE_EVERY_NS` later.
    pub t_first_probe_ns: u64,
    /// How late each probe woke, in whole microseconds.
    pub lags_us: Vec<u32>,
    /// CPU time of all threads of this process, in steps of 10 ms.
    pub cpu_ms: Option<u64>,
    /// CPUs that this process may use, or the quota of its cgroups in CPUs if that is less.
    pub cores_allowed: Option<f64>,
    /// Enforcement periods of the CPU quota in which the cgroup was busy, and those of them in which it was throttled.
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
    /// Share of the time of this process's allowed CPUs that the hypervisor gave to others; 0..=1.
    pub steal_share: Option<f64>,
    pub open_files: Option<u64>,
    pub open_files_limit: Option<u64>,
}

impl Vitals {
    /// Returns when each probe was due and how late it woke, both in nanoseconds.
    pub fn probes(&self) -> impl Iterator<Item = (u64, u64)> {
        let due_ns = (0..).map(|k| self.t_first_probe_ns + k * PROBE_EVERY_NS);
        due_ns.zip(self.lags_us.iter().map(|&us| u64::from(us) * 1000))
    }
}
