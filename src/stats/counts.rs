//! Impossible token counts, which some servers report: no figure uses them.

use std::borrow::Cow;

use crate::sample::{Sample, TokenSource};

/// The most tokens that a server may add around a text, such as those of a chat template, of tools or of images.
const AROUND_A_TEXT: u64 = 1 << 16;
/// The most tokens without text, such as hidden reasoning, that an answer may have if the request sets no limit.
const HIDDEN: u64 = 1 << 20;

/// Returns the sample without impossible token counts: borrowed if it has none, else a changed copy.
///
/// A prompt has at most as many tokens as bytes, plus those that may stand around it, and at least as many as were
/// cached. An answer has at most as many tokens as bytes of text, plus the hidden ones that it was allowed and those
/// around it; the number of its events, if it has any, replaces an impossible count.
pub fn possible(sample: &Sample) -> Cow<'_, Sample> {
    // 0 bytes mean that the file does not tell the length.
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
    fn a_count_is_used_up_to_the_highest_possible_one() {
        // Each case has the prompt, cached and output tokens as reported and as used, for a prompt of 100 bytes and an
        // answer of 50 bytes and 10 events, with 16 tokens wanted.
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
    fn a_plain_reply_with_an_impossible_count_has_no_count() {
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
