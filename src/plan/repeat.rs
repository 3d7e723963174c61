//! Decides which requests of a run send a prompt again.
//!
//! A repeat is far enough behind the first use of its prompt that the reply can have arrived: a cache cannot hold a
//! reply that is still being generated.

use fastrand::Rng;

/// The prompt that one request sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The prompt's number, from 0 in the order of first use.
    pub prompt: u64,
    pub is_repeat: bool,
}

/// The slots of a run, in order: one for each request, or without end.
#[derive(Debug)]
pub struct Repeats {
    /// The number of requests; `None`: without end.
    requests: Option<u64>,
    /// Repeats still to come, in a run with an end.
    left: u64,
    ratio: f64,
    /// Least distance from a prompt's first use to its repeat.
    gap: u64,
    /// The first place at which a request may be a repeat.
    from: u64,
    rng: Rng,
    at: u64,
    /// The number of originals so far.
    firsts: u64,
    /// Their places, if a repeat is still to come.
    originals: Vec<u64>,
}

impl Repeats {
    /// Makes exactly round(ratio · N) of N requests repeats, never the first; without an end that is their share in the
    /// long run. `ratio` is 0 to 1, `gap` at least 1. If the ratio leaves less room than `gap`, repeats are as far
    /// behind their first use as it allows.
    pub fn new(requests: Option<u64>, ratio: f64, gap: u64, seed: u64) -> Repeats {
        let gap = gap.max(1);
        let wanted = |requests: u64| {
            let most = requests.saturating_sub(1);
            ((ratio * requests as f64).round() as u64).min(most)
        };
        let left = requests.map_or(0, wanted);
        let from = requests.map_or(gap, |requests| gap.min(requests - left));
        Repeats {
            requests,
            left,
            ratio,
            gap,
            from,
            rng: Rng::with_seed(seed),
            at: 0,
            firsts: 0,
            originals: Vec::new(),
        }
    }

    /// Returns the repeats that are still to come; `None` in a run without end.
    pub fn left(&self) -> Option<u64> {
        self.requests.map(|_| self.left)
    }

    fn is_repeat(&mut self) -> bool {
        if self.at < self.from {
            return false;
        }
        match self.requests {
            // All remaining places are equally likely.
            Some(requests) => self.rng.u64(..requests - self.at) < self.left,
            None => self.rng.f64() < self.ratio,
        }
    }

    /// Returns how many first uses are far enough back.
    fn eligible(&self) -> usize {
        let gap = match self.at >= self.gap {
            true => self.gap,
            false => self.from,
        };
        let places = &self.originals;
        places.partition_point(|place| place + gap <= self.at)
    }
}

impl Iterator for Repeats {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        if self.requests.is_some_and(|requests| self.at >= requests) {
            return None;
        }
        let is_repeat = self.is_repeat();
        let prompt = if is_repeat {
            self.left = self.left.saturating_sub(1);
            let eligible = self.eligible();
            self.rng.usize(..eligible) as u64
        } else {
            let has_repeats = match self.requests {
                Some(_) => self.left > 0,
                None => self.ratio > 0.0,
            };
            if has_repeats {
                self.originals.push(self.at);
            }
            self.firsts += 1;
            self.firsts - 1
        };
        self.at += 1;
        Some(Slot { prompt, is_repeat })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Returns the places of first uses by prompt, and the repeats as (place, place of the first use).
    fn read(slots: &[Slot]) -> (HashMap<u64, u64>, Vec<(u64, u64)>) {
        let mut first = HashMap::new();
        let mut repeats = Vec::new();
        for (at, slot) in (0..).zip(slots) {
            let prompt = slot.prompt;
            if slot.is_repeat {
                repeats.push((at, *first.get(&prompt).expect("it was sent before")));
            } else {
                assert_eq!(prompt, first.len() as u64, "numbered in order");
                first.insert(prompt, at);
            }
        }
        (first, repeats)
    }

    #[test]
    fn the_count_is_exact_and_the_gap_is_kept_where_there_is_room() {
        for requests in [1, 2, 3, 7, 50, 200] {
            for ratio in [0.0, 0.1, 0.3, 0.5, 0.9, 1.0] {
                for gap in [1, 5, 20, 1000] {
                    for seed in 0..5 {
                        let slots: Vec<Slot> =
                            Repeats::new(Some(requests), ratio, gap, seed).collect();
                        let case = format!("{requests} {ratio} {gap} {seed}");
                        assert_eq!(slots.len() as u64, requests, "{case}");
                        let (first, repeats) = read(&slots);
                        let wanted = ((ratio * requests as f64).round() as u64).min(requests - 1);
                        assert_eq!(repeats.len() as u64, wanted, "{case}");
                        // The number of first uses: the first repeat comes after all of them at the latest.
                        let room = gap.min(first.len() as u64);
                        for (at, of) in repeats {
                            assert!(at - of >= room, "{case}: {at} repeats {of}");
                            assert!(at < gap || at - of >= gap, "{case}: {at} repeats {of}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn repeats_are_spread_over_the_run_and_over_its_prompts() {
        let slots: Vec<Slot> = Repeats::new(Some(10_000), 0.5, 10, 3).collect();
        let (_, repeats) = read(&slots);
        // 5,000 of 9,990 places: 1,251 in each quarter, with a deviation below 31.
        for quarter in 0..4 {
            let here = repeats.iter().filter(|(at, _)| at / 2500 == quarter);
            let count = here.count();
            assert!(count.abs_diff(1250) < 125, "{quarter}: {count}");
        }
        let late = repeats.iter().filter(|(at, _)| *at > 9000);
        let of_late: Vec<u64> = late.map(|(_, of)| *of).collect();
        let early = of_late.iter().filter(|&&of| of < 4500).count() as f64;
        let share = early / of_late.len() as f64;
        assert!(
            (0.3..0.7).contains(&share),
            "{share}: not the last ones only"
        );
    }

    #[test]
    fn without_an_end_the_share_is_that_in_the_long_run() {
        let mut endless = Repeats::new(None, 0.3, 8, 1);
        assert_eq!(endless.left(), None);
        let slots: Vec<Slot> = endless.by_ref().take(100_000).collect();
        let (_, repeats) = read(&slots);
        // 30,000, with a deviation of sqrt(100,000 * 0.3 * 0.7) = 145.
        assert!(repeats.len().abs_diff(30_000) < 600, "{}", repeats.len());
        assert!(repeats.iter().all(|(at, of)| at - of >= 8));
    }

    #[test]
    fn the_same_seed_gives_the_same_slots() {
        let slots = |seed| -> Vec<Slot> { Repeats::new(Some(300), 0.4, 5, seed).collect() };
        assert_eq!(slots(1), slots(1));
        assert_ne!(slots(1), slots(2));
        assert_eq!(Repeats::new(Some(300), 0.4, 5, 1).left(), Some(120));
    }
}
