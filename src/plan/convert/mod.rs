//! Other people's datasets as the JSON lines that `dataset` reads.
//!
//! In: the text of one record. Out: one line, or what is wrong with it; and counts of what was dropped. It opens the
//! files that it is told to read, and writes none.

pub mod longbench;
pub mod sharegpt;
pub mod tasks;

use std::path::Path;

use super::dataset::source;
pub use super::dataset::source::{Problem, Raw};
use crate::error::Result;

/// Hands over each record of a file; `what` begins every error.
///
/// # Errors
/// The first record that `on_record` refuses, and what `dataset::load` refuses.
pub fn read(
    what: &str,
    path: &Path,
    mut on_record: impl FnMut(Raw<'_>) -> std::result::Result<(), Problem>,
) -> Result<()> {
    source::read(what, source::open(what, path)?, |raw| on_record(raw?))
}
