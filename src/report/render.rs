//! A saved run in each of the formats.

use std::fmt::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::load_json::LoadFile;
use super::saved::{Figures, Report, Round};
use super::workload_json::SummaryFile;
use super::{bars, finish, html, json, load, markdown, round_json, table, workloads};
use crate::stats::bootstrap::Comparison;
use crate::stats::load::LoadSummary;

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Markdown,
    Html,
}

impl Format {
    pub fn parse(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "markdown" => Ok(Format::Markdown),
            "html" => Ok(Format::Html),
            _ => Err("want table, json, markdown or html".to_string()),
        }
    }
}

/// What a text goes to.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Of a terminal; `None`: it goes elsewhere.
    pub width: Option<usize>,
    pub is_utf8: bool,
}

/// The whole report as text.
///
/// # Errors
/// None that has been seen: a String takes all.
pub fn render(report: &Report, format: Format, screen: Screen) -> Result<String, fmt::Error> {
    let mut out = String::new();
    match format {
        Format::Table => text(&mut out, report, screen)?,
        Format::Json => {
            out = figures(report).map_err(|_| fmt::Error)?;
            out.push('\n');
        }
        Format::Markdown => markdown::report(&mut out, report)?,
        Format::Html => html::report(&mut out, report)?,
    }
    Ok(out)
}

/// As the command printed it, then distributions and what the input does not tell.
fn text(out: &mut String, report: &Report, screen: Screen) -> fmt::Result {
    match &report.figures {
        Figures::Benchmark { summary, why } => finish::report(out, summary, why)?,
        Figures::Replay(rounds) => {
            for round in rounds {
                table::saved_round(out, round, screen.width)?;
                writeln!(out)?;
            }
            let summaries: Vec<_> = rounds.iter().map(|round| round.summary.clone()).collect();
            if summaries.iter().any(|round| !round.metrics.is_empty()) {
                table::prometheus(out, &summaries)?;
                writeln!(out)?;
            }
        }
        Figures::Run(workloads) => workloads::table(out, workloads)?,
        Figures::Load(points) => load::report(out, points)?,
    }
    if report.is_mock() {
        writeln!(out, "{}", super::MOCK)?;
    }
    // What follows begins with a blank line of its own.
    out.truncate(out.trim_end().len());
    writeln!(out)?;
    bars::write(out, report, screen.is_utf8)?;
    if !report.notes.is_empty() {
        writeln!(out)?;
    }
    let mut notes = report.notes.iter();
    notes.try_for_each(|note| writeln!(out, "Note: {note}"))?;
    *out = harmless(out);
    Ok(())
}

/// The block of a point of `load`, as the whole report begins or goes on with it.
///
/// # Errors
/// As of `render`.
pub fn load_point(one: &LoadSummary) -> Result<String, fmt::Error> {
    let mut out = String::new();
    load::point(&mut out, one)?;
    writeln!(out)?;
    Ok(harmless(&out))
}

fn harmless(text: &str) -> String {
    text.replace(|c: char| super::steers(c) && c != '\n', "\u{fffd}")
}

/// For a benchmark what its `--output` has; for a replay a list of rounds; for a run its summary; for a load its
/// result file.
fn figures(report: &Report) -> serde_json::Result<String> {
    match &report.figures {
        Figures::Benchmark { summary, why } => {
            let file = json::ResultFile::new(&report.about, summary, Some(why));
            serde_json::to_string_pretty(&file)
        }
        Figures::Replay(rounds) => serde_json::to_string_pretty(&ReplayFile {
            schema: "tmesh-cli/replay-report/1",
            tool_version: env!("CARGO_PKG_VERSION"),
            about: &report.about,
            notes: &report.notes,
            rounds: rounds.iter().map(RoundFigures::of).collect(),
        }),
        Figures::Run(workloads) => serde_json::to_string_pretty(&SummaryFile {
            about: &report.about,
            workloads,
        }),
        Figures::Load(points) => serde_json::to_string_pretty(&LoadFile {
            about: &report.about,
            points,
        }),
    }
}

#[derive(Serialize)]
struct ReplayFile<'a> {
    schema: &'static str,
    tool_version: &'static str,
    about: &'a Value,
    notes: &'a [String],
    rounds: Vec<RoundFigures<'a>>,
}

#[derive(Serialize)]
struct RoundFigures<'a> {
    concurrency: u64,
    round: u64,
    /// Null where only the round's own file tells it.
    complete: Option<bool>,
    /// The keys of the round's own file.
    summary: round_json::Figures<'a>,
    /// Of TTFT, with the ends of its 95 % interval; null for the first round.
    against_round_1: Option<&'a Comparison>,
}

impl RoundFigures<'_> {
    fn of(round: &Round) -> RoundFigures<'_> {
        RoundFigures {
            concurrency: round.summary.concurrency,
            round: round.summary.round,
            complete: round.is_cut_short.map(|is_cut| !is_cut),
            summary: round_json::Figures(&round.summary),
            against_round_1: round.comparison.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_table_steers_the_terminal() {
        let text = "a\u{1b}[31m\r\u{7}\u{9b}2J é ▇ \u{202e}x\n";
        let wanted = "a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}2J é ▇ \u{fffd}x\n";
        assert_eq!(harmless(text), wanted);
    }
}
