//! The engines' names for the same quantities: prompt tokens found in a cache, and prompt tokens looked up.
//!
//! The names come from the engines' sources, and those of vLLM and llama.cpp also from recorded pages. Names are
//! found with and without `_total`: see `series`.

/// The name that guides ask for, which no engine exposes: hits over lookups, of the best pair there is.
pub const HIT_RATE: &str = "lmcache_hit_rate";

/// Counters that give a hit rate.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub engine: &'static str,
    /// Counters whose sum is the tokens found.
    pub hits: &'static [&'static str],
    /// Counters whose sum is the tokens looked up.
    pub of: &'static [&'static str],
    /// The counters count tokens. Otherwise the rate holds, but they are no counts of tokens.
    pub in_tokens: bool,
}

/// The best source comes first. On a page with one source that one counts; where an engine runs with LMCache, the
/// lookups of LMCache count.
pub static PAIRS: &[Pair] = &[
    // Inside the engine's process; lookups of its scheduler.
    Pair {
        engine: "LMCache",
        hits: &["lmcache:num_lookup_hits"],
        of: &["lmcache:num_lookup_tokens"],
        in_tokens: true,
    },
    // As a server of its own. Whole chunks only are counted, so both are a little short of the prompt.
    Pair {
        engine: "LMCache server",
        hits: &["lmcache_mp_lookup_hit_tokens_total"],
        of: &["lmcache_mp_lookup_requested_tokens_total"],
        in_tokens: true,
    },
    // Hits of every tier, the external one included; recent versions only.
    Pair {
        engine: "vLLM",
        hits: &["vllm:prompt_tokens_cached"],
        of: &["vllm:prompt_tokens"],
        in_tokens: true,
    },
    // Hits of the GPU's tier only: what an offload buffer gave is not among them.
    Pair {
        engine: "vLLM, GPU tier",
        hits: &["vllm:prefix_cache_hits"],
        of: &["vllm:prefix_cache_queries"],
        in_tokens: true,
    },
    Pair {
        engine: "old vLLM, GPU tier",
        hits: &["vllm:gpu_prefix_cache_hits"],
        of: &["vllm:gpu_prefix_cache_queries"],
        // Some versions count blocks.
        in_tokens: false,
    },
    // A series for each of device, host and storage, which add up.
    Pair {
        engine: "SGLang",
        hits: &["sglang:cached_tokens_total"],
        of: &["sglang:prompt_tokens_total"],
        in_tokens: true,
    },
    // Its prompt_tokens_total counts only what was processed: the cached tokens are not among them.
    Pair {
        engine: "llama.cpp",
        hits: &["llamacpp:prompt_tokens_cached_total"],
        of: &[
            "llamacpp:prompt_tokens_cached_total",
            "llamacpp:prompt_tokens_total",
        ],
        in_tokens: true,
    },
    // Not seen on a recorded page.
    Pair {
        engine: "TensorRT-LLM",
        hits: &["trtllm_prompt_cached_tokens_total"],
        of: &["trtllm_prompt_tokens_total"],
        in_tokens: true,
    },
];
