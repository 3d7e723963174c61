//! The commands, one file or folder each: options, plan, and what each adds to the shared run; and the table of
//! commands.

pub mod benchmark;
pub mod check;
pub mod compare;
pub mod convert;
pub mod explain;
pub mod find_rate;
pub mod load;
pub mod merge;
pub mod mock;
pub mod probe;
pub mod replay;
pub mod report;
pub mod run;

use super::args::Args;
use super::flags;
use super::usage::Usage;
use crate::error::Result;

/// A command: its usage and its function, which returns the exit code.
pub struct Command {
    pub usage: &'static Usage,
    pub run: Run,
}

#[derive(Clone, Copy)]
pub enum Run {
    /// The function takes the parsed options of the command's usage.
    Options(fn(&Args) -> Result<u8>),
    /// The function takes the words as typed: the mock's options are a table of their own, which `--mock` reads too.
    Mock(fn(&[String]) -> Result<u8>),
}

impl Command {
    const fn new(usage: &'static Usage, run: fn(&Args) -> Result<u8>) -> Command {
        Command {
            usage,
            run: Run::Options(run),
        }
    }
}

/// All commands, in the order of the help.
pub static COMMANDS: [Command; 17] = [
    Command::new(&flags::BENCHMARK, benchmark::run),
    Command::new(&flags::LOAD, load::run),
    Command::new(&flags::REPLAY, replay::run),
    Command::new(&flags::RUN_FIXED, run::run),
    Command::new(&flags::PROBE, probe::run),
    Command::new(&flags::COMPARE, compare::run),
    Command::new(&flags::FIND_RATE, find_rate::run),
    Command::new(&flags::MERGE, merge::run),
    Command::new(&flags::REPORT, report::run),
    Command::new(&flags::EXPLAIN, explain::run),
    Command::new(&flags::CHECK_CLIENT, check::client::run),
    Command::new(&flags::CHECK_DATASET, check::dataset::run),
    Command::new(&flags::CHECK_ENDPOINT, check::endpoint::run),
    Command::new(&flags::CHECK_PROMETHEUS, check::prometheus::run),
    Command::new(&flags::CONVERT_LONGBENCH, convert::longbench),
    Command::new(&flags::CONVERT_SHAREGPT, convert::sharegpt),
    Command {
        usage: &flags::MOCK,
        run: Run::Mock(mock::run),
    },
];
