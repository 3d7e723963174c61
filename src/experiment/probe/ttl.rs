//! How long contexts stay in the cache: contexts of their own for each age, each read once; then contexts that are read
//! again and again, at less than the age at which all are found, until the age at which none is: if they are always
//! found, an access renews the age.
//!
//! The machine has no clock. It knows the time of the last reply and the waits that it asked for since.

use std::time::Duration;

use super::lab::{Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Ttl};

/// Contexts for each age, of which the most decide; one where the cache does not hold as many.
const COPIES: usize = 3;
/// Contexts that are read again and again: each of their readings may be wrong.
const CHAINS: usize = 5;
/// Ages in a row at which contexts are not found, after which no greater one is tried.
const MISSED_AGES: usize = 2;
/// Contexts that are read again and again are read after this share of the greatest age at which contexts were found,
/// and count only if no more than the second share passed.
const GAP: f64 = 0.6;
const LATEST: f64 = 0.9;
/// They are read until they are so many times as old as the least age at which contexts were not found.
const BEYOND: f64 = 1.15;

/// The machine that finds the TTL.
#[derive(Debug)]
pub struct Machine {
    limit_s: f64,
    stage: Stage,
    copies: usize,
    /// Written first and read when all are written: it is found if all fit into the cache.
    control: Option<Prompt>,
    contexts: Vec<Context>,
    /// The context of the last request.
    asked: usize,
    now_s: f64,
    /// The greatest age at which contexts were found, and the least one at which they were not.
    at_least_s: f64,
    at_most_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Control,
    Write,
    CheckControl,
    Read,
    WriteChain,
    ReadChain,
    Done,
    /// The cache does not hold the contexts until all are written.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Context {
    prompt: Prompt,
    /// The age at which it is read; of a chain, the time from one reading to the next.
    wait_s: f64,
    written_s: f64,
    sent_s: f64,
    /// The real age at which it was read, and whether it was found.
    read: Option<(f64, bool)>,
    /// Whether it is not read any more.
    is_done: bool,
}

impl Machine {
    /// `limit`: the greatest age.
    pub fn new(limit: Duration) -> Machine {
        Machine {
            limit_s: limit.as_secs_f64(),
            stage: Stage::Begin,
            copies: COPIES,
            control: None,
            contexts: Vec::new(),
            asked: 0,
            now_s: 0.0,
            at_least_s: 0.0,
            at_most_s: None,
        }
    }

    /// Returns 1, 2, 4 and so on up to the limit, and the limit.
    fn ages_s(&self) -> Vec<f64> {
        let doubling = std::iter::successors(Some(1.0), |age_s| Some(age_s * 2.0));
        let doubling = doubling.take_while(|age_s| *age_s < self.limit_s);
        doubling.chain([self.limit_s]).collect()
    }

    /// Makes the contexts of all ages, those for the greatest age first, so that the others are young when all are
    /// written.
    fn begin(&mut self, lab: &mut Lab) {
        self.control = Some(lab.new_prompt(lab.shortest_tokens));
        let ages_s = self.ages_s();
        let copies = ages_s
            .iter()
            .rev()
            .flat_map(|&age_s| vec![age_s; self.copies]);
        self.contexts = copies.map(|age_s| Context::new(age_s, lab)).collect();
        self.asked = 0;
        self.stage = Stage::Control;
    }

    fn begin_chain(&mut self, lab: &mut Lab) {
        let wait_s = GAP * self.at_least_s;
        self.contexts = (0..CHAINS).map(|_| Context::new(wait_s, lab)).collect();
        self.asked = 0;
        self.stage = Stage::WriteChain;
    }

    /// Returns the context that is due first, after a wait if that is later; `None` when no more are read.
    fn next_due(&mut self) -> Option<Ask> {
        let contexts = self.contexts.iter().enumerate();
        let left = contexts.filter(|(_, context)| !context.is_done);
        let first = left.min_by(|a, b| a.1.due_s().total_cmp(&b.1.due_s()));
        let (at, context) = first?;
        let wait_s = context.due_s() - self.now_s;
        if wait_s > 0.0 {
            // A nanosecond more, since a wait is a whole number of them.
            let wait = Duration::from_secs_f64(wait_s) + Duration::from_nanos(1);
            self.now_s += wait.as_secs_f64();
            return Some(Ask::Wait(wait));
        }
        self.asked = at;
        Some(Ask::Send(Request::new(context.prompt)))
    }

