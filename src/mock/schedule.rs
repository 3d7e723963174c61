//! The engine, simulated in virtual time: it says when each token of each request is due.
//!
//! A request goes in with the time it was read and comes out with a plan: its cache hits and the due
//! time of every token. Everything is known then, because nothing later can change it:
//!
//! - Requests start in the order in which they are admitted, one once fewer than `max_running` others run
//!   and the prefill of the one before has ended; it runs until its last token is due.
//! - At its start it looks up its prompt. `work = uncached / prefill_rate + tier-2 hits / load_rate` is
//!   how long it holds the prefill; `first token = start + work + base`; token k is due
//!   `k·itl` after it, each up to `jitter` late, in order. `base` varies by `ttft_noise`.
//! - When its prefill ends, the blocks of its prompt are accessed (`KvCache::touch`), so whoever starts
//!   after it finds them. When its last token is due, its whole chain is: prompt and answer without
//!   the last token, which no engine computes KV for. Like an engine that frees a request's blocks
//!   at its end.
//! - At least one token of a prompt is computed: hits stop one token short of its end.
//!
//! - `freeze_at` after the first request was read the engine stands still for `freeze_for` (`freeze`). The
//!   above is in the engine's time; what goes in and comes out is in that of the clock, which goes on.
//!
//! A client that hangs up, which shows at a write of its stream, or at once for a reply that is not streamed, changes
//! what is planned from then on: its slot is free and its answer enters no cache. Plans already made stay as they are,
//! even if they waited for that slot. Times are nanoseconds since the mock's epoch. Knows no threads, sockets or clocks.

use std::collections::{BTreeMap, HashMap};

use super::freeze::Freeze;
use super::kv_cache::{Hits, KvCache, Rules};
use super::options::{Options, Reset, Reuse};
use super::tokens::mix;
use crate::units::nanoseconds;

/// The facts of a request that the schedule needs.
#[derive(Debug, Clone)]
pub struct Job {
    pub prompt_tokens: usize,
    /// At least 1.
    pub output_tokens: usize,
    /// How many of `blocks` the prompt fills.
    pub prompt_blocks: usize,
    /// The full blocks of the prompt and of the answer without its last token.
    pub blocks: Vec<u64>,
}

/// The plan of a request: its cache hits, and the times at which something happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub id: u64,
    pub arrival_ns: u64,
    /// The start of its prefill; until then the request waits.
    pub start_ns: u64,
    /// One for each output token, never decreasing.
    pub due_ns: Vec<u64>,
    pub prompt_tokens: usize,
    pub hit_tier1_tokens: usize,
    pub hit_tier2_tokens: usize,
    /// The cached tokens that `usage` reports; `None`: it reports none.
    pub usage_cached: Option<usize>,
}

impl Plan {
    pub fn first_due_ns(&self) -> u64 {
        self.due_ns[0]
    }

    pub fn last_due_ns(&self) -> u64 {
        self.due_ns[self.due_ns.len() - 1]
    }

    /// The due time of the first token that is not due yet; `None` if all are due.
    pub fn due_after(&self, now_ns: u64) -> Option<u64> {
        let due = self.due_ns.partition_point(|&due_ns| due_ns <= now_ns);
        self.due_ns.get(due).copied()
    }
}

/// The load of the engine at one moment.
#[derive(Debug, PartialEq)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
    /// Tokens of the running requests, prompt and whole answer, over those of tier 1's blocks; at most 1.
    pub tier1_share: f64,
}

/// The chain of a running request, which enters the cache at its end.
struct Running {
    blocks: Vec<u64>,
    /// How many of the blocks have entered it with the prompt.
    prompt_blocks: usize,
}

/// The engine's state.
pub struct Schedule {
    options: Options,
    /// `None` before the first request.
    freeze: Option<Freeze>,
    cache: KvCache,
    /// The end of the last prefill, in the engine's time, as are the ends in `running`.
    prefill_free_ns: u64,
    /// Chains of the requests whose end has not been reached by the start of another, by end and id.
    running: BTreeMap<(u64, u64), Running>,
    /// Start and tokens of the requests that are being answered, by id.
    live: HashMap<u64, (u64, usize)>,
}

