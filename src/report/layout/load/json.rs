//! The result file of `load`: the guide's keys first, then our own; a sweep is a list of points.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::report::document::Node;
use crate::report::layout::keys::{self, Entry, Key};
use crate::report::layout::kv_cache;
use crate::report::layout::replay;
use crate::report::layout::report::Report;
use crate::stats::figures::Figures;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::{HitBy, Time};

/// The keys of a point's figures in the order of its file.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let keys = keys::parse(
        "ttft_p50_ms ttft_p95_ms ttft_p99_ms tpot_ms throughput_tokens_per_s request_throughput_rps
        response_cache_hit_rate prefix_cache_hit_rate avg_latency_ms=latency_avg_ms
        ttft_avg_ms latency_p50_ms latency_p95_ms latency_p99_ms itl_p50_ms itl_p95_ms itl_p99_ms
        error_rate total_requests successful_requests failed_requests cut_requests
        sent_requests planned_requests not_sent_requests warmup_requests duration_s
        perfect_response_cache_hit_rate perfect_prefix_cache_hit_rate
        goodput_requests goodput_of_requests goodput_requests_percent goodput_rps
        goodput_tokens goodput_of_tokens goodput_tokens_percent goodput_tokens_per_s
        offered_rate_per_s scheduled_rate_per_s achieved_rate_per_s
        lateness_avg_ms lateness_p99_ms lateness_max_ms exhausted_requests
        ttft_from_sent_avg_ms ttft_from_sent_p50_ms ttft_from_sent_p95_ms ttft_from_sent_p99_ms
        latency_from_sent_avg_ms latency_from_sent_p50_ms latency_from_sent_p95_ms latency_from_sent_p99_ms
        time_to_answer_avg_ms time_to_answer_p50_ms time_to_answer_p95_ms time_to_answer_p99_ms
        steady_duration_s steady_throughput_tokens_per_s steady_request_throughput_rps",
    );
    keys.into_iter().chain(keys::server()).collect()
});

/// A part of the successes with times of its own: its key, its name, its TTFT and its latency.
pub type Split = (&'static str, &'static str, [Time; 2]);

/// Returns first use and repeat if prompts are repeated, and hit and miss if a cache reports its hits.
pub fn splits(figures: &Figures) -> Vec<Split> {
    let mut splits = Vec::new();
    if figures.time(Time::LatencyRepeat).is_some() {
        let first_use = [Time::TtftFirstUse, Time::LatencyFirstUse];
        let repeat = [Time::TtftRepeat, Time::LatencyRepeat];
        splits.push(("first_use", "first use", first_use));
        splits.push(("repeat", "repeat", repeat));
    }
    let rate = |by: &HitBy| match by {
        HitBy::Response => figures.response_cache_hit_rate,
        HitBy::Prefix => figures.all.prefix_cache_hit_rate,
    };
    if let Some(by) = figures.reported.hit_by().filter(|by| rate(by).is_some()) {
        let (hit, miss) = match by {
            HitBy::Response => ("cache hit", "cache miss"),
            HitBy::Prefix => ("prefix hit", "prefix miss"),
        };
        splits.push(("hit", hit, [Time::TtftHit, Time::LatencyHit]));
        splits.push(("miss", miss, [Time::TtftMiss, Time::LatencyMiss]));
    }
    splits
}

/// Returns the result file, with the answer.
pub fn file(report: &Report) -> Node {
    kv_cache::with(kv_cache::told(report).0.as_ref(), figures(report))
}

/// Returns the figures: a single point stands at the top level, several stand under `points`.
pub fn figures(report: &Report) -> Node {
    let mut entries = keys::head("tmesh-cli/load/1");
    match &report.passes[..] {
        [one] => entries.extend(point(one)),
        passes => {
            let points = passes.iter().map(|pass| Node::Object(point(pass)));
            entries.push(("points".into(), Node::List(points.collect())));
        }
    }
    entries.push(("environment".into(), report.about.clone().into()));
    Node::Object(entries)
}

fn point(pass: &Pass) -> Vec<Entry> {
    let figures = &pass.figures;
    let from = if figures.is_open { "due" } else { "sent" };
    let found = splits(figures);
    let split = |key| {
        let split = found.iter().find(|(known, ..)| *known == key);
        let times = split.map(|(_, _, [ttft, latency])| {
            let times = [("ttft", *ttft), ("latency", *latency)];
            Node::object(times.map(|(key, time)| (key, spread(figures.time(time)))))
        });
        (key, times.unwrap_or_default())
    };
    let all = |key, time| (key, spread(figures.time(time)));
    let open = |key, time| (key, spread(figures.time(time).filter(|_| figures.is_open)));
    let distributions = [
        all("itl", Time::Itl),
        all("latency", Time::Latency),
        open("latency_from_sent", Time::LatencyFromSent),
        all("lateness", Time::Lateness),
        ("time_to_answer", spread(figures.time_to_answer)),
        all("ttft", Time::Ttft),
        open("ttft_from_sent", Time::TtftFromSent),
    ];
    let splits = ["first_use", "hit", "miss", "repeat"].map(split);
    let mut sources = BTreeMap::new();
    sources.extend(keys::sources(&KEYS, pass));
    let rest = [
        ("latency_from", from.into()),
        ("concurrency", pass.facts.concurrency.into()),
        ("splits", Node::object(splits)),
        ("hit_by", figures.reported.hit_by().map(HitBy::name).into()),
        ("distributions", Node::object(distributions)),
        ("metric_sources", Node::object(sources)),
        ("failures", keys::figure(pass, "failures")),
        ("token_sources", keys::figure(pass, "token_sources")),
        ("detail", replay::summary(pass)),
    ];
    let mut entries = keys::entries(&KEYS, pass);
    entries.extend(overload(figures));
    entries.extend(rest.map(|(key, node)| (key.into(), node)));
    entries
}

/// Returns whether an open loop ran away, with the numbers that tell; nothing where they are unknown.
fn overload(figures: &Figures) -> Vec<Entry> {
    let Some(overload) = figures.overload else {
        return Vec::new();
    };
    vec![
        ("overloaded".into(), overload.is_overloaded().into()),
        ("backlog_share".into(), overload.backlog.into()),
        ("latency_growth".into(), overload.growth.into()),
    ]
}

/// Returns the spread of a time in milliseconds, or null if no request has the time.
fn spread(of: Option<Spread>) -> Node {
    of.map_or(Node::default(), |of| {
        Node::object([
            ("avg_ms", of.avg.into()),
            ("p50_ms", of.p50.into()),
            ("p95_ms", of.p95.into()),
            ("p99_ms", of.p99.into()),
            ("max_ms", of.max.into()),
            ("n", of.n.into()),
        ])
    })
}