    /// Bounds the TTL by what was read, and gives up the ages beyond it.
    fn weigh(&mut self) {
        let mut missed_s: Vec<f64> = Vec::new();
        let mut at_least_s = 0.0;
        for age_s in self.ages_s() {
            let own = self
                .contexts
                .iter()
                .filter(|context| context.wait_s == age_s);
            let read: Option<Vec<(f64, bool)>> = own.map(|context| context.read).collect();
            let Some(read) = read else { break };
            let ages_s = |found| {
                read.iter()
                    .filter(move |own| own.1 == found)
                    .map(|own| own.0)
            };
            match 2 * ages_s(true).count() > read.len() {
                true => {
                    at_least_s = ages_s(true).fold(at_least_s, f64::max);
                    missed_s.clear();
                }
                false => missed_s.push(ages_s(false).fold(f64::INFINITY, f64::min)),
            }
        }
        (self.at_least_s, self.at_most_s) = (at_least_s, missed_s.first().copied());
        if missed_s.len() >= MISSED_AGES {
            for context in &mut self.contexts {
                context.is_done = true;
            }
        }
    }

    /// Returns whether an access renews the age; `None` if that was not found out.
    fn sliding(&self) -> Option<bool> {
        if self.stage != Stage::Done {
            return None;
        }
        let count = |found| {
            let read = self.contexts.iter().filter_map(|context| context.read);
            read.filter(|read| read.1 == found).count()
        };
        match (count(true), count(false)) {
            (renewed, not) if renewed > not => Some(true),
            (renewed, not) if renewed < not => Some(false),
            _ => None,
        }
    }
}

impl Context {
    fn new(wait_s: f64, lab: &mut Lab) -> Context {
        Context {
            prompt: lab.new_prompt(lab.shortest_tokens),
            wait_s,
            written_s: 0.0,
            sent_s: 0.0,
            read: None,
            is_done: false,
        }
    }

    fn due_s(&self) -> f64 {
        self.sent_s + self.wait_s
    }

