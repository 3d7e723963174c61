//! `{workload}_metrics.json` and `benchmark_summary.json`: the guide's keys, then our own.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::round_json::{self, Figures};
use crate::sample::Workload;
use crate::stats::spread::Spread;
use crate::stats::workload::{
    ACCEPT_RATE, EVICT_MS, EVICTIONS, HIT_RATE, KV_BYTES, KV_TOKENS, MEAN_MEMORY, PEAK_MEMORY,
    PREEMPTIONS, TOLD, Told, ToldFigures, WorkloadSummary,
};

pub const WORKLOAD_SCHEMA: &str = "tmesh-cli/workload/1";
pub const SUMMARY_SCHEMA: &str = "tmesh-cli/run/1";
/// All keys of `figures`.
pub const KEYS: [&str; 24] = [
    "avg_ttft_ms",
    "p50_ttft_ms",
    "p95_ttft_ms",
    "p99_ttft_ms",
    "avg_tbt_ms",
    "avg_tpot_ms",
    "avg_throughput_tps",
    "output_throughput_tps",
    "request_throughput_rps",
    PEAK_MEMORY,
    MEAN_MEMORY,
    "error_rate",
    "total_requests",
    "successful_requests",
    "failed_requests",
    KV_TOKENS,
    KV_BYTES,
    HIT_RATE,
    EVICTIONS,
    EVICT_MS,
    ACCEPT_RATE,
    PREEMPTIONS,
    "usage_prefix_hit_rate",
    "avg_latency_ms",
];
/// Begins the source of a figure that is not there.
const ABSENT: &str = "not reported: ";

/// Keys and numbers of a workload, in the order of the file; null where nothing tells one.
pub fn figures(one: &WorkloadSummary) -> [(&'static str, Value); 24] {
    KEYS.map(|key| (key, figure(one, key)))
}

fn figure(one: &WorkloadSummary, key: &str) -> Value {
    let round = &one.round;
    let of = |spread: &Option<Spread>, of: fn(&Spread) -> f64| json!(spread.as_ref().map(of));
    match key {
        "avg_ttft_ms" => of(&round.ttft_ms, |ttft| ttft.avg),
        "p50_ttft_ms" => of(&round.ttft_ms, |ttft| ttft.p50),
        "p95_ttft_ms" => json!(one.ttft_p95_ms),
        "p99_ttft_ms" => of(&round.ttft_ms, |ttft| ttft.p99),
        "avg_tbt_ms" => of(&round.itl_ms, |itl| itl.avg),
        "avg_tpot_ms" => json!(one.tpot_ms),
        "avg_throughput_tps" => json!(one.request_tokens_per_s),
        "output_throughput_tps" => json!(round.token_throughput),
        "request_throughput_rps" => json!(round.request_throughput),
        "error_rate" => json!(one.error_rate()),
        "total_requests" => json!(round.total_requests),
        "successful_requests" => json!(round.successful),
        "failed_requests" => json!(round.failed),
        "usage_prefix_hit_rate" => json!(round.prefix_cache_hit_rate),
        "avg_latency_ms" => of(&round.latency_ms, |latency| latency.avg),
        told_key => told(one, told_key),
    }
}

/// Tokens and counts are whole numbers.
fn told(one: &WorkloadSummary, key: &str) -> Value {
    match (key, one.told(key)) {
        (KV_TOKENS | KV_BYTES | EVICTIONS | PREEMPTIONS, Some(value)) if value >= 0.0 => {
            json!(value.round() as u64)
        }
        (_, value) => json!(value),
    }
}

/// Where each figure is from, or why it is not there.
struct Sources<'a>(&'a WorkloadSummary);

impl Serialize for Sources<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in figures(self.0) {
            let source = match self.0.told.get(key) {
                Some(Told {
                    value: None,
                    source,
                }) => format!("{ABSENT}{source}"),
                Some(told) => told.source.clone(),
                None if value.is_null() => format!("{ABSENT}no request told it"),
                None if key == "usage_prefix_hit_rate" => "usage of the replies".to_string(),
                None => "requests".to_string(),
            };
            map.serialize_entry(key, &source)?;
        }
        map.end()
    }
}

