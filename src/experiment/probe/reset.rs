//! Whether the server's reset empties its cache: contexts that the cache holds are read after it.

use super::controls::median;
use super::lab::{Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Reset};

/// Contexts that are written; half as many, and so on, while the first or the last one is not found again.
const CONTEXTS: usize = 8;
const LEAST_CONTEXTS: usize = 4;
/// The first and the last context are read before the reset.
const READ_BEFORE: usize = 2;
/// So many times the tokens of a first tier drive the contexts into the second, where a reset may leave them.
const PUSH: f64 = 1.3;
/// A push fills at most this share of all tiers.
const MOST_PUSHED: f64 = 0.8;
/// The least share of contexts left with which a cache is not empty.
const LEFT: f64 = 0.25;

/// The machine that asks for a reset.
#[derive(Debug, Default)]
pub struct Machine {
    stage: Stage,
    count: usize,
    contexts: Vec<Prompt>,
    /// Contexts of this try that were written, and those that were read after it.
    written: usize,
    before: Vec<bool>,
    /// Tokens of other contexts that were sent before the reset.
    pushed_tokens: f64,
    after: Vec<Reading>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Write,
    Check,
    Push,
    Read,
    /// The contexts do not stay in the cache.
    Lost,
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if self.contexts.is_empty() && self.stage == Stage::Write {
            self.count = match self.count {
                0 => CONTEXTS,
                count => count / 2,
            };
            if self.count < LEAST_CONTEXTS {
                self.stage = Stage::Lost;
                return None;
            }
            let contexts = (0..self.count).map(|_| lab.new_prompt(lab.shortest_tokens));
            self.contexts = contexts.collect();
        }
        let prompt = match self.stage {
            Stage::Write => self.contexts.get(self.written),
            Stage::Check => match self.before.len() {
                0 => self.contexts.first(),
                1 => self.contexts.last(),
                _ => {
                    self.stage = Stage::Push;
                    return self.next(lab);
                }
            },
            Stage::Push => {
                if self.pushed_tokens < push_tokens(lab) {
                    let prompt = lab.new_prompt(lab.longest_tokens);
                    return Some(Ask::Send(Request::new(prompt)));
                }
                self.stage = Stage::Read;
                return Some(Ask::Reset);
            }
            Stage::Read => self.unread().get(self.after.len()),
            Stage::Lost => None,
        };
        Some(Ask::Send(Request::new(*prompt?)))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let text = request.prompt.text;
        match self.stage {
            Stage::Write => {
                lab.wrote(text, reading);
                self.written += 1;
                if self.written == self.contexts.len() {
                    self.stage = Stage::Check;
                }
            }
            Stage::Check => {
                lab.sent_prompt(&request.prompt, reading);
                self.before.push(lab.is_hit(reading) == Some(true));
                if self.before.len() == READ_BEFORE && self.before.contains(&false) {
                    self.contexts.clear();
                    self.before.clear();
                    (self.stage, self.written) = (Stage::Write, 0);
                }
            }
            Stage::Push => {
                lab.wrote(text, reading);
                self.pushed_tokens += reading.tokens as f64;
            }
            Stage::Read | Stage::Lost => {
                lab.sent_prompt(&request.prompt, reading);
                self.after.push(*reading);
            }
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        let all = self.after.len();
        if all == 0 {
            return Answer::unclear(match self.stage {
                Stage::Read => "unclear: the reset failed",
                _ => "unclear: contexts are not found again even before a reset",
            });
        }
        let second_ms = match findings.tiers.as_deref() {
            Some([_, .., last]) => last.ttft_ms,
            _ => None,
        };
        let left = self
            .after
            .iter()
            .filter(|reading| is_left(reading, second_ms, lab));
        let left = left.count();
        let left_share = left as f64 / all as f64;
        let emptied = left_share < LEFT;
        let is_second = second_ms.is_some_and(|second_ms| self.is_second_tier(second_ms, lab));
        findings.reset = Some(Reset {
            emptied,
            left_share,
            leaves_second_tier: !emptied && is_second,
        });
        let words = match emptied {
            true => format!("emptied: {left} of {all} contexts were found after the reset"),
            false if is_second => format!(
                "not emptied: the reset leaves the second tier warm, {left} of {all} contexts were found after it"
            ),
            false => format!("not emptied: {left} of {all} contexts were found after the reset"),
        };
        Answer {
            words,
            is_clear: true,
            is_lie: !emptied,
        }
    }
}

impl Machine {
    /// Returns the contexts that were not read before the reset.
    fn unread(&self) -> &[Prompt] {
        match &self.contexts[..] {
            [_, between @ .., _] => between,
            _ => &[],
        }
    }

