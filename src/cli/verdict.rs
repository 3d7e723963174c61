//! The exit code of a run: the one place that decides it.

use super::run::Run;
use crate::client::endpoint::without_secrets;
use crate::error::{Error, Result};
use crate::load::stop::Reason;

/// What a command knows of the end beside the run itself.
#[derive(Default)]
pub struct Ending {
    /// A signal is the end that the command was made for.
    pub is_endless: bool,
    /// Why the server that the command started is gone.
    pub died: Option<Error>,
    /// Limits of the user that were missed: the option, and what is wrong.
    pub missed: Vec<(String, String)>,
}

/// The exit code once all that was measured is shown and written. Where several causes hold, the first of: an output
/// was lost (1), a signal cut a finite run short (130), the server was gone or no measured request succeeded (1), a
/// limit was missed (1). A run that the server refused (2) has ended before.
///
/// # Errors
/// What the user is told beside the exit code.
pub fn verdict(run: &Run, ending: Ending) -> Result<u8> {
    let lost: Vec<&str> = run.log.lost.iter().map(|lost| lost.why.as_str()).collect();
    if !lost.is_empty() {
        return Err(Error::missed("output", lost.join("; ")));
    }
    if run.is_signalled() && !ending.is_endless {
        return Ok(130);
    }
    if let Some(died) = ending.died {
        return Err(died);
    }
    if let Some(Reason::Gone(failure)) = run.stop.reason() {
        let why = format!("nothing has answered for a minute: {}", failure.reason);
        let uri = without_secrets(&run.target.uri.to_string());
        return Err(Error::missed(uri, why)
            .next("What was measured before that is above and in the files."));
    }
    let figures = || run.report.passes.iter().map(|pass| &pass.figures);
    if figures().all(|figures| figures.successful == 0) {
        let why = match figures().any(|figures| figures.failed > 0) {
            true => "see the failures above",
            false => "none had ended; run longer",
        };
        return Err(Error::missed("no measured request succeeded", why));
    }
    let mut missed = ending.missed.into_iter();
    let Some((option, fault)) = missed.next() else {
        return Ok(0);
    };
    let error = Error::missed(option, fault);
    Err(missed.fold(error, |error, (option, fault)| {
        error.next(format!("[ERROR] {option}: {fault}"))
    }))
}
