//! The order of eviction: some contexts are used often, some late, some once; then new ones drive a part of them out, and
//! all are read. Every order is simulated with everything that was sent, for capacities around those that were found;
//! the one that explains the readings best is named if it is far likelier than the others.

use std::collections::HashMap;

use super::explain::{Weighed, find, find_by_chance, readings};
use super::lab::{Lab, Prompt, Reading, Request};
use super::policy::Order;
use super::step::{Answer, Ask, Step};
use crate::stats::probe::{Findings, OrderFound, Tier};

/// New contexts of a round, if the cache holds so many of the shortest length; the least contexts; the most of those that
/// were sent before.
const CONTEXTS: f64 = 16.0;
const LEAST_CONTEXTS: usize = 8;
const MOST_CONTEXTS: usize = 20;
/// Contexts that were sent before fill at most this share of the capacity.
const HELD: f64 = 0.93;
/// Uses of a hot context.
const HOT: usize = 3;
/// Tokens of new contexts, as a share of the capacity.
const NEW: f64 = 0.45;
const MOST_ROUNDS: u32 = 2;
/// An order is named when it is so many times likelier than the next one.
const NAMED: f64 = 20.0;
/// Readings of which the best order explains less than this share say nothing.
const EXPLAINED: f64 = 0.95;
/// An order that explains a share this much smaller than the best one is less likely by this many logarithms.
const LESS_EXPLAINED: f64 = 0.04;
const UNLIKELY: f64 = 1e6;

/// The machine that finds the order.
#[derive(Debug, Default)]
pub struct Machine {
    rounds: u32,
    /// Contexts to be sent, the next one last: text and tokens.
    queue: Vec<(u64, u64)>,
    weighed: Vec<Weighed>,
}

impl Machine {
    /// Plans a round: with contexts that an LRU cache would hold, which cost nothing, else with new ones.
    fn plan(&mut self, lab: &mut Lab, capacity_tokens: f64) {
        self.rounds += 1;
        let mut contexts = held(lab, capacity_tokens);
        if contexts.len() < LEAST_CONTEXTS {
            contexts = fresh(lab, capacity_tokens);
        }
        let whole: u64 = contexts.iter().map(|(_, tokens)| tokens).sum();
        let each = whole / contexts.len() as u64;
        let quarter = (contexts.len() / 4).max(1);
        let (hot, rest) = contexts.split_at(quarter);
        let (late, once) = rest.split_at(quarter);
        let new = (NEW * capacity_tokens / each as f64).ceil() as usize;
        let mut sent = hot.repeat(HOT);
        sent.extend(late.iter().chain(once).chain(late));
        sent.extend((0..new).map(|_| (lab.new_text(), each)));
        let mut rng = fastrand::Rng::with_seed(u64::from(self.rounds));
        rng.shuffle(&mut contexts);
        sent.extend(contexts);
        sent.reverse();
        self.queue = sent;
    }

    fn weigh(&mut self, lab: &Lab) {
        let readings = readings(lab);
        let weighed = Order::ALL.map(|order| find(lab, &readings, order));
        let explained = weighed.iter().map(|weighed| weighed.explained);
        let least = explained.fold(0.0, f64::max) - LESS_EXPLAINED;
        self.weighed = weighed.to_vec();
        // An order that leaves readings unexplained is out, however likely the others are.
        for weighed in self
            .weighed
            .iter_mut()
            .filter(|weighed| weighed.explained < least)
        {
            weighed.log_likelihood -= UNLIKELY;
        }
        self.weighed
            .sort_unstable_by(|a, b| b.log_likelihood.total_cmp(&a.log_likelihood));
    }

    fn odds(&self) -> f64 {
        match &self.weighed[..] {
            [first, second, ..] => (first.log_likelihood - second.log_likelihood)
                .min(20.0)
                .exp(),
            _ => 1.0,
        }
    }
}

impl Step for Machine {
    fn next(&mut self, lab: &mut Lab) -> Option<Ask> {
        if self.queue.is_empty() {
            if self.rounds > 0 {
                self.weigh(lab);
            }
            if self.rounds >= MOST_ROUNDS || self.odds() > NAMED {
                return None;
            }
            let capacity_tokens = lab.capacity_tokens?;
            self.plan(lab, capacity_tokens);
        }
        let (text, tokens) = self.queue.pop()?;
        Some(Ask::Send(Request::new(Prompt::whole(text, tokens))))
    }

