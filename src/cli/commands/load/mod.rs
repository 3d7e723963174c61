//! `tmesh-cli load`: N requests, or as many as a time lets out, in a closed loop, at a rate or as a trace says.

mod limits;
mod options;
mod outputs;
mod points;
mod run;
mod start;

pub use self::options::Options;
use self::run::Load;
use crate::cli::args::Args;
use crate::cli::conditions;
use crate::cli::connect::Connection;
use crate::cli::discover::refused;
use crate::error::{Error, Result};
use crate::load::stop::Reason;

/// Runs the command; the exit code.
pub fn run(mut args: Args) -> Result<u8> {
    let connection = Connection::parse(&mut args)?;
    let options = Options::parse(&mut args)?;
    let mut load = start::open(connection, options)?;
    load.points()?;
    end(load)
}

/// Shows what there is and judges.
fn end(mut load: Load) -> Result<u8> {
    if let Some(Reason::Refused(status, failure)) = load.stop.reason() {
        return Err(refused(&load.target, *status, failure));
    }
    let is_cut = matches!(load.stop.reason(), Some(Reason::Signal));
    if load.summaries.is_empty() && is_cut {
        eprintln!("stopped before the first measured request; nothing was measured");
        return Ok(130);
    }
    load.finish()?;
    verdict(&load, is_cut)
}

/// The exit code, once all that was measured is shown and written.
fn verdict(load: &Load, is_cut: bool) -> Result<u8> {
    if let Some(Reason::Gone(failure)) = load.stop.reason() {
        let why = format!("nothing has answered for a minute: {}", failure.reason);
        return Err(Error::missed(&load.target.uri, why));
    }
    if !load.lost.is_empty() {
        return Err(Error::missed("output", load.lost.join("; ")));
    }
    if is_cut {
        return Ok(130);
    }
    // Of the measured ones: the warm-up may have gone well.
    if load.summaries.iter().all(|one| one.round.successful == 0) {
        let why = "see the failures above";
        return Err(Error::missed("no measured request succeeded", why));
    }
    let options = &load.options;
    let limits_ttft = options.slo.is_some_and(|slo| slo.ttft_ms.is_some());
    if limits_ttft && load.summaries.iter().any(|one| one.is_not_streamed()) {
        let why = "a limit on ttft_ms, but the server did not stream: no request has a TTFT";
        return Err(Error::missed("--slo-file", why));
    }
    let missed = options.limits.missed(&options.points, &load.summaries);
    conditions::error(missed).map_or(Ok(0), Err)
}
