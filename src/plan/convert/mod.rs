//! Converts public datasets to the JSON lines that `dataset` reads.
//!
//! In: the text of one record. Out: one line, or what is wrong with the record; and counts of dropped records. It reads
//! the given files and writes none.

pub mod longbench;
pub mod sharegpt;
pub mod tasks;

use std::path::Path;

use super::dataset::source;
pub use super::dataset::source::{Problem, Raw};
use crate::error::Result;

/// Passes on each record of a file; `what` begins every error.
///
/// # Errors
/// Fails on the first record that `on_record` refuses, and where `dataset::load` does.
pub fn read(
    what: &str,
    path: &Path,
    mut on_record: impl FnMut(Raw<'_>) -> std::result::Result<(), Problem>,
) -> Result<()> {
    let mut file = source::open(what, path)?;
    source::read(what, &mut file, &mut |raw| on_record(raw?))
}
