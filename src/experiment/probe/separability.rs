//! Controls: new prompts and their immediate repeats, interleaved, at lengths that double until TTFT or `usage` tells
//! them apart. They decide whether there is a cache, and which source the later steps can trust.

use super::controls::{is_cold, median, times_show_no_reuse};
use super::lab::{Control, Lab, Prompt, Reading, Request};
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Presence, Separability};
use crate::stats::separation::Controls;

/// Tokens of the shortest controls; fewer where no longer prompt may be sent, more where all prompts have more than a
/// quarter of it in common.
const START_TOKENS: u64 = 256;
const MOST_COMMON: u64 = 4;
/// Pairs of a length after which it is given up if they overlap.
const FIRST: usize = 6;
/// Pairs of a length that is kept, and of one whose times tell hits from misses badly: with 20, chance alone makes times
/// look separable in about 0.5 % of runs; with 40 in none of 4,000 simulated ones.
const ALL: usize = 20;
const DOUBTFUL: usize = 40;
/// The least J of the first pairs with which a length is completed: one of the twelve may be on the wrong side. At the
/// greatest length, which has no successor, less will do.
const PROMISING_J: f64 = 0.8;
const LAST_PROMISING_J: f64 = 0.3;
/// The J from which on no greater length is tried.
const ENOUGH_J: f64 = 0.95;
/// The share of pairs whose `usage` must be as it should.
const HONEST_SHARE: f64 = 0.9;
/// Pairs of the lengths that are 2 and 4 times as great as the one that was chosen: TTFT is a curve over length.
const CURVE_PAIRS: usize = 5;
const CURVE_TIMES: [u64; 2] = [2, 4];
/// The machine that finds the length at which hits are told from misses.
#[derive(Debug, Default)]
pub struct Machine {
    levels: Vec<Level>,
    /// The level that was chosen, and the lengths at which the curves are measured after it.
    chosen: Option<usize>,
    curve_left: Vec<u64>,
    /// A new prompt whose repeat is due.
    cold: Option<(Prompt, Reading)>,
}

/// Controls of one length.
#[derive(Debug)]
struct Level {
    tokens: u64,
    controls: Vec<Control>,
}

impl Level {
    fn new(tokens: u64) -> Level {
        Level {
            tokens,
            controls: Vec::new(),
        }
    }

    fn times(&self) -> Controls {
        let controls = self.controls.iter();
        Controls {
            cold: controls
                .clone()
                .map(|control| control.cold.ttft_s)
                .collect(),
            warm: controls.map(|control| control.warm.ttft_s).collect(),
        }
    }

    fn j(&self) -> f64 {
        self.times().raw_j()
    }

    /// Returns whether times tell hits from misses, so that held-out controls confirm it.
    fn is_separable(&self) -> bool {
        self.times().separate().is_ok()
    }

    fn has_usage(&self, lab: &Lab) -> bool {
        let true_ones = self.controls.iter().filter(|control| is_true(control, lab));
        let least = HONEST_SHARE * self.controls.len() as f64;
        !self.controls.is_empty() && true_ones.count() as f64 >= least
    }

    fn ttfts_ms(&self) -> (f64, f64) {
        let controls = self.times();
        (median(&controls.cold) * 1e3, median(&controls.warm) * 1e3)
    }
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if let Some((prompt, _)) = self.cold {
            return Some(Ask::Send(Request::new(prompt)));
        }
        let tokens = self.tokens(lab)?;
        Some(Ask::Send(Request::new(lab.new_prompt(tokens))))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let prompt = request.prompt;
        let Some((_, cold)) = self.cold.take() else {
            lab.wrote(prompt.text, reading);
            self.cold = Some((prompt, *reading));
            return;
        };
        lab.sent_prompt(&prompt, reading);
        let control = Control {
            tokens: prompt.tokens,
            cold,
            warm: *reading,
        };
        lab.controls.push(control);
        if self.chosen.is_some() {
            lab.warm.note(reading.tokens as f64, reading.ttft_s);
        }
        if let Some(level) = self.levels.last_mut() {
            level.controls.push(control);
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        self.choose(lab);
        let Some(level) = self.chosen.and_then(|at| self.levels.get(at)) else {
            findings.cache = Some(Presence::Unclear);
            return Answer::unclear("no pair of a new prompt and its repeat was measured");
        };
        let (cold_ttft_ms, warm_ttft_ms) = level.ttfts_ms();
        let found = Separability {
            context_tokens: level.tokens,
            cold_ttft_ms,
            warm_ttft_ms,
            youden_j: level.j(),
        };
        let cache = match lab.trusts_time || lab.trusts_usage {
            true => Presence::Present,
            false if no_hits_reported(lab) && times_show_no_reuse(&lab.controls) => {
                Presence::Absent
            }
            false => Presence::Unclear,
        };
        findings.separability = Some(found);
        findings.cache = Some(cache);
        Answer::new(words(&found, cache, lab), cache != Presence::Unclear)
    }
}

