//! Parses, dispatches, and maps an error to one message on stderr and an exit code.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!("tmesh-cli reads /proc and cgroups: it runs on Linux only");

/// Replaces std's `eprintln!` in all modules: std's panics when stderr is closed, and a note is not worth a run. This
/// one also breaks lines to fit the terminal.
macro_rules! eprintln {
    ($($words:tt)*) => {
        $crate::tty::say(&format!($($words)*))
    };
}

/// Prints a line on stderr that is neither a warning nor an error, unless `--quiet` was given.
macro_rules! note {
    ($($words:tt)*) => {
        if !$crate::tty::is_quiet() {
            eprintln!($($words)*);
        }
    };
}

mod backend;
mod cli;
mod client;
mod collect;
mod error;
mod experiment;
mod file;
#[cfg(test)]
mod fuzz;
mod load;
mod lock;
mod mock;
mod plan;
mod prom;
mod report;
mod sample;
mod samples_file;
mod stats;
mod tty;
mod units;
mod vitals;
mod watchdog;

use std::process::ExitCode;

use client::secret::mask_keys;

fn main() -> ExitCode {
    load::stop::obey_signals();
    match cli::run(std::env::args_os().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{}", mask_keys(error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
