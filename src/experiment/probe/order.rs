//! The order of eviction: some contexts are used often, some late, some once; then new ones drive a part of them out, and
//! all are read. Every order is simulated with everything that was sent, for capacities around those that were found;
//! the one that explains the readings best is named if it is far likelier than the others.

use super::belief::{log_likelihood, weighted_quantile};
use super::lab::{Lab, Prompt, Reading, Request, Reread, Shares};
use super::policy::{Cache, Order};
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
/// Capacities are simulated in steps of their logarithm, then in finer ones around the best.
const STEP: f64 = 0.06;
/// By chance, what is held changes at once where evictions begin.
const RANDOM_STEP: f64 = 0.03;
const FINE_STEP: f64 = 0.0125;
/// The least likelihood of a run, whatever the cache.
const ODD: f64 = 1e-4;
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

/// An order with the capacity under which it explains the readings best.
#[derive(Debug, Clone, Copy)]
struct Weighed {
    order: Order,
    log_likelihood: f64,
    capacity: f64,
    low: f64,
    high: f64,
    /// The share of readings that it explains.
    explained: f64,
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
        let readings = lab
            .accesses
            .iter()
            .map(|access| Read::of(lab, &access.reread?));
        let readings: Vec<Option<Read>> = readings.collect();
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
            return Answer {
                words: "not asked: the capacity is not known".to_string(),
                is_clear: false,
                is_lie: false,
            };
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
            return Answer {
                words: format!("undecided (odds {}){why}", said(odds)),
                is_clear: false,
                is_lie: false,
            };
        };
        // Capacities, and a second tier, were found by the rules of LRU.
        if best.order != Order::Lru {
            let tiers = findings.tiers.as_ref();
            let ttft_ms = tiers.and_then(|tiers| tiers.first()?.ttft_ms);
            let best = match best.order {
                Order::Random => find_by_chance(lab),
                _ => best,
            };
            findings.tiers = Some(vec![Tier {
                capacity_tokens: best.capacity.round() as u64,
                low_tokens: best.low.round() as u64,
                high_tokens: Some(best.high.round() as u64),
                ttft_ms,
                contexts: None,
            }]);
        }
        Answer {
            words: format!("{} (odds {})", best.order.name(), said(odds)),
            is_clear: true,
            is_lie: false,
        }
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

/// Finds the capacity under which an order explains all readings best.
fn find(lab: &Lab, readings: &[Option<Read>], order: Order) -> Weighed {
    let fit = |capacity_tokens: f64, step: f64| match order {
        // A second tier may have been taken for one by mistake.
        Order::Lru => {
            let one = fit_lru(readings, None, capacity_tokens, step);
            let two = lab
                .first_tier
                .map(|first| fit_lru(readings, Some(first), capacity_tokens, step));
            match two {
                Some(two) if two.log_likelihood > one.log_likelihood => two,
                _ => one,
            }
        }
        _ => fit(lab, readings, order, capacity_tokens, step),
    };
    let step = match order {
        Order::Random => RANDOM_STEP,
        _ => STEP,
    };
    let coarse = capacities(lab, step).map(|capacity| (capacity, fit(capacity, step)));
    let best = coarse.max_by(|a, b| a.1.log_likelihood.total_cmp(&b.1.log_likelihood));
    let centre = best.map_or(lab.least_capacity_tokens(), |best| best.0);
    let fine = (-10..=10).map(|step| centre * (f64::from(step) * FINE_STEP).exp());
    let fine: Vec<(f64, Fit)> = fine
        .map(|capacity| (capacity, fit(capacity, FINE_STEP)))
        .collect();
    Weighed::of(order, &fine)
}

/// Returns the capacities that the readings allow, at distances of `step` of their logarithm.
fn capacities(lab: &Lab, step: f64) -> impl Iterator<Item = f64> {
    let least = lab.least_capacity_tokens();
    let most: f64 = lab.accesses.iter().map(|access| access.tokens).sum();
    let steps = ((most / least).ln() / step).ceil().max(0.0) as i32;
    (0..=steps).map(move |at| least * (f64::from(at) * step).exp())
}

