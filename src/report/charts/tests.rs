//! Tests of distributions, and of what all charts have in common: labels, colours, the requests that a percentile needs.

use super::*;
use crate::sample::Sample;
use crate::stats::record::Record;

const SECOND_NS: u64 = 1_000_000_000;

/// Returns a group with values of up to `most`, spread by a power, which makes some of them far from the others.
fn series(name: &str, n: u64, most: f64, power: f64) -> Series {
    let values = (1..=n).map(|k| (most * (k as f64 / n as f64).powf(power), 1));
    Series::new(name, values)
}

/// Returns a group of requests that follow one another from `from_s` on, each of `each_s` seconds and 10 tokens.
fn requests(name: &str, n: u64, from_s: u64, each_s: u64) -> Requests {
    let records = (0..n).map(|k| {
        let sent_ns = (from_s + k * each_s) * SECOND_NS;
        Record::from(&Sample {
            t_send_ns: sent_ns,
            t_end_ns: sent_ns + each_s * SECOND_NS,
            completion_tokens: Some(10),
            ..Sample::default()
        })
    });
    Requests {
        name: name.to_string(),
        of_pass: records.collect::<Vec<_>>().into(),
        has: |_| true,
    }
}

/// A text of a drawing with its box: left, top, right, bottom.
type Label = (String, [f64; 4]);

/// Returns the texts of a drawing. A character of the font is at most 6.6 units wide, and a line of it 11 high.
fn labels(svg: &str) -> Vec<Label> {
    let texts = svg.split("<text ").skip(1);
    let labels = texts.map(|text| {
        let (attributes, rest) = text.split_once('>').expect("a tag");
        let (text, _) = rest.split_once("</text>").expect("an end");
        let attribute = |name: &str| {
            let (_, value) = attributes.split_once(&format!("{name}=\""))?;
            value.split('"').next()
        };
        let number = |name: &str| -> f64 {
            // The class may be `x` or `y`, so the attribute is the one after a blank or at the start.
            let spaced = format!(" {attributes}");
            let (_, value) = spaced.split_once(&format!(" {name}=\"")).expect(name);
            let value = value.split('"').next().expect("a value");
            value.parse().expect("a number")
        };
        let (x, y, width) = (number("x"), number("y"), 6.6 * text.chars().count() as f64);
        let left = match attribute("class") {
            Some("x") => x - width / 2.0,
            Some("y") => x - width,
            _ => x,
        };
        (text.to_string(), [left, y - 9.0, left + width, y + 2.0])
    });
    labels.collect()
}

/// Checks that no two texts of a drawing overlap and that all of them are inside of it.
fn check(plot: &Plot) {
    let svg = plot.svg();
    let (_, size) = svg.split_once("viewBox=\"0 0 ").expect("a size");
    let mut size = size.split(['"', ' ']);
    let mut side = || -> f64 { size.next().and_then(|of| of.parse().ok()).expect("a side") };
    let (width, height) = (side(), side());
    let labels = labels(&svg);
    assert!(labels.len() > 3, "{svg}");
    for (at, (text, [left, top, right, bottom])) in labels.iter().enumerate() {
        let is_inside = *left >= -1.0 && *right <= width + 1.0 && *top >= 0.0 && *bottom <= height;
        assert!(is_inside, "{text} of {}\n{svg}", plot.title);
        for (other, [from, above, to, below]) in &labels[..at] {
            let apart = left >= to || right <= from || top >= below || bottom <= above;
            assert!(apart, "{text} and {other} of {}\n{svg}", plot.title);
        }
    }
}

#[test]
fn labels_never_overlap() {
    let names = ["concurrency 1000, round 1", "concurrency 1000, round 2"];
    for exponent in -8..=36 {
        let most = 10_f64.powf(f64::from(exponent) / 4.0);
        for (power, factor) in [(0.2, 1.0), (1.0, 1.3), (3.0, 2.7), (9.0, 7.9)] {
            let groups = names.map(|name| series(name, 40, most * factor, power));
            check(&shares("Gaps between token events", "gap, ms", &groups));
            check(&side_by_side("Cold against warm", "TTFT, ms", &groups).expect("two groups"));
            for limit in [0.01, 0.5, 1.0, 2.9] {
                let line = (0..5).map(|k| Point {
                    x: most * factor * f64::from(k + 1) / 5.0,
                    y: most * power * f64::from(k),
                    group: k as usize,
                });
                check(&trend::draw(&Trend {
                    x: "concurrency, requests",
                    y: "cached prompt tokens, %",
                    lines: vec![(String::new(), line.collect())],
                    limits: vec![(most * factor * limit, "SLO 123456.789 ms".to_string())],
                    levels: vec![(most * limit, "SLO")],
                    ..Trend::default()
                }));
            }
        }
    }
    for (n, each_s) in [(1, 1), (7, 3), (40, 100), (40, 3000)] {
        let groups: Vec<Requests> = (0..20)
            .map(|k| requests(names[0], n, k * n * each_s, each_s))
            .collect();
        let plots = [latency(&groups), tokens(&groups), in_flight(&groups)];
        plots.iter().flatten().for_each(check);
    }
}

