//! The next step after a comparison.

use serde_json::Value;

use super::figure::{Figure, is_of_runs, margin, telling, text, verdict};
use crate::report::document::Next;
use crate::report::layout::findings::{count, list, option, pace, prompts};
use crate::report::layout::next::{Server, To};
use crate::stats::compare::{DEFAULT_PAIRS, Verdict};
use crate::units::quoted;

/// Runs of a side that tell of a change of 10 % where runs differ by 3 %.
const RUNS: u64 = 5;
/// Requests in flight for the next comparison of sides that are the same one at a time.
const IN_FLIGHT: u64 = 8;

/// The number of pairs or runs that an answer takes.
struct Sample {
    /// The least number that a figure that made the verdict has.
    had: u64,
    /// As many and those still needed; `None` where the verdict is clear or nobody knows.
    wanted: Option<u64>,
}

impl Sample {
    fn of(found: &Value) -> Sample {
        let all = Figure::all(found);
        let telling = telling(&all, verdict(found));
        let had = telling.iter().map(|figure| figure.pairs()).min();
        let had = had.unwrap_or(0);
        let needed = telling.iter().filter_map(|figure| figure.needed()).max();
        Sample {
            had,
            wanted: needed.map(|needed| had.saturating_add(needed)),
        }
    }

    fn runs(&self) -> u64 {
        self.wanted.unwrap_or(self.had).max(RUNS)
    }

    fn pairs(&self) -> Option<u64> {
        self.wanted.map(round_up)
    }
}

/// Says what to do next, in the summary.
pub fn advice(found: &Value) -> String {
    let sample = Sample::of(found);
    let what = match (verdict(found), is_of_runs(found)) {
        (Verdict::Slower, _) => "find what changed on the new side before it is merged".to_string(),
        (Verdict::Same | Verdict::Faster, _) => "nothing stands against the change".to_string(),
        (Verdict::Unclear, true) => {
            let runs = sample.runs();
            format!("compare {runs} runs a side (load --runs {runs})")
        }
        (Verdict::Unclear, false) => match sample.pairs() {
            Some(pairs) => format!("compare again with --pairs {pairs}"),
            None => "compare again".to_string(),
        },
    };
    format!("Next: {what}")
}

/// Rounds up to two significant digits.
pub fn round_up(n: u64) -> u64 {
    let digits = n.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(1));
    n.div_ceil(unit).saturating_mul(unit)
}

/// Returns the next step.
pub fn next(about: &Value, found: &Value) -> Next {
    const SAMPLES: &str = "--samples new.jsonl";
    let options = &about["options"];
    let sample = Sample::of(found);
    let (pairs, concurrency) = (count(options, "pairs"), count(options, "concurrency"));
    let again = |pairs, concurrency| {
        let server = Server::of(about);
        let begin = server.begin(To::Compare);
        server.next(begin.map(|begin| begin + &sides_again(about, found, pairs, concurrency)))
    };
    let load = |server: Server, rest: String| {
        let begin = server.begin(To::Load);
        server.next(begin.map(|begin| begin + &rest))
    };
    match (is_of_runs(found), verdict(found)) {
        (false, Verdict::Unclear) => {
            let twice = pairs.map(|pairs| pairs.saturating_mul(2));
            again(sample.pairs().or(twice), concurrency)
        }
        (false, Verdict::Slower) => {
            let concurrency = option("--concurrency", &options["concurrency"]);
            let rest = format!("{}{concurrency} {SAMPLES}", prompts(about));
            load(new_side(about, found), rest)
        }
        (false, Verdict::Same | Verdict::Faster) => match concurrency.is_some_and(|n| n > 1) {
            true => load(new_side(about, found), " --concurrency 1,4,16".to_string()),
            // Windows are compared, each of many pairs.
            false => again(pairs.map(|pairs| pairs.max(DEFAULT_PAIRS)), Some(IN_FLIGHT)),
        },
        (true, Verdict::Unclear) if options["prompts"].is_null() => Next {
            advice: vec![format!(
                "Next: give each side {} runs of its command, each with samples of its own.",
                sample.runs()
            )],
            command: None,
        },
        (true, Verdict::Unclear) => {
            let (prompts, pace) = (prompts(about), pace(&options["load"]));
            let rest = format!("{prompts}{pace} --runs {} {SAMPLES}", sample.runs());
            load(Server::of(about), rest)
        }
        (true, _) => {
            let file = list(&options["new"]).next().and_then(Value::as_str);
            Next::of(format!(
                "tmesh-cli report -i {}",
                quoted(file.unwrap_or("new.jsonl"))
            ))
        }
    }
}

/// Returns the server of the new side, which is a mock in this process if its name is no URL.
fn new_side(about: &Value, found: &Value) -> Server {
    let (options, side) = (&about["options"], &found["sides"][1]);
    let url = Some(text(side, "name")).filter(|name| name.contains("://"));
    let server = Server::of(about).beside(url, &options["against_mock"], &side["model"]);
    server.with_key_file(&options["against_api_key_file"])
}

/// Returns the options that compare the sides again, beside those of the base.
fn sides_again(
    about: &Value,
    found: &Value,
    pairs: Option<u64>,
    concurrency: Option<u64>,
) -> String {
    let options = &about["options"];
    let given = |name, key: &str| option(name, &options[key]);
    let figures = list(&options["figures"]).map(|name| option("--figure", name));
    let mut command = given("--against", "against");
    command += &given("--against-mock", "against_mock");
    command += &given("--against-model", "against_model");
    command += &given("--against-api-key-file", "against_api_key_file");
    command += &prompts(about);
    command.extend(figures);
    if found["margin"].is_number() {
        command += &format!(" --margin {}", margin(found).replace(' ', ""));
    }
    let counts = [("--concurrency", concurrency), ("--pairs", pairs)];
    let counts = counts.into_iter().filter_map(|(name, n)| Some((name, n?)));
    command.extend(counts.map(|(name, n)| format!(" {name} {n}")));
    command
}