    fn tell(&mut self, lab: &mut Lab, request: &Request, reading: &Reading) {
        let text = request.prompt.text;
        match lab.distance(text).is_finite() {
            true => {
                lab.read_again(text, reading);
            }
            false => lab.wrote(text, reading),
        }
    }

    fn conclude(&mut self, lab: &mut Lab, findings: &mut Findings) -> Answer {
        if lab.capacity_tokens.is_none() {
            return Answer::unclear("not asked: the capacity is not known");
        }
        if !self.queue.is_empty() || self.weighed.is_empty() {
            self.weigh(lab);
        }
        let odds = self.odds();
        let best = self.weighed.first().copied();
        let best = best.filter(|best| odds > NAMED && best.explained >= EXPLAINED);
        let is_filled = best.is_some_and(|best| best.is_shaped_by(sent_before(lab)));
        let best = best.filter(|_| !is_filled);
        findings.order = Some(OrderFound {
            name: best.map(|best| best.order.name()),
            odds,
        });
        let Some(best) = best else {
            let why = match is_filled {
                true => {
                    ": the steps before have filled this cache; --steps capacity,order sends less"
                }
                false => "",
            };
            return Answer::unclear(format!("undecided (odds {}){why}", said(odds)));
        };
        let mut words = format!("{} (odds {})", best.order.name(), said(odds));
        // Capacities, and a second tier, were found by the rules of LRU.
        if best.order != Order::Lru {
            let tiers = findings.tiers.as_ref();
            let ttft_ms = tiers.and_then(|tiers| tiers.first()?.ttft_ms);
            let best = match best.order {
                Order::Random => find_by_chance(lab),
                _ => best,
            };
            let tier = Tier {
                capacity_tokens: best.capacity.round() as u64,
                low_tokens: best.low.round() as u64,
                high_tokens: Some(best.high.round() as u64),
                ttft_ms,
                contexts: None,
            };
            words = format!("{words}; its capacity: {}", tier.words());
            findings.tiers = Some(vec![tier]);
        }
        Answer::clear(words)
    }
}

/// Returns the longest of the contexts that an LRU cache holds, from the one that was sent first on.
fn held(lab: &Lab, capacity_tokens: f64) -> Vec<(u64, u64)> {
    let mut contexts: Vec<(u64, u64)> = lab
        .distances()
        .map_while(|(text, distance)| {
            let access = lab.accesses.iter().find(|access| access.text == text)?;
            let fits = distance + access.tokens < HELD * capacity_tokens;
            fits.then_some((text, access.tokens as u64))
        })
        .collect();
    let mut lengths: Vec<u64> = contexts.iter().map(|&(_, tokens)| tokens).collect();
    lengths.sort_unstable();
    let least = lengths.iter().rev().nth(MOST_CONTEXTS - 1).copied();
    contexts.retain(|&(_, tokens)| tokens >= least.unwrap_or(0));
    contexts.reverse();
    contexts
}

/// Returns new contexts that fill the cache together.
fn fresh(lab: &mut Lab, capacity_tokens: f64) -> Vec<(u64, u64)> {
    let most = (capacity_tokens / lab.shortest_tokens as f64).floor();
    let count = most.clamp(LEAST_CONTEXTS as f64, CONTEXTS);
    let tokens = (capacity_tokens / count) as u64;
    let tokens = tokens.clamp(lab.shortest_tokens, lab.longest_tokens);
    let count = (capacity_tokens / tokens as f64).round() as usize;
    (0..count.max(2))
        .map(|_| (lab.new_text(), tokens))
        .collect()
}

/// Says odds, which mean no more when they are very large.
fn said(odds: f64) -> String {
    match odds > 1e4 {
        true => "over 10,000".to_string(),
        false => format!("{odds:.1}"),
    }
}

/// Returns the tokens of all contexts that were sent before any was read again.
fn sent_before(lab: &Lab) -> f64 {
    let before = lab
        .accesses
        .iter()
        .take_while(|access| access.reread.is_none());
    let mut longest: HashMap<u64, f64> = HashMap::new();
    for access in before {
        let tokens = longest.entry(access.text).or_default();
        *tokens = tokens.max(access.tokens);
    }
    longest.values().sum()
}
