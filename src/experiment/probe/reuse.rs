//! Which part of an earlier prompt is reused: rounds of an extension, a repeat, a branch and a second branch at the same
//! place. With true `usage`, also the shortest prompt that is reused.

use super::controls::median;
use super::lab::{Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Reuse, Shape};

/// Prompts have so many times the tokens that tell hits from misses, if the server takes as many; else half of that.
/// Half of a prompt is shared.
const TIMES: u64 = 4;
/// Rounds by `usage`; by time, from the least to the most.
const ROUNDS: u32 = 3;
const MOST_ROUNDS: u32 = 24;
/// A shared part counts as found from this share on: a cache finds full blocks, and some leave out the last one.
const FOUND: f64 = 0.42;
/// So many standard errors between a median and that share make it clear.
const CLEAR: f64 = 2.0;
/// The standard error of a median over that of a mean, for normally distributed values: √(π/2).
const MEDIAN: f64 = 1.2533;
/// The shortest prompt that is tried, and the pairs that may be spent on finding the shortest one that is reused.
const LEAST_TOKENS: u64 = 16;
const MOST_PAIRS: u32 = 10;
/// The least length that is reused and the greatest that is not are near enough.
const NEAR: f64 = 1.2;

/// The machine that finds the shape of reuse.
#[derive(Debug, Default)]
pub struct Machine {
    /// What is sent next, the last one first.
    plan: Vec<(Kind, Prompt)>,
    rounds: u32,
    repeat: Parts,
    extension: Parts,
    branch: Parts,
    /// The second branch at the place of the first.
    again: Parts,
    minimum: Minimum,
    /// The shape, from the end of the rounds on.
    shape: Option<Shape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Repeat,
    Extension,
    Branch,
    Again,
    /// A new prompt, and its repeat, of a length that may be too short.
    ShortCold,
    ShortWarm,
}

/// The shares that were found of shared parts, with the variance of each.
#[derive(Debug, Default)]
struct Parts(Vec<(f64, f64)>);

impl Parts {
    fn tell(&mut self, part: Option<(f64, f64)>) {
        self.0
            .extend(part.map(|(part, deviation)| (part, deviation * deviation)));
    }

    /// Returns whether the shared part is found by the median reading, and whether that is certain; `None` without a
    /// reading.
    fn is_found(&self) -> Option<(bool, bool)> {
        let count = self.0.len() as f64;
        let parts: Vec<f64> = self.0.iter().map(|part| part.0).collect();
        let variances: Vec<f64> = self.0.iter().map(|part| part.1).collect();
        let apart = median(&parts) - FOUND;
        let error = MEDIAN * (median(&variances) / count).sqrt();
        (count > 0.0).then_some((apart > 0.0, apart.abs() >= CLEAR * error))
    }

    fn is_clear(&self) -> bool {
        self.is_found().is_some_and(|(_, is_clear)| is_clear)
    }
}

/// The search for the shortest prompt that is reused.
#[derive(Debug, Default)]
struct Minimum {
    /// The shortest length that was reused, and the longest shorter one that was not.
    reused: Option<u64>,
    not_reused: Option<u64>,
    pairs: u32,
    cold: Option<Reading>,
}

impl Minimum {
    /// Returns the next length to try; `None` at the end.
    fn tokens(&self) -> Option<u64> {
        let reused = self.reused.filter(|_| self.pairs < MOST_PAIRS)?;
        let tokens = match self.not_reused {
            None => (reused / 2).max(LEAST_TOKENS),
            Some(less) if reused as f64 <= NEAR * less as f64 => return None,
            Some(less) => (reused as f64 * less as f64).sqrt().round() as u64,
        };
        (tokens < reused && Some(tokens) != self.not_reused).then_some(tokens)
    }

    fn tell(&mut self, tokens: u64, warm: &Reading) {
        self.pairs += 1;
        let cold = self.cold.take().and_then(|cold| cold.cached);
        match warm.cached > cold {
            true => self.reused = Some(tokens),
            false => self.not_reused = Some(tokens),
        }
    }
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if self.plan.is_empty() && self.shape.is_none() {
            match self.is_enough(lab) {
                true => self.end_rounds(lab),
                false => self.plan_round(lab),
            }
        }
        if self.plan.is_empty() {
            let prompt = lab.new_prompt(self.minimum.tokens()?);
            self.plan = vec![(Kind::ShortWarm, prompt), (Kind::ShortCold, prompt)];
        }
        let (_, prompt) = self.plan.last()?;
        Some(Ask::Send(Request::new(*prompt)))
    }

    fn tell(&mut self, lab: &mut Lab, _: &Request, reading: &Reading) {
        let Some((kind, prompt)) = self.plan.pop() else {
            return;
        };
        match kind {
            Kind::New | Kind::ShortCold => lab.wrote(prompt.text, reading),
            _ => lab.sent_prompt(&prompt, reading),
        }
        let half = lab.found_part(reading, prompt.tokens / 2);
        match kind {
            Kind::New => {}
            Kind::Repeat => self.repeat.tell(lab.found_part(reading, prompt.tokens)),
            Kind::Extension => self.extension.tell(half),
            Kind::Branch => self.branch.tell(half),
            Kind::Again => self.again.tell(half),
            Kind::ShortCold => self.minimum.cold = Some(*reading),
            Kind::ShortWarm => self.minimum.tell(prompt.tokens, reading),
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        let shape = self.shape.unwrap_or_else(|| self.judge());
        lab.shape = Some(shape);
        let minimum_tokens = self.minimum.reused.filter(|_| self.minimum.pairs > 0);
        findings.reuse = Some(Reuse {
            shape,
            minimum_tokens,
        });
        let words = match shape {
            Shape::Prefix => "any prefix of an earlier prompt is reused",
            Shape::WholePrompt => "only a prompt that is the same to its end is reused",
            Shape::Units => "a prefix is reused where an earlier prompt or a shared part ended",
            Shape::None => "nothing is reused at this length",
            Shape::Unclear => "the readings fit no known shape of reuse",
        };
        let minimum = minimum_tokens.map_or(String::new(), |tokens| {
            format!("; the shortest prompt that was reused has {tokens} tokens")
        });
        Answer::new(format!("{words}{minimum}"), shape != Shape::Unclear)
    }
}

