//! The capacities of an LRU cache with one tier or two, as likely as the readings so far make them.
//!
//! Under LRU, with the end of a context evicted before its start, stack distances decide: of a context at distance D with
//! L tokens, a cache of C tokens holds the first C − D. With exclusive tiers this is true of the first tier and of both
//! together. So no hypothesis needs a simulation of its own, and one list of readings serves all.

use super::lab::{Lab, Reread, Shares};

/// The chance that a reading says nothing, whatever the cache.
const OUTLIERS: f64 = 0.02;
/// Distance between neighbouring hypotheses at first, as a logarithm, and at last.
const COARSE: f64 = 0.1;
const FINE: f64 = 0.004;
/// Intervals are wider by so many steps, by simulation, that of the first of two tiers more.
const TOTAL_WIDER: f64 = 2.0;
const FIRST_WIDER: f64 = 3.0;
/// A hypothesis this many logarithms below the best one is given up.
const HOPELESS: f64 = 12.0;
/// Hypotheses of two tiers have so many TTFTs of the second between warm (0) and cold (1). They are as far from either
/// as single readings scatter, in standard deviations, but no less than the least distance.
const MEDIUMS: usize = 6;
const APART: f64 = 2.0;
const LEAST_APART: f64 = 0.1;
/// The standard deviation of a share by `usage`.
const USAGE_DEVIATION: f64 = 0.01;
/// Hypotheses of a sample.
const SAMPLED: usize = 200;
/// The most hypotheses that are split into finer ones.
const MOST: usize = 1500;

/// A hypothesis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cache {
    /// Tokens of the first tier.
    first: f64,
    /// Tokens of both together; equal to `first` with one tier.
    total: f64,
    /// The share by time of what is read from the second tier.
    medium: f64,
    log_likelihood: f64,
}

/// Hypotheses and their likelihoods.
#[derive(Debug, Clone)]
pub struct Belief {
    caches: Vec<Cache>,
    step: f64,
    medium_step: f64,
}

/// Hypotheses of equal weight.
pub struct Sampled(Vec<Cache>);

/// A capacity in tokens with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    pub tokens: f64,
    pub low: f64,
    pub high: f64,
}

impl Capacity {
    /// Returns the width of the interval over its middle.
    pub fn width(&self) -> f64 {
        (self.high - self.low) / self.tokens
    }
}

/// Which capacity is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    First,
    Total,
}

/// The expected uncached share of a reading, by `usage` and by time, with the deviations that come from the distance
/// between hypotheses.
struct Expected {
    slow: f64,
    slow_deviation: f64,
    time: f64,
    time_deviation: f64,
}

impl Belief {
    /// Weighs all capacities between two, by the readings of the lab.
    pub fn new(lab: &Lab, least: f64, most: f64) -> Belief {
        let steps = ((most / least).ln() / COARSE).ceil() as usize;
        let grid = move || (0..=steps).map(move |step| least * (step as f64 * COARSE).exp());
        let cache = |first, total, medium| Cache {
            first,
            total,
            medium,
            log_likelihood: 0.0,
        };
        let mut caches: Vec<Cache> = grid().map(|total| cache(total, total, 0.0)).collect();
        let deviation = lab.time_deviation();
        let apart = (APART * deviation).clamp(LEAST_APART, 0.4);
        let medium_step = (1.0 - 2.0 * apart) / MEDIUMS as f64;
        let mediums: Vec<f64> = (0..MEDIUMS)
            .map(|place| apart + (place as f64 + 0.5) * medium_step)
            .collect();
        if lab.trusts_time {
            for total in grid() {
                let is_seen =
                    |first: &f64| (lab.shortest_tokens as f64) <= *first && *first < total;
                for first in grid().filter(is_seen) {
                    caches.extend(mediums.iter().map(|&medium| cache(first, total, medium)));
                }
            }
        }
        let mut belief = Belief {
            caches,
            step: COARSE,
            medium_step,
        };
        belief.weigh(lab);
        belief.sharpen(lab);
        belief
    }

