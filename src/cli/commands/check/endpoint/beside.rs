//! Checks of what a server has beside its APIs: its round-trip time, a tokenizer, metrics, a route that empties its cache.

use std::sync::Arc;

use crate::cli::connect::Opened;
use crate::cli::side::{ResetAnswer, reset_answer};
use crate::client::api::Api;
use crate::client::{Client, Target};
use crate::prom::catalog::HIT_RATE;
use crate::prom::engine::Engine;
use crate::prom::parse::{Exposition, parse};
use crate::prom::scrape::fetch;
use crate::prom::selector::Selector;
use crate::prom::series::{Found, Kind, Wanted, lines};
use crate::units::fixed;

/// Each time is the minimum of this many tries.
const TIMES: usize = 3;

/// The routes of vLLM and of SGLang.
const RESETS: [&str; 2] = ["reset_prefix_cache", "flush_cache"];

/// Says how long a connection and a small request take.
pub fn round_trip(target: &Target) -> String {
    let millis = |time: std::time::Duration| fixed(time.as_secs_f64() * 1e3, 2);
    let connect = (0..TIMES).filter_map(|_| target.link.connect_time()).min();
    let connect = connect.map_or_else(
        || "no connection".to_string(),
        |time| format!("connect {} ms", millis(time)),
    );
    let mut client = Client::new(Arc::new(target.clone()));
    // The first request opens the connection that the others reuse.
    let trips: Vec<_> = (0..=TIMES).map_while(|_| client.round_trip()).collect();
    let kept = trips
        .iter()
        .filter(|(_, kept)| *kept)
        .map(|(time, _)| *time);
    let request = match (kept.min(), trips.iter().map(|(time, _)| *time).min()) {
        (Some(time), _) => format!("GET models {} ms on a kept connection", millis(time)),
        (None, Some(time)) => format!("GET models {} ms, each on a new connection", millis(time)),
        (None, None) => "no answer to GET models".to_string(),
    };
    format!("{connect}, {request}")
}

/// Says whether the server counts tokens, and whether its count equals the `usage` of the same prompt.
pub fn tokenizer(opened: &Opened, target: &Target, text: &str, by_usage: Option<u64>) -> String {
    let counted = opened.tokenizer(target).prompt_tokens(text);
    match (counted, by_usage) {
        (None, Some(_)) => "no: runs take lengths from usage".to_string(),
        (None, None) => "no: runs estimate lengths".to_string(),
        (Some(n), None) => format!("{n} tokens of the same prompt"),
        (Some(n), Some(usage)) if n == usage => format!("{n} tokens, as usage says"),
        (Some(n), Some(usage)) if target.body.api == Api::Chat && usage > n => {
            let more = usage - n;
            format!("{n} tokens, {usage} by usage: a chat template adds {more}")
        }
        (Some(n), Some(usage)) => format!("{n} tokens, but {usage} by usage"),
    }
}

/// Describes the metrics page, and says which metric gives the hit rate; `None`: none does.
///
/// # Errors
/// Fails with the reason why there is no such page.
pub fn metrics(opened: &Opened) -> Result<(String, Option<String>), String> {
    let text = fetch(&opened.small, &opened.endpoint.root("metrics"))?;
    let (names, source) = on_page(&parse(&text)?);
    Ok((opened.link.redact(names), source))
}

fn on_page(page: &Exposition) -> (String, Option<String>) {
    let engines: Vec<&str> = Engine::all_on(page).map(|engine| engine.name).collect();
    let of = match engines.is_empty() {
        true => "no known engine".to_string(),
        false => engines.join(" and "),
    };
    let wanted = Wanted::new(Selector::parse(HIT_RATE).into_iter().collect());
    let source = match wanted.find(page).pop() {
        Some(Found::Metric(metric)) => Some(match metric.kind {
            Kind::Ratio { engine, hits, of } => format!("{engine}: {hits} / {of}"),
            Kind::Counter | Kind::Gauge => HIT_RATE.to_string(),
        }),
        _ => None,
    };
    let skipped = page.skipped.as_ref();
    let skipped = skipped.map_or(String::new(), |skipped| format!("; {skipped}"));
    let names = format!("names of {of} ({} in all){skipped}", lines(page).len());
    (names, source)
}

/// Calls known routes until one empties the cache. Returns the finding, and that route's URL as it may be shown.
pub fn reset(opened: &Opened) -> (String, Option<String>) {
    let mut answers = Vec::new();
    for path in RESETS {
        let url = opened.endpoint.root(path);
        let answer = match opened.small.post(&url, "").map(|page| reset_answer(&page)) {
            Ok(ResetAnswer::Done) => {
                let shown = opened.endpoint.shown_root(path);
                return (format!("POST /{path}: the cache is empty now"), Some(shown));
            }
            Ok(ResetAnswer::Failed(words)) => {
                format!("says that it failed: {}", opened.link.redact(words))
            }
            Ok(ResetAnswer::Refused(status, _)) => format!("HTTP {status}"),
            Err(failure) => failure.kind.name().to_string(),
        };
        answers.push(format!("/{path}: {answer}"));
    }
    (format!("none: {}", answers.join(", ")), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_prefixes_and_the_hit_rate_by_its_counters() {
        let found = |text: &str| on_page(&parse(text).expect("a page"));
        let (names, source) = found(
            "vllm:prefix_cache_hits_total 1\nvllm:prefix_cache_queries_total 2\nlmcache:x 1\n",
        );
        assert_eq!(names, "names of vLLM and LMCache (3 in all)");
        assert_eq!(
            source.as_deref(),
            Some("vLLM, GPU tier: vllm:prefix_cache_hits_total / vllm:prefix_cache_queries_total")
        );
        let (names, source) = found(
            "ray_vllm_prefix_cache_hits_total 1\nray_vllm_prefix_cache_queries_total 2\ncpu.load 1\n",
        );
        assert_eq!(
            names,
            "names of vLLM (2 in all); 1 line was not understood: line 3: not a metric name: \"cpu.load 1\""
        );
        assert_eq!(
            source.as_deref(),
            Some(
                "vLLM, GPU tier: ray_vllm_prefix_cache_hits_total / ray_vllm_prefix_cache_queries_total"
            )
        );
        let (names, source) = found("process_cpu_seconds_total 1\n");
        assert_eq!(names, "names of no known engine (1 in all)");
        assert_eq!(source, None);
    }
}
