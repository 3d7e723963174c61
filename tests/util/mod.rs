//! The base of the tests: a fresh directory, the binary as a process, and servers for it.

mod cmd;
mod dir;
mod engine;
mod samples;
mod server;
pub mod verdict;

pub use cmd::{Cmd, Output, Running};
pub use dir::Dir;
pub use engine::{engine, left, left_soon, pid_in, serving, until, with_engines};
pub use samples::{Samples, errors_ms};
pub use server::{RawServer, Request, Server, read_request, serve};

use serde_json::Value;

/// Returns a stamp of a sample or of the truth log, in nanoseconds.
pub fn ns(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no stamp"))
}

/// Returns the median; halfway between the middle two of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// Reads a result file.
pub fn json_file(dir: &Dir, name: &str) -> Value {
    serde_json::from_str(&dir.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reports that a test was not run, even where the output of passing tests is captured.
pub fn not_run(what: &str, why: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{what}: not run: {why}").expect("an open stderr");
}
