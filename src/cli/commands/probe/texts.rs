//! The prompts of a probe as requests: texts that share exactly the tokens that a step wants shared.

use crate::experiment::probe::lab::{Prompt, Request};
use crate::plan::calibration::Calibration;
use crate::plan::prompt::{SPELLED_WORDS, Writer};
use crate::plan::{self, Turn, escape};
use crate::sample::Labels;

/// Makes the requests of a run.
pub struct Texts {
    pub writer: Writer,
    pub lengths: Calibration,
    /// The least number of output tokens that the server lets one ask for.
    pub least_output_tokens: u64,
}

impl Texts {
    /// Makes the request with this id.
    pub fn turn(&self, id: u64, request: &Request) -> Turn {
        let prompt = &request.prompt;
        let output_tokens = request.output_tokens.max(self.least_output_tokens);
        let labels = Labels {
            context: Some(prompt.text),
            question: prompt.branch.map(|(_, other)| other),
            wanted_prompt_tokens: Some(prompt.tokens),
            wanted_output_tokens: Some(output_tokens),
            ..Labels::default()
        };
        let text = plan::Prompt::Text(vec![escape(&self.text(prompt))]);
        Turn {
            // The words of a single token are not compared.
            keeps_reply: request.output_tokens > 1,
            ..Turn::alone(id, labels, text, Some(output_tokens))
        }
    }

    /// Returns the text of a prompt. A branch begins with as many words of its context as have the tokens before it; the
    /// words behind them spell the number of the other text, so that no two branches begin alike.
    fn text(&self, of: &Prompt) -> String {
        let words = self.lengths.words_of(of.tokens);
        let (own, other) = match of.branch {
            None => return self.writer.context(of.text, words),
            Some((0, other)) => return self.writer.context(other, words),
            Some((at, other)) => (self.lengths.words_of(at).min(words), other),
        };
        let spelled = (words - own).min(SPELLED_WORDS);
        self.writer.context(of.text, own)
            + &self.writer.spelled(other, spelled)
            + &self.writer.filler(other, words - own - spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts {
            writer: Writer::new(0, "n"),
            // A token a word, none around the text.
            lengths: Calibration::fit((10, 10), (20, 20)).expect("a rising line"),
            least_output_tokens: 1,
        }
    }

    fn words(prompt: &Prompt) -> Vec<String> {
        let text = texts().text(prompt);
        text.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn a_branch_shares_the_words_before_it_and_no_more() {
        let prompt = |branch| Prompt {
            text: 7,
            tokens: 300,
            branch,
        };
        let stem = words(&prompt(None));
        for at in [0, 1, 100, 295, 300] {
            let [one, two] = [8, 9].map(|other| words(&prompt(Some((at, other)))));
            assert_eq!((one.len(), two.len()), (300, 300), "{at}");
            let alike = |a: &[String], b: &[String]| {
                let pairs = a.iter().zip(b);
                pairs.take_while(|(a, b)| a == b).count() as u64
            };
            // Spelled numbers may begin alike by chance, but not in full.
            for (a, b) in [(&stem, &one), (&stem, &two), (&one, &two)] {
                let shared = alike(a, b);
                assert!((at..at + SPELLED_WORDS).contains(&shared), "{at} {shared}");
            }
            assert_eq!(words(&prompt(Some((at, 8)))), one);
        }
    }

    #[test]
    fn labels_tell_texts_and_lengths_and_only_answers_are_kept() {
        let prompt = Prompt {
            text: 7,
            tokens: 300,
            branch: Some((16, 8)),
        };
        let turn = texts().turn(3, &Request::new(prompt));
        let labels = &turn.labels;
        assert_eq!((labels.context, labels.question), (Some(7), Some(8)));
        assert_eq!(labels.wanted_prompt_tokens, Some(300));
        assert_eq!(
            (turn.id, turn.max_tokens, turn.keeps_reply),
            (3, Some(1), false)
        );
        let request = Request {
            output_tokens: 8,
            ..Request::new(prompt)
        };
        let turn = texts().turn(4, &request);
        assert_eq!((turn.max_tokens, turn.keeps_reply), (Some(8), true));
    }
}
