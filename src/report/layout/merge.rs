//! `merge`: the shards of a run side by side, and how far their clocks and their times agree.

use serde::Serialize;
use serde_json::{Value, json};

use crate::report::document::{
    Answer, Cell, Digits, Document, Next, Node, Section, Style, Table, row,
};
use crate::stats::shards::{self, Clocks, Merged};
use crate::units::{counted, quoted, seconds};

/// A merge that has ended.
pub struct Merge {
    pub run_id: String,
    /// The number of shards of the run.
    pub of: u64,
    pub passes: Vec<Pass>,
    pub clocks: Clocks,
    pub requests: u64,
    /// The file that was written.
    pub output: String,
    /// Files that were left out because another one has their shard, in words.
    pub doubled: Vec<String>,
    /// Files whose last line is incomplete, in words.
    pub torn: Vec<String>,
}

/// A pass of all shards.
pub struct Pass {
    /// The files, in the order of their shards.
    pub rows: Vec<Row>,
    pub merged: Merged,
}

/// A file's part of a pass. The names of the fields are the keys in the series `merge`.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub file: String,
    pub shards: Vec<u64>,
    pub sent: u64,
    pub failed: u64,
    /// The requests that the plan gives to these shards; `None`: nothing tells the number.
    pub planned: Option<u64>,
    /// The first send and the last end; `None` without a request.
    pub span_ns: Option<(u64, u64)>,
    /// Whether the file lacks some of its requests or the end of the pass.
    pub is_cut: bool,
}

impl Row {
    /// Returns the row of both passes together.
    fn and(&self, other: &Row) -> Row {
        Row {
            sent: self.sent + other.sent,
            failed: self.failed + other.failed,
            planned: self
                .planned
                .zip(other.planned)
                .map(|(one, other)| one + other),
            span_ns: shards::union(self.span_ns.into_iter().chain(other.span_ns)),
            is_cut: self.is_cut || other.is_cut,
            ..self.clone()
        }
    }
}

impl Merge {
    /// Returns a row of each file over all passes.
    fn rows(&self) -> Vec<Row> {
        let mut passes = self.passes.iter().map(|pass| pass.rows.clone());
        let first = passes.next().unwrap_or_default();
        passes.fold(first, |rows, more| {
            rows.iter()
                .zip(&more)
                .map(|(one, other)| one.and(other))
                .collect()
        })
    }

    /// Says what is missing or cut, each with the requests that it was to send.
    pub fn lacks(&self) -> Vec<String> {
        let mut missing: Vec<(u64, Option<u64>)> = Vec::new();
        for (at, pass) in self.passes.iter().enumerate() {
            for (place, &(index, planned)) in pass.merged.missing.iter().enumerate() {
                match missing.get_mut(place) {
                    Some((_, sum)) if at > 0 => {
                        *sum = sum.zip(planned).map(|(sum, planned)| sum + planned);
                    }
                    _ => missing.push((index, planned)),
                }
            }
        }
        let mut lacks = shards::missing(&missing);
        for row in self.rows().iter().filter(|row| row.is_cut) {
            let planned = row.planned.map(|planned| {
                format!(
                    "{} of the {} that it was to send",
                    row.sent,
                    counted(planned, "request")
                )
            });
            let sent = || {
                format!(
                    "{}; nothing tells what it was to send",
                    counted(row.sent, "request")
                )
            };
            lacks.push(format!(
                "shard {} was cut: {} has {}",
                list_of(&row.shards),
                row.file,
                planned.unwrap_or_else(sent)
            ));
        }
        lacks
    }

    /// Returns the lowest overlap of a pass, with its name if there are several.
    fn overlap(&self) -> Option<(f64, String)> {
        let overlaps = self
            .passes
            .iter()
            .filter_map(|pass| Some((pass.merged.overlap?, &pass.merged.facts)));
        let lowest = overlaps.min_by(|(one, _), (other, _)| one.total_cmp(other));
        lowest.map(|(share, facts)| match self.passes.len() {
            1 => (share, String::new()),
            _ => (share, format!(", lowest at {}", facts.name())),
        })
    }

