//! What a cache of one tier holds under each order of eviction, in tokens: contexts are runs that are cut, not blocks.

/// Orders of eviction that can be told apart from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Lru,
    Fifo,
    Mru,
    Random,
    /// Least frequently used, or any other that protects what was used twice.
    Frequency,
}

impl Order {
    pub const ALL: [Order; 5] = [
        Order::Lru,
        Order::Fifo,
        Order::Mru,
        Order::Random,
        Order::Frequency,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Order::Lru => "lru",
            Order::Fifo => "fifo",
            Order::Mru => "mru",
            Order::Random => "random",
            Order::Frequency => "frequency",
        }
    }
}

/// What is expected of the next access to a context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// The probability that the whole context is found.
    whole: f64,
    /// The probability that one more block follows those found; 0 where the order is no matter of chance.
    next_block: f64,
    /// Blocks of the context, for an order by chance.
    blocks: f64,
    /// The uncached share where the order is no matter of chance.
    share: f64,
}

/// Points at which the length of a run that ends by chance is taken.
const POINTS: usize = 8;
/// The most lengths of runs that are told apart.
const MOST_RUNS: f64 = 32.0;

impl Expected {
    /// Returns the standard deviation of shares around the nearest of the points.
    pub fn deviation(&self) -> f64 {
        if self.next_block == 0.0 {
            0.0
        } else {
            0.3 / POINTS as f64
        }
    }

    /// Returns the probability that a run of this share of the context is found, under an order by chance.
    pub fn probability_of(&self, found: f64) -> f64 {
        let run = (found * self.blocks).round();
        match run >= self.blocks {
            true => self.whole,
            false => self.next_block.powf(run) * (1.0 - self.next_block),
        }
    }

    /// Returns uncached shares with their probabilities under an order by chance, as fine as times tell them apart.
    pub fn runs(&self) -> Vec<(f64, f64)> {
        let step = (self.blocks / MOST_RUNS).ceil();
        let starts = (0..(self.blocks / step).ceil() as u32).map(|at| f64::from(at) * step);
        let broken = starts.map(|from| {
            let to = (from + step).min(self.blocks);
            let weight = self.next_block.powf(from) - self.next_block.powf(to);
            (weight, 1.0 - (from + to - 1.0) / 2.0 / self.blocks)
        });
        broken.chain([(self.whole, 0.0)]).collect()
    }

    /// Returns uncached shares with their probabilities.
    pub fn points(&self) -> Vec<(f64, f64)> {
        if self.next_block == 0.0 {
            return vec![(1.0, self.share)];
        }
        let weight = (1.0 - self.whole) / POINTS as f64;
        let broken = (0..POINTS).map(|point| {
            // The quantile of a geometric distribution that is cut off at all blocks.
            let level = (point as f64 + 0.5) / POINTS as f64 * (1.0 - self.whole);
            let run = ((1.0 - level).ln() / self.next_block.ln()).floor();
            (weight, 1.0 - (run / self.blocks).clamp(0.0, 1.0))
        });
        broken.chain([(self.whole, 0.0)]).collect()
    }
}

/// A cache of one tier.
#[derive(Debug, Clone)]
pub struct Cache {
    order: Order,
    capacity_tokens: f64,
    block_tokens: f64,
    held_tokens: f64,
    runs: Vec<Run>,
    clock: u64,
}

/// Tokens of a context that entered together.
#[derive(Debug, Clone, Copy)]
struct Run {
    text: u64,
    from: f64,
    to: f64,
    uses: u64,
    entered: u64,
    used: u64,
    /// Share of its blocks that are held, under an order by chance.
    held: f64,
}

impl Cache {
    pub fn new(order: Order, capacity_tokens: f64, block_tokens: f64) -> Cache {
        Cache {
            order,
            capacity_tokens,
            block_tokens,
            held_tokens: 0.0,
            runs: Vec::new(),
            clock: 0,
        }
    }

    /// Fills a cache with contexts that are not read again.
    pub fn filled(mut self) -> Cache {
        self.held_tokens = self.capacity_tokens;
        self
    }

    /// Returns what an access would find, and changes nothing.
    pub fn expected(&self, text: u64, tokens: f64) -> Expected {
        if self.order == Order::Random {
            let held = self.runs.iter().find(|run| run.text == text);
            let held = held.map_or(0.0, |run| run.held.clamp(1e-9, 1.0 - 1e-9));
            let blocks = (tokens / self.block_tokens).max(1.0);
            return Expected {
                whole: held.powf(blocks),
                next_block: held,
                blocks,
                share: 1.0,
            };
        }
        Expected {
            whole: 0.0,
            next_block: 0.0,
            blocks: 0.0,
            share: 1.0 - (self.leading(text) / tokens).min(1.0),
        }
    }

    /// Returns the tokens of a context that are held from its start on.
    fn leading(&self, text: u64) -> f64 {
        let mut end = 0.0;
        loop {
            let next = self
                .runs
                .iter()
                .find(|run| run.text == text && run.from == end && run.to > end);
            let Some(run) = next else { return end };
            end = run.to;
        }
    }

