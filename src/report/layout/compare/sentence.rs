//! The finding of a comparison in one line.

use serde_json::Value;

use super::figure::{Figure, is_of_runs, margin, sample_size, telling, verdict};
use crate::stats::compare::{Name, Verdict};

/// The most figures that a sentence names.
const NAMED: usize = 3;

/// Returns the finding in one line.
pub fn sentence(found: &Value) -> String {
    let all = Figure::all(found);
    let verdict = verdict(found);
    let telling: Vec<&Figure> = telling(&all, verdict);
    let lead = lead(found, verdict, &telling);
    let Some(pairs) = telling.iter().map(|figure| figure.pairs()).min() else {
        return format!("{lead}: no figure decides");
    };
    let mut parts: Vec<String> = telling.iter().map(|figure| figure.sentence()).collect();
    let left = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    if left > 0 {
        parts.push(format!("{left} more"));
    }
    let (parts, n) = (parts.join(", "), sample_size(found, pairs));
    format!("{lead}: {parts}, {n}{}", wanted(found, verdict, &telling))
}

fn lead(found: &Value, verdict: Verdict, telling: &[&Figure]) -> String {
    let is_of_time = telling.iter().any(|figure| !figure.is_share());
    let is_of_errors = telling.iter().any(|figure| figure.name == Name::ErrorRate);
    let of = |time: &str, errors: &str, hits: &str| {
        let words = match (is_of_time || telling.is_empty(), is_of_errors) {
            (true, _) => time,
            (false, true) => errors,
            (false, false) => hits,
        };
        words.to_string()
    };
    match verdict {
        Verdict::Slower => of("Slower", "More errors", "Lower hit rate"),
        Verdict::Faster => of("Faster", "Fewer errors", "Higher hit rate"),
        Verdict::Same => format!("Same within {}", margin(found)),
        Verdict::Unclear => "Unclear".to_string(),
    }
}

/// Says what would make an unclear verdict clear, or why none can be.
fn wanted(found: &Value, verdict: Verdict, telling: &[&Figure]) -> String {
    if verdict != Verdict::Unclear {
        return String::new();
    }
    let needed = telling.iter().filter_map(|figure| figure.needed()).max();
    let side = if is_of_runs(found) { " a side" } else { "" };
    let mut reasons = telling
        .iter()
        .filter_map(|figure| figure.of["why"].as_str());
    match (needed, reasons.next()) {
        (Some(needed), _) => format!("; about {needed} more{side} would tell"),
        (None, Some(why)) => format!("; {why}"),
        (None, None) => String::new(),
    }
}