    /// Splits hypotheses while few are left between the limits of an interval.
    pub fn sharpen(&mut self, lab: &Lab) {
        while self.step > FINE && self.caches.len() < MOST {
            let halves = [-self.step / 4.0, self.step / 4.0].map(f64::exp);
            let mediums = [-self.medium_step / 4.0, self.medium_step / 4.0];
            let mut split = Vec::new();
            for cache in &self.caches {
                if cache.first == cache.total {
                    split.extend(halves.map(|half| Cache {
                        first: cache.first * half,
                        total: cache.total * half,
                        ..*cache
                    }));
                    continue;
                }
                for (half, other) in halves
                    .into_iter()
                    .flat_map(|half| halves.map(|o| (half, o)))
                {
                    split.extend(mediums.map(|medium| Cache {
                        first: cache.first * half,
                        total: cache.total * other,
                        medium: cache.medium + medium,
                        ..*cache
                    }));
                }
            }
            self.caches = split;
            self.step /= 2.0;
            self.medium_step /= 2.0;
            self.weigh(lab);
        }
    }

    /// Computes all likelihoods anew.
    fn weigh(&mut self, lab: &Lab) {
        self.caches
            .iter_mut()
            .for_each(|cache| cache.log_likelihood = 0.0);
        // One tier is as likely as two beforehand.
        let pairs = self
            .caches
            .iter()
            .filter(|cache| cache.first < cache.total)
            .count();
        let singles = self.caches.len() - pairs;
        let prior = (singles.max(1) as f64 / pairs.max(1) as f64).ln();
        for cache in self
            .caches
            .iter_mut()
            .filter(|cache| cache.first < cache.total)
        {
            cache.log_likelihood = prior;
        }
        for reread in lab.rereads() {
            self.update(&reread, &lab.shares(&reread.reading));
        }
        self.give_up();
    }

    /// Weighs one more reading.
    pub fn tell(&mut self, reread: &Reread, shares: &Shares) {
        self.update(reread, shares);
        self.give_up();
    }

    fn update(&mut self, reread: &Reread, shares: &Shares) {
        let (step, medium_step) = (self.step, self.medium_step);
        for cache in &mut self.caches {
            let expected = cache.expected(reread.distance, reread.tokens, step, medium_step);
            if let Some(share) = shares.usage {
                let deviation = USAGE_DEVIATION.hypot(expected.slow_deviation);
                cache.log_likelihood += log_likelihood(share - expected.slow, deviation);
            }
            if let Some((share, deviation)) = shares.time {
                let deviation = deviation.hypot(expected.time_deviation);
                cache.log_likelihood += log_likelihood(share - expected.time, deviation);
            }
        }
    }

    fn give_up(&mut self) {
        let logs = self.caches.iter().map(|cache| cache.log_likelihood);
        let best = logs.fold(f64::NEG_INFINITY, f64::max);
        self.caches.retain_mut(|cache| {
            cache.log_likelihood -= best;
            cache.log_likelihood > -HOPELESS
        });
    }

    /// Returns the probability that there are two tiers.
    pub fn two_tiers(&self) -> f64 {
        self.mean(|cache| f64::from(u8::from(cache.first < cache.total)))
    }

