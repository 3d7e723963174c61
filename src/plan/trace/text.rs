//! The prompts of a trace: text for each block's name, made on demand.
//!
//! A block begins with words that spell its name and continues with one of a few fillers, which all prompts share: a
//! prompt costs some hundred bytes a block, and a trace of any length costs only its names.

use std::sync::Arc;

use crate::plan::Prompt;
use crate::plan::calibration::Calibration;
use crate::plan::prompt::{SPELLED_WORDS, Writer};
use crate::plan::random::mixed;

/// The number of fillers, of about 3 KB each.
const FILLERS: u64 = 64;

/// Makes the text of a block from its name and its place in the prompt, always the same.
#[derive(Debug)]
pub struct Texts {
    writer: Writer,
    calibration: Calibration,
    block_tokens: u64,
    filler_words: u64,
    fillers: Vec<Arc<str>>,
}

impl Texts {
    /// Makes texts for blocks of `block_tokens` tokens; the last block of a prompt may have fewer.
    pub fn new(writer: &Writer, calibration: &Calibration, block_tokens: u64) -> Texts {
        let writer = writer.branch("trace");
        // If words are not whole tokens, adjacent blocks differ by a word.
        let fewest = calibration.words_of_more(block_tokens).saturating_sub(1);
        let filler_words = fewest.saturating_sub(SPELLED_WORDS);
        Texts {
            fillers: (0..FILLERS)
                .map(|number| writer.filler(number, filler_words).into())
                .collect(),
            block_tokens,
            filler_words,
            calibration: calibration.clone(),
            writer,
        }
    }

    /// Returns a prompt of `tokens` tokens. Two prompts have the same words as far as their names are the same.
    ///
    /// After that they differ within `SPELLED_WORDS` words; in the first block the first word differs.
    pub fn prompt(&self, hash_ids: &[u64], tokens: u64) -> Prompt {
        let mut pieces = Vec::with_capacity(2 * hash_ids.len());
        let end = self.words_before(tokens);
        for (place, &id) in (0..).zip(hash_ids) {
            let start = self.words_before(self.block_tokens * place);
            let full_end = self.words_before(self.block_tokens * (place + 1));
            let words = end.min(full_end) - start;
            let own = (full_end - start).saturating_sub(self.filler_words);
            let own = own.max(1).min(words);
            let mut text: String = match place == 0 && own > 0 {
                true => self.writer.context(id, 1) + &self.writer.spelled(id, own - 1),
                false => self.writer.spelled(id, own),
            };
            let filler = &self.fillers[(mixed(id) % FILLERS) as usize];
            if words - own < self.filler_words {
                text.push_str(beginning(filler, words - own));
                pieces.push(text.into());
            } else {
                pieces.extend([text.into(), filler.clone()]);
            }
        }
        Prompt::Text(pieces)
    }

    /// Returns the words of a prompt's first `tokens` tokens; what the server puts before it counts for the first
    /// block.
    fn words_before(&self, tokens: u64) -> u64 {
        match tokens {
            0 => 0,
            tokens => self.calibration.words_of(tokens),
        }
    }
}

/// Returns the first `words` words of a text in which every word has a space in front.
fn beginning(text: &str, words: u64) -> &str {
    let end = memchr::memchr_iter(b' ', text.as_bytes()).nth(words as usize);
    &text[..end.unwrap_or(text.len())]
}