impl Machine {
    fn plan_round(&mut self, lab: &mut Lab) {
        let times = match lab.longest_tokens / lab.shortest_tokens.max(1) {
            0 | 1 => 1,
            few if few < TIMES => 2,
            _ => TIMES,
        };
        let tokens = times * lab.shortest_tokens;
        let whole = lab.new_prompt(tokens);
        let begun = Prompt {
            tokens: tokens / 2,
            ..whole
        };
        let base = lab.new_prompt(tokens);
        let mut branch = || Prompt {
            branch: Some((tokens / 2, lab.new_text())),
            ..base
        };
        self.plan = vec![
            (Kind::Again, branch()),
            (Kind::Branch, branch()),
            (Kind::New, base),
            (Kind::Repeat, whole),
            (Kind::Extension, whole),
            (Kind::New, begun),
        ];
        self.rounds += 1;
    }

    fn is_enough(&self, lab: &Lab) -> bool {
        let parts = [&self.repeat, &self.extension, &self.branch, &self.again];
        let are_clear = lab.trusts_usage || parts.iter().all(|parts| parts.is_clear());
        self.rounds >= ROUNDS && are_clear || self.rounds >= MOST_ROUNDS
    }

    fn end_rounds(&mut self, lab: &Lab) {
        let shape = self.judge();
        self.shape = Some(shape);
        if lab.trusts_usage && shape != Shape::None {
            self.minimum.reused = Some(lab.shortest_tokens);
        }
    }

    fn judge(&self) -> Shape {
        let parts = [&self.repeat, &self.extension, &self.branch, &self.again];
        let found = parts.map(Parts::is_found);
        let [Some(repeat), Some(extension), Some(branch), Some(again)] = found else {
            return Shape::Unclear;
        };
        let are_clear = [repeat, extension, branch, again]
            .iter()
            .all(|(_, is_clear)| *is_clear);
        match (repeat.0, extension.0, branch.0, again.0) {
            _ if !are_clear => Shape::Unclear,
            (true, true, true, true) => Shape::Prefix,
            (true, _, false, true) | (true, true, false, false) => Shape::Units,
            (true, false, false, false) => Shape::WholePrompt,
            (false, false, false, false) => Shape::None,
            _ => Shape::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report};
    use super::*;

    fn found(server: &mut Odd) -> (Reuse, Answer) {
        let (mut lab, mut findings) = server.known(32_768);
        let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
        (findings.reuse.expect("a shape"), answer)
    }

    #[test]
    fn the_shape_is_found_by_usage_always_and_by_time_nearly_always() {
        let mut unclear = 0;
        for seed in 0..32 {
            for shape in [Shape::Prefix, Shape::WholePrompt, Shape::Units] {
                for report in [Report::True, Report::Nothing] {
                    let block_tokens = [1, 16, 64, 448][seed as usize % 4];
                    let mut server = Odd::new(block_tokens, seed);
                    (server.report, server.shape) = (report, shape);
                    if report == Report::True {
                        server.slow_share = 0.02;
                    }
                    let (reuse, answer) = found(&mut server);
                    if reuse.shape == Shape::Unclear && report == Report::Nothing {
                        unclear += 1;
                        continue;
                    }
                    let case = format!("seed {seed} block {block_tokens} {report:?}");
                    assert_eq!(reuse.shape, shape, "{case}: {}", answer.words);
                }
            }
        }
        assert!(unclear <= 3, "{unclear} of 96 by time");
    }

    #[test]
    fn the_shortest_prompt_that_is_reused_is_found_within_a_fifth() {
        // Halved from 256 to 16 at once, each is reused.
        let (reuse, answer) = found(&mut Odd::new(1, 1));
        assert_eq!(reuse.minimum_tokens, Some(16));
        assert_eq!(
            answer.words,
            "any prefix of an earlier prompt is reused; the shortest prompt that was reused has 16 tokens"
        );
        for (block_tokens, least_tokens) in [(16, 1024), (16, 100), (64, 64), (128, 0), (448, 0)] {
            for seed in 0..20 {
                let mut server = Odd::new(block_tokens, seed);
                server.least_tokens = least_tokens;
                let (reuse, _) = found(&mut server);
                let minimum = reuse.minimum_tokens.expect("a length") as f64;
                let least = least_tokens.max(block_tokens) as f64;
                assert!(
                    (least..=1.2 * least).contains(&minimum),
                    "{least}: {minimum}"
                );
            }
        }
        let mut server = Odd::new(16, 1);
        server.report = Report::Nothing;
        assert_eq!(found(&mut server).0.minimum_tokens, None);
    }
}
