//! The capacity of each tier: a growing pass of new contexts, in which the oldest one is read again at times, then
//! readings of the contexts whose outcome would decide most.

use super::belief::{Belief, Capacity, Of};
use super::growing::Growing;
use super::lab::{Lab, Prompt, Reading, Request};
use super::slots::Slots;
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, Tier};

/// A new context has this share of all tokens written before.
const GROWTH: f64 = 0.11;
/// It goes on this often, a miss at a time, while the readings do not bound the capacity.
const MOST_EXTENSIONS: u32 = 2;
/// Readings after the growing pass with one tier; with two of all tokens, and of both capacities.
const LEAST_REFINING: u32 = 12;
const MOST_REFINING: u32 = 24;
const LEAST_OF_TOTAL: u32 = 4;
const MOST_OF_TOTAL: u32 = 5;
const MOST_OF_BOTH: u32 = 26;
/// An interval this wide is narrow enough, of the middle.
const NARROW: f64 = 0.05;
/// The contexts that are read around a capacity have so many times its tokens together.
const POOL: f64 = 1.2;
/// And each at least this share of them, if the server takes contexts so long: the smaller, the more requests.
const LEAST_LAID: f64 = 0.033;
/// The probability from which on a second tier is looked for.
const LIKELY_TWO_TIERS: f64 = 0.9;
/// The probability from which on there are two tiers.
const TWO_TIERS: f64 = 0.999;

/// The machine that finds capacities.
#[derive(Debug, Default)]
pub struct Machine {
    phase: Phase,
    growing: Growing,
    /// Contexts that are laid, the first one last.
    laid: Vec<u64>,
    refined: u32,
    refined_of_total: u32,
    belief: Option<Belief>,
    /// Whether the growing pass was ended by misses; else the capacity is above all that was written.
    is_bounded: bool,
    extensions: u32,
    slots: Option<Slots>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Grow,
    RefineTotal,
    /// Contexts are sent so that they lie around the capacity of the first tier.
    Lay,
    RefineFirst,
    /// A cache that holds few contexts may have slots.
    Slots,
    Done,
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        loop {
            let next = match self.phase {
                Phase::Grow => return Some(ask(self.grow(lab))),
                Phase::RefineTotal | Phase::RefineFirst => self.most_telling(lab),
                Phase::Lay => self.laid.pop(),
                Phase::Slots => match self.slots.as_mut().and_then(|slots| slots.next(lab)) {
                    Some(prompt) => return Some(ask(prompt)),
                    None => None,
                },
                Phase::Done => return None,
            };
            if let Some(text) = next {
                return Some(ask(self.context(text)));
            }
            self.end_phase(lab);
        }
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        if let Some(slots) = self.slots.as_mut().filter(|_| self.phase == Phase::Slots) {
            return slots.tell(lab, request, reading);
        }
        let (text, growing) = (request.prompt.text, &mut self.growing);
        if self.phase == Phase::Grow && growing.is_new() {
            lab.wrote(text, reading);
            growing.wrote(text, request.prompt.tokens as f64, reading.tokens as f64);
            return;
        }
        let shares = lab.shares(reading);
        let reread = lab.read_again(text, reading);
        if self.phase == Phase::Grow {
            if growing.tell(&shares, &reread) {
                lab.warm.note(reading.tokens as f64, reading.ttft_s);
            }
            if growing.has_lost() {
                self.is_bounded = true;
                self.end_phase(lab);
            }
            return;
        }
        self.refined += 1;
        if let Some(belief) = &mut self.belief {
            belief.tell(&reread, &shares);
            belief.sharpen(lab);
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        if self.phase == Phase::Grow {
            self.weigh(lab);
        }
        let capacity = self.capacity(Of::Total);
        let longest = lab.longest_repeat();
        let contexts = self.contexts();
        if contexts.is_none() && capacity.is_some_and(|capacity| capacity.high < longest) {
            return Answer::unclear(format!(
                "unclear: contexts are lost at once, yet repeats of {longest} tokens are found: the steps before \
                 have filled this cache; --steps capacity,order sends less"
            ));
        }
        let ttfts_ms = self.ttfts_ms(lab);
        let capacities = self.tiers();
        let last = capacities.len().saturating_sub(1);
        let tiers = capacities
            .iter()
            .zip(ttfts_ms)
            .enumerate()
            .map(|(place, (tier, ttft_ms))| Tier {
                capacity_tokens: tier.tokens.round() as u64,
                low_tokens: tier.low.round() as u64,
                high_tokens: (place < last || self.is_bounded).then(|| tier.high.round() as u64),
                ttft_ms: Some(ttft_ms),
                contexts,
            });
        let tiers: Vec<Tier> = tiers.collect();
        let words: Vec<String> = tiers.iter().map(Tier::words).collect();
        let medium = self.belief.as_ref().map_or(0.0, Belief::medium);
        lab.first_tier = (capacities.len() > 1).then(|| (capacities[0].tokens, medium));
        lab.capacity_tokens = capacities
            .last()
            .filter(|_| self.is_bounded)
            .map(|last| last.tokens);
        findings.tiers = Some(tiers);
        Answer::new(words.join(", "), self.is_bounded)
    }
}

impl Machine {
    fn context(&self, text: u64) -> Prompt {
        let tokens = self.growing.tokens_of(text).unwrap_or_default();
        Prompt::whole(text, tokens as u64)
    }

