//! Figures of the catalogue under the keys of a result file, some of which guides and earlier versions have fixed.

use std::borrow::Cow;

use crate::report::document::Node;
use crate::stats::catalog;
use crate::stats::client::ClientSummary;
use crate::stats::figures::Figures;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;

/// A key of a file, and the key that its figure has in the catalogue.
pub type Key = (&'static str, &'static str);

pub type Entry = (Cow<'static, str>, Node);

/// The figures of the server's counters that only `--metrics-url` brings.
pub const COUNTERS: &str = "counter_hit_rate counter_hit_tokens counter_prompt_tokens
    device_hit_rate host_hit_rate remote_hit_rate kv_cache_use_peak
    running_requests_mean running_requests_peak waiting_requests_mean waiting_requests_peak";

/// Returns the keys of what the server tells, as every file has them but those of `run`, which has some of its own.
pub fn server() -> Vec<Key> {
    const OF_RUN: &str = "total_kv_used_tokens total_evict_count total_preemption_count";
    parse(COUNTERS).into_iter().chain(parse(OF_RUN)).collect()
}

/// Reads keys separated by blanks, in the order of a file: `KEY=FIGURE`, or one word that is both.
pub fn parse(words: &'static str) -> Vec<Key> {
    let words = words.split_whitespace();
    let keys = words.map(|word| word.split_once('=').unwrap_or((word, word)));
    keys.collect()
}

/// Returns the figures of a pass as entries of its file, with null for those that are absent.
pub fn entries(keys: &[Key], pass: &Pass) -> Vec<Entry> {
    let entries = keys.iter();
    let entries = entries.map(|&(key, figure)| (key.into(), self::figure(pass, figure)));
    entries.collect()
}

/// Returns the figure with a key of the catalogue, or one of the other values that every file has.
pub fn figure(pass: &Pass, key: &str) -> Node {
    match key {
        "failures" => failures(&pass.figures),
        "token_sources" => {
            let sources = pass.figures.token_sources.iter();
            Node::object(sources.map(|(name, &n)| (*name, n.into())))
        }
        "gaps_are_tokens" => pass.figures.gaps_are_tokens.into(),
        "client" => client(&pass.facts.client),
        key => catalog::value(pass, key).into(),
    }
}

/// Returns where each figure comes from, or why it is absent.
pub fn sources(keys: &[Key], pass: &Pass) -> Vec<Entry> {
    let sources = keys.iter().filter_map(|(key, figure)| {
        let source = catalog::find(figure)?.source(pass);
        Some(((*key).into(), source.into()))
    });
    sources.collect()
}

/// The keys that begin every result file.
pub fn head(schema: &str) -> Vec<Entry> {
    let version = env!("CARGO_PKG_VERSION");
    vec![
        ("schema".into(), schema.into()),
        ("tool_version".into(), version.into()),
    ]
}

/// Returns the failures by kind.
fn failures(figures: &Figures) -> Node {
    Node::object(figures.failures.iter().map(|(kind, failure)| {
        let failure = Node::object([
            ("count", failure.count.into()),
            ("status", failure.status.into()),
            ("example", failure.example.as_str().into()),
        ]);
        (*kind, failure)
    }))
}

/// Returns the percentiles of a spread in milliseconds under keys that give them in seconds, to whole nanoseconds.
pub fn seconds(ms: Option<Spread>) -> Node {
    let seconds = |ms: f64| ((ms * 1e6).round() / 1e9).into();
    ms.map_or(Node::default(), |ms| {
        Node::object([
            ("p50_s", seconds(ms.p50)),
            ("p90_s", seconds(ms.p90)),
            ("p99_s", seconds(ms.p99)),
            ("max_s", seconds(ms.max)),
            ("n", ms.n.into()),
        ])
    })
}

/// Returns everything that the watchdog saw.
fn client(of: &ClientSummary) -> Node {
    let reasons = of.reasons.iter().map(|limit| limit.name().into());
    Node::object([
        ("limited", of.limited.into()),
        ("reasons", Node::List(reasons.collect())),
        ("mock_in_process", of.mock_in_process.into()),
        ("lag", seconds(of.lag)),
        ("lag_max_at_s", of.lag_max_at_s.into()),
        ("cores_allowed", of.cores_allowed.into()),
        ("cpu_share_mean", of.cpu_share_mean.into()),
        ("cpu_share_max", of.cpu_share_max.into()),
        ("cpu_share_max_at_s", of.cpu_share_max_at_s.into()),
        ("seconds_watched", of.seconds_watched.into()),
        ("seconds_over_cpu_limit", of.seconds_over_cpu_limit.into()),
        (
            "first_over_cpu_limit_at_s",
            of.first_over_cpu_limit_at_s.into(),
        ),
        ("periods", of.periods.into()),
        ("throttled_periods", of.throttled_periods.into()),
        ("first_throttled_at_s", of.first_throttled_at_s.into()),
        ("steal_share_mean", of.steal_share_mean.into()),
        ("steal_share_max", of.steal_share_max.into()),
        ("open_files_max", of.open_files_max.into()),
        ("open_files_limit", of.open_files_limit.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::{load, run};
    use super::*;

    #[test]
    fn every_key_of_a_file_names_a_figure_of_the_catalogue() {
        for (key, figure) in load::KEYS.iter().chain(run::KEYS.iter()) {
            assert!(catalog::find(figure).is_some(), "{key}: {figure}");
        }
    }
}
