//! Whether this client kept up with the load: a summary of the watchdog's seconds, and the verdict.

use super::spread::{Histogram, Mean, Spread};
use crate::sample::named;
use crate::units::seconds;
use crate::vitals::Vitals;

/// The p99 of the wake-up lag in milliseconds above which the figures contain the client's own delays.
pub const LAG_LIMIT_MS: f64 = 5.0;
/// The wake-up lag in milliseconds that no single probe may exceed: this process stood still, and with it every request
/// in flight.
pub const LAG_MAX_LIMIT_MS: f64 = 250.0;
/// A second in which the process used more than this share of the allowed CPU time counts as over the limit.
pub const CPU_LIMIT_SHARE: f64 = 0.9;
/// How many in a hundred seconds over the CPU limit, or throttled periods, do not make the client limited yet.
const TOLERATED_IN_100: u64 = 1;
/// Seconds shorter than this have no CPU share, because CPU time is counted in steps of 10 ms.
const WHOLE_SECOND_NS: u64 = 500_000_000;

named! {
    /// The reasons why a client is limited.
    pub enum Limit {
        Lag = "lag",
        LagMax = "lag_max",
        Cpu = "cpu",
        Throttled = "throttled",
    }
}

/// The watchdog's findings in the measured time, and whether the figures can be trusted. Shares are
/// 0..=1; times of events are seconds since the first request was sent.
#[derive(Debug, Clone, Default)]
pub struct ClientSummary {
    /// Whether the client was limited; `None` if the run was too short for a probe.
    pub limited: Option<bool>,
    pub reasons: Vec<Limit>,
    /// The mock server runs in this process, so its CPU time is counted too.
    pub mock_in_process: bool,
    /// How late the probes woke up, in milliseconds; its `n` is the number of probes.
    pub lag: Option<Spread>,
    pub lag_max_at_s: Option<f64>,
    /// The number of cores that this process may use, by the last reading.
    pub cores_allowed: Option<f64>,
    /// CPU time as a share of the allowed CPU time, over whole seconds.
    pub cpu_share_mean: Option<f64>,
    pub cpu_share_max: Option<f64>,
    pub cpu_share_max_at_s: Option<f64>,
    /// Whole seconds whose CPU share is known, and those of them above `CPU_LIMIT_SHARE`.
    pub seconds_watched: u64,
    pub seconds_over_cpu_limit: u64,
    pub first_over_cpu_limit_at_s: Option<f64>,
    /// Enforcement periods of the cgroup's CPU quota; `None` if no cgroup counts them.
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
    pub first_throttled_at_s: Option<f64>,
    /// The share of the allowed CPUs' time that the hypervisor gave to other guests, over whole seconds.
    pub steal_share_mean: Option<f64>,
    pub steal_share_max: Option<f64>,
    pub open_files_max: Option<u64>,
    pub open_files_limit: Option<u64>,
    /// CPU time of this process since the first send, in steps of 10 ms; `None` if the time of some second is not
    /// known.
    pub cpu_ms: Option<u64>,
}

/// Adds up the watchdog's seconds in constant memory.
#[derive(Debug, Default)]
pub struct ClientStats {
    /// The counts and readings that go into the summary unchanged.
    seen: ClientSummary,
    cpu_ms: u64,
    cpu_unknown: bool,
    lag: Histogram,
    lag_max: Peak,
    cpu_share: Mean,
    cpu_share_max: Peak,
    first_over_ns: Option<u64>,
    first_throttled_ns: Option<u64>,
    steal_share: Mean,
    steal_share_max: Peak,
}

/// The largest value so far and the stamp at which it was first seen.
#[derive(Debug, Default)]
struct Peak(Option<(f64, u64)>);

impl Peak {
    fn add(&mut self, value: f64, stamp_ns: u64) {
        if self.0.is_none_or(|(max, _)| value > max) {
            self.0 = Some((value, stamp_ns));
        }
    }

    fn value(&self) -> Option<f64> {
        self.0.map(|(value, _)| value)
    }

    fn stamp_ns(&self) -> Option<u64> {
        self.0.map(|(_, stamp_ns)| stamp_ns)
    }
}