    /// Returns the notes, which the merged file keeps.
    fn notes(&self) -> Vec<String> {
        let lacks = self.lacks();
        let of_files = lacks.iter().chain(&self.doubled).chain(&self.torn);
        let mut notes: Vec<String> = of_files.map(|note| format!("Merged: {note}")).collect();
        if let Some((share, at)) = self.overlap().filter(|(share, _)| *share < shards::OVERLAP) {
            notes.push(match share > 0.0 {
                true => format!(
                    "All shards were at work in {:.1} % of the time{at}: rates are taken over that time only, latencies over all requests",
                    share * 100.0
                ),
                false => format!("The shards were not at work at one time{at}, so there are no rates of all of them"),
            });
        }
        notes.extend(self.clocks.notes.iter().cloned());
        notes
    }

    /// Returns the line of the series `merge`.
    pub fn line(&self) -> Value {
        let passes = self.passes.iter().map(|Pass { rows, merged }| {
            json!({"name": merged.facts.name(), "files": rows, "overlap": merged.overlap})
        });
        json!({
            "passes": passes.collect::<Vec<_>>(),
            "clocks": self.clocks,
            "notes": self.notes(),
        })
    }
}

/// Makes the report.
pub fn document(merge: &Merge) -> Document {
    let mut section = Section::new("Shards");
    let held = merge
        .rows()
        .iter()
        .map(|row| row.shards.len())
        .sum::<usize>();
    section.line(format!(
        "Merged {held} of {} of run {}: {}",
        counted(merge.of, "shard"),
        merge.run_id,
        counted(merge.requests, "request")
    ));
    section.line("");
    section.table(table(&merge.rows()));
    section.line("");
    if let Some((share, at)) = merge.overlap() {
        section.line(format!("Overlap: {:.1} % of the time{at}", share * 100.0));
    }
    section.line(match merge.clocks.within_us {
        Some(within) => format!(
            "Clocks: at most {:.0} ms apart, by the dates of the server's replies",
            within as f64 / 1e3
        ),
        None => {
            "Clocks: not known to agree, since not all shards saw dates in the server's replies"
                .to_string()
        }
    });
    Document {
        sections: vec![section],
        remarks: merge.notes(),
        answer: Some(Answer {
            sentence: sentence(merge),
            next: Next::of(format!(
                "tmesh-cli report --input {}",
                quoted(&merge.output)
            )),
            data: Node::default(),
        }),
        ..Document::default()
    }
}

/// Says what the merged file is.
fn sentence(merge: &Merge) -> String {
    let (output, of) = (&merge.output, counted(merge.of, "shard"));
    match (merge.lacks().is_empty(), merge.doubled.is_empty()) {
        (true, true) => format!("Merge: WHOLE. {output} is the run of all {of}"),
        (true, false) => format!(
            "Merge: WHOLE, BUT DOUBLED. {output} is the run of all {of}; files that repeat one are left out"
        ),
        (false, _) => format!("Merge: NOT WHOLE. {output} lacks what the notes above say"),
    }
}

/// Returns a row of each file; times count from the first send of all.
fn table(rows: &[Row]) -> Table {
    let starts = rows.iter().filter_map(|row| Some(row.span_ns?.0));
    let zero_ns = starts.min().unwrap_or(0);
    let time = |ns: Option<u64>| match ns {
        Some(ns) => Cell::Number(seconds(ns - zero_ns), Digits::Exactly(2), "s"),
        None => Cell::NONE,
    };
    let cells = rows.iter().map(|of| {
        let state = if of.is_cut { "CUT" } else { "whole" };
        row(
            list_of(&of.shards),
            [
                Cell::Count(of.sent),
                of.planned.map_or(Cell::NONE, Cell::Count),
                Cell::Count(of.failed),
                time(of.span_ns.map(|(from_ns, _)| from_ns)),
                time(of.span_ns.map(|(_, to_ns)| to_ns)),
                Cell::Text(state.to_string()),
            ],
        )
    });
    let columns = [
        ("Requests", 10),
        ("Planned", 10),
        ("Failed", 9),
        ("First send", 13),
        ("Last end", 13),
        ("State", 9),
    ];
    Table::new(Style::Plain, ("Shard", 10), columns, cells)
}

/// Returns numbers in words, such as `0, 2`.
fn list_of(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    words.join(", ")
}
