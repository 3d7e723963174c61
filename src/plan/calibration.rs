//! The length of this program's prompts in the server's tokens.

use super::prompt::VOCABULARY;

/// A straight line from the words of a text to its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Tokens per word.
    slope: f64,
    /// Tokens of an empty prompt: BOS, chat template, the share of the first word.
    intercept: f64,
}

impl Calibration {
    /// For servers that count nothing: 1.05 tokens per word of this vocabulary, a rule of thumb for byte-pair
    /// tokenizers trained on English.
    pub fn estimate() -> Calibration {
        Calibration {
            slope: 1.05,
            intercept: 8.0,
        }
    }

    /// Returns the line through two counted texts, each `(words, tokens)`; `None` if the line does not rise.
    pub fn fit(short: (u64, u64), long: (u64, u64)) -> Option<Calibration> {
        let slope = (long.1 as f64 - short.1 as f64) / (long.0 as f64 - short.0 as f64);
        let intercept = short.1 as f64 - slope * short.0 as f64;
        (slope.is_finite() && slope > 0.0).then_some(Calibration { slope, intercept })
    }

    /// Returns the words of a prompt of `tokens` tokens; at least one.
    pub fn words_of(&self, tokens: u64) -> u64 {
        (((tokens as f64 - self.intercept) / self.slope).round() as u64).max(1)
    }

    /// Returns the tokens that the server puts around a text: those of a prompt of no words.
    ///
    /// The first word of the counted texts is longer than the others, and the line has what it is longer among them.
    /// `first_tokens` are its tokens; `None`: nobody counted them, and they stay in.
    pub fn template_tokens(&self, first_tokens: Option<u64>) -> u64 {
        let beside_words = match first_tokens {
            Some(tokens) => self.intercept + self.slope - tokens as f64,
            None => self.intercept,
        };
        // `as` saturates.
        beside_words.round() as u64
    }

    /// Returns tokens per byte of text like this vocabulary's: an estimate for other texts.
    pub fn tokens_per_byte(&self) -> f64 {
        let bytes: usize = VOCABULARY.iter().map(|word| word.len() + 1).sum();
        self.slope * VOCABULARY.len() as f64 / bytes as f64
    }

    /// Returns the words that add `tokens` tokens.
    pub fn words_of_more(&self, tokens: u64) -> u64 {
        (tokens as f64 / self.slope).round() as u64
    }

    /// Returns the tokens that `words` more words add.
    pub fn tokens_of_more(&self, words: u64) -> u64 {
        (words as f64 * self.slope).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_counted_texts_predict_the_rest() {
        // 97 words: 110 tokens, 385 words: 398 + ... slope (430 - 110) / (385 - 97) = 1.111
        let calibration = Calibration::fit((97, 110), (385, 430)).expect("a rising line");
        // 32,000 tokens: intercept 110 - 97 * 1.1111 = 2.22; (32000 - 2.22) / 1.1111 = 28798
        assert_eq!(calibration.words_of(32_000), 28_798);
        assert_eq!(calibration.tokens_of_more(12), 13);
        // 1000 / 1.1111 = 900
        assert_eq!(calibration.words_of_more(1000), 900);
        assert_eq!(Calibration::fit((97, 110), (385, 110)), None);
    }

    #[test]
    fn tokens_around_a_text_are_those_of_no_word() {
        // Two tokens a word, a first word of 9, and 12 around the text.
        let calibration = Calibration::fit((97, 213), (385, 789)).expect("a rising line");
        assert_eq!(calibration.template_tokens(Some(9)), 12);
        // Nobody counts the first word, which is 7 tokens more than others.
        assert_eq!(calibration.template_tokens(None), 19);
        assert_eq!(calibration.template_tokens(Some(90)), 0);
    }

    #[test]
    fn tokens_a_byte_follow_from_tokens_a_word() {
        // One block of the vocabulary with its spaces, at two tokens a word.
        let bytes = VOCABULARY.join(" ").len() + 1;
        let calibration = Calibration::fit((10, 20), (20, 40)).expect("a rising line");
        let tokens = calibration.tokens_per_byte() * bytes as f64;
        assert!((tokens - 192.0).abs() < 1e-9, "{tokens}");
    }
}
