//! Notes on the data that a report is made from.

use std::collections::HashSet;

use serde_json::Value;

use crate::sample::{TokenSource, Workload};
use crate::stats::facts::Facts;
use crate::stats::figures::Figures;
use crate::stats::lengths::{Lengths, PROMPT_OFF};
use crate::stats::pass::{Pass, sum};
use crate::stats::spread::Spread;
use crate::stats::time::Time;
use crate::units::{counted, whole_percent};

/// The most missing passes that are named.
const MISSING: usize = 8;
/// Answers with a length other than the one asked for are noted if they are more than one in this many.
const ANSWERS_PER_NOTED: u64 = 100;

const NO_GAPS: &str = "The samples were written without gaps between tokens (--no-gaps), so gaps have no figures and no chart";
/// The server options without which replies do not report cache hits.
pub const CACHE_OPTIONS: &str = "vLLM reports cached tokens with --enable-prompt-tokens-details, SGLang with --enable-cache-report";
const FROM_DUE: &str = "TTFT and latency are measured from the scheduled time, except in rows marked \"from the send\"";

/// Returns the notes on a run that has just ended, perhaps before its plan was done.
pub fn cut(about: &Value, passes: &[Pass]) -> Vec<String> {
    notes(about, passes, Vec::new())
}

/// Returns the notes on passes from a samples file with this header.
pub fn saved(about: &Value, passes: &[Pass]) -> Vec<String> {
    let open = passes.iter().filter(|pass| pass.facts.ended.is_none());
    let endless = open.map(|pass| {
        let name = match about["command"] == "benchmark" {
            true => "The run".to_string(),
            false => pass.name(),
        };
        format!("{name} has no end in this file: its last request counts as the end; requests in flight then are not counted, and nothing tells of what was planned, not sent or read of the server")
    });
    // Gaps were not kept if replies had several tokens but none of them has a gap.
    let has =
        |of: fn(&Figures) -> Option<Spread>| passes.iter().any(|pass| of(&pass.figures).is_some());
    let has_gaps = has(|of| of.gap) || !has(|of| of.time(Time::Itl));
    let no_gaps = (!has_gaps).then(|| NO_GAPS.to_string());
    notes(about, passes, endless.chain(no_gaps).collect())
}

/// Returns the notes that every run can have, with the notes `of_file` among them.
fn notes(about: &Value, passes: &[Pass], of_file: Vec<String>) -> Vec<String> {
    let is_open = passes.iter().any(|pass| pass.figures.is_open);
    let from_due = is_open.then(|| FROM_DUE.to_string());
    let notes = from_due.into_iter().chain(of_file);
    let notes = notes
        .chain(replies(passes))
        .chain(uncounted(passes))
        .chain(lengths(about, passes))
        .chain(no_ttft(passes));
    let notes = notes.chain(no_hits(about, passes));
    notes.chain(missing(about, passes)).collect()
}

/// Says how to get hit rates if there are successes and no reply reports cache hits.
fn no_hits(about: &Value, passes: &[Pass]) -> Option<String> {
    let has_successes = passes.iter().any(|pass| pass.figures.successful > 0);
    let is_told = passes.iter().any(|pass| {
        let reported = pass.figures.reported;
        reported.prefix || reported.response
    });
    let is_of_usage = about["options"]["api"] != "generate" && about["mock"] != true;
    let is_wanted = has_successes && !is_told && is_of_usage;
    is_wanted.then(|| format!("No reply tells of cached prompt tokens: {CACHE_OPTIONS}"))
}

/// Says that the replies of passes without a stream cannot meet a limit on TTFT.
fn no_ttft(passes: &[Pass]) -> Option<String> {
    let is_limited = |pass: &Pass| pass.facts.slo.is_some_and(|slo| slo.ttft_ms.is_some());
    let fail = |pass: &&Pass| is_limited(pass) && pass.figures.is_not_streamed();
    let all = sum(passes, |figures| figures.successful);
    let failing = passes.iter().filter(fail);
    let n: u64 = failing.map(|pass| pass.figures.successful).sum();
    (n > 0).then(|| {
        format!("{n} of {all} replies came without a stream: they have no TTFT and fail the limit on ttft_ms; limit latency_ms in its place")
    })
}

