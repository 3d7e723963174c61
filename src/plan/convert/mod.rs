//! Converts public datasets to the JSON lines that `dataset` reads.
//!
//! In: the text of one record. Out: one line, or what is wrong with the record; and counts of dropped records. It reads
//! the given files and writes none.

pub mod longbench;
pub mod sharegpt;
pub mod tasks;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// The texts that have come so far, each by its hash.
#[derive(Debug, Default)]
struct Texts(HashSet<u64>);

impl Texts {
    /// Notes a text; returns whether none like it came before.
    fn is_new(&mut self, text: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.0.insert(hasher.finish())
    }
}
