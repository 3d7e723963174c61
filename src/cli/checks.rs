//! What can be known to fail before the first request: lengths beyond the server's limit, files and
//! memory beyond this machine's.

use crate::client::discovery::Listed;
use crate::error::{Error, Result};
use crate::plan::prompt::WORD_BYTES;
use crate::plan::sizing::Sizing;
use crate::watchdog::proc::{number_behind, rest_of};

/// Tokens that a question and a chat template may add to a context.
const EXTRA_TOKENS: u64 = 64;
/// The text of a question, its number and its place in the list.
const QUESTION_BYTES: u64 = 128;
/// Files that are open beside the connections.
const OTHER_FILES: u64 = 24;
/// Mappings beside those of threads.
const OTHER_MAPS: u64 = 128;
/// Threads beside the workers.
const OTHER_THREADS: u64 = 16;

/// Prompt plus output against the server's limit, where it names one.
pub fn length(model: &Listed, sizing: &Sizing) -> Result<()> {
    let besides = sizing.output_length.saturating_add(EXTRA_TOKENS);
    let needed = sizing.input_length.saturating_add(besides);
    match model.max_model_len {
        Some(limit) if besides >= limit => {
            let what = format!("--output-length {}", sizing.output_length);
            let why = format!(
                "leaves nothing of the {limit} tokens that {} takes",
                model.id
            );
            Err(Error::input(what, why))
        }
        Some(limit) if needed > limit => {
            let what = format!("--input-length {}", sizing.input_length);
            let why = format!(
                "with its question and {} output tokens about {needed}; {} takes {limit}",
                sizing.output_length, model.id
            );
            Err(Error::input(what, why).next(format!("Try: --input-length {}", limit - besides)))
        }
        _ => Ok(()),
    }
}

/// So many requests in flight, as this option asks for; two ends of each connection are open, and a thread at
/// each, where the mock is in this process.
pub fn in_flight(flag: &str, in_flight: u64, has_mock: bool) -> Result<()> {
    let ends = in_flight.saturating_mul(if has_mock { 2 } else { 1 });
    let what = format!("{flag} {in_flight}");
    let files = ends.saturating_add(OTHER_FILES);
    match proc_number("/proc/self/limits", "Max open files") {
        Some(limit) if files > limit => {
            let why = format!("needs {files} open files, {limit} are allowed");
            Err(Error::input(what, why).next(format!("Try: ulimit -n {files}")))
        }
        _ => threads(what, ends.saturating_add(OTHER_THREADS), |path| {
            std::fs::read_to_string(path).ok()
        }),
    }
}

/// What the kernel, the user's limits and the container allow.
fn threads(what: String, needed: u64, read: impl Fn(&str) -> Option<String>) -> Result<()> {
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let processes = || number_behind(&read("/proc/self/limits")?, "Max processes");
    // A stack, one for signals, and a guard page below each.
    let maps = needed.saturating_mul(4).saturating_add(OTHER_MAPS);
    for (allowed, wanted, name, raise) in [
        (
            number("/proc/sys/kernel/threads-max"),
            needed,
            "kernel.threads-max",
            "sysctl -w kernel.threads-max=",
        ),
        (
            number("/proc/sys/vm/max_map_count"),
            maps,
            "vm.max_map_count, of which a thread takes four,",
            "sysctl -w vm.max_map_count=",
        ),
        (
            number("/sys/fs/cgroup/pids.max").or_else(|| number("/sys/fs/cgroup/pids/pids.max")),
            needed,
            "pids.max of the container",
            "docker run --pids-limit ",
        ),
        (
            processes().filter(|_| !is_exempt(&read)),
            needed,
            "processes of a user",
            "ulimit -u ",
        ),
    ] {
        if let Some(limit) = allowed.filter(|&limit| wanted > limit) {
            let why = format!("needs {needed} threads, but {name} is {limit}");
            return Err(Error::input(what, why).next(format!("Try: {raise}{wanted}")));
        }
    }
    Ok(())
}

