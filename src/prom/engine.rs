//! The engines' names for the KV figures of a workload, and how a figure is made of them.
//!
//! Names are found with and without `_total`, and behind each of the engine's prefixes. Those of vLLM and llama.cpp
//! stand on recorded pages unless a comment says otherwise, the others in the engines' sources or documentation. The
//! hit rate's are in `catalog`.

use std::borrow::Cow;

use super::catalog::{EFFECTIVE, EFFECTIVE_DEVICE, EFFECTIVE_HOST, EFFECTIVE_STORAGE};
use super::parse::Exposition;
use crate::units::steers;

/// A figure of a workload that a /metrics page can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The highest number of tokens that running requests held.
    KvUsedTokens,
    /// The highest share of the KV cache that was in use, 0..=1.
    KvUse,
    /// Cached prompt tokens over prompt tokens, 0..=1.
    PrefixHitRate,
    /// The two counts of tokens that the hit rate is made of.
    HitTokens,
    LookupTokens,
    /// Prompt tokens that were found in one tier of the cache, over all prompt tokens, 0..=1: the memory of the
    /// accelerator, that of its host, and what lies behind both.
    DeviceHitRate,
    HostHitRate,
    RemoteHitRate,
    /// Requests that the engine worked on, and those that waited for it.
    RunningMean,
    RunningPeak,
    WaitingMean,
    WaitingPeak,
    /// Evictions, in the engine's own unit, which the source names.
    Evictions,
    /// Eviction time in milliseconds.
    EvictMs,
    Preemptions,
    /// Accepted draft tokens over draft tokens, 0..=1.
    SpecAcceptRate,
    /// Resident memory in bytes: the peak, and below it the mean.
    ResidentBytesPeak,
    ResidentBytesMean,
}

impl Quantity {
    pub const ALL: [Quantity; 18] = [
        Quantity::KvUsedTokens,
        Quantity::KvUse,
        Quantity::PrefixHitRate,
        Quantity::HitTokens,
        Quantity::LookupTokens,
        Quantity::DeviceHitRate,
        Quantity::HostHitRate,
        Quantity::RemoteHitRate,
        Quantity::RunningMean,
        Quantity::RunningPeak,
        Quantity::WaitingMean,
        Quantity::WaitingPeak,
        Quantity::Evictions,
        Quantity::EvictMs,
        Quantity::Preemptions,
        Quantity::SpecAcceptRate,
        Quantity::ResidentBytesPeak,
        Quantity::ResidentBytesMean,
    ];

    /// Its name in "vLLM exposes no …".
    pub fn what(self) -> &'static str {
        match self {
            Quantity::KvUsedTokens => "used KV tokens",
            Quantity::KvUse => "use of the KV cache",
            Quantity::PrefixHitRate | Quantity::HitTokens | Quantity::LookupTokens => {
                "prefix cache hits"
            }
            Quantity::DeviceHitRate | Quantity::HostHitRate | Quantity::RemoteHitRate => {
                "prefix cache hits by tier"
            }
            Quantity::RunningMean | Quantity::RunningPeak => "running requests",
            Quantity::WaitingMean | Quantity::WaitingPeak => "waiting requests",
            Quantity::Evictions => "evictions",
            Quantity::EvictMs => "eviction time",
            Quantity::Preemptions => "preemptions",
            Quantity::SpecAcceptRate => "draft tokens",
            Quantity::ResidentBytesPeak | Quantity::ResidentBytesMean => "memory",
        }
    }

    /// Whether the figure is made of the counters of `catalog::PAIRS`.
    pub fn is_of_pairs(self) -> bool {
        matches!(
            self,
            Quantity::PrefixHitRate | Quantity::HitTokens | Quantity::LookupTokens
        )
    }
}

/// An engine whose names a page may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Engine {
    pub name: &'static str,
    /// The engine's names behind `--backend`.
    backends: &'static [&'static str],
    /// Prefixes of its metrics: its own first, then those that exporters on the way give them. Empty: the engine has no
    /// page.
    prefixes: &'static [&'static str],
}

