//! The failures of a run: their share, the first of each kind, and the table of them.

use std::collections::BTreeMap;

use super::common::{self, list, page_table};
use crate::report::document::{Block, Cell, Medium, Section, row};
use crate::sample::why;
use crate::stats::pass::Pass;

/// A report begins with its failures if they are more than this share of the requests.
const NOTABLE_FAILURES: f64 = 0.01;

/// The number of requests, of failures, and of failures of each kind.
#[derive(Default)]
pub struct Failed<'a> {
    pub requests: u64,
    pub failed: u64,
    pub kinds: BTreeMap<&'a str, u64>,
}

impl Failed<'_> {
    /// Counts the failures of these passes.
    pub fn of(passes: &[Pass]) -> Failed<'_> {
        let mut all = Failed::default();
        for figures in passes.iter().map(|pass| &pass.figures) {
            all.requests += figures.requests;
            all.failed += figures.failed;
            for (kind, failure) in &figures.failures {
                *all.kinds.entry(kind).or_insert(0) += failure.count;
            }
        }
        all
    }

    /// Begins a section with the failures if they are more than 1 % of the requests.
    pub fn begin(&self, section: &mut Section) {
        let (failed, requests) = (self.failed, self.requests);
        if failed as f64 <= NOTABLE_FAILURES * requests as f64 {
            return;
        }
        let share = Cell::percent(failed as f64 / requests as f64);
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_cached_key(|(_, count)| u64::MAX - **count);
        let kinds = kinds.iter().map(|(kind, count)| format!("{kind} {count}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let line = format!("FAILED REQUESTS: {failed} of {requests} ({share}): {kinds}");
        section.line(line.clone());
        section.add(Medium::Page, Block::List(vec![line]));
    }
}

/// Says how many requests failed, if any. A screen has a line for each kind with its first failure; pages have a table
/// for that.
pub fn lines(section: &mut Section, pass: &Pass) {
    section.count("Failed Requests", pass.figures.failed);
    for (kind, failure) in &pass.figures.failures {
        let (count, why) = (failure.count, why(failure.status, &failure.example));
        section.line(format!("  {kind} {count}, the first: {why}"));
    }
}

/// Says which requests of a run failed, and whether this client kept up until its end.
pub fn requests(section: &mut Section, passes: &[Pass]) {
    for pass in passes {
        lines(section, pass);
    }
    if let Some(pass) = passes.last() {
        common::client(section, pass);
    }
}

/// Makes the table of failures of every pass by kind, for pages; `place` names a pass.
pub fn table(passes: &[Pass], place: fn(&Pass) -> String) -> Section {
    const TITLE: &str = "Failures";
    let mut rows = Vec::new();
    for pass in passes {
        for (kind, failure) in &pass.figures.failures {
            let first = why(failure.status, &failure.example);
            let cells = [failure.count.into(), place(pass).into(), first.into()];
            rows.push(row(*kind, cells));
        }
    }
    if rows.is_empty() {
        let none = "None: every request that was measured succeeded".to_string();
        return list(TITLE, vec![none]);
    }
    page_table(TITLE, ["Kind", "Count", "Where", "The first"], rows)
}
