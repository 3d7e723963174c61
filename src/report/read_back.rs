//! Figures from the result files that hold them: the same types, the same keys. By hand, since what serde
//! derives for these types has 65 KB.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::sample::{FailKind, TokenSource};
use crate::stats::client::{ClientSummary, Limit};
use crate::stats::spread::Spread;
use crate::stats::{Averages, FailureCount, Quantiles, RotationSummary, Summary};

/// A summary of `benchmark`; `None`: it is none.
pub(super) fn summary(of: &Value) -> Option<Summary> {
    let number = |key: &str| of[key].as_f64();
    let count = |key: &str| of[key].as_u64();
    let averages = &of["averages"];
    Some(Summary {
        elapsed_s: number("elapsed_s")?,
        qps: number("qps"),
        averages: Averages {
            requests: averages["requests"].as_u64()?,
            ttft_s: averages["ttft_s"].as_f64(),
            itl_s: averages["itl_s"].as_f64(),
            prefill_tokens_per_s: averages["prefill_tokens_per_s"].as_f64(),
            decode_tokens_per_s: averages["decode_tokens_per_s"].as_f64(),
        },
        output_tokens_per_s: number("output_tokens_per_s"),
        decode_tokens_per_s_weighted: number("decode_tokens_per_s_weighted"),
        ttft: quantiles(&of["ttft"]),
        itl: quantiles(&of["itl"]),
        gap: quantiles(&of["gap"]),
        gaps_are_tokens: of["gaps_are_tokens"] == true,
        gaps_in_one_read_share: number("gaps_in_one_read_share"),
        first_rotation: rotation(&of["first_rotation"])?,
        later_rotations: rotation(&of["later_rotations"])?,
        prefix_cache_hit_rate: number("prefix_cache_hit_rate"),
        prompt_tokens_mean: number("prompt_tokens_mean"),
        output_tokens_mean: number("output_tokens_mean"),
        output_tokens_wanted_mean: number("output_tokens_wanted_mean"),
        prompt_tokens_total: count("prompt_tokens_total"),
        output_tokens_total: count("output_tokens_total"),
        token_sources: token_sources(&of["token_sources"]),
        concurrency_mean: number("concurrency_mean"),
        concurrency_peak: count("concurrency_peak")?,
        in_flight: count("in_flight")?,
        failed: count("failed")?,
        failures: failures(&of["failures"]),
        requests_cut: count("requests_cut")?,
        requests_in_warmup: count("requests_in_warmup")?,
        connect_share: number("connect_share"),
        stale_connections: count("stale_connections")?,
        requests_not_streamed: count("requests_not_streamed")?,
        client: client(&of["client"])?,
    })
}

fn rotation(of: &Value) -> Option<RotationSummary> {
    Some(RotationSummary {
        requests: of["requests"].as_u64()?,
        ttft_mean_s: of["ttft_mean_s"].as_f64(),
        ttft: quantiles(&of["ttft"]),
        prefix_cache_hit_rate: of["prefix_cache_hit_rate"].as_f64(),
    })
}

fn quantiles(of: &Value) -> Option<Quantiles> {
    Some(Quantiles {
        p50_s: of["p50_s"].as_f64()?,
        p90_s: of["p90_s"].as_f64()?,
        p99_s: of["p99_s"].as_f64()?,
        max_s: of["max_s"].as_f64()?,
        n: of["n"].as_u64()?,
    })
}

/// Under keys such as `avg`; a round has them as `avg_ttft`, with `ending` `_ttft`.
pub(super) fn spread(of: &Value, ending: &str) -> Option<Spread> {
    let value = |name: &str| &of[format!("{name}{ending}")];
    let number = |name: &str| value(name).as_f64();
    Some(Spread {
        avg: number("avg")?,
        p50: number("p50")?,
        p90: number("p90")?,
        p99: number("p99")?,
        min: number("min")?,
        max: number("max")?,
        stddev: number("stddev"),
        n: value("n").as_u64()?,
    })
}

/// By the names of their kinds; others are left out.
pub(super) fn failures(of: &Value) -> BTreeMap<&'static str, FailureCount> {
    let mut failures = BTreeMap::new();
    for name in FailKind::ALL.map(FailKind::name) {
        let failure = &of[name];
        if let Some(count) = failure["count"].as_u64() {
            let status = failure["status"].as_u64();
            let failure = FailureCount {
                count,
                status: status.and_then(|status| u16::try_from(status).ok()),
                example: failure["example"].as_str().unwrap_or_default().to_string(),
            };
            failures.insert(name, failure);
        }
    }
    failures
}

/// The same of where tokens were counted.
pub(super) fn token_sources(of: &Value) -> BTreeMap<&'static str, u64> {
    let mut sources = BTreeMap::new();
    for name in TokenSource::ALL.map(TokenSource::name) {
        if let Some(count) = of[name].as_u64() {
            sources.insert(name, count);
        }
    }
    sources
}

/// `None`: it is none.
pub(super) fn client(of: &Value) -> Option<ClientSummary> {
    let number = |key: &str| of[key].as_f64();
    let count = |key: &str| of[key].as_u64();
    let reasons = of["reasons"].as_array()?.iter();
    let reasons = reasons.filter_map(|reason| match reason.as_str()? {
        "lag" => Some(Limit::Lag),
        "cpu" => Some(Limit::Cpu),
        "throttled" => Some(Limit::Throttled),
        _ => None,
    });
    Some(ClientSummary {
        limited: of["limited"].as_bool(),
        reasons: reasons.collect(),
        mock_in_process: of["mock_in_process"] == true,
        lag: quantiles(&of["lag"]),
        lag_max_at_s: number("lag_max_at_s"),
        cores_allowed: number("cores_allowed"),
        cpu_share_mean: number("cpu_share_mean"),
        cpu_share_max: number("cpu_share_max"),
        cpu_share_max_at_s: number("cpu_share_max_at_s"),
        seconds_watched: count("seconds_watched")?,
        seconds_over_cpu_limit: count("seconds_over_cpu_limit")?,
        first_over_cpu_limit_at_s: number("first_over_cpu_limit_at_s"),
        periods: count("periods"),
        throttled_periods: count("throttled_periods"),
        first_throttled_at_s: number("first_throttled_at_s"),
        steal_share_mean: number("steal_share_mean"),
        steal_share_max: number("steal_share_max"),
        open_files_max: count("open_files_max"),
        open_files_limit: count("open_files_limit"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden::fixed_run;

    #[test]
    fn a_summary_that_was_written_is_the_one_that_is_read() {
        let (_, wanted) = fixed_run();
        let mut file = serde_json::to_value(&wanted).expect("JSON");
        let got = summary(&file).expect("all keys");
        assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
        file["client"]["reasons"] = Value::Null;
        assert!(summary(&file).is_none());
    }
}