    pub fn access(&mut self, text: u64, tokens: f64) {
        self.clock += 1;
        if self.order == Order::Random {
            return self.access_by_chance(text, tokens);
        }
        let mut missing: Vec<(f64, f64)> = vec![(0.0, tokens)];
        for run in self.runs.iter_mut().filter(|run| run.text == text) {
            run.used = self.clock;
            run.uses += 1;
            let (from, to) = (run.from, run.to);
            let cut = missing
                .iter()
                .flat_map(|&(start, end)| [(start, end.min(from)), (start.max(to), end)]);
            missing = cut.filter(|(start, end)| end > start).collect();
        }
        for (from, to) in missing {
            self.held_tokens += to - from;
            self.runs.push(Run {
                text,
                from,
                to,
                uses: 1,
                entered: self.clock,
                used: self.clock,
                held: 1.0,
            });
        }
        while self.held_tokens > self.capacity_tokens && !self.runs.is_empty() {
            self.evict(text);
        }
    }

    /// Evicts tokens of the run that goes first. Those of the context `own`, which is in use, go last.
    fn evict(&mut self, own: u64) {
        let rank = |run: &Run| {
            let rank = match self.order {
                Order::Fifo => (run.entered, 0),
                Order::Mru => (u64::MAX - run.used, 0),
                Order::Frequency => (run.uses, run.used),
                Order::Lru | Order::Random => (run.used, 0),
            };
            (run.text == own, rank)
        };
        // Of one rank, the end of a context goes before its start.
        let runs = (0..self.runs.len()).min_by(|&a, &b| {
            let (one, other) = (&self.runs[a], &self.runs[b]);
            rank(one)
                .cmp(&rank(other))
                .then(other.to.total_cmp(&one.to))
        });
        let Some(at) = runs else { return };
        let excess = self.held_tokens - self.capacity_tokens;
        let run = &mut self.runs[at];
        let gone = excess.min(run.to - run.from);
        run.to -= gone;
        self.held_tokens -= gone;
        if run.to - run.from < 1e-6 {
            self.held_tokens -= run.to - run.from;
            self.runs.swap_remove(at);
        }
    }

    /// Every block of another context is as likely to go as any other, so that all of them lose the same share; those of the
    /// context are in use, and go only when there are no others.
    fn access_by_chance(&mut self, text: u64, tokens: f64) {
        let place = self.runs.iter().position(|run| run.text == text);
        let place = place.unwrap_or_else(|| {
            self.runs.push(Run {
                text,
                from: 0.0,
                to: tokens,
                uses: 1,
                entered: self.clock,
                used: self.clock,
                held: 0.0,
            });
            self.runs.len() - 1
        });
        let known = tokens * self.runs[place].held;
        let others = self.held_tokens - known;
        let own = tokens.min(self.capacity_tokens);
        let left = others.min(self.capacity_tokens - own);
        if left < others {
            let kept = left / others;
            self.runs.iter_mut().for_each(|run| run.held *= kept);
        }
        self.runs[place].held = own / tokens;
        self.held_tokens = left + own;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lab::Prompt;
    use super::super::simulator::Server;
    use super::*;

    #[test]
    fn runs_of_tokens_are_held_as_the_blocks_of_an_exact_simulator() {
        for order in Order::ALL
            .into_iter()
            .filter(|&order| order != Order::Random)
        {
            for seed in 0..40 {
                let mut rng = fastrand::Rng::with_seed(seed);
                let blocks = rng.usize(20..200);
                let mut server = Server::new(order, &[blocks], 1, seed);
                server.has_usage = true;
                let mut cache = Cache::new(order, blocks as f64, 1.0);
                let lengths: Vec<u64> = (0..12).map(|_| rng.u64(3..20)).collect();
                for step in 0..200 {
                    let text = rng.u64(0..12);
                    let tokens = lengths[text as usize];
                    let expected = cache.expected(text, tokens as f64).points()[0].1;
                    let prompt = Prompt::whole(text, tokens);
                    let cached = server.send(&prompt).cached.expect("usage");
                    let share = 1.0 - cached as f64 / tokens as f64;
                    assert!(
                        (share - expected).abs() < 1e-6,
                        "{order:?} seed {seed} step {step} of {blocks}: {share} for {expected}"
                    );
                    cache.access(text, tokens as f64);
                }
            }
        }
    }

    #[test]
    fn by_chance_runs_are_as_long_as_those_of_an_exact_simulator_on_average() {
        const SEEDS: u64 = 2000;
        let prompts: Vec<Prompt> = [
            (1, 60),
            (2, 30),
            (3, 40),
            (4, 12),
            (3, 40),
            (2, 30),
            (5, 70),
            (3, 40),
            (4, 12),
        ]
        .map(|(text, tokens)| Prompt::whole(text, tokens))
        .to_vec();
        let mut sums = vec![0.0; prompts.len()];
        for seed in 0..SEEDS {
            let mut server = Server::new(Order::Random, &[100], 1, seed);
            server.has_usage = true;
            for (sum, prompt) in sums.iter_mut().zip(&prompts) {
                let cached = server.send(prompt).cached.expect("usage");
                *sum += 1.0 - cached as f64 / prompt.tokens as f64;
            }
        }
        let mut cache = Cache::new(Order::Random, 100.0, 1.0);
        for (sum, prompt) in sums.iter().zip(&prompts) {
            let runs = cache.expected(prompt.text, prompt.tokens as f64).runs();
            let expected: f64 = runs.iter().map(|(weight, share)| weight * share).sum();
            let found = sum / SEEDS as f64;
            assert!(
                (found - expected).abs() < 0.05,
                "{prompt:?}: {found}, not {expected}"
            );
            cache.access(prompt.text, prompt.tokens as f64);
        }
    }
}