    /// Returns the mean of a property of the caches.
    fn mean(&self, of: impl Fn(&Cache) -> f64) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for cache in &self.caches {
            let weight = cache.log_likelihood.exp();
            sum += weight * of(cache);
            weights += weight;
        }
        sum / weights
    }

    /// Returns the share by time of the second tier.
    pub fn medium(&self) -> f64 {
        let two = self.two_tiers();
        match two > 0.0 {
            true => self.mean(|cache| cache.medium) / two,
            false => 0.0,
        }
    }

    /// Returns a capacity, among the caches with two tiers or with one, whichever are likelier.
    pub fn capacity(&self, of: Of) -> Capacity {
        let has_two = self.two_tiers() > 0.5;
        let of_kind = self
            .caches
            .iter()
            .filter(|cache| (cache.first < cache.total) == has_two);
        let mut weighted: Vec<(f64, f64)> = of_kind
            .map(|cache| {
                let tokens = match of {
                    Of::First => cache.first,
                    Of::Total => cache.total,
                };
                (tokens, cache.log_likelihood.exp())
            })
            .collect();
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let quantile = |level| weighted_quantile(&weighted, level);
        let step = match of {
            Of::First => FIRST_WIDER * self.step,
            Of::Total => TOTAL_WIDER * self.step,
        };
        Capacity {
            tokens: quantile(0.5),
            low: quantile(0.025) * (-step).exp(),
            high: quantile(0.975) * step.exp(),
        }
    }

    /// Returns hypotheses of equal weight: a sample of the belief.
    pub fn sample(&self) -> Sampled {
        let weights = self.caches.iter().map(|cache| cache.log_likelihood.exp());
        let spacing = weights.sum::<f64>() / SAMPLED as f64;
        let (mut sum, mut next) = (0.0, spacing / 2.0);
        let mut caches = Vec::with_capacity(SAMPLED);
        for cache in &self.caches {
            sum += cache.log_likelihood.exp();
            while next < sum && caches.len() < SAMPLED {
                caches.push(*cache);
                next += spacing;
            }
        }
        Sampled(caches)
    }
}

impl Sampled {
    /// Returns the variance of the expected share of a context between the hypotheses, as far as it comes from a capacity:
    /// what its reading would decide.
    pub fn variance(&self, distance: f64, tokens: f64, of: Of, by_usage: bool) -> f64 {
        let n = self.0.len() as f64;
        let shares = self.0.iter().map(|cache| {
            let expected = || cache.expected(distance, tokens, 0.0, 0.0);
            match of {
                Of::First => cache.fast(distance, tokens),
                Of::Total if by_usage => expected().slow,
                Of::Total => expected().time,
            }
        });
        let (sum, squares) = shares.fold((0.0, 0.0), |(sum, squares), share| {
            (sum + share, squares + share * share)
        });
        squares / n - (sum / n).powi(2)
    }
}

impl Cache {
    /// Returns the share of a context that is read from the first tier.
    fn fast(&self, distance: f64, tokens: f64) -> f64 {
        (self.first - distance).clamp(0.0, tokens) / tokens
    }

    /// Returns what is expected of a context that is read again. `step` and `medium_step`: distances to neighbouring
    /// hypotheses, whose expectations differ.
    fn expected(&self, distance: f64, tokens: f64, step: f64, medium_step: f64) -> Expected {
        let (first, total) = (self.first, self.total);
        let fast = self.fast(distance, tokens);
        let held = (total - distance).clamp(0.0, tokens) / tokens;
        let slow = 1.0 - held;
        // A capacity that is uniform in its cell, where its boundary lies in the context.
        let spread = |capacity: f64| {
            let half = capacity * step / 2.0;
            let is_inside = capacity + half > distance && capacity - half < distance + tokens;
            match is_inside {
                true => half * 2.0 / 12f64.sqrt() / tokens,
                false => 0.0,
            }
        };
        let of_first = spread(first) * self.medium;
        let of_total = spread(total) * (1.0 - self.medium);
        let of_medium = (held - fast) * medium_step / 12f64.sqrt();
        Expected {
            slow,
            slow_deviation: spread(total).min(0.5),
            time: (held - fast) * self.medium + slow,
            time_deviation: of_first.hypot(of_total).min(0.5).hypot(of_medium),
        }
    }
}

/// Returns the value up to which a share of all weights lies, of values in order with their weights; 0 without any.
pub fn weighted_quantile(weighted: &[(f64, f64)], level: f64) -> f64 {
    let mut left = level * weighted.iter().map(|(_, weight)| weight).sum::<f64>();
    let at = weighted.iter().find(|(_, weight)| {
        left -= weight;
        left <= 0.0
    });
    at.or(weighted.last()).map_or(0.0, |&(value, _)| value)
}

/// Returns the logarithm of the likelihood of an error: normally distributed, or an outlier.
pub fn log_likelihood(error: f64, deviation: f64) -> f64 {
    let z = error / deviation;
    let density = (-0.5 * z * z).exp() / (deviation * (2.0 * std::f64::consts::PI).sqrt());
    ((1.0 - OUTLIERS) * density + OUTLIERS).ln()
}
