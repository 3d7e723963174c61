//! The input of a layout: a run with its passes and notes.

use serde::Serialize;
use serde_json::Value;

use super::notes;
use crate::report::json;
use crate::stats::pass::Pass;

/// A run, ready to be shown.
#[derive(Default)]
pub struct Report {
    /// The header of the samples file without `schema` and `tool_version`: an object with command, model, options.
    pub about: Value,
    pub passes: Vec<Pass>,
    /// The findings of an experiment; null in the report of another command.
    pub findings: Value,
    /// Notes on the input, and on how shards were merged.
    pub notes: Vec<String>,
}

impl Report {
    /// Takes the findings of an experiment that has ended, with the digits that a reader of its samples file finds.
    pub fn found(&mut self, findings: &impl Serialize) {
        self.findings = serde_json::from_str(&json::line(findings)).unwrap_or_default();
        let cut = notes::cut(&self.about, &self.passes);
        self.notes.extend(cut);
    }
}
