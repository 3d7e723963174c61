//! Words as tokens: splitting a text, naming its KV blocks, inventing the words of an answer.
//!
//! A token is a run of bytes between ASCII whitespace. A block is named by a hash of everything from
//! the start of the prompt to the block's last word, so equal names mean equal prefixes.

use std::sync::LazyLock;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The words that answers are made of; some are not ASCII, so that a character can be cut in two.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let words = "the token cache block prefix stream latency queue model prompt answer context first next \
        chunk layer memory buffer naïve größe señal été 日本 東京 мир слово λόγος 😀 → ∑ batch decode";
    words.split(' ').collect()
});

/// FNV-1a 64 of `bytes`, going on from `state`.
pub fn fnv1a(state: u64, bytes: &[u8]) -> u64 {
    let step = |state: u64, &byte: &u8| (state ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    bytes.iter().fold(state, step)
}

/// FNV-1a 64 of nothing: where a hash starts.
pub const fn fnv1a_start() -> u64 {
    FNV_OFFSET
}

/// Spreads every bit of `x` over the whole result (the finalizer of splitmix64).
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Word `index` of the answer to the prompt with this hash.
pub fn answer_word(prompt_hash: u64, index: usize) -> &'static str {
    WORDS[word_place(prompt_hash, index)]
}

/// Another word than `answer_word`.
pub fn wrong_word(prompt_hash: u64, index: usize) -> &'static str {
    WORDS[(word_place(prompt_hash, index) + 1) % WORDS.len()]
}

fn word_place(prompt_hash: u64, index: usize) -> usize {
    (mix(prompt_hash.wrapping_add(index as u64)) % WORDS.len() as u64) as usize
}

/// A growing text: its length in tokens and the names of its full blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    block_tokens: usize,
    state: u64,
    tokens: usize,
    blocks: Vec<u64>,
}

impl Chain {
    /// An empty text, to be cut into blocks of `block_tokens` ≥ 1.
    pub fn new(block_tokens: usize) -> Chain {
        Chain {
            block_tokens,
            state: FNV_OFFSET,
            tokens: 0,
            blocks: Vec::new(),
        }
    }

    /// Appends the words of `text`.
    pub fn push_text(&mut self, text: &str) {
        for word in text.split_ascii_whitespace() {
            self.state = fnv1a(fnv1a(self.state, word.as_bytes()), b" ");
            self.tokens += 1;
            if self.tokens.is_multiple_of(self.block_tokens) {
                self.blocks.push(mix(self.state));
            }
        }
    }

    /// Appends what is no token but sets texts apart, such as the role of a message.
    pub fn push_mark(&mut self, mark: &str) {
        self.state = fnv1a(fnv1a(self.state, mark.as_bytes()), b"\0");
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The full blocks' names, from the start of the text.
    pub fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// Names the whole text, the words after the last full block included.
    pub fn hash(&self) -> u64 {
        mix(self.state)
    }

    pub fn into_blocks(self) -> Vec<u64> {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> Chain {
        let mut chain = Chain::new(2);
        chain.push_text(text);
        chain
    }

    #[test]
    fn fnv1a_gives_the_published_values() {
        // From the FNV test vectors: "", "a", "foobar".
        assert_eq!(fnv1a(fnv1a_start(), b""), 0xcbf29ce484222325);
        assert_eq!(fnv1a(fnv1a_start(), b"a"), 0xaf63dc4c8601ec8c);
        assert_eq!(fnv1a(fnv1a_start(), b"foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn only_full_blocks_are_named_and_equal_prefixes_have_equal_names() {
        let five = chain("a b  c\nd e");
        assert_eq!((five.tokens(), five.blocks().len()), (5, 2));
        assert_eq!(chain("a b c d").blocks(), five.blocks());
        assert_eq!(chain("a b c x").blocks()[0], five.blocks()[0]);
        assert_ne!(chain("a b c x").blocks()[1], five.blocks()[1]);
        // The same words behind another start are another block.
        assert_ne!(chain("x b c d").blocks()[1], five.blocks()[1]);
        assert_ne!(chain("ab c d").blocks()[0], five.blocks()[0]);
    }

    #[test]
    fn a_text_in_pieces_is_the_text_in_one() {
        let mut pieces = chain("a b c");
        pieces.push_text(" d ");
        pieces.push_text("e");
        assert_eq!(pieces, chain("a b c d e"));
    }

    #[test]
    fn a_mark_sets_texts_apart_without_being_a_token() {
        let mut marked = Chain::new(2);
        marked.push_mark("user");
        marked.push_text("a b");
        assert_eq!(marked.tokens(), 2);
        assert_ne!(marked.blocks(), chain("a b").blocks());
    }

    #[test]
    fn words_are_single_tokens_and_vary() {
        assert!(WORDS.iter().all(|word| chain(word).tokens() == 1));
        let words: Vec<_> = (0..100).map(|k| answer_word(7, k)).collect();
        assert_eq!(
            words[..50],
            (0..50).map(|k| answer_word(7, k)).collect::<Vec<_>>()
        );
        assert!(WORDS.iter().filter(|word| words.contains(word)).count() > 20);
        assert!((0..100).all(|k| wrong_word(7, k) != words[k]));
    }
}
