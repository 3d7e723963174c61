//! Whether the cached tokens of `usage` are true: by the controls, and by prompts that share a known part with an
//! earlier one, of which no more than this part can be cached.

use super::controls::{is_cold, median, slack, times_show_no_reuse};
use super::lab::{Control, Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Presence, UsageFound, UsageVerdict};
use crate::units::whole_percent;

/// How often an extended and a half-shared prompt are sent.
const ROUNDS: u32 = 3;
/// Pairs of a longer prompt, so many times as long as the controls, where their times do not tell hits from misses.
const LONGER_PAIRS: usize = 12;
const LONGER_TIMES: u64 = 16;
/// The share of readings from which on they count as a rule.
const MOST: f64 = 0.5;
/// The share of repeats that must be reported as hits.
const NEARLY_ALL: f64 = 0.8;

/// The machine that judges `usage`.
#[derive(Debug, Default)]
pub struct Machine {
    /// What is sent next, the last one first.
    plan: Vec<(Kind, Prompt)>,
    is_planned: bool,
    cold: Option<Reading>,
    /// Shared tokens and the reading of each prompt that begins as an earlier one does.
    shared: Vec<(u64, Reading)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    /// So many of its first tokens were sent before.
    Shares(u64),
    /// A new prompt, and its repeat, of the longer pairs.
    Cold,
    Warm,
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if !self.is_planned {
            self.is_planned = true;
            self.plan(lab);
        }
        let (_, prompt) = self.plan.last()?;
        Some(Ask::Send(Request::new(*prompt)))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let Some((kind, prompt)) = self.plan.pop() else {
            return;
        };
        match kind {
            Kind::New => lab.wrote(prompt.text, reading),
            Kind::Shares(tokens) => {
                lab.sent_prompt(&prompt, reading);
                self.shared.push((tokens, *reading));
            }
            Kind::Cold => {
                lab.wrote(prompt.text, reading);
                self.cold = Some(*reading);
            }
            Kind::Warm => {
                lab.sent_prompt(&prompt, reading);
                if let Some(cold) = self.cold.take() {
                    lab.controls.push(Control {
                        tokens: request.prompt.tokens,
                        cold,
                        warm: *reading,
                    });
                }
            }
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        if lab.ignores_usage {
            lab.trusts_usage = false;
            return Answer::clear("ignored, as asked");
        }
        let (verdict, why) = self.judge(lab, findings.cache);
        lab.trusts_usage &= verdict == UsageVerdict::Honest;
        let is_idle = !lab.trusts_time && times_show_no_reuse(&lab.controls);
        if verdict == UsageVerdict::Wrong && is_idle {
            findings.cache = Some(Presence::Absent);
        }
        let words = match verdict {
            UsageVerdict::Absent => why.clone(),
            _ => format!("{}: {why}", verdict.name()),
        };
        findings.usage = Some(UsageFound { verdict, why });
        Answer {
            words,
            is_clear: verdict != UsageVerdict::Unclear,
            is_lie: verdict == UsageVerdict::Wrong,
        }
    }
}

impl Machine {
    fn plan(&mut self, lab: &mut Lab) {
        let is_reported = lab
            .controls
            .iter()
            .any(|control| control.warm.cached.is_some());
        if lab.ignores_usage || !is_reported {
            return;
        }
        let tokens = lab.shortest_tokens.min(lab.longest_tokens / 2);
        let mut plan = Vec::new();
        for _ in 0..ROUNDS {
            let short = lab.new_prompt(tokens);
            let long = Prompt {
                tokens: 2 * tokens,
                ..short
            };
            plan.extend([(Kind::New, short), (Kind::Shares(tokens), long)]);
            let whole = lab.new_prompt(tokens);
            let half = Prompt {
                branch: Some((tokens / 2, lab.new_text())),
                ..whole
            };
            plan.extend([(Kind::New, whole), (Kind::Shares(tokens / 2), half)]);
        }
        if lab.trusts_usage && !lab.trusts_time {
            let tokens = (LONGER_TIMES * tokens).min(lab.longest_tokens);
            for _ in 0..LONGER_PAIRS {
                let prompt = lab.new_prompt(tokens);
                plan.extend([(Kind::Cold, prompt), (Kind::Warm, prompt)]);
            }
        }
        plan.reverse();
        self.plan = plan;
    }

