//! A perfect prefix cache: it holds every prompt that it has seen, in blocks of a fixed number of tokens.
//!
//! Prompts come as named parts, in the order in which they are sent. The cache knows no text: two prompts share their
//! leading parts of equal names, and the common tokens of the last of these. Answers are left out. The length of a
//! prompt may be given apart from its parts, because servers count differently from plans.

use std::collections::HashMap;

use super::random::mixed;
use crate::units::share;

/// The hash at the start of every prompt.
const ROOT: u64 = 0;

/// The cache takes about 34 bytes for each distinct part after a distinct beginning.
#[derive(Debug)]
pub struct Perfect {
    block_tokens: u64,
    /// The most tokens seen of each part, by a hash of its name and the parts before it.
    longest: HashMap<u64, u64>,
    hit_tokens: u64,
    prompt_tokens: u64,
}

impl Perfect {
    /// Makes an empty cache; `block_tokens` ≥ 1, 16 in most engines.
    pub fn new(block_tokens: u64) -> Perfect {
        Perfect {
            block_tokens,
            longest: HashMap::new(),
            hit_tokens: 0,
            prompt_tokens: 0,
        }
    }

    /// Takes in the parts of a prompt that others share, and returns how many of their tokens were held. O(parts).
    ///
    /// A part is its name and its tokens; of two parts with one name, the shorter is the beginning of the longer.
    pub fn hold(&mut self, parts: impl IntoIterator<Item = (u64, u64)>) -> u64 {
        let (mut prefix, mut is_held) = (ROOT, true);
        let mut held = 0;
        for (name, part_tokens) in parts.into_iter().filter(|part| part.1 > 0) {
            let key = mixed(prefix ^ mixed(name));
            let longest = self.longest.entry(key).or_insert(0);
            if is_held {
                held += part_tokens.min(*longest);
                is_held = part_tokens <= *longest;
            }
            *longest = part_tokens.max(*longest);
            prefix = mixed(key.wrapping_add(part_tokens));
        }
        held
    }

    /// Counts a prompt of `tokens` tokens, and returns how many of its held tokens are hits: whole blocks.
    ///
    /// Engines always compute the last token of a prompt again, and its block with it (vLLM, the mock).
    pub fn count(&mut self, tokens: u64, held: u64) -> u64 {
        let may_hit = tokens.saturating_sub(1);
        let hit = held.min(may_hit) / self.block_tokens * self.block_tokens;
        self.hit_tokens += hit;
        self.prompt_tokens += tokens;
        hit
    }

    /// Returns the share of all counted prompt tokens that were hits; `None` before the first prompt.
    pub fn hit_share(&self) -> Option<f64> {
        share(self.hit_tokens, self.prompt_tokens)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::HashSet;
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// A perfect cache in its plainest form, over words: each block is known by all words up to its end.
    pub struct Twin {
        block_words: u64,
        held: HashSet<u64>,
    }

    impl Twin {
        pub fn new(block_words: u64) -> Twin {
            Twin {
                block_words,
                held: HashSet::new(),
            }
        }

        pub fn see(&mut self, text: &str) -> u64 {
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            let mut hasher = DefaultHasher::new();
            let blocks = words.chunks_exact(self.block_words as usize).map(|block| {
                block.hash(&mut hasher);
                hasher.finish()
            });
            let blocks: Vec<u64> = blocks.collect();
            let may_hit = (words.len() as u64).saturating_sub(1) / self.block_words;
            let held = blocks[..may_hit as usize].iter();
            let hit = held.take_while(|block| self.held.contains(block)).count() as u64;
            self.held.extend(blocks);
            hit * self.block_words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Twin;
    use super::*;

    #[test]
    fn a_hit_is_whole_blocks_and_never_the_last_token() {
        let mut perfect = Perfect::new(16);
        assert_eq!(perfect.hit_share(), None);
        for (parts, hit) in [
            (vec![(1, 64)], 0),
            // All tokens are held, but the last block is computed again.
            (vec![(1, 64)], 48),
            (vec![(1, 65)], 64),
            // 40 held tokens are two blocks.
            (vec![(1, 40), (9, 60)], 32),
            (vec![(1, 40), (9, 60)], 96),
            // Part 9 is unknown after another length of part 1, but part 1 is held up to 65.
            (vec![(1, 41), (9, 60)], 32),
            // The longest length of part 1 counts, not the last.
            (vec![(1, 100)], 64),
            (vec![(2, 0), (9, 60)], 0),
            (vec![], 0),
        ] {
            let tokens = parts.iter().map(|part| part.1).sum();
            let held = perfect.hold(parts.clone());
            assert_eq!(perfect.count(tokens, held), hit, "{parts:?}");
        }
        // 48 + 64 + 32 + 96 + 32 + 64 of 64 + 64 + 65 + 100 + 100 + 101 + 100 + 60.
        let share = perfect.hit_share().expect("tokens");
        assert!((share - 336.0 / 654.0).abs() < 1e-12, "{share}");
    }

    /// Returns the part's words: a shorter part is the beginning of a longer one.
    fn words(name: u64, tokens: u64) -> String {
        let words = (0..tokens).map(|k| format!(" {name}-{k}"));
        words.collect()
    }

    #[test]
    fn a_perfect_cache_agrees_with_a_cache_of_real_blocks() {
        let mut rng = fastrand::Rng::with_seed(6);
        for block_tokens in [1, 4, 16] {
            let mut perfect = Perfect::new(block_tokens);
            let mut twin = Twin::new(block_tokens);
            let mut hits = 0;
            for _ in 0..2_000 {
                // Two adjacent parts of one name would look like one longer part, so names differ by place.
                let parts: Vec<(u64, u64)> = (0..rng.u64(1..5))
                    .map(|place| {
                        (
                            10 * place + rng.u64(0..3),
                            rng.u64(0..3) * 9 + rng.u64(0..2),
                        )
                    })
                    .collect();
                let tokens = parts.iter().map(|part| part.1).sum();
                let held = perfect.hold(parts.iter().copied());
                let hit = perfect.count(tokens, held);
                let texts = parts.iter().map(|&(name, tokens)| words(name, tokens));
                assert_eq!(hit, twin.see(&texts.collect::<String>()), "{parts:?}");
                hits += hit;
            }
            assert!(hits > 1_000, "{hits}");
        }
    }
}
