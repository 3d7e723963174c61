//! Text of a wanted token length, without a tokenizer.
//!
//! Texts are seeded shuffles of one vocabulary, block after block, so that every block of
//! `BLOCK_WORDS` words costs the same tokens whatever the tokenizer, and two counted texts are
//! enough to predict the length of any other (`calibration`).

use std::sync::LazyLock;

use fastrand::Rng;

use super::random::{fnv64, mixed};

/// Average bytes of a vocabulary word with its space, rounded up.
pub const WORD_BYTES: u64 = 6;
/// Words in the vocabulary, and in one block of text.
pub const BLOCK_WORDS: u64 = 96;
/// Tokens that two contexts may begin with alike by chance: the letter and seven digits that their first words share in
/// one of 268 million pairs are no more tokens than that.
pub const ALIKE_TOKENS: u64 = 8;
/// Words that spell a 64-bit number: 96^10 is more than 2^64.
pub const SPELLED_WORDS: u64 = 10;

/// The words that texts are made of.
const WORDS: &str = "\
    the time people water day man world life hand part child eye woman place work week case point number group \
    problem fact home room mother area money story month lot right study book word business issue side kind head \
    house service friend father power hour game line end member law car city name president team minute idea body \
    back parent face others level office door health person art war history party result change morning reason \
    research girl guy moment air teacher force education foot boy age policy music market sense nation plan \
    college interest death river";

/// The `BLOCK_WORDS` words, in the order that every shuffle starts from.
pub(super) static VOCABULARY: LazyLock<Vec<&str>> = LazyLock::new(|| WORDS.split(' ').collect());

/// Writes the texts of a run; the same seed and nonce give the same bytes.
#[derive(Debug, Clone)]
pub struct Writer {
    seed: u64,
    nonce: String,
}

impl Writer {
    pub fn new(seed: u64, nonce: &str) -> Writer {
        Writer {
            seed,
            nonce: nonce.to_string(),
        }
    }

    /// Makes a writer of other texts, which share nothing with this one's.
    pub fn branch(&self, name: &str) -> Writer {
        Writer {
            seed: fnv64(format!("{}/{name}", self.seed).as_bytes()),
            nonce: format!("{}/{name}", self.nonce),
        }
    }

    /// Returns a text of exactly `words` words. The first word is made from the nonce and `number`, so that no two
    /// contexts and no two runs share a prefix.
    pub fn context(&self, number: u64, words: u64) -> String {
        let first = fnv64(format!("{}/{number}", self.nonce).as_bytes());
        let text = format!("c{first:016x}");
        shuffled(text, self.rng(number, 1), words.saturating_sub(1))
    }

    /// Returns `words` continuation words, each with a space in front. The first `SPELLED_WORDS` spell the nonce and
    /// `number`, so they differ between any two numbers and any two runs.
    ///
    /// A tokenizer sees them as ordinary words, unlike the first word of a context.
    pub fn spelled(&self, number: u64, words: u64) -> String {
        let mut rest = mixed(number.wrapping_add(fnv64(self.nonce.as_bytes())));
        let mut text = String::new();
        for _ in 0..words {
            text.push(' ');
            text.push_str(VOCABULARY[(rest % BLOCK_WORDS) as usize]);
            rest /= BLOCK_WORDS;
        }
        text
    }

    /// Returns `words` continuation words, each with a space in front, which may begin as others do.
    pub fn filler(&self, number: u64, words: u64) -> String {
        shuffled(String::new(), self.rng(number, 4), words)
    }

    /// Returns a question to append to a context; it begins with a line break.
    pub fn question(&self, number: u64) -> String {
        let mut rng = self.rng(number, 2);
        let mut word = || VOCABULARY[rng.usize(..VOCABULARY.len())];
        let (a, b, c) = (word(), word(), word());
        format!("\n\nQuestion {number}: how are {a}, {b} and {c} related in the text above?")
    }

    /// Returns the generator that draws questions.
    pub fn draw(&self) -> Rng {
        self.rng(0, 3)
    }

