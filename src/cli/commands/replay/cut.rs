//! `--max-input-length`: cuts longer questions before the first round, by the server's own token count.

use std::sync::Arc;

use crate::cli::discover::Ready;
use crate::plan::dataset::{Content, Dataset, Record};
use crate::plan::escape;

/// How often a cut text is counted again.
const RECOUNTS: usize = 3;

/// The counts for the message to the user.
#[derive(Debug, Default, PartialEq)]
struct Cuts {
    /// All questions, and those that were cut.
    questions: u64,
    cut: u64,
    /// Tokens of the cut questions, in total and of the longest.
    tokens: u64,
    longest: u64,
    /// Questions whose length was estimated, since the server did not count it.
    estimated: u64,
    /// Records that are whole bodies or requests, which are not cut.
    bodies: u64,
}

/// Returns the tokens of a text, and whether they were counted (or else estimated).
type Count<'a> = dyn Fn(&str) -> (u64, bool) + 'a;

/// Cuts every question of more than `limit` tokens at its end; returns a message for the user.
pub fn to_length(dataset: &mut Dataset, limit: u64, ready: &Ready) -> String {
    let tokenizer = ready.opened.tokenizer(&ready.target);
    // One question is enough to learn that a server does not count.
    let counts = tokenizer.prompt_tokens("one two three").is_some();
    let estimate = |text: &str| text.len() as f64 * ready.setup.lengths.tokens_per_byte();
    let count = |text: &str| match counts.then(|| tokenizer.prompt_tokens(text)).flatten() {
        Some(tokens) => (tokens, true),
        None => (estimate(text).ceil() as u64, false),
    };
    let mut cuts = Cuts::default();
    dataset.change(|record| {
        let Content::Conversation { opening, questions } = &record.content else {
            cuts.bodies += 1;
            return None;
        };
        let fitted: Vec<Arc<str>> = questions
            .iter()
            .map(|text| question(text, limit, &count, &mut cuts))
            .collect();
        Some(Record {
            content: Content::Conversation {
                opening: opening.clone(),
                questions: fitted,
            },
            ..record.clone()
        })
    });
    cuts.words(limit)
}

impl Cuts {
    fn words(&self, limit: u64) -> String {
        let Cuts { questions, cut, .. } = self;
        let mut text =
            format!("Input limit: {limit} tokens; {cut} of {questions} questions were cut");
        if self.cut > 0 {
            let by = match self.estimated {
                0 => "by /tokenize".to_string(),
                n if n >= self.cut => "by an estimate".to_string(),
                n => format!("by /tokenize, {n} by an estimate"),
            };
            let mean = self.tokens as f64 / self.cut as f64;
            let longest = self.longest;
            text += &format!(", to {mean:.1} tokens on average, {longest} at most ({by})");
        } else if self.estimated > 0 {
            text += " (by an estimate)";
        }
        if self.bodies > 0 {
            text += &format!("; {} whole bodies are left as they are", self.bodies);
        }
        text
    }
}

/// Returns the escaped question, cut to at most `limit` tokens.
fn question(escaped: &Arc<str>, limit: u64, count: &Count<'_>, cuts: &mut Cuts) -> Arc<str> {
    cuts.questions += 1;
    // A token has at least one byte, and an escape is at least as long as its character.
    if escaped.len() as u64 <= limit {
        return Arc::clone(escaped);
    }
    let text: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap_or_default();
    if text.len() as u64 <= limit {
        return Arc::clone(escaped);
    }
    let mut kept = text.as_str();
    let (mut tokens, mut counted) = count(kept);
    for _ in 0..RECOUNTS {
        if tokens <= limit {
            break;
        }
        let bytes = kept.len() as f64 * limit as f64 / tokens as f64;
        kept = head(kept, bytes as usize);
        (tokens, counted) = count(kept);
    }
    cuts.estimated += u64::from(!counted);
    if kept.len() == text.len() {
        return Arc::clone(escaped);
    }
    cuts.cut += 1;
    cuts.tokens += tokens;
    cuts.longest = cuts.longest.max(tokens);
    escape(kept)
}

/// Returns the first `bytes` of a text, or slightly fewer so that no character is cut.
fn head(text: &str, bytes: usize) -> &str {
    let ends = (0..=bytes.min(text.len())).rev();
    let end = ends.into_iter().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<u64> {
        Some(text.split_whitespace().count() as u64)
    }

    fn cut(text: &str, limit: u64, count: &dyn Fn(&str) -> Option<u64>) -> (String, Cuts) {
        let count = |text: &str| match count(text) {
            Some(tokens) => (tokens, true),
            None => (text.len() as u64 / 2, false),
        };
        let mut cuts = Cuts::default();
        let kept = question(&escape(text), limit, &count, &mut cuts);
        (kept.to_string(), cuts)
    }

    #[test]
    fn a_long_question_is_cut_in_proportion_and_counted_again() {
        // 10 words of 4 bytes and a space: 50 bytes; for limit 4: 20 bytes, 4 words.
        let (kept, cuts) = cut(&"word ".repeat(10), 4, &words);
        assert_eq!(kept, "word word word word ");
        assert_eq!(
            (cuts.cut, cuts.tokens, cuts.longest, cuts.estimated),
            (1, 4, 4, 0)
        );
    }

    #[test]
    fn a_question_that_fits_or_cannot_be_longer_is_not_touched() {
        let never = |_: &str| -> Option<u64> { panic!("it needs no count") };
        assert_eq!(cut("four", 4, &never).0, "four");
        let (kept, cuts) = cut("long words but few", 4, &words);
        assert_eq!((kept.as_str(), cuts.cut), ("long words but few", 0));
    }

    #[test]
    fn uneven_words_are_recounted_and_characters_stay_whole() {
        // The first half has words of one byte, so the proportional cut has too many.
        let text = format!("{}{}", "a ".repeat(40), "longer-word ".repeat(10));
        let (kept, cuts) = cut(&text, 20, &words);
        assert!(words(&kept) <= Some(20) && cuts.longest <= 20, "{kept}");
        let (kept, _) = cut("ééé\nééé ééé", 2, &words);
        assert!(kept.starts_with("ééé\\né"), "{kept}");
    }

    #[test]
    fn without_a_count_bytes_are_cut_by_the_estimate() {
        // 40 bytes at 0.5 tokens a byte are 20 tokens; 10 tokens are 20 bytes.
        let (kept, cuts) = cut(&"x".repeat(40), 10, &|_| None);
        assert_eq!((kept.len(), cuts.estimated, cuts.tokens), (20, 1, 10));
    }
}
