//! The key figures of `replay`: those of the last round beside the first, from the least to the greatest of the levels.

use crate::report::document::Pair;
use crate::report::layout::failures::Failed;
use crate::report::layout::key_figures::{of, range, with_requests};
use crate::stats::comparison::Comparison;
use crate::stats::pass::Pass;

/// Returns the key figures; `comparisons` compares each round with the first of its level. The last figures are shown
/// only where others are absent.
pub fn key_figures(passes: &[Pass], comparisons: &[Option<Comparison>]) -> Vec<Pair> {
    let number = |pass: &Pass| pass.facts.round.unwrap_or(1);
    let last = passes.iter().map(number).max().unwrap_or(1);
    let of_round = |name: &str, key: &str, round: u64| {
        let name = match last {
            1 => name.to_string(),
            _ => format!("{name}, round {round}"),
        };
        let passes = passes.iter().filter(|pass| number(pass) == round);
        of(name, key, passes, level)
    };
    let of_last = |name, key| of_round(name, key, last);
    let first = (last > 1).then(|| of_round("TTFT p50", "ttft_p50_ms", 1));
    let compared = passes.iter().zip(comparisons);
    let compared = compared.filter(|(pass, _)| number(pass) == last);
    let speed_ups =
        compared.filter_map(|(pass, of)| Some((level(pass), Some(1.0 / of.as_ref()?.ratio))));
    let speed_up = range(
        format!("Speed-up of mean TTFT, round {last} against round 1"),
        "ratio",
        speed_ups,
    );
    let figures = [
        first.flatten(),
        of_last("TTFT p50", "ttft_p50_ms"),
        speed_up,
        of_last("Prefix cache hit rate", "prefix_cache_hit_rate"),
        of_last("Goodput, requests", "goodput_requests_percent"),
        of_last("TTFT p99", "ttft_p99_ms"),
        of_last("Output throughput", "throughput_tokens_per_s"),
        of_last("ITL, mean", "itl_avg_ms"),
        of_last("Request throughput", "request_throughput_rps"),
    ];
    with_requests(&Failed::of(passes), figures)
}

fn level(pass: &Pass) -> String {
    let level = pass.facts.concurrency;
    level.map_or(String::new(), |level| format!("concurrency {level}"))
}
