//! Samples files of earlier runs, read whole.

use std::io::BufRead;

use serde_json::Value;

use crate::error::Result;
use crate::report::layout::report::Report;
use crate::samples_file::{Entry, Reader};
use crate::stats::pass::Passes;

/// A run as its samples file has it.
pub struct Saved {
    pub run: Report,
    /// Whether the last line is incomplete: the run was killed, or is still writing.
    pub is_torn: bool,
}

impl Saved {
    /// # Errors
    /// Fails when a line is wrong.
    pub fn read(mut reader: Reader<impl BufRead>) -> Result<Saved> {
        let mut passes = Passes::new(&reader.header);
        let mut run = Report::default();
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Sample(sample) => passes.sample(*sample),
                Entry::Vitals(seen) => passes.vitals(seen),
                Entry::Tokens(id, tokens, source) => passes.tokens(id, tokens, source),
                Entry::Pass(line) => passes.pass(&line),
                Entry::Findings(found) => run.findings = found,
                Entry::Merge(line) => run.notes.extend(notes_of(&line)),
                Entry::Clock(_) | Entry::Other => {}
            }
        }
        run.passes = passes.finish();
        run.about = reader.header;
        Ok(Saved {
            run,
            is_torn: reader.is_torn,
        })
    }
}

/// Returns the notes in the line of a merge.
fn notes_of(line: &Value) -> impl Iterator<Item = String> {
    let notes = line["notes"].as_array().into_iter().flatten();
    notes.filter_map(|note| Some(note.as_str()?.to_string()))
}
