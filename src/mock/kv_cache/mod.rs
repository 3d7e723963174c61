//! The simulated prefix cache: which KV blocks are held, and in which tier.
//!
//! Blocks go in and out by their chained hash (`tokens`). Tier 1 is the GPU, tier 2 the offload
//! buffer. Knows no clock, no requests and no text.
//!
//! There are two caches. `lru` does what the mock does by default: about 50 bytes and 50 ns a block. `ranked` knows all
//! rules: about 150 bytes and 1 µs a block.

mod block_map;
mod hits;
mod lru;
mod ranked;
mod rules;
mod tier;

pub use hits::Hits;
use lru::Lru;
use ranked::Ranked;
pub use rules::{Policy, Rules, Tiers};

/// A cache of two tiers under any rules.
pub enum KvCache {
    Lru(Lru),
    Ranked(Box<Ranked>),
}

impl KvCache {
    pub fn new(rules: Rules) -> KvCache {
        match (rules.policy, rules.tiers, rules.ttl_ns) {
            (Policy::Lru, Tiers::Exclusive, None) => KvCache::Lru(Lru::new(rules.blocks)),
            _ => KvCache::Ranked(Box::new(Ranked::new(rules))),
        }
    }

    /// Counts the blocks up to the first one that is not held, or is too old; changes nothing.
    pub fn lookup(&self, blocks: &[u64], now_ns: u64) -> Hits {
        match self {
            KvCache::Lru(cache) => cache.lookup(blocks),
            KvCache::Ranked(cache) => cache.lookup(blocks, now_ns),
        }
    }

    /// Accesses every block of a chain, from its end to its start, and takes in those not held. The first `known`
    /// blocks have been counted as used by this request already. O(log n) a block, O(1) for `Lru`.
    ///
    /// Backwards as in vLLM: the start of a chain, without which the rest is of no use and which
    /// others may share, becomes the newest and is evicted last. Times never decrease from one access to the next.
    pub fn touch(&mut self, blocks: &[u64], known: usize, now_ns: u64) {
        match self {
            KvCache::Lru(cache) => cache.touch(blocks),
            KvCache::Ranked(cache) => cache.touch(blocks, known, now_ns),
        }
    }

    pub fn clear(&mut self) {
        match self {
            KvCache::Lru(cache) => cache.clear(),
            KvCache::Ranked(cache) => cache.clear(),
        }
    }

    /// Empties tier 1; what is in tier 2 stays.
    pub fn clear_tier1(&mut self) {
        match self {
            KvCache::Lru(cache) => cache.clear_tier1(),
            KvCache::Ranked(cache) => cache.clear_tier1(),
        }
    }
}