impl Machine {
    /// Returns the length of the next control; `None` at the end.
    fn tokens(&mut self, lab: &mut Lab) -> Option<u64> {
        let start = START_TOKENS.max(MOST_COMMON * lab.common_tokens);
        let longest = lab.longest_tokens;
        let Some(level) = self.levels.last() else {
            self.levels.push(Level::new(start.min(longest)));
            return Some(start.min(longest));
        };
        let pairs = level.controls.len();
        if self.chosen.is_some() {
            if pairs < CURVE_PAIRS {
                return Some(level.tokens);
            }
            return self.next_of_curve();
        }
        let is_last = level.tokens >= longest;
        let least_j = match is_last {
            true => LAST_PROMISING_J,
            false => PROMISING_J,
        };
        let has_usage = level.has_usage(lab);
        let is_doubtful = is_last && !has_usage && level.j() < ENOUGH_J;
        let all = match is_doubtful && (pairs < ALL || level.is_separable()) {
            true => DOUBTFUL,
            false => ALL,
        };
        if pairs < FIRST || pairs < all && (has_usage || level.j() >= least_j) {
            return Some(level.tokens);
        }
        if pairs >= ALL && (has_usage || level.j() >= ENOUGH_J) || is_last {
            self.choose(lab);
            return self.next_of_curve();
        }
        let tokens = (2 * level.tokens).min(longest);
        self.levels.push(Level::new(tokens));
        Some(tokens)
    }

    /// Begins the next length of the curves.
    fn next_of_curve(&mut self) -> Option<u64> {
        let tokens = self.curve_left.pop()?;
        self.levels.push(Level::new(tokens));
        Some(tokens)
    }

    /// Chooses the last length, unless one is chosen, and what can be trusted there.
    fn choose(&mut self, lab: &mut Lab) {
        self.levels.retain(|level| !level.controls.is_empty());
        let last = self.levels.len().checked_sub(1);
        let (None, Some(at)) = (self.chosen, last) else {
            return;
        };
        let level = &self.levels[at];
        lab.trusts_time = level.is_separable();
        lab.trusts_usage = level.controls.len() >= FIRST && level.has_usage(lab);
        lab.shortest_tokens = level.tokens;
        for control in &level.controls {
            let warm = control.warm;
            lab.warm.note(warm.tokens as f64, warm.ttft_s);
        }
        if lab.trusts_time || lab.trusts_usage {
            let lengths = CURVE_TIMES.iter().rev().map(|times| times * level.tokens);
            self.curve_left = lengths
                .filter(|&tokens| tokens <= lab.longest_tokens)
                .collect();
        }
        self.chosen = Some(at);
    }
}

/// Returns whether the `usage` of a control is as it should: nothing of the new prompt was cached but for what all
/// prompts have in common, and most of its repeat.
fn is_true(control: &Control, lab: &Lab) -> bool {
    let (Some(cold), Some(warm)) = (control.cold.cached, control.warm.cached) else {
        return false;
    };
    let tokens = control.warm.tokens;
    !lab.ignores_usage
        && is_cold(&control.cold, lab)
        && cold < warm
        && 2 * warm > tokens
        && warm <= tokens
}

fn no_hits_reported(lab: &Lab) -> bool {
    let mut readings = lab
        .controls
        .iter()
        .flat_map(|control| [&control.cold, &control.warm]);
    lab.ignores_usage || readings.all(|reading| is_cold(reading, lab))
}

