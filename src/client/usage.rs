//! The token counts of a reply, under all names that servers use.

use super::json::{Raw, count, pick};
use crate::sample::TokenSource;

/// Token counts as the server reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    /// Tokens of prompt and output together.
    pub total_tokens: Option<u64>,
}

/// The names of counts, and of the objects that hold parts of them, in OpenAI's completions, chat and responses,
/// Anthropic, DeepSeek, Kimi, SGLang and Gemini.
const NAMES: [&str; 15] = [
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cachedContentTokenCount",
    "reasoning_tokens",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
];

/// The tokens of a reply as its events have shown them.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Events with generated text.
    pub events: u64,
    /// Token events that have reasoning and no answer.
    pub reasoning_events: u64,
    pub has_text: bool,
}

impl Usage {
    /// Reads an object of counts; `None` if it has none.
    pub fn read(object: Option<Raw<'_>>) -> Option<Usage> {
        let [
            prompt,
            input,
            completion,
            output,
            total,
            cached,
            hit,
            read,
            created,
            content,
            reasoning,
            of_prompt,
            of_input,
            of_completion,
            of_output,
        ] = pick(object, &NAMES);
        let detail = |details, name| count(pick(details, &[name])[0]);
        let (read, created) = (count(read), count(created));
        // Anthropic does not include what its cache held and what it stored there in the input.
        let beside_input = read.unwrap_or(0) + created.unwrap_or(0);
        let whole_input = count(input).map(|input| input + beside_input);
        let usage = Usage {
            prompt_tokens: count(prompt).or(whole_input),
            completion_tokens: count(completion).or(count(output)),
            cached_tokens: detail(of_prompt, "cached_tokens")
                .or(detail(of_input, "cached_tokens"))
                .or(count(cached))
                .or(count(hit))
                .or(read)
                .or(count(content)),
            reasoning_tokens: detail(of_completion, "reasoning_tokens")
                .or(detail(of_output, "reasoning_tokens"))
                .or(count(reasoning)),
            total_tokens: count(total),
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// Combines the counts field by field, with `both` where both have one.
    fn with(self, other: Usage, both: impl Fn(u64, u64) -> u64) -> Usage {
        let field = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(both(a, b)),
            _ => a.or(b),
        };
        Usage {
            prompt_tokens: field(self.prompt_tokens, other.prompt_tokens),
            completion_tokens: field(self.completion_tokens, other.completion_tokens),
            cached_tokens: field(self.cached_tokens, other.cached_tokens),
            reasoning_tokens: field(self.reasoning_tokens, other.reasoning_tokens),
            total_tokens: field(self.total_tokens, other.total_tokens),
        }
    }

    /// Sums field by field; counts that neither side reports stay absent.
    pub fn plus(self, other: Usage) -> Usage {
        self.with(other, |a, b| a + b)
    }

    /// Takes each count of `later`, except a 0 after a good count.
    pub fn updated(self, later: Usage) -> Usage {
        self.with(
            later,
            |before, later| if later == 0 { before } else { later },
        )
    }

    /// Returns the counts without impossible ones, each judged by itself: a prompt of 0 tokens, and more reasoning
    /// than output. Figures judge the others, and say so.
    pub fn possible(self) -> Usage {
        let at_most = |part: Option<u64>, whole: Option<u64>| {
            part.filter(|&part| whole.is_none_or(|whole| part <= whole))
        };
        let prompt_tokens = self.prompt_tokens.filter(|&tokens| tokens > 0);
        Usage {
            prompt_tokens,
            reasoning_tokens: at_most(self.reasoning_tokens, self.completion_tokens),
            ..self
        }
    }

    /// Returns the output tokens and the source of their number. A count below the events with text, or 0 with text, is
    /// refuted by the events. The total may still be right, such as when a count leaves out reasoning.
    pub fn output_tokens(&self, shown: Shown) -> Option<(u64, TokenSource)> {
        let least = shown.events.max(u64::from(shown.has_text));
        let counted = self.completion_tokens.filter(|&n| n >= least);
        let reasoning = self.reasoning_tokens.filter(|&n| n > 0);
        let with_reasoning = counted.zip(reasoning).map(|(n, reasoning)| n + reasoning);
        let of_total = self.output_of_total().filter(|&n| n >= least.max(1));
        let of_total = of_total.filter(|&n| counted.is_none() || with_reasoning == Some(n));
        let by_events = match self.completion_tokens {
            Some(_) => TokenSource::EventsOverUsage,
            None => TokenSource::Events,
        };
        let of_events = (shown.events > 0).then_some((shown.events, by_events));
        of_total
            .map(|n| (n, TokenSource::Total))
            .or(counted.map(|n| (n, TokenSource::Usage)))
            .or(of_events)
    }

    /// Returns the output tokens as the total minus the prompt tokens.
    fn output_of_total(&self) -> Option<u64> {
        self.total_tokens?.checked_sub(self.prompt_tokens?)
    }

    /// Returns the output tokens whose events came; `None`: all of them, as far as can be seen.
    ///
    /// Reasoning that the server does not stream has no events, or far fewer for its tokens than the answer, whose
    /// events may hold several tokens too.
    pub fn streamed_tokens(&self, shown: Shown) -> Option<u64> {
        let (all, reasoning) = (self.completion_tokens?, self.reasoning_tokens?);
        let events = shown.events;
        if events == 0 || reasoning == 0 {
            return None;
        }
        let of_answer = events - shown.reasoning_events;
        let an_event = match of_answer {
            0 => 4.0,
            n => 1.5 * (all.saturating_sub(reasoning) as f64 / n as f64).max(1.0),
        };
        let streamed = match shown.reasoning_events {
            0 => all.saturating_sub(reasoning).max(events),
            n if reasoning as f64 > n as f64 * an_event => events,
            _ => all,
        };
        (streamed < all).then_some(streamed)
    }
}

/// Adds up the cached tokens in the tiers of SGLang's cache; `None` if there are none.
pub fn cached_in_tiers(details: Option<Raw<'_>>) -> Option<u64> {
    let tiers = pick(details, &["device", "host", "storage"]);
    tiers
        .into_iter()
        .filter_map(count)
        .reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Usage> {
        Usage::read(Some(serde_json::from_str(json).expect(json)))
    }

    fn usage(counts: [u64; 4]) -> Option<Usage> {
        let [prompt, completion, cached, reasoning] = counts.map(|n| (n > 0).then_some(n));
        Some(Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            cached_tokens: cached,
            reasoning_tokens: reasoning,
            total_tokens: None,
        })
    }