/// The engines, in the order in which they are looked for on a page: LMCache adds its names to an engine's. Ray Serve
/// exports names with `ray_` in front, and like others that know no colon with `_` in its place.
static ENGINES: &[Engine] = &[
    engine(
        "vLLM",
        &["vllm", "mock"],
        &["vllm:", "vllm_", "ray_vllm:", "ray_vllm_"],
    ),
    engine(
        "SGLang",
        &["sglang"],
        &["sglang:", "sglang_", "ray_sglang:", "ray_sglang_"],
    ),
    engine("llama.cpp", &["llamacpp"], &["llamacpp:", "llamacpp_"]),
    engine("LMDeploy", &["lmdeploy"], &["lmdeploy:", "lmdeploy_"]),
    engine(
        "TensorRT-LLM",
        &[],
        &["trtllm_", "trtllm:", "ray_trtllm_", "ray_trtllm:"],
    ),
    engine("TGI", &[], &["tgi_", "tgi:"]),
    engine("transformers", &["cpu"], &[]),
    engine(
        "LMCache",
        &[],
        &["lmcache:", "lmcache_", "ray_lmcache:", "ray_lmcache_"],
    ),
    engine("LMCache server", &[], &["lmcache_mp_", "lmcache_mp:"]),
];

const fn engine(
    name: &'static str,
    backends: &'static [&'static str],
    prefixes: &'static [&'static str],
) -> Engine {
    Engine {
        name,
        backends,
        prefixes,
    }
}

/// Returns the engine with the longest prefix of a metric's name, and the rest of the name.
fn split_prefix(name: &str) -> Option<(&'static Engine, &str)> {
    let prefixed = ENGINES.iter().flat_map(|engine| {
        let prefixes = engine.prefixes.iter();
        prefixes.filter_map(move |prefix| Some((engine, name.strip_prefix(prefix)?)))
    });
    prefixed.min_by_key(|(_, rest)| rest.len())
}

/// Returns the name with the engine's own prefix; a name of no engine stays unchanged.
pub fn canonical(name: &str) -> Cow<'_, str> {
    match split_prefix(name) {
        Some((engine, rest)) => Cow::Owned(format!("{}{rest}", engine.prefixes[0])),
        None => Cow::Borrowed(name),
    }
}

/// Returns the spellings of a name, the best first: the name itself, then with `_total` added or removed, then both
/// with the engine's other prefixes.
pub fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![name.to_string(), other_total(name)];
    if let Some((engine, rest)) = split_prefix(name) {
        let bare = rest.strip_suffix("_total").unwrap_or(rest);
        for prefix in engine.prefixes {
            // Ray exports a counter as a gauge as well, without `_total`.
            names.extend([format!("{prefix}{bare}_total"), format!("{prefix}{bare}")]);
        }
    }
    names
}

fn other_total(name: &str) -> String {
    match name.strip_suffix("_total") {
        Some(bare) => bare.to_string(),
        None => format!("{name}_total"),
    }
}

impl Engine {
    /// Returns the engine that a backend's name tells; otherwise the one whose names the page has.
    pub fn of(page: &Exposition, backend: Option<&str>) -> Option<&'static Engine> {
        let by_name =
            |engine: &&Engine| backend.is_some_and(|name| engine.backends.contains(&name));
        let named = ENGINES.iter().find(by_name);
        named.or_else(|| Engine::all_on(page).next())
    }

    /// Returns the engines whose names a page has.
    pub fn all_on(page: &Exposition) -> impl Iterator<Item = &'static Engine> {
        let is_on = |engine: &&Engine| page.samples.iter().any(|one| engine.exposes(one.name));
        ENGINES.iter().filter(is_on)
    }

    pub fn exposes(&self, name: &str) -> bool {
        split_prefix(name).is_some_and(|(engine, _)| engine == self)
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
            Some(version.replace(steers, " "))
        })
    }
}

/// One way to measure a quantity.
#[derive(Debug)]
pub struct Source {
    pub quantity: Quantity,
    pub how: How,
    /// A remark for the user beside the figure; may be empty.
    pub note: &'static str,
}

