//! The token counts that a reply carries, by the names that servers give them.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::value::RawValue;

/// Token counts as the server reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Some proxies put a usage of zeros on every event.
    pub fn is_all_zero(&self) -> bool {
        self.prompt_tokens.unwrap_or(0) == 0 && self.completion_tokens.unwrap_or(0) == 0
    }

    /// Sums field by field; what neither side reports stays absent.
    pub fn plus(self, other: Usage) -> Usage {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            _ => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        Usage {
            prompt_tokens: add(self.prompt_tokens, other.prompt_tokens),
            completion_tokens: add(self.completion_tokens, other.completion_tokens),
            cached_tokens: add(self.cached_tokens, other.cached_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}

/// The counts as they stand in the JSON.
#[derive(Deserialize)]
pub struct RawUsage {
    #[serde(default, deserialize_with = "lenient")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "lenient")]
    completion_tokens_details: Option<Details>,
    /// DeepSeek's name for cached prompt tokens.
    #[serde(default, deserialize_with = "lenient")]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "lenient")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    reasoning_tokens: Option<u64>,
}

/// No request has four thousand million tokens: such a count is a server's mistake, and absent.
pub fn sane(count: Option<u64>) -> Option<u64> {
    count.filter(|&n| n <= u64::from(u32::MAX))
}

impl RawUsage {
    /// The counts, each where one of its names has it.
    pub fn flatten(self) -> Usage {
        let cached = self
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens);
        Usage {
            prompt_tokens: sane(self.prompt_tokens),
            completion_tokens: sane(self.completion_tokens),
            cached_tokens: sane(cached.or(self.prompt_cache_hit_tokens)),
            reasoning_tokens: self
                .completion_tokens_details
                .and_then(|d| sane(d.reasoning_tokens)),
        }
    }
}

/// Reads a value of another type, such as a count with a fraction, as absent: it is a server's mistake.
pub fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    d: D,
) -> Result<Option<T>, D::Error> {
    let value = <&RawValue>::deserialize(d)?;
    Ok(serde_json::from_str(value.get()).ok())
}
