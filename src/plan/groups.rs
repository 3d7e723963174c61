//! The prompts that `load` makes: each is a text of its own after a text that its group shares.
//!
//! Prompts are made on demand, so an endless plan only holds the shared texts. The caller decides which prompt is sent
//! when, and how long it is.

use std::collections::HashMap;
use std::sync::Arc;

use super::Prompt;
use super::calibration::Calibration;
use super::prompt::{SPELLED_WORDS, Writer};
use crate::error::{Error, Result};

/// The beginning that prompts share: prompt k belongs to group k mod `groups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Tokens of the text at the beginning of all prompts of a group.
    pub tokens: u64,
    /// The number of groups, at least 1.
    pub groups: u64,
}

impl Shared {
    /// # Errors
    /// Fails when a prompt of `shortest` tokens has no room for a text of its own.
    pub fn check(self, shortest: u64) -> Result<()> {
        if self.tokens < shortest {
            return Ok(());
        }
        Err(Error::input(
            format!("--shared-prefix-tokens {}", self.tokens),
            format!(
                "the shortest prompt has {shortest} (--input-tokens), the shared ones included; want fewer than that"
            ),
        ))
    }
}

/// Returns, for `Perfect`, the part of prompt `number` that others share.
pub fn parts(shared: Option<Shared>, number: u64) -> [(u64, u64); 1] {
    [match shared {
        Some(shared) => (number % shared.groups, shared.tokens),
        None => (0, 0),
    }]
}

/// Makes prompts by number; the same number and tokens give the same bytes.
#[derive(Debug)]
pub struct Prompts {
    writer: Writer,
    calibration: Calibration,
    shared: Option<Shared>,
    /// The shared texts, by group.
    beginnings: HashMap<u64, Arc<str>>,
}

impl Prompts {
    /// Makes prompts for a `shared` that passed `check`; `None`: prompts share nothing.
    pub fn new(shared: Option<Shared>, writer: &Writer, calibration: &Calibration) -> Prompts {
        Prompts {
            writer: writer.clone(),
            calibration: calibration.clone(),
            shared: shared.filter(|shared| shared.tokens > 0),
            beginnings: HashMap::new(),
        }
    }

    /// Returns prompt `number`, of `tokens` tokens including the shared ones. O(tokens).
    ///
    /// Its own text begins with a word that no other prompt has, so no two prompts are alike.
    pub fn prompt(&mut self, number: u64, tokens: u64) -> Prompt {
        let words = self.calibration.words_of(tokens);
        let Some(shared) = self.shared else {
            return Prompt::Text(vec![self.writer.context(number, words).into()]);
        };
        let beginning = self.beginning(shared, number % shared.groups);
        let own = words.saturating_sub(self.calibration.words_of_more(shared.tokens));
        // The calibration counts a context's first word once a prompt, and this is that word.
        let own = self.writer.context(number, own.max(1));
        Prompt::Text(vec![beginning, format!(" {own}").into()])
    }

