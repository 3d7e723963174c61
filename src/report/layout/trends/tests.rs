//! Tests of the points of the charts, from small passes.

use super::*;
use crate::report::golden::five_tokens;
use crate::sample::{Labels, Sample};
use crate::stats::facts::Facts;
use crate::stats::records::Records;

/// Returns the points of a line as x, y to a thousandth, and group.
fn points(of: &Trend, line: usize) -> Vec<(f64, f64, usize)> {
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    let points = of.lines[line].1.iter();
    let points = points.map(|point| (rounded(point.x), rounded(point.y), point.group));
    points.collect()
}

fn rotated(rotation: u64, k: u64, ttft_ms: u64, cached: u64) -> Sample {
    Sample {
        labels: Labels {
            rotation: Some(rotation),
            ..Labels::default()
        },
        ..five_tokens(k, k * 100, ttft_ms, cached)
    }
}

#[test]
fn each_rotation_has_its_mean_ttft_and_its_hit_rate() {
    let samples = [
        rotated(0, 0, 500, 0),
        rotated(0, 1, 700, 30),
        rotated(1, 2, 100, 992),
        Sample {
            resent: true,
            ..rotated(1, 3, 900, 0)
        },
        rotated(2, 4, 90, 992),
        rotated(2, 5, 70, 496),
    ];
    let pass = Pass::new(Facts::default(), Records::kept().with(&samples));
    let trends = rotations(&pass);
    assert_eq!(trends.len(), 2);
    // Prompts have 1000 tokens: 30 of 2000, 992 of 1000 and 1488 of 2000 are cached.
    let ttft = [(1.0, 600.0, 0), (2.0, 100.0, 1), (3.0, 80.0, 1)];
    let hits = [(1.0, 1.5, 0), (2.0, 99.2, 1), (3.0, 74.4, 1)];
    assert_eq!(points(&trends[0], 0), ttft);
    assert_eq!(points(&trends[1], 0), hits);
    // Without counts of cached tokens there is no hit rate, and one rotation has nothing beside it.
    let uncounted = samples.clone().map(|sample| Sample {
        cached_tokens: None,
        ..sample
    });
    let pass = Pass::new(Facts::default(), Records::kept().with(&uncounted));
    assert_eq!(rotations(&pass).len(), 1);
    let pass = Pass::new(Facts::default(), Records::kept().with(&samples[..2]));
    assert!(rotations(&pass).is_empty());
    // An endless run keeps no records.
    let pass = Pass::new(Facts::default(), Records::live(true, 0).with(&samples));
    assert!(rotations(&pass).is_empty());
}

/// Returns a point or a round of `n` requests that follow one another, each with this TTFT and a latency of 80 ms more.
fn pass(concurrency: u64, round: Option<u64>, slo: Option<Slo>, n: u64, ttft_ms: u64) -> Pass {
    let facts = Facts {
        concurrency: Some(concurrency),
        round,
        slo,
        ..Facts::default()
    };
    let samples = (0..n).map(|k| five_tokens(k, k * (ttft_ms + 81), ttft_ms, 0));
    Pass::new(facts, Records::kept().with(&samples.collect::<Vec<_>>()))
}

#[test]
fn throughput_is_drawn_over_each_time_that_the_slo_limits() {
    let points_of = |slo, n| [pass(1, None, slo, n, 119), pass(4, None, slo, n, 319)];
    // A request takes 200 or 400 ms to its end, so 5 tokens are 25 or 12.5 tokens/s.
    let trends = sweep(&points_of(None, 2));
    assert_eq!(trends.len(), 1);
    let of = &trends[0];
    assert_eq!(
        (of.title, of.x),
        ("Throughput over latency", "latency, mean, ms")
    );
    assert_eq!(points(of, 0), [(199.0, 25.0, 0), (399.0, 12.5, 1)]);
    assert_eq!(of.key[0].1, "concurrency 1: 25.0 tokens/s at 199.0 ms");
    assert_eq!(of.limits, []);
    let slo = Slo {
        ttft_ms: Some(300.0),
        latency_ms: Some(500.0),
        ..Slo::default()
    };
    let trends = sweep(&points_of(Some(slo), 20));
    let shown: Vec<_> = trends
        .iter()
        .map(|of| (of.x, of.limits.first().cloned()))
        .collect();
    let wanted = [
        ("TTFT, p95, ms", Some((300.0, "SLO 300 ms".to_string()))),
        ("latency, p95, ms", Some((500.0, "SLO 500 ms".to_string()))),
    ];
    assert_eq!(shown, wanted);
    assert_eq!(points(&trends[0], 0), [(119.0, 25.0, 0), (319.0, 12.5, 1)]);
    assert!(sweep(&points_of(None, 2)[..1]).is_empty());
}

#[test]
fn each_round_has_a_line_over_the_levels() {
    let passes = [
        pass(4, Some(1), None, 3, 300),
        pass(4, Some(2), None, 3, 30),
        pass(1, Some(1), None, 3, 100),
        pass(1, Some(2), None, 3, 10),
    ];
    let trends = levels(&passes);
    assert_eq!(trends.len(), 1);
    let of = &trends[0];
    let names: Vec<&str> = of.lines.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["round 1", "round 2"]);
    assert_eq!(points(of, 0), [(1.0, 100.0, 2), (4.0, 300.0, 0)]);
    assert_eq!(points(of, 1), [(1.0, 10.0, 3), (4.0, 30.0, 1)]);
    assert_eq!(
        of.key[1],
        (1, "concurrency 4, round 2: 30.0 ms".to_string())
    );
    assert!(levels(&passes[..2]).is_empty(), "one level");
}
