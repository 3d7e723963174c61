//! The guide's table of a round, and below it what the guide's tool does not say.

use std::fmt::{self, Write};

use super::cells::{self, Row, TABLE_NAMES, or_absent};
use super::notes::{self, COLD_HIT_RATE};
use super::saved::Round;
use super::{client, csv, percent};
use crate::stats::bootstrap::Comparison;
use crate::stats::round::RoundSummary;
use crate::units::fixed;

/// The guide's rules are this long.
const RULE: usize = 120;
/// The guide's columns: of names, and of figures.
const NAME_WIDTH: usize = 28;
const FIGURE_WIDTH: usize = 12;
/// Without the box: the whole width, that of a figure, and what the seven leave for names.
const NARROW: usize = 80;
const NARROW_FIGURE: usize = 8;
const NARROW_NAME: usize = NARROW - 7 * (NARROW_FIGURE + 1);

/// Above the metrics that are not of single requests.
pub(super) const WHOLE_ROUND: &str = "Prometheus over the Whole Round";

/// Said of a round that did not send all that it should have.
pub const CUT_SHORT: &str = "The round was cut short";

/// Writes the report of a round. `width` is that of the terminal; `None`: it goes elsewhere. Where
/// the box does not fit, plain columns of at most 80 characters.
pub fn round(out: &mut String, summary: &RoundSummary, width: Option<usize>) -> fmt::Result {
    let rows = cells::marked_rows(summary);
    let boxed = Boxed::of(&rows);
    if width.is_none_or(|width| width >= boxed.width()) {
        head(out, summary, RULE)?;
        boxed.write(out, &rows)?;
    } else {
        head(out, summary, NARROW)?;
        plain(out, &rows)?;
    }
    rates(out, summary)?;
    writeln!(out)?;
    beyond(out, summary, &rows)?;
    metrics(out, summary)?;
    notes::token_sources(out, &summary.token_sources)?;
    let (share, stale) = (summary.connect_share, summary.stale_connections);
    notes::connections(out, summary.successful, share, stale)?;
    notes::not_streamed(out, summary.not_streamed)?;
    client::line(out, &summary.client)
}

/// The same of a saved round, and below it what is said when a round has ended.
pub fn saved_round(out: &mut String, saved: &Round, width: Option<usize>) -> fmt::Result {
    round(out, &saved.summary, width)?;
    if let Some(pairs) = &saved.comparison {
        comparison(out, pairs)?;
    }
    if saved.is_cut_short == Some(true) {
        writeln!(out, "{CUT_SHORT}")?;
    }
    Ok(())
}

fn head(out: &mut String, summary: &RoundSummary, width: usize) -> fmt::Result {
    let rule = "=".repeat(width);
    let (concurrency, round) = (summary.concurrency, summary.round);
    writeln!(out, "{rule}")?;
    writeln!(
        out,
        "Concurrency: {concurrency} | Round {round} Performance Metrics"
    )?;
    writeln!(out, "{rule}")?;
    let totals = [
        format!("Total Requests: {}", summary.total_requests),
        format!("Success: {}", summary.successful),
        format!("Failed: {}", summary.failed),
        format!("Test Duration: {:.2} seconds", summary.duration_s),
    ];
    wrapped(out, &totals, " | ", width)?;
    let mean = |value| or_absent(cells::printed(value, 1));
    writeln!(
        out,
        "Average Input Tokens: {} | Average Output Tokens: {}",
        mean(summary.input_tokens_mean),
        mean(summary.output_tokens_mean)
    )?;
    writeln!(out, "{}", "-".repeat(width))
}

/// Writes the parts on as few lines as `width` allows; a part is never broken.
fn wrapped(out: &mut String, parts: &[String], between: &str, width: usize) -> fmt::Result {
    let mut used = 0;
    for part in parts {
        let wanted = between.len() + part.chars().count();
        if used == 0 {
            used = wanted - between.len();
        } else if used + wanted <= width {
            write!(out, "{between}")?;
            used += wanted;
        } else {
            writeln!(out)?;
            used = wanted - between.len();
        }
        write!(out, "{part}")?;
    }
    writeln!(out)
}

/// The box; a column is as wide as the guide's, or as its longest cell.
struct Boxed {
    name: usize,
    figures: [usize; 7],
}

