//! Text of a wanted token length, without a tokenizer.
//!
//! Texts are seeded shuffles of one vocabulary, block after block, so that every block of
//! `BLOCK_WORDS` words costs the same tokens whatever the tokenizer, and two counted texts are
//! enough to predict the length of any other (`Lengths`).

use std::fmt::Write as _;

use super::dataset::mixed;

/// Bytes of a word of the vocabulary and its space, on average and rounded up.
pub const WORD_BYTES: u64 = 6;
/// Words in the vocabulary, and in one block of text.
pub const BLOCK_WORDS: u64 = VOCABULARY.len() as u64;
/// Words that spell a number of 64 bits: 96^10 is more than 2^64.
pub const SPELLED_WORDS: u64 = 10;

const VOCABULARY: [&str; 96] = [
    "the",
    "time",
    "people",
    "water",
    "day",
    "man",
    "world",
    "life",
    "hand",
    "part",
    "child",
    "eye",
    "woman",
    "place",
    "work",
    "week",
    "case",
    "point",
    "number",
    "group",
    "problem",
    "fact",
    "home",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
    "name",
    "president",
    "team",
    "minute",
    "idea",
    "body",
    "back",
    "parent",
    "face",
    "others",
    "level",
    "office",
    "door",
    "health",
    "person",
    "art",
    "war",
    "history",
    "party",
    "result",
    "change",
    "morning",
    "reason",
    "research",
    "girl",
    "guy",
    "moment",
    "air",
    "teacher",
    "force",
    "education",
    "foot",
    "boy",
    "age",
    "policy",
    "music",
    "market",
    "sense",
    "nation",
    "plan",
    "college",
    "interest",
    "death",
    "river",
];

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

    /// A writer of other texts, which share nothing with this one's.
    pub fn branch(&self, name: &str) -> Writer {
        Writer {
            seed: fnv64(format!("{}/{name}", self.seed).as_bytes()),
            nonce: format!("{}/{name}", self.nonce),
        }
    }

    /// A text of exactly `words` words. The first one is made from the nonce and `number`, so that
    /// no two contexts, and no two runs, share a prefix.
    pub fn context(&self, number: u64, words: u64) -> String {
        let mut rng = self.rng(number, 1);
        let mut text = String::with_capacity((words * WORD_BYTES) as usize + 24);
        let first = fnv64(format!("{}/{number}", self.nonce).as_bytes());
        // Writing to a String cannot fail.
        let _ = write!(text, "c{first:016x}");
        push_words(&mut text, &mut rng, words.saturating_sub(1));
        text
    }

    /// `words` words to go on with, a space before each. The first `SPELLED_WORDS` spell the nonce and
    /// `number`: no two numbers, and no two runs, have them all alike.
    ///
    /// To a tokenizer they are words like any others, which the first word of a context is not.
    pub fn spelled(&self, number: u64, words: u64) -> String {
        let mut rest = mixed(number.wrapping_add(fnv64(self.nonce.as_bytes())));
        let mut text = String::with_capacity((words * WORD_BYTES) as usize + 24);
        for _ in 0..words {
            text.push(' ');
            text.push_str(VOCABULARY[(rest % BLOCK_WORDS) as usize]);
            rest /= BLOCK_WORDS;
        }
        text
    }

    /// `words` words to go on with, a space before each, which may begin as others do.
    pub fn filler(&self, number: u64, words: u64) -> String {
        let mut text = String::with_capacity((words * WORD_BYTES) as usize + 24);
        push_words(&mut text, &mut self.rng(number, 4), words);
        text
    }

    /// A question to append to a context; it begins with a line break.
    pub fn question(&self, number: u64) -> String {
        let mut rng = self.rng(number, 2);
        let mut word = || VOCABULARY[rng.usize(..VOCABULARY.len())];
        format!(
            "\n\nQuestion {number}: how are {}, {} and {} related in the text above?",
            word(),
            word(),
            word()
        )
    }

    /// The generator that draws questions.
    pub fn draw(&self) -> fastrand::Rng {
        self.rng(0, 3)
    }

    fn rng(&self, number: u64, purpose: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(fnv64(
            format!("{}/{purpose}/{number}", self.seed).as_bytes(),
        ))
    }
}

/// Shuffles of the vocabulary, a space before each word.
fn push_words(text: &mut String, rng: &mut fastrand::Rng, words: u64) {
    let mut block = VOCABULARY;
    for k in 0..words {
        let at = (k % BLOCK_WORDS) as usize;
        if at == 0 {
            rng.shuffle(&mut block);
        }
        text.push(' ');
        text.push_str(block[at]);
    }
}

/// FNV-1a, 64 bits.
fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How many tokens a text of so many words has, as a straight line.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    /// Tokens a word.
    slope: f64,
    /// Tokens of an empty prompt: BOS, chat template, the share of the first word.
    intercept: f64,
}

impl Lengths {
    /// For servers that count nothing: 1.05 tokens a word of this vocabulary, a rule of thumb for
    /// byte-pair tokenizers trained on English.
    pub fn estimate() -> Lengths {
        Lengths {
            slope: 1.05,
            intercept: 8.0,
        }
    }

    /// The line through two counted texts, each `(words, tokens)`; `None` where no line rises.
    pub fn fit(short: (u64, u64), long: (u64, u64)) -> Option<Lengths> {
        let slope = (long.1 as f64 - short.1 as f64) / (long.0 as f64 - short.0 as f64);
        let intercept = short.1 as f64 - slope * short.0 as f64;
        (slope.is_finite() && slope > 0.0).then_some(Lengths { slope, intercept })
    }

    /// Words of a prompt of `tokens` tokens; at least one.
    pub fn words_of(&self, tokens: u64) -> u64 {
        (((tokens as f64 - self.intercept) / self.slope).round() as u64).max(1)
    }

    /// Tokens a byte of text like this vocabulary's: an estimate for others.
    pub fn tokens_per_byte(&self) -> f64 {
        let bytes: usize = VOCABULARY.iter().map(|word| word.len() + 1).sum();
        self.slope * VOCABULARY.len() as f64 / bytes as f64
    }

    /// Words that `tokens` more tokens are.
    pub fn words_of_more(&self, tokens: u64) -> u64 {
        (tokens as f64 / self.slope).round() as u64
    }

    /// Tokens that `words` more words add.
    pub fn tokens_of_more(&self, words: u64) -> u64 {
        (words as f64 * self.slope).round() as u64
    }
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

    #[test]
    fn two_counted_texts_predict_the_rest() {
        // 97 words: 110 tokens, 385 words: 398 + ... slope (430 - 110) / (385 - 97) = 1.111
        let lengths = Lengths::fit((97, 110), (385, 430)).expect("a rising line");
        // 32,000 tokens: intercept 110 - 97 * 1.1111 = 2.22; (32000 - 2.22) / 1.1111 = 28798
        assert_eq!(lengths.words_of(32_000), 28_798);
        assert_eq!(lengths.tokens_of_more(12), 13);
        // 1000 / 1.1111 = 900
        assert_eq!(lengths.words_of_more(1000), 900);
        assert_eq!(Lengths::fit((97, 110), (385, 110)), None);
    }

    #[test]
    fn tokens_a_byte_follow_from_tokens_a_word() {
        // A block of the vocabulary with its spaces, at two tokens a word.
        let bytes = VOCABULARY.join(" ").len() + 1;
        let lengths = Lengths::fit((10, 20), (20, 40)).expect("a rising line");
        let tokens = lengths.tokens_per_byte() * bytes as f64;
        assert!((tokens - 192.0).abs() < 1e-9, "{tokens}");
    }
}