/// Whether the kernel does not count this user's processes: root, or with `CAP_SYS_ADMIN` or `CAP_SYS_RESOURCE` of
/// capabilities(7), and all that in the initial namespace of users.
fn is_exempt(read: impl Fn(&str) -> Option<String>) -> bool {
    let map = read("/proc/self/uid_map").unwrap_or_default();
    let status = read("/proc/self/status").unwrap_or_default();
    let is_root = number_behind(&status, "Uid:") == Some(0);
    let capabilities = rest_of(&status, "CapEff:");
    let capabilities = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let has_one = capabilities.unwrap_or(0) & (1 << 21 | 1 << 24) != 0;
    map.split_whitespace().eq(["0", "0", "4294967295"]) && (is_root || has_one)
}

/// The texts stay in memory for the whole run; without this the kernel would end it.
pub fn memory(sizing: &Sizing) -> Result<()> {
    let context_bytes = sizing.input_length.saturating_mul(WORD_BYTES);
    let questions_bytes = sizing.questions.saturating_mul(QUESTION_BYTES);
    let needed = sizing
        .contexts
        .saturating_mul(context_bytes)
        .saturating_add(questions_bytes);
    match proc_number("/proc/meminfo", "MemAvailable:") {
        Some(kib) if needed / 1024 > kib => {
            let what = format!(
                "{} contexts of {} tokens and {} questions",
                sizing.contexts, sizing.input_length, sizing.questions
            );
            let why = format!(
                "their texts take about {} MiB, {} MiB of memory are available",
                needed >> 20,
                kib >> 10
            );
            Err(Error::input(what, why)
                .next("Try: smaller --contexts, --input-length or --questions"))
        }
        _ => Ok(()),
    }
}

/// The first number behind a label in a file of /proc; `None` where there is none.
fn proc_number(path: &str, label: &str) -> Option<u64> {
    number_behind(&std::fs::read_to_string(path).ok()?, label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_limit_on_threads_that_is_too_low_is_named_with_what_raises_it() {
        let check = |needed, files: &[(&str, &str)]| {
            let read = |path: &str| {
                let found = files.iter().find(|(name, _)| *name == path);
                found.map(|(_, text)| (*text).to_string())
            };
            let checked = threads("--concurrency N".into(), needed, read);
            checked.err().map(|error| error.to_string())
        };
        let limits = "Max processes   500   900   processes\n";
        let user = "Uid:\t1000\t1000\nCapEff:\t0000000000000000\n";
        let admin = "Uid:\t1000\t1000\nCapEff:\t0000000000200000\n";
        let root = "Uid:\t0\t0\nCapEff:\t00000000a80425fb\n";
        let (host, rootless) = ("  0  0 4294967295\n", "  0 1000 1\n");
        let of_user = |status, map| {
            vec![
                ("/proc/self/limits", limits),
                ("/proc/self/status", status),
                ("/proc/self/uid_map", map),
            ]
        };
        let low = |name: &str, limit, raise: &str| {
            Some(format!(
                "[ERROR] --concurrency N: needs 1000 threads, but {name} is {limit}\nTry: {raise}"
            ))
        };
        for (files, wanted) in [
            (vec![], None),
            (vec![("/proc/sys/kernel/threads-max", "1000\n")], None),
            (
                vec![("/proc/sys/kernel/threads-max", "999\n")],
                low(
                    "kernel.threads-max",
                    999,
                    "sysctl -w kernel.threads-max=1000",
                ),
            ),
            (vec![("/proc/sys/vm/max_map_count", "4128\n")], None),
            (
                vec![("/proc/sys/vm/max_map_count", "4127\n")],
                low(
                    "vm.max_map_count, of which a thread takes four,",
                    4127,
                    "sysctl -w vm.max_map_count=4128",
                ),
            ),
            (vec![("/sys/fs/cgroup/pids.max", "max\n")], None),
            (
                vec![("/sys/fs/cgroup/pids/pids.max", "100\n")],
                low(
                    "pids.max of the container",
                    100,
                    "docker run --pids-limit 1000",
                ),
            ),
            (
                of_user(user, host),
                low("processes of a user", 500, "ulimit -u 1000"),
            ),
            (
                of_user(root, rootless),
                low("processes of a user", 500, "ulimit -u 1000"),
            ),
            (of_user(root, host), None),
            (of_user(admin, host), None),
        ] {
            assert_eq!(check(1000, &files), wanted, "{files:?}");
        }
    }
}
