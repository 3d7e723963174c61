//! The input of a layout: a run with its passes and notes.

use serde_json::Value;

use crate::stats::pass::Pass;

/// A run, ready to be shown.
pub struct Report {
    /// The header of the samples file without `schema` and `tool_version`: an object with command, model, options.
    pub about: Value,
    pub passes: Vec<Pass>,
    /// The findings of a probe; null in the report of another command.
    pub probe: Value,
    /// Notes on the input.
    pub notes: Vec<String>,
}
