//! Notes on the input of a report.

use std::collections::HashSet;

use serde_json::Value;

use crate::sample::Workload;
use crate::stats::facts::Facts;
use crate::stats::figures::Figures;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::Time;

/// The most passes without samples that are named.
const MISSING: usize = 8;

const NO_GAPS: &str = "The samples were written without gaps between tokens (--no-gaps): no figures and no chart of them";
const FROM_DUE: &str =
    "TTFT and latency count from the due times, in charts too, but where a row says from the send";

/// Notes on a run that has just ended, perhaps before its plan did.
pub fn cut(about: &Value, passes: &[Pass]) -> Vec<String> {
    notes(about, passes, Vec::new())
}

/// Notes on passes that come from a samples file with this header.
pub fn saved(about: &Value, passes: &[Pass]) -> Vec<String> {
    let open = passes.iter().filter(|pass| pass.facts.ended.is_none());
    let endless = open.map(|pass| {
        let name = match about["command"] == "benchmark" {
            true => "The run".to_string(),
            false => pass.name(),
        };
        format!("{name} has no end in this file: its last request counts as the end; requests in flight then are not counted, and nothing tells of what was planned, not sent or read of the server")
    });
    // Replies had several tokens, and none of them a gap.
    let has =
        |of: fn(&Figures) -> Option<Spread>| passes.iter().any(|pass| of(&pass.figures).is_some());
    let has_gaps = has(|of| of.gap) || !has(|of| of.time(Time::Itl));
    let no_gaps = (!has_gaps).then(|| NO_GAPS.to_string());
    notes(about, passes, endless.chain(no_gaps).collect())
}

/// The notes `of_file` between those of every run.
fn notes(about: &Value, passes: &[Pass], of_file: Vec<String>) -> Vec<String> {
    let is_open = passes.iter().any(|pass| pass.figures.is_open);
    let from_due = is_open.then(|| FROM_DUE.to_string());
    let notes = from_due.into_iter().chain(of_file);
    notes.chain(missing(about, passes)).collect()
}

/// Names the first passes that were asked for and have no samples.
fn missing(about: &Value, passes: &[Pass]) -> Option<String> {
    let there: HashSet<String> = passes.iter().map(Pass::name).collect();
    let mut planned = planned(about).filter(|name| !there.contains(name));
    let missing: Vec<String> = planned.by_ref().take(MISSING).collect();
    let more = if planned.next().is_some() {
        " and more"
    } else {
        ""
    };
    let names = missing.join("; ");
    (!missing.is_empty()).then(|| format!("The samples end before the first of {names}{more}"))
}

/// The names of the passes that were asked for; a file may ask for any number of rounds.
fn planned(about: &Value) -> Box<dyn Iterator<Item = String> + '_> {
    let options = &about["options"];
    let list = |key: &str| options[key].as_array().into_iter().flatten();
    let levels = list("concurrency").filter_map(Value::as_u64);
    match about["command"].as_str() {
        Some("replay") => {
            let rounds = options["rounds"].as_u64().unwrap_or(0);
            let labels = levels.flat_map(move |level| (1..=rounds).map(move |n| (level, n)));
            Box::new(labels.map(|(level, round)| {
                name(|facts| (facts.concurrency, facts.round) = (Some(level), Some(round)))
            }))
        }
        Some("run") => {
            // Such as short, for short_input.
            let asked = options["workload"].as_str().unwrap_or_default();
            let names = Workload::NAMES.into_iter().map(|(_, name)| name);
            let planned = names.filter(move |name| asked == "year1" || name.starts_with(asked));
            Box::new(planned.map(str::to_string))
        }
        Some("load") => {
            let rates = list("rate_per_s").filter_map(Value::as_f64);
            let rates = rates.map(|rate| name(|facts| facts.rate_per_s = Some(rate)));
            let levels = levels.map(|level| name(|facts| facts.concurrency = Some(level)));
            let is_trace = options["prompts"]["trace"].is_string();
            let trace = is_trace.then(|| name(|_| {}));
            Box::new(rates.chain(levels).chain(trace))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// The name of a pass with these labels.
fn name(label: impl Fn(&mut Facts)) -> String {
    let mut facts = Facts::default();
    label(&mut facts);
    facts.name()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stats::records::Records;

    #[test]
    fn of_the_parts_without_samples_the_first_are_named_however_many_were_asked_for() {
        let note = |concurrency: &[u64], rounds: u64| {
            let about = json!({"command": "replay",
                "options": {"concurrency": concurrency, "rounds": rounds}});
            let facts = Facts {
                concurrency: Some(4),
                round: Some(1),
                ..Facts::default()
            };
            missing(&about, &[Pass::new(facts, Records::kept())])
        };
        assert_eq!(note(&[4], 1), None);
        let said = "The samples end before the first of ";
        let wanted =
            format!("{said}concurrency 4, round 2; concurrency 8, round 1; concurrency 8, round 2");
        assert_eq!(note(&[4, 8], 2), Some(wanted));
        let names: Vec<String> = (2..10)
            .map(|n| format!("concurrency 4, round {n}"))
            .collect();
        let wanted = format!("{said}{} and more", names.join("; "));
        assert_eq!(note(&[4], u64::MAX), Some(wanted));
    }

    #[test]
    fn the_parts_of_a_load_and_of_a_run_are_those_that_were_asked_for() {
        let names = |about| planned(&about).collect::<Vec<_>>();
        let load = |options| names(json!({"command": "load", "options": options}));
        assert_eq!(
            load(json!({"rate_per_s": [2.5, 5.0]})),
            ["rate 2.5/s", "rate 5/s"]
        );
        assert_eq!(load(json!({"concurrency": [8]})), ["concurrency 8"]);
        assert_eq!(load(json!({"prompts": {"trace": "t.jsonl"}})), ["trace"]);
        let run = |workload| names(json!({"command": "run", "options": {"workload": workload}}));
        assert_eq!(run("short"), ["short_input"]);
        assert_eq!(run("year1"), ["short_input", "long_input", "stress_test"]);
    }
}
