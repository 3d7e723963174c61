//! Advice after a probe: commands that fill each tier, and what would make unclear steps clear.

use serde_json::Value;

use super::super::findings::{count, list, option};
use super::super::next::{Cycle, ROTATIONS, Server, To, unanswered, was_stopped};
use super::super::report::Report;
use crate::report::document::{Block, Medium, Next, Section};

/// Returns the contexts, and their length, that fill nine tenths of a tier, or all slots.
fn filling(tier: &Value, longest: u64) -> Option<(u64, u64)> {
    /// Tokens of a question and an answer, fewest contexts of a cycle, and most tokens of a context in a slot.
    const BESIDE: u64 = 128;
    const FEWEST: u64 = 4;
    const IN_A_SLOT: u64 = 2_000;
    if let Some(contexts) = count(tier, "contexts") {
        let length = longest.min(IN_A_SLOT).checked_sub(BESIDE)?;
        return Some((contexts, length));
    }
    let filled = count(tier, "capacity_tokens")?.saturating_mul(9) / 10;
    let length = longest.min(32_000).min(filled / FEWEST);
    let length = length.checked_sub(BESIDE).filter(|&length| length > 0)?;
    Some((filled / (length + BESIDE), length))
}

/// Makes the commands that fill each tier.
pub fn commands(about: &Value, found: &Value) -> Vec<String> {
    let longest = about["options"]["max_context_tokens"].as_u64();
    let longest = longest.unwrap_or(32_000);
    let tiers = list(&found["tiers"]);
    let filling = tiers.filter_map(|tier| filling(tier, longest));
    let server = Server::of(about);
    let commands = filling.filter_map(|(contexts, length)| {
        server.cycle(&Cycle {
            contexts,
            rotations: ROTATIONS,
            input: Some(length),
            output: None,
        })
    });
    commands.collect()
}

/// Makes the list of the commands that fill each tier, if there are several.
pub fn next_commands(about: &Value, found: &Value) -> Option<Section> {
    let commands = commands(about, found);
    if commands.len() < 2 {
        return None;
    }
    let mut section = Section::new("To fill nine tenths of each tier");
    section.line("To fill nine tenths of each tier:");
    section.add(Medium::Both, Block::List(commands));
    section.line("");
    Some(section)
}

/// Makes the next step: to fill the first tier, or what the probe lacked.
pub fn next(report: &Report) -> Next {
    if let Some(next) = unanswered(report) {
        return next;
    }
    let (about, found) = (&report.about, &report.findings);
    let server = Server::of(about);
    let fills = commands(about, found).into_iter().next();
    server.next(fills.or_else(|| match found["cache"].as_str() {
        Some("absent") => Some(format!("{} --requests 100", server.begin(To::Load)?)),
        _ => Some(server.begin(To::Probe)? + &more(report)),
    }))
}

/// Returns the options of a probe that is to find what this one did not.
fn more(report: &Report) -> String {
    let options = &report.about["options"];
    let was_stopped = was_stopped(&report.passes);
    // A probe that was interrupted has not spent its budget.
    let times = if was_stopped { 1 } else { 2 };
    let budget = count(options, "budget_tokens").map(|n| n.saturating_mul(times));
    let budget = option("--budget-tokens", &budget.into());
    let asked_capacity = list(&options["steps"]).any(|step| step == "capacity");
    let is_honest = report.findings["usage"]["verdict"] == "honest";
    let goes_by_times = asked_capacity && !was_stopped && !is_honest;
    match options["ignores_usage"] == true || goes_by_times {
        true => budget + " --ignore-usage",
        false => budget,
    }
}

/// Returns what would make unclear steps clear, and what to think of lies.
pub fn warnings(about: &Value, found: &Value) -> Vec<String> {
    let stopped = found["stopped"].as_str();
    let mut warnings: Vec<String> = stopped
        .map(|why| format!("{why}; {}", cut_short(about, found)))
        .into_iter()
        .collect();
    let last = list(&found["steps"]).last().filter(|_| stopped.is_some());
    for step in list(&found["steps"]) {
        let name = step["name"].as_str().unwrap_or_default();
        let answer = step["answer"].as_str().unwrap_or_default();
        if step["is_lie"] == true {
            warnings.push(format!(
                "The server does not tell the truth ({name}): {answer}"
            ));
        }
        // The last step of a probe that was stopped had no chance to become clear.
        if step["is_clear"] == false && Some(step) != last {
            warnings.push(format!("Unclear ({name}): {}", remedy(name)));
        }
    }
    let usage = &found["usage"];
    let is_told = list(&found["steps"]).any(|step| step["is_lie"] == true);
    if usage["verdict"] == "wrong" && !is_told {
        let why = usage["why"].as_str().unwrap_or_default();
        warnings.push(format!("The server does not tell the truth (usage): {why}"));
    }
    warnings
}

/// Says what a probe that was stopped has not done.
fn cut_short(about: &Value, found: &Value) -> String {
    let begun = || list(&found["steps"]).map(|step| &step["name"]);
    let asked = list(&about["options"]["steps"]);
    let left = asked.filter(|step| !begun().any(|begun| begun == *step));
    let left: Vec<&str> = left.filter_map(Value::as_str).collect();
    let last = begun().last().and_then(Value::as_str).unwrap_or("none");
    let is_done = list(&found["steps"])
        .last()
        .is_some_and(|step| step["is_clear"] == true);
    match left.is_empty() {
        true if is_done => "the answers may be wrong".to_string(),
        true => format!("the step {last} is not complete"),
        false => format!(
            "the step {last} is not complete, and these were not taken: {}",
            left.join(", ")
        ),
    }
}

/// Returns what would make a step clear.
fn remedy(step: &str) -> &'static str {
    match step {
        "separability" => {
            "times do not tell cold prompts from warm ones; try longer contexts (--max-context), while nobody else uses the server"
        }
        "capacity" => {
            "more was not sent; a larger --budget-tokens, or a quieter server, may find the end"
        }
        "order" => "try a larger --budget-tokens, while nobody else uses the server",
        "ttl" => "try a longer --ttl",
        _ => "try again while nobody else uses the server, with longer contexts (--max-context)",
    }
}
