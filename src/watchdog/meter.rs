//! Reads the kernel's counters for this process, and turns two readings into a second's `Vitals`.

use std::fs;

use super::cgroup::{self, Cgroup, Periods, Version};
use super::proc::{self, CpuList, Cpus, MS_PER_TICK};
use crate::vitals::Vitals;

/// The counters of this process, from one reading to the next.
pub struct Meter {
    groups: Vec<Cgroup>,
    open_files_limit: Option<u64>,
    last: Reading,
}

/// The counters at one time; `None` for a file that cannot be read.
#[derive(Default)]
struct Reading {
    stamp_ns: u64,
    cpu_ticks: Option<u64>,
    cpus: Option<Cpus>,
    /// The periods of each group.
    periods: Vec<Option<Periods>>,
}

impl Meter {
    /// Takes the first reading. Groups and limits are looked up here, once.
    pub fn start(now_ns: u64) -> Meter {
        let groups = cgroup::groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let mut meter = Meter {
            groups: groups.into_iter().filter(|g| g.dir.is_dir()).collect(),
            open_files_limit: proc::number_behind(&read("/proc/self/limits"), "Max open files"),
            last: Reading::default(),
        };
        meter.last = meter.reading(now_ns);
        meter
    }

    /// Returns the change since the last reading, without probes.
    pub fn read(&mut self, now_ns: u64) -> Vitals {
        let now = self.reading(now_ns);
        let last = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let cpu_ticks = since(now.cpu_ticks, last.cpu_ticks);
        let periods = most_throttled(&now.periods, &last.periods);
        Vitals {
            t_start_ns: last.stamp_ns,
            t_end_ns: now.stamp_ns,
            cpu_ms: cpu_ticks.map(|ticks| ticks * MS_PER_TICK),
            cores_allowed: self.cores_allowed(),
            periods: periods.map(|periods| periods.all),
            throttled_periods: periods.map(|periods| periods.throttled),
            steal_share: steal_share(now.cpus, last.cpus),
            open_files: open_files(),
            open_files_limit: self.open_files_limit,
            ..Vitals::default()
        }
    }

    fn reading(&self, stamp_ns: u64) -> Reading {
        let allowed = CpuList::allowed(&read("/proc/self/status"));
        let periods = |group: &Cgroup| cgroup::periods(&read_in(group, "cpu.stat"));
        Reading {
            stamp_ns,
            cpu_ticks: proc::cpu_ticks(&read("/proc/self/stat")),
            cpus: allowed.and_then(|list| proc::cpus(&read("/proc/stat"), &list)),
            periods: self.groups.iter().map(periods).collect(),
        }
    }

    /// Returns the smallest of the number of CPUs and every group's quota, which may change during a run.
    fn cores_allowed(&self) -> Option<f64> {
        let quota = |group: &Cgroup| match group.version {
            Version::V1 => {
                let file = |name| read_in(group, name);
                cgroup::cores_v1(&file("cpu.cfs_quota_us"), &file("cpu.cfs_period_us"))
            }
            Version::V2 => cgroup::cores_v2(&read_in(group, "cpu.max")),
        };
        let cpus = self.last.cpus.map(|cpus| cpus.count as f64);
        let quotas = self.groups.iter().filter_map(quota);
        quotas.chain(cpus).reduce(f64::min)
    }
}

/// Returns a file's text; empty if it cannot be read, which every parser takes for absent.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn read_in(group: &Cgroup, name: &str) -> String {
    fs::read_to_string(group.dir.join(name)).unwrap_or_default()
}

fn since(now: Option<u64>, last: Option<u64>) -> Option<u64> {
    now.zip(last).map(|(now, last)| now.saturating_sub(last))
}

/// Returns the periods of the group that was throttled in most of them.
fn most_throttled(now: &[Option<Periods>], last: &[Option<Periods>]) -> Option<Periods> {
    let each = now.iter().zip(last).filter_map(|(now, last)| {
        let (now, last) = (*now).zip(*last)?;
        Some(Periods {
            all: now.all.saturating_sub(last.all),
            throttled: now.throttled.saturating_sub(last.throttled),
        })
    });
    each.max_by_key(|periods| (periods.throttled, periods.all))
}

/// Returns `None` when nothing was counted, or when CPUs came or went in between.
fn steal_share(now: Option<Cpus>, last: Option<Cpus>) -> Option<f64> {
    let (now, last) = now.zip(last)?;
    let ticks = now.ticks.saturating_sub(last.ticks);
    let steal = now.steal_ticks.saturating_sub(last.steal_ticks);
    (ticks > 0 && now.count == last.count).then(|| steal as f64 / ticks as f64)
}

/// Returns the number of open files. Linux 6.2 and later give it in one stat(2); before, the size is 0 and they are
/// counted, in O(files).
fn open_files() -> Option<u64> {
    const DIR: &str = "/proc/self/fd";
    match fs::metadata(DIR).ok()?.len() {
        // One of them is the directory being read.
        0 => Some((fs::read_dir(DIR).ok()?.count() as u64).saturating_sub(1)),
        files => Some(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_that_was_stopped_most_counts() {
        let at = |all, throttled| Some(Periods { all, throttled });
        let last = [at(100, 5), at(1000, 0), None];
        let now = [at(110, 8), at(1010, 1), at(7, 7)];
        // 3 of 10 in the first, 1 of 10 in the second; the third has no previous reading.
        assert_eq!(most_throttled(&now, &last), at(10, 3));
        assert_eq!(most_throttled(&[None], &[None]), None);
        assert_eq!(most_throttled(&last, &last), at(0, 0));
    }

    #[test]
    fn steal_is_a_share_of_the_time_of_the_cpus() {
        let at = |count, ticks, steal_ticks| {
            Some(Cpus {
                count,
                ticks,
                steal_ticks,
            })
        };
        // 24 of 200 ticks.
        assert_eq!(steal_share(at(2, 1200, 34), at(2, 1000, 10)), Some(0.12));
        assert_eq!(steal_share(at(2, 1000, 10), at(2, 1000, 10)), None);
        assert_eq!(steal_share(at(1, 1200, 34), at(2, 1000, 10)), None);
        assert_eq!(steal_share(None, at(2, 1000, 10)), None);
    }

    #[test]
    fn this_process_is_read_from_a_live_kernel() {
        let mut meter = Meter::start(0);
        let vitals = meter.read(7);
        assert_eq!((vitals.t_start_ns, vitals.t_end_ns), (0, 7));
        assert!(vitals.cpu_ms.is_some_and(|ms| ms < 60_000), "{vitals:?}");
        assert!(vitals.cores_allowed.is_some_and(|n| n > 0.0), "{vitals:?}");
        assert!(vitals.open_files.is_some_and(|n| n >= 3), "{vitals:?}");
    }
}