/// Returns notes on odd replies, one for each kind over all passes.
fn replies(passes: &[Pass]) -> Vec<String> {
    let all = sum(passes, |figures| figures.successful);
    let of_sources = |figures: &Figures| {
        let sources = [TokenSource::EventsOverUsage, TokenSource::Total];
        let counts = sources.map(|source| figures.token_sources.get(source.name()));
        counts.into_iter().flatten().sum()
    };
    let mut notes = Vec::new();
    let mut note = |n: u64, text: &str| {
        if n > 0 {
            notes.push(format!("{n} of {all} replies {text}"));
        }
    };
    let is_starved = passes
        .iter()
        .any(|pass| pass.facts.client.limited == Some(true));
    let holder = match is_starved {
        true => "this client was too slow to read them, or something on the way holds tokens back",
        false => "something on the way holds tokens back",
    };
    note(
        sum(passes, |figures| figures.bursts),
        &format!(
            "came in a burst: {holder}, so they have no ITL, TPOT and decode rate, and their TTFT is too long"
        ),
    );
    note(
        sum(passes, of_sources),
        "carry a count of output tokens that is below the tokens that came; the events, or the total, are counted in its place",
    );
    note(
        sum(passes, |figures| figures.partly_streamed),
        "have tokens that were never sent, such as hidden reasoning: ITL, TPOT and decode rate are over the tokens that came",
    );
    note(
        sum(passes, |figures| figures.impossible_counts),
        "carry counts of tokens that cannot be, such as more cached tokens than prompt tokens, or more tokens than bytes; these counts are left out",
    );
    let unread = passes
        .iter()
        .filter_map(|pass| pass.figures.unread.as_ref());
    let (count, first) = unread.fold((0, ""), |(count, first), (n, text)| {
        (count + n, if first.is_empty() { text } else { first })
    });
    if count > 0 {
        let events = counted(count, "event");
        let verb = if count == 1 { "counts" } else { "count" };
        notes.push(format!(
            "{events} of the streams could not be read and {verb} for nothing; the first: {first}"
        ));
    }
    notes
}

/// Says how many replies have a count of output tokens, if some have one and some do not.
fn uncounted(passes: &[Pass]) -> Option<String> {
    let all = sum(passes, |figures| figures.successful);
    let counted = sum(passes, |figures| figures.output_tokens.n);
    (1..all).contains(&counted).then(|| {
        format!("Output tokens are known for {counted} of {all} replies only, since the others carry no count: throughput is too low by their tokens")
    })
}

