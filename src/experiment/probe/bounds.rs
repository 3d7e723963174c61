//! Where the readings of a growing pass end: beyond all tiers, and beyond the first one.

use super::lab::{Reread, Shares};

/// A bound is certain after so many misses in a row.
const MISSES: usize = 3;
/// Uncached shares from which on the oldest context is a miss, and the one before the last, which may be in a second tier.
pub const MISSED: f64 = 0.5;
pub const LOST: f64 = 0.75;
/// Misses in a row lie at most so far under the TTFT of a cold prompt on average, in standard deviations, and at least
/// in shares. Other readings come from a second tier.
const MOST_UNDER: f64 = 1.3;
const LEAST_UNDER: f64 = 0.1;
/// Uncached share by time from which on a context was not in the first tier, if two in a row are read so.
const SLOWER: f64 = 0.2;
const SLOWER_IN_A_ROW: usize = 2;
/// The greatest mean of the uncached shares of contexts that a second tier holds.
const IN_SECOND: f64 = 0.7;
/// The share of the tokens before them that the first tier surely holds.
const SURELY: f64 = 0.5;

/// The last readings, as far as they are misses.
#[derive(Debug, Default)]
pub struct Misses(Vec<Shares>);

impl Misses {
    pub fn tell(&mut self, shares: &Shares, least: f64) {
        match shares.best().is_some_and(|share| share > least) {
            true => self.0.push(*shares),
            false => self.0.clear(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the last ones are enough, and no readings of a second tier.
    pub fn are_certain(&self) -> bool {
        let Some(at) = self.0.len().checked_sub(MISSES) else {
            return false;
        };
        let of_times = self.0[at..]
            .iter()
            .filter_map(|shares| shares.time.filter(|_| shares.usage.is_none()));
        let (mut under, mut most) = (0.0, 0.0);
        for (share, deviation) in of_times {
            under += 1.0 - share;
            most += (MOST_UNDER * deviation).max(LEAST_UNDER);
        }
        under <= most
    }

    /// Forgets so many that one more makes them certain.
    pub fn want_one_more(&mut self) {
        self.0.drain(..=self.0.len().saturating_sub(MISSES));
    }
}

/// Up to where the oldest contexts were read from the first tier.
#[derive(Debug, Default)]
pub struct FirstTier {
    /// The uncached shares of the last readings in a row that were slower, by the best source.
    slower: Vec<f64>,
    /// The greatest distance of one that was not.
    fast: f64,
    /// The distance from which on they were slower; `None`: not yet.
    tokens: Option<f64>,
}

impl FirstTier {
    /// Notes the reading of an old context at this distance.
    pub fn tell(&mut self, shares: &Shares, distance: f64) {
        let is_slower = shares.time.is_some_and(|(share, _)| share > SLOWER);
        match shares.best().filter(|_| is_slower) {
            Some(share) => self.slower.push(share),
            None => {
                self.slower.clear();
                self.fast = self.fast.max(distance);
            }
        }
        if self.slower.len() >= SLOWER_IN_A_ROW {
            self.tokens = self.tokens.or(Some(distance));
        }
    }

    /// Returns whether the last ones were slower and yet no misses: a second tier holds them.
    pub fn is_passed(&self) -> bool {
        let (n, sum) = (self.slower.len(), self.slower.iter().sum::<f64>());
        n >= SLOWER_IN_A_ROW && sum <= IN_SECOND * n as f64
    }

    /// Returns whether the first tier surely held a context, whose TTFT then is that of a warm prompt.
    pub fn holds(&self, reread: &Reread) -> bool {
        let end = reread.distance + reread.tokens;
        end <= self.fast && self.tokens.is_none_or(|tokens| end < SURELY * tokens)
    }
}