impl Boxed {
    fn of(rows: &[Row]) -> Boxed {
        let mut boxed = Boxed {
            name: NAME_WIDTH,
            figures: [FIGURE_WIDTH; 7],
        };
        for row in rows {
            boxed.name = boxed.name.max(row.name.chars().count());
            for (width, cell) in boxed.figures.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.as_ref().map_or(0, String::len));
            }
        }
        boxed
    }

    fn widths(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.name).chain(self.figures)
    }

    /// Of a whole line: every cell with two blanks and the bar before it, and the last bar.
    fn width(&self) -> usize {
        self.widths().map(|width| width + 3).sum::<usize>() + 1
    }

    fn write(&self, out: &mut String, rows: &[Row]) -> fmt::Result {
        self.line(out, "Metric", &TABLE_NAMES.map(str::to_string))?;
        self.rule(out, ['├', '┼', '┤'])?;
        for row in rows {
            self.line(out, &row.name, &row.cells.clone().map(or_absent))?;
        }
        self.rule(out, ['└', '┴', '┘'])
    }

    fn line(&self, out: &mut String, name: &str, cells: &[String; 7]) -> fmt::Result {
        write!(out, "│ {name:<0$} │", self.name)?;
        for (cell, width) in cells.iter().zip(self.figures) {
            write!(out, " {cell:<width$} │")?;
        }
        writeln!(out)
    }

    fn rule(&self, out: &mut String, [left, middle, right]: [char; 3]) -> fmt::Result {
        let bars: Vec<String> = self.widths().map(|width| "─".repeat(width + 2)).collect();
        writeln!(out, "{left}{}{right}", bars.join(&middle.to_string()))
    }
}

/// Columns without a box; figures too long for them stand below their name, none is cut.
fn plain(out: &mut String, rows: &[Row]) -> fmt::Result {
    grid_line(out, "Metric", &TABLE_NAMES.map(str::to_string))?;
    for row in rows {
        let cells = row.cells.clone().map(or_absent);
        if cells.iter().all(|cell| cell.len() <= NARROW_FIGURE) {
            grid_line(out, &shortened(&row.name, NARROW_NAME), &cells)?;
        } else {
            writeln!(out, "{}", shortened(&row.name, NARROW))?;
            let named = TABLE_NAMES.iter().zip(cells);
            let named: Vec<String> = named
                .map(|(name, cell)| format!("  {name} {cell}"))
                .collect();
            wrapped(out, &named, "", NARROW)?;
        }
    }
    Ok(())
}

fn grid_line(out: &mut String, name: &str, cells: &[String; 7]) -> fmt::Result {
    write!(out, "{name:<NARROW_NAME$}")?;
    for cell in cells {
        write!(out, " {cell:>NARROW_FIGURE$}")?;
    }
    writeln!(out)
}