/// Says which lengths are off, once for all passes: those of answers if more than one in a hundred is off, those of
/// prompts if most are off to the same side.
fn lengths(about: &Value, passes: &[Pass]) -> Option<String> {
    let mut all = Lengths::default();
    passes
        .iter()
        .for_each(|pass| all.merge(&pass.figures.lengths));
    let mut answers_off = all.longer_answers;
    if !has_own_ends(about) {
        answers_off.merge(&all.shorter_answers);
    }
    let (n, of) = (answers_off.requests, all.answers);
    let medians = answers_off.medians().filter(|_| n * ANSWERS_PER_NOTED > of);
    let answers = medians.map(|(wanted, got)| {
        format!("{n} of {of} replies are not as long as asked for: {got} tokens came for {wanted} (medians)")
    });
    let of = all.prompts;
    let prompts = [all.shorter_prompts, all.longer_prompts];
    let prompts = prompts.iter().filter_map(|off| {
        let n = off.requests;
        let (wanted, got) = off.medians().filter(|_| n * 2 > of)?;
        Some(format!("{n} of {of} prompts are more than {} off their length: the server counted {got} tokens for {wanted} (medians)", whole_percent(PROMPT_OFF)))
    });
    let said: Vec<String> = answers.into_iter().chain(prompts).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Whether answers may end before they have the tokens that were asked for, as those to the prompts of a dataset may.
fn has_own_ends(about: &Value) -> bool {
    let is_dataset = about["options"]["prompts"]["dataset"].is_string();
    about["command"] == "replay" || is_dataset
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
    (!missing.is_empty())
        .then(|| format!("The samples end before these passes began: {names}{more}"))
}

/// Returns the names of the passes that were asked for, one by one because a file may ask for any number of rounds.
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
            // The option has short names, such as `short` for `short_input`.
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
            let points: Vec<String> = rates.chain(levels).chain(trace).collect();
            let runs = options["runs"].as_u64().unwrap_or(1);
            let of_run = move |run| {
                let points = points.clone().into_iter();
                points.map(move |point| match runs {
                    1 => point,
                    _ => format!("{point}, run {run}"),
                })
            };
            Box::new((1..=runs).flat_map(of_run))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Returns the name of a pass with these labels.
fn name(label: impl Fn(&mut Facts)) -> String {
    let mut facts = Facts::default();
    label(&mut facts);
    facts.name()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample::{Labels, Sample};
    use crate::stats::goodput::Slo;
    use crate::stats::records::Records;

    #[test]
    fn the_first_missing_passes_are_named_however_many_were_asked_for() {
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
        let said = "The samples end before these passes began: ";
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
    fn the_planned_passes_of_load_and_run_are_those_that_were_asked_for() {
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

    #[test]
    fn lengths_that_are_off_are_noted_in_one_line() {
        let pass = |of: &[(u64, u64, u64)]| {
            let samples = of.iter().flat_map(|&(n, prompt, answer)| {
                let sample = Sample {
                    labels: Labels {
                        wanted_prompt_tokens: Some(512),
                        wanted_output_tokens: Some(16),
                        ..Labels::default()
                    },
                    prompt_tokens: Some(prompt),
                    completion_tokens: Some(answer),
                    token_source: Some(TokenSource::Usage),
                    ..Sample::default()
                };
                (0..n).map(move |_| sample.clone())
            });
            let samples: Vec<Sample> = samples.collect();
            Pass::new(Facts::default(), Records::kept().with(&samples))
        };
        let made = json!({"command": "load", "options": {"prompts": {"dataset": null}}});
        let replies = "26 tokens came for 16 (medians)";
        let prompts = "the server counted 540 tokens for 512 (medians)";
        for (about, of, wanted) in [
            (&made, vec![(100, 512, 16)], None),
            // One answer in a hundred may be off, and half of the prompts.
            (&made, vec![(99, 512, 16), (1, 512, 3)], None),
            (&made, vec![(50, 517, 16), (50, 540, 16)], None),
            // Some prompts are longer and some are shorter, so on the whole they are as planned.
            (&made, vec![(50, 500, 16), (50, 540, 16)], None),
            (
                &made,
                vec![(96, 512, 16), (1, 512, 3), (3, 512, 26)],
                Some(format!(
                    "4 of 100 replies are not as long as asked for: {replies}"
                )),
            ),
            (
                &made,
                vec![(4, 517, 16), (6, 540, 26)],
                Some(format!(
                    "6 of 10 replies are not as long as asked for: {replies}; \
                     6 of 10 prompts are more than 1 % off their length: {prompts}"
                )),
            ),
            // Answers that end by themselves are odd only if they are too long.
            (&json!({"command": "replay"}), vec![(10, 512, 3)], None),
            (
                &json!({"command": "load", "options": {"prompts": {"dataset": "d.jsonl"}}}),
                vec![(5, 512, 3), (5, 512, 26)],
                Some(format!(
                    "5 of 10 replies are not as long as asked for: {replies}"
                )),
            ),
        ] {
            assert_eq!(lengths(about, &[pass(&of)]), wanted, "{of:?}");
        }
        // The requests of all passes are counted together.
        let said = lengths(&made, &[pass(&[(1, 512, 26)]), pass(&[(1, 512, 16)])]);
        assert!(said.is_some_and(|said| said.starts_with("1 of 2 replies ")));
    }

    #[test]
    fn replies_without_a_stream_are_noted_where_ttft_is_limited() {
        let pass = |ttft_ms: Option<f64>, t_first_ns: Option<u64>| {
            let sample = Sample {
                t_first_ns,
                t_last_ns: t_first_ns,
                t_end_ns: 9,
                ..Sample::default()
            };
            let facts = Facts {
                slo: Some(Slo {
                    ttft_ms,
                    latency_ms: Some(9.0),
                    ..Slo::default()
                }),
                ..Facts::default()
            };
            Pass::new(facts, Records::kept().with(&[sample]))
        };
        let wanted = "1 of 2 replies came without a stream: they have no TTFT and fail the limit on ttft_ms; limit latency_ms in its place";
        let passes = [pass(Some(5.0), None), pass(Some(5.0), Some(4))];
        assert_eq!(no_ttft(&passes).as_deref(), Some(wanted));
        for other in [pass(None, None), pass(Some(5.0), Some(4))] {
            assert_eq!(no_ttft(&[other]), None);
        }
    }

    #[test]
    fn missing_and_impossible_counts_are_noted() {
        let counted = Sample {
            completion_tokens: Some(10),
            token_source: Some(TokenSource::Usage),
            ..Sample::default()
        };
        let pass = |samples: &[Sample]| Pass::new(Facts::default(), Records::kept().with(samples));
        let both = [
            pass(&[counted.clone(), Sample::default()]),
            pass(std::slice::from_ref(&counted)),
        ];
        let said = uncounted(&both);
        assert!(said.is_some_and(|said| said.contains("known for 2 of 3 replies only,")));
        // There is no note if all replies have a count, or none, which the figure itself says.
        assert_eq!(uncounted(&[pass(std::slice::from_ref(&counted))]), None);
        assert_eq!(uncounted(&[pass(&[Sample::default()])]), None);
        let odd = Sample {
            prompt_tokens: Some(9),
            cached_tokens: Some(10),
            ..counted.clone()
        };
        let notes = replies(&[pass(&[odd, counted])]);
        assert!(
            notes.len() == 1
                && notes[0].starts_with("1 of 2 replies carry counts of tokens that cannot be"),
            "{notes:?}"
        );
    }

    #[test]
    fn odd_replies_are_counted_over_all_passes_and_noted_once() {
        let good = Sample {
            t_first_ns: Some(300_000_000),
            t_last_ns: Some(400_000_000),
            completion_tokens: Some(10),
            token_source: Some(TokenSource::Usage),
            token_events: 10,
            token_reads: 10,
            ..Sample::default()
        };
        let burst = Sample {
            t_last_ns: Some(300_000_100),
            token_reads: 1,
            unread: Some((2, "event is not JSON: ping".into())),
            ..good.clone()
        };
        let hidden = Sample {
            streamed_tokens: Some(10),
            completion_tokens: Some(60),
            token_source: Some(TokenSource::Total),
            unread: Some((1, "another".into())),
            ..good.clone()
        };
        let refuted = Sample {
            token_source: Some(TokenSource::EventsOverUsage),
            ..good.clone()
        };
        let pass = |samples: &[Sample]| Pass::new(Facts::default(), Records::kept().with(samples));
        assert_eq!(
            replies(&[pass(&[good.clone(), good.clone()])]),
            Vec::<String>::new()
        );
        let mut starved = pass(std::slice::from_ref(&burst));
        starved.facts.client.limited = Some(true);
        let of_burst = &replies(&[starved])[0];
        assert!(of_burst.contains("this client was too slow"), "{of_burst}");
        let notes = replies(&[pass(&[good, burst]), pass(&[hidden, refuted])]);
        let begin = |beginning: &str| notes.iter().any(|note| note.starts_with(beginning));
        assert_eq!(notes.len(), 4, "{notes:#?}");
        assert!(begin("1 of 4 replies came in a burst: "), "{notes:#?}");
        assert!(
            begin("2 of 4 replies carry a count of output tokens that is below "),
            "{notes:#?}"
        );
        assert!(
            begin("1 of 4 replies have tokens that were never sent, "),
            "{notes:#?}"
        );
        assert!(
            begin("3 events of the streams could not be read "),
            "{notes:#?}"
        );
        assert!(
            notes[3].ends_with("; the first: event is not JSON: ping"),
            "{notes:#?}"
        );
    }
}
