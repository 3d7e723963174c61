//! The server's metrics beside the requests of a round, from what was read of them.

use serde_json::Value;

use crate::prom::catalog::PAIRS;
use crate::prom::change::{Observation, beside};
use crate::prom::series::{PairReading, Reading};
use crate::sample::Sample;
use crate::stats::round::MetricSummary;
use crate::stats::spread::Spread;

/// Each metric over the requests and over the round as a whole; `named`: names with their sources, in the
/// order of the readings.
pub fn summaries(
    observations: &[Observation],
    named: Vec<(String, String)>,
    samples: &[Sample],
    concurrency: u64,
) -> Vec<MetricSummary> {
    let from_ns = samples.iter().map(|sample| sample.t_send_ns).min();
    let to_ns = samples.iter().map(|sample| sample.t_end_ns).max();
    let edges = from_ns.zip(to_ns);
    let summary = |(metric, (name, source)): (usize, (String, String))| {
        let good = samples.iter().filter(|sample| sample.is_success());
        let values = good
            .filter_map(|sample| beside(observations, metric, sample.t_send_ns, sample.t_end_ns));
        MetricSummary {
            name,
            spread: Spread::of(values.collect()),
            over_round: edges.and_then(|(from, to)| beside(observations, metric, from, to)),
            source,
            shared: concurrency > 1,
        }
    };
    named.into_iter().enumerate().map(summary).collect()
}

/// The same from the lines of the series `metrics` of a whole run.
pub(super) fn saved(
    lines: &[Value],
    names: &[String],
    samples: &[Sample],
    concurrency: u64,
) -> Vec<MetricSummary> {
    let observations = lines.iter().map(|line| Observation {
        t_begin_ns: line["t_start_ns"].as_u64().unwrap_or(0),
        t_end_ns: line["t_end_ns"].as_u64().unwrap_or(0),
        values: names.iter().map(|name| reading(line, name)).collect(),
    });
    let observations: Vec<Observation> = observations.collect();
    let end_ns = samples.iter().map(|sample| sample.t_end_ns).max();
    let is_behind = |line: &&Value| line["t_start_ns"].as_u64() >= end_ns;
    let last = lines.iter().find(is_behind).or(lines.last());
    let source = |name: &String| last.and_then(|line| line["sources"][name].as_str());
    let named = names.iter().map(|name| {
        let source = source(name).unwrap_or("not found");
        (name.clone(), source.to_string())
    });
    summaries(&observations, named.collect(), samples, concurrency)
}

fn reading(line: &Value, name: &str) -> Reading {
    let value = &line["values"][name];
    match line["sources"][name].as_str() {
        None | Some("not found") => Reading::Absent,
        Some("counter") => Reading::Counter(value.as_f64()),
        Some("gauge") => Reading::Gauge(value.as_f64()),
        // The file has the sums of a pair's counters; which pair it was makes no difference to them.
        Some(_) => Reading::Ratio(match value.is_object() {
            false => Vec::new(),
            true => vec![PairReading {
                pair: &PAIRS[0],
                hits: vec![Reading::Counter(value["hits"].as_f64())],
                of: vec![Reading::Counter(value["of"].as_f64())],
            }],
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readings_of_every_kind_give_what_changed_beside_the_requests() {
        let ratio = "Δ a / Δ b";
        let line = |t_ns: u64, counter: u64, gauge: f64, hits: u64, of: u64| {
            json!({"t_start_ns": t_ns, "t_end_ns": t_ns + 1,
                "values": {"c": counter, "g": gauge, "r": {"hits": hits, "of": of}, "x": null},
                "sources": {"c": "counter", "g": "gauge", "r": ratio, "x": "not found"}})
        };
        let lines = [
            line(0, 10, 0.5, 100, 1000),
            line(20, 13, 0.7, 150, 1100),
            line(40, 14, 0.9, 150, 1200),
            // Of the next round.
            line(60, 99, 0.1, 900, 9000),
        ];
        let sample = |t_send_ns, t_end_ns| Sample {
            t_send_ns,
            t_end_ns,
            ..Sample::default()
        };
        let samples = [sample(5, 15), sample(25, 35)];
        let names = ["r", "c", "g", "x"].map(str::to_string);
        let got = saved(&lines, &names, &samples, 2);
        let figures = got.iter().map(|metric| {
            let spread = metric.spread.as_ref();
            let ends = spread.map(|spread| (spread.min, spread.max));
            (
                metric.name.as_str(),
                metric.over_round,
                ends,
                metric.source.as_str(),
            )
        });
        let figures: Vec<_> = figures.collect();
        // r: 50 of 100, then 0 of 100; as a whole 50 of 200. c: 3, then 1; as a whole 4.
        let wanted = [
            ("r", Some(0.25), Some((0.0, 0.5)), ratio),
            ("c", Some(4.0), Some((1.0, 3.0)), "counter"),
            ("g", Some(0.9), Some((0.7, 0.9)), "gauge"),
            ("x", None, None, "not found"),
        ];
        assert_eq!(figures, wanted);
        assert!(got.iter().all(|metric| metric.shared));
    }
}
