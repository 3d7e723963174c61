//! Parsers of files in /proc. Text in, figures out; no file is read here.

use std::ops::RangeInclusive;

/// Milliseconds of a tick in `/proc/*/stat` and `/proc/stat`: USER_HZ is 100 on every platform that is supported.
pub const MS_PER_TICK: u64 = 10;

/// Returns the user and system time of all threads of a process in ticks, from its `/proc/PID/stat`.
pub fn cpu_ticks(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    // The first field after it is the third of proc(5); utime and stime are the 14th and 15th.
    let mut fields = fields.split_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

/// CPUs by number, such as `0-3,8`.
#[derive(Debug, PartialEq)]
pub struct CpuList(Vec<RangeInclusive<u32>>);

impl CpuList {
    /// Returns the CPUs that a process may run on, from its `/proc/PID/status`. Some may be offline.
    pub fn allowed(status: &str) -> Option<CpuList> {
        let list = rest_of(status, "Cpus_allowed_list:")?;
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        let ranges: Option<Vec<_>> = list.trim().split(',').map(range).collect();
        ranges.map(CpuList)
    }

    fn has(&self, cpu: u32) -> bool {
        self.0.iter().any(|range| range.contains(&cpu))
    }
}

/// Sums over several CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpus {
    pub count: u64,
    /// Time of every kind, in ticks.
    pub ticks: u64,
    pub steal_ticks: u64,
}

/// Returns the sums over the listed CPUs that are online, from `/proc/stat`; `None` when there is none, or no steal.
pub fn cpus(stat: &str, list: &CpuList) -> Option<Cpus> {
    let mut sums = Cpus::default();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let number = words.next().and_then(|word| word.strip_prefix("cpu"));
        let number = number.and_then(|number| number.parse().ok());
        if !number.is_some_and(|cpu| list.has(cpu)) {
            continue;
        }
        // The fields are user nice system idle iowait irq softirq steal; guest time after them is part of user's.
        let ticks: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
        sums.count += 1;
        sums.ticks += ticks.iter().sum::<u64>();
        sums.steal_ticks += ticks.get(7)?;
    }
    (sums.count > 0).then_some(sums)
}

/// Returns the first number after a label at the start of a line; `None` without one, as for `unlimited`.
pub fn number_behind(text: &str, label: &str) -> Option<u64> {
    let rest = rest_of(text, label)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Returns the text after a label at the start of a line.
fn rest_of<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_program_is_called() {
        let stat =
            "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 1021 0 3 0 250 75 9 9 20 0 22 0 812 1 2";
        assert_eq!(cpu_ticks(stat), Some(325));
        for broken in [
            "",
            "4711 (a) S 1 2",
            "4711 (a) S 1 1 1 0 -1 1 1 0 3 0 x 75 9",
        ] {
            assert_eq!(cpu_ticks(broken), None, "{broken}");
        }
    }

    #[test]
    fn lists_of_cpus_are_numbers_and_ranges() {
        let status =
            "Name:\tx\nCpus_allowed:\t10f\nCpus_allowed_list:\t0-3,8\nMems_allowed_list:\t0\n";
        let list = CpuList::allowed(status).expect("a list");
        let has: Vec<u32> = (0..12).filter(|&cpu| list.has(cpu)).collect();
        assert_eq!(has, [0, 1, 2, 3, 8]);
        for broken in ["", "Cpus_allowed_list:\t\n", "Cpus_allowed_list:\t0-x\n"] {
            assert_eq!(CpuList::allowed(broken), None, "{broken}");
        }
    }

    #[test]
    fn only_cpus_that_are_allowed_and_online_are_summed() {
        // CPU 3 is offline, so it has no line; CPU 2 belongs to others.
        let stat = "cpu  999 9 9 999 9 9 9 99 0 0\ncpu0 10 1 5 80 2 0 1 7 4 0\ncpu1 20 0 5 70 0 0 0 3 0 0\n\
                    cpu2 100 0 0 0 0 0 0 90 0 0\nintr 1 2 3\nctxt 4\n";
        let list = CpuList(vec![0..=1, 3..=3]);
        let wanted = Cpus {
            count: 2,
            // 10+1+5+80+2+0+1+7 and 20+5+70+3; guest's 4 is in user's 10.
            ticks: 106 + 98,
            steal_ticks: 10,
        };
        assert_eq!(cpus(stat, &list), Some(wanted));
        assert_eq!(cpus(stat, &CpuList(vec![5..=9])), None);
        assert_eq!(cpus("cpu0 1 2 3 4\n", &list), None, "no steal told");
    }

    #[test]
    fn a_limit_is_the_soft_one_and_unlimited_is_none() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             unlimited            unlimited            processes\n\
                      Max open files            1024                 4096                 files\n";
        assert_eq!(number_behind(limits, "Max open files"), Some(1024));
        assert_eq!(number_behind(limits, "Max processes"), None);
        assert_eq!(number_behind(limits, "Max"), None);
    }
}