/// The file of one workload; `about` is what is said of the run, an object.
pub struct WorkloadFile<'a> {
    pub about: &'a Value,
    pub summary: &'a WorkloadSummary,
}

impl Serialize for WorkloadFile<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = self.summary;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", WORKLOAD_SCHEMA)?;
        for (key, value) in figures(one) {
            map.serialize_entry(key, &value)?;
        }
        map.serialize_entry("metric_sources", &Sources(one))?;
        map.serialize_entry("failures", &one.round.failures)?;
        map.serialize_entry("environment", &environment(self.about, Some(one.workload)))?;
        map.serialize_entry("concurrency", &one.round.concurrency)?;
        map.serialize_entry("detail", &Figures(&one.round))?;
        map.end()
    }
}

/// What is said of the run, with the version that says it.
fn environment(about: &Value, workload: Option<Workload>) -> Value {
    let mut environment = about.clone();
    if let Some(map) = environment.as_object_mut() {
        map.insert("tool_version".into(), env!("CARGO_PKG_VERSION").into());
        if let Some(workload) = workload {
            map.insert("workload".into(), workload.name().into());
        }
    }
    environment
}

/// The file of the run.
pub struct SummaryFile<'a> {
    pub about: &'a Value,
    pub workloads: &'a [WorkloadSummary],
}

impl Serialize for SummaryFile<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sum = |of: fn(&WorkloadSummary) -> u64| self.workloads.iter().map(of).sum::<u64>();
        let overall = Overall {
            total_workloads: self.workloads.len(),
            total_requests: sum(|one| one.round.total_requests),
            successful_requests: sum(|one| one.round.successful),
            failed_requests: sum(|one| one.round.failed),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", SUMMARY_SCHEMA)?;
        map.serialize_entry("workloads", &ByName(self))?;
        map.serialize_entry("overall", &overall)?;
        map.serialize_entry("environment", &environment(self.about, None))?;
        map.end()
    }
}

#[derive(Serialize)]
struct Overall {
    total_workloads: usize,
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
}

struct ByName<'a>(&'a SummaryFile<'a>);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SummaryFile { about, workloads } = self.0;
        let files = workloads.iter();
        serializer.collect_map(files.map(|summary| {
            let file = WorkloadFile { about, summary };
            (summary.workload.name(), file)
        }))
    }
}

/// The figures in a file that `WorkloadFile` wrote; `None`: it is no such file.
pub fn read(file: &Value) -> Option<WorkloadSummary> {
    let name = file["environment"]["workload"].as_str()?;
    let workload = Workload::ALL.into_iter().find(|one| one.name() == name)?;
    let number = |key: &str| file[key].as_f64();
    let round = round_json::read_figures(&file["detail"], file["concurrency"].as_u64()?, 1)?;
    let told = TOLD.into_iter().map(|key| {
        let source = file["metric_sources"][key].as_str().unwrap_or(ABSENT);
        let source = source.strip_prefix(ABSENT).unwrap_or(source).to_string();
        let value = number(key);
        (key, Told { value, source })
    });
    Some(WorkloadSummary {
        workload,
        ttft_p95_ms: number("p95_ttft_ms"),
        tpot_ms: number("avg_tpot_ms"),
        request_tokens_per_s: number("avg_throughput_tps"),
        told: told.collect(),
        round,
    })
}

