//! Exact simulators of servers with a prefix cache, block by block, for tests of the steps.

use std::collections::{BTreeSet, HashMap};

use fastrand::Rng;

use super::lab::{Prompt, Reading};
use super::policy::Order;

/// A block: the texts that lead to it, and its place.
type Block = (u64, u64, u64);

/// One tier: its blocks in the order in which they go.
struct Tier {
    order: Order,
    blocks: usize,
    held: HashMap<Block, Entry>,
    queue: BTreeSet<(u64, u64, Block)>,
    list: Vec<Block>,
    clock: u64,
    request: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    uses: u64,
    entered: u64,
    used: u64,
    request: u64,
    /// In the list of all.
    place: usize,
}

impl Tier {
    fn new(order: Order, blocks: usize) -> Tier {
        Tier {
            order,
            blocks,
            held: HashMap::new(),
            queue: BTreeSet::new(),
            list: Vec::new(),
            clock: 0,
            request: 0,
        }
    }

    fn rank(&self, entry: Entry) -> (u64, u64) {
        match self.order {
            Order::Lru => (entry.used, 0),
            Order::Fifo => (entry.entered, 0),
            // By requests, and the end of a context, which is used first, before its start.
            Order::Mru => (u64::MAX - entry.request, entry.used),
            Order::Random => (0, 0),
            Order::Frequency => (entry.uses, entry.used),
        }
    }

    fn put(&mut self, block: Block, entry: Entry) {
        let (first, second) = self.rank(entry);
        self.queue.insert((first, second, block));
        self.held.insert(
            block,
            Entry {
                place: self.list.len(),
                ..entry
            },
        );
        self.list.push(block);
    }

    fn take(&mut self, block: Block) -> Option<Entry> {
        let entry = self.held.remove(&block)?;
        let (first, second) = self.rank(entry);
        self.queue.remove(&(first, second, block));
        self.list.swap_remove(entry.place);
        if let Some(moved) = self.list.get(entry.place)
            && let Some(entry_of_moved) = self.held.get_mut(moved)
        {
            entry_of_moved.place = entry.place;
        }
        Some(entry)
    }

    /// Returns the block that goes next, but for those of a text.
    fn victim(&self, text: u64, rng: &mut Rng) -> Option<Block> {
        if self.order == Order::Random {
            let drawn = (0..50).map(|_| self.list[rng.usize(..self.list.len())]);
            return drawn.into_iter().find(|other| other.0 != text);
        }
        let mut others = self.queue.iter().map(|entry| entry.2);
        others.find(|other| other.0 != text)
    }

    /// Uses a block, which enters if it is not held; returns the block that it drives out. Those of the same text are in
    /// use, and go only when there are no others.
    fn access(&mut self, block: Block, rng: &mut Rng) -> Option<Block> {
        self.clock += 1;
        let entered = Entry {
            uses: 0,
            entered: self.clock,
            used: 0,
            request: 0,
            place: 0,
        };
        let known = self.take(block);
        let mut gone = None;
        if known.is_none() && self.held.len() >= self.blocks {
            let victim = self.victim(block.0, rng);
            gone = victim.or(self.queue.first().map(|entry| entry.2));
            if let Some(victim) = gone {
                self.take(victim);
            }
        }
        let entry = known.unwrap_or(entered);
        let entry = Entry {
            uses: entry.uses + 1,
            used: self.clock,
            request: self.request,
            ..entry
        };
        self.put(block, entry);
        gone
    }
}

/// A server: its cache and its times.
pub struct Server {
    pub block_tokens: u64,
    tiers: Vec<Tier>,
    /// Share of the time of a cold prompt that one from the second tier takes.
    pub medium: f64,
    /// Deviation of TTFT, as a share of the difference between cold and warm.
    pub noise: f64,
    pub has_usage: bool,
    pub rng: Rng,
    pub requests: u64,
    pub uncached_tokens: u64,
}

pub const BASE_S: f64 = 2.0;
pub const SECONDS_A_TOKEN: f64 = 0.0001;

impl Server {
    /// `blocks`: of the first tier, and of the second, which takes what the first one drives out.
    pub fn new(order: Order, blocks: &[usize], block_tokens: u64, seed: u64) -> Server {
        Server {
            block_tokens,
            tiers: blocks
                .iter()
                .map(|&blocks| Tier::new(order, blocks))
                .collect(),
            medium: 0.4,
            noise: 0.15,
            has_usage: false,
            rng: Rng::with_seed(seed),
            requests: 0,
            uncached_tokens: 0,
        }
    }

    pub fn send(&mut self, prompt: &Prompt) -> Reading {
        let full = prompt.tokens / self.block_tokens;
        let blocks = (0..full).map(|place| match prompt.branch {
            Some((at, other)) if (place + 1) * self.block_tokens > at => {
                (prompt.text, other, place)
            }
            _ => (prompt.text, 0, place),
        });
        let blocks: Vec<Block> = blocks.collect();
        let tier_of = |block: &Block| {
            self.tiers
                .iter()
                .position(|tier| tier.held.contains_key(block))
        };
        let found = blocks.iter().map_while(tier_of);
        let found: Vec<usize> = found.collect();
        let tokens_of = |tier| {
            let blocks = found.iter().filter(|&&found| found == tier).count() as u64;
            blocks * self.block_tokens
        };
        let (fast, medium) = (tokens_of(0), tokens_of(1));
        let slow = prompt.tokens - fast - medium;
        for &block in blocks.iter().rev() {
            self.access(block);
        }
        self.requests += 1;
        self.tiers.iter_mut().for_each(|tier| tier.request += 1);
        self.uncached_tokens += slow;
        let cost = SECONDS_A_TOKEN * (slow as f64 + self.medium * medium as f64);
        let gap_s = SECONDS_A_TOKEN * prompt.tokens as f64;
        let noise_s = gap_s * self.noise * normal(&mut self.rng);
        Reading {
            tokens: prompt.tokens,
            cached: self.has_usage.then_some(fast + medium),
            ttft_s: (BASE_S + cost + noise_s).max(0.0001),
            answer: None,
            sent_s: 0.0,
        }
    }

    /// Moves all that the first tier holds to the second one.
    pub fn drop_first_tier(&mut self) {
        let [first, second] = &mut self.tiers[..] else {
            return;
        };
        let blocks: Vec<Block> = first.queue.iter().map(|entry| entry.2).collect();
        for block in blocks {
            first.take(block);
            second.access(block, &mut self.rng);
        }
    }

    fn access(&mut self, block: Block) {
        let mut next = Some(block);
        for at in 0..self.tiers.len() {
            let Some(block) = next else { return };
            if at == 0 {
                for tier in &mut self.tiers[1..] {
                    tier.take(block);
                }
            }
            next = self.tiers[at].access(block, &mut self.rng);
        }
    }
}

fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * rng.f64()).cos()
}
