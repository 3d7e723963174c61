//! A prefix cache of two tiers in exact LRU order.
//!
//! A block is in one tier only: what tier 1 evicts becomes the newest of tier 2, a block accessed in tier 2 moves to
//! tier 1. So the two tiers together are one LRU list, of which tier 1 is the newer part.

use super::block_map::BlockMap;
use super::hits::Hits;

/// Place of the ring's fixed node: its `older` is the newest block, its `newer` the oldest.
const RING: u32 = 0;

/// A two-tier exact LRU over block hashes; about 50 bytes a block.
pub struct Lru {
    tier1_blocks: usize,
    capacity_blocks: usize,
    places: BlockMap<u32>,
    nodes: Vec<Node>,
    tier1_len: usize,
    /// The oldest block of tier 1; `RING` when tier 1 is empty.
    tier1_oldest: u32,
}

#[derive(Clone, Copy)]
struct Node {
    hash: u64,
    newer: u32,
    older: u32,
    in_tier1: bool,
}

impl Lru {
    pub fn new([tier1_blocks, tier2_blocks]: [usize; 2]) -> Lru {
        let ring = Node {
            hash: 0,
            newer: RING,
            older: RING,
            in_tier1: false,
        };
        Lru {
            tier1_blocks,
            capacity_blocks: tier1_blocks + tier2_blocks,
            places: BlockMap::default(),
            nodes: vec![ring],
            tier1_len: 0,
            tier1_oldest: RING,
        }
    }

    /// See `KvCache`.
    pub fn lookup(&self, blocks: &[u64]) -> Hits {
        let mut hits = Hits::default();
        for hash in blocks {
            match self.places.get(hash) {
                Some(&place) if self.nodes[place as usize].in_tier1 => hits.tier1_blocks += 1,
                Some(_) => hits.tier2_blocks += 1,
                None => break,
            }
        }
        hits
    }

    /// See `KvCache`.
    pub fn touch(&mut self, blocks: &[u64]) {
        for &hash in blocks.iter().rev() {
            self.access(hash);
        }
    }

    pub fn clear(&mut self) {
        let tier2_blocks = self.capacity_blocks - self.tier1_blocks;
        *self = Lru::new([self.tier1_blocks, tier2_blocks]);
    }

    /// Keeps the blocks of tier 2 in their order. O(blocks).
    pub fn clear_tier1(&mut self) {
        let before = std::mem::replace(self, Lru::new([0, 0]));
        self.tier1_blocks = before.tier1_blocks;
        self.capacity_blocks = before.capacity_blocks;
        let mut place = before.nodes[RING as usize].newer;
        while place != before.tier1_oldest {
            let node = before.nodes[place as usize];
            self.access(node.hash);
            place = node.newer;
        }
        // They have gone through tier 1 one by one.
        self.nodes.iter_mut().for_each(|node| node.in_tier1 = false);
        self.tier1_len = 0;
        self.tier1_oldest = RING;
    }

    fn access(&mut self, hash: u64) {
        if self.capacity_blocks == 0 {
            return;
        }
        let place = match self.places.get(&hash) {
            Some(&place) => {
                self.unlink(place);
                place
            }
            None => self.free_place(),
        };
        self.places.insert(hash, place);
        self.link_newest(place, hash);
    }

    /// A place to write to: a new one, or that of the oldest block, which is evicted.
    fn free_place(&mut self) -> u32 {
        if self.places.len() < self.capacity_blocks {
            self.nodes.push(self.nodes[RING as usize]);
            return (self.nodes.len() - 1) as u32;
        }
        let oldest = self.nodes[RING as usize].newer;
        self.places.remove(&self.nodes[oldest as usize].hash);
        self.unlink(oldest);
        oldest
    }

    fn unlink(&mut self, place: u32) {
        let node = self.nodes[place as usize];
        self.nodes[node.newer as usize].older = node.older;
        self.nodes[node.older as usize].newer = node.newer;
        if node.in_tier1 {
            self.tier1_len -= 1;
            if self.tier1_oldest == place {
                self.tier1_oldest = node.newer;
            }
        }
    }

