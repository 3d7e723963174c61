//! Finds the CPU quota of this process in cgroups of version 1 and 2, and parses their files. Text in, figures out; no
//! file is read here.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One cgroup: this process's own, or one above it, whose quota limits it too.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub version: Version,
    pub dir: PathBuf,
}

/// Returns the cgroups that may limit the CPU, own one first, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
/// Empty if none is mounted.
///
/// In a container the path may lead outside the mount; then only the mount's root is returned. The caller finds out
/// whether a directory exists.
pub fn groups(cgroup: &str, mountinfo: &str) -> Vec<Cgroup> {
    let found = [Version::V1, Version::V2].into_iter().find_map(|version| {
        let path = path(cgroup, version)?;
        let mounts = || mounts(mountinfo, version);
        let inside = mounts().find_map(|mount| Some((mount.point, mount.below(path)?)));
        let (point, below) = inside.or_else(|| Some((mounts().next()?.point, Path::new(""))))?;
        Some((version, point, below))
    });
    let Some((version, point, below)) = found else {
        return Vec::new();
    };
    let group = |below| Cgroup {
        version,
        dir: Path::new(point).join(below),
    };
    below.ancestors().map(group).collect()
}

/// Returns this process's path in the hierarchy that has the CPU controller.
fn path(cgroup: &str, version: Version) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = match version {
            Version::V1 => controllers.split(',').any(|name| name == "cpu"),
            Version::V2 => controllers.is_empty(),
        };
        is_it.then_some(path)
    })
}

struct Mount<'a> {
    /// The part of the hierarchy that is mounted.
    root: &'a str,
    point: &'a str,
}

impl Mount<'_> {
    /// Returns a cgroup's path from the mount point; `None` when it is not below it.
    fn below<'p>(&self, path: &'p str) -> Option<&'p Path> {
        let below = Path::new(path).strip_prefix(self.root).ok()?;
        (!path.contains("..")).then_some(below)
    }
}

fn mounts(mountinfo: &str, version: Version) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(move |line| {
        // proc_pid_mountinfo(5): … root, mount point, options, optional fields - type, source, options.
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        let kind = right.next()?;
        let is_it = match version {
            Version::V1 => kind == "cgroup" && right.nth(1)?.split(',').any(|name| name == "cpu"),
            Version::V2 => kind == "cgroup2",
        };
        let (root, point) = (left.next()?, left.next()?);
        is_it.then_some(Mount { root, point })
    })
}

/// Returns the CPUs that `cpu.max` (version 2) grants: quota / period, both in µs; `None` for `max`.
pub fn cores_v2(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    cores_v1(quota, period)
}

/// Returns the CPUs that `cpu.cfs_quota_us` and `cpu.cfs_period_us` (version 1) grant; `None` for a quota of −1.
pub fn cores_v1(quota: &str, period: &str) -> Option<f64> {
    let us = |text: &str| text.trim().parse::<u64>().ok().filter(|&us| us > 0);
    Some(us(quota)? as f64 / us(period)? as f64)
}

/// Periods in which a cgroup with a quota was busy, and those in which it was throttled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods {
    pub all: u64,
    pub throttled: u64,
}

/// Parses `cpu.stat`; `None` if the cgroup does not count periods.
pub fn periods(cpu_stat: &str) -> Option<Periods> {
    let of = |key| super::proc::number_behind(cpu_stat, key);
    Some(Periods {
        all: of("nr_periods ")?,
        throttled: of("nr_throttled ")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn dirs(cgroup: &str, mountinfo: &str) -> Vec<(Version, String)> {
        groups(cgroup, mountinfo)
            .into_iter()
            .map(|group| (group.version, group.dir.display().to_string()))
            .map(|(version, dir)| (version, dir.trim_end_matches('/').to_string()))
            .collect()
    }

    #[test]
    fn the_own_group_and_those_above_it_are_found_in_both_versions() {
        let v2 = |dir: &str| (Version::V2, format!("/sys/fs/cgroup{dir}"));
        assert_eq!(
            dirs("0::/kubepods/pod7/c1\n", V2),
            [
                v2("/kubepods/pod7/c1"),
                v2("/kubepods/pod7"),
                v2("/kubepods"),
                v2("")
            ]
        );
        let v1 = |dir: &str| (Version::V1, format!("/sys/fs/cgroup/cpu{dir}"));
        let mixed = "3:cpuset:/other\n2:cpuacct:/other\n1:cpu:/a\n0::/b\n";
        assert_eq!(dirs(mixed, V1), [v1("/a"), v1("")]);
        // Without a mount of the first version the second one counts, and without any none does.
        assert_eq!(dirs(mixed, V2), [v2("/b"), v2("")]);
        assert_eq!(dirs(mixed, ""), []);
        assert_eq!(dirs("", V2), []);
    }

    #[test]
    fn in_a_container_a_path_outside_the_mount_falls_back_to_its_root() {
        let bound = "9 8 0:26 /docker/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let root = [(Version::V2, "/sys/fs/cgroup".to_string())];
        for path in ["/docker/c1", "/docker/c2", "/docker/c12", "/", "/../c2"] {
            assert_eq!(dirs(&format!("0::{path}\n"), bound), root, "{path}");
        }
        assert_eq!(dirs("0::/../c2\n", V2), root);
        let below = (Version::V2, "/sys/fs/cgroup/job".to_string());
        assert_eq!(
            dirs("0::/docker/c1/job\n", bound),
            [&[below], &root[..]].concat()
        );
    }

    #[test]
    fn a_quota_is_cores_and_no_quota_is_none() {
        assert_eq!(cores_v2("150000 100000\n"), Some(1.5));
        assert_eq!(cores_v2("max 100000\n"), None);
        assert_eq!(cores_v1("20000\n", "50000\n"), Some(0.4));
        for (quota, period) in [("-1\n", "100000\n"), ("", ""), ("50000", "0")] {
            assert_eq!(cores_v1(quota, period), None, "{quota:?} {period:?}");
        }
    }

    #[test]
    fn periods_are_counted_alike_in_both_versions_and_absent_at_the_root() {
        let counted = Some(Periods {
            all: 200,
            throttled: 12,
        });
        let v1 = "nr_periods 200\nnr_throttled 12\nthrottled_time 812\nnr_bursts 0\n";
        let v2 = "usage_usec 9\nuser_usec 7\nnr_periods 200\nnr_throttled 12\nthrottled_usec 1\n";
        assert_eq!((periods(v1), periods(v2)), (counted, counted));
        assert_eq!(periods("usage_usec 9\nuser_usec 7\nsystem_usec 2\n"), None);
    }
}
