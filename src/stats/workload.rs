//! The figures of one fixed workload of `run`: those of a round, and what server and system tell beside them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::client::ClientSummary;
use super::figures::{latency_ns, ttft_ns};
use super::quantile::{Mean, exact_quantile};
use super::round::{RoundFacts, RoundSummary};
use crate::sample::{Phase, Sample, Workload};
use crate::units::seconds;

/// Keys of the figures that do not come from the requests.
pub const PEAK_MEMORY: &str = "peak_mem_mb";
pub const MEAN_MEMORY: &str = "avg_mem_mb";
pub const KV_TOKENS: &str = "total_kv_used_tokens";
pub const KV_BYTES: &str = "kv_used_bytes";
pub const HIT_RATE: &str = "avg_prefix_hit_rate";
pub const EVICTIONS: &str = "total_evict_count";
pub const EVICT_MS: &str = "evict_ms";
pub const ACCEPT_RATE: &str = "avg_spec_accept_rate";
pub const PREEMPTIONS: &str = "total_preemption_count";
pub const TOLD: [&str; 9] = [
    PEAK_MEMORY,
    MEAN_MEMORY,
    KV_TOKENS,
    KV_BYTES,
    HIT_RATE,
    EVICTIONS,
    EVICT_MS,
    ACCEPT_RATE,
    PREEMPTIONS,
];

/// The source of a figure that the input says nothing about.
pub const UNTOLD: &str = "not in the input";

/// Above this difference of two hit rates one of them is not of these requests alone, or wrong.
const HIT_RATES_APART: f64 = 0.05;

/// A figure that the server or the system tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    pub value: Option<f64>,
    /// Where the value is from; without one, why there is none.
    pub source: String,
}

impl Told {
    pub fn new(value: f64, source: impl Into<String>) -> Told {
        Told {
            value: Some(value),
            source: source.into(),
        }
    }

    pub fn absent(why: impl Into<String>) -> Told {
        Told {
            value: None,
            source: why.into(),
        }
    }
}

/// What was told of a workload, by the keys of `TOLD`.
pub type ToldFigures = BTreeMap<&'static str, Told>;

/// What the workload was, beside its samples.
#[derive(Debug, Clone)]
pub struct WorkloadFacts {
    pub workload: Workload,
    /// Requests that were to be in flight at once.
    pub concurrency: u64,
    /// The most that were.
    pub peak: u64,
    /// An earlier workload of this run had a reply that reported cached tokens: in this one, absence is 0.
    pub cached_reported: bool,
    pub client: ClientSummary,
    pub told: ToldFigures,
}

/// The figures of a workload, as every report shows them. Absent is `None`.
#[derive(Debug, Clone)]
pub struct WorkloadSummary {
    pub workload: Workload,
    /// What a round has too: counts, TTFT, ITL, latency, throughput, failures, this client.
    pub round: RoundSummary,
    pub ttft_p95_ms: Option<f64>,
    /// Mean over successes of `(t_last − t_send) / n_out`: the format's own, with the first token.
    pub tpot_ms: Option<f64>,
    /// Mean over successes of `n_out / (t_last − t_send)`, in tokens per second.
    pub request_tokens_per_s: Option<f64>,
    /// All keys of `TOLD`; the hit rate is that of `usage` where the server tells none.
    pub told: ToldFigures,
}

impl WorkloadSummary {
    pub fn of(samples: &[Sample], facts: WorkloadFacts) -> WorkloadSummary {
        let round = RoundFacts {
            concurrency: facts.concurrency,
            round: 1,
            not_sent: 0,
            peak: facts.peak,
            cached_reported: facts.cached_reported,
            slo: None,
            metrics: Vec::new(),
            client: facts.client,
        };
        let round = RoundSummary::of(samples, round);
        let good = samples
            .iter()
            .filter(|s| s.is_success() && s.phase == Phase::Measured);
        let mut ttft_ms: Vec<f64> = good
            .clone()
            .filter_map(|sample| Some(ttft_ns(sample)? as f64 / 1e6))
            .collect();
        ttft_ms.sort_unstable_by(f64::total_cmp);
        let (mut tpot_ms, mut tokens_per_s) = (Mean::default(), Mean::default());
        for sample in good {
            let tokens = sample.completion_tokens.filter(|&tokens| tokens > 0);
            let latency_ns = latency_ns(sample);
            if let Some(tokens) = tokens.filter(|_| latency_ns > 0) {
                tpot_ms.add(latency_ns as f64 / 1e6 / tokens as f64);
                tokens_per_s.add(tokens as f64 / seconds(latency_ns));
            }
        }
        WorkloadSummary {
            workload: facts.workload,
            ttft_p95_ms: exact_quantile(&ttft_ms, 0.95),
            tpot_ms: tpot_ms.get(),
            request_tokens_per_s: tokens_per_s.get(),
            told: with_usage(facts.told, round.prefix_cache_hit_rate),
            round,
        }
    }