    /// Returns whether the readings after the reset took about as long as those from the second tier do.
    fn is_second_tier(&self, second_ms: f64, lab: &Lab) -> bool {
        let times: Vec<f64> = self
            .after
            .iter()
            .map(|reading| reading.ttft_s * 1e3)
            .collect();
        let Some(warm_s) = lab.warm.at(lab.shortest_tokens as f64) else {
            return false;
        };
        let middle_ms = median(&times);
        (middle_ms - second_ms).abs() < (middle_ms - warm_s * 1e3).abs()
    }
}

/// Returns the tokens that drive what was sent before out of the first of two tiers, and not out of both; 0 without.
fn push_tokens(lab: &Lab) -> f64 {
    let (Some((first, _)), Some(total)) = (lab.first_tier, lab.capacity_tokens) else {
        return 0.0;
    };
    match first * PUSH {
        push if push < total * MOST_PUSHED => push,
        _ => 0.0,
    }
}

/// Returns whether a context was still in the cache: a hit, or by time nearer to the second tier than to a cold prompt.
fn is_left(reading: &Reading, second_ms: Option<f64>, lab: &Lab) -> bool {
    let is_hit = lab.is_hit(reading) == Some(true);
    let (Some(second_ms), Some(cold_s), false) = (
        second_ms,
        lab.cold.at(reading.tokens as f64),
        lab.trusts_usage,
    ) else {
        return is_hit;
    };
    is_hit || reading.ttft_s < f64::midpoint(second_ms / 1e3, cold_s)
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report, Reset as Kind};
    use super::*;
    use crate::stats::probe::Tier;

    fn found(server: &mut Odd, second_ms: Option<f64>) -> (Option<Reset>, Answer) {
        let (mut lab, mut findings) = server.known(8192);
        let tier = |ttft_ms| Tier {
            capacity_tokens: 1,
            low_tokens: 1,
            high_tokens: None,
            ttft_ms,
            contexts: None,
        };
        // The second tier's TTFT is that of a context of the chosen length.
        let second_ms = second_ms.map(|each| 50.0 + each * lab.shortest_tokens as f64);
        findings.tiers = second_ms.map(|second_ms| vec![tier(Some(50.0)), tier(Some(second_ms))]);
        let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
        (findings.reset, answer)
    }

    #[test]
    fn a_reset_that_empties_is_told_from_one_that_does_not() {
        for seed in 0..100 {
            for report in [Report::True, Report::Nothing] {
                for (reset, left_share) in [(Kind::All, 0.0), (Kind::Nothing, 1.0)] {
                    let mut server = Odd::new(16, seed);
                    (server.report, server.reset) = (report, reset);
                    let (found, answer) = found(&mut server, None);
                    let found = found.expect("contexts");
                    assert_eq!(found.emptied, left_share < 0.5, "seed {seed}");
                    assert_eq!(answer.is_lie, !found.emptied);
                    // One of the six readings may be wrong by time.
                    assert!((found.left_share - left_share).abs() < 0.2);
                    if report == Report::True {
                        assert_eq!(found.left_share, left_share);
                    }
                }
            }
        }
    }

    #[test]
    fn a_second_tier_that_stays_is_named() {
        let mut named = 0;
        for seed in 0..100 {
            for report in [Report::True, Report::Nothing] {
                let mut server = Odd::with_tiers(&[1000, 100_000], 16, seed);
                (server.report, server.reset) = (report, Kind::FirstTier);
                server.server.medium = 0.5;
                // 0.1 ms for each token that is not found, half of it from the second tier.
                let (found, answer) = found(&mut server, Some(0.05));
                assert_eq!(found.map(|found| found.emptied), Some(false), "seed {seed}");
                assert!(answer.is_lie);
                named += u32::from(answer.words.contains("leaves the second tier warm"));
            }
        }
        assert!(named >= 196, "{named} of 200");
    }

    #[test]
    fn fewer_contexts_are_used_where_the_cache_holds_few() {
        // 256 tokens each: five fit, eight do not.
        let mut server = Odd::with_tiers(&[5 * 16], 16, 1);
        let (found, answer) = found(&mut server, None);
        assert_eq!(found.map(|found| found.emptied), Some(true));
        assert_eq!(
            answer.words,
            "emptied: 0 of 2 contexts were found after the reset"
        );
        let mut server = Odd::with_tiers(&[2 * 16], 16, 1);
        let (found, answer) = self::found(&mut server, None);
        assert_eq!((found, answer.is_clear), (None, false));
        assert_eq!(
            answer.words,
            "unclear: contexts are not found again even before a reset"
        );
    }
}
