//! The exit code of a run, decided only here.

use super::run::Run;
use crate::client::endpoint::without_secrets;
use crate::collect::Log;
use crate::error::{Error, Result};
use crate::load::stop::Reason;

const MEASURED_BEFORE: &str = "What was measured before that is above and in the files.";

/// The facts that a command knows about the end of its run.
#[derive(Default)]
pub struct Ending {
    /// Whether a signal is the command's regular end.
    pub is_endless: bool,
    /// The error that ended the run before its plan: the server that the command started has ended, or refuses what a
    /// later part of the run needs.
    pub died: Option<Error>,
    /// The user's limits that were missed: the option, and the reason.
    pub missed: Vec<(String, String)>,
    /// Whether a question that the user asked has no clear answer.
    pub is_unclear: bool,
}

/// Returns the exit code once all results are shown and written. The first of these that applies decides: an output was
/// lost (1), a signal cut a finite run short (130), the server ended, no measured request succeeded or the last ones
/// got no answer (1), a limit was missed (1), an answer is unclear (3). A run that the server refused (2) has ended
/// before.
///
/// # Errors
/// Fails with what the user is told besides the exit code.
pub fn verdict(run: &Run, ending: Ending) -> Result<u8> {
    outputs(&run.log)?;
    if run.stop.is_signalled() && !ending.is_endless {
        return Ok(130);
    }
    if let Some(died) = ending.died {
        return Err(died);
    }
    if let Some(Reason::Gone(failure)) = run.stop.reason() {
        let why = format!("nothing has answered for a minute: {}", failure.reason);
        let uri = without_secrets(&run.target.uri.to_string());
        return Err(Error::missed(uri, why).next(MEASURED_BEFORE));
    }
    let figures = || run.report.passes.iter().map(|pass| &pass.figures);
    let mut passes = run.report.passes.iter();
    let is_idle = run.shard.is_some() && passes.all(|pass| pass.facts.planned == Some(0));
    if !is_idle && figures().all(|figures| figures.successful == 0) {
        let why = match figures().any(|figures| figures.failed > 0) {
            true => "see the failures above",
            false => "none had ended; run longer",
        };
        return Err(Error::missed("no measured request succeeded", why));
    }
    if let Some(why) = &run.gone {
        let uri = without_secrets(&run.target.uri.to_string());
        return Err(Error::missed(uri, why).next(MEASURED_BEFORE));
    }
    answer(ending)
}

/// Returns the exit code of a command that has sent nothing: an output was lost (1), a limit was missed (1), an answer
/// is unclear (3).
///
/// # Errors
/// Fails with what the user is told besides the exit code.
pub fn of_saved(log: &Log, ending: Ending) -> Result<u8> {
    outputs(log)?;
    answer(ending)
}

fn outputs(log: &Log) -> Result<()> {
    let lost: Vec<&str> = log.lost.iter().map(|lost| lost.why.as_str()).collect();
    match lost.is_empty() {
        true => Ok(()),
        false => Err(Error::missed("output", lost.join("; "))),
    }
}

fn answer(ending: Ending) -> Result<u8> {
    let mut missed = ending.missed.into_iter();
    let Some((option, fault)) = missed.next() else {
        return Ok(if ending.is_unclear { 3 } else { 0 });
    };
    let error = Error::missed(option, fault);
    Err(missed.fold(error, |error, (option, fault)| {
        error.next(format!("[ERROR] {option}: {fault}"))
    }))
}
