//! A saved run as headings, tables and lists: what the Markdown and the HTML report have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::cells::{self, TABLE_NAMES, or_absent};
use super::saved::{Figures, Report, Round};
use super::{finish, load, notes, table, workloads};
use crate::stats::FailureCount;
use crate::stats::client::ClientSummary;
use crate::stats::load::LoadSummary;
use crate::stats::workload::WorkloadSummary;
use crate::units::fixed;

pub(super) struct Section {
    pub title: String,
    pub blocks: Vec<Block>,
}

pub(super) enum Block {
    /// The first cell of a row is its name.
    Table {
        head: Vec<String>,
        rows: Vec<Vec<String>>,
        /// All columns but the first hold numbers, which stand to the right.
        has_numbers: bool,
    },
    List(Vec<String>),
}

/// Command and model.
pub(super) fn title(report: &Report) -> String {
    let command = match report.figures {
        Figures::Benchmark { .. } => "benchmark",
        Figures::Replay(_) => "replay",
        Figures::Run(_) => "run",
        Figures::Load(_) => "load",
    };
    let model = report.about["model"].as_str().unwrap_or("unknown model");
    format!("tmesh-cli {command}: {model}")
}

/// What stands above the figures: what the run was not, and what the input does not tell.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mock = report.is_mock().then_some(super::MOCK);
    let mock = mock.into_iter().map(str::to_string);
    mock.chain(report.notes.iter().cloned()).collect()
}

pub(super) fn all(report: &Report) -> Result<Vec<Section>, fmt::Error> {
    let mut sections = vec![section("Environment", vec![environment(&report.about)])];
    match &report.figures {
        Figures::Benchmark { summary, why } => {
            let mut text = String::new();
            finish::report(&mut text, summary, why)?;
            let mut figures = vec![vec!["Ended".to_string(), why.clone()]];
            figures.extend(pairs(&text));
            let quantiles = finish::quantiles(summary).into_iter().map(|(name, q)| {
                let times = q.map(|q| [q.p50_s, q.p90_s, q.p99_s, q.max_s]);
                let cell = |k: usize| times.map_or("n/a".to_string(), |t| fixed(t[k], 3));
                let n = q.map_or(0, |q| q.n).to_string();
                let cells = (0..4).map(cell).chain([n]);
                std::iter::once(name.to_string()).chain(cells).collect()
            });
            let percentiles = Block::Table {
                head: words(&["Seconds", "p50", "p90", "p99", "max", "n"]),
                rows: quantiles.collect(),
                has_numbers: true,
            };
            sections.push(section("Figures", vec![percentiles, figure_table(figures)]));
            sections.push(section(
                "Failures",
                vec![failures(&[("whole run".to_string(), &summary.failures)])],
            ));
        }
        Figures::Replay(rounds) => {
            for round in rounds {
                sections.push(of_round(round)?);
            }
            let failed: Vec<(String, &Failures)> = rounds
                .iter()
                .map(|round| (name(round), &round.summary.failures))
                .collect();
            sections.push(section("Failures", vec![failures(&failed)]));
        }
        Figures::Run(workloads) => sections.extend(of_workloads(workloads)?),
        Figures::Load(points) => sections.extend(of_points(points)?),
    }
    let missing = not_reported(report);
    if !missing.is_empty() {
        sections.push(section("Not reported", vec![Block::List(missing)]));
    }
    Ok(sections)
}

fn of_workloads(of: &[WorkloadSummary]) -> Result<Vec<Section>, fmt::Error> {
    let mut head = words(&["Figure"]);
    head.extend(workloads::names(of));
    let table = Block::Table {
        head,
        rows: workloads::rows(of),
        has_numbers: true,
    };
    let mut noted = Vec::new();
    for one in of {
        let mut text = String::new();
        workloads::beyond(&mut text, one)?;
        let name = one.workload.name();
        noted.extend(text.lines().map(|line| format!("{name}: {line}")));
    }
    let failed: Vec<(String, &Failures)> = workloads::names(of)
        .zip(of.iter().map(|one| &one.round.failures))
        .collect();
    let told = workloads::told(of, true);
    Ok(vec![
        section("Figures", vec![table, Block::List(noted)]),
        section("Failures", vec![failures(&failed)]),
        section("Sources", vec![Block::List(told)]),
    ])
}