    /// Returns the verdict and its reason.
    fn judge(&self, lab: &Lab, cache: Option<Presence>) -> (UsageVerdict, String) {
        let controls = &lab.controls;
        let reported: Vec<&Control> = controls
            .iter()
            .filter(|control| control.cold.cached.is_some() && control.warm.cached.is_some())
            .collect();
        if reported.is_empty() {
            let why = "replies do not report cached tokens".to_string();
            return match controls.is_empty() {
                true => (UsageVerdict::Unclear, "nothing was measured".to_string()),
                false => (UsageVerdict::Absent, why),
            };
        }
        let is_long = |control: &&&Control| control.tokens >= lab.shortest_tokens;
        let long: Vec<&Control> = reported.iter().filter(is_long).copied().collect();
        if let Some(why) = wrong_controls(&long, lab).or_else(|| self.wrong_parts()) {
            return (UsageVerdict::Wrong, why);
        }
        let share = share_of(&long, |control| is_hit(control, lab));
        let counts = counts(&long, lab);
        if share >= NEARLY_ALL {
            if !lab.trusts_time && times_show_no_reuse(controls) {
                let why = "it reports hits, but repeats are as slow as new prompts".to_string();
                return (UsageVerdict::Wrong, why);
            }
            return (UsageVerdict::Honest, counts);
        }
        if cache == Some(Presence::Absent) {
            let why = "it reports no hits, and times show none".to_string();
            return (UsageVerdict::Honest, why);
        }
        let why = match share > 0.0 {
            true => format!("it reports {} of repeats as hits", whole_percent(share)),
            false => "it reports no hits, and times cannot tell whether there are any".to_string(),
        };
        (UsageVerdict::Unclear, why)
    }

    /// Says how much more is reported than an earlier prompt can have left in the cache.
    fn wrong_parts(&self) -> Option<String> {
        let over = |(shared, reading): &&(u64, Reading)| {
            reading
                .cached
                .is_some_and(|cached| cached > shared + slack(*shared))
        };
        let all = self.shared.len();
        let over: Vec<&(u64, Reading)> = self.shared.iter().filter(over).collect();
        let (shared, reading) = over.first()?;
        let cached = reading.cached?;
        (over.len() as f64 > MOST * all as f64).then(|| {
            format!(
                "{cached} tokens are reported as cached of a prompt that shares {shared} with an earlier one"
            )
        })
    }
}

/// Says what is wrong with the counts of the controls.
fn wrong_controls(reported: &[&Control], lab: &Lab) -> Option<String> {
    let is_rule =
        |is: fn(&Control, &Lab) -> bool| share_of(reported, |control| is(control, lab)) > MOST;
    if is_rule(|control, lab| !is_cold(&control.cold, lab)) {
        let of_new = middle(reported, |control| control.cold.cached);
        let tokens = middle(reported, |control| Some(control.cold.tokens));
        return Some(format!(
            "{of_new} of {tokens} tokens of new prompts are reported as cached"
        ));
    }
    if is_rule(|control, _| control.warm.cached > Some(control.warm.tokens)) {
        return Some("more tokens are reported as cached than prompts have".to_string());
    }
    let is_missed = is_rule(|control, lab| {
        control.warm.cached <= control.cold.cached && is_cold(&control.warm, lab)
    });
    if is_missed && lab.trusts_time {
        let of_repeats = middle(reported, |control| control.warm.cached);
        return Some(format!(
            "{of_repeats} tokens of repeats are reported as cached, although they are faster than new prompts"
        ));
    }
    None
}

fn is_hit(control: &Control, lab: &Lab) -> bool {
    control.warm.cached > control.cold.cached && is_cold(&control.cold, lab)
}

/// Says what is reported of the controls of the chosen length.
fn counts(reported: &[&Control], lab: &Lab) -> String {
    let alike = reported
        .iter()
        .filter(|control| control.tokens == lab.shortest_tokens);
    let alike: Vec<&Control> = alike.copied().collect();
    let times = match lab.trusts_time {
        true => "",
        false => "; times cannot confirm it",
    };
    format!(
        "{} of a new prompt, {} of {} of a repeat{times}",
        middle(&alike, |control| control.cold.cached),
        middle(&alike, |control| control.warm.cached),
        middle(&alike, |control| Some(control.warm.tokens)),
    )
}