    fn rng(&self, number: u64, purpose: u64) -> Rng {
        let key = format!("{}/{purpose}/{number}", self.seed);
        Rng::with_seed(fnv64(key.as_bytes()))
    }
}

/// Appends `words` words, each with a space in front: the vocabulary, shuffled anew for every block.
fn shuffled(mut text: String, mut rng: Rng, words: u64) -> String {
    let mut block = VOCABULARY.clone();
    text.reserve((words * WORD_BYTES) as usize);
    let mut left = words as usize;
    while left > 0 {
        rng.shuffle(&mut block);
        for word in block.iter().take(left) {
            text.push(' ');
            text.push_str(word);
        }
        left = left.saturating_sub(block.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn a_context_has_exactly_the_words_asked_for() {
        let writer = Writer::new(1, "n");
        for words in [1, 2, 96, 97, 98, 1000] {
            assert_eq!(
                writer.context(0, words).split_whitespace().count() as u64,
                words
            );
        }
    }

    #[test]
    fn every_block_holds_every_word_once() {
        let text = Writer::new(3, "n").context(5, 1 + 2 * BLOCK_WORDS);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for word in text.split_whitespace().skip(1) {
            *counts.entry(word).or_default() += 1;
        }
        assert_eq!(counts.len() as u64, BLOCK_WORDS);
        assert!(counts.values().all(|&n| n == 2));
    }

    #[test]
    fn no_two_contexts_and_no_two_runs_share_their_first_word() {
        let mut seen = HashSet::new();
        for nonce in ["a", "b"] {
            let writer = Writer::new(1, nonce);
            for number in 0..300 {
                assert!(seen.insert(writer.context(number, 1)), "{nonce} {number}");
            }
        }
    }

    #[test]
    fn a_branch_shares_no_first_word_with_its_stem_or_with_another() {
        let stem = Writer::new(1, "n");
        let writers = [stem.branch("a"), stem.branch("b"), stem];
        let mut seen = HashSet::new();
        for number in 0..300 {
            for writer in &writers {
                assert!(seen.insert(writer.context(number, 1)), "{number}");
            }
        }
        let words = |writer: &Writer| writer.filler(0, 20);
        assert_ne!(words(&writers[0]), words(&writers[2]));
        assert_eq!(words(&writers[0]), words(&Writer::new(1, "n").branch("a")));
    }

    #[test]
    fn spelled_words_tell_numbers_and_runs_apart() {
        let mut seen = HashSet::new();
        for nonce in ["a", "b"] {
            let writer = Writer::new(1, nonce);
            for number in (0..5_000).chain(u64::MAX - 5_000..=u64::MAX) {
                let text = writer.spelled(number, SPELLED_WORDS);
                assert_eq!(text.split(' ').count() as u64, 1 + SPELLED_WORDS);
                assert!(seen.insert(text), "{nonce} {number}");
            }
        }
        let writer = Writer::new(1, "a");
        assert!(writer.spelled(7, 12).starts_with(&writer.spelled(7, 3)));
    }

    #[test]
    fn a_filler_is_whole_shuffles_of_the_vocabulary() {
        let text = Writer::new(1, "n").filler(3, 2 * BLOCK_WORDS + 1);
        let words: Vec<&str> = text.split(' ').skip(1).collect();
        assert_eq!(words.len() as u64, 2 * BLOCK_WORDS + 1);
        let first: HashSet<_> = words[..96].iter().collect();
        let second: HashSet<_> = words[96..192].iter().collect();
        assert_eq!((first.len(), second.len()), (96, 96));
        assert_ne!(words[..96], words[96..192]);
    }

    #[test]
    fn the_same_seed_and_nonce_give_the_same_text() {
        assert_eq!(
            Writer::new(4, "n").context(2, 50),
            Writer::new(4, "n").context(2, 50)
        );
        assert_ne!(
            Writer::new(4, "n").context(2, 50),
            Writer::new(5, "n").context(2, 50)
        );
    }
}
