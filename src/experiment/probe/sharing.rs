//! Whether prompts that one key sent are found in the cache by another key.

use super::lab::{Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::Findings;

const CONTEXTS: usize = 4;
/// So many of them agree where the answer is clear.
const MOST: usize = 3;

/// The machine that reads with one key what another one sent.
#[derive(Debug, Default)]
pub struct Machine {
    context: Option<Prompt>,
    stage: Stage,
    /// Whether each context was found by the other key, and then by its own.
    by_other: Vec<bool>,
    by_own: Vec<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Write,
    ReadByOther,
    ReadByOwn,
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        let prompt = match self.context {
            Some(context) => context,
            None if self.by_own.len() >= CONTEXTS => return None,
            None => lab.new_prompt(lab.shortest_tokens),
        };
        self.context = Some(prompt);
        Some(Ask::Send(Request {
            is_other_key: self.stage == Stage::ReadByOther,
            ..Request::new(prompt)
        }))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let is_hit = lab.is_hit(reading).unwrap_or(false);
        match self.stage {
            Stage::Write => lab.wrote(request.prompt.text, reading),
            _ => lab.sent_prompt(&request.prompt, reading),
        }
        self.stage = match self.stage {
            Stage::Write => Stage::ReadByOther,
            Stage::ReadByOther => {
                self.by_other.push(is_hit);
                Stage::ReadByOwn
            }
            Stage::ReadByOwn => {
                self.by_own.push(is_hit);
                self.context = None;
                Stage::Write
            }
        };
    }

    fn conclude(&mut self, _: &mut Lab, findings: &mut Findings) -> Answer {
        let count = |found: &[bool]| found.iter().filter(|found| **found).count();
        let (all, other, own) = (
            self.by_own.len(),
            count(&self.by_other[..self.by_own.len()]),
            count(&self.by_own),
        );
        let shared = match own >= MOST {
            true if other >= MOST => Some(true),
            true if other + MOST <= all => Some(false),
            _ => None,
        };
        findings.shared_between_keys = shared;
        let what = match shared {
            Some(true) => "shared",
            Some(false) => "not shared",
            None => "unclear",
        };
        let words = format!(
            "{what}: the other key found {other} of {all} prompts, their own key {own} of {all}"
        );
        Answer::new(words, shared.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report};
    use super::*;
    use crate::stats::probe::Shape;

    fn found(server: &mut Odd, has_cache: bool) -> (Option<bool>, Answer) {
        let (mut lab, mut findings) = server.known(8192);
        if !has_cache {
            server.shape = Shape::None;
        }
        let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
        (findings.shared_between_keys, answer)
    }

    #[test]
    fn a_salted_cache_is_told_from_a_shared_one_by_usage_and_by_time() {
        for seed in 0..100 {
            for report in [Report::True, Report::Nothing] {
                for is_salted in [false, true] {
                    let mut server = Odd::new(16, seed);
                    (server.report, server.is_salted) = (report, is_salted);
                    let (shared, answer) = found(&mut server, true);
                    assert_eq!(shared, Some(!is_salted), "seed {seed} {}", answer.words);
                    assert!(answer.is_clear);
                }
            }
        }
    }

    #[test]
    fn prompts_that_their_own_key_does_not_find_tell_nothing() {
        let (shared, answer) = found(&mut Odd::new(16, 1), false);
        assert_eq!(shared, None);
        assert_eq!(
            answer.words,
            "unclear: the other key found 0 of 4 prompts, their own key 0 of 4"
        );
        assert!(!answer.is_clear);
    }
}