/// Finds the capacity of a cache that evicts by chance from the lengths of the runs that were found. Most of it is told by
/// the first evictions: until the cache is full there are none.
fn find_by_chance(lab: &Lab) -> Weighed {
    let rereads = lab.accesses.iter().map(|access| access.reread);
    let shares: Vec<Option<Shares>> = rereads
        .map(|reread| Some(lab.shares(&reread?.reading)))
        .collect();
    let fit = |capacity_tokens: f64| {
        let empty = empty_cache(lab, Order::Random, capacity_tokens);
        // Nobody knows whether the cache was empty before.
        let of_full = log_likelihood_of_runs(lab, &shares, empty.clone().filled());
        Fit {
            log_likelihood: log_likelihood_of_runs(lab, &shares, empty).max(of_full),
            explained: 1.0,
        }
    };
    let fits = capacities(lab, FINE_STEP).map(|capacity| (capacity, fit(capacity)));
    let fits: Vec<(f64, Fit)> = fits.collect();
    Weighed::of(Order::Random, &fits)
}

fn log_likelihood_of_runs(lab: &Lab, shares: &[Option<Shares>], mut cache: Cache) -> f64 {
    let mut sum = 0.0;
    for (access, shares) in lab.accesses.iter().zip(shares) {
        if let Some(shares) = shares {
            let expected = cache.expected(access.text, access.tokens);
            let likelihood = match (shares.usage, shares.time) {
                (Some(share), _) => expected.probability_of(1.0 - share),
                (None, Some((share, deviation))) => {
                    let deviation = deviation.hypot(expected.deviation());
                    likelihood(share, &expected.points(), deviation)
                }
                (None, None) => 1.0,
            };
            sum += likelihood.max(ODD).ln();
        }
        cache.access(access.text, access.tokens);
    }
    sum
}

/// Says odds, which mean no more when they are very large.
fn said(odds: f64) -> String {
    match odds > 1e4 {
        true => "over 10,000".to_string(),
        false => format!("{odds:.1}"),
    }
}

/// Returns the tokens of all that was sent before contexts were read again.
fn sent_before(lab: &Lab) -> f64 {
    let before = lab
        .accesses
        .iter()
        .take_while(|access| access.reread.is_none());
    before.map(|access| access.tokens).sum()
}

impl Weighed {
    /// Returns whether a cache would still be shaped by so many tokens that were sent in prompts of other kinds.
    fn is_shaped_by(&self, sent_tokens: f64) -> bool {
        !matches!(self.order, Order::Lru | Order::Fifo) && self.capacity < sent_tokens
    }

    /// Makes it from fits at capacities that are alike beforehand.
    fn of(order: Order, fits: &[(f64, Fit)]) -> Weighed {
        let best = fits.iter().map(|(_, fit)| fit.log_likelihood);
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        let weighted = fits
            .iter()
            .map(|(capacity, fit)| (*capacity, (fit.log_likelihood - best).exp()));
        let weighted: Vec<(f64, f64)> = weighted.collect();
        let all: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let quantile = |level| weighted_quantile(&weighted, level);
        let explained = fits.iter().map(|(_, fit)| fit.explained);
        Weighed {
            order,
            log_likelihood: best + (all / fits.len() as f64).ln(),
            capacity: quantile(0.5),
            low: quantile(0.025) * (-2.0 * FINE_STEP).exp(),
            high: quantile(0.975) * (2.0 * FINE_STEP).exp(),
            explained: explained.fold(0.0, f64::max),
        }
    }
}

/// The reading of a context that was sent before: its uncached share by the best source.
struct Read {
    distance: f64,
    tokens: f64,
    share: f64,
    deviation: f64,
    by_time: bool,
}

/// The standard deviation of a share by `usage`.
const USAGE_DEVIATION: f64 = 0.05;
/// Tokens of a block where they are unknown.
const UNKNOWN_BLOCK: u64 = 16;

