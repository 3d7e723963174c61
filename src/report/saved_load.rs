//! A saved `load`: from its samples, or from its result file.

use serde_json::Value;

use super::saved::{
    Figures, Group, NO_SAMPLES, Report, Samples, client_between, no_gaps, peak, slo, start_ns,
};
use super::{load, load_json, read_back};
use crate::sample::{Phase, Sample};
use crate::stats::client::ClientSummary;
use crate::stats::load::{LoadFacts, LoadSummary};

const FROM_DUE: &str =
    "TTFT and latency count from the due times, in charts too, but where a row says from the send";

impl Report {
    /// Of samples of `load`.
    pub fn of_load(saved: Samples) -> Report {
        let is_mock = saved.about["mock"] == true;
        let slo = slo(&saved.about["slo"]);
        let points = points(saved.samples, saved.points);
        let mut notes = Vec::new();
        let (mut cached_reported, mut response_cached_reported) = (false, false);
        let mut summaries = Vec::new();
        for (at, (samples, line)) in points.iter().enumerate() {
            let next = points.get(at + 1);
            let until_ns = next.map_or(u64::MAX, |(samples, _)| start_ns(samples));
            let client = || client_between(&saved.vitals, measured_ns(samples), until_ns, is_mock);
            let facts = LoadFacts {
                cached_reported,
                response_cached_reported,
                slo,
                ..facts(samples, line.as_ref(), client)
            };
            let one = LoadSummary::of(samples, facts);
            if line.is_none() {
                let name = load::name(&one);
                notes.push(format!("{name} has no end in this file: requests in flight then are not counted, and nothing tells of what was planned, of a pool that ran out and of a perfect cache"));
            }
            cached_reported |= samples.iter().any(|s| s.cached_tokens.is_some());
            response_cached_reported |= samples.iter().any(|s| s.response_cached.is_some());
            summaries.push(one);
        }
        notes.extend(no_gaps(points.iter().flat_map(|(samples, _)| samples)));
        let samples = points.into_iter().map(|(samples, _)| samples).collect();
        let mut report = Report::of_points(saved.about, summaries, samples);
        report.notes.extend(notes);
        report.note_missing();
        report
    }

    /// Of points that have ended, and the samples of each.
    pub fn of_points(about: Value, points: Vec<LoadSummary>, samples: Vec<Vec<Sample>>) -> Report {
        let groups = points.iter().zip(samples).map(|(one, samples)| {
            let counted = samples.into_iter().filter(|s| s.phase != Phase::Warmup);
            Group {
                name: load::name(one),
                samples: counted.collect(),
            }
        });
        let is_open = points.iter().any(|one| one.open.is_some());
        Report {
            groups: groups.collect(),
            about,
            figures: Figures::Load(points),
            notes: is_open.then(|| FROM_DUE.to_string()).into_iter().collect(),
        }
    }

    /// Of a result file; `None`: it is none.
    pub fn of_load_result(file: &Value) -> Option<Report> {
        let points = load_json::read(file)?;
        let about = file.get("environment")?.clone();
        let mut report = Report::of_points(about, points, Vec::new());
        report.notes.push(NO_SAMPLES.to_string());
        Some(report)
    }
}

/// The names of the points that were asked for.
pub(super) fn planned(options: &Value) -> Vec<String> {
    let list = |key: &str| options[key].as_array().cloned().unwrap_or_default();
    let rates = list("rate_per_s");
    let rates = rates.iter().filter_map(Value::as_f64);
    let concurrency = list("concurrency");
    let concurrency = concurrency.iter().filter_map(Value::as_u64);
    let rates = rates.map(|rate| load::point_name(None, Some(rate)));
    let mut names: Vec<String> = rates
        .chain(concurrency.map(|n| load::point_name(Some(n), None)))
        .collect();
    if options["prompts"]["trace"].is_string() {
        names.push(load::point_name(None, None));
    }
    names
}

type Point = (Vec<Sample>, Option<Value>);