/// A section a point, then the sweep.
fn of_points(points: &[LoadSummary]) -> Result<Vec<Section>, fmt::Error> {
    let mut sections = Vec::new();
    for one in points {
        let headline = load::headline(one).into_iter();
        let headline = Block::Table {
            head: words(&["Figure", "Value", "Of"]),
            rows: headline
                .map(|row| vec![row.name.to_string(), row.value, row.note])
                .collect(),
            has_numbers: false,
        };
        let times = Block::Table {
            head: words(&load::TIMES_HEAD),
            rows: load::times(one),
            has_numbers: true,
        };
        let mut text = String::new();
        load::beyond(&mut text, one)?;
        let blocks = vec![headline, times, figure_table(pairs(&text))];
        sections.push(section(&load::capitalised(&load::name(one)), blocks));
    }
    if points.len() > 1 {
        let sweep = Block::Table {
            head: load::sweep_head(),
            rows: load::sweep_rows(points).collect(),
            has_numbers: true,
        };
        sections.push(section("Sweep", vec![sweep]));
    }
    let failed: Vec<(String, &Failures)> = points
        .iter()
        .map(|one| (load::name(one), &one.round.failures))
        .collect();
    sections.push(section("Failures", vec![failures(&failed)]));
    Ok(sections)
}

fn section(title: &str, blocks: Vec<Block>) -> Section {
    Section {
        title: title.to_string(),
        blocks,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn name(round: &Round) -> String {
    let (concurrency, round) = (round.summary.concurrency, round.summary.round);
    format!("Concurrency {concurrency}, round {round}")
}

fn of_round(round: &Round) -> Result<Section, fmt::Error> {
    let rows = cells::marked_rows(&round.summary).into_iter().map(|row| {
        let cells = row.cells.map(or_absent).into_iter();
        let named = std::iter::once(row.name).chain(cells);
        named.chain([row.n.to_string()]).collect()
    });
    let mut head = words(&["Metric"]);
    head.extend(words(&TABLE_NAMES));
    head.push("n".to_string());
    let spreads = Block::Table {
        head,
        rows: rows.collect(),
        has_numbers: true,
    };
    let mut text = String::new();
    table::saved_round(&mut text, round, None)?;
    Ok(section(
        &name(round),
        vec![spreads, figure_table(pairs(&text))],
    ))
}

fn figure_table(rows: Vec<Vec<String>>) -> Block {
    Block::Table {
        head: words(&["Figure", "Value"]),
        rows,
        has_numbers: false,
    }
}

/// Name and value of every printed line that has them; failures have a table of their own.
fn pairs(text: &str) -> Vec<Vec<String>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with(['│', '├', '└']) && !line.contains(", the first: "));
    let mut pairs = Vec::new();
    let mut heading = "";
    for line in lines {
        if !line.starts_with(' ') {
            heading = line.trim_end_matches(':');
        }
        let parts = line.split(" | ").filter_map(|part| part.split_once(": "));
        pairs.extend(parts.map(|(name, value)| {
            // Their names stand in the table of the requests, too.
            let place = match heading == table::WHOLE_ROUND {
                true => format!("{heading}: "),
                false => String::new(),
            };
            vec![format!("{place}{}", name.trim()), value.to_string()]
        }));
    }
    pairs
}

/// Who reports, then every value of the object under its path; null is left out.
fn environment(about: &Value) -> Block {
    let version = format!("tmesh-cli {}", env!("CARGO_PKG_VERSION"));
    let mut rows = vec![vec!["report by".to_string(), version]];
    flatten(&mut rows, "", about);
    Block::Table {
        head: words(&["Setting", "Value"]),
        rows,
        has_numbers: false,
    }
}

fn flatten(rows: &mut Vec<Vec<String>>, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(rows, &format!("{path}{dot}{key}"), value);
            }
        }
        Value::String(text) => rows.push(vec![path.to_string(), text.clone()]),
        other => rows.push(vec![path.to_string(), other.to_string()]),
    }
}

type Failures = BTreeMap<&'static str, FailureCount>;

/// Of each place, such as a round, by kind.
fn failures(of: &[(String, &Failures)]) -> Block {
    let rows: Vec<Vec<String>> = of
        .iter()
        .flat_map(|(place, kinds)| kinds.iter().map(move |kind| (place, kind)))
        .map(|(place, (kind, failure))| {
            let first = notes::reason(failure.status, &failure.example);
            vec![
                kind.to_string(),
                failure.count.to_string(),
                place.clone(),
                first,
            ]
        })
        .collect();
    if rows.is_empty() {
        return Block::List(words(&["None: every request that was measured succeeded"]));
    }
    Block::Table {
        head: words(&["Kind", "Count", "Where", "The first"]),
        rows,
        has_numbers: false,
    }
}

