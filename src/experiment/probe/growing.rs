//! A growing pass of new contexts, in which some of those before are read again: where the cache loses them.

use super::bounds::{FirstTier, LOST, MISSED, Misses};
use super::lab::{Reread, Shares};

/// The oldest context is read again after each growth by this factor; in between, the context before the last one: each time,
/// so that the first evictions of an order by chance are seen at once, or, if the oldest ones come from a second tier, after
/// each growth by this factor.
const BETWEEN_OLD: f64 = 1.25;
const BETWEEN_YOUNG: f64 = 1.2;
/// An order by chance breaks contexts of every age, and tells most of the capacity where it begins to: when a part of the
/// context before the last is gone, some others are read, and if they are broken by chance, all others of so many, twice:
/// their first breaks count the tokens that are gone. Otherwise it is tried again later, so often at most, but not where
/// a second tier may be what looks like it.
const MIDDLE: usize = 14;
const FIRST_OF_MIDDLE: usize = 3;
const MOST_TRIES: u32 = 2;
/// A context is broken with an uncached share above this and above so many standard deviations.
const BROKEN: f64 = 0.4;
const DEVIATIONS: f64 = 3.0;
/// No tier has an uncached share above this on average, and a context below the lesser one is whole.
const IN_NO_TIER: f64 = 0.7;
const WHOLE: f64 = 0.2;

/// The contexts of the pass, and what was found when they were read again.
#[derive(Debug, Default)]
pub struct Growing {
    /// The contexts in order: text and tokens.
    written: Vec<(u64, f64)>,
    written_tokens: f64,
    /// The tokens that were written when the oldest context, and the one before the last, were read again last.
    old_read_at: f64,
    young_read_at: f64,
    /// Contexts that were read again as the oldest.
    oldest_unread: usize,
    /// Misses in a row of the oldest contexts, and of the one before the last.
    old: Misses,
    young: Misses,
    first: FirstTier,
    /// Contexts to be read next, the first one last.
    queue: Vec<(u64, Age)>,
    /// Contexts of a middle age to be read if the first of them are broken by chance, and how often some were planned.
    middle: Vec<u64>,
    tries: u32,
    /// The uncached shares of the first of them.
    tried: Vec<f64>,
    /// The age of the context that was asked for; `None`: it is new.
    asked: Option<Age>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    Young,
    Middle,
}

impl Growing {
    pub fn written(&self) -> &[(u64, f64)] {
        &self.written
    }

    pub fn written_tokens(&self) -> f64 {
        self.written_tokens
    }

    /// Returns the length of a context that was written.
    pub fn tokens_of(&self, text: u64) -> Option<f64> {
        let written = self.written.iter().find(|written| written.0 == text);
        written.map(|&(_, tokens)| tokens)
    }

    /// Returns the context that is read again next; `None`: a new one is written.
    pub fn next(&mut self) -> Option<u64> {
        let next = self.queue.pop();
        self.asked = next.map(|(_, age)| age);
        next.map(|(text, _)| text)
    }

    /// Returns whether a new context was asked for.
    pub fn is_new(&self) -> bool {
        self.asked.is_none()
    }

    /// Notes a new context; `read_tokens`: as the server counts them.
    pub fn wrote(&mut self, text: u64, tokens: f64, read_tokens: f64) {
        self.written.push((text, tokens));
        self.written_tokens += read_tokens;
        self.plan_reads();
    }

    /// Notes that a context was read again. Returns whether the first tier surely held it.
    pub fn tell(&mut self, shares: &Shares, reread: &Reread) -> bool {
        match self.asked {
            Some(Age::Old) => {
                self.oldest_unread += 1;
                self.old.tell(shares, MISSED);
                self.first.tell(shares, reread.distance);
            }
            Some(Age::Young) => {
                self.young.tell(shares, LOST);
                let most_tries = match self.may_have_two_tiers() {
                    true => 1,
                    false => MOST_TRIES,
                };
                if self.tries < most_tries && self.is_broken(shares) {
                    self.plan_middle();
                }
                return shares.are_warm() && self.first.holds(reread);
            }
            Some(Age::Middle) => {
                self.tried.extend(shares.best());
                if self.tried.len() == FIRST_OF_MIDDLE && self.are_broken_by_chance() {
                    self.tries = MOST_TRIES;
                    let rest = std::mem::take(&mut self.middle).repeat(2);
                    let asked = rest.into_iter().map(|text| (text, Age::Middle));
                    self.queue.extend(asked);
                }
            }
            None => {}
        }
        false
    }