/// What was told of a workload, from its line of the series.
pub fn told_figures(line: &Value) -> ToldFigures {
    let told = TOLD.into_iter().filter_map(|key| {
        let told = &line["figures"][key];
        let source = told["source"].as_str()?.to_string();
        let value = told["value"].as_f64();
        Some((key, Told { value, source }))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::saved::{Figures as Saved, Report, Samples};
    use crate::samples_file;

    /// The workloads of the fixed samples, and what is said of their run.
    fn fixed() -> (Value, Vec<WorkloadSummary>) {
        let path = format!("{}/tests/data/report/run.jsonl", env!("CARGO_MANIFEST_DIR"));
        let saved = samples_file::read("run.jsonl", Path::new(&path)).expect("samples");
        let report = Report::of_run(Samples {
            about: saved.about,
            samples: saved.samples,
            vitals: saved.vitals,
            metrics: saved.metrics,
            workloads: saved.workloads,
            points: saved.points,
        });
        let Saved::Run(workloads) = report.figures else {
            panic!("a run");
        };
        (report.about, workloads)
    }

    fn file(about: &Value, summary: &WorkloadSummary) -> Value {
        serde_json::to_value(WorkloadFile { about, summary }).expect("JSON")
    }

    #[test]
    fn figures_that_were_written_are_those_that_are_read() {
        let (about, workloads) = fixed();
        assert_eq!(workloads.len(), 3);
        for summary in &workloads {
            let file = file(&about, summary);
            let got = read(&file).expect("all keys");
            assert_eq!(format!("{got:?}"), format!("{summary:?}"));
            for key in ["environment", "detail", "concurrency"] {
                let mut part = file.clone();
                part.as_object_mut().expect("an object").remove(key);
                assert!(read(&part).is_none(), "{key}");
            }
        }
    }

    #[test]
    fn the_keys_have_the_figures_worked_by_hand() {
        let (about, workloads) = fixed();
        let short = file(&about, &workloads[0]);
        // First tokens after 10 and 20 ms, then 127 gaps of 5 ms: the last after 645 and 655 ms of 128 tokens.
        let near = |key: &str, wanted: f64| {
            let got = short[key].as_f64().expect(key);
            assert!((got - wanted).abs() < 1e-9, "{key}: {got}");
        };
        near("avg_ttft_ms", 15.0);
        near("p50_ttft_ms", 15.0);
        near("p95_ttft_ms", 19.5);
        near("p99_ttft_ms", 19.9);
        near("avg_tbt_ms", 5.0);
        near("avg_tpot_ms", 650.0 / 128.0);
        near("avg_throughput_tps", (128.0 / 0.645 + 128.0 / 0.655) / 2.0);
        // From the first send at 100 ms to the last end at 800 + 655 + 1 ms.
        near("output_throughput_tps", 256.0 / 1.356);
        near("request_throughput_rps", 2.0 / 1.356);
        near("avg_latency_ms", 650.0);
        let whole = [
            ("total_requests", 2),
            ("successful_requests", 2),
            ("failed_requests", 0),
            ("total_kv_used_tokens", 256),
            ("kv_used_bytes", 256_000),
            ("total_preemption_count", 0),
        ];
        for (key, wanted) in whole {
            assert_eq!(short[key], wanted, "{key}");
        }
        let stress = file(&about, &workloads[2]);
        assert_eq!(stress["error_rate"], 0.25);
        assert_eq!(stress["failures"]["http"]["count"], 1);
        // 16 of 256 tokens of each of the three that succeeded.
        assert_eq!(stress["usage_prefix_hit_rate"], 0.0625);
    }

    #[test]
    fn a_figure_that_nothing_tells_is_null_and_its_source_says_why() {
        let (about, workloads) = fixed();
        let short = file(&about, &workloads[0]);
        for key in [
            "peak_mem_mb",
            "total_evict_count",
            "evict_ms",
            "avg_spec_accept_rate",
        ] {
            assert_eq!(short[key], Value::Null, "{key}");
            let source = short["metric_sources"][key].as_str().expect(key);
            assert!(source.starts_with(ABSENT), "{key}: {source}");
        }
        assert_eq!(
            short["metric_sources"]["evict_ms"],
            "not reported: vLLM exposes no eviction time"
        );
        let hits = "Δ vllm:prefix_cache_hits_total / Δ vllm:prefix_cache_queries_total";
        assert_eq!(short["metric_sources"]["avg_prefix_hit_rate"], hits);
        assert_eq!(short["metric_sources"]["avg_ttft_ms"], "requests");
        // It was killed: nothing tells of memory, and of hits only usage.
        let stress = file(&about, &workloads[2]);
        assert_eq!(stress["total_kv_used_tokens"], Value::Null);
        assert_eq!(stress["avg_prefix_hit_rate"], 0.0625);
        assert_eq!(
            stress["metric_sources"]["avg_prefix_hit_rate"],
            "usage of the replies"
        );
    }
}