    /// Notes the reading of a chain, which goes on while the context is found and is not old enough.
    fn tell_chain(&mut self, sent_s: f64, is_found: bool, at_least_s: f64, at_most_s: f64) {
        let is_late = sent_s - self.sent_s > LATEST * at_least_s;
        let age_s = sent_s - self.written_s;
        self.sent_s = sent_s;
        self.is_done = is_late || !is_found || age_s > BEYOND * at_most_s;
        if self.is_done && !is_late {
            self.read = Some((age_s, is_found));
        }
    }
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        loop {
            match self.stage {
                Stage::Begin => self.begin(lab),
                Stage::Control | Stage::CheckControl => {
                    return Some(Ask::Send(Request::new(self.control?)));
                }
                Stage::Write | Stage::WriteChain => {
                    let context = self.contexts.get(self.asked)?;
                    return Some(Ask::Send(Request::new(context.prompt)));
                }
                Stage::Read | Stage::ReadChain => {
                    let due = self.next_due();
                    if due.is_some() {
                        return due;
                    }
                    match self.stage {
                        Stage::Read if self.at_least_s > 0.0 && self.at_most_s.is_some() => {
                            self.begin_chain(lab);
                        }
                        Stage::ReadChain => self.stage = Stage::Done,
                        _ => return None,
                    }
                }
                Stage::Done | Stage::Lost => return None,
            }
        }
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        self.now_s = reading.sent_s + reading.ttft_s;
        let sent_s = reading.sent_s;
        let is_found = lab.is_hit(reading) == Some(true);
        match self.stage {
            Stage::Control | Stage::Write | Stage::WriteChain => {
                lab.wrote(request.prompt.text, reading);
            }
            _ => lab.sent_prompt(&request.prompt, reading),
        }
        let is_last = self.asked + 1 >= self.contexts.len();
        let Some(context) = self.contexts.get_mut(self.asked) else {
            return;
        };
        match self.stage {
            Stage::Control => self.stage = Stage::Write,
            Stage::Write | Stage::WriteChain => {
                (context.written_s, context.sent_s) = (sent_s, sent_s);
                self.asked = if is_last { 0 } else { self.asked + 1 };
                self.stage = match self.stage {
                    Stage::Write if is_last => Stage::CheckControl,
                    _ if is_last => Stage::ReadChain,
                    stage => stage,
                };
            }
            Stage::CheckControl if is_found => self.stage = Stage::Read,
            Stage::CheckControl if self.copies == 1 => self.stage = Stage::Lost,
            Stage::CheckControl => {
                self.copies = 1;
                self.stage = Stage::Begin;
            }
            Stage::Read => {
                context.read = Some((sent_s - context.written_s, is_found));
                context.is_done = true;
                self.weigh();
            }
            Stage::ReadChain => {
                let at_most_s = self.at_most_s.unwrap_or(0.0);
                context.tell_chain(sent_s, is_found, self.at_least_s, at_most_s);
            }
            Stage::Begin | Stage::Done | Stage::Lost => {}
        }
    }

    fn conclude(&mut self, _: &mut Lab, findings: &mut Findings) -> Answer {
        if self.at_least_s == 0.0 && self.at_most_s.is_none() {
            let words = match self.stage {
                Stage::Lost => "unclear: contexts were lost before all were written",
                _ => "no age was measured",
            };
            return Answer::unclear(words);
        }
        let sliding = self.sliding();
        findings.ttl = Some(Ttl {
            at_least_s: self.at_least_s,
            at_most_s: self.at_most_s,
            sliding,
        });
        let range = match self.at_most_s {
            None => format!("found at all ages up to {:.1} s", self.at_least_s),
            Some(at_most_s) if self.at_least_s == 0.0 => {
                format!("not found after {at_most_s:.1} s, the least age that was tried")
            }
            Some(at_most_s) => format!(
                "found after {:.1} s, not after {at_most_s:.1} s",
                self.at_least_s
            ),
        };
        let renewal = match sliding {
            Some(true) => "; an access renews the age",
            Some(false) => "; an access does not renew the age",
            None => "",
        };
        Answer::clear(format!("{range}{renewal}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report};
    use super::*;

    fn found(server: &mut Odd, limit_s: u64) -> (Option<Ttl>, Answer) {
        let (mut lab, mut findings) = server.known(8192);
        let mut machine = Machine::new(Duration::from_secs(limit_s));
        let answer = server.ask(&mut machine, &mut lab, &mut findings);
        (findings.ttl, answer)
    }

    #[test]
    fn the_range_holds_the_ttl_and_sliding_is_told_from_fixed() {
        for seed in 0..40 {
            let ttl_s = 4.0 * (100f64 / 4.0).powf(fastrand::Rng::with_seed(seed).f64());
            for report in [Report::True, Report::Nothing] {
                for is_sliding in [false, true] {
                    let mut server = Odd::new(16, seed);
                    (server.report, server.is_sliding) = (report, is_sliding);
                    server.ttl_s = Some(ttl_s);
                    server.slow_share = 0.02 * (seed % 2) as f64;
                    let (ttl, answer) = found(&mut server, 400);
                    let ttl = ttl.expect("a range");
                    let at_most_s = ttl.at_most_s.expect("an end");
                    let case = format!("seed {seed} {ttl_s} {report:?}: {}", answer.words);
                    assert!(ttl.at_least_s < ttl_s && ttl_s <= at_most_s, "{case}");
                    // Ages double, and the few seconds in which contexts are written and read come in between.
                    assert!(at_most_s <= 2.0 * ttl.at_least_s + 4.0, "{case}");
                    assert_eq!(ttl.sliding, Some(is_sliding), "{case}");
                    // Two ages beyond the TTL are tried, the second is at most 4 times as great; 1.15 times follow.
                    assert!(
                        server.clock_s < 7.5 * ttl_s + 60.0,
                        "{case}: {}",
                        server.clock_s
                    );
                }
            }
        }
    }

    #[test]
    fn a_cache_without_a_ttl_is_found_up_to_the_limit() {
        let (ttl, answer) = found(&mut Odd::new(16, 1), 100);
        let ttl = ttl.expect("a range");
        assert!((100.0..103.0).contains(&ttl.at_least_s), "{ttl:?}");
        assert_eq!((ttl.at_most_s, ttl.sliding), (None, None));
        assert!(
            answer.words.starts_with("found at all ages up to 10"),
            "{}",
            answer.words
        );
    }

    #[test]
    fn a_cache_that_holds_few_contexts_is_not_taken_for_one_with_a_ttl() {
        // 256 tokens each; ages of 1 to 64 and 100 s: 25 contexts do not fit, 9 do.
        let (ttl, _) = found(&mut Odd::with_tiers(&[12 * 16], 16, 1), 100);
        assert_eq!(ttl.map(|ttl| ttl.at_most_s), Some(None));
        let (ttl, answer) = found(&mut Odd::with_tiers(&[4 * 16], 16, 1), 100);
        assert_eq!((ttl, answer.is_clear), (None, false));
        assert_eq!(
            answer.words,
            "unclear: contexts were lost before all were written"
        );
    }

    #[test]
    fn a_ttl_below_the_least_age_has_only_an_upper_end() {
        let mut server = Odd::new(16, 1);
        // It takes about 1.5 s to write 25 contexts.
        (server.ttl_s, server.base_s) = (Some(0.6), 0.001);
        let (ttl, answer) = found(&mut server, 100);
        assert_eq!(
            ttl.map(|ttl| (ttl.at_least_s, ttl.sliding)),
            Some((0.0, None))
        );
        assert!(
            answer.words.ends_with("the least age that was tried"),
            "{}",
            answer.words
        );
    }
}
