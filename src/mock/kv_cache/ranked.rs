//! A prefix cache of two tiers under any rules, exact at the granularity of blocks.
//!
//! While a request is taken in, its own blocks are pinned: they are not evicted before all others are, and then from
//! the end of the chain on. A real engine cannot evict them either, because the request is using them. Without that,
//! a chain at the old end of a FIFO queue would evict itself block by block.
//!
//! A block that has become too old is as good as not held, but keeps its place until it is evicted or computed anew.

use super::hits::Hits;
use super::rules::{Policy, Rules, Tiers};
use super::tier::{Block, Tier};

pub struct Ranked {
    rules: Rules,
    tiers: [Tier; 2],
    /// The number of accesses so far.
    accesses: u64,
    /// The number of chains so far.
    chains: u64,
}

impl Ranked {
    pub fn new(rules: Rules) -> Ranked {
        let random = |tier: u64| {
            let is_random = rules.policy == Policy::Random;
            is_random.then(|| fastrand::Rng::with_seed(rules.seed.wrapping_add(tier)))
        };
        Ranked {
            rules,
            tiers: [
                Tier::new(rules.blocks[0], random(1)),
                Tier::new(rules.blocks[1], random(2)),
            ],
            accesses: 0,
            chains: 0,
        }
    }

    /// See `KvCache`.
    pub fn lookup(&self, blocks: &[u64], now_ns: u64) -> Hits {
        let mut hits = Hits::default();
        for &hash in blocks {
            let is_in = |tier: &Tier| tier.get(hash).is_some_and(|it| self.is_fresh(it, now_ns));
            if is_in(&self.tiers[0]) {
                hits.tier1_blocks += 1;
            } else if is_in(&self.tiers[1]) {
                hits.tier2_blocks += 1;
            } else {
                break;
            }
        }
        hits
    }

    /// See `KvCache`.
    pub fn touch(&mut self, blocks: &[u64], known: usize, now_ns: u64) {
        self.chains += 1;
        for tier in &mut self.tiers {
            for (place, &hash) in blocks.iter().enumerate() {
                tier.pin(hash, place);
            }
        }
        for (place, &hash) in blocks.iter().enumerate().rev() {
            let is_use = place >= known;
            self.access(hash, place, is_use, now_ns);
        }
        for &hash in blocks.iter().rev() {
            self.accesses += 1;
            let (policy, chain, access) = (self.rules.policy, self.chains, self.accesses);
            let key = |block: &Block| match policy {
                // For `Random` a tier sets the key itself.
                Policy::Lru | Policy::Random => (0, access),
                Policy::Fifo => (0, block.inserted),
                // The last chain goes first, and its end before its start.
                Policy::Mru => (u64::MAX - 1 - chain, access),
                Policy::Lfu => (block.uses, access),
            };
            self.tiers.iter_mut().for_each(|tier| tier.rekey(hash, key));
        }
    }

    pub fn clear(&mut self) {
        self.tiers.iter_mut().for_each(Tier::clear);
    }

    pub fn clear_tier1(&mut self) {
        self.tiers[0].clear();
    }

    /// Whether a block is young enough to be found.
    fn is_fresh(&self, block: &Block, now_ns: u64) -> bool {
        let age_ns = now_ns - block.renewed_ns;
        self.rules.ttl_ns.is_none_or(|ttl_ns| age_ns <= ttl_ns)
    }

    fn access(&mut self, hash: u64, place: usize, is_use: bool, now_ns: u64) {
        self.accesses += 1;
        let held = self.tiers.each_ref().map(|tier| {
            let block = tier.get(hash).filter(|block| self.is_fresh(block, now_ns));
            block.copied()
        });
        let known = held[0].or(held[1]);
        let mut block = known.unwrap_or_default().pinned(place);
        if is_use || known.is_none() {
            block.uses += 1;
        }
        if self.rules.ttl_is_sliding || known.is_none() {
            block.renewed_ns = now_ns;
        }
        if self.rules.tiers == Tiers::Exclusive && held[0].is_none() {
            self.tiers[1].remove(hash);
        }
        let evicted = self.take_in(0, hash, block, held[0]);
        match (self.rules.tiers, evicted) {
            (Tiers::Inclusive, _) => self.take_in(1, hash, block, held[1]),
            (Tiers::Exclusive, Some((hash, block))) => self.tiers[1].put(hash, block),
            (Tiers::Exclusive, None) => None,
        };
    }

