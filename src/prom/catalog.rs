//! The engines' names for the same quantities: prompt tokens found in a cache, and prompt tokens looked up.
//!
//! The names come from the engines' sources, and those of vLLM and llama.cpp also from recorded pages. Names are
//! found with and without `_total`: see `series`.
//!
//! LMCache's `num_hit_tokens` over `num_requested_tokens` is no pair: it is asked for what a lookup has found, so that
//! this rate, its `retrieve_hit_rate`, is near 1 whatever the cache held. Dynamo's `cached_tokens` has no counter of
//! prompts beside it that is known here.

/// The name that guides ask for, which no engine exposes: hits over lookups, of the best pair there is.
pub const HIT_RATE: &str = "lmcache_hit_rate";

/// Prompt tokens that SGLang's scheduler took in, without those of requests that it had to begin again.
pub const EFFECTIVE: &str = "sglang:prefill_effective_tokens_total";
pub const EFFECTIVE_DEVICE: &str = "sglang:prefill_effective_tokens_total{mode=\"device_hit\"}";
pub const EFFECTIVE_HOST: &str = "sglang:prefill_effective_tokens_total{mode=\"host_hit\"}";
pub const EFFECTIVE_STORAGE: &str = "sglang:prefill_effective_tokens_total{mode=\"storage_hit\"}";

/// Counters that give a hit rate. A name may have labels, as in a selector.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub engine: &'static str,
    /// Counters whose sum is the tokens found.
    pub hits: &'static [&'static str],
    /// Counters whose sum is the tokens looked up.
    pub of: &'static [&'static str],
    pub unit: Unit,
}

/// The unit of the counters of a pair; the rate holds in every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Tokens,
    Blocks,
    /// Blocks in some versions, tokens in others.
    Unsure,
}

/// The best source comes first. On a page with one source that one counts; where an engine runs with LMCache, the
/// lookups of LMCache count.
pub static PAIRS: &[Pair] = &[
    // Inside the engine's process; lookups of its scheduler.
    Pair {
        engine: "LMCache",
        hits: &["lmcache:num_lookup_hits"],
        of: &["lmcache:num_lookup_tokens"],
        unit: Unit::Tokens,
    },
    // As a server of its own. Whole chunks only are counted, so both are a little short of the prompt.
    Pair {
        engine: "LMCache server",
        hits: &["lmcache_mp_lookup_hit_tokens_total"],
        of: &["lmcache_mp_lookup_requested_tokens_total"],
        unit: Unit::Tokens,
    },
    // Hits of every tier, the external one included; recent versions only.
    Pair {
        engine: "vLLM",
        hits: &["vllm:prompt_tokens_cached"],
        of: &["vllm:prompt_tokens"],
        unit: Unit::Tokens,
    },
    // Hits of the GPU's tier only: what an offload buffer gave is not among them.
    Pair {
        engine: "vLLM, GPU tier",
        hits: &["vllm:prefix_cache_hits"],
        of: &["vllm:prefix_cache_queries"],
        unit: Unit::Tokens,
    },
    Pair {
        engine: "old vLLM, GPU tier",
        hits: &["vllm:gpu_prefix_cache_hits"],
        of: &["vllm:gpu_prefix_cache_queries"],
        unit: Unit::Unsure,
    },
    // A series for each of device, host and storage, which add up.
    Pair {
        engine: "SGLang",
        hits: &["sglang:cached_tokens_total"],
        of: &["sglang:prompt_tokens_total"],
        unit: Unit::Tokens,
    },
    // Its mode `input` is what was computed, so that all modes together are the prompts. It is there before the first
    // hit, unlike the counter above. Of its TP ranks one shows it by default.
    Pair {
        engine: "SGLang",
        hits: &[EFFECTIVE_DEVICE, EFFECTIVE_HOST, EFFECTIVE_STORAGE],
        of: &[EFFECTIVE],
        unit: Unit::Tokens,
    },
    // Its prompt_tokens_total counts only what was processed: the cached tokens are not among them.
    Pair {
        engine: "llama.cpp",
        hits: &["llamacpp:prompt_tokens_cached_total"],
        of: &[
            "llamacpp:prompt_tokens_cached_total",
            "llamacpp:prompt_tokens_total",
        ],
        unit: Unit::Tokens,
    },
    // The three of TensorRT-LLM were not seen on a recorded page.
    Pair {
        engine: "TensorRT-LLM",
        hits: &["trtllm_prompt_cached_tokens_total"],
        of: &["trtllm_prompt_tokens_total"],
        unit: Unit::Tokens,
    },
    Pair {
        engine: "TensorRT-LLM",
        hits: &["trtllm_prompt_cache_hit_tokens_total"],
        of: &["trtllm_prompt_tokens_total"],
        unit: Unit::Tokens,
    },
    Pair {
        engine: "TensorRT-LLM",
        hits: &["trtllm_kv_cache_reused_blocks_total"],
        of: &[
            "trtllm_kv_cache_reused_blocks_total",
            "trtllm_kv_cache_missed_blocks_total",
        ],
        unit: Unit::Blocks,
    },
];
