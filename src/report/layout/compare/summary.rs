//! A comparison in five lines of Markdown, for a pull request.

use serde_json::Value;

use super::figure::{Figure, SIDES, confidence, is_of_runs, margin, sample_size, text};
use super::next::advice;
use super::sentence::sentence;
use crate::report::layout::common::MOCK;
use crate::report::layout::findings::{count, list};
use crate::report::layout::report::Report;
use crate::report::markdown;
use crate::units::counted;

/// Returns five lines of Markdown for a pull request: the verdict, the figures that decide, the sides with the warning
/// about a mock, the number of pairs or runs, and what to do next.
pub fn summary(report: &Report) -> String {
    let found = &report.findings;
    let all = Figure::all(found);
    let deciding = all.iter().filter(|figure| figure.decides());
    let deciding: Vec<String> = deciding.map(Figure::values).collect();
    let deciding = match deciding.is_empty() {
        true => "no figure decides".to_string(),
        false => deciding.join("; "),
    };
    let sides = SIDES.iter().zip(list(&found["sides"])).map(|(side, of)| {
        let failed = count(of, "failed").unwrap_or(0);
        let requests = counted(count(of, "requests").unwrap_or(0), "request");
        let name = text(of, "name");
        format!(
            "{side} {name} ({}): {requests}, {failed} failed",
            text(of, "model")
        )
    });
    let mock = (report.about["mock"] == true).then(|| MOCK.to_string());
    let lines = [
        deciding,
        sides.chain(mock).collect::<Vec<_>>().join("; "),
        method(found, &all),
        advice(found),
    ];
    let lines = lines.map(|line| format!("- {}\n", markdown::escaped(&line)));
    let sentence = markdown::escaped(&sentence(found));
    format!("**{sentence}**\n{}", lines.concat())
}

/// Says what was compared how, in the summary.
fn method(found: &Value, all: &[Figure]) -> String {
    let pairs = all
        .iter()
        .filter(|figure| figure.decides())
        .map(Figure::pairs);
    let n = sample_size(found, pairs.min().unwrap_or(0));
    let what = match is_of_runs(found) {
        true => "; a run counts as one",
        false => ", sent to the sides in random order",
    };
    let confidence = confidence(all).map_or(String::new(), |of| format!("; {of}"));
    let margin = margin(found);
    format!("{n}{what}; less than {margin} counts as no change{confidence}")
}
