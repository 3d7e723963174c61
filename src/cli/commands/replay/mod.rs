//! `tmesh-cli replay`: a dataset, sent in rounds at every level of concurrency.

mod cut;
mod files;
mod metrics;
mod options;
mod report;
mod round;
mod start;

pub use self::options::Options;
use self::round::Replay;
use crate::cli::args::Args;
use crate::cli::connect::Connection;
use crate::cli::discover::refused;
use crate::error::{Error, Result};
use crate::load::stop::Reason;
use crate::mock;

/// Runs the command; the exit code.
pub fn run(mut args: Args) -> Result<u8> {
    let server = mock_server(&mut args)?;
    let connection = Connection::parse_with(&mut args, server)?;
    let options = Options::parse(&mut args)?;
    let mut replay = start::open(connection, options)?;
    replay.levels()?;
    end(&replay)
}

/// `--mock-server` and where it listens.
fn mock_server(args: &mut Args) -> Result<Option<(&'static str, mock::Options)>> {
    let is_on = args.switch("--mock-server");
    let mut options = mock::Options::default();
    for (flag, name) in [("--mock-host", "host"), ("--mock-port", "port")] {
        let Some(value) = args.text(flag)? else {
            continue;
        };
        if !is_on {
            return Err(Error::input(flag, "only with --mock-server"));
        }
        let set = options.set(name, &value);
        set.map_err(|why| Error::input(format!("{flag} {value}"), why))?;
    }
    options.chat_tags = true;
    Ok(is_on.then_some(("--mock-server", options)))
}

/// The exit code, once all that was measured is shown and written.
fn end(replay: &Replay) -> Result<u8> {
    if let Some(Reason::Refused(status, failure)) = replay.stop.reason() {
        return Err(refused(&replay.target, *status, failure));
    }
    if let Some(Reason::Gone(failure)) = replay.stop.reason() {
        let why = format!("nothing has answered for a minute: {}", failure.reason);
        return Err(Error::missed(&replay.target.uri, why)
            .next("What was measured before that is above and in the files."));
    }
    if !replay.lost.is_empty() {
        return Err(Error::missed("output", replay.lost.join("; ")));
    }
    let is_cut = matches!(replay.stop.reason(), Some(Reason::Signal));
    if !replay.any_success() && !is_cut {
        return Err(Error::missed(
            "no measured request succeeded",
            "see the failures above",
        ));
    }
    Ok(if is_cut { 130 } else { 0 })
}
