//! Checks before the first request: lengths beyond the server's limit, files and
//! memory beyond this machine's.

use crate::client::discovery::Listed;
use crate::error::{Error, Result};
use crate::plan::prompt::WORD_BYTES;
use crate::plan::sizing::Sizing;
use crate::watchdog::proc::number_behind;

/// Tokens that a question and a chat template may add to a context.
const EXTRA_TOKENS: u64 = 64;
/// The text of a question, its number and its place in the list.
const QUESTION_BYTES: u64 = 128;
/// Open files other than connections.
const OTHER_FILES: u64 = 24;
/// Memory maps of a thread: its stack, its signal stack, and a guard page below each.
const THREAD_MAPS: u64 = 4;
/// Memory maps other than those of the workers' threads.
const OTHER_MAPS: u64 = 192;

/// Checks prompt plus output against the server's limit, if it names one.
pub fn length(model: &Listed, sizing: &Sizing) -> Result<()> {
    let besides = sizing.output_length.saturating_add(EXTRA_TOKENS);
    let needed = sizing.input_length.saturating_add(besides);
    match model.max_model_len {
        Some(limit) if besides >= limit => {
            let what = format!("--output-length {}", sizing.output_length);
            let why = format!(
                "leaves no room for a prompt in the {limit} tokens that {} accepts",
                model.id
            );
            Err(Error::input(what, why))
        }
        Some(limit) if needed > limit => {
            let what = format!("--input-length {}", sizing.input_length);
            let why = format!(
                "with its question and {} output tokens about {needed} tokens; {} accepts {limit}",
                sizing.output_length, model.id
            );
            Err(Error::input(what, why).next(format!("Try: --input-length {}", limit - besides)))
        }
        _ => Ok(()),
    }
}

/// Checks that this many requests in flight, which `what` asks for, fit the limits on open files and memory maps.
/// If the mock is in this process, both ends of each connection are open, with a thread at each.
///
/// Other limits on threads are reported when the system refuses one. Too few memory maps are checked here, since std
/// panics then.
pub fn in_flight(what: &str, in_flight: u64, has_mock: bool) -> Result<()> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let files = number_behind(&read("/proc/self/limits"), "Max open files");
    let maps = read("/proc/sys/vm/max_map_count").trim().parse().ok();
    let ends = in_flight.saturating_mul(if has_mock { 2 } else { 1 });
    within(what, ends, files, maps)
}

/// Checks the connections, each with its thread, against the allowed numbers of files and memory maps.
fn within(what: &str, connections: u64, files: Option<u64>, maps: Option<u64>) -> Result<()> {
    let needed_files = connections.saturating_add(OTHER_FILES);
    let needed_maps = connections
        .saturating_mul(THREAD_MAPS)
        .saturating_add(OTHER_MAPS);
    for (limit, needed, things, raise) in [
        (files, needed_files, "open files", "ulimit -n "),
        (
            maps,
            needed_maps,
            "memory maps",
            "sysctl -w vm.max_map_count=",
        ),
    ] {
        if let Some(limit) = limit.filter(|&limit| needed > limit) {
            let why = format!("needs {needed} {things}, but only {limit} are allowed");
            return Err(Error::input(what, why).next(format!("Try: {raise}{needed}")));
        }
    }
    Ok(())
}

/// Checks that the texts, which stay in memory for the whole run, fit this machine. Otherwise the kernel would kill the
/// process.
pub fn memory(sizing: &Sizing) -> Result<()> {
    let context_bytes = sizing.input_length.saturating_mul(WORD_BYTES);
    let questions_bytes = sizing.questions.saturating_mul(QUESTION_BYTES);
    let needed = sizing
        .contexts
        .saturating_mul(context_bytes)
        .saturating_add(questions_bytes);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match number_behind(&meminfo, "MemAvailable:") {
        Some(kib) if needed / 1024 > kib => {
            let what = format!(
                "{} contexts of {} tokens and {} questions",
                sizing.contexts, sizing.input_length, sizing.questions
            );
            let why = format!(
                "their texts take about {} MiB, but only {} MiB of memory are available",
                needed >> 20,
                kib >> 10
            );
            Err(Error::input(what, why)
                .next("Try: smaller --contexts, --input-length or --questions"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_named_with_what_raises_it() {
        let low = |why: &str, raise: &str| {
            let why = format!("[ERROR] --concurrency N: needs {why} are allowed");
            Some(format!("{why}\nTry: {raise}"))
        };
        // 1000 connections and 24 other files; 1000 × 4 maps of threads and 192 others.
        for (files, maps, wanted) in [
            (None, None, None),
            (Some(1024), Some(4192), None),
            (
                Some(1023),
                None,
                low("1024 open files, but only 1023", "ulimit -n 1024"),
            ),
            (
                None,
                Some(4191),
                low(
                    "4192 memory maps, but only 4191",
                    "sysctl -w vm.max_map_count=4192",
                ),
            ),
        ] {
            let error = within("--concurrency N", 1000, files, maps).err();
            assert_eq!(error.map(|error| error.to_string()), wanted);
        }
    }
}
