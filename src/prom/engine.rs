//! What each engine calls the KV figures of a workload, and how a figure is made of what it exposes.
//!
//! Names are found with and without `_total`. Those of vLLM and llama.cpp stand on recorded pages unless a
//! comment says otherwise, the others in the engines' sources or documentation. The hit rate's are in `catalog`.

use super::parse::Exposition;

/// What a /metrics page can tell of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The highest number of tokens that running requests held.
    KvUsedTokens,
    /// Cached prompt tokens over prompt tokens, 0..=1.
    PrefixHitRate,
    /// In the engine's own unit, which the source names.
    Evictions,
    /// Milliseconds.
    EvictMs,
    Preemptions,
    /// Accepted draft tokens over draft tokens, 0..=1.
    SpecAcceptRate,
    /// Bytes, as the one below.
    ResidentBytesPeak,
    ResidentBytesMean,
}

impl Quantity {
    pub const ALL: [Quantity; 8] = [
        Quantity::KvUsedTokens,
        Quantity::PrefixHitRate,
        Quantity::Evictions,
        Quantity::EvictMs,
        Quantity::Preemptions,
        Quantity::SpecAcceptRate,
        Quantity::ResidentBytesPeak,
        Quantity::ResidentBytesMean,
    ];

    /// As in "vLLM exposes no …".
    pub fn what(self) -> &'static str {
        match self {
            Quantity::KvUsedTokens => "used KV tokens",
            Quantity::PrefixHitRate => "prefix cache hits",
            Quantity::Evictions => "evictions",
            Quantity::EvictMs => "eviction time",
            Quantity::Preemptions => "preemptions",
            Quantity::SpecAcceptRate => "draft tokens",
            Quantity::ResidentBytesPeak | Quantity::ResidentBytesMean => "memory",
        }
    }
}

/// Whose names a page has.
#[derive(Debug, PartialEq, Eq)]
pub struct Engine {
    pub name: &'static str,
    /// What `--backend` calls it.
    backends: &'static [&'static str],
    /// Of its metrics' names; empty: it has no page.
    prefix: &'static str,
}

/// Found on a page in this order: LMCache adds its names to an engine's.
pub static ENGINES: &[Engine] = &[
    Engine {
        name: "vLLM",
        backends: &["vllm", "mock"],
        prefix: "vllm:",
    },
    Engine {
        name: "SGLang",
        backends: &["sglang"],
        prefix: "sglang:",
    },
    Engine {
        name: "llama.cpp",
        backends: &["llamacpp"],
        prefix: "llamacpp:",
    },
    Engine {
        name: "LMDeploy",
        backends: &["lmdeploy"],
        prefix: "lmdeploy:",
    },
    Engine {
        name: "TensorRT-LLM",
        backends: &[],
        prefix: "trtllm_",
    },
    Engine {
        name: "TGI",
        backends: &[],
        prefix: "tgi_",
    },
    Engine {
        name: "transformers",
        backends: &["cpu"],
        prefix: "",
    },
    Engine {
        name: "LMCache",
        backends: &[],
        prefix: "lmcache",
    },
];

impl Engine {
    /// The one that a backend's name says; without one, or with one that says nothing, by the page's names.
    pub fn of(page: &Exposition, backend: Option<&str>) -> Option<&'static Engine> {
        let by_name =
            |engine: &&Engine| backend.is_some_and(|name| engine.backends.contains(&name));
        let by_page = |engine: &&Engine| {
            let mut samples = page.samples.iter();
            samples.any(|sample| engine.exposes(sample.name))
        };
        let named = ENGINES.iter().find(by_name);
        named.or_else(|| ENGINES.iter().find(by_page))
    }

    pub fn exposes(&self, name: &str) -> bool {
        !self.prefix.is_empty() && name.starts_with(self.prefix)
    }

    /// The label `version` of an info metric of its own; no engine on a recorded page has one.
    pub fn version(&self, page: &Exposition) -> Option<String> {
        let is_info = |name: &str| name.ends_with("_info") || name.ends_with("_version");
        let mut own = page
            .samples
            .iter()
            .filter(|sample| self.exposes(sample.name));
        own.find_map(|sample| {
            let mut labels = sample.labels.iter().filter(|_| is_info(sample.name));
            let (_, version) =
                labels.find(|(label, value)| *label == "version" && !value.is_empty())?;
            // A server could steer the terminal with them.
            Some(version.replace(char::is_control, " "))
        })
    }
}

/// One way to a quantity.
#[derive(Debug)]
pub struct Source {
    pub quantity: Quantity,
    pub how: How,
    /// What the user must know of the figure, or empty.
    pub note: &'static str,
}