impl ClientStats {
    /// Adds a second. Probes due before `measured_ns` are left out, and so are the counters of a
    /// second that began before it: opening connections and warming up are not measured.
    pub fn add(&mut self, vitals: &Vitals, measured_ns: u64) {
        for (due_ns, lag_ns) in vitals.probes().filter(|&(due_ns, _)| due_ns >= measured_ns) {
            self.lag.add_ns(lag_ns as f64);
            self.lag_max.add(seconds(lag_ns), due_ns);
        }
        self.cpu_ms += vitals.cpu_ms.unwrap_or(0);
        self.cpu_unknown |= vitals.cpu_ms.is_none();
        let seen = &mut self.seen;
        seen.cores_allowed = vitals.cores_allowed.or(seen.cores_allowed);
        seen.open_files_max = seen.open_files_max.max(vitals.open_files);
        seen.open_files_limit = vitals.open_files_limit.or(seen.open_files_limit);
        if vitals.t_start_ns >= measured_ns {
            self.add_counters(vitals);
        }
    }

    fn add_counters(&mut self, vitals: &Vitals) {
        let (seen, start_ns) = (&mut self.seen, vitals.t_start_ns);
        let both = vitals.periods.zip(vitals.throttled_periods);
        if let Some((periods, throttled)) = both {
            *seen.periods.get_or_insert(0) += periods;
            *seen.throttled_periods.get_or_insert(0) += throttled;
            if throttled > 0 {
                self.first_throttled_ns.get_or_insert(start_ns);
            }
        }
        let length_ns = vitals.t_end_ns.saturating_sub(start_ns);
        if length_ns < WHOLE_SECOND_NS {
            return;
        }
        if let Some((cpu_ms, cores)) = vitals.cpu_ms.zip(vitals.cores_allowed) {
            let share = cpu_ms as f64 / 1e3 / (seconds(length_ns) * cores);
            seen.seconds_watched += 1;
            self.cpu_share.add(share);
            self.cpu_share_max.add(share, start_ns);
            if share > CPU_LIMIT_SHARE {
                seen.seconds_over_cpu_limit += 1;
                self.first_over_ns.get_or_insert(start_ns);
            }
        }
        if let Some(share) = vitals.steal_share {
            self.steal_share.add(share);
            self.steal_share_max.add(share, start_ns);
        }
    }

    /// Returns the summary so far. `started_ns` is the stamp of the first send.
    pub fn summary(&self, started_ns: u64, mock_in_process: bool) -> ClientSummary {
        let since_start =
            |stamp_ns: Option<u64>| stamp_ns.map(|ns| seconds(ns.saturating_sub(started_ns)));
        let lag = self.lag.spread();
        let reasons = self.reasons(lag);
        ClientSummary {
            limited: lag.map(|_| !reasons.is_empty()),
            reasons,
            mock_in_process,
            lag,
            lag_max_at_s: since_start(self.lag_max.stamp_ns()),
            cpu_share_mean: self.cpu_share.get(),
            cpu_share_max: self.cpu_share_max.value(),
            cpu_share_max_at_s: since_start(self.cpu_share_max.stamp_ns()),
            first_over_cpu_limit_at_s: since_start(self.first_over_ns),
            first_throttled_at_s: since_start(self.first_throttled_ns),
            steal_share_mean: self.steal_share.get(),
            steal_share_max: self.steal_share_max.value(),
            cpu_ms: (!self.cpu_unknown).then_some(self.cpu_ms),
            ..self.seen.clone()
        }
    }

