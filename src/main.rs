//! Parses, dispatches, maps an error to one message on stderr and an exit code.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!("tmesh-cli reads /proc and cgroups: it runs on Linux only");

/// In place of std's, in all modules: that one panics where nobody reads stderr, and a note is not worth a run.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        let line = format_args!("{}\n", format_args!($($words)*));
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), line);
    }};
}

mod backend;
mod cli;
mod client;
mod collect;
mod error;
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
mod units;
mod vitals;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    load::stop::obey_signals();
    match cli::run(std::env::args_os().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
