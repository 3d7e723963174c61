//! `compare`: the figures of two sides with the verdict on each, and what to do next.

mod figure;
mod next;
mod sentence;
mod summary;

use serde_json::Value;

use self::figure::{Figure, SIDES, confidence, is_of_runs, text};
use self::next::next;
pub use self::sentence::sentence;
pub use self::summary::summary;
use super::common;
use super::failures;
use super::findings::{count, list};
use super::form::Form;
use super::report::Report;
use crate::report::charts::{Charts, Series};
use crate::report::document::{Block, Cell, Document, Medium, Pair, Section, Style, Table, row};

pub const FORM: Form = Form {
    schema: "tmesh-cli/compare/1",
    keys: &[
        "verdict", "unit", "margin", "figures", "sides", "notes", "stopped",
    ],
};

/// Makes the report.
pub fn document(report: &Report) -> Document {
    let (about, found) = (&report.about, &report.findings);
    let mut sections = vec![figures(found), sides(found)];
    if !report.passes.is_empty() {
        let mut requests = Section::new("Requests");
        failures::requests(&mut requests, &report.passes);
        sections.push(requests);
    }
    let notes = list(&found["notes"]).chain([&found["stopped"]]);
    let notes = notes.filter_map(Value::as_str).map(str::to_string);
    let figures = (sections, charts(found));
    let answer = (sentence(found), next(about, found));
    FORM.document(report, notes.collect(), figures, answer)
}

/// Makes the table of the figures, and says what its marks mean and what numbers do not tell.
fn figures(found: &Value) -> Section {
    let all = Figure::all(found);
    let mut rows = Vec::new();
    let mut last = &Value::Null;
    for figure in &all {
        let point = &figure.of["point"];
        if let Some(name) = point.as_str().filter(|_| point != last) {
            rows.push(row(name, []));
        }
        last = point;
        rows.push(figure_row(figure));
    }
    let unit = match is_of_runs(found) {
        true => "Runs",
        false => "Pairs",
    };
    let columns = [
        ("Base", 8),
        ("New", 8),
        ("Change", 9),
        ("Interval", 16),
        ("Verdict", 8),
        (unit, 7),
        ("More", 6),
    ];
    let mut section = Section::new("Figures");
    section.table(Table::new(Style::Plain, ("Figure", 18), columns, rows));
    let has_rates = all.iter().any(Figure::is_share);
    let rates = has_rates.then(|| "changes of rates are in points".to_string());
    let confidence = confidence(&all).map(|of| format!("intervals have {of}"));
    let parts = std::iter::once("* decides".to_string());
    let parts: Vec<String> = parts.chain(rates).chain(confidence).collect();
    let mut notes = vec![parts.join("; ")];
    notes.extend(reasons(&all));
    section.add(Medium::Both, Block::List(notes));
    section.line("");
    section
}

fn figure_row(figure: &Figure) -> Vec<Cell> {
    let (_, name) = figure.names();
    let mark = if figure.decides() { " *" } else { "" };
    let unit = if figure.is_share() { "" } else { " %" };
    let absent = |text: Option<String>| text.map_or(Cell::NONE, Cell::from);
    let cells = [
        figure.side("base"),
        figure.side("new"),
        absent(figure.change().map(|change| change + unit)),
        absent(figure.interval()),
        figure.word().into(),
        figure.pairs().into(),
        figure.needed().map_or(Cell::Absent(""), Cell::from),
    ];
    row(format!("{name}{mark}"), cells)
}

/// Returns the reasons that numbers do not tell, each with its figures unless it holds for all of them.
fn reasons(all: &[Figure]) -> Vec<String> {
    let named = all.iter().map(|figure| {
        let why = figure.of["why"].as_str().map(str::to_string);
        (figure.name(), why.into_iter().collect())
    });
    let named: Vec<(String, Vec<String>)> = named.collect();
    common::in_places(&named)
}

/// Shows the sides: pairs on a screen, a table on a page.
fn sides(found: &Value) -> Section {
    let mut section = Section::new("Sides");
    let mut rows = Vec::new();
    for (side, of) in SIDES.into_iter().zip(list(&found["sides"])) {
        let tokens = ["prompt_tokens", "output_tokens"];
        let tokens = tokens.map(|key| Cell::exact(of[key].as_f64(), 1));
        let counts = ["requests", "failed", "runs"];
        let [requests, failed, runs] = counts.map(|key| count(of, key).unwrap_or(0));
        let (name, model) = (text(of, "name"), text(of, "model"));
        let of_runs = is_of_runs(found).then(|| Pair::new("Runs", runs));
        let pairs = [
            Pair::new(side, name),
            Pair::new("Model", model),
            Pair::new("Requests", requests),
            Pair::new("Failed", failed),
            Pair::new("Tokens", format!("{} in, {} out", tokens[0], tokens[1])),
        ];
        let pairs = pairs.into_iter().chain(of_runs).collect();
        section.add(Medium::Screen, Block::Pairs(pairs));
        let [prompt, output] = tokens;
        let cells = [
            name.into(),
            model.into(),
            runs.into(),
            requests.into(),
            failed.into(),
        ];
        rows.push(row(side, cells.into_iter().chain([prompt, output])));
    }
    let columns = [
        "Name",
        "Model",
        "Runs",
        "Requests",
        "Failed",
        "Prompt tokens",
        "Output tokens",
    ];
    let columns = columns.map(|name| (name, 0));
    let table = Table::new(Style::Words, ("Side", 0), columns, rows);
    section.add(Medium::Page, Block::Table(table));
    section
}

fn charts(found: &Value) -> Charts {
    let series = |key: &str| {
        let sides = SIDES.into_iter().zip(list(&found["sides"]));
        let series = sides.map(|(name, side)| {
            let [requests, failed] =
                ["requests", "failed"].map(|key| count(side, key).unwrap_or(0));
            let mut quantiles: Vec<f64> = list(&side[key]).filter_map(Value::as_f64).collect();
            quantiles.sort_unstable_by(f64::total_cmp);
            Series::of_quantiles(name, quantiles, requests.saturating_sub(failed))
        });
        series.collect()
    };
    Charts {
        beside: "TTFT side by side",
        ttft: series("ttft_ms"),
        itl: series("itl_ms"),
        latency: series("latency_ms"),
        ..Charts::default()
    }
}

#[cfg(test)]
mod tests;
