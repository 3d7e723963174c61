//! The findings of a probe of a cache, as its result file has them.

use serde::Serialize;

use crate::sample::named;

/// The findings of all steps. What was not asked, or not found, is `None`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    pub separability: Option<Separability>,
    pub cache: Option<Presence>,
    pub usage: Option<UsageFound>,
    pub reuse: Option<Reuse>,
    pub block: Option<Block>,
    /// From the fastest tier on.
    pub tiers: Option<Vec<Tier>>,
    pub order: Option<OrderFound>,
    /// Whether the same greedy answer came cold and warm.
    pub same_answer: Option<bool>,
    pub reset: Option<Reset>,
    pub ttl: Option<Ttl>,
    pub shared_between_keys: Option<bool>,
    pub cost: Cost,
    /// Every step that was begun, in order.
    pub steps: Vec<StepDone>,
    /// Contexts that were read again, for the chart.
    pub rereads: Vec<Point>,
    /// Why the probe ended before its last step.
    pub stopped: Option<String>,
}

/// How well TTFT tells cold prompts from warm ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Separability {
    /// Tokens of the prompts.
    pub context_tokens: u64,
    pub cold_ttft_ms: f64,
    pub warm_ttft_ms: f64,
    /// The share of warm prompts below the best threshold less that of cold ones.
    pub youden_j: f64,
}

named! {
    /// Whether there is a cache.
    pub enum Presence {
        Present = "present",
        Absent = "absent",
        Unclear = "unclear",
    }
}

named! {
    /// Whether the cached tokens that replies report are true.
    pub enum UsageVerdict {
        Honest = "honest",
        Absent = "absent",
        Wrong = "wrong",
        Unclear = "unclear",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsageFound {
    pub verdict: UsageVerdict,
    pub why: String,
}

impl UsageFound {
    pub fn is_wrong(&self) -> bool {
        self.verdict == UsageVerdict::Wrong
    }
}

named! {
    /// Which part of an earlier prompt a cache reuses.
    pub enum Shape {
        Prefix = "prefix",
        /// Only a prompt that is the same to its end.
        WholePrompt = "whole_prompt",
        /// Prefixes that end where an earlier prompt or a unit ended.
        Units = "units",
        None = "none",
        Unclear = "unclear",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reuse {
    pub shape: Shape,
    /// The shortest prompt that was reused, of those that were tried.
    pub minimum_tokens: Option<u64>,
}

named! {
    /// What a finding was made by.
    pub enum By {
        Usage = "usage",
        Time = "time",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Block {
    pub tokens: Option<u64>,
    /// Where only a limit is known.
    pub at_most_tokens: Option<u64>,
    pub by: By,
}

/// A tier and those before it: what a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tier {
    pub capacity_tokens: u64,
    /// The 95 % interval.
    pub low_tokens: u64,
    /// `None`: everything that was sent fitted.
    pub high_tokens: Option<u64>,
    /// Of a context of the length that separates cold from warm.
    pub ttft_ms: Option<f64>,
    /// Its slots, where it holds a number of contexts, whatever their length; the tokens are then those of short ones.
    pub contexts: Option<u64>,
}

impl Tier {
    /// Says its capacity.
    pub fn words(&self) -> String {
        if let Some(contexts) = self.contexts {
            return format!("{contexts} contexts of any length");
        }
        match self.high_tokens {
            Some(high) => {
                let (capacity, low) = (self.capacity_tokens, self.low_tokens);
                format!("{capacity} tokens ({low} to {high})")
            }
            None => format!("more than {} tokens", self.low_tokens),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OrderFound {
    /// `None`: undecided.
    pub name: Option<&'static str>,
    /// By how much the likeliest order is likelier than the next one.
    pub odds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reset {
    pub emptied: bool,
    /// The share of contexts that were still found after it.
    pub left_share: f64,
    /// Whether what is left comes from the second of two tiers.
    pub leaves_second_tier: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ttl {
    /// The greatest age at which a context was found.
    pub at_least_s: f64,
    /// The least age at which none was found; `None`: all ages were found.
    pub at_most_s: Option<f64>,
    /// Whether an access renews the age; `None`: unclear.
    pub sliding: Option<bool>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    pub requests: u64,
    pub prompt_tokens: u64,
    /// Prompt tokens that the server had to compute, as far as is known.
    pub uncached_tokens: u64,
    pub seconds: f64,
}

/// A step that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDone {
    pub name: &'static str,
    /// The answer in words, with its interval.
    pub answer: String,
    pub is_clear: bool,
    /// Whether the step found that the server says what is not true.
    pub is_lie: bool,
    pub cost: Cost,
}

/// A context that was read again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Tokens of other contexts that were sent since it was sent last.
    pub distance_tokens: u64,
    pub tokens: u64,
    pub ttft_ms: f64,
}