impl Schedule {
    pub fn new(options: &Options) -> Schedule {
        let blocks = |tokens: usize| tokens / options.block_tokens;
        Schedule {
            options: options.clone(),
            freeze: None,
            cache: KvCache::new(Rules {
                blocks: [blocks(options.tier1_tokens), blocks(options.tier2_tokens)],
                tiers: options.tiers,
                policy: options.policy,
                ttl_ns: (!options.ttl.is_zero()).then(|| nanoseconds(options.ttl)),
                ttl_is_sliding: options.ttl_sliding,
                seed: options.seed,
            }),
            prefill_free_ns: 0,
            running: BTreeMap::new(),
            live: HashMap::new(),
        }
    }

    /// A request for an answer was read: the first one sets when the server freezes, which is returned.
    pub fn arrived(&mut self, now_ns: u64) -> Freeze {
        let from_ns = now_ns.saturating_add(nanoseconds(self.options.freeze_at));
        let for_ns = nanoseconds(self.options.freeze_for);
        *self.freeze.get_or_insert(Freeze::new(from_ns, for_ns))
    }

    pub fn freeze(&self) -> Freeze {
        self.freeze.unwrap_or(Freeze::NONE)
    }

    /// Plans a request that was read at `now_ns`, after `arrived`. O(blocks).
    pub fn admit(&mut self, id: u64, mut job: Job, now_ns: u64) -> Plan {
        if job.prompt_tokens < self.options.min_cached {
            job.blocks.clear();
            job.prompt_blocks = 0;
        }
        let freeze = self.freeze();
        let block_tokens = self.options.block_tokens;
        let start_ns = self.start_of_next(freeze.engine_ns(now_ns));
        let hits = match self.misses(id) {
            true => Hits::default(),
            false => self.find(&job, start_ns),
        };
        let tier1_tokens = hits.tier1_blocks * block_tokens;
        let tier2_tokens = hits.tier2_blocks * block_tokens;
        let uncached_tokens = job.prompt_tokens - tier1_tokens - tier2_tokens;
        let prefill_end_ns = start_ns
            .saturating_add(nanoseconds_for(uncached_tokens, self.options.prefill_rate))
            .saturating_add(nanoseconds_for(tier2_tokens, self.options.load_rate));
        self.finish_until(prefill_end_ns);
        let prompt = &job.blocks[..job.prompt_blocks];
        self.cache.touch(prompt, 0, prefill_end_ns);
        self.prefill_free_ns = prefill_end_ns;
        let due_ns = self.due_times(id, prefill_end_ns, job.output_tokens);
        let end_ns = due_ns[due_ns.len() - 1];
        let plan = Plan {
            id,
            arrival_ns: now_ns,
            start_ns: freeze.wall_ns(start_ns),
            due_ns: due_ns.into_iter().map(|ns| freeze.wall_ns(ns)).collect(),
            prompt_tokens: job.prompt_tokens,
            hit_tier1_tokens: tier1_tokens,
            hit_tier2_tokens: tier2_tokens,
            usage_cached: self
                .options
                .usage_cached
                .tokens(tier1_tokens + tier2_tokens, job.prompt_tokens),
        };
        let tokens = job.prompt_tokens + job.output_tokens;
        self.live.insert(id, (plan.start_ns, tokens));
        let running = Running {
            blocks: job.blocks,
            prompt_blocks: job.prompt_blocks,
        };
        self.running.insert((end_ns, id), running);
        plan
    }

    /// Plans the answer that is held already: all of it is due `base` after the request was read.
    ///
    /// The engine has no part in it: nothing is waited for, looked up or computed, and no slot is taken.
    pub fn recall(&self, id: u64, prompt_tokens: usize, tokens: usize, now_ns: u64) -> Plan {
        let freeze = self.freeze();
        let start_ns = freeze.engine_ns(now_ns);
        let due_ns = freeze.wall_ns(start_ns.saturating_add(self.base_ns(id)));
        Plan {
            id,
            arrival_ns: now_ns,
            start_ns: freeze.wall_ns(start_ns),
            due_ns: vec![due_ns; tokens],
            prompt_tokens,
            hit_tier1_tokens: 0,
            hit_tier2_tokens: 0,
            usage_cached: self.options.usage_cached.tokens(0, prompt_tokens),
        }
    }

    /// Whether the answer is one that a broken cache has made wrong: a share of those that hit.
    pub fn corrupts(&self, plan: &Plan) -> bool {
        let hits = plan.hit_tier1_tokens + plan.hit_tier2_tokens > 0;
        hits && self.rng(plan.id, 2).u64(..100) < self.options.corrupt_hits
    }