#[test]
fn no_percentile_is_drawn_of_19_requests() {
    let groups = [series("few", 19, 19.0, 1.0), series("many", 20, 20.0, 1.0)];
    let plot = shares("t", "ms", &groups);
    // The values are 1 to 20, so p50 is at rank 9.5, p95 at 18.05 and p99 at 18.81.
    let wanted = "many: p50 10.50, p95 19.05, p99 19.81 ms, n 20";
    assert_eq!(plot.key, [("c1".to_string(), wanted.to_string())]);
    assert_eq!(
        plot.note,
        "Not drawn, with fewer than 20 requests: few (19)."
    );
    assert!(!plot.svg().contains("c0"), "{}", plot.svg());
    let plot = side_by_side("t", "ms", &groups).expect("two groups");
    let svg = plot.svg();
    let of_few: Vec<&str> = svg.lines().filter(|line| line.contains(" c0\"")).collect();
    assert!(
        of_few.len() == 1 && of_few[0].starts_with("<path class=\"dots c0\""),
        "{svg}"
    );
    assert_eq!(of_few[0].matches("h0").count(), 19, "{svg}");
    assert_eq!(plot.key[0].1, "few: 19 requests");
    // Many gaps of few requests are few requests.
    let gaps = series("few", 500, 19.0, 1.0).of_requests(19);
    assert!(shares("t", "ms", &[gaps]).key.is_empty());
}

#[test]
fn time_axes_mark_where_each_group_begins() {
    // The groups begin at 1 s and at 3 s, and the run ends at 5 s: the axis goes from 50 to 374 in 4 s, so that the
    // second begins at 50 + 324 / 2.
    let groups = [requests("a", 2, 1, 1), requests("b", 2, 3, 1)];
    for plot in [latency(&groups), tokens(&groups), in_flight(&groups)] {
        let plot = plot.expect("requests");
        let svg = plot.svg();
        for mark in [
            r#"<path class="begin c0" d="M50.0 32V200"/>"#,
            r#"<path class="begin c1" d="M212.0 32V200"/>"#,
        ] {
            assert!(svg.contains(mark), "{mark}\n{svg}");
        }
        let key = &plot.key[plot.key.len() - 2..];
        let wanted = [("c0", "a, from 0.00 s on"), ("c1", "b, from 2.00 s on")];
        let wanted = wanted.map(|(class, text)| (class.to_string(), text.to_string()));
        assert_eq!(key, wanted);
    }
    let alone = in_flight(&groups[..1]).expect("requests").svg();
    assert!(!alone.contains("begin"), "{alone}");
}

#[test]
fn a_line_over_all_groups_has_the_colour_of_none() {
    let groups = [requests("a", 2, 1, 1), requests("b", 2, 3, 1)];
    for plot in [tokens(&groups), in_flight(&groups)] {
        let plot = plot.expect("requests");
        assert_eq!(plot.key[0].0, "all");
        assert!(plot.svg().contains(r#"<path class="line all""#));
    }
    let whole = series("all rotations", 20, 5.0, 1.0).of_all_groups();
    assert_eq!(shares("t", "ms", &[whole]).key[0].0, "all");
}

fn of(sorted: Vec<f64>) -> Series {
    Series::new("a", sorted.into_iter().map(|value| (value, 1)))
}

#[test]
fn a_curve_passes_its_marks_and_reaches_the_edge() {
    // The values are 0 to 98 and one of 1000. p99 is 0.01 of the way from 98 to 1000, and the edge at 110 is 12 /
    // 902 of that way: (98 + 0.0133) / 99.
    let values = of((0..99).map(f64::from).chain([1000.0]).collect());
    let p99 = values.quantile(0.99).expect("values");
    assert!((p99 - 107.02).abs() < 1e-6, "{p99}");
    let points = curve(&values, 110.0);
    let ends: Vec<String> = points[points.len() - 2..]
        .iter()
        .map(|(time, share)| format!("{time:.2} {share:.4}"))
        .collect();
    assert_eq!(ends, ["107.02 99.0000", "110.00 99.0033"]);
    let all = curve(&values, 1000.0);
    assert_eq!(all.last(), Some(&(1000.0, 100.0)));
}

#[test]
fn a_distribution_is_drawn_from_its_quantiles_alone() {
    // The values are 0 to 1000: their quantiles are 10 times the percent.
    let all = of((0..=1000).map(f64::from).collect());
    let quantiles = (0..=100).map(|k| f64::from(k) * 10.0);
    let few = Series::of_quantiles("b", quantiles, 1001);
    for q in [0.0, 0.123, 0.5, 0.99, 1.0] {
        let (all, few) = (all.quantile(q), few.quantile(q));
        let error = all.zip(few).map(|(all, few)| (all - few).abs());
        assert!(error.is_some_and(|error| error < 1e-6), "{q}");
    }
    let plot = shares("t", "ms", std::slice::from_ref(&few));
    // The number of values is not known, so neither is that of those beyond the edge.
    let wanted = "b: p50 500.00, p95 950.00, p99 990.00 ms";
    assert_eq!(plot.key, [("c0".to_string(), wanted.to_string())]);
    assert_eq!(plot.note, "");
    let few = few.of_requests(19);
    let note = "Not drawn, with fewer than 20 requests: b (19).";
    assert_eq!(shares("t", "ms", &[few]).note, note);
}

#[test]
fn one_slow_group_does_not_press_the_others_onto_the_axis() {
    let far = [of(vec![10.0, 20.0, 30.0]), of(vec![900.0, 1000.0])];
    let svg = Plot::new("t", time_axis("ms", &far, 1000.0), Axis::new("%", 1.0)).svg();
    assert!(svg.contains("ms, logarithmic"), "{svg}");
    for near in [
        [of(vec![10.0, 60.0]), of(vec![100.0])],
        [of(vec![0.0]), of(vec![0.0])],
    ] {
        let svg = Plot::new("t", time_axis("ms", &near, 100.0), Axis::new("%", 1.0)).svg();
        assert!(!svg.contains("logarithmic"), "{svg}");
    }
}
