//! The tiling workload: request k uses context k mod C in rotation ⌊k/C⌋, with a question drawn by the seed. Texts are
//! made and escaped once.
//!
//! Controls go beside the requests and are not counted among them. Repeats at once are four contexts, each sent twice in
//! a row: a cache that misses in the cycle and hits there is too small, one that hits nowhere is off. Fresh pairs are
//! texts of their own, each sent twice in a row: a cold and a warm TTFT at the load of the run. A short text follows each
//! pair: TTFT of a prompt that needs hardly any prefill.

use std::sync::Arc;

use super::calibration::Calibration;
use super::prompt::Writer;
use super::{Prompt, Session, Turn, escape};
use crate::sample::Labels;

/// Contexts that are repeated at once, each in two requests.
const REPEATED: u64 = 4;
/// Requests for each fresh pair, whose two requests are then at most 5 % of all.
const REQUESTS_A_PAIR: u64 = 40;
/// The short text of a pair has this part of a context's words.
const SHORT: u64 = 16;
/// The most fresh pairs.
const MOST_PAIRS: u64 = 40;

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
    /// Whether contexts are repeated at once after the second rotation.
    pub has_repeats_at_once: bool,
    /// Whether fresh pairs go beside the requests from the second rotation on.
    pub has_pairs: bool,
}

/// An iterator over the sessions of a tiling.
pub struct Tiling {
    shape: Shape,
    contexts: Vec<Arc<str>>,
    /// Each question with its tokens.
    questions: Vec<(Arc<str>, u64)>,
    writer: Writer,
    /// Words of a context.
    words: u64,
    draw: fastrand::Rng,
    next: u64,
    next_id: u64,
    pairs: u64,
    /// The request before which the last fresh pair was sent.
    last_pair_at: u64,
    has_repeated: bool,
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
            writer: writer.clone(),
            words,
            draw: writer.draw(),
            next: 0,
            next_id: 0,
            pairs: 0,
            last_pair_at: 0,
            has_repeated: false,
        }
    }

    /// Returns the controls that repeat contexts at once, one request after the other; none where they were sent before.
    pub fn repeats_at_once(&mut self) -> Session {
        let contexts = match std::mem::replace(&mut self.has_repeated, true) {
            true => 0,
            false => self.shape.contexts.min(REPEATED),
        };
        let turns: Vec<Turn> = (0..contexts)
            .map(|context| self.of_context(context))
            .collect();
        self.session(turns.iter().flat_map(|turn| pair(turn, true)).collect())
    }

    /// Returns a request about a context, without its id.
    fn of_context(&mut self, context: u64) -> Turn {
        let text = self.contexts[context as usize].clone();
        let labels = Labels {
            context: Some(context),
            ..Labels::default()
        };
        self.turn(&text, &labels)
    }

    /// Returns a request about a text, with a question and without its id.
    fn turn(&mut self, context: &Arc<str>, labels: &Labels) -> Turn {
        let question = self.draw.u64(..self.shape.questions);
        let (text, tokens) = self.questions[question as usize].clone();
        let labels = Labels {
            question: Some(question),
            wanted_prompt_tokens: Some(self.shape.input_tokens + tokens),
            wanted_output_tokens: Some(self.shape.output_tokens),
            ..labels.clone()
        };
        let prompt = Prompt::Text(vec![Arc::clone(context), text]);
        Turn::alone(0, labels, prompt, Some(self.shape.output_tokens))
    }

    /// Returns a session of these requests, with the next ids.
    fn session(&mut self, mut turns: Vec<Turn>) -> Session {
        for turn in &mut turns {
            turn.id = self.next_id;
            self.next_id += 1;
        }
        Session::Turns(turns.into_iter())
    }

    /// Returns the controls that are due before the next request.
    fn controls(&mut self) -> Option<Session> {
        let warm = self.next.checked_sub(self.shape.contexts)?;
        let is_second_over = warm >= self.shape.contexts;
        if self.shape.has_repeats_at_once && is_second_over && !self.has_repeated {
            return Some(self.repeats_at_once());
        }
        let due = (self.next / REQUESTS_A_PAIR).min(MOST_PAIRS);
        // The second rotation may begin with several due.
        let is_close = self.pairs > 0 && self.next < self.last_pair_at + REQUESTS_A_PAIR / 2;
        if !self.shape.has_pairs || self.pairs >= due || is_close {
            return None;
        }
        self.last_pair_at = self.next;
        Some(self.fresh_pair())
    }

    /// Returns a pair of a new text, and a short text behind it.
    fn fresh_pair(&mut self) -> Session {
        let number = self.shape.contexts + self.pairs;
        let labels = Labels {
            session: Some(self.pairs),
            ..Labels::default()
        };
        self.pairs += 1;
        let text = escape(&self.writer.context(number, self.words));
        let mut turns = Vec::from(pair(&self.turn(&text, &labels), false));
        // No other text has this number.
        let short = self.writer.context(number + MOST_PAIRS, self.words / SHORT);
        let labels = Labels {
            turn: Some(2),
            is_control: true,
            ..labels
        };
        turns.push(self.turn(&escape(&short), &labels));
        self.session(turns)
    }
}

