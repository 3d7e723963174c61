//! `probe`: what was found out about a prefix cache, one line for each step, and what to do with it.

mod advice;

use serde_json::Value;

use self::advice::{next, next_commands, warnings};
use super::failures;
use super::findings::{count, list};
use super::form::Form;
use super::report::Report;
use crate::report::charts::{Charts, Point, Trend};
use crate::report::document::{Cell, Document, Section, Style, Table, row};
use crate::stats::probe::StepDone;
use crate::units::{counted, rounded, rounded_span, whole_percent};

pub const FORM: Form = Form {
    schema: "tmesh-cli/probe/1",
    keys: &[
        "separability",
        "cache",
        "usage",
        "reuse",
        "block",
        "tiers",
        "order",
        "same_answer",
        "reset",
        "ttl",
        "shared_between_keys",
        "cost",
        "steps",
        "rereads",
        "stopped",
    ],
};
/// The width of the column of the steps' names.
const NAME_WIDTH: usize = 14;
/// The chart's x axis begins at this part of its largest distance.
const NEAREST: f64 = 1e-3;

/// Returns the line that is printed when a step has ended.
pub fn line(step: &StepDone) -> String {
    let cost = &step.cost;
    let (requests, tokens) = (
        counted(cost.requests, "request"),
        rounded(cost.prompt_tokens),
    );
    let seconds = cost.seconds;
    let (name, answer) = (step.name, &step.answer);
    format!("{name:<NAME_WIDTH$}{answer}  ({requests}, {tokens} tokens, {seconds:.1} s)\n")
}

pub fn document(report: &Report) -> Document {
    let (about, found) = (&report.about, &report.findings);
    let mut sections = vec![steps(found)];
    sections.extend(tiers(found));
    sections.extend(next_commands(about, found));
    sections.push(costs(report));
    let sentence = format!("Prefix cache: {}", conclusion(found));
    let remarks = warnings(about, found);
    let figures = (sections, charts(found));
    FORM.document(report, remarks, figures, (sentence, next(report)))
}

/// Makes the table of the steps with their answers.
fn steps(found: &Value) -> Section {
    let rows = list(&found["steps"]).map(|step| {
        let text = |key: &str| step[key].as_str().unwrap_or_default();
        let mut answer = text("answer").to_string();
        if step["is_lie"] == true {
            answer.push_str(" [A LIE]");
        }
        if step["is_clear"] == false {
            answer.push_str(" [UNCLEAR]");
        }
        let [requests, tokens] = ["requests", "prompt_tokens"].map(|key| count(&step["cost"], key));
        let seconds = Cell::exact(step["cost"]["seconds"].as_f64(), 1);
        let cells = [
            requests.map_or(Cell::NONE, Cell::from),
            tokens.map_or(Cell::NONE, |tokens| rounded(tokens).into()),
            seconds,
            answer.into(),
        ];
        row(text("name"), cells)
    });
    let columns = [
        ("Requests", 10),
        ("Tokens", 8),
        ("Seconds", 9),
        ("Answer", 2),
    ];
    let mut section = Section::new("Findings");
    let table = Table::new(Style::Words, ("Step", NAME_WIDTH), columns, rows);
    section.table(table);
    section.line("");
    section
}

/// Makes the table of the tiers.
fn tiers(found: &Value) -> Option<Section> {
    let rows: Vec<Vec<Cell>> = list(&found["tiers"])
        .enumerate()
        .map(|(at, tier)| {
            let (capacity, interval) = match count(tier, "contexts") {
                Some(contexts) => (counted(contexts, "context").into(), Cell::NONE),
                None => {
                    let capacity = count(tier, "capacity_tokens");
                    let capacity = capacity.map_or(Cell::NONE, Cell::from);
                    (capacity, interval(tier).into())
                }
            };
            let ttft = Cell::fixed(tier["ttft_ms"].as_f64(), 1);
            let cells = [capacity, interval, ttft];
            row(format!("{}", at + 1), cells)
        })
        .collect();
    let columns = [
        ("Capacity, tokens", 18),
        ("95 % interval", 18),
        ("TTFT, ms", 10),
    ];
    let table = Table::new(Style::Plain, ("Tier", 6), columns, rows);
    let mut section = Section::new("Tiers, each with those before it");
    let has_rows = !table.rows.is_empty();
    section.table(table);
    section.line("");
    has_rows.then_some(section)
}

fn interval(tier: &Value) -> String {
    let low = count(tier, "low_tokens").unwrap_or(0);
    match count(tier, "high_tokens") {
        Some(high) => rounded_span(low, high),
        None => format!("more than {}", rounded(low)),
    }
}

fn costs(report: &Report) -> Section {
    let cost = &report.findings["cost"];
    let said = |key| rounded(count(cost, key).unwrap_or(0));
    let mut section = Section::new("Cost");
    let requests = counted(count(cost, "requests").unwrap_or(0), "request");
    let (prompt, uncached) = (said("prompt_tokens"), said("uncached_tokens"));
    let seconds = cost["seconds"].as_f64().unwrap_or(0.0);
    let words =
        format!("{requests}, {prompt} prompt tokens, {uncached} of them computed, {seconds:.1} s");
    section.pair("Cost", words);
    failures::requests(&mut section, &report.passes);
    section
}

