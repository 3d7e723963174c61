//! Prompts and answers whose length, as the server counted it, differs from the one that was wanted.

use std::collections::BTreeMap;

use crate::sample::{Sample, TokenSource};

/// How far a prompt may be off without a warning, as a share of its length.
pub const PROMPT_OFF: f64 = 0.01;
/// How far a single prompt may be off in tokens: generated texts cannot be cut to the exact token.
const PROMPT_TOKENS: u64 = 2;

/// The number of successes with both a wanted and a counted length, and those whose length is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths {
    pub prompts: u64,
    pub shorter_prompts: Off,
    pub longer_prompts: Off,
    pub answers: u64,
    pub shorter_answers: Off,
    pub longer_answers: Off,
}

/// Requests whose length is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Off {
    pub requests: u64,
    wanted: Values,
    got: Values,
}

/// Values with their numbers of occurrences.
type Values = BTreeMap<u64, u64>;

impl Lengths {
    /// Adds a success.
    pub fn add(&mut self, good: &Sample) {
        let labels = &good.labels;
        if let Some((wanted, got)) = labels.wanted_prompt_tokens.zip(good.prompt_tokens) {
            self.prompts += 1;
            let off_by = wanted.abs_diff(got);
            if off_by > PROMPT_TOKENS && off_by as f64 > PROMPT_OFF * wanted as f64 {
                match got < wanted {
                    true => self.shorter_prompts.add(wanted, got),
                    false => self.longer_prompts.add(wanted, got),
                }
            }
        }
        if let Some((got, source)) = good.completion_tokens.zip(good.token_source) {
            self.answer(labels.wanted_output_tokens, got, source);
        }
    }

    /// Adds the tokens of an answer; counts from events and estimates are left out because they are not exact.
    pub fn answer(&mut self, wanted: Option<u64>, got: u64, source: TokenSource) {
        let is_counted = match source {
            TokenSource::Usage
            | TokenSource::ContinuousUsage
            | TokenSource::Total
            | TokenSource::Tokenize => true,
            TokenSource::Events | TokenSource::EventsOverUsage | TokenSource::Estimate => false,
        };
        let Some(wanted) = wanted.filter(|_| is_counted) else {
            return;
        };
        self.answers += 1;
        if got < wanted {
            self.shorter_answers.add(wanted, got);
        } else if got > wanted {
            self.longer_answers.add(wanted, got);
        }
    }

    /// Adds the requests of another pass.
    pub fn merge(&mut self, other: &Lengths) {
        self.prompts += other.prompts;
        self.shorter_prompts.merge(&other.shorter_prompts);
        self.longer_prompts.merge(&other.longer_prompts);
        self.answers += other.answers;
        self.shorter_answers.merge(&other.shorter_answers);
        self.longer_answers.merge(&other.longer_answers);
    }
}

impl Off {
    fn add(&mut self, wanted: u64, got: u64) {
        self.requests += 1;
        *self.wanted.entry(wanted).or_default() += 1;
        *self.got.entry(got).or_default() += 1;
    }

    /// Adds other requests whose length is off.
    pub fn merge(&mut self, other: &Off) {
        self.requests += other.requests;
        for (own, others) in [
            (&mut self.wanted, &other.wanted),
            (&mut self.got, &other.got),
        ] {
            for (value, n) in others {
                *own.entry(*value).or_default() += n;
            }
        }
    }

    /// Returns the medians of the wanted and of the counted lengths, the lower of two middle values; `None` if no
    /// length is off.
    pub fn medians(&self) -> Option<(u64, u64)> {
        let median = |values: &Values| {
            let mut below = 0;
            let mut values = values.iter();
            values.find_map(|(value, n)| {
                below += n;
                (below * 2 >= self.requests).then_some(*value)
            })
        };
        median(&self.wanted).zip(median(&self.got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Labels;

    fn sample(wanted: (u64, u64), got: (u64, u64)) -> Sample {
        Sample {
            labels: Labels {
                wanted_prompt_tokens: Some(wanted.0),
                wanted_output_tokens: Some(wanted.1),
                ..Labels::default()
            },
            prompt_tokens: Some(got.0),
            completion_tokens: Some(got.1),
            token_source: Some(TokenSource::Usage),
            ..Sample::default()
        }
    }

    #[test]
    fn answers_are_off_by_a_token_and_prompts_by_one_per_cent_and_three_tokens() {
        let mut lengths = Lengths::default();
        for (wanted, got) in [
            ((500, 16), (500, 16)),
            ((500, 16), (505, 15)),
            ((500, 16), (506, 26)),
            ((500, 16), (494, 28)),
            // A difference of two tokens is 10 % of 20, but no more than a tokenizer may cause.
            ((20, 16), (22, 16)),
            ((20, 16), (23, 27)),
        ] {
            lengths.add(&sample(wanted, got));
        }
        assert_eq!((lengths.prompts, lengths.answers), (6, 6));
        assert_eq!(lengths.shorter_prompts.medians(), Some((500, 494)));
        // The longer prompts have 23 and 506 tokens in place of 20 and 500.
        assert_eq!(lengths.longer_prompts.requests, 2);
        assert_eq!(lengths.longer_prompts.medians(), Some((20, 23)));
        assert_eq!(lengths.shorter_answers.medians(), Some((16, 15)));
        assert_eq!(lengths.longer_answers.medians(), Some((16, 27)));
        let (mut both, other) = (lengths.longer_answers.clone(), &lengths.shorter_answers);
        both.merge(other);
        // The counts are 15, 26, 27 and 28, and the lower of the two middle values is 26.
        assert_eq!((both.requests, both.medians()), (4, Some((16, 26))));
        assert_eq!(Off::default().medians(), None);
    }

    #[test]
    fn answers_without_a_count_and_requests_without_a_wanted_length_are_left_out() {
        let mut lengths = Lengths::default();
        for source in [
            TokenSource::Events,
            TokenSource::EventsOverUsage,
            TokenSource::Estimate,
        ] {
            lengths.answer(Some(16), 26, source);
        }
        lengths.answer(None, 26, TokenSource::Usage);
        lengths.add(&Sample {
            labels: Labels::default(),
            ..sample((1, 1), (500, 16))
        });
        assert_eq!(lengths, Lengths::default());
    }
}