    /// The request has been answered as planned.
    pub fn complete(&mut self, plan: &Plan) {
        self.live.remove(&plan.id);
    }

    /// The request will not be answered to its end.
    pub fn abandon(&mut self, plan: &Plan) {
        self.live.remove(&plan.id);
        let end_ns = self.freeze().engine_ns(plan.last_due_ns());
        self.running.remove(&(end_ns, plan.id));
    }

    /// Forgets the blocks that `reset` says: after an honest one, what arrives finds nothing of what arrived before.
    pub fn reset_cache(&mut self) {
        match self.options.reset {
            Reset::Honest => self.cache.clear(),
            Reset::Tier1 => self.cache.clear_tier1(),
            Reset::Lie => return,
        }
        let chains = self.running.values_mut();
        chains.for_each(|running| running.blocks.clear());
    }

    pub fn load(&self, now_ns: u64) -> Load {
        let running = || {
            self.live
                .values()
                .filter(|(start_ns, _)| *start_ns <= now_ns)
        };
        let tokens: usize = running().map(|(_, tokens)| tokens).sum();
        let block_tokens = self.options.block_tokens;
        let tier1_tokens = self.options.tier1_tokens / block_tokens * block_tokens;
        Load {
            running: running().count(),
            waiting: self.live.len() - running().count(),
            tier1_share: (tokens as f64 / tier1_tokens.max(1) as f64).min(1.0),
        }
    }

    /// When, in the engine's time, a request that arrives now starts, all that has ended by then being finished.
    ///
    /// Ends passed over here lie before the end of this request's prefill, and so before the next start.
    fn start_of_next(&mut self, now_ns: u64) -> u64 {
        let mut start_ns = now_ns.max(self.prefill_free_ns);
        self.finish_until(start_ns);
        if self.running.len() >= self.options.max_running
            && let Some((&(end_ns, _), _)) = self.running.first_key_value()
        {
            start_ns = end_ns;
            self.finish_until(start_ns);
        }
        start_ns
    }

    fn finish_until(&mut self, time_ns: u64) {
        while let Some(first) = self.running.first_entry()
            && first.key().0 <= time_ns
        {
            let ((end_ns, _), ended) = first.remove_entry();
            let known = ended.prompt_blocks;
            self.cache.touch(&ended.blocks, known, end_ns);
        }
    }

    /// The blocks of a prompt that are found and need not be computed: not the one with its last token.
    fn find(&self, job: &Job, now_ns: u64) -> Hits {
        let block_tokens = self.options.block_tokens;
        let may_hit = job.prompt_tokens.saturating_sub(1) / block_tokens;
        let blocks = &job.blocks[..may_hit.min(job.prompt_blocks)];
        let hits = self.cache.lookup(blocks, now_ns);
        let held = hits.tier1_blocks + hits.tier2_blocks;
        let usable = match self.options.reuse {
            Reuse::Prefix => held,
            Reuse::WholePrompt if held < blocks.len() => 0,
            Reuse::WholePrompt => held,
            Reuse::Units(tokens) => held - held % (tokens / block_tokens).max(1),
        };
        match usable == held {
            true => hits,
            false => self.cache.lookup(&blocks[..usable], now_ns),
        }
    }

    /// Whether the request finds nothing, whatever the cache holds.
    fn misses(&self, id: u64) -> bool {
        self.rng(id, 0).u64(..100) < self.options.misses
    }

    /// A generator for one thing that is drawn for a request.
    fn rng(&self, id: u64, thing: u64) -> fastrand::Rng {
        let seed = mix(self.options.seed ^ mix(id));
        fastrand::Rng::with_seed(seed.wrapping_add(thing))
    }

    /// The time from the end of the request's prefill to its first token: normally distributed, cut at 0.
    fn base_ns(&self, id: u64) -> u64 {
        let base_ns = nanoseconds(self.options.base);
        let deviation_ns = nanoseconds(self.options.ttft_noise);
        if deviation_ns == 0 {
            return base_ns;
        }
        // The Box-Muller transform makes a normal value of two uniform ones.
        let mut rng = self.rng(id, 1);
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
        // A negative sum becomes 0.
        (base_ns as f64 + normal * deviation_ns as f64) as u64
    }