fn share_of(reported: &[&Control], is: impl Fn(&Control) -> bool) -> f64 {
    let count = reported.iter().filter(|control| is(control)).count();
    count as f64 / reported.len() as f64
}

/// Returns the median of a count.
fn middle(controls: &[&Control], of: impl Fn(&Control) -> Option<u64>) -> u64 {
    let counts = controls.iter().filter_map(|control| of(control));
    let counts: Vec<f64> = counts.map(|count| count as f64).collect();
    median(&counts) as u64
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report};
    use super::super::separability;
    use super::*;
    use crate::stats::probe::Shape;

    fn found(server: &mut Odd, ignores_usage: bool) -> (Lab, Findings, Answer) {
        let mut lab = Lab::new(8192);
        (lab.common_tokens, lab.ignores_usage) = (server.common_tokens, ignores_usage);
        let mut findings = Findings::default();
        server.ask(
            &mut separability::Machine::default(),
            &mut lab,
            &mut findings,
        );
        let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
        (lab, findings, answer)
    }

    #[test]
    fn no_verdict_is_wrong() {
        use UsageVerdict::{Absent, Honest, Wrong};
        let cases = [
            (Report::True, Shape::Prefix, Honest),
            (Report::True, Shape::WholePrompt, Honest),
            (Report::True, Shape::Units, Honest),
            (Report::True, Shape::None, Honest),
            (Report::Nothing, Shape::Prefix, Absent),
            (Report::Nothing, Shape::None, Absent),
            (Report::Zero, Shape::Prefix, Wrong),
            (Report::AllButOne, Shape::Prefix, Wrong),
            (Report::AllButOne, Shape::None, Wrong),
            (Report::Double, Shape::Prefix, Wrong),
            (Report::Repeats, Shape::None, Wrong),
        ];
        let mut unclear = 0;
        for seed in 0..100 {
            for (report, shape, verdict) in cases {
                let mut server = Odd::new([16, 32, 64, 128][seed as usize % 4], seed);
                (server.report, server.shape) = (report, shape);
                server.least_tokens = 1000 * (seed / 4 % 2);
                server.common_tokens = 20 * (seed % 3);
                let (lab, findings, answer) = found(&mut server, false);
                let usage = findings.usage.expect("a verdict");
                let case = format!(
                    "seed {seed} {report:?} {shape:?}: {answer}",
                    answer = answer.words
                );
                if usage.verdict == UsageVerdict::Unclear {
                    unclear += 1;
                    continue;
                }
                assert_eq!(usage.verdict, verdict, "{case}");
                assert_eq!(answer.is_lie, verdict == Wrong, "{case}");
                let is_trusted = verdict == Honest && shape != Shape::None;
                assert_eq!(lab.trusts_usage, is_trusted, "{case}");
            }
        }
        assert!(unclear <= 5, "{unclear} of 1100");
    }

    #[test]
    fn hits_are_believed_where_times_cannot_tell_and_the_answer_says_so() {
        for seed in 0..100 {
            let mut server = Odd::new(16, seed);
            server.server.noise = 5.0;
            let (lab, findings, answer) = found(&mut server, false);
            assert!(lab.trusts_usage && !lab.trusts_time, "seed {seed}");
            assert_eq!(findings.cache, Some(Presence::Present));
            assert_eq!(
                answer.words,
                "honest: 0 of a new prompt, 256 of 256 of a repeat; times cannot confirm it"
            );
        }
    }

    #[test]
    fn an_idle_cache_that_reports_hits_is_absent() {
        let mut server = Odd::new(16, 1);
        (server.report, server.shape) = (Report::Repeats, Shape::None);
        let (_, findings, answer) = found(&mut server, false);
        assert_eq!(findings.cache, Some(Presence::Absent));
        assert_eq!(
            answer.words,
            "wrong: it reports hits, but repeats are as slow as new prompts"
        );
    }

    #[test]
    fn usage_that_is_ignored_has_no_verdict() {
        let mut server = Odd::new(16, 1);
        server.report = Report::AllButOne;
        let (lab, findings, answer) = found(&mut server, true);
        assert_eq!((findings.usage, lab.trusts_usage), (None, false));
        assert_eq!(answer.words, "ignored, as asked");
        assert!(answer.is_clear && !answer.is_lie);
    }
}
