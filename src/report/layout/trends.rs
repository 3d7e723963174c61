//! The charts that show the answer of a command: rotations of `benchmark`, points of `load`, levels of `replay`.

use std::collections::BTreeMap;

use super::groups::{COLD, WARM};
use crate::report::charts::{ENOUGH, Point, Trend};
use crate::stats::goodput::Slo;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::Time;
use crate::units::{fixed, share};

/// The sums of one rotation over its successes.
#[derive(Default)]
struct Rotation {
    ttft_ms: f64,
    timed: u64,
    cached: u64,
    prompt: u64,
}

/// Returns mean TTFT and hit rate by rotation; nothing for a single rotation, or without records. Requests that were
/// sent again are left out, as in all figures of rotations.
pub fn rotations(pass: &Pass) -> Vec<Trend> {
    let mut rotations: BTreeMap<u8, Rotation> = BTreeMap::new();
    let good = pass.records.list.iter();
    for record in good.filter(|record| record.is_good() && !record.is_resent()) {
        let Some(number) = record.rotation.number() else {
            continue;
        };
        let rotation = rotations.entry(number).or_default();
        if let Some(ns) = record.ttft_ns() {
            rotation.ttft_ms += ns as f64 / 1e6;
            rotation.timed += 1;
        }
        if let Some((cached, prompt)) = record.hits(0) {
            rotation.cached += cached;
            rotation.prompt += prompt;
        }
    }
    let trend = |title, y, y_max, value: fn(&Rotation) -> Option<f64>| {
        let points = rotations.iter().filter_map(|(&number, rotation)| {
            Some(Point {
                x: f64::from(number),
                y: value(rotation)?,
                group: usize::from(number > 1),
            })
        });
        Trend {
            title,
            x: "rotation",
            y,
            y_max,
            is_whole: true,
            lines: vec![(String::new(), points.collect())],
            key: vec![(0, COLD.to_string()), (1, WARM.to_string())],
            ..Trend::default()
        }
    };
    let ttft = trend("Mean TTFT by rotation", "TTFT, ms", None, |of| {
        (of.timed > 0).then(|| of.ttft_ms / of.timed as f64)
    });
    let (title, label) = (
        "Prefix cache hit rate by rotation",
        "cached prompt tokens, %",
    );
    let hits = trend(title, label, Some(100.0), |of| {
        Some(share(of.cached, of.prompt)? * 100.0)
    });
    let is_reported = pass.figures.all.prefix_cache_hit_rate.is_some();
    let all = std::iter::once(ttft).chain(is_reported.then_some(hits));
    all.filter(has_two_points).collect()
}

fn has_two_points(of: &Trend) -> bool {
    of.lines
        .iter()
        .map(|(_, points)| points.len())
        .sum::<usize>()
        > 1
}

/// A time that throughput is drawn over: its title, and the labels of its mean and of its p95.
type Over = (
    Time,
    &'static str,
    [&'static str; 2],
    fn(&Slo) -> Option<f64>,
);

const OVER: [Over; 3] = [
    (
        Time::Ttft,
        "Throughput over TTFT",
        ["TTFT, mean, ms", "TTFT, p95, ms"],
        |slo| slo.ttft_ms,
    ),
    (
        Time::Itl,
        "Throughput over ITL",
        ["ITL, mean, ms", "ITL, p95, ms"],
        |slo| slo.itl_ms,
    ),
    (
        Time::Latency,
        "Throughput over latency",
        ["latency, mean, ms", "latency, p95, ms"],
        |slo| slo.latency_ms,
    ),
];

/// Returns the throughput of the points of a sweep over each time that the SLO limits, or over latency without an SLO;
/// nothing for a single point.
pub fn sweep(passes: &[Pass]) -> Vec<Trend> {
    let slo = passes.first().and_then(|pass| pass.facts.slo);
    let slo = slo.unwrap_or_default();
    let is_free = slo == Slo::default();
    let over = OVER.into_iter().filter(|(time, _, _, limit)| {
        limit(&slo).is_some() || is_free && matches!(time, Time::Latency)
    });
    let trends = over.map(|of| throughput(passes, of, &slo));
    trends.filter(has_two_points).collect()
}

fn throughput(passes: &[Pass], (time, title, labels, limit): Over, slo: &Slo) -> Trend {
    let points = passes.iter().enumerate().filter_map(|(group, pass)| {
        let tokens_per_s = pass.figures.token_throughput?;
        Some((group, pass, pass.figures.time(time)?, tokens_per_s))
    });
    let points: Vec<(usize, &Pass, Spread, f64)> = points.collect();
    let is_p95 = points.iter().all(|(_, _, spread, _)| spread.n >= ENOUGH);
    let shown = |spread: &Spread| if is_p95 { spread.p95 } else { spread.avg };
    let key = points.iter().map(|(group, pass, spread, tokens_per_s)| {
        let (tokens, ms) = (fixed(*tokens_per_s, 1), fixed(shown(spread), 1));
        let overload = match pass.figures.is_overloaded() {
            true => ", overload",
            false => "",
        };
        (
            *group,
            format!("{}: {tokens} tokens/s at {ms} ms{overload}", pass.name()),
        )
    });
    let mut lines: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
    for (group, pass, spread, tokens_per_s) in &points {
        lines
            .entry(pass.facts.run.unwrap_or(0))
            .or_default()
            .push(Point {
                x: shown(spread),
                y: *tokens_per_s,
                group: *group,
            });
    }
    let name = |run| match run {
        0 => String::new(),
        run => format!("run {run}"),
    };
    Trend {
        title,
        x: labels[usize::from(is_p95)],
        y: "output tokens/s",
        lines: lines
            .into_iter()
            .map(|(run, line)| (name(run), line))
            .collect(),
        limits: limit(slo)
            .map(|ms| (ms, format!("SLO {ms} ms")))
            .into_iter()
            .collect(),
        key: key.collect(),
        note: match limit(slo) {
            Some(_) => "The SLO's limit holds for each request.".to_string(),
            None => String::new(),
        },
        ..Trend::default()
    }
}

/// Returns the mean TTFT of each round over the levels of concurrency; nothing for a single level.
pub fn levels(passes: &[Pass]) -> Vec<Trend> {
    let mut lines: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
    let mut key = Vec::new();
    for (group, pass) in passes.iter().enumerate() {
        let level = pass.facts.concurrency;
        let Some((level, ttft)) = level.zip(pass.figures.time(Time::Ttft)) else {
            continue;
        };
        let (x, y) = (level as f64, ttft.avg);
        let round = lines.entry(pass.facts.round.unwrap_or(1)).or_default();
        round.push(Point { x, y, group });
        key.push((group, format!("{}: {} ms", pass.name(), fixed(y, 1))));
    }
    if lines.values().all(|line| line.len() < 2) {
        return Vec::new();
    }
    for line in lines.values_mut() {
        line.sort_by_cached_key(|point| point.x as u64);
    }
    let lines = lines.into_iter();
    vec![Trend {
        title: "Mean TTFT over concurrency",
        x: "concurrency, requests",
        y: "TTFT, ms",
        is_whole: true,
        lines: lines
            .map(|(round, line)| (format!("round {round}"), line))
            .collect(),
        key,
        ..Trend::default()
    }]
}

#[cfg(test)]
mod tests;
