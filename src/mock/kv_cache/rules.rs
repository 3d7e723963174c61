//! The rules of a prefix cache: its sizes, and what it evicts.

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

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The capacities of both tiers.
    pub blocks: [usize; 2],
    pub policy: Policy,
    /// For `Policy::Random`.
    pub seed: u64,
}
