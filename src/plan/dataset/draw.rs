//! Which records of a file are kept: those with the smallest keys, a key being a hash of the seed and the position.
//!
//! So one pass does, with no more records in memory than are wanted, and a smaller draw is part of a larger one.

use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Dataset, Draft, Record};

pub(super) struct Draw {
    most: usize,
    seed: u64,
    total: u64,
    /// The largest key on top.
    kept: BinaryHeap<Kept>,
}

#[derive(Debug)]
struct Kept {
    key: u64,
    index: u64,
    record: Arc<Record>,
}

impl Kept {
    fn rank(&self) -> (u64, u64) {
        (self.key, self.index)
    }
}

impl Draw {
    /// Keeps at most `most` records; all for `None`.
    pub fn new(most: Option<u64>, seed: u64) -> Draw {
        Draw {
            most: most.map_or(usize::MAX, |most| most as usize),
            seed,
            total: 0,
            kept: BinaryHeap::new(),
        }
    }

    /// Counts the next record of the file, and copies it if it is drawn so far.
    pub fn offer(&mut self, draft: &Draft<'_>) {
        let index = self.total;
        self.total += 1;
        let key = key(self.seed, index);
        let is_full = self.kept.len() >= self.most;
        if is_full && self.kept.peek().is_none_or(|top| top.rank() < (key, index)) {
            return;
        }
        self.kept.push(Kept {
            key,
            index,
            record: Arc::new(draft.record()),
        });
        if is_full {
            self.kept.pop();
        }
    }

    pub fn finish(self) -> Dataset {
        let mut kept = self.kept.into_vec();
        kept.sort_unstable_by_key(|kept| kept.index);
        let drawn = kept.into_iter().map(|kept| (kept.key, kept.record));
        Dataset {
            total: self.total,
            drawn: drawn.collect(),
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Kept) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Kept) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

fn key(seed: u64, index: u64) -> u64 {
    mixed(mixed(seed).wrapping_add(index))
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014), one step on: no two states have one result.
pub(in crate::plan) fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
