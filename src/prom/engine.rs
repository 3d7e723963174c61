//! The engines' names for the KV figures of a workload, and how a figure is made of them.
//!
//! Names are found with and without `_total`, and behind each of the engine's prefixes. Those of vLLM and llama.cpp
//! stand on recorded pages unless a comment says otherwise, the others in the engines' sources or documentation. The
//! hit rate's are in `catalog`.

use std::borrow::Cow;

use super::parse::Exposition;
use crate::units::steers;

/// A figure of a workload that a /metrics page can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The highest number of tokens that running requests held.
    KvUsedTokens,
    /// Cached prompt tokens over prompt tokens, 0..=1.
    PrefixHitRate,
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

    /// Its name in "vLLM exposes no …".
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
    Increase(&'static str),
    /// The increase of a sum of seconds, in milliseconds.
    IncreaseMs(&'static str),
    /// One increase over another.
    Share {
        part: &'static str,
        whole: &'static str,
    },
    /// The hit rate of the best of `catalog::PAIRS`.
    HitRate,
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
}

impl Source {
    /// Returns the metrics that the source reads, except those of the hit rate.
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

const fn source(quantity: Quantity, how: How) -> Source {
    Source {
        quantity,
        how,
        note: "",
    }
}

/// An acceptance rate of draft tokens.
const fn accepted(part: &'static str, whole: &'static str) -> Source {
    source(Quantity::SpecAcceptRate, How::Share { part, whole })
}

impl Source {
    const fn noting(self, note: &'static str) -> Source {
        Source { note, ..self }
    }
}

const RESIDENT: &str = "process_resident_memory_bytes";
const ONE_PROCESS: &str = "of the process that serves the page only";
const LMCACHE_CHUNKS: &str = "chunks, from LMCache's CPU buffer";
const CONFIG: Size = Size::ConfigInfo("vllm:cache_config_info");
const SGLANG_TOKENS: Size = Size::ShareOf("sglang:max_total_num_tokens");
const TRTLLM_BLOCK: Size = Size::Block("trtllm_kv_cache_tokens_per_block");

/// All sources; for each quantity the best comes first.
pub static SOURCES: &[Source] = {
    use How::{HitRate, Increase, IncreaseMs, Mean, MeanInUse, Peak, PeakOf};
    use Quantity::{
        EvictMs, Evictions, KvUsedTokens, Preemptions, PrefixHitRate, ResidentBytesMean,
        ResidentBytesPeak, SpecAcceptRate,
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
        source(PrefixHitRate, HitRate),
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
