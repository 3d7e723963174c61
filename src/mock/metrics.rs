//! The page of /metrics: vLLM's names and labels, as Prometheus text.
//!
//! Cache queries and hits are counted when a request is planned, all else when it has been answered, and
//! nothing for one that was not: a client that hangs up leaves no trace in vLLM's counters either.
//! Times are the schedule's, not those of the writes.
//!
//! vLLM has no count of evictions, only a sampled histogram of lifetimes when asked for; there is none here.

use std::fmt::Write as _;

use super::options::Options;
use super::schedule::{Load, Plan};
use crate::units::seconds;

const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const ITL_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_BOUNDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Everything counted since the start.
pub struct Metrics {
    model: String,
    block_tokens: usize,
    tier1_blocks: usize,
    /// How often the page counts each token that was looked up or found in the cache.
    times: u64,
    queried_tokens: u64,
    tier1_hit_tokens: u64,
    tier2_hit_tokens: u64,
    /// Counts of answered requests: this one and the three below.
    prompt_tokens: u64,
    cached_tier1_tokens: u64,
    cached_tier2_tokens: u64,
    generation_tokens: u64,
    stopped: u64,
    reached_length: u64,
    ttft: Histogram,
    itl: Histogram,
    e2e: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
}

impl Metrics {
    pub fn new(options: &Options) -> Metrics {
        let request = |name, help| Histogram::new(name, help, REQUEST_BOUNDS);
        Metrics {
            model: options.model.clone(),
            block_tokens: options.block_tokens,
            tier1_blocks: options.tier1_tokens / options.block_tokens,
            times: options.counters,
            queried_tokens: 0,
            tier1_hit_tokens: 0,
            tier2_hit_tokens: 0,
            prompt_tokens: 0,
            cached_tier1_tokens: 0,
            cached_tier2_tokens: 0,
            generation_tokens: 0,
            stopped: 0,
            reached_length: 0,
            ttft: Histogram::new("time_to_first_token", "Time to first token", TTFT_BOUNDS),
            itl: Histogram::new("inter_token_latency", "Inter-token latency", ITL_BOUNDS),
            e2e: request("e2e_request_latency", "Latency of a request"),
            queue: request("request_queue_time", "Time spent waiting"),
            prefill: request("request_prefill_time", "Time spent in prefill"),
            decode: request("request_decode_time", "Time spent in decode"),
        }
    }

    /// A request has been planned.
    pub fn planned(&mut self, plan: &Plan) {
        self.queried_tokens += plan.prompt_tokens as u64;
        self.tier1_hit_tokens += plan.hit_tier1_tokens as u64;
        self.tier2_hit_tokens += plan.hit_tier2_tokens as u64;
    }

    /// A request has been answered to its end.
    pub fn answered(&mut self, plan: &Plan, ends_itself: bool) {
        self.prompt_tokens += plan.prompt_tokens as u64;
        self.cached_tier1_tokens += plan.hit_tier1_tokens as u64;
        self.cached_tier2_tokens += plan.hit_tier2_tokens as u64;
        self.generation_tokens += plan.due_ns.len() as u64;
        match ends_itself {
            true => self.stopped += 1,
            false => self.reached_length += 1,
        }
        let (first_ns, last_ns) = (plan.first_due_ns(), plan.last_due_ns());
        self.ttft.add(first_ns - plan.arrival_ns);
        self.e2e.add(last_ns - plan.arrival_ns);
        self.queue.add(plan.start_ns - plan.arrival_ns);
        self.prefill.add(first_ns - plan.start_ns);
        self.decode.add(last_ns - first_ns);
        for pair in plan.due_ns.windows(2) {
            self.itl.add(pair[1] - pair[0]);
        }
    }

