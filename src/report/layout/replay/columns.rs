//! The rounds side by side: the guide's block of the server's metrics, and `metrics_summary.csv`.

use super::spread::{DECIMALS, Distribution};
use crate::report::document::{Block, Cell, Document, Medium, Section, Style, Table, row};
use crate::report::layout::common::figure;
use crate::stats::pass::Pass;

/// The statistics of a spread, as the guide's block and its CSV file name them.
const BLOCK_NAMES: [&str; 7] = ["Average", "P50", "P90", "P99", "Min", "Max", "Stddev"];
const CSV_NAMES: [&str; 7] = ["Average", "Median", "P90", "P99", "Min", "Max", "Stddev"];

/// The guide's lines below the spreads in the CSV file, each with its key in the catalogue; a line without a key begins
/// a part.
const LINES: [(&str, &str); 12] = [
    ("Throughput", ""),
    ("Token Throughput (tokens/sec)", "throughput_tokens_per_s"),
    (
        "Request Throughput (requests/sec)",
        "request_throughput_rps",
    ),
    ("Goodput (SLO)", ""),
    ("Requests Meeting SLO", "goodput_requests"),
    ("Requests Meeting SLO (%)", "goodput_requests_percent"),
    ("Tokens Meeting SLO", "goodput_tokens"),
    ("Tokens Meeting SLO (%)", "goodput_tokens_percent"),
    ("Requests", ""),
    ("Total", "total_requests"),
    ("Success", "successful_requests"),
    ("Failed", "failed_requests"),
];

/// Makes the guide's block of the server's metrics, with one column for each round, for a screen; empty without
/// metrics.
pub fn closing(passes: &[Pass]) -> Section {
    let mut section = Section::new("");
    let metrics = passes.iter();
    let metrics = metrics.map(|pass| Distribution::metrics(pass).collect());
    let rows = spreads(&metrics.collect::<Vec<_>>(), BLOCK_NAMES);
    if rows.is_empty() {
        return section;
    }
    let names = passes.iter().map(|pass| {
        let (concurrency, round) = labels(pass);
        format!("C{concurrency}-R{round}")
    });
    let names: Vec<String> = names.collect();
    let cells = rows.iter().flat_map(|row| &row[1..]);
    let widths = cells.map(|cell| cell.to_string().len());
    let width = widths.chain(names.iter().map(String::len)).max();
    let columns = names.into_iter();
    let columns = columns.map(|name| (name, width.unwrap_or(0)));
    let legend = ("(C concurrency, R round)".to_string(), 0);
    let corner = ("Columns", "Columns".len());
    let table = Table::new(Style::Words, corner, columns.chain([legend]), rows);
    section.line("Prometheus Metrics");
    section.line("");
    section.add(Medium::Screen, Block::Table(table));
    section.line("");
    section
}

/// Makes `metrics_summary.csv` in the guide's wide layout: one column for each round, one part for each figure.
pub fn csv(passes: &[Pass]) -> Document {
    let figures = passes.iter().map(|pass| Distribution::all(pass).collect());
    let mut rows = spreads(&figures.collect::<Vec<_>>(), CSV_NAMES);
    let has_slo = passes.iter().any(|pass| pass.figures.goodput.is_some());
    for (name, key) in LINES {
        if has_slo || !name.contains("SLO") {
            let passes = if key.is_empty() { &[] } else { passes };
            let cells = passes.iter().map(|pass| figure(pass, key, DECIMALS));
            rows.push(row(name, cells));
        }
    }
    let columns = passes.iter().map(|pass| {
        let (concurrency, round) = labels(pass);
        (format!("Concurrency{concurrency}-Round{round}"), 0)
    });
    let mut section = Section::new("");
    section.table(Table::new(Style::Plain, ("Metric/Round", 0), columns, rows));
    Document {
        sections: vec![section],
        ..Document::default()
    }
}

/// Returns the level of concurrency and the number of the round.
pub fn labels(pass: &Pass) -> (u64, u64) {
    let facts = &pass.facts;
    (facts.concurrency.unwrap_or(0), facts.round.unwrap_or(0))
}

/// Returns one part for every figure of any round, in the order of first appearance: its name, then a row for each of
/// its statistics with a cell for each round.
fn spreads(rounds: &[Vec<Distribution<'_>>], statistics: [&'static str; 7]) -> Vec<Vec<Cell>> {
    let mut names: Vec<&str> = Vec::new();
    for figure in rounds.iter().flatten() {
        if !names.contains(&figure.name) {
            names.push(figure.name);
        }
    }
    let mut rows = Vec::new();
    for name in names {
        let columns = rounds.iter().map(|figures| {
            let figure = figures.iter().find(|figure| figure.name == name);
            figure.map_or([Cell::NONE; 7], Distribution::cells)
        });
        let columns: Vec<[Cell; 7]> = columns.collect();
        rows.push(row(name, []));
        for (at, statistic) in statistics.into_iter().enumerate() {
            rows.push(row(statistic, columns.iter().map(|of| of[at].clone())));
        }
    }
    rows
}
