//! The report and the result file of an experiment, which have the same form for `probe`, `compare` and `find-rate`.

use serde_json::Value;

use super::common;
use super::failures;
use super::keys;
use super::report::Report;
use crate::report::charts::Charts;
use crate::report::document::{Answer, Document, Next, Node, Section};
use crate::stats::pass::Pass;

/// The keys of a result file: those of the header, then those of the findings.
pub struct Form {
    pub schema: &'static str,
    /// The keys of the findings, in the order of the file. No header has them.
    pub keys: &'static [&'static str],
}

impl Form {
    /// Makes the report of an experiment, which ends with what was found, in one sentence, and with the next step.
    /// `remarks` are made of the findings; notes on the input follow. Failures come after all other sections.
    pub fn document(
        &self,
        report: &Report,
        remarks: Vec<String>,
        (mut sections, charts): (Vec<Section>, Charts),
        (sentence, next): (String, Next),
    ) -> Document {
        // A result file has no requests.
        if !report.passes.is_empty() {
            sections.push(failures::table(&report.passes, Pass::name));
        }
        Document {
            remarks: remarks.into_iter().chain(report.notes.clone()).collect(),
            sections,
            charts: vec![charts],
            answer: Some(Answer {
                sentence,
                next,
                data: Node::default(),
            }),
            data: self.data(report),
            ..common::frame(report)
        }
    }

    /// Makes the value of a result file.
    fn data(&self, report: &Report) -> Node {
        let mut entries = keys::head(self.schema);
        let header = report.about.as_object().into_iter().flatten();
        entries.extend(header.map(|(key, value)| (key.clone().into(), value.clone().into())));
        let found = self.keys.iter();
        entries.extend(found.map(|&key| (key.into(), report.findings[key].clone().into())));
        Node::Object(entries)
    }

    /// Reads a result file back; `None` if it has another schema.
    pub fn read(&self, file: &Value) -> Option<Report> {
        if file["schema"] != self.schema {
            return None;
        }
        let mut about = file.clone();
        let is_of_header =
            |key: &str| !["schema", "tool_version"].contains(&key) && !self.keys.contains(&key);
        about.as_object_mut()?.retain(|key, _| is_of_header(key));
        Some(Report {
            about,
            findings: file.clone(),
            ..Report::default()
        })
    }
}
