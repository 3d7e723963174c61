//! The prompts of a trace: text for each block's name, made when it is asked for.
//!
//! A block begins with words that spell its name and goes on with one of a few fillers, which all prompts share:
//! a prompt costs some hundred bytes a block, and traces of any length cost no more than their names.

use std::sync::Arc;

use crate::plan::Prompt;
use crate::plan::dataset::mixed;
use crate::plan::prompt::{Lengths, SPELLED_WORDS, Writer};

/// Of a block of Mooncake's traces; the last one of a prompt may be shorter.
pub(super) const BLOCK_TOKENS: u64 = 512;
/// About 3 KB each.
const FILLERS: u64 = 64;

/// Makes the text of a block from its name and its place in the prompt, the same each time.
#[derive(Debug)]
pub struct Texts {
    writer: Writer,
    lengths: Lengths,
    filler_words: u64,
    fillers: Vec<Arc<str>>,
}

impl Texts {
    pub fn new(writer: &Writer, lengths: &Lengths) -> Texts {
        let writer = writer.branch("trace");
        // A block has a word more or less than the next where words are no whole tokens.
        let fewest = lengths.words_of_more(BLOCK_TOKENS).saturating_sub(1);
        let filler_words = fewest.saturating_sub(SPELLED_WORDS);
        Texts {
            fillers: (0..FILLERS)
                .map(|number| writer.filler(number, filler_words).into())
                .collect(),
            filler_words,
            lengths: lengths.clone(),
            writer,
        }
    }

    /// A prompt of `tokens` tokens. Those of two prompts are the same words as far as their names are the same.
    ///
    /// Behind that they differ within `SPELLED_WORDS` words; the first block differs in its first word.
    pub fn prompt(&self, hash_ids: &[u64], tokens: u64) -> Prompt {
        let mut pieces = Vec::with_capacity(2 * hash_ids.len());
        let end = self.words_before(tokens);
        for (place, &id) in (0..).zip(hash_ids) {
            let start = self.words_before(BLOCK_TOKENS * place);
            let full_end = self.words_before(BLOCK_TOKENS * (place + 1));
            let block = Block {
                is_first: place == 0,
                id,
                full_words: full_end - start,
            };
            self.push(&mut pieces, &block, end.min(full_end) - start);
        }
        Prompt::Text(pieces)
    }

    /// Words of a prompt's first `tokens` tokens: what the server puts before it counts for the first block.
    fn words_before(&self, tokens: u64) -> u64 {
        match tokens {
            0 => 0,
            tokens => self.lengths.words_of(tokens),
        }
    }

    /// Pushes the first `words` words of a block.
    fn push(&self, pieces: &mut Vec<Arc<str>>, block: &Block, words: u64) {
        let own = block.full_words.saturating_sub(self.filler_words).max(1);
        let filler_words = words.saturating_sub(own);
        let own = own.min(words);
        let mut text = match block.is_first && own > 0 {
            true => self.writer.context(block.id, 1) + &self.writer.spelled(block.id, own - 1),
            false => self.writer.spelled(block.id, own),
        };
        let filler = &self.fillers[(mixed(block.id) % FILLERS) as usize];
        if filler_words < self.filler_words {
            text.push_str(beginning(filler, filler_words));
            pieces.push(text.into());
        } else {
            pieces.push(text.into());
            pieces.push(filler.clone());
        }
    }
}

struct Block {
    is_first: bool,
    id: u64,
    /// If it is not cut.
    full_words: u64,
}

/// The first `words` words of a text in which a space stands before each.
fn beginning(text: &str, words: u64) -> &str {
    let end = memchr::memchr_iter(b' ', text.as_bytes()).nth(words as usize);
    &text[..end.unwrap_or(text.len())]
}