    /// Takes a block into a tier, in which it is `held` unless it is `None`, and returns what has no place there.
    fn take_in(
        &mut self,
        tier: usize,
        hash: u64,
        mut block: Block,
        held: Option<Block>,
    ) -> Option<(u64, Block)> {
        let tier = &mut self.tiers[tier];
        if let Some(held) = held {
            block.inserted = held.inserted;
            tier.update(hash, block);
            return None;
        }
        block.inserted = self.accesses;
        tier.remove(hash); // It has become too old.
        tier.put(hash, block)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lru::Lru;
    use super::*;

    fn rules(policy: Policy, blocks: [usize; 2]) -> Rules {
        Rules {
            blocks,
            tiers: Tiers::Exclusive,
            policy,
            ttl_ns: None,
            ttl_is_sliding: true,
            seed: 1,
        }
    }

    /// Which of these blocks, each a chain of its own, are in tier 1 and which in tier 2.
    fn held(cache: &Ranked, blocks: &[u64]) -> [Vec<u64>; 2] {
        let in_tier = |tier: usize| {
            let held = |hash: &u64| {
                let hits = cache.lookup(&[*hash], 0);
                [hits.tier1_blocks, hits.tier2_blocks][tier] == 1
            };
            blocks.iter().copied().filter(held).collect()
        };
        [in_tier(0), in_tier(1)]
    }

    fn after(policy: Policy, blocks: [usize; 2], chains: &[&[u64]]) -> [Vec<u64>; 2] {
        after_under(rules(policy, blocks), chains)
    }

    fn after_under(rules: Rules, chains: &[&[u64]]) -> [Vec<u64>; 2] {
        let mut cache = Ranked::new(rules);
        chains.iter().for_each(|chain| cache.touch(chain, 0, 0));
        held(&cache, &[1, 2, 3, 4, 5, 6, 7])
    }

    #[test]
    fn each_policy_evicts_what_its_name_says() {
        // Three places. Blocks 1 and 2 are used twice and 3 three times; first uses are in the order 2 1 3, last uses
        // in the order 1 2 3. Block 4 then needs a place.
        let uses: [&[u64]; 8] = [&[2], &[1], &[3], &[3], &[1], &[2], &[3], &[4]];
        for (policy, kept) in [
            (Policy::Lru, [2, 3, 4]),
            (Policy::Fifo, [1, 3, 4]),
            (Policy::Mru, [1, 2, 4]),
            (Policy::Lfu, [2, 3, 4]),
        ] {
            assert_eq!(after(policy, [3, 0], &uses)[0], kept, "{policy:?}");
        }
        // Block 2 has one use, 1 and 3 have two. Of 4, with one use, and these, 4 then goes first.
        let more: [&[u64]; 6] = [&[1], &[2], &[3], &[1], &[3], &[4]];
        assert_eq!(after(Policy::Lfu, [3, 0], &more)[0], [1, 3, 4]);
        let more = [&more[..], &[&[5]]].concat();
        assert_eq!(after(Policy::Lfu, [3, 0], &more)[0], [1, 3, 5]);
    }

    #[test]
    fn the_end_of_a_chain_goes_before_its_start_under_every_order() {
        for policy in [Policy::Lru, Policy::Fifo, Policy::Mru, Policy::Lfu] {
            let kept = after(policy, [3, 0], &[&[1, 2, 3], &[4]]);
            assert_eq!(kept[0], [1, 2, 4], "{policy:?}");
        }
    }

    #[test]
    fn a_request_does_not_evict_its_own_blocks_before_all_others() {
        for policy in [
            Policy::Lru,
            Policy::Fifo,
            Policy::Mru,
            Policy::Random,
            Policy::Lfu,
        ] {
            // Five places: block 3 is the only one that the second chain does not use.
            let chains: [&[u64]; 2] = [&[1, 2, 3], &[1, 2, 4, 5, 6]];
            let kept = after(policy, [5, 0], &chains);
            assert_eq!(kept[0], [1, 2, 4, 5, 6], "{policy:?}");
            // Three places for five blocks: the end of the chain moves on, its last block out of tier 2.
            let kept = after(policy, [3, 1], &chains);
            assert_eq!(kept, [vec![1, 2, 4], vec![5]], "{policy:?}");
        }
    }

    #[test]
    fn blocks_go_down_when_evicted_and_up_when_used() {
        let chains: [&[u64]; 4] = [&[1], &[2], &[3], &[1]];
        for (policy, down, up) in [
            // Block 3 evicts 1, which comes back in place of 2.
            (Policy::Fifo, [vec![2, 3], vec![1]], [vec![1, 3], vec![2]]),
            // Block 3 evicts 2; block 1 is used where it is.
            (Policy::Mru, [vec![1, 3], vec![2]], [vec![1, 3], vec![2]]),
        ] {
            assert_eq!(after(policy, [2, 2], &chains[..3]), down, "{policy:?}");
            assert_eq!(after(policy, [2, 2], &chains), up, "{policy:?}");
        }
    }

    #[test]
    fn inclusive_tiers_hold_copies_and_evict_each_by_itself() {
        let inclusive = |policy, blocks| Rules {
            tiers: Tiers::Inclusive,
            ..rules(policy, blocks)
        };
        let chains: [&[u64]; 5] = [&[1], &[2], &[3], &[4], &[5]];
        for (policy, blocks, in_each) in [
            // All but block 1 fit into tier 2, the last two into tier 1, too.
            (Policy::Lru, [2, 4], [vec![4, 5], vec![2, 3]]),
            // A smaller tier 2 adds nothing.
            (Policy::Lru, [4, 2], [vec![2, 3, 4, 5], vec![]]),
            // Tier 1: 1 2, 1 3, 1 4, 1 5. Tier 2: 1 2 3, 1 2 4, 1 2 5.
            (Policy::Mru, [2, 3], [vec![1, 5], vec![2]]),
        ] {
            let held = after_under(inclusive(policy, blocks), &chains);
            assert_eq!(held, in_each, "{policy:?} {blocks:?}");
        }
        // Tier 1 takes block 1 in anew in place of 2, tier 2 keeps its place, which is the oldest: 4 evicts it.
        let again: [&[u64]; 5] = [&[1], &[2], &[3], &[1], &[4]];
        let held = after_under(inclusive(Policy::Fifo, [2, 3]), &again);
        assert_eq!(held, [vec![1, 4], vec![2, 3]]);
    }

    #[test]
    fn lfu_counts_a_request_once_however_often_it_touches_a_block() {
        let mut cache = Ranked::new(rules(Policy::Lfu, [2, 0]));
        cache.touch(&[1], 0, 0);
        cache.touch(&[1, 2], 1, 0);
        cache.touch(&[2], 0, 0); // Block 1: one use, 2: two.
        cache.touch(&[3], 0, 0);
        assert_eq!(held(&cache, &[1, 2, 3])[0], [2, 3]);
    }

    #[test]
    fn a_block_is_found_until_it_is_older_than_the_ttl() {
        for (ttl_is_sliding, found) in [(true, [2, 2, 1, 0]), (false, [2, 0, 0, 0])] {
            let mut cache = Ranked::new(Rules {
                ttl_ns: Some(10),
                ttl_is_sliding,
                ..rules(Policy::Lru, [2, 2])
            });
            cache.touch(&[1, 2], 0, 100);
            cache.touch(&[1, 2], 0, 108);
            // Until 110 from the first access, until 118 from the last; block 1 is used again at 118.
            let at = |cache: &Ranked, now_ns| cache.lookup(&[1, 2], now_ns).tier1_blocks;
            let mut seen = [at(&cache, 110), at(&cache, 111), 0, 0];
            if ttl_is_sliding {
                cache.touch(&[1], 0, 118);
            }
            seen[2] = at(&cache, 128);
            seen[3] = at(&cache, 129);
            assert_eq!(seen, found, "{ttl_is_sliding}");
            // What has become too old is taken in anew.
            cache.touch(&[1, 2], 0, 200);
            assert_eq!(at(&cache, 210), 2);
            // Its age goes along when it is evicted to tier 2.
            cache.touch(&[3, 4], 0, 205);
            assert_eq!(cache.lookup(&[1, 2], 210).tier2_blocks, 2);
            assert_eq!(cache.lookup(&[1, 2], 211), Hits::default());
        }
    }

    #[test]
    fn random_evicts_every_block_as_often_as_any_other() {
        let mut cache = Ranked::new(rules(Policy::Random, [10, 0]));
        let mut ages = [0_u32; 10];
        let mut inside: Vec<u64> = (0..10).collect();
        inside.iter().for_each(|hash| cache.touch(&[*hash], 0, 0));
        for next in 10..10_010 {
            cache.touch(&[next], 0, 0);
            let gone = |hash: &u64| cache.lookup(&[*hash], 0) == Hits::default();
            let age = inside.iter().position(gone).expect("one is evicted");
            ages[age] += 1;
            inside.remove(age);
            inside.push(next);
        }
        // 1,000 of each age, with a standard deviation of 30.
        assert!(
            ages.iter().all(|count| (850..1_150).contains(count)),
            "{ages:?}"
        );
    }

    /// A cache under the same rules in their plainest form: lists, searched from end to end.
    struct Twin {
        rules: Rules,
        tiers: [Vec<TwinBlock>; 2],
        time: u64,
        chains: u64,
    }

    #[derive(Clone, Copy)]
    struct TwinBlock {
        hash: u64,
        inserted: u64,
        used: u64,
        used_by: u64,
        uses: u64,
        renewed_ns: u64,
    }

    impl Twin {
        fn is_old(&self, block: &TwinBlock, now_ns: u64) -> bool {
            let ttl_ns = self.rules.ttl_ns.unwrap_or(u64::MAX);
            now_ns > block.renewed_ns.saturating_add(ttl_ns)
        }

        fn touch(&mut self, chain: &[u64], known: usize, now_ns: u64) {
            self.chains += 1;
            for (place, &hash) in chain.iter().enumerate().rev() {
                self.time += 1;
                let mut block = TwinBlock {
                    hash,
                    inserted: self.time,
                    used: self.time,
                    used_by: self.chains,
                    uses: 1,
                    renewed_ns: now_ns,
                };
                let mut inserted = [self.time; 2];
                for tier in [1, 0] {
                    let held = self.tiers[tier].iter().position(|held| held.hash == hash);
                    if let Some(at) = held {
                        let held = self.tiers[tier].remove(at);
                        if self.is_old(&held, now_ns) {
                            continue;
                        }
                        if !self.rules.ttl_is_sliding {
                            block.renewed_ns = held.renewed_ns;
                        }
                        block.uses = held.uses + u64::from(place >= known);
                        inserted[tier] = held.inserted;
                    }
                }
                block.inserted = inserted[0];
                let out = self.put(0, block, chain);
                block.inserted = inserted[1];
                match (self.rules.tiers, out) {
                    (Tiers::Inclusive, _) => self.put(1, block, chain),
                    (Tiers::Exclusive, Some(out)) => self.put(1, out, chain),
                    (Tiers::Exclusive, None) => None,
                };
            }
        }

        fn put(&mut self, tier: usize, block: TwinBlock, chain: &[u64]) -> Option<TwinBlock> {
            let place = |block: &TwinBlock| chain.iter().position(|hash| *hash == block.hash);
            let (policy, blocks) = (self.rules.policy, &mut self.tiers[tier]);
            if blocks.len() < self.rules.blocks[tier] {
                blocks.push(block);
                return None;
            }
            let others = (0..blocks.len()).filter(|at| place(&blocks[*at]).is_none());
            let first = others.min_by_key(|at| {
                let block = &blocks[*at];
                match policy {
                    Policy::Lru => (block.used as i64, 0),
                    Policy::Fifo => (block.inserted as i64, 0),
                    Policy::Mru => (-(block.used_by as i64), block.used),
                    Policy::Lfu => (block.uses as i64, block.used),
                    Policy::Random => unreachable!("it has no twin"),
                }
            });
            let last_of_chain = || (0..blocks.len()).max_by_key(|at| place(&blocks[*at]));
            match (first, place(&block)) {
                (Some(at), _) => Some(std::mem::replace(&mut blocks[at], block)),
                (None, Some(own)) => match last_of_chain() {
                    Some(at) if place(&blocks[at]) > Some(own) => {
                        Some(std::mem::replace(&mut blocks[at], block))
                    }
                    _ => Some(block),
                },
                (None, None) => Some(block),
            }
        }

        fn lookup(&self, chain: &[u64], now_ns: u64) -> Hits {
            let mut hits = Hits::default();
            for hash in chain {
                let is_in = |tier: usize| {
                    let mut held = self.tiers[tier].iter();
                    held.any(|held| held.hash == *hash && !self.is_old(held, now_ns))
                };
                match (is_in(0), is_in(1)) {
                    (true, _) => hits.tier1_blocks += 1,
                    (false, true) => hits.tier2_blocks += 1,
                    (false, false) => break,
                }
            }
            hits
        }
    }

    const CAPACITIES: [[usize; 2]; 6] = [[0, 0], [0, 5], [5, 0], [1, 1], [3, 8], [8, 3]];

    #[test]
    fn tier_1_can_be_emptied_alone() {
        for (tiers, left) in [
            // Block 3 has evicted 2.
            (Tiers::Exclusive, vec![2]),
            (Tiers::Inclusive, vec![1, 2, 3]),
        ] {
            let mut cache = Ranked::new(Rules {
                tiers,
                ..rules(Policy::Fifo, [2, 4])
            });
            cache.touch(&[1, 2], 0, 0);
            cache.touch(&[3], 0, 0);
            cache.clear_tier1();
            assert_eq!(held(&cache, &[1, 2, 3]), [vec![], left], "{tiers:?}");
            // Both places are free.
            cache.touch(&[4, 5], 0, 0);
            assert_eq!(held(&cache, &[4, 5])[0], [4, 5], "{tiers:?}");
        }
    }

    fn compare_with_twin(rules: Rules) {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut cache = Ranked::new(rules);
        let mut twin = Twin {
            rules,
            tiers: Default::default(),
            time: 0,
            chains: 0,
        };
        let mut now_ns = 0;
        for _ in 0..1_000 {
            now_ns += rng.u64(..3);
            let first = rng.u64(0..12);
            let chain: Vec<u64> = (first..first + rng.u64(1..6)).collect();
            let known = rng.usize(..chain.len());
            let found = cache.lookup(&chain, now_ns);
            assert_eq!(found, twin.lookup(&chain, now_ns), "{rules:?}");
            cache.touch(&chain, known, now_ns);
            twin.touch(&chain, known, now_ns);
        }
    }

    #[test]
    fn it_agrees_with_plain_lists_on_random_chains() {
        for policy in [Policy::Lru, Policy::Fifo, Policy::Mru, Policy::Lfu] {
            for blocks in CAPACITIES {
                for tiers in [Tiers::Exclusive, Tiers::Inclusive] {
                    let forever = Rules {
                        tiers,
                        ..rules(policy, blocks)
                    };
                    compare_with_twin(forever);
                    for ttl_is_sliding in [true, false] {
                        compare_with_twin(Rules {
                            ttl_ns: Some(4),
                            ttl_is_sliding,
                            ..forever
                        });
                    }
                }
            }
        }
    }

    #[test]
    fn under_lru_it_holds_what_the_small_cache_holds() {
        let mut rng = fastrand::Rng::with_seed(3);
        for capacities in CAPACITIES {
            let mut ranked = Ranked::new(rules(Policy::Lru, capacities));
            let mut lru = Lru::new(capacities);
            for _ in 0..1_000 {
                let first = rng.u64(0..12);
                let chain: Vec<u64> = (first..first + rng.u64(1..6)).collect();
                assert_eq!(
                    ranked.lookup(&chain, 0),
                    lru.lookup(&chain),
                    "{capacities:?}"
                );
                ranked.touch(&chain, 0, 0);
                lru.touch(&chain);
            }
        }
    }
}
