//! The answer to a lookup.

/// Counts of the leading blocks of a prompt that are held, by the tier that holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    pub tier1_blocks: usize,
    pub tier2_blocks: usize,
}