/// A name of at most `width` characters: cut in its middle, since metrics differ at either end.
fn shortened(name: &str, width: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= width {
        return name.to_string();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let both = (&chars[..head], &chars[chars.len() - tail..]);
    format!(
        "{}…{}",
        String::from_iter(both.0),
        String::from_iter(both.1)
    )
}

fn rates(out: &mut String, summary: &RoundSummary) -> fmt::Result {
    let [tokens, requests] = cells::throughput(summary).map(or_absent);
    writeln!(out, "\nThroughput:")?;
    writeln!(out, "  Token Throughput: {tokens} tokens/sec")?;
    writeln!(out, "  Request Throughput: {requests} requests/sec")?;
    let Some(goodput) = &summary.goodput else {
        return Ok(());
    };
    let [of_requests, of_tokens] =
        cells::goodput_percent(goodput).map(|cell| cell.map_or("n/a".to_string(), |c| c + "%"));
    let count = |n: Option<u64>| or_absent(n.map(|n| n.to_string()));
    writeln!(out, "\nGoodput (SLO):")?;
    writeln!(
        out,
        "  Requests Meeting SLO: {} / {} ({of_requests})",
        goodput.requests, goodput.of_requests
    )?;
    writeln!(
        out,
        "  Tokens Meeting SLO: {} / {} ({of_tokens})",
        count(goodput.tokens),
        count(goodput.of_tokens)
    )?;
    let per_s = or_absent(cells::printed(goodput.tokens_per_s, cells::DECIMALS));
    writeln!(out, "  Goodput Token Throughput: {per_s} tokens/sec")
}

fn beyond(out: &mut String, summary: &RoundSummary, rows: &[Row]) -> fmt::Result {
    let fewer: Vec<String> = rows
        .iter()
        .filter(|row| row.n != summary.successful)
        .map(|row| format!("{} {}", row.name, row.n))
        .collect();
    if !fewer.is_empty() {
        writeln!(
            out,
            "Requests with the Figure: {} (successes: {})",
            fewer.join(", "),
            summary.successful
        )?;
    }
    let rate = notes::hit_rate(summary.prefix_cache_hit_rate);
    writeln!(out, "Prefix Cache Hit Rate (usage): {rate}")?;
    let warm = |&rate: &f64| summary.round == 1 && rate > COLD_HIT_RATE;
    if let Some(rate) = summary.prefix_cache_hit_rate.filter(warm) {
        write!(out, "round 1 was not cold: {}", percent(rate))?;
        if let Some(first) = summary.first_turn_hit_rate {
            write!(out, "; of first turns alone: {}", percent(first))?;
        }
        writeln!(out, " (shared prefixes count)")?;
    }
    if summary.failed > 0 {
        notes::failures(out, summary.failed, &summary.failures)?;
    }
    if summary.not_sent > 0 {
        writeln!(out, "Turns not Sent: {}", summary.not_sent)?;
    }
    if summary.cut > 0 {
        notes::cut(out, summary.cut)?;
    }
    notes::concurrency(out, summary.concurrency_mean, summary.concurrency_peak)
}

/// Each of the server's metrics over the whole round.
fn metrics(out: &mut String, summary: &RoundSummary) -> fmt::Result {
    if !summary.metrics.is_empty() {
        if summary.metrics.iter().any(|metric| metric.shared) {
            writeln!(out, "* shared: with all requests of the same time")?;
        } else {
            let why = "throughput has that time in it";
            writeln!(out, "Metrics were read between the requests: {why}")?;
        }
        writeln!(out, "{WHOLE_ROUND}:")?;
    }
    for metric in &summary.metrics {
        let figure = or_absent(cells::printed(metric.over_round, cells::METRIC_DECIMALS));
        let shared = if metric.shared { "; shared" } else { "" };
        let (name, source) = (&metric.name, &metric.source);
        writeln!(out, "  {name}: {figure} ({source}{shared})")?;
    }
    Ok(())
}

/// Writes what a later round's TTFT is of the first's.
pub fn comparison(out: &mut String, comparison: &Comparison) -> fmt::Result {
    let [ratio, low, high] =
        [comparison.ratio, comparison.low, comparison.high].map(|value| fixed(value, 2));
    let (round, n) = (comparison.round, comparison.n);
    let pairs = if n == 1 { "pair" } else { "pairs" };
    writeln!(
        out,
        "Round {round} against round 1: TTFT x {ratio} (95 % interval {low} to {high}, {n} {pairs})"
    )
}

/// Writes the guide's block of the server's metrics, a column a round; nothing without metrics.
pub fn prometheus(out: &mut String, rounds: &[RoundSummary]) -> fmt::Result {
    let rows: Vec<Vec<Row>> = rounds.iter().map(metric_rows).collect();
    let names = csv::section_names(&rows);
    if names.is_empty() {
        return Ok(());
    }
    let titles: Vec<String> = rounds
        .iter()
        .map(|round| format!("C{}-R{}", round.concurrency, round.round))
        .collect();
    let cells = rows
        .iter()
        .flatten()
        .flat_map(|row| row.cells.iter().flatten());
    let width = cells.chain(&titles).map(String::len).max().unwrap_or(0) + 2;
    writeln!(out, "Prometheus Metrics\n")?;
    let mut titled = titles;
    titled.push("(C concurrency, R round)".to_string());
    column_line(out, "Columns", &titled, width)?;
    for name in names {
        writeln!(out, "\n{name}")?;
        let statistics = ["Average", "P50", "P90", "P99", "Min", "Max", "Stddev"];
        for (k, statistic) in statistics.into_iter().enumerate() {
            let of_round = |rows: &Vec<Row>| {
                let row = rows.iter().find(|row| row.name == name);
                or_absent(row.and_then(|row| row.cells[k].clone()))
            };
            let line: Vec<String> = rows.iter().map(of_round).collect();
            column_line(out, statistic, &line, width)?;
        }
    }
    Ok(())
}

fn metric_rows(round: &RoundSummary) -> Vec<Row> {
    let mut rows = cells::rows(round);
    // The three times come first.
    rows.drain(..3);
    rows
}

fn column_line(out: &mut String, name: &str, cells: &[String], width: usize) -> fmt::Result {
    let columns: String = cells.iter().map(|cell| format!("{cell:<width$}")).collect();
    writeln!(out, "{name:<9}{}", columns.trim_end())
}
