//! `replay`: the guide's table of each round, then figures that the guide's tool does not have.

mod columns;
mod json;
mod leading;
mod spread;

use std::slice;

pub use self::columns::{closing, csv};
pub use self::json::{FIGURES, RequestLine, RoundFile, summary};
use self::spread::{DECIMALS, Distribution, METRIC_DECIMALS};
use super::common::{self, COLD_HIT_RATE, figure, hit_rate};
use super::failures::{self, Failed};
use super::groups;
use super::kv_cache::{ratio, times};
use super::report::Report;
use super::trends;
use crate::report::charts::Charts;
use crate::report::document::{Block, Cell, Document, Medium, Pair, Section, Style, Table, row};
use crate::stats::batches::BATCHES;
use crate::stats::comparison::{Comparison, compare};
use crate::stats::pass::Pass;
use crate::units::counted;

/// Makes the report of a run.
pub fn document(report: &Report) -> Document {
    const ABSENT: &str = "ttft_avg_ms itl_avg_ms prefix_cache_hit_rate counter_hit_rate output_tokens_mean goodput_requests";
    let passes = &report.passes;
    let comparisons = (0..passes.len()).map(|at| comparison(passes, at));
    let comparisons: Vec<Option<Comparison>> = comparisons.collect();
    let rounds = passes.iter().zip(&comparisons);
    let mut sections: Vec<Section> = rounds
        .map(|(pass, of)| section(pass, of.as_ref()))
        .collect();
    sections.push(closing(passes));
    sections.push(failures::table(passes, |pass| pass.facts.title()));
    let missing = common::absent(passes, ABSENT);
    let charts = vec![Charts {
        trends: trends::levels(passes),
        ..groups::passes(passes, "Cold against warm: TTFT")
    }];
    let data = json::report(report, &comparisons);
    Document {
        key_figures: leading::key_figures(passes, &comparisons),
        ..common::document(report, sections, missing, charts, data)
    }
}

/// Makes the section of the round at this index, so that it can be shown when the round ends.
pub fn round(passes: &[Pass], index: usize) -> Section {
    section(&passes[index], comparison(passes, index).as_ref())
}

/// Compares the round at this index with the first one of its level; `None` for that one itself.
fn comparison(passes: &[Pass], index: usize) -> Option<Comparison> {
    let pass = &passes[index];
    let (level, number) = (pass.facts.concurrency, pass.facts.round.unwrap_or(1));
    let is_first = |one: &&Pass| one.facts.concurrency == level && one.facts.round == Some(1);
    let first = passes.iter().find(is_first).filter(|_| number > 1)?;
    compare(&first.records.list, &pass.records.list, number)
}

/// Makes the section of a round: its figures, then remarks that can be made only when it has ended.
fn section(pass: &Pass, comparison: Option<&Comparison>) -> Section {
    let mut section = figures(pass);
    if let Some(pairs) = comparison {
        compared(&mut section, pairs);
    }
    let facts = &pass.facts;
    if let Some((requests, most)) = facts.shortened.filter(|&(requests, _)| requests > 0) {
        let said = format!(
            "{requests} requests were sent without their earliest pairs of question and answer, at most {most} pairs each"
        );
        section.pair("Context limit", said);
    }
    if facts.is_complete == Some(false) {
        section.line("The round was cut short");
    }
    section.line("");
    section
}

/// Makes the section of a round's figures.
fn figures(pass: &Pass) -> Section {
    let mut section = Section::new(pass.facts.title());
    Failed::of(slice::from_ref(pass)).begin(&mut section);
    head(&mut section, pass);
    let table = table(pass);
    section.tables(table.clone().without("n"), table);
    rates(&mut section, pass);
    goodput(&mut section, pass);
    section.line("");
    beyond(&mut section, pass);
    metrics(&mut section, pass);
    common::server(&mut section, pass);
    common::token_sources(&mut section, pass);
    common::connections(&mut section, pass);
    common::client(&mut section, pass);
    section
}

fn head(section: &mut Section, pass: &Pass) {
    let (concurrency, round) = columns::labels(pass);
    let title = format!("Concurrency: {concurrency} | Round {round} Performance Metrics");
    section.add(Medium::Screen, Block::Rule('='));
    section.line(title);
    section.add(Medium::Screen, Block::Rule('='));
    let pair = |name, key, decimals, unit| Pair::new(name, figure(pass, key, decimals).unit(unit));
    let requests = vec![
        pair("Total Requests", "total_requests", 0, ""),
        pair("Success", "successful_requests", 0, ""),
        pair("Failed", "failed_requests", 0, ""),
        pair("Test Duration", "duration_s", DECIMALS, "seconds"),
    ];
    let tokens = vec![
        pair("Average Input Tokens", "input_tokens_mean", 1, ""),
        pair("Average Output Tokens", "output_tokens_mean", 1, ""),
    ];
    section.add(Medium::Both, Block::Pairs(requests));
    section.add(Medium::Both, Block::Pairs(tokens));
    section.add(Medium::Screen, Block::Rule('-'));
}

/// Makes the guide's table, with one more column for the number of requests that have the figure.
fn table(pass: &Pass) -> Table {
    const COLUMNS: [&str; 8] = ["Avg", "P50", "P90", "P99", "Min", "Max", "Stddev", "n"];
    let rows = Distribution::with_answers(pass).map(|of| {
        let cells = of.cells().into_iter();
        row(of.marked(), cells.chain([of.n().into()]))
    });
    let columns = COLUMNS.map(|name| (name, 12));
    Table::new(Style::Boxed, ("Metric", 28), columns, rows)
}

