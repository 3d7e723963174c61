//! Emptying the server's cache between rounds or levels.

use crossbeam_channel::{bounded, select};

use crate::cli::connect::Opened;
use crate::cli::side::{ResetAnswer, SideUrl, reset_answer};
use crate::error::{Error, Result};
use crate::load::stop::Stop;

/// Empties the cache. If the run is stopped meanwhile, the answer is not waited for.
///
/// # Errors
/// Fails when the server does not confirm it. `has_measured`: there are results already.
pub fn reset(url: &SideUrl, opened: &Opened, stop: &Stop, has_measured: bool) -> Result<()> {
    let what = format!("--reset-cache-url {}", url.shown);
    let failed = |why: String| match has_measured {
        true => Error::missed(&what, why),
        false => Error::input(&what, why),
    };
    let small = url.open_beside(opened);
    let (tell, told) = bounded(1);
    let text = url.text.clone();
    std::thread::spawn(move || tell.send(small.and_then(|small| small.post(&text, ""))));
    let page = select! {
        recv(told) -> page => page.map_err(|_| failed("it panicked; this is a bug".to_string()))?,
        recv(stop.woken()) -> _ => return Ok(()),
    };
    let page = page.map_err(|failure| failed(failure.to_string()))?;
    Err(failed(match reset_answer(&page) {
        ResetAnswer::Done => return Ok(()),
        ResetAnswer::Failed(words) => {
            let words = opened.link.redact(words);
            format!("the server says that the reset failed: {words}")
        }
        ResetAnswer::Refused(status, words) => {
            let words = opened.link.redact(words);
            format!("the reset failed: HTTP {status}: {words}")
        }
    }))
}
