//! `probe`: finds out from outside what a prefix cache is, one step after the other.
//!
//! [`Probe`] is a state machine over steps, each of which is one too. All of them share a [`lab::Lab`].

mod answer;
mod belief;
mod block;
mod bounds;
mod capacity;
mod controls;
mod curve;
mod explain;
mod growing;
pub mod lab;
mod least_squares;
#[cfg(test)]
mod odd;
mod order;
mod policy;
mod reset;
mod reuse;
mod separability;
mod sharing;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulator;
mod slots;
mod step;
mod ttl;
mod usage;

use std::collections::VecDeque;
use std::time::Duration;

use self::lab::{Lab, Reading, Request};
pub use self::step::{Answer, Ask, Step};
use crate::sample::{Sample, named};
use crate::stats::probe::{Cost, Findings, Point, Presence, StepDone};

named! {
    /// The steps, in the order in which they are taken.
    pub enum Name {
        Separability = "separability",
        Usage = "usage",
        Reuse = "reuse",
        Block = "block",
        Capacity = "capacity",
        Order = "order",
        Answer = "answer",
        Sharing = "sharing",
        Ttl = "ttl",
        /// The last one: it empties the cache.
        Reset = "reset",
    }
}

/// The steps of a probe, and its limits.
#[derive(Debug, Clone)]
pub struct Settings {
    pub steps: Vec<Name>,
    /// Whether the cached tokens of replies are left out of account.
    pub ignores_usage: bool,
    /// Longest prompt, in tokens.
    pub longest_tokens: u64,
    /// Tokens that all prompts have in common before their texts.
    pub common_tokens: u64,
    /// Most prompt tokens to send.
    pub budget_tokens: Option<u64>,
    /// The longest age of a context for the TTL; `None`: 64 s.
    pub ttl: Option<Duration>,
}

/// The longest age for the TTL if none is given.
const DEFAULT_TTL: Duration = Duration::from_secs(64);
/// Failures in a row that end a probe.
const MOST_FAILURES: u32 = 5;

/// The machine of all steps.
pub struct Probe {
    lab: Lab,
    findings: Findings,
    left: VecDeque<(Name, Box<dyn Step + Send>)>,
    budget_tokens: Option<u64>,
    asked: Option<Request>,
    /// What was sent before the current step.
    before: Cost,
    failures: u32,
}

impl Probe {
    pub fn new(settings: &Settings) -> Probe {
        let mut lab = Lab::new(settings.longest_tokens);
        lab.ignores_usage = settings.ignores_usage;
        lab.common_tokens = settings.common_tokens;
        let mut left = VecDeque::new();
        for (name, _) in Name::NAMES {
            if settings.steps.contains(&name) {
                left.push_back((name, step(name, settings)));
            }
        }
        Probe {
            lab,
            findings: Findings::default(),
            left,
            budget_tokens: settings.budget_tokens,
            asked: None,
            before: Cost::default(),
            failures: 0,
        }
    }

    /// Returns the step that is under way; `None` at the end.
    pub fn step(&self) -> Option<Name> {
        self.left.front().map(|(name, _)| *name)
    }

    /// Returns what to do next; `None` at the end. Steps that have ended are in the findings.
    pub fn next(&mut self) -> Option<Ask> {
        loop {
            let (name, step) = self.left.front_mut()?;
            let ask = match not_asked(*name, &self.lab, &self.findings) {
                Some(_) => None,
                None => step.next(&mut self.lab),
            };
            if let Some(Ask::Send(request)) = ask {
                let sent = self.findings.cost.prompt_tokens + request.prompt.tokens;
                if self.budget_tokens.is_some_and(|budget| sent > budget) {
                    self.stop("the budget of tokens is spent");
                    return None;
                }
                self.asked = Some(request);
            }
            if ask.is_some() {
                return ask;
            }
            self.end_step();
        }
    }

    /// Takes the sample of the last request.
    pub fn tell(&mut self, sample: &Sample) {
        let Some(request) = self.asked.take() else {
            return;
        };
        self.findings.cost.seconds = sample.t_end_ns as f64 / 1e9;
        let Some(reading) = Reading::of(sample) else {
            self.failures += 1;
            if self.failures >= MOST_FAILURES {
                let why = sample
                    .failure
                    .as_ref()
                    .map_or("no token".to_string(), ToString::to_string);
                self.stop(&format!("{MOST_FAILURES} requests in a row failed: {why}"));
            }
            return;
        };
        self.failures = 0;
        let rereads = self.lab.rereads().count();
        if let Some((_, step)) = self.left.front_mut() {
            step.tell(&mut self.lab, &request, &reading);
        }
        self.count(&reading);
        if let Some(reread) = self.lab.rereads().nth(rereads) {
            self.findings.rereads.push(Point {
                distance_tokens: reread.distance as u64,
                tokens: reading.tokens,
                ttft_ms: reading.ttft_s * 1e3,
            });
        }
    }

