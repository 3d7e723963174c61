//! One tier of a prefix cache: the blocks that it holds, in the order in which it evicts them.
//!
//! Every block has a key, and the one with the least key goes first. Blocks of the request that is being taken in are
//! pinned: their keys are above all others, and among them those of the chain's end are the least.

use std::collections::BTreeMap;

use super::block_map::BlockMap;

/// The first half of the key of a pinned block.
const PINNED: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, Default)]
pub struct Block {
    key: (u64, u64),
    /// The access by which it came into the tier.
    pub inserted: u64,
    /// The number of requests that have used it.
    pub uses: u64,
    /// The time from which its age counts.
    pub renewed_ns: u64,
}

impl Block {
    /// Returns the block with the key that pins it at this place of its chain.
    pub fn pinned(self, place: usize) -> Block {
        Block {
            key: (PINNED, u64::MAX - place as u64),
            ..self
        }
    }

    fn is_pinned(&self) -> bool {
        self.key.0 == PINNED
    }
}

pub struct Tier {
    capacity: usize,
    held: BlockMap<Block>,
    /// The hashes of the blocks by their keys.
    order: BTreeMap<(u64, u64), u64>,
    /// Draws the blocks to evict; their keys are then the numbers from 0 on. `None`: the least key goes.
    random: Option<fastrand::Rng>,
    /// The number of blocks that are not pinned.
    loose: u64,
}

impl Tier {
    pub fn new(capacity: usize, random: Option<fastrand::Rng>) -> Tier {
        Tier {
            capacity,
            held: BlockMap::default(),
            order: BTreeMap::new(),
            random,
            loose: 0,
        }
    }

    pub fn clear(&mut self) {
        self.held.clear();
        self.order.clear();
        self.loose = 0;
    }

    pub fn get(&self, hash: u64) -> Option<&Block> {
        self.held.get(&hash)
    }

    pub fn remove(&mut self, hash: u64) -> Option<Block> {
        let block = self.held.remove(&hash)?;
        self.unlink(block.key);
        Some(block)
    }

    /// Pins a block at a place of its chain, if it is held.
    pub fn pin(&mut self, hash: u64, place: usize) {
        self.rekey(hash, |block| block.pinned(place).key);
    }

    /// Gives a block another key, if it is held.
    pub fn rekey(&mut self, hash: u64, key: impl FnOnce(&Block) -> (u64, u64)) {
        let Some(block) = self.held.get(&hash) else {
            return;
        };
        let (before, key) = (block.key, key(block));
        self.unlink(before);
        let key = self.link(hash, key);
        if let Some(block) = self.held.get_mut(&hash) {
            block.key = key;
        }
    }

    /// Changes a block that is held and has the same key.
    pub fn update(&mut self, hash: u64, block: Block) {
        self.held.insert(hash, block);
    }

    /// Takes in a block that is not held. Returns the block that has no place for it: one that was evicted, or itself
    /// if all others are pinned and come before it in the chain.
    pub fn put(&mut self, hash: u64, block: Block) -> Option<(u64, Block)> {
        if self.held.len() < self.capacity {
            self.insert(hash, block);
            return None;
        }
        let Some(victim) = self.victim() else {
            return Some((hash, block));
        };
        if victim.0.0 == PINNED && (!block.is_pinned() || block.key < victim.0) {
            return Some((hash, block));
        }
        let evicted = self.remove(victim.1).map(|block| (victim.1, block));
        self.insert(hash, block);
        evicted
    }

    /// Takes in a block where there is room.
    fn insert(&mut self, hash: u64, mut block: Block) {
        block.key = self.link(hash, block.key);
        self.held.insert(hash, block);
    }

    /// Enters a block into the order under this key, or under a number where blocks are numbered.
    fn link(&mut self, hash: u64, mut key: (u64, u64)) -> (u64, u64) {
        if key.0 != PINNED {
            if self.random.is_some() {
                key = (0, self.loose);
            }
            self.loose += 1;
        }
        self.order.insert(key, hash);
        key
    }

    /// Takes a block out of the order.
    fn unlink(&mut self, key: (u64, u64)) {
        self.order.remove(&key);
        if key.0 != PINNED {
            self.loose -= 1;
            self.fill(key);
        }
    }

    /// The key and hash of the block that goes next.
    fn victim(&mut self) -> Option<((u64, u64), u64)> {
        if let Some(rng) = &mut self.random
            && self.loose > 0
        {
            let key = (0, rng.u64(..self.loose));
            return self.order.get(&key).map(|hash| (key, *hash));
        }
        self.order
            .first_key_value()
            .map(|(key, hash)| (*key, *hash))
    }

    /// Gives a number that has become free to the block with the last one, where blocks are numbered.
    fn fill(&mut self, free: (u64, u64)) {
        if self.random.is_some()
            && let Some(hash) = self.order.remove(&(0, self.loose))
            && let Some(last) = self.held.get_mut(&hash)
        {
            last.key = free;
            self.order.insert(free, hash);
        }
    }
}