impl Read {
    fn of(lab: &Lab, reread: &Reread) -> Option<Read> {
        let shares = lab.shares(&reread.reading);
        let of_usage = shares.usage.map(|share| (share, USAGE_DEVIATION));
        let (share, deviation) = of_usage.or(shares.time)?;
        Some(Read {
            distance: reread.distance,
            tokens: reread.tokens,
            share,
            deviation,
            by_time: of_usage.is_none(),
        })
    }

    /// Returns the deviation, with that between capacities of neighbouring steps, one of which may end in the context.
    fn blurred(&self, capacity_tokens: f64, step: f64) -> f64 {
        let blur = capacity_tokens * step / 12f64.sqrt() / self.tokens;
        self.deviation.hypot(blur.min(0.3))
    }
}

/// How well a cache explains the readings.
struct Fit {
    log_likelihood: f64,
    /// Share of the readings that are within three deviations of what is expected.
    explained: f64,
}

/// Returns the likelihood of a share; `points`: the shares that are expected, with their probabilities.
fn likelihood(share: f64, points: &[(f64, f64)], deviation: f64) -> f64 {
    let of_points = points
        .iter()
        .map(|(weight, expected)| weight * log_likelihood(share - expected, deviation).exp());
    of_points.sum()
}

#[derive(Default)]
struct Sum {
    log_likelihood: f64,
    explained: f64,
    readings: f64,
}

impl Sum {
    /// Adds a reading; `points`: the shares that are expected, with their probabilities.
    fn add(&mut self, read: &Read, points: &[(f64, f64)], deviation: f64) {
        self.log_likelihood += likelihood(read.share, points, deviation).ln();
        let errors = points.iter().filter(|(weight, _)| *weight > 0.02);
        let errors = errors.map(|(_, expected)| (read.share - expected).abs());
        let nearest = errors.fold(f64::INFINITY, f64::min);
        self.explained += f64::from(u8::from(nearest < 3.0 * deviation));
        self.readings += 1.0;
    }

    fn fit(self) -> Fit {
        Fit {
            log_likelihood: self.log_likelihood,
            explained: self.explained / self.readings.max(1.0),
        }
    }
}

/// Stack distances decide what an LRU cache holds.
fn fit_lru(
    readings: &[Option<Read>],
    first: Option<(f64, f64)>,
    capacity_tokens: f64,
    step: f64,
) -> Fit {
    let mut sum = Sum::default();
    for read in readings.iter().flatten() {
        let share_held = |capacity: f64| ((capacity - read.distance) / read.tokens).clamp(0.0, 1.0);
        let slow = 1.0 - share_held(capacity_tokens);
        let medium = match first {
            Some((first, medium)) if read.by_time => {
                (share_held(capacity_tokens) - share_held(first.min(capacity_tokens))) * medium
            }
            _ => 0.0,
        };
        sum.add(
            read,
            &[(1.0, slow + medium)],
            read.blurred(capacity_tokens, step),
        );
    }
    sum.fit()
}

fn empty_cache(lab: &Lab, order: Order, capacity_tokens: f64) -> Cache {
    let block_tokens = lab.block_tokens.unwrap_or(UNKNOWN_BLOCK) as f64;
    Cache::new(order, capacity_tokens, block_tokens)
}

/// Simulates a cache with everything that was sent.
fn fit(lab: &Lab, readings: &[Option<Read>], order: Order, capacity_tokens: f64, step: f64) -> Fit {
    let mut cache = empty_cache(lab, order, capacity_tokens);
    let mut sum = Sum::default();
    for (access, read) in lab.accesses.iter().zip(readings) {
        if let Some(read) = read {
            let expected = cache.expected(access.text, access.tokens);
            let blurred = read.blurred(capacity_tokens, step);
            sum.add(
                read,
                &expected.points(),
                blurred.hypot(expected.deviation()),
            );
        }
        cache.access(access.text, access.tokens);
    }
    sum.fit()
}