    #[test]
    fn counts_are_found_under_each_of_their_names() {
        for (json, wanted) in [
            (r#"{"prompt_tokens":9,"completion_tokens":3}"#, [9, 3, 0, 0]),
            (
                r#"{"prompt_tokens":9.0,"completion_tokens":"3"}"#,
                [9, 3, 0, 0],
            ),
            (
                r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}"#,
                [9, 0, 4, 0],
            ),
            (
                r#"{"prompt_tokens":9,"prompt_tokens_details":null,"cached_tokens":4}"#,
                [9, 0, 4, 0],
            ),
            (
                r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":4}"#,
                [9, 0, 5, 0],
            ),
            (
                r#"{"prompt_tokens":9,"cachedContentTokenCount":4}"#,
                [9, 0, 4, 0],
            ),
            // 2 new, 4 read from the cache, 3 written to it.
            (
                r#"{"input_tokens":2,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":6}"#,
                [9, 6, 4, 0],
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":5}}"#,
                [9, 6, 4, 5],
            ),
            (
                r#"{"completion_tokens":6,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                [0, 6, 0, 5],
            ),
            (
                r#"{"completion_tokens":6,"reasoning_tokens":5}"#,
                [0, 6, 0, 5],
            ),
            (
                r#"{"prompt_tokens":18446744073709551615,"completion_tokens":6}"#,
                [0, 6, 0, 0],
            ),
        ] {
            assert_eq!(read(json), usage(wanted), "{json}");
        }
        for none in [
            "null",
            "{}",
            "[]",
            "7",
            r#"{"prompt_tokens":null}"#,
            r#"{"tokens":3}"#,
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_later_0_does_not_take_a_good_count_away() {
        let good = read(r#"{"prompt_tokens":9,"completion_tokens":3}"#).expect("counts");
        let zeros =
            read(r#"{"prompt_tokens":0,"completion_tokens":0,"cached_tokens":0}"#).expect("counts");
        let both = good.updated(zeros);
        assert_eq!(
            (
                both.prompt_tokens,
                both.completion_tokens,
                both.cached_tokens
            ),
            (Some(9), Some(3), Some(0))
        );
        let more = read(r#"{"completion_tokens":7}"#).expect("counts");
        assert_eq!(good.updated(more).completion_tokens, Some(7));
    }

    #[test]
    fn impossible_counts_are_absent_and_their_neighbours_stay() {
        let possible = |json: &str| read(json).expect(json).possible();
        let odd = possible(r#"{"prompt_tokens":0,"completion_tokens":12,"reasoning_tokens":13}"#);
        assert_eq!(
            (
                odd.prompt_tokens,
                odd.completion_tokens,
                odd.reasoning_tokens
            ),
            (None, Some(12), None)
        );
        let odd = possible(r#"{"prompt_tokens":9,"cached_tokens":10,"completion_tokens":0}"#);
        assert_eq!(
            (odd.prompt_tokens, odd.cached_tokens, odd.completion_tokens),
            (Some(9), Some(10), Some(0))
        );
    }
}