#[derive(Debug)]
pub enum How {
    /// The highest reading of a gauge, summed over data-parallel ranks.
    Peak(&'static str),
    /// The same of a gauge that counts in something else than tokens.
    PeakOf(&'static str, Size),
    Mean(&'static str),
    /// The mean of the readings above 0: the engine shows 0 for what is not in use.
    MeanInUse(&'static str),
    Increase(&'static str),
    /// Of a sum of seconds, in milliseconds.
    IncreaseMs(&'static str),
    /// One increase over another.
    Share {
        part: &'static str,
        whole: &'static str,
    },
    /// By the best of `catalog::PAIRS`.
    HitRate,
}

/// How many tokens 1 of a gauge is.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// The gauge is a share; labels of vLLM's info metric of that name tell of what.
    ConfigInfo(&'static str),
    /// The gauge is a share of this gauge, in tokens.
    ShareOf(&'static str),
    /// The gauge counts blocks, of so many tokens as this gauge says.
    Block(&'static str),
    /// The gauge is a share, and no page of the engine tells of what.
    Untold,
}

impl Source {
    /// The metrics that it reads, but those of the hit rate.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let (first, second) = match self.how {
            How::Peak(name)
            | How::PeakOf(name, _)
            | How::Mean(name)
            | How::MeanInUse(name)
            | How::Increase(name)
            | How::IncreaseMs(name) => (Some(name), None),
            How::Share { part, whole } => (Some(part), Some(whole)),
            How::HitRate => (None, None),
        };
        first.into_iter().chain(second)
    }
}

const fn source(quantity: Quantity, how: How, note: &'static str) -> Source {
    Source {
        quantity,
        how,
        note,
    }
}

const RESIDENT: &str = "process_resident_memory_bytes";
const ONE_PROCESS: &str = "of the process that serves the page only";
const EVERY_RANK: &str = "tokens; every TP rank counts its own";
const CONFIG: Size = Size::ConfigInfo("vllm:cache_config_info");

/// Best first for each quantity.
pub static SOURCES: &[Source] = {
    use How::{HitRate, Increase, IncreaseMs, Mean, MeanInUse, Peak, PeakOf, Share};
    use Quantity::{
        EvictMs, Evictions, KvUsedTokens, Preemptions, PrefixHitRate, ResidentBytesMean,
        ResidentBytesPeak, SpecAcceptRate,
    };
    &[
        source(KvUsedTokens, PeakOf("vllm:kv_cache_usage_perc", CONFIG), ""),
        // Old versions (unverified).
        source(
            KvUsedTokens,
            PeakOf("vllm:gpu_cache_usage_perc", CONFIG),
            "",
        ),
        source(KvUsedTokens, Peak("sglang:kv_used_tokens"), ""),
        // Before kv_used_tokens (unverified).
        source(KvUsedTokens, Peak("sglang:num_used_tokens"), ""),
        source(
            KvUsedTokens,
            PeakOf(
                "sglang:token_usage",
                Size::ShareOf("sglang:max_total_num_tokens"),
            ),
            "",
        ),
        source(
            KvUsedTokens,
            PeakOf(
                "trtllm_kv_cache_used_blocks",
                Size::Block("trtllm_kv_cache_tokens_per_block"),
            ),
            "",
        ),
        source(
            KvUsedTokens,
            PeakOf("lmdeploy:gpu_cache_usage_perc", Size::Untold),
            "",
        ),
        // Old versions; from its documentation.
        source(KvUsedTokens, Peak("llamacpp:kv_cache_tokens"), ""),
        source(PrefixHitRate, HitRate, ""),
        // Made on first use.
        source(
            Evictions,
            Increase("sglang:evicted_tokens_total"),
            EVERY_RANK,
        ),
        source(
            Evictions,
            Increase("lmcache:local_cpu_evict_keys_count"),
            "chunks, from LMCache's CPU buffer",
        ),
        source(
            Evictions,
            Increase("lmcache_mp_l1_evicted_chunks_total"),
            "chunks, from LMCache's CPU buffer",
        ),
        // With --kv-cache-metrics; from its sources.
        source(
            Evictions,
            Increase("vllm:kv_block_lifetime_seconds_count"),
            "blocks; only a sample of them is counted",
        ),
        source(
            EvictMs,
            IncreaseMs("sglang:eviction_duration_seconds_sum"),
            "every TP rank counts its own",
        ),
        source(Preemptions, Increase("vllm:num_preemptions_total"), ""),
        source(
            Preemptions,
            Increase("sglang:num_retracted_requests_total"),
            "",
        ),
        // vLLM's are there with a draft model only; from its sources.
        source(
            SpecAcceptRate,
            Share {
                part: "vllm:spec_decode_num_accepted_tokens_total",
                whole: "vllm:spec_decode_num_draft_tokens_total",
            },
            "",
        ),
        source(
            SpecAcceptRate,
            Share {
                part: "llamacpp:spec_decode_num_accepted_tokens_total",
                whole: "llamacpp:spec_decode_num_draft_tokens_total",
            },
            "",
        ),
        source(
            SpecAcceptRate,
            Share {
                part: "lmdeploy:spec_decode_num_accepted_tokens_total",
                whole: "lmdeploy:spec_decode_num_draft_tokens_total",
            },
            "",
        ),
        source(
            SpecAcceptRate,
            Share {
                part: "trtllm_spec_decode_accepted_tokens_total",
                whole: "trtllm_spec_decode_drafted_tokens_total",
            },
            "",
        ),
        source(
            SpecAcceptRate,
            Share {
                part: "trtllm_spec_decode_num_accepted_tokens_total",
                whole: "trtllm_spec_decode_num_draft_tokens_total",
            },
            "",
        ),
        source(
            SpecAcceptRate,
            MeanInUse("sglang:spec_accept_rate"),
            "each of one interval",
        ),
        source(ResidentBytesPeak, Peak(RESIDENT), ONE_PROCESS),
        source(ResidentBytesMean, Mean(RESIDENT), ONE_PROCESS),
    ]
};
