//! Chooses which records of a file are kept: those with the smallest keys. A key is a hash of the seed and the
//! position.
//!
//! This takes one pass with no more records in memory than are wanted, and a smaller draw is part of a larger one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::record::Record;
use crate::plan::random::mixed;

/// A record's key, and its position in the file.
type Rank = (u64, u64);

pub(super) struct Draw {
    most: usize,
    seed: u64,
    total: u64,
    kept: BTreeMap<Rank, Arc<Record>>,
}

impl Draw {
    /// Keeps at most `most` records; `None` for all.
    pub fn new(most: Option<u64>, seed: u64) -> Draw {
        Draw {
            most: most.map_or(usize::MAX, |most| most as usize),
            seed,
            total: 0,
            kept: BTreeMap::new(),
        }
    }

    /// Counts the next record of the file, and copies it if it is drawn so far.
    pub fn offer(&mut self, draft: &Draft<'_>) {
        let position = self.total;
        self.total += 1;
        let rank = (mixed(mixed(self.seed).wrapping_add(position)), position);
        let is_full = self.kept.len() >= self.most;
        let last = self.kept.last_key_value();
        if is_full && last.is_none_or(|(&last, _)| last < rank) {
            return;
        }
        self.kept.insert(rank, Arc::new(draft.record()));
        if is_full {
            self.kept.pop_last();
        }
    }

    pub fn finish(self) -> Dataset {
        let mut drawn: Vec<_> = self.kept.into_iter().collect();
        drawn.sort_by_cached_key(|((_, position), _)| *position);
        Dataset {
            total: self.total,
            drawn,
        }
    }
}

/// The records that a seed has drawn from a file.
#[derive(Debug)]
pub struct Dataset {
    total: u64,
    /// The drawn records in the file's order.
    drawn: Vec<(Rank, Arc<Record>)>,
}

impl Dataset {
    /// Returns the number of records in the file.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Replaces each record for which `change` returns another.
    pub fn change(&mut self, mut change: impl FnMut(&Record) -> Option<Record>) {
        for (_, record) in &mut self.drawn {
            if let Some(changed) = change(record) {
                *record = Arc::new(changed);
            }
        }
    }

    /// Returns the first `n` records of the seed's draw, in the file's order; `None` for all that were kept.
    ///
    /// A smaller `n` gives a subset of a larger one.
    pub fn sample(&self, n: Option<u64>) -> Vec<Arc<Record>> {
        let mut ranks: Vec<Rank> = self.drawn.iter().map(|(rank, _)| *rank).collect();
        ranks.sort_unstable();
        let end = n.and_then(|n| ranks.get(n as usize));
        let chosen = self.drawn.iter();
        let chosen = chosen.filter(|(rank, _)| end.is_none_or(|end| rank < end));
        chosen.map(|(_, record)| record.clone()).collect()
    }
}
