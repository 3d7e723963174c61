//! Emptying the server's cache by a POST to a route of it.

use crossbeam_channel::{bounded, select};

use super::connect::Opened;
use super::side::{ResetAnswer, SideUrl, reset_answer};
use crate::load::stop::Stop;

/// Empties the cache. If the run is stopped meanwhile, the answer is not waited for.
///
/// # Errors
/// The reason why the server does not confirm it.
pub fn reset(url: &SideUrl, opened: &Opened, stop: &Stop) -> Result<(), String> {
    let small = url.open_beside(opened);
    let (tell, told) = bounded(1);
    let text = url.text.clone();
    std::thread::spawn(move || tell.send(small.and_then(|small| small.post(&text, ""))));
    let page = select! {
        recv(told) -> page => page.map_err(|_| "it panicked; this is a bug".to_string())?,
        recv(stop.woken()) -> _ => return Ok(()),
    };
    let page = page.map_err(|failure| failure.to_string())?;
    match reset_answer(&page) {
        ResetAnswer::Done => Ok(()),
        ResetAnswer::Failed(words) => {
            let words = opened.link.redact(words);
            Err(format!("the server says that the reset failed: {words}"))
        }
        ResetAnswer::Refused(status, words) => {
            let words = opened.link.redact(words);
            Err(format!("the reset failed: HTTP {status}: {words}"))
        }
    }
}
