//! `tmesh-cli compare`: which of two servers, or of two sets of saved runs, is faster.

mod end;
mod live;
mod options;
mod saved;

use self::options::Options;
use crate::cli::args::Args;
use crate::error::Result;

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let options = Options::parse(args)?;
    match args.has("--base") {
        true => saved::run(args, &options),
        false => live::run(args, &options),
    }
}