/// Makes two controls of one request, whose text was sent before or not.
fn pair(turn: &Turn, was_sent: bool) -> [Turn; 2] {
    [0, 1].map(|number| Turn {
        labels: Labels {
            turn: Some(number),
            repeat: Some(was_sent || number > 0),
            is_control: true,
            ..turn.labels.clone()
        },
        ..turn.clone()
    })
}

impl Iterator for Tiling {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        let k = self.next;
        if self.shape.requests.is_some_and(|n| k >= n) {
            return None;
        }
        if let Some(controls) = self.controls() {
            return Some(controls);
        }
        self.next += 1;
        let mut turn = self.of_context(k % self.shape.contexts);
        turn.labels.rotation = Some(k / self.shape.contexts);
        turn.id = self.next_id;
        self.next_id += 1;
        Some(Session::single(turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(contexts: u64, requests: Option<u64>) -> Shape {
        Shape {
            contexts,
            questions: 5,
            input_tokens: 100,
            output_tokens: 10,
            requests,
            has_repeats_at_once: requests.is_none(),
            has_pairs: false,
        }
    }

    fn of_shape(shape: Shape, seed: u64) -> Tiling {
        Tiling::new(shape, &Writer::new(seed, "n"), &one_token_a_word())
    }

    fn tiling(contexts: u64, requests: u64, seed: u64) -> Tiling {
        of_shape(shape(contexts, Some(requests)), seed)
    }

    fn one_token_a_word() -> Calibration {
        Calibration::fit((10, 10), (20, 20)).expect("a rising line")
    }

    fn turns(tiling: impl Iterator<Item = Session>) -> Vec<Turn> {
        tiling
            .flat_map(|mut session| std::iter::from_fn(move || session.next(None)))
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

    /// The context, turn and rotation of each turn.
    fn places(turns: &[Turn]) -> Vec<(Option<u64>, Option<u64>, Option<u64>)> {
        let place = |turn: &Turn| (turn.labels.context, turn.labels.turn, turn.labels.rotation);
        turns.iter().map(place).collect()
    }

    #[test]
    fn an_endless_tiling_repeats_four_contexts_at_once_after_two_rotations() {
        let turns = turns(of_shape(shape(5, None), 1).take(10 + 1 + 10));
        let ids: Vec<u64> = turns.iter().map(|turn| turn.id).collect();
        assert_eq!(ids, (0..28).collect::<Vec<u64>>());
        let controls = &turns[10..18];
        let wanted = (0..4).flat_map(|k| [(Some(k), Some(0), None), (Some(k), Some(1), None)]);
        assert_eq!(places(controls), wanted.collect::<Vec<_>>());
        for pair in controls.chunks(2) {
            assert_eq!(texts(&pair[0]), texts(&pair[1]));
        }
        let is_control = |turn: &&Turn| turn.labels.is_control;
        assert_eq!(turns.iter().filter(is_control).count(), 8);
        // The requests go on in the third rotation.
        assert_eq!(places(&turns[18..19]), [(Some(0), None, Some(2))]);
    }

    #[test]
    fn the_controls_of_a_finite_tiling_are_as_many_as_it_has_contexts_up_to_four() {
        let mut tiling = tiling(3, 6, 1);
        assert_eq!(turns(tiling.by_ref()).len(), 6);
        let controls = turns(std::iter::once(tiling.repeats_at_once()));
        let ids: Vec<u64> = controls.iter().map(|turn| turn.id).collect();
        assert_eq!(ids, [6, 7, 8, 9, 10, 11]);
        assert!(controls.iter().all(|turn| turn.labels.is_control));
        // They go out once.
        assert!(turns(std::iter::once(tiling.repeats_at_once())).is_empty());
    }

    #[test]
    fn fresh_pairs_are_texts_of_their_own_and_at_most_a_twentieth_of_the_requests() {
        let shape = Shape {
            has_pairs: true,
            ..shape(100, Some(2000))
        };
        let turns = turns(of_shape(shape, 1));
        let (controls, requests): (Vec<_>, Vec<_>) =
            turns.iter().partition(|turn| turn.labels.is_control);
        assert_eq!((requests.len(), controls.len()), (2000, 120));
        let first = turns.iter().position(|turn| turn.labels.is_control);
        // Two pairs are due when the second rotation begins.
        assert_eq!(first, Some(100));
        assert!(!turns[103].labels.is_control && turns[123].labels.is_control);
        for pair in controls.chunks(3) {
            assert_eq!(texts(pair[0]), texts(pair[1]));
            assert_eq!(pair[1].labels.turn, Some(1));
            // 100 / 16.
            assert_eq!(texts(pair[2])[0].split_whitespace().count(), 6);
        }
        let mut cold: Vec<_> = controls.iter().map(|turn| &texts(turn)[0]).collect();
        cold.extend(requests.iter().map(|turn| &texts(turn)[0]));
        cold.sort_unstable();
        cold.dedup();
        // A text and a short one for each of 40 pairs, and the contexts.
        assert_eq!(cold.len(), 2 * 40 + 100);
        for (at, turn) in turns.iter().enumerate() {
            let so_far = turns[..=at].iter().filter(|turn| turn.labels.is_control);
            assert!(so_far.count() * 13 <= at + 1 || !turn.labels.is_control);
        }
    }
}