    fn reasons(&self, lag: Option<Spread>) -> Vec<Limit> {
        let too_many = |part: u64, all: u64| part * 100 > all * TOLERATED_IN_100;
        let seen = &self.seen;
        let busy = too_many(seen.seconds_over_cpu_limit, seen.seconds_watched);
        let counts = seen.throttled_periods.zip(seen.periods);
        let rules = [
            (Limit::Lag, lag.is_some_and(|lag| lag.p99 > LAG_LIMIT_MS)),
            (
                Limit::LagMax,
                lag.is_some_and(|lag| lag.max > LAG_MAX_LIMIT_MS),
            ),
            (Limit::Cpu, busy),
            (
                Limit::Throttled,
                counts.is_some_and(|(part, all)| too_many(part, all)),
            ),
        ];
        let broken = rules.into_iter().filter(|&(_, broken)| broken);
        broken.map(|(limit, _)| limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Returns second `k` of a run on two cores: 20 probes 0.1 ms late, 20 % of the CPU, 10 periods.
    fn second(k: u64) -> Vitals {
        Vitals {
            t_start_ns: k * 1000 * MS,
            t_end_ns: (k + 1) * 1000 * MS,
            t_first_probe_ns: k * 1000 * MS,
            lags_us: vec![100; 20],
            cpu_ms: Some(400),
            cores_allowed: Some(2.0),
            periods: Some(10),
            throttled_periods: Some(0),
            steal_share: Some(0.0),
            open_files: Some(30 + k),
            open_files_limit: Some(1024),
        }
    }

    /// Returns the summary of a run of quiet seconds, each altered by `change`.
    fn run(seconds: u64, change: impl Fn(u64, &mut Vitals)) -> ClientSummary {
        let mut stats = ClientStats::default();
        for k in 0..seconds {
            let mut vitals = second(k);
            change(k, &mut vitals);
            stats.add(&vitals, 0);
        }
        stats.summary(0, false)
    }

    #[test]
    fn a_quiet_run_is_not_limited_and_its_figures_are_those_worked_by_hand() {
        let quiet = run(3, |k, vitals| {
            // The CPU shares are 0.2, 0.4 and 0.2 of two cores.
            vitals.cpu_ms = Some(if k == 1 { 800 } else { 400 });
            vitals.steal_share = Some(if k == 2 { 0.12 } else { 0.0 });
        });
        assert_eq!((quiet.limited, quiet.reasons), (Some(false), vec![]));
        assert_eq!(quiet.lag.expect("lag").n, 60);
        assert!((quiet.cpu_share_mean.expect("mean") - 0.8 / 3.0).abs() < 1e-9);
        assert_eq!(
            (quiet.cpu_share_max, quiet.cpu_share_max_at_s),
            (Some(0.4), Some(1.0))
        );
        assert_eq!(
            (quiet.periods, quiet.throttled_periods),
            (Some(30), Some(0))
        );
        assert!((quiet.steal_share_mean.expect("mean") - 0.04).abs() < 1e-9);
        assert_eq!(quiet.steal_share_max, Some(0.12));
        assert_eq!(
            (quiet.open_files_max, quiet.open_files_limit),
            (Some(32), Some(1024))
        );
        assert_eq!(quiet.first_throttled_at_s, None);
    }

    #[test]
    fn a_lag_p99_over_5_ms_is_a_limit_and_the_worst_lag_has_its_time() {
        // With 100 probes p99 is the 99th in order, so one late probe is tolerated and two are not.
        let late = |late: usize, lag_us: u32| {
            run(5, move |k, vitals| {
                if k == 2 {
                    vitals.lags_us[..late].fill(lag_us);
                }
            })
        };
        assert_eq!(late(1, 31_000).reasons, []);
        assert_eq!(late(2, 5_000).reasons, [], "5 ms are not over 5 ms");
        let limited = late(2, 31_000);
        assert_eq!(
            (limited.limited, limited.reasons),
            (Some(true), vec![Limit::Lag])
        );
        assert_eq!(limited.lag.expect("lag").max, 31.0);
        assert_eq!(limited.lag_max_at_s, Some(2.0));
    }

    #[test]
    fn one_stop_in_a_long_run_is_a_limit_and_says_when_it_was() {
        // A run of 300 s has 6,000 probes. A stop of 2 s makes 40 of them late, too few to raise p99.
        let stopped = |lag_us: u32| {
            run(300, move |k, vitals| {
                if k == 120 {
                    for (late, lag) in vitals.lags_us.iter_mut().enumerate() {
                        *lag = lag_us.saturating_sub(50_000 * late as u32).max(100);
                    }
                }
            })
        };
        let limited = stopped(2_000_000);
        assert!(limited.lag.is_some_and(|lag| lag.p99 < 5.0));
        assert_eq!(limited.reasons, [Limit::LagMax]);
        assert_eq!(limited.limited, Some(true));
        assert_eq!(limited.lag_max_at_s, Some(120.0));
        assert_eq!(stopped(250_000).reasons, [], "250 ms are not over 250 ms");
    }

    #[test]
    fn cpu_is_a_limit_when_more_than_one_second_in_a_hundred_is_over() {
        // On 2 cores 1.81 s of CPU time in a second are 90.5 %, and 1.8 s are 90 %.
        let over = |seconds: u64, over: u64, cpu_ms: u64| {
            run(seconds, move |k, vitals| {
                if (3..3 + over).contains(&k) {
                    vitals.cpu_ms = Some(cpu_ms);
                }
            })
        };
        assert_eq!(over(100, 1, 1810).reasons, [], "1 of 100");
        assert_eq!(over(20, 4, 1800).reasons, [], "not over");
        assert_eq!(over(100, 2, 1810).reasons, [Limit::Cpu]);
        let limited = over(20, 4, 1810);
        assert_eq!(limited.reasons, [Limit::Cpu]);
        assert_eq!(
            (limited.seconds_over_cpu_limit, limited.seconds_watched),
            (4, 20)
        );
        assert_eq!(limited.first_over_cpu_limit_at_s, Some(3.0));
    }

    #[test]
    fn a_short_second_has_no_cpu_share() {
        let summary = run(3, |k, vitals| {
            if k == 2 {
                vitals.t_end_ns = vitals.t_start_ns + 499 * MS;
                vitals.cpu_ms = Some(998);
            }
        });
        assert_eq!((summary.reasons, summary.seconds_watched), (vec![], 2));
        // A long second is measured by its length: 1.81 s of CPU time in 2 s of 2 cores are 45 %.
        let stalled = run(1, |_, vitals| {
            vitals.t_end_ns = 2000 * MS;
            vitals.cpu_ms = Some(1810);
        });
        assert_eq!(stalled.cpu_share_max, Some(0.4525));
    }

    #[test]
    fn throttling_is_a_limit_when_more_than_one_period_in_a_hundred_is_throttled() {
        let throttled = |n: u64| {
            run(20, move |k, vitals| {
                vitals.throttled_periods = Some(if k == 2 { n } else { 0 });
            })
        };
        assert_eq!(throttled(2).reasons, [], "2 of 200");
        let limited = throttled(3);
        assert_eq!(limited.reasons, [Limit::Throttled]);
        assert_eq!(
            (limited.throttled_periods, limited.periods),
            (Some(3), Some(200))
        );
        assert_eq!(limited.first_throttled_at_s, Some(2.0));
    }

    #[test]
    fn probes_and_counters_before_the_measured_time_are_left_out() {
        let mut stats = ClientStats::default();
        // The measured time begins at 0.5 s: 10 probes of the first second count, and none of its counters.
        let busy = Vitals {
            lags_us: [vec![9000; 10], vec![100; 10]].concat(),
            cpu_ms: Some(2000),
            throttled_periods: Some(10),
            steal_share: Some(1.0),
            ..second(0)
        };
        stats.add(&busy, 500 * MS);
        stats.add(&second(1), 500 * MS);
        let summary = stats.summary(400 * MS, true);
        assert_eq!(
            (summary.limited, summary.mock_in_process),
            (Some(false), true)
        );
        assert_eq!(summary.lag.expect("lag").n, 30);
        assert_eq!((summary.seconds_watched, summary.periods), (1, Some(10)));
        assert_eq!(summary.steal_share_max, Some(0.0));
        // The second began at 1 s, the first request was sent at 0.4 s.
        assert_eq!(summary.cpu_share_max_at_s, Some(0.6));
    }

    #[test]
    fn a_reading_without_a_source_is_absent_and_a_run_without_a_probe_has_no_verdict() {
        let blind = run(2, |_, vitals| {
            *vitals = Vitals {
                t_start_ns: vitals.t_start_ns,
                t_end_ns: vitals.t_end_ns,
                t_first_probe_ns: vitals.t_first_probe_ns,
                lags_us: vec![100],
                ..Vitals::default()
            };
        });
        assert_eq!(blind.limited, Some(false));
        assert_eq!((blind.cores_allowed, blind.cpu_share_max), (None, None));
        assert_eq!((blind.periods, blind.steal_share_max), (None, None));
        assert_eq!(blind.open_files_max, None);
        let unwatched = ClientStats::default().summary(0, false);
        assert_eq!((unwatched.limited, unwatched.lag), (None, None));
    }
}