    /// Returns whether the oldest contexts are lost for certain.
    pub fn has_lost_old(&self) -> bool {
        self.old.are_certain()
    }

    /// Returns whether the oldest contexts, or those before the last, are lost for certain.
    pub fn has_lost(&self) -> bool {
        self.old.are_certain() || self.young.are_certain()
    }

    /// Goes on until one more of the oldest contexts is lost.
    pub fn want_one_more(&mut self) {
        self.old.want_one_more();
    }

    pub fn end(&mut self) {
        self.queue.clear();
    }

    /// Plans to read the oldest context that was not read again, or the one before the last. After a miss of either it is
    /// read each time: the latter would be held by an LRU cache, and the pass costs the less the sooner it ends.
    fn plan_reads(&mut self) {
        let [.., (young, _), _] = self.written[..] else {
            return;
        };
        if !self.young.is_empty() {
            self.queue = vec![(young, Age::Young)];
            return;
        }
        let oldest = self.written.get(self.oldest_unread).map(|&(text, _)| text);
        let Some(oldest) = oldest.filter(|&oldest| oldest != young) else {
            return;
        };
        let has_grown = |since: f64, by: f64| self.written_tokens >= since * by;
        let is_old_due = has_grown(self.old_read_at, BETWEEN_OLD);
        if is_old_due || !self.old.is_empty() {
            self.queue = vec![(oldest, Age::Old)];
            if is_old_due {
                self.old_read_at = self.written_tokens;
            }
        } else if !self.first.is_passed() || has_grown(self.young_read_at, BETWEEN_YOUNG) {
            self.queue = vec![(young, Age::Young)];
            self.young_read_at = self.written_tokens;
        }
    }

    /// Whether the oldest contexts are, or were, in a second tier.
    fn may_have_two_tiers(&self) -> bool {
        self.first.is_passed() || !self.old.is_empty()
    }

    /// Returns whether a part of the context before the last is in no tier.
    fn is_broken(&self, shares: &Shares) -> bool {
        let by_usage = shares.usage.map(|share| (share, 0.0));
        let least = |deviation: f64| match self.may_have_two_tiers() {
            true => LOST,
            false => BROKEN.max(DEVIATIONS * deviation),
        };
        let best = by_usage.or(shares.time);
        best.is_some_and(|(share, deviation)| share > least(deviation))
    }

    /// Returns whether the contexts of a middle age that were tried are broken, and not alike: neighbours are in one tier.
    fn are_broken_by_chance(&self) -> bool {
        let most = self.tried.iter().copied().fold(0.0, f64::max);
        let has_whole = self.tried.iter().any(|&share| share < WHOLE);
        most > IN_NO_TIER || has_whole && !self.may_have_two_tiers() && most > BROKEN
    }

    /// Plans to read some contexts between the oldest and the youngest: at first few of them, then, if one is broken, the
    /// others, from the smallest on, which drive out least.
    fn plan_middle(&mut self) {
        let (from, to) = (self.written.len() / 2, self.written.len().saturating_sub(2));
        let from = from.max(self.oldest_unread);
        let mut rest: Vec<u64> = (0..MIDDLE)
            .map(|at| from + at * to.saturating_sub(from) / MIDDLE)
            .filter_map(|at| self.written.get(at).map(|written| written.0))
            .collect();
        rest.dedup();
        rest.reverse();
        let half = rest.len() / 2;
        let first = rest.drain(half.saturating_sub(FIRST_OF_MIDDLE)..half);
        let first: Vec<(u64, Age)> = first.map(|text| (text, Age::Middle)).collect();
        self.queue.extend(first);
        self.middle = rest;
        self.tried.clear();
        self.tries += 1;
    }
}