    fn count(&mut self, reading: &Reading) {
        let shares = self.lab.shares(reading);
        let uncached = shares.best().unwrap_or(1.0).clamp(0.0, 1.0);
        let cost = &mut self.findings.cost;
        cost.requests += 1;
        cost.prompt_tokens += reading.tokens;
        cost.uncached_tokens += (reading.tokens as f64 * uncached).round() as u64;
    }

    /// Ends the probe before its last step, with what it has.
    pub fn stop(&mut self, why: &str) {
        if !self.left.is_empty() {
            self.end_step();
            self.left.clear();
            self.findings.stopped = Some(why.to_string());
        }
    }

    fn end_step(&mut self) {
        let Some((name, mut step)) = self.left.pop_front() else {
            return;
        };
        let Answer {
            words,
            is_clear,
            is_lie,
        } = not_asked(name, &self.lab, &self.findings)
            .unwrap_or_else(|| step.conclude(&mut self.lab, &mut self.findings));
        let (now, before) = (self.findings.cost, self.before);
        self.before = now;
        self.findings.steps.push(StepDone {
            name: name.name(),
            answer: words,
            is_clear,
            is_lie,
            cost: Cost {
                requests: now.requests - before.requests,
                prompt_tokens: now.prompt_tokens - before.prompt_tokens,
                uncached_tokens: now.uncached_tokens - before.uncached_tokens,
                seconds: now.seconds - before.seconds,
            },
        });
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// Returns the answer of a step that has nothing to measure: there is no cache, or nothing tells hits from misses, or
/// contexts are not driven out by tokens. Such a step sends nothing and finds nothing.
fn not_asked(name: Name, lab: &Lab, findings: &Findings) -> Option<Answer> {
    let (needs_cache, needs_source) = match name {
        Name::Separability | Name::Usage => (false, false),
        Name::Answer => (true, false),
        Name::Reuse
        | Name::Block
        | Name::Capacity
        | Name::Order
        | Name::Sharing
        | Name::Ttl
        | Name::Reset => (true, true),
    };
    let is_absent = findings.cache == Some(Presence::Absent);
    let mut tiers = findings.tiers.iter().flatten();
    let has_slots = name == Name::Order && tiers.any(|tier| tier.contexts.is_some());
    let has_source = lab.trusts_time || lab.trusts_usage;
    let why = match is_absent {
        true if needs_cache => "there is no cache",
        _ if has_slots => "the cache holds contexts, not tokens",
        false if needs_source && !has_source => {
            "neither times nor `usage` tell hits from misses on this server"
        }
        _ => return None,
    };
    let is_clear = is_absent || has_slots;
    Some(Answer::new(format!("not asked: {why}"), is_clear))
}

fn step(name: Name, settings: &Settings) -> Box<dyn Step + Send> {
    match name {
        Name::Separability => Box::new(separability::Machine::default()),
        Name::Usage => Box::new(usage::Machine::default()),
        Name::Reuse => Box::new(reuse::Machine::default()),
        Name::Block => Box::new(block::Machine::default()),
        Name::Answer => Box::new(answer::Machine::default()),
        Name::Sharing => Box::new(sharing::Machine::default()),
        Name::Reset => Box::new(reset::Machine::default()),
        Name::Ttl => Box::new(ttl::Machine::new(settings.ttl.unwrap_or(DEFAULT_TTL))),
        Name::Capacity => Box::new(capacity::Machine::default()),
        Name::Order => Box::new(order::Machine::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::odd::{Odd, Report};
    use super::*;
    use crate::sample::{FailKind, Failure};
    use crate::stats::probe::{By, Shape, UsageVerdict};

    fn settings() -> Settings {
        let names = Name::NAMES.map(|(name, _)| name);
        let own = |name: &Name| !matches!(name, Name::Capacity | Name::Order);
        Settings {
            steps: names.into_iter().filter(own).collect(),
            ignores_usage: false,
            longest_tokens: 4096,
            common_tokens: 0,
            budget_tokens: None,
            ttl: Some(Duration::from_secs(8)),
        }
    }

    fn sample(request: &Request, reading: &Reading) -> Sample {
        let nanoseconds = |time_s: f64| (time_s * 1e9) as u64;
        let end_ns = nanoseconds(reading.sent_s + reading.ttft_s);
        Sample {
            t_send_ns: nanoseconds(reading.sent_s),
            t_first_ns: Some(end_ns),
            t_end_ns: end_ns,
            prompt_tokens: Some(request.prompt.tokens),
            cached_tokens: reading.cached,
            answer: reading.answer,
            ..Sample::default()
        }
    }

    fn findings(server: &mut Odd, settings: &Settings) -> Findings {
        let mut probe = Probe::new(settings);
        while let Some(ask) = probe.next() {
            if let Some((request, reading)) = server.reply(ask) {
                probe.tell(&sample(&request, &reading));
            }
        }
        probe.findings().clone()
    }

    fn answers(findings: &Findings) -> Vec<(&'static str, &str, bool)> {
        let steps = findings.steps.iter();
        let answers = steps.map(|step| (step.name, &*step.answer, step.is_clear));
        answers.collect()
    }

    #[test]
    fn each_step_finds_what_the_server_is() {
        let found = findings(&mut Odd::new(16, 1), &settings());
        let answers = answers(&found);
        assert_eq!(
            answers[1..6],
            [
                (
                    "usage",
                    "honest: 0 of a new prompt, 256 of 256 of a repeat",
                    true
                ),
                (
                    "reuse",
                    "any prefix of an earlier prompt is reused; the shortest prompt that was reused has 16 tokens",
                    true
                ),
                ("block", "16 tokens, by usage", true),
                ("answer", "3 of 3 answers are the same cold and warm", true),
                (
                    "sharing",
                    "shared: the other key found 4 of 4 prompts, their own key 4 of 4",
                    true
                ),
            ]
        );
        assert!(
            answers[6].1.starts_with("found at all ages up to 8."),
            "{}",
            answers[6].1
        );
        assert_eq!(
            answers[7].1,
            "emptied: 0 of 6 contexts were found after the reset"
        );
        assert_eq!(found.block.map(|block| block.by), Some(By::Usage));
        assert_eq!(found.reuse.map(|reuse| reuse.shape), Some(Shape::Prefix));
        let requests: u64 = found.steps.iter().map(|step| step.cost.requests).sum();
        assert_eq!(requests, found.cost.requests);
        assert!(!found.steps.iter().any(|step| step.is_lie));
    }

    #[test]
    fn without_a_cache_later_steps_send_nothing_and_their_answer_is_clear() {
        let mut server = Odd::new(16, 1);
        (server.report, server.shape) = (Report::Nothing, Shape::None);
        let found = findings(&mut server, &settings());
        for step in &found.steps[2..] {
            assert_eq!(
                (&*step.answer, step.is_clear),
                ("not asked: there is no cache", true)
            );
            assert_eq!(step.cost.requests, 0);
        }
        assert_eq!(
            (found.steps.len(), found.cache),
            (8, Some(Presence::Absent))
        );
        assert_eq!((found.reuse, found.block, found.ttl), (None, None, None));
        assert_eq!((found.same_answer, found.reset), (None, None));
        let verdict = found.usage.map(|usage| usage.verdict);
        assert_eq!(verdict, Some(UsageVerdict::Absent));
    }

    #[test]
    fn where_nothing_tells_hits_from_misses_steps_that_need_it_are_not_asked() {
        let mut server = Odd::new(16, 1);
        server.report = Report::Nothing;
        // TTFT differs by 20 times as much as a cached prompt saves.
        server.server.noise = 20.0;
        server.base_s = 1000.0;
        let found = findings(&mut server, &settings());
        assert_eq!(found.cache, Some(Presence::Unclear));
        let why = "not asked: neither times nor `usage` tell hits from misses on this server";
        let answers = answers(&found);
        for at in [2, 3, 5, 6, 7] {
            assert_eq!(
                (answers[at].1, answers[at].2),
                (why, false),
                "{}",
                answers[at].0
            );
        }
        // Answers can be compared all the same.
        assert_eq!(found.same_answer, Some(true));
    }

    #[test]
    fn failures_in_a_row_and_a_spent_budget_end_a_probe() {
        let mut probe = Probe::new(&settings());
        for _ in 0..MOST_FAILURES {
            assert!(probe.next().is_some());
            probe.tell(&Sample {
                failure: Some(Failure::new(FailKind::Connect, "refused")),
                ..Sample::default()
            });
        }
        assert_eq!(probe.next(), None);
        let stopped = probe.findings().stopped.as_deref();
        assert_eq!(
            stopped,
            Some("5 requests in a row failed: connect: refused")
        );
        let settings = Settings {
            budget_tokens: Some(1000),
            ..settings()
        };
        // Three prompts of 256 tokens, and no fourth one.
        let found = findings(&mut Odd::new(16, 1), &settings);
        assert_eq!(found.cost.prompt_tokens, 768);
        assert_eq!(
            found.stopped.as_deref(),
            Some("the budget of tokens is spent")
        );
    }
}
