//! Other people's datasets as the JSON lines that `dataset` reads.
//!
//! In: the text of one record. Out: one line, or what is wrong with it; and counts of what was dropped. It opens the
//! files that it is told to read, and writes none.

pub mod longbench;
pub mod sharegpt;
pub mod tasks;

use std::ops::ControlFlow;
use std::path::Path;

use super::dataset::source;
pub use super::dataset::source::{Problem, Raw};
use crate::error::{Error, Result};

/// Hands over each record of a file; `what` begins every error.
///
/// # Errors
/// The first record that `on_record` refuses, and what `dataset::load` refuses.
pub fn read(
    what: &str,
    path: &Path,
    mut on_record: impl FnMut(Raw<'_>) -> std::result::Result<(), Problem>,
) -> Result<()> {
    let mut wrong = None;
    source::read(
        what,
        source::open(what, path)?,
        &mut |raw| match raw.and_then(&mut on_record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                wrong = Some(problem);
                ControlFlow::Break(())
            }
        },
    )?;
    match wrong {
        Some(Problem { line, why }) => Err(Error::input(format!("{what}, line {line}"), why)),
        None => Ok(()),
    }
}