fn words(found: &Separability, cache: Presence, lab: &Lab) -> String {
    let times = format!(
        "cold {:.1} ms, warm {:.1} ms at {} tokens (J {:.2})",
        found.cold_ttft_ms, found.warm_ttft_ms, found.context_tokens, found.youden_j
    );
    match cache {
        Presence::Present if lab.trusts_time => times,
        Presence::Present => format!("{times}: only `usage` tells them apart"),
        Presence::Absent => format!("no cache: a repeat is as slow as a new prompt, {times}"),
        Presence::Unclear => format!("unclear whether there is a cache: {times}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::odd::{Odd, Report};
    use super::*;
    use crate::stats::probe::Shape;

    fn found(server: &mut Odd, longest_tokens: u64) -> (Lab, Findings, Answer) {
        let mut lab = Lab::new(longest_tokens);
        lab.common_tokens = server.common_tokens;
        let mut findings = Findings::default();
        let answer = server.ask(&mut Machine::default(), &mut lab, &mut findings);
        (lab, findings, answer)
    }

    #[test]
    fn a_cache_is_found_by_time_and_by_usage_at_the_shortest_length() {
        for seed in 0..200 {
            for report in [Report::True, Report::Nothing, Report::Zero] {
                let mut server = Odd::new(16, seed);
                server.report = report;
                let (lab, findings, answer) = found(&mut server, 32_768);
                assert_eq!(findings.cache, Some(Presence::Present), "seed {seed}");
                assert!(lab.trusts_time && answer.is_clear);
                assert_eq!(lab.trusts_usage, report == Report::True, "seed {seed}");
                let separability = findings.separability.expect("controls");
                // The noise is 15 % of the gap, so a length is seldom left for a J below 0.95.
                assert!(separability.context_tokens <= 512, "seed {seed}");
                assert!(separability.youden_j >= 0.95);
                // 50 ms and 0.1 ms for each token that is not found.
                let tokens = separability.context_tokens as f64;
                let most = 0.2 * 0.1 * tokens;
                assert!((separability.cold_ttft_ms - 50.0 - 0.1 * tokens).abs() < most);
                assert!((separability.warm_ttft_ms - 50.0).abs() < most);
            }
        }
    }

    #[test]
    fn a_cache_of_long_prompts_is_found_at_their_length() {
        for seed in 0..100 {
            for (report, least_tokens) in [(Report::True, 1024), (Report::Nothing, 2000)] {
                let mut server = Odd::new(64, seed);
                (server.report, server.least_tokens) = (report, least_tokens);
                let (lab, findings, _) = found(&mut server, 32_768);
                assert_eq!(findings.cache, Some(Presence::Present), "seed {seed}");
                let least = least_tokens.next_power_of_two();
                assert!(
                    (least..=2 * least).contains(&lab.shortest_tokens),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn a_server_without_a_cache_has_none_and_one_that_cannot_show_it_is_unclear() {
        let (mut wrong, mut absent) = (0, 0);
        for seed in 0..100 {
            for report in [Report::Nothing, Report::Zero] {
                let mut server = Odd::new(64, seed);
                (server.report, server.shape) = (report, Shape::None);
                let (lab, findings, answer) = found(&mut server, 16_384);
                wrong += u32::from(findings.cache == Some(Presence::Present));
                if findings.cache == Some(Presence::Absent) {
                    absent += 1;
                    assert!(answer.is_clear && !lab.trusts_time && !lab.trusts_usage);
                }
            }
            // One length only: whether TTFT grows with the length is not known.
            let mut server = Odd::new(64, seed);
            (server.report, server.shape) = (Report::Nothing, Shape::None);
            let (_, findings, answer) = found(&mut server, 200);
            assert_ne!(findings.cache, Some(Presence::Absent));
            assert_eq!(answer.is_clear, findings.cache == Some(Presence::Present));
        }
        assert!(
            wrong == 0 && absent >= 196,
            "{wrong} wrong, {absent} right of 200"
        );
    }

    #[test]
    fn an_early_end_has_what_was_measured() {
        let mut server = Odd::new(16, 1);
        let (mut lab, mut findings) = (Lab::new(4096), Findings::default());
        let mut machine = Machine::default();
        let answer = machine.conclude(&mut lab, &mut findings);
        assert_eq!(
            answer.words,
            "no pair of a new prompt and its repeat was measured"
        );
        for _ in 0..5 {
            let ask = machine.next(&mut lab).expect("more controls");
            server.take(ask, &mut machine, &mut lab);
        }
        machine.conclude(&mut lab, &mut findings);
        assert_eq!(findings.cache, Some(Presence::Unclear));
        assert_eq!(
            findings.separability.map(|found| found.context_tokens),
            Some(256)
        );
    }
}