/// Returns the finding in one line.
fn conclusion(found: &Value) -> String {
    let mut parts = Vec::new();
    match found["cache"].as_str() {
        Some("absent") => parts.push("none found".to_string()),
        Some("unclear") => parts.push("not clear whether there is one".to_string()),
        _ => {}
    }
    parts.extend(of_tiers(found));
    let block = &found["block"];
    parts.extend(
        match (count(block, "tokens"), count(block, "at_most_tokens")) {
            (Some(1), _) => Some("single tokens".to_string()),
            (Some(tokens), _) => Some(format!("blocks of {tokens}")),
            (None, Some(tokens)) => Some(format!("blocks of at most {tokens}")),
            (None, None) => None,
        },
    );
    parts.extend(match found["reuse"]["shape"].as_str() {
        Some("whole_prompt") => Some("reuses whole prompts only".to_string()),
        Some("units") => Some("reuses prefixes in units".to_string()),
        _ => None,
    });
    if found["order"].is_object() {
        parts.push(match found["order"]["name"].as_str() {
            Some(name) if name.len() <= 4 => name.to_uppercase(),
            Some("random") => "evicts at random".to_string(),
            Some(_) => "protects what is used often".to_string(),
            None => "order of eviction unclear".to_string(),
        });
    }
    let usage = found["usage"]["verdict"].as_str();
    parts.extend(usage.map(|verdict| format!("usage {verdict}")));
    if found["same_answer"] == false {
        parts.push("answers differ cold and warm".to_string());
    }
    parts.extend(of_keys_and_time(found));
    match parts.is_empty() {
        true => "nothing found out".to_string(),
        false => parts.join("; "),
    }
}

fn of_tiers(found: &Value) -> Option<String> {
    let tiers: Vec<&Value> = list(&found["tiers"]).collect();
    let last = tiers.len().checked_sub(1)?;
    let said = tiers.iter().enumerate().map(|(at, tier)| {
        if let Some(contexts) = count(tier, "contexts") {
            return format!("{contexts} contexts of any length");
        }
        let [capacity, low] =
            ["capacity_tokens", "low_tokens"].map(|key| count(tier, key).unwrap_or(0));
        let high = count(tier, "high_tokens");
        let number = match high {
            Some(_) => rounded(capacity),
            None => format!("more than {}", rounded(low)),
        };
        let what = match (at, last) {
            (0, 0) => " tokens",
            (0, _) => " tokens on the device",
            (at, last) if at == last => " in all",
            _ => " with the next",
        };
        let interval = high.map(|high| format!(" ({})", rounded_span(low, high)));
        format!("{number}{what}{}", interval.unwrap_or_default())
    });
    let said = said.collect::<Vec<_>>().join(", ");
    Some(format!("{}: {said}", counted(last as u64 + 1, "tier")))
}

/// Says what a reset leaves, for how long contexts stay, and whether keys share them.
fn of_keys_and_time(found: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    let reset = &found["reset"];
    if let Some(is_emptied) = reset["emptied"].as_bool() {
        let left = reset["left_share"].as_f64().unwrap_or(0.0);
        parts.push(match is_emptied {
            true => "the reset empties it".to_string(),
            false if reset["leaves_second_tier"] == true => {
                "the reset leaves the second tier warm".to_string()
            }
            false => format!(
                "the reset leaves {} of the contexts warm",
                whole_percent(left)
            ),
        });
    }
    let ttl = &found["ttl"];
    let ages = [&ttl["at_least_s"], &ttl["at_most_s"]].map(|age| age.as_f64());
    parts.extend(match ages {
        [Some(least), Some(most)] => Some(format!("forgets after {least:.1} to {most:.1} s")),
        [Some(least), None] => Some(format!("keeps contexts for {least:.1} s or more")),
        _ => None,
    });
    parts.extend(found["shared_between_keys"].as_bool().map(|is_shared| {
        let verb = if is_shared {
            "share it"
        } else {
            "do not share it"
        };
        format!("API keys {verb}")
    }));
    parts
}

fn charts(found: &Value) -> Charts {
    let points = list(&found["rereads"]).filter_map(|point| {
        let (x, y) = (
            point["distance_tokens"].as_f64()?,
            point["ttft_ms"].as_f64()?,
        );
        Some(Point { x, y, group: 0 })
    });
    let mut points: Vec<Point> = points.collect();
    let farthest = points.iter().map(|point| point.x).fold(0.0, f64::max);
    for point in &mut points {
        point.x = point.x.max(farthest * NEAREST);
    }
    let limits = list(&found["tiers"]).filter_map(|tier| {
        let is_tokens = !tier["high_tokens"].is_null() && tier["contexts"].is_null();
        let capacity = count(tier, "capacity_tokens").filter(|_| is_tokens)?;
        Some((capacity as f64, rounded(capacity)))
    });
    let limits: Vec<(f64, String)> = limits.collect();
    let n = points.len();
    let key = match n {
        0 => Vec::new(),
        n => vec![(0, format!("{} read again", counted(n as u64, "context")))],
    };
    let trend = Trend {
        title: "TTFT over stack distance",
        x: "tokens of other contexts sent since",
        y: "TTFT, ms",
        is_scattered: true,
        lines: vec![(String::new(), points)],
        limits,
        key,
        note: "The upright lines are the capacities that were found.".to_string(),
        ..Trend::default()
    };
    Charts {
        trends: if n == 0 { Vec::new() } else { vec![trend] },
        ..Charts::default()
    }
}

#[cfg(test)]
mod tests;