    fn link_newest(&mut self, place: u32, hash: u64) {
        let second = self.nodes[RING as usize].older;
        self.nodes[place as usize] = Node {
            hash,
            newer: RING,
            older: second,
            in_tier1: true,
        };
        self.nodes[RING as usize].older = place;
        self.nodes[second as usize].newer = place;
        self.tier1_len += 1;
        if self.tier1_oldest == RING {
            self.tier1_oldest = place;
        }
        if self.tier1_len > self.tier1_blocks {
            let demoted = &mut self.nodes[self.tier1_oldest as usize];
            demoted.in_tier1 = false;
            self.tier1_oldest = demoted.newer;
            self.tier1_len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn hits(tier1_blocks: usize, tier2_blocks: usize) -> Hits {
        Hits {
            tier1_blocks,
            tier2_blocks,
        }
    }

    #[test]
    fn a_hit_is_the_leading_run_of_held_blocks() {
        let mut cache = Lru::new([4, 0]);
        cache.touch(&[1, 2, 3]);
        assert_eq!(cache.lookup(&[1, 2, 3, 4]), hits(3, 0));
        assert_eq!(cache.lookup(&[1, 9, 3]), hits(1, 0));
        assert_eq!(cache.lookup(&[2, 3]), hits(2, 0));
        assert_eq!(cache.lookup(&[9, 1, 2]), hits(0, 0));
    }

    #[test]
    fn the_end_of_a_chain_is_evicted_before_its_start() {
        let mut cache = Lru::new([3, 0]);
        cache.touch(&[1, 2, 3]);
        cache.touch(&[7]);
        // Access order was 3 2 1 7, three places: 3 is gone.
        assert_eq!(cache.lookup(&[1, 2, 3]), hits(2, 0));
    }

    #[test]
    fn what_tier_1_evicts_is_found_in_tier_2_and_comes_back_on_access() {
        let mut cache = Lru::new([2, 2]);
        cache.touch(&[1, 2]); // newest first: 1 2 |
        cache.touch(&[3, 4]); // 3 4 | 1 2
        assert_eq!(cache.lookup(&[1, 2]), hits(0, 2));
        cache.touch(&[1]); // 1 3 | 4 2
        assert_eq!(cache.lookup(&[1, 2]), hits(1, 1));
        assert_eq!(cache.lookup(&[3, 4]), hits(1, 1));
        cache.touch(&[5]); // 5 1 | 3 4
        assert_eq!(cache.lookup(&[2]), hits(0, 0));
        cache.clear();
        assert_eq!(cache.lookup(&[5, 1]), hits(0, 0));
    }

    #[test]
    fn tier_1_can_be_emptied_alone() {
        let mut cache = Lru::new([2, 3]);
        cache.touch(&[1, 2, 3, 4]); // newest first: 1 2 | 3 4
        cache.clear_tier1(); // | 3 4
        assert_eq!(cache.lookup(&[1]), hits(0, 0));
        assert_eq!(cache.lookup(&[3, 4]), hits(0, 2));
        cache.touch(&[4]); // 4 | 3
        cache.touch(&[5, 6]); // 5 6 | 4 3
        assert_eq!(cache.lookup(&[5, 6, 4, 3]), hits(2, 2));
        cache.touch(&[7, 8]); // 7 8 | 5 6 4
        assert_eq!(cache.lookup(&[4, 3]), hits(0, 1));
        // Without a tier 2 nothing is left.
        let mut cache = Lru::new([2, 0]);
        cache.touch(&[1, 2]);
        cache.clear_tier1();
        assert_eq!(cache.lookup(&[1]), hits(0, 0));
        // Without a tier 1 all stays.
        let mut cache = Lru::new([0, 2]);
        cache.touch(&[1, 2]);
        cache.clear_tier1();
        assert_eq!(cache.lookup(&[1, 2]), hits(0, 2));
    }

    /// The cache's rules in their plainest form: two queues, newest first.
    struct Twin {
        tiers: [VecDeque<u64>; 2],
        capacities: [usize; 2],
    }

    impl Twin {
        fn touch(&mut self, blocks: &[u64]) {
            for &hash in blocks.iter().rev() {
                for tier in &mut self.tiers {
                    tier.retain(|&held| held != hash);
                }
                self.tiers[0].push_front(hash);
                if self.tiers[0].len() > self.capacities[0] {
                    let demoted = self.tiers[0].pop_back().expect("it is not empty");
                    self.tiers[1].push_front(demoted);
                }
                self.tiers[1].truncate(self.capacities[1]);
            }
        }

        fn lookup(&self, blocks: &[u64]) -> Hits {
            let mut found = Hits::default();
            for hash in blocks {
                if self.tiers[0].contains(hash) {
                    found.tier1_blocks += 1;
                } else if self.tiers[1].contains(hash) {
                    found.tier2_blocks += 1;
                } else {
                    break;
                }
            }
            found
        }
    }

    #[test]
    fn it_agrees_with_two_plain_queues_on_random_chains() {
        let mut rng = fastrand::Rng::with_seed(1);
        for capacities in [[0, 0], [0, 5], [5, 0], [1, 1], [3, 8], [8, 3]] {
            let mut cache = Lru::new(capacities);
            let mut twin = Twin {
                tiers: Default::default(),
                capacities,
            };
            for _ in 0..2_000 {
                let first = rng.u64(0..12);
                let chain: Vec<u64> = (first..first + rng.u64(1..6)).collect();
                assert_eq!(cache.lookup(&chain), twin.lookup(&chain), "{capacities:?}");
                cache.touch(&chain);
                twin.touch(&chain);
                if rng.u8(..50) == 0 {
                    cache.clear_tier1();
                    twin.tiers[0].clear();
                }
            }
        }
    }
}
