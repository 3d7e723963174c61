//! What the watchdog saw of this process in a second. Types only.
//!
//! Stamps are nanoseconds from the run's epoch. A figure that no source reports is `None`, never 0.

use serde::Serialize;

/// From one probe's due time to the next: 20 a second.
pub const PROBE_EVERY_NS: u64 = 50_000_000;

/// About a second: longer where the watchdog itself woke late, shorter at the end of a run. The names
/// of the fields are the keys in the samples file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Vitals {
    /// Counters below are those of the time from here to `t_end_ns`.
    pub t_start_ns: u64,
    pub t_end_ns: u64,
    /// When the first of the probes was due; each further one is due `PROBE_EVERY_NS` later.
    pub t_first_probe_ns: u64,
    /// How late each probe woke, whole microseconds.
    pub lags_us: Vec<u32>,
    /// CPU time of all threads of this process, in steps of 10 ms.
    pub cpu_ms: Option<u64>,
    /// CPUs this process may run on, or its cgroups' quota in CPUs where that is less.
    pub cores_allowed: Option<f64>,
    /// Enforcement periods of the quota: those that the cgroup was busy in, and those of them in
    /// which it was stopped.
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
    /// Of the time of the CPUs this process may run on, what the hypervisor gave to others; 0..=1.
    pub steal_share: Option<f64>,
    pub open_files: Option<u64>,
    pub open_files_limit: Option<u64>,
}

impl Vitals {
    /// When each probe was due and how late it woke, both in nanoseconds.
    pub fn probes(&self) -> impl Iterator<Item = (u64, u64)> {
        let due_ns = (0..).map(|k| self.t_first_probe_ns + k * PROBE_EVERY_NS);
        due_ns.zip(self.lags_us.iter().map(|&us| u64::from(us) * 1000))
    }
}