    fn due_times(&self, id: u64, prefill_end_ns: u64, tokens: usize) -> Vec<u64> {
        let mut rng = fastrand::Rng::with_seed(mix(self.options.seed.wrapping_add(id)));
        let first_ns = prefill_end_ns.saturating_add(self.base_ns(id));
        let (itl_ns, jitter_ns) = (
            nanoseconds(self.options.itl),
            nanoseconds(self.options.jitter),
        );
        let mut latest_ns = 0;
        let due_ns = (0..tokens as u64).map(|k| {
            let on_time_ns = first_ns.saturating_add(itl_ns.saturating_mul(k));
            latest_ns = on_time_ns
                .saturating_add(rng.u64(0..=jitter_ns))
                .max(latest_ns);
            latest_ns
        });
        due_ns.collect()
    }
}

fn nanoseconds_for(tokens: usize, tokens_per_s: u64) -> u64 {
    let ns = tokens as u128 * 1_000_000_000 / u128::from(tokens_per_s);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    /// 1 token/ms of prefill, 10 tokens/ms of loading, 3 ms base, 10 ms between tokens, blocks of 10.
    fn options() -> Options {
        Options {
            base: Duration::from_millis(3),
            prefill_rate: 1_000,
            load_rate: 10_000,
            itl: Duration::from_millis(10),
            block_tokens: 10,
            tier1_tokens: 1_000,
            tier2_tokens: 1_000,
            ..Options::default()
        }
    }

    /// A prompt of `prompt_tokens` words of text number `text`, all texts unlike from the first word.
    fn job(text: u64, prompt_tokens: usize, output_tokens: usize) -> Job {
        let blocks = (prompt_tokens + output_tokens - 1) / 10;
        Job {
            prompt_tokens,
            output_tokens,
            prompt_blocks: prompt_tokens / 10,
            blocks: (0..blocks as u64)
                .map(|k| mix(text * 1_000_000 + k))
                .collect(),
        }
    }

    fn due_ms(plan: &Plan) -> Vec<u64> {
        plan.due_ns.iter().map(|ns| ns / MS).collect()
    }

    #[test]
    fn a_lone_request_is_due_after_base_and_prefill() {
        let mut schedule = Schedule::new(&options());
        let plan = schedule.admit(1, job(1, 45, 3), 100 * MS);
        // 100 + 45 tokens at 1/ms + 3 = 148.
        assert_eq!(due_ms(&plan), [148, 158, 168]);
        let after_ms = |ms: u64| plan.due_after(ms * MS).map(|ns| ns / MS);
        assert_eq!(
            [147, 148, 167, 168].map(after_ms),
            [Some(148), Some(158), Some(168), None]
        );
        assert_eq!((plan.start_ns, plan.hit_tier1_tokens), (100 * MS, 0));
    }

    #[test]
    fn a_repeated_prompt_hits_all_but_its_last_block_or_token() {
        let mut schedule = Schedule::new(&options());
        schedule.admit(1, job(1, 40, 1), 0);
        // 40 tokens are 4 blocks, but one token must be computed: 3 blocks hit, 10 tokens computed.
        let plan = schedule.admit(2, job(1, 40, 1), 1_000 * MS);
        assert_eq!(plan.hit_tier1_tokens, 30);
        assert_eq!(due_ms(&plan), [1_013]);
        let plan = schedule.admit(3, job(1, 41, 1), 2_000 * MS);
        assert_eq!(plan.hit_tier1_tokens, 40);
    }

    #[test]
    fn prefill_is_one_at_a_time_in_order_of_arrival() {
        let mut schedule = Schedule::new(&options());
        let first = schedule.admit(1, job(1, 50, 1), 0);
        let second = schedule.admit(2, job(2, 20, 1), 10 * MS);
        let third = schedule.admit(3, job(3, 20, 1), 200 * MS);
        // 50 + 3; then 50 + 20 + 3; then, the prefill being idle, 200 + 20 + 3.
        assert_eq!(due_ms(&first), [53]);
        assert_eq!((second.start_ns / MS, due_ms(&second)), (50, vec![73]));
        assert_eq!((third.start_ns / MS, due_ms(&third)), (200, vec![223]));
    }

    #[test]
    fn two_requests_on_one_prefix_at_once_compute_it_once() {
        let mut schedule = Schedule::new(&options());
        schedule.admit(1, job(1, 100, 5), 0);
        let second = schedule.admit(2, job(1, 105, 5), MS);
        // It starts when the first one's prefill ends, at 100 ms, and finds all 10 blocks.
        assert_eq!((second.start_ns / MS, second.hit_tier1_tokens), (100, 100));
        assert_eq!(second.first_due_ns() / MS, 100 + 5 + 3);
    }

    #[test]
    fn tier_2_hits_take_the_time_to_load_them() {
        let mut schedule = Schedule::new(&Options {
            tier1_tokens: 100,
            ..options()
        });
        schedule.admit(1, job(1, 101, 1), 0);
        schedule.admit(2, job(2, 101, 1), 1_000 * MS);
        let plan = schedule.admit(3, job(1, 101, 1), 2_000 * MS);
        assert_eq!((plan.hit_tier1_tokens, plan.hit_tier2_tokens), (0, 100));
        // 100 tokens at 10/ms, 1 token at 1/ms, base 3.
        assert_eq!(due_ms(&plan), [2_000 + 10 + 1 + 3]);
    }

    #[test]
    fn the_answer_is_found_by_the_next_turn_without_its_last_token() {
        let mut schedule = Schedule::new(&options());
        // 15 + 16 tokens, KV for 30 of them: 3 blocks.
        schedule.admit(1, job(1, 15, 16), 0);
        // While it runs only its prompt's block is there: it ends at 15 + 3 + 15·10 = 168 ms.
        let early = schedule.admit(2, job(1, 45, 1), 100 * MS);
        assert_eq!(early.hit_tier1_tokens, 10);
        let mut schedule = Schedule::new(&options());
        schedule.admit(1, job(1, 15, 16), 0);
        let late = schedule.admit(2, job(1, 45, 1), 168 * MS);
        assert_eq!(late.hit_tier1_tokens, 30);
    }

    #[test]
    fn a_request_waits_for_a_slot_until_a_last_token_is_due() {
        let mut schedule = Schedule::new(&Options {
            max_running: 2,
            ..options()
        });
        // Ends: 10 + 3 + 90 = 103 and 20 + 3 + 10 = 33.
        schedule.admit(1, job(1, 10, 10), 0);
        schedule.admit(2, job(2, 10, 2), 0);
        let third = schedule.admit(3, job(3, 10, 10), 5 * MS);
        assert_eq!((third.start_ns / MS, third.first_due_ns() / MS), (33, 46));
        // It runs until 46 + 90 = 136, so the next slot is that of the first, at 103.
        let fourth = schedule.admit(4, job(4, 10, 1), 6 * MS);
        assert_eq!(fourth.start_ns / MS, 103);
    }

    #[test]
    fn who_hangs_up_frees_the_slot_for_those_who_come_later() {
        let mut schedule = Schedule::new(&Options {
            max_running: 1,
            ..options()
        });
        let first = schedule.admit(1, job(1, 10, 100), 0);
        schedule.abandon(&first);
        let second = schedule.admit(2, job(1, 110, 1), 50 * MS);
        assert_eq!(second.start_ns, 50 * MS);
        // The prompt's block is held, the answer's are not.
        assert_eq!(second.hit_tier1_tokens, 10);
    }

    #[test]
    fn after_a_reset_nothing_from_before_is_found() {
        let mut schedule = Schedule::new(&options());
        schedule.admit(1, job(1, 50, 10), 0);
        schedule.reset_cache();
        let plan = schedule.admit(2, job(1, 51, 1), 1_000 * MS);
        assert_eq!(plan.hit_tier1_tokens, 0);
    }

    /// The hits in each tier of a prompt of `again` tokens behind one of `first`, of the same text, with 30 tokens of
    /// tier 1.
    fn hits_again(options: Options, first: usize, again: usize) -> [usize; 2] {
        let mut schedule = Schedule::new(&Options {
            tier1_tokens: 30,
            ..options
        });
        schedule.admit(1, job(1, first, 1), 0);
        let plan = schedule.admit(2, job(1, again, 1), 1_000 * MS);
        [plan.hit_tier1_tokens, plan.hit_tier2_tokens]
    }

    #[test]
    fn hits_in_units_are_rounded_down_to_whole_ones() {
        for (first, again, found) in [
            // Of 7 blocks held, two units of 3 are 6; the 3 at the start are in tier 1.
            (70, 99, [30, 30]),
            (50, 99, [30, 0]),
            (29, 99, [0, 0]),
            // The last token is always computed, here in the third block.
            (30, 30, [0, 0]),
            (30, 31, [30, 0]),
        ] {
            let reuse = Reuse::Units(30);
            let hits = hits_again(Options { reuse, ..options() }, first, again);
            assert_eq!(hits, found, "{first} {again}");
        }
    }

    #[test]
    fn a_whole_prompt_is_found_whole_or_not_at_all() {
        for (first, again, found) in [(55, 55, [30, 20]), (50, 50, [30, 10]), (55, 65, [0, 0])] {
            let reuse = Reuse::WholePrompt;
            let hits = hits_again(Options { reuse, ..options() }, first, again);
            assert_eq!(hits, found, "{first} {again}");
        }
        // The fifth block was evicted.
        let small = Options {
            reuse: Reuse::WholePrompt,
            tier2_tokens: 10,
            ..options()
        };
        assert_eq!(hits_again(small, 55, 55), [0, 0]);
    }

    #[test]
    fn a_prompt_that_is_too_short_finds_nothing_and_is_not_found() {
        for (first, again, found) in [(60, 60, [30, 20]), (59, 60, [0, 0]), (60, 59, [0, 0])] {
            let min_cached = 60;
            let hits = hits_again(
                Options {
                    min_cached,
                    ..options()
                },
                first,
                again,
            );
            assert_eq!(hits, found, "{first} {again}");
        }
    }

    #[test]
    fn a_reset_that_is_not_honest_leaves_tier_2_or_everything() {
        for (reset, tier1_tokens, tier2_tokens) in [
            (Reset::Honest, 0, 0),
            (Reset::Tier1, 0, 20),
            (Reset::Lie, 30, 20),
        ] {
            // Tier 1 holds the first 3 of 5 blocks.
            let mut schedule = Schedule::new(&Options {
                tier1_tokens: 30,
                reset,
                ..options()
            });
            schedule.admit(1, job(1, 50, 1), 0);
            // Text 1 has ended; text 2 is too short for a block.
            schedule.admit(2, job(2, 5, 1), 1_000 * MS);
            schedule.reset_cache();
            let mut rest = job(1, 51, 1);
            let from_4th = rest.blocks.split_off(3);
            let first = schedule.cache.lookup(&rest.blocks, 1_000 * MS);
            let last = schedule.cache.lookup(&from_4th, 1_000 * MS);
            let tokens = (first.tier1_blocks * 10, last.tier2_blocks * 10);
            assert_eq!(tokens, (tier1_tokens, tier2_tokens), "{reset:?}");
        }
    }

    #[test]
    fn a_block_ages_from_the_end_of_the_prefill_or_of_the_answer() {
        let mut schedule = Schedule::new(&Options {
            ttl: Duration::from_millis(500),
            ..options()
        });
        // The prefill ends at 50 ms, the answer at 50 + 3 + 10 · 10 = 153.
        schedule.admit(1, job(1, 50, 11), 0);
        let found = |schedule: &mut Schedule, id, at_ms| {
            schedule
                .admit(id, job(1, 51, 1), at_ms * MS)
                .hit_tier1_tokens
        };
        // Found at 653, it is renewed at 653 + 1 for its prefill and + 3 for its answer: 657.
        assert_eq!(found(&mut schedule, 2, 653), 50);
        assert_eq!(found(&mut schedule, 3, 1_158), 0);
    }

    #[test]
    fn jitter_only_delays_keeps_the_order_and_comes_from_the_seed() {
        let plan = |seed, jitter| {
            let options = Options {
                seed,
                jitter: Duration::from_millis(jitter),
                ..options()
            };
            Schedule::new(&options).admit(1, job(1, 10, 50), 0).due_ns
        };
        let exact = plan(1, 0);
        let late = plan(1, 25);
        assert!(late.is_sorted());
        assert!(
            late.iter()
                .zip(&exact)
                .all(|(late, due)| (0..=25 * MS).contains(&(late - due)))
        );
        assert!(late != exact && plan(1, 25) == late && plan(2, 25) != late);
    }

    /// The due times of requests 1 to 4,000, each 10 s after the one before, with a cold prompt of 5 tokens.
    fn noisy_due_ns(base_ms: u64, seed: u64) -> Vec<Vec<u64>> {
        let mut schedule = Schedule::new(&Options {
            base: Duration::from_millis(base_ms),
            ttft_noise: Duration::from_millis(10),
            seed,
            ..options()
        });
        let after_arrival = |id: u64| {
            let plan = schedule.admit(id, job(id, 5, 3), id * 10_000 * MS);
            let due_ns = plan.due_ns.iter();
            due_ns.map(|ns| ns - plan.arrival_ns).collect()
        };
        (1..=4_000).map(after_arrival).collect()
    }

    #[test]
    fn noise_moves_whole_answers_by_a_normal_time_from_the_seed() {
        let due_ns = noisy_due_ns(100, 1);
        for answer in &due_ns {
            let itl_ns = [answer[1] - answer[0], answer[2] - answer[1]];
            assert_eq!(itl_ns, [10 * MS; 2]);
        }
        let ttft_ms: Vec<f64> = due_ns.iter().map(|it| it[0] as f64 / MS as f64).collect();
        let mean_ms = ttft_ms.iter().sum::<f64>() / 4_000.0;
        // 5 of prefill + 100; the mean of 4,000 has a standard error of 10 / 63 = 0.16.
        assert!((mean_ms - 105.0).abs() < 0.6, "{mean_ms}");
        let share_within = |deviations: f64| {
            let within = |ms: &&f64| (**ms - 105.0).abs() <= 10.0 * deviations;
            ttft_ms.iter().filter(within).count() as f64 / 4_000.0
        };
        // 68.3 % and 95.4 % of a normal distribution; standard errors 0.7 % and 0.3 %.
        assert!((share_within(1.0) - 0.683).abs() < 0.03);
        assert!((share_within(2.0) - 0.954).abs() < 0.013);
        assert!(noisy_due_ns(100, 1) == due_ns && noisy_due_ns(100, 2) != due_ns);
    }

    #[test]
    fn noise_brings_no_token_before_the_end_of_the_prefill() {
        let due_ns = noisy_due_ns(0, 1);
        let at_once = due_ns.iter().filter(|answer| answer[0] == 5 * MS).count();
        assert!(due_ns.iter().all(|answer| answer[0] >= 5 * MS));
        // Half of 4,000, with a standard deviation of 32.
        assert!((1_850..2_150).contains(&at_once), "{at_once}");
    }

    #[test]
    fn a_broken_cache_makes_a_share_of_the_answers_that_hit_wrong() {
        let count = |corrupt_hits| {
            let mut schedule = Schedule::new(&Options {
                corrupt_hits,
                ..options()
            });
            let mut corrupt = |id: u64| {
                // Every second prompt is a new one.
                let plan = schedule.admit(id, job(id % 2 * id, 11, 1), id * 1_000 * MS);
                let is_hit = plan.hit_tier1_tokens == 10;
                assert_eq!(is_hit, id.is_multiple_of(2) && id > 2);
                let corrupts = schedule.corrupts(&plan);
                assert!(is_hit || !corrupts);
                corrupts
            };
            (1..=4_001).filter(|id| corrupt(*id)).count()
        };
        // Of 1,999 hits: none, all, or 30 % with a standard deviation of 20.
        assert_eq!((count(0), count(100)), (0, 1_999));
        assert!((500..700).contains(&count(30)), "{}", count(30));
    }

    /// `options` with a freeze from 20 ms after the first request, for 100 ms.
    fn freezing() -> Options {
        Options {
            freeze_at: Duration::from_millis(20),
            freeze_for: Duration::from_millis(100),
            ..options()
        }
    }

    #[test]
    fn a_freeze_delays_what_is_due_after_its_start_by_its_length() {
        let mut schedule = Schedule::new(&freezing());
        schedule.arrived(1_000 * MS);
        let plan = schedule.admit(1, job(1, 5, 4), 1_000 * MS);
        // 5 + 3, then every 10 ms: 1,008, 1,018, and after 1,020 all 100 later.
        assert_eq!(due_ms(&plan), [1_008, 1_018, 1_128, 1_138]);
        // Later requests change nothing about the window.
        assert_eq!(
            schedule.arrived(1_010 * MS).end_at(1_020 * MS),
            Some(1_120 * MS)
        );
    }

    #[test]
    fn what_arrives_in_a_freeze_starts_at_its_end_in_order() {
        let mut schedule = Schedule::new(&freezing());
        schedule.arrived(0);
        let first = schedule.admit(1, job(1, 10, 1), 50 * MS);
        let second = schedule.admit(2, job(2, 20, 1), 119 * MS);
        // Until 120, then 10 + 3; 10 + 20 + 3.
        assert_eq!((first.start_ns / MS, due_ms(&first)), (120, vec![133]));
        assert_eq!((second.start_ns / MS, due_ms(&second)), (130, vec![153]));
        assert_eq!(first.arrival_ns, 50 * MS);
        assert_eq!(schedule.load(119 * MS).waiting, 2);
        let held = schedule.recall(3, 10, 2, 60 * MS);
        assert_eq!(due_ms(&held), [123, 123]);
    }

    #[test]
    fn a_freeze_in_a_prefill_delays_its_end_and_a_hang_up_frees_the_slot() {
        let mut schedule = Schedule::new(&Options {
            max_running: 1,
            ..freezing()
        });
        schedule.arrived(0);
        let first = schedule.admit(1, job(1, 50, 100), 0);
        // 50 + 100 + 3.
        assert_eq!(first.first_due_ns(), 153 * MS);
        schedule.abandon(&first);
        let second = schedule.admit(2, job(2, 10, 1), 200 * MS);
        assert_eq!(second.start_ns, 200 * MS);
    }

    #[test]
    fn waiting_turns_into_running_at_the_start() {
        // 100 whole blocks.
        let mut schedule = Schedule::new(&Options {
            tier1_tokens: 1_005,
            ..options()
        });
        let first = schedule.admit(1, job(1, 50, 1), 0);
        schedule.admit(2, job(2, 20, 5), 0);
        let load = |running, waiting, tier1_share| Load {
            running,
            waiting,
            tier1_share,
        };
        // 51 of 1,000 tokens, then 25 more.
        assert_eq!(schedule.load(49 * MS), load(1, 1, 0.051));
        assert_eq!(schedule.load(50 * MS), load(2, 0, 0.076));
        schedule.complete(&first);
        assert_eq!(schedule.load(60 * MS), load(1, 0, 0.025));
    }

    /// TTFT in ms and hit tokens of each request of a closed loop of 20 over contexts of 32,000 tokens,
    /// with 12 tokens of question and 100 of answer.
    fn closed_loop(contexts: u64, rotations: u64) -> Vec<(u64, usize)> {
        let mut schedule = Schedule::new(&Options::default());
        let mut free_ns: BinaryHeap<_> = (0..20).map(|_| Reverse(0)).collect();
        let request = |k: u64| {
            let now_ns = free_ns.pop().expect("20 are in it").0;
            let context = (0..2_000).map(|block| mix((k % contexts) * 10_000 + block));
            let own = (0..6).map(|block| mix((1 << 40) + k * 10 + block));
            let job = Job {
                prompt_tokens: 32_012,
                output_tokens: 100,
                prompt_blocks: 2_000,
                blocks: context.chain(own).collect(),
            };
            let plan = schedule.admit(k, job, now_ns);
            free_ns.push(Reverse(plan.last_due_ns()));
            let ttft_ms = (plan.first_due_ns() - now_ns) / MS;
            (ttft_ms, plan.hit_tier1_tokens + plan.hit_tier2_tokens)
        };
        (0..contexts * rotations).map(request).collect()
    }

    fn median_ttft_ms(requests: &[(u64, usize)]) -> u64 {
        let mut ttft_ms: Vec<u64> = requests.iter().map(|(ms, _)| *ms).collect();
        ttft_ms.sort_unstable();
        ttft_ms[ttft_ms.len() / 2]
    }

    #[test]
    fn by_default_61_contexts_are_five_times_faster_warm_and_80_never_hit() {
        let requests = closed_loop(61, 4);
        let (cold, warm) = requests.split_at(61);
        // A cold request holds the prefill 0.1 s, so 20 in flight take 2 s each: 1.5 s to the first
        // token and 99 · 5 ms after it. Warm: 0.04 s, so 0.8 s each, 0.3 s to the first token.
        assert!(
            (1_450..=1_550).contains(&median_ttft_ms(cold)),
            "{}",
            median_ttft_ms(cold)
        );
        assert!(
            (290..=320).contains(&median_ttft_ms(warm)),
            "{}",
            median_ttft_ms(warm)
        );
        assert!(cold.iter().all(|(_, hit_tokens)| *hit_tokens == 0));
        assert!(warm.iter().all(|(_, hit_tokens)| *hit_tokens == 32_000));
        let requests = closed_loop(80, 3);
        assert!(requests.iter().all(|(_, hit_tokens)| *hit_tokens == 0));
    }
}
