//! The tiling workload: request k uses context k mod C in rotation ⌊k/C⌋, with a question drawn by the seed. Texts are
//! made and escaped once.

use std::sync::Arc;

use super::calibration::Calibration;
use super::prompt::Writer;
use super::{Prompt, Session, Turn, escape};
use crate::sample::Labels;

/// The sizes of a tiling.
#[derive(Debug, Clone)]
pub struct Shape {
    pub contexts: u64,
    pub questions: u64,
    /// Tokens of a context, without the question.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Number of requests; `None`: endless.
    pub requests: Option<u64>,
}

/// An iterator over the sessions of a tiling, one turn each.
pub struct Tiling {
    shape: Shape,
    contexts: Vec<Arc<str>>,
    /// Each question with its tokens.
    questions: Vec<(Arc<str>, u64)>,
    draw: fastrand::Rng,
    next: u64,
}

impl Tiling {
    /// Makes the texts; 61 contexts of 32,000 tokens take about 11 MB.
    pub fn new(shape: Shape, writer: &Writer, calibration: &Calibration) -> Tiling {
        let words = calibration.words_of(shape.input_tokens);
        let contexts = (0..shape.contexts).map(|k| escape(&writer.context(k, words)));
        let questions = (0..shape.questions).map(|k| {
            let text = writer.question(k);
            let words = text.split_whitespace().count() as u64;
            (escape(&text), calibration.tokens_of_more(words))
        });
        Tiling {
            contexts: contexts.collect(),
            questions: questions.collect(),
            shape,
            draw: writer.draw(),
            next: 0,
        }
    }
}

impl Iterator for Tiling {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        let k = self.next;
        if self.shape.requests.is_some_and(|n| k >= n) {
            return None;
        }
        self.next += 1;
        let context = k % self.shape.contexts;
        let question = self.draw.u64(..self.shape.questions);
        let (text, tokens) = &self.questions[question as usize];
        let labels = Labels {
            context: Some(context),
            question: Some(question),
            rotation: Some(k / self.shape.contexts),
            wanted_prompt_tokens: Some(self.shape.input_tokens + tokens),
            wanted_output_tokens: Some(self.shape.output_tokens),
            ..Labels::default()
        };
        let texts = vec![self.contexts[context as usize].clone(), text.clone()];
        let output_tokens = Some(self.shape.output_tokens);
        let turn = Turn::alone(k, labels, Prompt::Text(texts), output_tokens);
        Some(Session::single(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(contexts: u64, requests: u64, seed: u64) -> Tiling {
        let shape = Shape {
            contexts,
            questions: 5,
            input_tokens: 100,
            output_tokens: 10,
            requests: Some(requests),
        };
        Tiling::new(shape, &Writer::new(seed, "n"), &one_token_a_word())
    }

    fn one_token_a_word() -> Calibration {
        Calibration::fit((10, 10), (20, 20)).expect("a rising line")
    }

    fn turns(tiling: Tiling) -> Vec<Turn> {
        tiling
            .filter_map(|mut session| session.next(None))
            .collect()
    }

    fn texts(turn: &Turn) -> &[Arc<str>] {
        match &turn.prompt {
            Prompt::Text(texts) => texts,
            other => panic!("{other:?} is no text"),
        }
    }

    #[test]
    fn request_k_uses_context_k_mod_c_in_rotation_k_over_c() {
        let labels: Vec<_> = turns(tiling(3, 7, 1))
            .iter()
            .map(|turn| (turn.id, turn.labels.context, turn.labels.rotation))
            .collect();
        let wanted = [
            (0, 0, 0),
            (1, 1, 0),
            (2, 2, 0),
            (3, 0, 1),
            (4, 1, 1),
            (5, 2, 1),
            (6, 0, 2),
        ];
        assert_eq!(labels, wanted.map(|(id, c, r)| (id, Some(c), Some(r))));
    }

    #[test]
    fn contexts_are_shared_between_rotations_and_questions_come_on_top() {
        let turns = turns(tiling(2, 4, 1));
        assert!(Arc::ptr_eq(&texts(&turns[0])[0], &texts(&turns[2])[0]));
        assert_eq!(texts(&turns[0])[0].split_whitespace().count(), 100);
        let question = texts(&turns[0])[1].split_whitespace().count() as u64;
        assert_eq!(turns[0].labels.wanted_prompt_tokens, Some(100 + question));
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let bytes = |seed| {
            turns(tiling(3, 9, seed))
                .iter()
                .flat_map(|turn| texts(turn).to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
    }
}