#[derive(Debug)]
pub enum How {
    /// The highest reading of a gauge, summed over data-parallel ranks.
    Peak(&'static str),
    /// The highest reading of a gauge that does not count tokens.
    PeakOf(&'static str, Size),
    Mean(&'static str),
    /// The mean of the readings above 0: the engine shows 0 for a feature that is not in use.
    MeanInUse(&'static str),
    /// The mean of a gauge while requests were in flight, summed over data-parallel ranks.
    MeanInside(&'static str),
    Increase(&'static str),
    /// The increase of a sum of seconds, in milliseconds.
    IncreaseMs(&'static str),
    /// One increase over another.
    Share {
        part: &'static str,
        whole: &'static str,
    },
    /// One increase less others, over the last one. The first name of `less` must be there; the others may come late.
    Rest {
        all: &'static str,
        less: &'static [&'static str],
        whole: &'static str,
    },
    /// The hit rate of the best of `catalog::PAIRS`, and the two counts that it is made of.
    HitRate,
    HitTokens,
    LookupTokens,
}

/// How many tokens a gauge's value of 1 stands for.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// The gauge is a share of a size that the labels of this info metric of vLLM tell.
    ConfigInfo(&'static str),
    /// The gauge is a share of this gauge, in tokens.
    ShareOf(&'static str),
    /// The gauge counts blocks, of so many tokens as this gauge says.
    Block(&'static str),
    /// The gauge is a share of a size that no page of the engine tells.
    Untold,
    /// The figure is the share itself, a mean over data-parallel ranks.
    Share,
}

impl Source {
    /// Returns the metrics that the source reads, except those of the pairs.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let less = match self.how {
            How::Rest { less, .. } => less,
            _ => &[],
        };
        self.needed().into_iter().chain(less.iter().copied())
    }

    /// Returns the metrics without which the source gives no figure.
    pub fn needed(&self) -> Vec<&'static str> {
        match self.how {
            How::Peak(name)
            | How::PeakOf(name, _)
            | How::Mean(name)
            | How::MeanInUse(name)
            | How::MeanInside(name)
            | How::Increase(name)
            | How::IncreaseMs(name) => vec![name],
            How::Share { part, whole } => vec![part, whole],
            How::Rest { all, less, whole } => vec![all, less[0], whole],
            How::HitRate | How::HitTokens | How::LookupTokens => Vec::new(),
        }
    }
}

const fn source(quantity: Quantity, how: How) -> Source {
    Source {
        quantity,
        how,
        note: "",
    }
}

/// One increase over another.
const fn share(quantity: Quantity, part: &'static str, whole: &'static str) -> Source {
    source(quantity, How::Share { part, whole })
}

/// An acceptance rate of draft tokens.
const fn accepted(part: &'static str, whole: &'static str) -> Source {
    share(Quantity::SpecAcceptRate, part, whole)
}

impl Source {
    const fn noting(self, note: &'static str) -> Source {
        Source { note, ..self }
    }
}

const RESIDENT: &str = "process_resident_memory_bytes";
const ONE_PROCESS: &str = "of the process that serves the page only";
const LMCACHE_CHUNKS: &str = "chunks, from LMCache's CPU buffer";
const LOOKUPS: &str = "vllm:prefix_cache_queries_total";
/// Counted with the tokens by source, when a request has its first token; lookups are counted when it is scheduled.
const PROMPTS: &str = "vllm:prompt_tokens_total";
const VLLM_DEVICE: &str = "vllm:prompt_tokens_cached_by_source_total{source=\"device\"}";
const VLLM_HOST: &str = "vllm:prompt_tokens_cached_by_source_total{source=\"host\"}";
const SGLANG_DEVICE: &str = "sglang:cached_tokens_total{cache_source=\"device\"}";
const SGLANG_HOST: &str = "sglang:cached_tokens_total{cache_source=\"host\"}";
const CONNECTOR: &str = "what the KV connector gave: from host memory, a disk or another machine";
const CONFIG: Size = Size::ConfigInfo("vllm:cache_config_info");
const SGLANG_TOKENS: Size = Size::ShareOf("sglang:max_total_num_tokens");
const TRTLLM_BLOCK: Size = Size::Block("trtllm_kv_cache_tokens_per_block");

/// All sources; for each quantity the best comes first.
pub static SOURCES: &[Source] = {
    use How::{HitRate, Increase, IncreaseMs, Mean, MeanInUse, MeanInside, Peak, PeakOf, Rest};
    use Quantity::{
        DeviceHitRate, EvictMs, Evictions, HitTokens, HostHitRate, KvUse, KvUsedTokens,
        LookupTokens, Preemptions, PrefixHitRate, RemoteHitRate, ResidentBytesMean,
        ResidentBytesPeak, RunningMean, RunningPeak, SpecAcceptRate, WaitingMean, WaitingPeak,
    };
    &[
        source(KvUsedTokens, PeakOf("vllm:kv_cache_usage_perc", CONFIG)),
        // Old versions (unverified).
        source(KvUsedTokens, PeakOf("vllm:gpu_cache_usage_perc", CONFIG)),
        source(KvUsedTokens, Peak("sglang:kv_used_tokens")),
        // Before kv_used_tokens (unverified).
        source(KvUsedTokens, Peak("sglang:num_used_tokens")),
        source(KvUsedTokens, PeakOf("sglang:token_usage", SGLANG_TOKENS)),
        source(
            KvUsedTokens,
            PeakOf("trtllm_kv_cache_used_blocks", TRTLLM_BLOCK),
        ),
        source(
            KvUsedTokens,
            PeakOf("lmdeploy:gpu_cache_usage_perc", Size::Untold),
        ),
        // Old versions; from its documentation.
        source(KvUsedTokens, Peak("llamacpp:kv_cache_tokens")),
        source(KvUse, PeakOf("vllm:kv_cache_usage_perc", Size::Share)),
        source(KvUse, PeakOf("vllm:gpu_cache_usage_perc", Size::Share)),
        source(KvUse, PeakOf("sglang:token_usage", Size::Share)),
        source(KvUse, PeakOf("trtllm_kv_cache_utilization", Size::Share)),
        source(KvUse, PeakOf("lmdeploy:gpu_cache_usage_perc", Size::Share)),
        source(KvUse, PeakOf("llamacpp:kv_cache_usage_ratio", Size::Share)),
        source(PrefixHitRate, HitRate),
        source(HitTokens, How::HitTokens),
        source(LookupTokens, How::LookupTokens),
        share(DeviceHitRate, VLLM_DEVICE, PROMPTS),
        // Before it was told by source; and the mock's.
        share(DeviceHitRate, "vllm:prefix_cache_hits_total", LOOKUPS),
        share(DeviceHitRate, SGLANG_DEVICE, "sglang:prompt_tokens_total"),
        share(DeviceHitRate, EFFECTIVE_DEVICE, EFFECTIVE),
        share(HostHitRate, VLLM_HOST, PROMPTS),
        share(HostHitRate, SGLANG_HOST, "sglang:prompt_tokens_total"),
        share(HostHitRate, EFFECTIVE_HOST, EFFECTIVE),
        share(
            HostHitRate,
            "lmcache_mp_lookup_hit_l1_tokens_total",
            "lmcache_mp_lookup_requested_tokens_total",
        ),
        source(
            RemoteHitRate,
            Rest {
                all: "vllm:prompt_tokens_cached_by_source_total",
                less: &[VLLM_DEVICE, VLLM_HOST],
                whole: PROMPTS,
            },
        ),
        share(
            RemoteHitRate,
            "vllm:external_prefix_cache_hits_total",
            LOOKUPS,
        )
        .noting(CONNECTOR),
        // Its label for storage has the name of the backend in it.
        source(
            RemoteHitRate,
            Rest {
                all: "sglang:cached_tokens_total",
                less: &[SGLANG_DEVICE, SGLANG_HOST],
                whole: "sglang:prompt_tokens_total",
            },
        ),
        share(RemoteHitRate, EFFECTIVE_STORAGE, EFFECTIVE),
        share(
            RemoteHitRate,
            "lmcache_mp_lookup_hit_l2_tokens_total",
            "lmcache_mp_lookup_requested_tokens_total",
        ),
        source(RunningMean, MeanInside("vllm:num_requests_running")),
        source(RunningPeak, Peak("vllm:num_requests_running")),
        source(WaitingMean, MeanInside("vllm:num_requests_waiting")),
        source(WaitingPeak, Peak("vllm:num_requests_waiting")),
        source(RunningMean, MeanInside("sglang:num_running_reqs")),
        source(RunningPeak, Peak("sglang:num_running_reqs")),
        source(WaitingMean, MeanInside("sglang:num_queue_reqs")),
        source(WaitingPeak, Peak("sglang:num_queue_reqs")),
        source(RunningMean, MeanInside("llamacpp:requests_processing")),
        source(RunningPeak, Peak("llamacpp:requests_processing")),
        source(WaitingMean, MeanInside("llamacpp:requests_deferred")),
        source(WaitingPeak, Peak("llamacpp:requests_deferred")),
        source(RunningMean, MeanInside("trtllm_num_requests_running")),
        source(RunningPeak, Peak("trtllm_num_requests_running")),
        source(WaitingMean, MeanInside("trtllm_num_requests_waiting")),
        source(WaitingPeak, Peak("trtllm_num_requests_waiting")),
        source(RunningMean, MeanInside("lmdeploy:num_requests_running")),
        source(RunningPeak, Peak("lmdeploy:num_requests_running")),
        source(WaitingMean, MeanInside("lmdeploy:num_requests_waiting")),
        source(WaitingPeak, Peak("lmdeploy:num_requests_waiting")),
        source(RunningMean, MeanInside("tgi_batch_current_size")),
        source(RunningPeak, Peak("tgi_batch_current_size")),
        source(WaitingMean, MeanInside("tgi_queue_size")),
        source(WaitingPeak, Peak("tgi_queue_size")),
        // Made on first use.
        source(Evictions, Increase("sglang:evicted_tokens_total"))
            .noting("tokens; every TP rank counts its own"),
        source(Evictions, Increase("lmcache:local_cpu_evict_keys_count")).noting(LMCACHE_CHUNKS),
        source(Evictions, Increase("lmcache_mp_l1_evicted_chunks_total")).noting(LMCACHE_CHUNKS),
        // With --kv-cache-metrics; from its sources.
        source(Evictions, Increase("vllm:kv_block_lifetime_seconds_count"))
            .noting("blocks; only a sample of them is counted"),
        source(EvictMs, IncreaseMs("sglang:eviction_duration_seconds_sum"))
            .noting("every TP rank counts its own"),
        source(Preemptions, Increase("vllm:num_preemptions_total")),
        source(Preemptions, Increase("sglang:num_retracted_requests_total")),
        // vLLM's are there with a draft model only; from its sources.
        accepted(
            "vllm:spec_decode_num_accepted_tokens_total",
            "vllm:spec_decode_num_draft_tokens_total",
        ),
        accepted(
            "llamacpp:spec_decode_num_accepted_tokens_total",
            "llamacpp:spec_decode_num_draft_tokens_total",
        ),
        accepted(
            "lmdeploy:spec_decode_num_accepted_tokens_total",
            "lmdeploy:spec_decode_num_draft_tokens_total",
        ),
        accepted(
            "trtllm_spec_decode_accepted_tokens_total",
            "trtllm_spec_decode_drafted_tokens_total",
        ),
        accepted(
            "trtllm_spec_decode_num_accepted_tokens_total",
            "trtllm_spec_decode_num_draft_tokens_total",
        ),
        source(SpecAcceptRate, MeanInUse("sglang:spec_accept_rate")).noting("each of one interval"),
        source(ResidentBytesPeak, Peak(RESIDENT)).noting(ONE_PROCESS),
        source(ResidentBytesMean, Mean(RESIDENT)).noting(ONE_PROCESS),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_engines_behind_every_prefix() {
        for (name, engine, own) in [
            ("vllm:x_total", "vLLM", "vllm:x_total"),
            ("ray_vllm:x", "vLLM", "vllm:x"),
            ("ray_vllm_x", "vLLM", "vllm:x"),
            ("vllm_x", "vLLM", "vllm:x"),
            ("sglang_x", "SGLang", "sglang:x"),
            ("llamacpp_x", "llama.cpp", "llamacpp:x"),
            ("trtllm:x", "TensorRT-LLM", "trtllm_x"),
            ("lmcache_x", "LMCache", "lmcache:x"),
            (
                "lmcache:num_vllm_hit_tokens",
                "LMCache",
                "lmcache:num_vllm_hit_tokens",
            ),
            ("lmcache_mp_x", "LMCache server", "lmcache_mp_x"),
        ] {
            let exposing = ENGINES.iter().filter(|engine| engine.exposes(name));
            let exposing: Vec<&str> = exposing.map(|engine| engine.name).collect();
            assert_eq!((&exposing[..], &*canonical(name)), (&[engine][..], own));
        }
        for name in ["up", "my_vllm:x", "vllmx", "ray_x", "process_x"] {
            assert_eq!((split_prefix(name), &*canonical(name)), (None, name));
        }
    }

    #[test]
    fn the_spellings_of_a_name_begin_with_the_name_itself() {
        assert_eq!(spellings("up"), ["up", "up_total"]);
        assert_eq!(
            spellings("llamacpp:n_total"),
            [
                "llamacpp:n_total",
                "llamacpp:n",
                "llamacpp:n_total",
                "llamacpp:n",
                "llamacpp_n_total",
                "llamacpp_n",
            ]
        );
        let names = spellings("ray_vllm_n");
        assert_eq!(
            names[..4],
            ["ray_vllm_n", "ray_vllm_n_total", "vllm:n_total", "vllm:n"]
        );
    }
}