    fn beginning(&mut self, shared: Shared, group: u64) -> Arc<str> {
        let make = || {
            let words = self.calibration.words_of_more(shared.tokens);
            let spelled = self.writer.spelled(group, words.min(SPELLED_WORDS));
            let filler = words.saturating_sub(SPELLED_WORDS);
            let text = spelled + &self.writer.filler(group, filler);
            text.trim_start().into()
        };
        self.beginnings.entry(group).or_insert_with(make).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::perfect::Perfect;
    use crate::plan::perfect::testing::Twin;
    use std::collections::HashSet;

    fn one_token_a_word() -> Calibration {
        Calibration::fit((10, 10), (20, 20)).expect("a rising line")
    }

    fn prompts(shared: Option<(u64, u64)>, calibration: &Calibration) -> Prompts {
        let shared = shared.map(|(tokens, groups)| Shared { tokens, groups });
        Prompts::new(shared, &Writer::new(1, "n"), calibration)
    }

    fn texts(prompt: &Prompt) -> &[Arc<str>] {
        match prompt {
            Prompt::Text(texts) => texts,
            other => panic!("{other:?} is no text"),
        }
    }

    fn words(prompt: &Prompt) -> Vec<String> {
        let text = texts(prompt).concat();
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn a_prompt_has_the_words_of_its_tokens_shared_ones_included() {
        let one = one_token_a_word();
        // Two tokens a word and three more: 203 tokens are 100 words, a prefix of 60 tokens is 30 of them.
        let two = Calibration::fit((10, 23), (20, 43)).expect("a rising line");
        for (shared, calibration, tokens, counts) in [
            (None, &one, 50, vec![50]),
            (Some((0, 3)), &one, 50, vec![50]),
            (Some((30, 3)), &one, 50, vec![30, 20]),
            (Some((4, 3)), &one, 5, vec![4, 1]),
            (Some((60, 3)), &two, 203, vec![30, 70]),
            // The prefix takes all words that there are; the unique word stays.
            (Some((60, 3)), &two, 61, vec![30, 1]),
        ] {
            let prompt = prompts(shared, calibration).prompt(7, tokens);
            let texts = texts(&prompt).iter();
            let found: Vec<_> = texts.map(|text| text.split_whitespace().count()).collect();
            assert_eq!(found, counts, "{shared:?} {tokens}");
            assert_eq!(words(&prompt).len(), counts.iter().sum::<usize>());
        }
    }

    #[test]
    fn prompts_of_a_group_share_its_text_and_not_a_word_more() {
        let mut prompts = prompts(Some((40, 3)), &one_token_a_word());
        let all: Vec<Prompt> = (0..12).map(|k| prompts.prompt(k, 60)).collect();
        for (a, first) in all.iter().enumerate() {
            for (b, second) in all.iter().enumerate().skip(a + 1) {
                let (one, other) = (words(first), words(second));
                let common = one.iter().zip(&other).take_while(|(x, y)| x == y).count();
                if a % 3 == b % 3 {
                    assert_eq!(common, 40, "{a} {b}");
                    assert!(Arc::ptr_eq(&texts(first)[0], &texts(second)[0]));
                } else {
                    assert!(common < SPELLED_WORDS as usize, "{a} {b}: {common}");
                }
            }
        }
    }

    #[test]
    fn a_number_gives_the_same_prompt_each_time_and_no_two_are_alike() {
        for shared in [None, Some((3, 2))] {
            let make = || {
                let mut prompts = prompts(shared, &one_token_a_word());
                let texts = (0..300).map(|k| texts(&prompts.prompt(k, 4)).concat());
                texts.collect::<Vec<String>>()
            };
            let first = make();
            assert_eq!(first, make());
            assert_eq!(first.iter().collect::<HashSet<_>>().len(), 300);
        }
    }

    #[test]
    fn a_prefix_that_leaves_no_text_of_its_own_is_refused() {
        let shared = Shared {
            tokens: 100,
            groups: 2,
        };
        assert_eq!(shared.check(101), Ok(()));
        let error = shared.check(100).expect_err("no room").to_string();
        assert_eq!(
            error,
            "[ERROR] --shared-prefix-tokens 100: the shortest prompt has 100 (--input-tokens), the shared ones \
             included; want fewer than that"
        );
    }

    #[test]
    fn the_parts_say_what_a_cache_of_real_blocks_finds() {
        let mut rng = fastrand::Rng::with_seed(3);
        for shared in [None, Some((40, 3)), Some((64, 1))] {
            let mut prompts = prompts(shared, &one_token_a_word());
            let mut twin = Twin::new(16);
            let mut perfect = Perfect::new(16);
            let mut seen = HashSet::new();
            let mut hits = 0;
            for _ in 0..400 {
                let number = rng.u64(0..60);
                let tokens = 70 + number;
                let found = twin.see(&texts(&prompts.prompt(number, tokens)).concat());
                let held = match seen.insert(number) {
                    true => perfect.hold(parts(prompts.shared, number)),
                    false => tokens,
                };
                let hit = perfect.count(tokens, held);
                assert_eq!(hit, found, "{shared:?} {number}");
                hits += hit;
            }
            assert!(hits > 0);
        }
    }
}
