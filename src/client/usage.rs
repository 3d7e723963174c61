//! The token counts that a reply carries, by the names that servers give them.

use super::json::{Raw, count, pick};

/// Token counts as the server reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    /// Prompt and output together.
    pub total_tokens: Option<u64>,
}

impl Usage {
    /// Reads an object of counts; `None` where it has none.
    ///
    /// The names are those of OpenAI's completions, chat and responses, Anthropic, DeepSeek, Kimi and SGLang.
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
            reasoning,
        ] = pick(
            object,
            &[
                "prompt_tokens",
                "input_tokens",
                "completion_tokens",
                "output_tokens",
                "total_tokens",
                "cached_tokens",
                "prompt_cache_hit_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "reasoning_tokens",
            ],
        )
        .map(count);
        let [of_prompt, of_input, of_completion, of_output] = pick(
            object,
            &[
                "prompt_tokens_details",
                "input_tokens_details",
                "completion_tokens_details",
                "output_tokens_details",
            ],
        );
        let detail = |details, name| count(pick(details, &[name])[0]);
        // Anthropic counts what its cache held, and what it stored there, apart from the input.
        let whole_input = input.map(|input| input + read.unwrap_or(0) + created.unwrap_or(0));
        let usage = Usage {
            prompt_tokens: prompt.or(whole_input),
            completion_tokens: completion.or(output),
            cached_tokens: detail(of_prompt, "cached_tokens")
                .or(detail(of_input, "cached_tokens"))
                .or(cached)
                .or(hit)
                .or(read),
            reasoning_tokens: detail(of_completion, "reasoning_tokens")
                .or(detail(of_output, "reasoning_tokens"))
                .or(reasoning),
            total_tokens: total,
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// The counts of both, field by field, by `both` where both have one.
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

    /// Sums field by field; what neither side reports stays absent.
    pub fn plus(self, other: Usage) -> Usage {
        self.with(other, |a, b| a + b)
    }

    /// Takes each count of `later`, but for a 0 that comes after a good count.
    pub fn updated(self, later: Usage) -> Usage {
        self.with(
            later,
            |before, later| if later == 0 { before } else { later },
        )
    }

    /// The counts without those that are impossible, each judged by itself: a prompt of 0 tokens, and parts that are
    /// more than their whole.
    pub fn possible(self) -> Usage {
        let at_most = |part: Option<u64>, whole: Option<u64>| {
            part.filter(|&part| whole.is_none_or(|whole| part <= whole))
        };
        let prompt_tokens = self.prompt_tokens.filter(|&tokens| tokens > 0);
        Usage {
            prompt_tokens,
            cached_tokens: at_most(self.cached_tokens, prompt_tokens),
            reasoning_tokens: at_most(self.reasoning_tokens, self.completion_tokens),
            ..self
        }
    }

    /// The output tokens by the total, prompt tokens taken off.
    pub fn output_of_total(self) -> Option<u64> {
        self.total_tokens?.checked_sub(self.prompt_tokens?)
    }
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
            (Some(9), None, Some(0))
        );
    }
}