    /// Failures over all that were measured; `None`: nothing was.
    pub fn error_rate(&self) -> Option<f64> {
        let of = self.round.total_requests;
        (of > 0).then(|| self.round.failed as f64 / of as f64)
    }

    pub fn told(&self, key: &str) -> Option<f64> {
        self.told.get(key)?.value
    }

    /// The server's hit rate and that of `usage`, where they are further apart than they should be.
    pub fn hit_rates_apart(&self) -> Option<(f64, f64)> {
        let (server, usage) = (self.told(HIT_RATE)?, self.round.prefix_cache_hit_rate?);
        ((server - usage).abs() > HIT_RATES_APART).then_some((server, usage))
    }
}

/// With every key, and with the hit rate of `usage` where nothing better tells one.
fn with_usage(mut told: ToldFigures, usage: Option<f64>) -> ToldFigures {
    for key in TOLD {
        told.entry(key).or_insert_with(|| Told::absent(UNTOLD));
    }
    if let (Some(usage), Some(Told { value: None, .. })) = (usage, told.get(HIT_RATE)) {
        told.insert(HIT_RATE, Told::new(usage, "usage of the replies"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::client::ClientStats;

    const MS: u64 = 1_000_000;

    fn sample(first_ms: u64, last_ms: u64, tokens: u64) -> Sample {
        Sample {
            t_send_ns: MS,
            t_first_ns: Some((1 + first_ms) * MS),
            t_last_ns: Some((1 + last_ms) * MS),
            t_end_ns: (1 + last_ms) * MS,
            prompt_tokens: Some(100),
            cached_tokens: Some(20),
            completion_tokens: Some(tokens),
            ..Sample::default()
        }
    }

    fn summary(samples: &[Sample], told: ToldFigures) -> WorkloadSummary {
        let facts = WorkloadFacts {
            workload: Workload::Long,
            concurrency: 1,
            peak: 1,
            cached_reported: false,
            client: ClientStats::default().summary(0, false),
            told,
        };
        WorkloadSummary::of(samples, facts)
    }

    #[test]
    fn figures_of_the_format_are_those_worked_by_hand() {
        let mut failed = sample(900, 1000, 1);
        failed.failure = Some(crate::sample::Failure::new(
            crate::sample::FailKind::Http,
            "x",
        ));
        let samples = [
            sample(10, 100, 10),
            sample(30, 400, 20),
            sample(50, 50, 0),
            failed,
        ];
        let summary = summary(&samples, ToldFigures::new());
        // 10, 30, 50 ms: rank 0.95 · 2 = 1.9.
        assert_eq!(summary.ttft_p95_ms, Some(48.0));
        // 100 / 10 and 400 / 20 ms a token; 10 / 0.1 and 20 / 0.4 tokens per second.
        assert_eq!(summary.tpot_ms, Some(15.0));
        assert_eq!(summary.request_tokens_per_s, Some(75.0));
        assert_eq!(summary.error_rate(), Some(0.25));
    }

    #[test]
    fn a_workload_without_requests_has_no_figures() {
        let summary = summary(&[], ToldFigures::new());
        assert_eq!(summary.error_rate(), None);
        assert_eq!((summary.ttft_p95_ms, summary.tpot_ms), (None, None));
        assert!(TOLD.iter().all(|key| summary.told(key).is_none()));
    }

    #[test]
    fn the_servers_hit_rate_stands_and_usage_stands_in_for_it() {
        let samples = [sample(1, 2, 3)];
        let usage = summary(&samples, ToldFigures::new());
        assert_eq!(usage.told[HIT_RATE], Told::new(0.2, "usage of the replies"));
        assert_eq!(usage.hit_rates_apart(), None);
        for (server, apart) in [(0.249, None), (0.26, Some((0.26, 0.2)))] {
            let told = BTreeMap::from([(HIT_RATE, Told::new(server, "counters"))]);
            let summary = summary(&samples, told);
            assert_eq!(summary.told(HIT_RATE), Some(server));
            assert_eq!(summary.hit_rates_apart(), apart);
        }
    }
}
