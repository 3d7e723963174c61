//! How well each order of eviction explains what was read: every cache is simulated with everything that was sent, for
//! capacities that the readings allow.

use super::belief::{log_likelihood, weighted_quantile};
use super::lab::{Lab, Reread, Shares};
use super::policy::{Cache, Order};

/// Capacities are simulated in steps of their logarithm, then in finer ones around the best.
const STEP: f64 = 0.06;
/// By chance, what is held changes at once where evictions begin.
const RANDOM_STEP: f64 = 0.03;
const FINE_STEP: f64 = 0.0125;
/// The least likelihood of a run, whatever the cache.
const ODD: f64 = 1e-4;

/// An order with the capacity under which it explains the readings best.
#[derive(Debug, Clone, Copy)]
pub struct Weighed {
    pub order: Order,
    pub log_likelihood: f64,
    pub capacity: f64,
    pub low: f64,
    pub high: f64,
    /// The share of readings that it explains.
    pub explained: f64,
}

impl Weighed {
    /// Returns whether a cache would still be shaped by so many tokens that were sent in prompts of other kinds.
    pub fn is_shaped_by(&self, sent_tokens: f64) -> bool {
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

/// Returns the reading of each access, for those that have one.
pub fn readings(lab: &Lab) -> Vec<Option<Read>> {
    let rereads = lab.accesses.iter().map(|access| access.reread);
    let reads = rereads.map(|reread| Read::of(lab, &reread?));
    reads.collect()
}

/// Finds the capacity under which an order explains all readings best.
pub fn find(lab: &Lab, readings: &[Option<Read>], order: Order) -> Weighed {
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
pub fn find_by_chance(lab: &Lab) -> Weighed {
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
                (None, Some((share, deviation))) => likelihood(share, &expected.runs(), deviation),
                (None, None) => 1.0,
            };
            sum += likelihood.max(ODD).ln();
        }
        cache.access(access.text, access.tokens);
    }
    sum
}

/// The reading of a context that was sent before: its uncached share by the best source.
pub struct Read {
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