fn rates(section: &mut Section, pass: &Pass) {
    section.line("");
    section.line("Throughput:");
    let tokens = figure(pass, "throughput_tokens_per_s", DECIMALS);
    section.pair("  Token Throughput", format!("{tokens} tokens/sec"));
    let requests = figure(pass, "request_throughput_rps", DECIMALS);
    section.pair("  Request Throughput", format!("{requests} requests/sec"));
    if let Some(pair) = common::steady(pass) {
        section.add(Medium::Page, Block::Pairs(vec![pair]));
    }
}

fn goodput(section: &mut Section, pass: &Pass) {
    if pass.figures.goodput.is_none() {
        return;
    }
    section.line("");
    section.line("Goodput (SLO):");
    for (name, of) in [("Requests", "requests"), ("Tokens", "tokens")] {
        let figure = |key: String, decimals| figure(pass, &key, decimals);
        let met = figure(format!("goodput_{of}"), 0);
        let all = figure(format!("goodput_of_{of}"), 0);
        let percent = figure(format!("goodput_{of}_percent"), DECIMALS);
        let sign = if percent == Cell::NONE { "" } else { "%" };
        let value = format!("{met} / {all} ({percent}{sign})");
        section.pair(format!("  {name} Meeting SLO"), value);
    }
    let rate = figure(pass, "goodput_tokens_per_s", DECIMALS);
    section.pair("  Goodput Token Throughput", format!("{rate} tokens/sec"));
}

fn beyond(section: &mut Section, pass: &Pass) {
    let figures = &pass.figures;
    let fewer = Distribution::with_answers(pass).filter(|of| of.n() != figures.successful);
    let fewer = fewer.map(|of| format!("{} {}", of.marked(), of.n()));
    let fewer = fewer.collect::<Vec<_>>().join(", ");
    if !fewer.is_empty() {
        let said = format!("{fewer} (successes: {})", figures.successful);
        section.pair("Requests with the Figure", said);
    }
    let rate = figures.all.prefix_cache_hit_rate;
    section.pair("Prefix Cache Hit Rate (usage)", hit_rate(rate));
    let of_text = figures.first_turns.text_hit_rate;
    if pass.facts.round == Some(1) && of_text.is_some_and(|rate| rate > COLD_HIT_RATE) {
        let rate = hit_rate(figures.first_turns.prefix_cache_hit_rate);
        let said = format!(
            "{rate} of the prompt tokens of first turns were cached, more than a chat template (shared prefixes count)"
        );
        section.pair("round 1 was not cold", said);
    }
    failures::lines(section, pass);
    section.count("Turns not Sent", pass.facts.turns_not_sent);
    section.count("Requests Cut at the End", figures.cut);
    common::concurrency(section, pass);
}

/// Adds each of the server's metrics over the whole round.
fn metrics(section: &mut Section, pass: &Pass) {
    const WHOLE_ROUND: &str = "Prometheus over the Whole Round";
    let metrics = &pass.facts.metrics;
    if metrics.is_empty() {
        return;
    }
    let (name, said) = match metrics.iter().any(|metric| metric.shared) {
        true => ("* shared", "with all requests of the same time"),
        false => (
            "Metrics were read between the requests",
            "throughput includes that time",
        ),
    };
    section.pair(name, said);
    section.line(format!("{WHOLE_ROUND}:"));
    for metric in metrics {
        let value = Cell::exact(metric.over_pass, METRIC_DECIMALS);
        let shared = if metric.shared { "; shared" } else { "" };
        let value = format!("{value} ({}{shared})", metric.source);
        // A page has the metric's name also in the table of times.
        let name = format!("{WHOLE_ROUND}: {}", metric.name);
        let page = Block::Pairs(vec![Pair::new(name, value.as_str())]);
        section.line(format!("  {}: {value}", metric.name));
        section.add(Medium::Page, page);
    }
}

/// Says how the mean TTFT of a later round compares with that of the first, such as `16x faster, 132.7 ms -> 8.1 ms`.
fn compared(section: &mut Section, pairs: &Comparison) {
    let (before, after) = times(pairs.first_ns, pairs.later_ns);
    let faster = ratio(1.0 / pairs.ratio);
    let slower = ratio(pairs.ratio);
    let said = match pairs.interval.unwrap_or((pairs.ratio, pairs.ratio)) {
        (_, high) if high < 1.0 && faster != "1.0" => {
            format!("{faster}x faster, {before} -> {after}")
        }
        (low, _) if low > 1.0 && slower != "1.0" => {
            format!("{slower}x slower, {before} -> {after}")
        }
        _ => format!("neither faster nor slower, {before} -> {after}"),
    };
    let n = counted(pairs.n, "pair");
    let of = match pairs.interval {
        Some(interval) => format!("95 % interval {}, {n}", factors(pairs.ratio, interval)),
        None => format!(
            "{n}; no interval: {} of {BATCHES} independent units",
            pairs.units
        ),
    };
    let name = format!("Round {} against round 1", pairs.round);
    section.pair(name, format!("mean TTFT {said} ({of})"));
}

/// Returns the interval of a ratio of times as factors by which the later time is slower, if the ratio is above 1, or
/// else faster.
fn factors(of: f64, (low, high): (f64, f64)) -> String {
    match (of > 1.0, low > 0.0) {
        (true, _) => format!("{}x to {}x", ratio(low), ratio(high)),
        (false, true) => format!("{}x to {}x", ratio(1.0 / high), ratio(1.0 / low)),
        (false, false) => format!("from {}x on", ratio(1.0 / high)),
    }
}

#[cfg(test)]
mod tests;
