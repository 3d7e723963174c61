//! What can be known to fail before the first request: lengths beyond the server's limit, files and
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
/// Files that are open beside the connections.
const OTHER_FILES: u64 = 24;

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

/// So many requests in flight, as this option asks for; two ends of each connection are open where the
/// mock is in this process.
pub fn open_files(flag: &str, in_flight: u64, has_mock: bool) -> Result<()> {
    let ends = if has_mock { 2 } else { 1 };
    let needed = in_flight.saturating_mul(ends).saturating_add(OTHER_FILES);
    match proc_number("/proc/self/limits", "Max open files") {
        Some(limit) if needed > limit => Err(Error::input(
            format!("{flag} {in_flight}"),
            format!("needs {needed} open files, {limit} are allowed"),
        )
        .next(format!("Try: ulimit -n {needed}"))),
        _ => Ok(()),
    }
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