    /// The exposition text.
    pub fn render(&self, load: &Load) -> String {
        let model = self.model.replace('\\', "\\\\").replace('"', "\\\"");
        let mut page = Page {
            labels: format!("engine=\"0\",model_name=\"{model}\""),
            text: String::new(),
        };
        let (running, waiting) = (load.running as f64, load.waiting as f64);
        page.gauge("num_requests_running", "Requests that run", running);
        page.gauge("num_requests_waiting", "Requests that wait", waiting);
        let help = "Share of tier 1 that running requests fill, 1 is all";
        page.gauge("kv_cache_usage_perc", help, load.tier1_share);
        self.token_counters(&mut page);
        // Nothing that runs is put off for another.
        page.counter("num_preemptions_total", "Preemptions", 0);
        let sources = [
            ("source=\"local_compute\"", self.computed_tokens()),
            (
                "source=\"local_cache_hit\"",
                self.times * self.cached_tier1_tokens,
            ),
            (
                "source=\"external_kv_transfer\"",
                self.times * self.cached_tier2_tokens,
            ),
        ];
        page.counters(
            "prompt_tokens_by_source_total",
            "Prompt tokens by source",
            &sources,
        );
        let tiers = [
            ("source=\"device\"", self.times * self.cached_tier1_tokens),
            ("source=\"host\"", self.times * self.cached_tier2_tokens),
        ];
        page.counters(
            "prompt_tokens_cached_by_source_total",
            "Tokens found in each tier",
            &tiers,
        );
        let reasons = [
            ("finished_reason=\"stop\"", self.stopped),
            ("finished_reason=\"length\"", self.reached_length),
        ];
        page.counters("request_success_total", "Requests answered", &reasons);
        let requests = [&self.e2e, &self.queue, &self.prefill, &self.decode];
        for histogram in [&self.ttft, &self.itl].into_iter().chain(requests) {
            page.histogram(histogram);
        }
        self.cache_config(&mut page);
        page.text
    }

    /// Tier 1's size in vLLM's labels; like vLLM's it carries no model, and counts a block that no request gets.
    fn cache_config(&self, page: &mut Page) {
        let (name, blocks) = ("cache_config_info", self.tier1_blocks + 1);
        let tokens = self.block_tokens;
        page.head(name, "Size of tier 1", "gauge");
        let labels = format!(
            "block_size=\"{tokens}\",enable_prefix_caching=\"True\",engine=\"0\",\
             kv_cache_size_tokens=\"{}\",num_gpu_blocks=\"{blocks}\"",
            blocks * tokens
        );
        let _ = writeln!(page.text, "vllm:{name}{{{labels}}} 1.0");
    }

    fn computed_tokens(&self) -> u64 {
        self.prompt_tokens - self.cached_tier1_tokens - self.cached_tier2_tokens
    }

    fn token_counters(&self, page: &mut Page) {
        let queried = self.times * self.queried_tokens;
        let cached = self.times * (self.cached_tier1_tokens + self.cached_tier2_tokens);
        let tier1 = self.times * self.tier1_hit_tokens;
        let tier2 = self.times * self.tier2_hit_tokens;
        let missed = queried - tier1;
        let external = "external_prefix_cache";
        page.counter(
            "prefix_cache_queries_total",
            "Tokens looked up in tier 1",
            queried,
        );
        page.counter("prefix_cache_hits_total", "Tokens found in tier 1", tier1);
        page.counter(
            &format!("{external}_queries_total"),
            "Tokens looked up in tier 2",
            missed,
        );
        page.counter(
            &format!("{external}_hits_total"),
            "Tokens found in tier 2",
            tier2,
        );
        page.counter("prompt_tokens_total", "Prompt tokens", self.prompt_tokens);
        let help = "Prompt tokens found in either tier";
        page.counter("prompt_tokens_cached_total", help, cached);
        page.counter(
            "generation_tokens_total",
            "Output tokens",
            self.generation_tokens,
        );
    }
}