    fn grow(&mut self, lab: &mut Lab) -> Prompt {
        if let Some(text) = self.growing.next() {
            return self.context(text);
        }
        let tokens = (GROWTH * self.growing.written_tokens()).ceil() as u64;
        lab.new_prompt(tokens.max(lab.shortest_tokens).min(lab.longest_tokens))
    }

    /// Weighs all that was measured.
    fn weigh(&mut self, lab: &Lab) {
        let written = self.growing.written();
        let least = written.first().map_or(1.0, |written| written.1) / 4.0;
        let most = self.growing.written_tokens() * 1.5;
        self.belief = Some(Belief::new(lab, least.max(1.0), most));
    }

    fn end_phase(&mut self, lab: &Lab) {
        self.phase = match self.phase {
            Phase::Grow => {
                self.growing.end();
                self.weigh(lab);
                let written_tokens = self.growing.written_tokens();
                let is_above = |capacity: Capacity| capacity.high > written_tokens;
                let goes_on = self.extensions < MOST_EXTENSIONS && self.growing.has_lost_old();
                match goes_on && self.capacity(Of::Total).is_some_and(is_above) {
                    true => {
                        self.extensions += 1;
                        self.growing.want_one_more();
                        Phase::Grow
                    }
                    false => Phase::RefineTotal,
                }
            }
            Phase::RefineTotal => {
                self.refined_of_total = self.refined;
                let capacity = self.capacity(Of::Total).filter(|_| self.is_bounded);
                self.slots = capacity.and_then(|capacity| Slots::plan(lab, capacity));
                Phase::Slots
            }
            Phase::Slots if self.contexts().is_none() && self.has_two_tiers(LIKELY_TWO_TIERS) => {
                self.lay();
                Phase::Lay
            }
            Phase::Lay => Phase::RefineFirst,
            _ => Phase::Done,
        };
        self.refined = 0;
    }

    /// Returns the number of slots; `None`: the cache holds tokens.
    fn contexts(&self) -> Option<u64> {
        self.slots.as_ref().and_then(Slots::contexts)
    }

    fn has_two_tiers(&self, least: f64) -> bool {
        let belief = self.belief.as_ref();
        belief.is_some_and(|belief| belief.two_tiers() > least)
    }

    /// Plans to send contexts once, from the smallest on that tell much, until they fill more than the first tier.
    fn lay(&mut self) {
        let Some(Capacity { low, high, .. }) = self.capacity(Of::First) else {
            return;
        };
        let written = self.growing.written();
        let longest = written.iter().map(|&(_, tokens)| tokens);
        let least = (LEAST_LAID * low).min(0.9 * longest.fold(0.0, f64::max));
        let mut sum = 0.0;
        let large = written.iter().filter(|(_, tokens)| *tokens >= least);
        let pool = large.take_while(|(_, tokens)| {
            let is_short = sum < high * POOL;
            sum += tokens;
            is_short
        });
        self.laid = pool.map(|&(text, _)| text).collect();
        self.laid.reverse();
    }

    fn capacity(&self, of: Of) -> Option<Capacity> {
        self.belief.as_ref().map(|belief| belief.capacity(of))
    }

    /// Returns the context whose reading would decide most; `None` when enough is known.
    fn most_telling(&self, lab: &Lab) -> Option<u64> {
        let belief = self.belief.as_ref()?;
        let of = match self.phase {
            Phase::RefineFirst => Of::First,
            _ => Of::Total,
        };
        let is_narrow = belief.capacity(of).width() < NARROW;
        let (least, most) = match of {
            Of::First => (LEAST_REFINING, MOST_OF_BOTH - self.refined_of_total),
            Of::Total if self.has_two_tiers(TWO_TIERS) => (LEAST_OF_TOTAL, MOST_OF_TOTAL),
            Of::Total => (LEAST_REFINING, MOST_REFINING),
        };
        if self.refined >= most || is_narrow && self.refined >= least {
            return None;
        }
        let sampled = belief.sample();
        let contexts = lab.distances().filter_map(|(text, distance)| {
            let tokens = self.growing.tokens_of(text)?;
            let variance = sampled.variance(distance, tokens, of, lab.trusts_usage);
            Some((text, variance))
        });
        let best = contexts.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (best.1 > 1e-6).then_some(best.0)
    }

    /// Returns the TTFT of a context of the shortest length from each tier.
    fn ttfts_ms(&self, lab: &Lab) -> [f64; 2] {
        let tokens = lab.shortest_tokens as f64;
        let (warm_s, cold_s) = (lab.warm.at(tokens), lab.cold.at(tokens));
        let (warm_s, cold_s) = (warm_s.unwrap_or_default(), cold_s.unwrap_or_default());
        let medium = self.belief.as_ref().map_or(0.0, Belief::medium);
        [warm_s * 1e3, (warm_s + medium * (cold_s - warm_s)) * 1e3]
    }

    /// Returns the capacities from the first tier on, each with those before it; none before they are known.
    fn tiers(&self) -> Vec<Capacity> {
        let of = match self.contexts().is_none() && self.has_two_tiers(TWO_TIERS) {
            true => &[Of::First, Of::Total][..],
            false => &[Of::Total],
        };
        of.iter().filter_map(|&of| self.capacity(of)).collect()
    }
}

fn ask(prompt: Prompt) -> Ask {
    Ask::Send(Request::new(prompt))
}
