//! The rules of a prefix cache: its sizes, how its tiers work together, and what they evict.

/// Which block goes when a tier is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The one that has not been used for the longest time.
    Lru,
    /// The one that came into the tier first.
    Fifo,
    /// The one that was used last.
    Mru,
    /// Any one, each as likely as the others.
    Random,
    /// The one with the fewest uses; of several, the one that has not been used for the longest time.
    Lfu,
}

/// In which tiers a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiers {
    /// In one: what tier 1 evicts moves to tier 2, a block used in tier 2 moves to tier 1.
    Exclusive,
    /// In both: a block that is used enters each tier that does not hold it, and each evicts by itself.
    Inclusive,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The capacities of both tiers.
    pub blocks: [usize; 2],
    pub tiers: Tiers,
    pub policy: Policy,
    /// For `Policy::Random`.
    pub seed: u64,
}