struct Histogram {
    /// Without the unit.
    name: &'static str,
    help: &'static str,
    /// Upper bounds in seconds, rising; above the last is +Inf.
    bounds: &'static [f64],
    /// One more than there are bounds.
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Histogram {
    fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Histogram {
        Histogram {
            name,
            help,
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum_ns: 0,
        }
    }

    fn add(&mut self, ns: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < seconds(ns));
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }
}

/// The text as it grows.
struct Page {
    labels: String,
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(
            self.text,
            "# HELP vllm:{name} {help}.\n# TYPE vllm:{name} {kind}"
        );
    }

    /// `label`: one more label, or empty.
    fn sample(&mut self, name: &str, label: &str, value: f64) {
        let comma = if label.is_empty() { "" } else { "," };
        let _ = writeln!(
            self.text,
            "vllm:{name}{{{}{comma}{label}}} {value:?}",
            self.labels
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, &[("", value)]);
    }

    fn counters(&mut self, name: &str, help: &str, samples: &[(&str, u64)]) {
        self.head(name, help, "counter");
        for (label, value) in samples {
            self.sample(name, label, *value as f64);
        }
    }

    fn histogram(&mut self, histogram: &Histogram) {
        let name = format!("{}_seconds", histogram.name);
        self.head(&name, histogram.help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (index, in_bucket) in histogram.counts.iter().enumerate() {
            count += in_bucket;
            let label = match histogram.bounds.get(index) {
                Some(bound) => format!("le=\"{bound:?}\""),
                None => "le=\"+Inf\"".to_string(),
            };
            self.sample(&bucket, &label, count as f64);
        }
        self.sample(&format!("{name}_count"), "", count as f64);
        self.sample(&format!("{name}_sum"), "", seconds(histogram.sum_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn plan() -> Plan {
        Plan {
            id: 1,
            arrival_ns: 100 * MS,
            start_ns: 350 * MS,
            due_ns: vec![400 * MS, 430 * MS, 480 * MS],
            prompt_tokens: 100,
            hit_tier1_tokens: 16,
            hit_tier2_tokens: 32,
            usage_cached: Some(48),
        }
    }

    /// 6 whole blocks of 16 tokens.
    fn metrics() -> Metrics {
        Metrics::new(&Options {
            model: "m".to_string(),
            block_tokens: 16,
            tier1_tokens: 100,
            ..Options::default()
        })
    }

    fn value(metrics: &Metrics, sample: &str) -> Option<f64> {
        let load = Load {
            running: 3,
            waiting: 2,
            tier1_share: 0.25,
        };
        let text = metrics.render(&load);
        let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
        line.trim().parse().ok()
    }

    #[test]
    fn an_answered_request_is_counted_under_vllms_names() {
        let mut metrics = metrics();
        metrics.planned(&plan());
        metrics.answered(&plan(), false);
        let own = r#"{engine="0",model_name="m"}"#;
        for (name, expected) in [
            ("num_requests_running", 3.0),
            ("num_requests_waiting", 2.0),
            ("kv_cache_usage_perc", 0.25),
            ("prefix_cache_queries_total", 100.0),
            ("prefix_cache_hits_total", 16.0),
            ("external_prefix_cache_queries_total", 84.0),
            ("external_prefix_cache_hits_total", 32.0),
            ("num_preemptions_total", 0.0),
            ("prompt_tokens_total", 100.0),
            ("prompt_tokens_cached_total", 48.0),
            ("generation_tokens_total", 3.0),
            // 400 - 100, 480 - 100, 350 - 100, 400 - 350, 480 - 400 ms.
            ("time_to_first_token_seconds_sum", 0.3),
            ("e2e_request_latency_seconds_sum", 0.38),
            ("request_queue_time_seconds_sum", 0.25),
            ("request_prefill_time_seconds_sum", 0.05),
            ("request_decode_time_seconds_sum", 0.08),
            ("inter_token_latency_seconds_count", 2.0),
        ] {
            assert_eq!(
                value(&metrics, &format!("vllm:{name}{own}")),
                Some(expected),
                "{name}"
            );
        }
        for (sample, expected) in [
            (
                r#"request_success_total{engine="0",model_name="m",finished_reason="length"}"#,
                1.0,
            ),
            (
                r#"request_success_total{engine="0",model_name="m",finished_reason="stop"}"#,
                0.0,
            ),
            (
                r#"prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"}"#,
                52.0,
            ),
            (
                r#"prompt_tokens_cached_by_source_total{engine="0",model_name="m",source="device"}"#,
                16.0,
            ),
            (
                r#"prompt_tokens_cached_by_source_total{engine="0",model_name="m",source="host"}"#,
                32.0,
            ),
            (
                r#"time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.25"}"#,
                0.0,
            ),
            (
                r#"time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.5"}"#,
                1.0,
            ),
            (
                r#"time_to_first_token_seconds_bucket{engine="0",model_name="m",le="+Inf"}"#,
                1.0,
            ),
            // Gaps of 30 and 50 ms.
            (
                r#"inter_token_latency_seconds_bucket{engine="0",model_name="m",le="0.025"}"#,
                0.0,
            ),
            (
                r#"inter_token_latency_seconds_bucket{engine="0",model_name="m",le="0.05"}"#,
                2.0,
            ),
        ] {
            assert_eq!(
                value(&metrics, &format!("vllm:{sample}")),
                Some(expected),
                "{sample}"
            );
        }
    }

    #[test]
    fn counters_that_count_twice_do_so_for_the_cache_alone() {
        let mut metrics = Metrics::new(&Options {
            model: "m".to_string(),
            counters: 2,
            ..Options::default()
        });
        metrics.planned(&plan());
        metrics.answered(&plan(), false);
        // Of 100 prompt tokens 16 were in tier 1 and 32 in tier 2.
        for (name, label, expected) in [
            ("prefix_cache_queries_total", "", 200.0),
            ("prefix_cache_hits_total", "", 32.0),
            ("external_prefix_cache_queries_total", "", 168.0),
            ("external_prefix_cache_hits_total", "", 64.0),
            ("prompt_tokens_cached_total", "", 96.0),
            (
                "prompt_tokens_cached_by_source_total",
                ",source=\"device\"",
                32.0,
            ),
            (
                "prompt_tokens_cached_by_source_total",
                ",source=\"host\"",
                64.0,
            ),
            (
                "prompt_tokens_by_source_total",
                ",source=\"local_compute\"",
                52.0,
            ),
            (
                "prompt_tokens_by_source_total",
                ",source=\"local_cache_hit\"",
                32.0,
            ),
            (
                "prompt_tokens_by_source_total",
                ",source=\"external_kv_transfer\"",
                64.0,
            ),
            ("prompt_tokens_total", "", 100.0),
            ("generation_tokens_total", "", 3.0),
        ] {
            let sample = format!("vllm:{name}{{engine=\"0\",model_name=\"m\"{label}}}");
            assert_eq!(value(&metrics, &sample), Some(expected), "{sample}");
        }
    }

    #[test]
    fn the_size_of_tier_1_is_told_in_whole_blocks_and_the_null_block() {
        let info = r#"vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0",kv_cache_size_tokens="112",num_gpu_blocks="7"}"#;
        assert_eq!(value(&metrics(), info), Some(1.0));
    }

    #[test]
    fn a_request_that_was_not_answered_shows_in_cache_queries_only() {
        let mut metrics = metrics();
        metrics.planned(&plan());
        let own = r#"{engine="0",model_name="m"}"#;
        assert_eq!(
            value(&metrics, &format!("vllm:prefix_cache_queries_total{own}")),
            Some(100.0)
        );
        for name in [
            "prompt_tokens_total{engine=\"0\",model_name=\"m\"}",
            "prompt_tokens_cached_by_source_total{engine=\"0\",model_name=\"m\",source=\"device\"}",
        ] {
            assert_eq!(value(&metrics, &format!("vllm:{name}")), Some(0.0));
        }
    }
}
