//! The machine that runs the client, as Linux describes it.

use std::fs;
use std::time::SystemTime;

use crate::client::Target;
use crate::plan::shard::Shard;
use crate::stats::clock::Clock;

/// Reads the wall clock and that of the stamps at one moment.
pub fn clock(target: &Target, shard: Option<Shard>) -> Clock {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Clock {
        shard: shard.map(|shard| shard.index),
        wall_us: u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX),
        t_ns: target.link.epoch.now_ns(),
        server_us: target.server_clock.bounds_us(),
    }
}

/// Returns the processor's name; `None` if Linux does not tell.
pub fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    cpu_name(&text)
}

fn cpu_name(text: &str) -> Option<String> {
    let named = text.lines().filter_map(|line| line.split_once(':'));
    let mut names = named.filter(|(key, _)| matches!(key.trim(), "model name" | "Model"));
    names.next().map(|(_, name)| name.trim().to_string())
}

/// Returns the kernel's release, such as `6.1.0-18-amd64`.
pub fn kernel() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_that_has_a_name_gives_it() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R)\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(cpu_name(text).as_deref(), Some("Intel(R) Xeon(R)"));
        assert_eq!(cpu_name("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }
}
