//! Counts of tokens that cannot be, which some servers report: they are in no figure.

use std::borrow::Cow;

use crate::sample::{Sample, TokenSource};

/// Tokens that a server may put around a text, such as those of a chat template, of tools or of images.
const AROUND_A_TEXT: u64 = 1 << 16;
/// Tokens that an answer may have beside its text, such as hidden reasoning, where the request sets no limit.
const HIDDEN: u64 = 1 << 20;

/// The sample without counts that cannot be; what it lends has none of them.
///
/// A prompt has no more tokens than bytes, but for those around it, and no fewer than were cached of it. An answer has
/// no more than bytes of its text, but for as many hidden ones as it was allowed; where its count says so, its events
/// count, if it has any.
pub fn possible(sample: &Sample) -> Cow<'_, Sample> {
    // Bytes of 0 are those of a file that does not tell them.
    let prompt_limit = match sample.prompt_bytes {
        0 => u64::MAX,
        bytes => bytes.saturating_add(AROUND_A_TEXT),
    };
    let prompt_tokens = sample.prompt_tokens.filter(|&n| n <= prompt_limit);
    let of_prompt = sample.prompt_tokens.unwrap_or(prompt_limit);
    let cached_limit = of_prompt.min(prompt_limit);
    let cached_tokens = sample.cached_tokens.filter(|&n| n <= cached_limit);
    let hidden = sample.labels.wanted_output_tokens.unwrap_or(HIDDEN);
    let text = sample.text_bytes.max(sample.token_events);
    let answer_limit = text.saturating_add(hidden).saturating_add(AROUND_A_TEXT);
    let is_answer_possible = sample.completion_tokens.is_none_or(|n| n <= answer_limit);
    let is_possible = is_answer_possible
        && prompt_tokens == sample.prompt_tokens
        && cached_tokens == sample.cached_tokens;
    if is_possible {
        return Cow::Borrowed(sample);
    }
    let mut sample = Sample {
        prompt_tokens,
        cached_tokens,
        ..sample.clone()
    };
    if !is_answer_possible {
        let events = Some(sample.token_events).filter(|&events| events > 0);
        sample.completion_tokens = events;
        sample.token_source = events.map(|_| TokenSource::EventsOverUsage);
        sample.streamed_tokens = None;
    }
    Cow::Owned(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Labels;

    #[test]
    fn a_count_is_taken_up_to_what_can_be() {
        // Prompt, cached and output tokens as told and as taken: a prompt of 100 bytes, an answer of 50 bytes and 10
        // events, 16 tokens wanted.
        for (told, taken) in [
            (
                [Some(30), Some(30), Some(16)],
                [Some(30), Some(30), Some(16)],
            ),
            ([Some(30), Some(31), Some(16)], [Some(30), None, Some(16)]),
            ([Some(65_636), Some(1), None], [Some(65_636), Some(1), None]),
            ([Some(65_637), Some(1), None], [None, Some(1), None]),
            ([None, Some(65_637), None], [None, None, None]),
            ([None, Some(65_636), None], [None, Some(65_636), None]),
            ([None, None, Some(65_602)], [None, None, Some(65_602)]),
            ([None, None, Some(65_603)], [None, None, Some(10)]),
            ([Some(4_000_000_000); 3], [None, None, Some(10)]),
        ] {
            let [prompt_tokens, cached_tokens, completion_tokens] = told;
            let sample = Sample {
                labels: Labels {
                    wanted_output_tokens: Some(16),
                    ..Labels::default()
                },
                prompt_tokens,
                cached_tokens,
                completion_tokens,
                prompt_bytes: 100,
                text_bytes: 50,
                token_events: 10,
                ..Sample::default()
            };
            let got = possible(&sample);
            let counts = [got.prompt_tokens, got.cached_tokens, got.completion_tokens];
            assert_eq!(counts, taken, "{told:?}");
            assert_eq!(matches!(got, Cow::Owned(_)), told != taken, "{told:?}");
        }
    }

    #[test]
    fn a_plain_reply_whose_count_cannot_be_has_none() {
        let sample = Sample {
            completion_tokens: Some(2_000_000),
            token_source: Some(TokenSource::Usage),
            text_bytes: 50,
            ..Sample::default()
        };
        let got = possible(&sample);
        assert_eq!((got.completion_tokens, got.token_source), (None, None));
    }
}