/// Figures that are absent, each with the reason.
fn not_reported(report: &Report) -> Vec<String> {
    match &report.figures {
        Figures::Benchmark { summary, .. } => absent(&[
            (summary.ttft.is_some(), TTFT),
            (summary.itl.is_some(), ITL),
            (summary.prefix_cache_hit_rate.is_some(), HIT_RATE),
            (summary.output_tokens_mean.is_some(), TOKENS),
            (is_watched(&summary.client), CLIENT),
        ]),
        Figures::Replay(rounds) => {
            let absent: Vec<(String, Vec<String>)> = rounds
                .iter()
                .map(|round| (name(round), of_round_absent(round)))
                .collect();
            in_places(&absent)
        }
        Figures::Run(workloads) => {
            let of = |one: &WorkloadSummary| {
                absent(&[
                    (one.round.ttft_ms.is_some(), TTFT),
                    (one.round.itl_ms.is_some(), ITL),
                    (one.round.output_tokens_mean.is_some(), TOKENS),
                    (is_watched(&one.round.client), CLIENT),
                ])
            };
            let absent: Vec<(String, Vec<String>)> = workloads::names(workloads)
                .zip(workloads.iter().map(of))
                .collect();
            let told = workloads::told(workloads, false);
            in_places(&absent).into_iter().chain(told).collect()
        }
        Figures::Load(points) => {
            let of = |one: &LoadSummary| {
                absent(&[
                    (one.waits.ttft.is_some(), TTFT),
                    (one.itl.is_some(), ITL),
                    (one.response_cache_hit_rate.is_some(), RESPONSE_HIT_RATE),
                    (one.round.prefix_cache_hit_rate.is_some(), HIT_RATE),
                    (one.round.output_tokens_mean.is_some(), TOKENS),
                    (one.goodput.is_some(), NO_SLO),
                    (is_watched(&one.round.client), CLIENT),
                ])
            };
            let absent: Vec<(String, Vec<String>)> = points
                .iter()
                .map(|one| (load::name(one), of(one)))
                .collect();
            in_places(&absent)
        }
    }
}

/// Each reason with the places that it holds for, rounds or workloads, in the order of first appearance; without
/// them where it holds for all.
pub(super) fn in_places(absent: &[(String, Vec<String>)]) -> Vec<String> {
    let mut reasons: Vec<&String> = Vec::new();
    for why in absent.iter().flat_map(|(_, reasons)| reasons) {
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    let told = reasons.into_iter().map(|why| {
        let of = absent.iter().filter(|(_, reasons)| reasons.contains(why));
        let names: Vec<&str> = of.map(|(name, _)| name.as_str()).collect();
        match names.len() == absent.len() {
            true => why.clone(),
            false => format!("{}: {why}", names.join("; ")),
        }
    });
    told.collect()
}

const TTFT: &str = "TTFT: no request succeeded with a streamed reply";
const ITL: &str = "ITL: no reply had two tokens that were read apart";
const HIT_RATE: &str = "Prefix cache hit rate: no reply reported cached tokens";
const RESPONSE_HIT_RATE: &str =
    "Response cache hit rate: no reply said whether it was cached as a whole";
const NO_SLO: &str = "Goodput: no SLO was given";
const TOKENS: &str = "Output tokens: nobody counted them";
const CLIENT: &str = "Whether the client kept up: the run was too short to watch it";

fn is_watched(client: &ClientSummary) -> bool {
    client.limited.is_some()
}

fn absent(figures: &[(bool, &str)]) -> Vec<String> {
    let absent = figures.iter().filter(|(is_there, _)| !is_there);
    absent.map(|(_, why)| why.to_string()).collect()
}

fn of_round_absent(round: &Round) -> Vec<String> {
    let summary = &round.summary;
    let figures = absent(&[
        (summary.ttft_ms.is_some(), TTFT),
        (summary.itl_ms.is_some(), ITL),
        (summary.prefix_cache_hit_rate.is_some(), HIT_RATE),
        (summary.output_tokens_mean.is_some(), TOKENS),
        (summary.goodput.is_some(), NO_SLO),
        (is_watched(&summary.client), CLIENT),
    ]);
    let metrics = summary
        .metrics
        .iter()
        .filter(|metric| metric.spread.is_none());
    let metrics = metrics.map(|metric| {
        let why = match metric.source.as_str() {
            "not found" => "not on the server's page of metrics",
            _ => "no two readings around a request to tell it from",
        };
        format!("{}: {why}", metric.name)
    });
    figures.into_iter().chain(metrics).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_over_the_round_is_not_taken_for_that_of_the_requests() {
        let text = "Failed: 0 | Test Duration: 2 s\n\nThroughput:\n  Token Throughput: 3\n* shared: why\n\
            Prometheus over the Whole Round:\n  a: 7 (counter)\nclient: ok\n";
        let named: Vec<String> = pairs(text).iter().map(|pair| pair.join(" = ")).collect();
        let wanted = [
            "Failed = 0",
            "Test Duration = 2 s",
            "Token Throughput = 3",
            "* shared = why",
            "Prometheus over the Whole Round: a = 7 (counter)",
            "client = ok",
        ];
        assert_eq!(named, wanted);
    }
}
