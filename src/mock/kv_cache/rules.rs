//! The rules of a prefix cache: its sizes, how its tiers work together, what they evict, and how blocks age.

/// Which block goes when a tier is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The one that has not been used for the longest time.
    Lru,
    /// The one that came into the tier first.
    Fifo,
    /// The one that was used last; of the blocks of the last request, the one nearest to the end of its text.
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
    /// The age above which a block is not found any more; `None`: there is no such age.
    pub ttl_ns: Option<u64>,
    /// Whether the age counts from the last access to a block, or else from the one that took it in.
    pub ttl_is_sliding: bool,
    /// For `Policy::Random`.
    pub seed: u64,
}