/// The samples of each point with the line that ended it; one without a line did not come to its end.
fn points(mut samples: Vec<Sample>, lines: Vec<(usize, Value)>) -> Vec<Point> {
    let mut points = Vec::new();
    let mut taken = 0;
    for (before, line) in lines {
        let rest = samples.split_off((before - taken).min(samples.len()));
        points.push((std::mem::replace(&mut samples, rest), Some(line)));
        taken = before;
    }
    if samples.iter().any(|sample| sample.phase != Phase::Warmup) {
        points.push((samples, None));
    }
    points
}

/// From the line of a point; without one as far as its samples tell.
fn facts(
    samples: &[Sample],
    line: Option<&Value>,
    client: impl Fn() -> ClientSummary,
) -> LoadFacts {
    let told = line.unwrap_or(&Value::Null);
    let counted = samples.iter().find(|s| s.phase != Phase::Warmup);
    let labels = counted.map(|sample| &sample.labels);
    let count = |key: &str| told[key].as_u64();
    LoadFacts {
        concurrency: count("concurrency").or_else(|| labels?.concurrency),
        rate_per_s: told["rate_per_s"].as_f64().or_else(|| labels?.rate_per_s),
        planned: count("planned"),
        peak: count("concurrency_peak").unwrap_or_else(|| peak(samples)),
        cached_reported: false,
        response_cached_reported: false,
        slo: None,
        exhausted: count("exhausted"),
        perfect_response_rate: told["perfect_response_rate"].as_f64(),
        perfect_prefix_rate: told["perfect_prefix_rate"].as_f64(),
        not_sent: count("not_sent").unwrap_or(0),
        client: read_back::client(&told["client"]).unwrap_or_else(client),
    }
}

/// When the first request behind the warm-up was sent.
fn measured_ns(samples: &[Sample]) -> u64 {
    let counted = samples.iter().filter(|s| s.phase != Phase::Warmup);
    counted.map(|sample| sample.t_send_ns).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::client::ClientStats;

    fn sample(id: u64) -> Sample {
        Sample {
            id,
            ..Sample::default()
        }
    }

    #[test]
    fn the_facts_of_a_line_are_those_that_it_was_written_from() {
        let watched = || ClientStats::default().summary(0, true);
        let wanted = LoadFacts {
            concurrency: Some(4),
            rate_per_s: Some(2.5),
            planned: Some(50),
            peak: 3,
            cached_reported: false,
            response_cached_reported: false,
            slo: None,
            exhausted: Some(7),
            perfect_response_rate: Some(0.25),
            perfect_prefix_rate: Some(0.125),
            not_sent: 9,
            client: watched(),
        };
        let line = serde_json::to_value(wanted.line(1)).expect("JSON");
        assert_eq!(line["point"], 1);
        let got = facts(&[], Some(&line), || panic!("the line has one"));
        assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
        // Without a line the samples tell some of it.
        let mut labelled = sample(1);
        labelled.t_end_ns = 1;
        labelled.labels.rate_per_s = Some(2.5);
        let got = facts(&[labelled], None, watched);
        assert_eq!(
            (got.rate_per_s, got.concurrency, got.peak),
            (Some(2.5), None, 1)
        );
        assert_eq!((got.planned, got.exhausted), (None, None));
    }

    #[test]
    fn a_point_has_the_samples_before_its_line() {
        let ids = |points: Vec<Point>| -> Vec<(Vec<u64>, bool)> {
            let points = points.into_iter();
            points
                .map(|(samples, line)| (samples.iter().map(|s| s.id).collect(), line.is_some()))
                .collect()
        };
        let line = |before| (before, Value::Null);
        let samples = || (0..5).map(sample).collect::<Vec<_>>();
        for (lines, wanted) in [
            (
                vec![line(2), line(5)],
                vec![(vec![0, 1], true), (vec![2, 3, 4], true)],
            ),
            (
                vec![line(3)],
                vec![(vec![0, 1, 2], true), (vec![3, 4], false)],
            ),
            (vec![], vec![(vec![0, 1, 2, 3, 4], false)]),
        ] {
            assert_eq!(ids(points(samples(), lines)), wanted);
        }
        // The run ended in the warm-up of a point: that one has nothing to show.
        let warmup = Sample {
            phase: Phase::Warmup,
            ..sample(5)
        };
        let samples = vec![sample(4), warmup];
        assert_eq!(ids(points(samples, vec![line(1)])), [(vec![4], true)]);
    }
}
