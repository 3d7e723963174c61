//! The charts of the HTML report: what is drawn, from the requests of each group.
//!
//! Points are thinned out to a number that does not grow with the run; captions say so.

mod plot;

use self::plot::{Axis, Plot};
use super::html::escaped;
use super::saved::{Figures, Group, Report};
use crate::sample::{Phase, Sample};
use crate::stats::{exact_quantile, latency_from_due_ns, lateness_ns};
use crate::units::{fixed, seconds};

/// Colours in page.html.
const COLOURS: usize = 6;
/// Points of a distribution's curve.
const CURVE: usize = 160;
/// Dots of all groups together, and crosses.
const DOTS: usize = 3000;
const CROSSES: usize = 500;
/// Columns of what is drawn over time.
const COLUMNS: usize = 120;

/// With the name, and how much lower than its line it stands: those of the upper two would touch.
const MARKED: [(f64, &str, f64); 3] = [(0.5, "p50", 4.0), (0.95, "p95", 10.0), (0.99, "p99", 0.0)];

/// A chart with its caption and its key, as HTML.
pub(super) struct Chart {
    pub title: &'static str,
    pub svg: String,
    /// Class and text.
    pub key: Vec<(String, String)>,
    pub note: String,
}

/// Every chart that the requests are enough for.
pub(super) fn all(report: &Report) -> Vec<Chart> {
    let groups = &report.groups;
    let ttft = values(groups, Group::ttft_ms);
    let gaps = values(groups, Group::gaps_ms);
    let charts = [
        shares("Time to first token (TTFT)", "TTFT, ms", &ttft),
        shares("Gaps between token events", "gap, ms", &gaps),
        latency(groups),
        tokens(groups),
        in_flight(groups),
        side_by_side(side_by_side_title(report), &ttft),
    ];
    charts.into_iter().flatten().collect()
}

fn side_by_side_title(report: &Report) -> &'static str {
    match report.figures {
        Figures::Run(_) => "TTFT by workload",
        Figures::Load(_) => "TTFT by point",
        Figures::Benchmark { .. } | Figures::Replay(_) => "Cold against warm: TTFT",
    }
}

/// A colour; `d` (dashed), then `e` (dotted) when all have been used.
fn class(group: usize) -> String {
    let style = ["", " d", " e"][group / COLOURS % 3];
    format!("c{}{style}", group % COLOURS)
}

/// A figure of the requests of a group, sorted.
struct Values<'a> {
    name: &'a str,
    class: String,
    sorted: Vec<f64>,
}

impl Values<'_> {
    fn at(&self, q: f64) -> f64 {
        exact_quantile(&self.sorted, q).unwrap_or(0.0)
    }
}

/// Of the groups that have any.
fn values(groups: &[Group], of: impl Fn(&Group) -> Vec<f64>) -> Vec<Values<'_>> {
    let all = groups.iter().enumerate().map(|(at, group)| Values {
        name: &group.name,
        class: class(at),
        sorted: of(group),
    });
    all.filter(|values| !values.sorted.is_empty()).collect()
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// For all groups. Logarithmic where the usual value of one would be a hair beside the axis.
fn time_axis(label: &'static str, groups: &[Values<'_>], max: f64) -> Axis {
    const FAR: f64 = 20.0;
    let least = |q: f64| {
        let times = groups.iter().map(|values| values.at(q));
        times.filter(|&time| time > 0.0).reduce(f64::min)
    };
    match (least(0.05), least(0.5)) {
        (Some(low), Some(median)) if median * FAR < max => Axis::logarithmic(label, low * 0.8, max),
        _ => Axis::new(label, max),
    }
}

/// The share of values below each time, p50, p95 and p99 marked.
fn shares(title: &'static str, label: &'static str, groups: &[Values<'_>]) -> Option<Chart> {
    let largest = largest(groups.iter().map(|values| values.at(0.99))) * 1.1;
    let x = time_axis(label, groups, largest);
    let max = x.max;
    let mut plot = Plot::new(x, Axis::new("share below, %", 100.0));
    for (q, name, lower) in MARKED {
        plot.level(q * 100.0, name, lower);
    }
    let mut key = Vec::new();
    let mut beyond = 0;
    for values in groups {
        let within = values.sorted.partition_point(|&value| value <= max);
        plot.line(&values.class, curve(values, max));
        for (q, _, _) in MARKED {
            plot.mark(&values.class, values.at(q), q * 100.0);
        }
        let marked = MARKED.map(|(q, name, _)| format!("{name} {}", fixed(values.at(q), 2)));
        let text = format!(
            "{}: {} ms, n {}",
            values.name,
            marked.join(", "),
            values.sorted.len()
        );
        key.push((values.class.clone(), text));
        beyond += values.sorted.len() - within;
    }
    let note = match beyond {
        0 => String::new(),
        1 => "1 value is beyond the right edge.".to_string(),
        n => format!("{n} values are beyond the right edge."),
    };
    chart(title, &plot, key, note).filter(|_| !groups.is_empty())
}

/// Time and share below it, up to `max`, by the interpolation of the quantiles. The marks lie on it.
fn curve(values: &Values<'_>, max: f64) -> Vec<(f64, f64)> {
    let points = (0..=CURVE).map(|k| k as f64 / CURVE as f64);
    let mut points: Vec<f64> = points.chain(MARKED.map(|(q, _, _)| q)).collect();
    points.sort_unstable_by(f64::total_cmp);
    let points = points.into_iter().map(|q| (values.at(q), q * 100.0));
    let mut points: Vec<(f64, f64)> = points.take_while(|(time, _)| *time <= max).collect();
    let sorted = &values.sorted;
    let within = sorted.partition_point(|&value| value <= max);
    if within > 0 && within < sorted.len() {
        let (below, above) = (sorted[within - 1], sorted[within]);
        let rank = (within - 1) as f64 + (max - below) / (above - below);
        points.push((max, rank * 100.0 / (sorted.len() - 1) as f64));
    }
    points
}

/// `None`: there is nothing to draw.
fn chart(
    title: &'static str,
    plot: &Plot,
    key: Vec<(String, String)>,
    note: String,
) -> Option<Chart> {
    (!key.is_empty()).then(|| Chart {
        title,
        svg: plot.svg(&escaped(title)),
        key,
        note,
    })
}

/// When the first request was sent and how long the run took, in seconds; `None` without requests.
fn span(groups: &[Group]) -> Option<(u64, f64)> {
    let samples = || groups.iter().flat_map(|group| &group.samples);
    let start_ns = samples().map(|sample| sample.t_send_ns).min()?;
    let end_ns = samples().map(|sample| sample.t_end_ns).max()?;
    Some((start_ns, seconds(end_ns.saturating_sub(start_ns))))
}

const TIME: &str = "time since the first request, s";

/// How long a request took, from its due time in an open loop; of a failure until it ended.
fn taken_s(sample: &Sample) -> f64 {
    let late_ns = lateness_ns(sample).unwrap_or(0);
    match sample.is_success() {
        true => seconds(latency_from_due_ns(sample)),
        false => seconds(sample.t_end_ns.saturating_sub(sample.t_send_ns) + late_ns),
    }
}

/// Latency of each request over the time of its send; failures as crosses.
fn latency(groups: &[Group]) -> Option<Chart> {
    /// Failures that took so many times longer are not drawn to scale: timeouts would press all else
    /// onto the axis.
    const FAR: f64 = 3.0;
    let (start_ns, run_s) = span(groups)?;
    let measured = |sample: &&Sample| sample.phase == Phase::Measured;
    let all = groups
        .iter()
        .flat_map(|group| group.samples.iter().filter(measured));
    let point = |sample: &Sample| {
        let at_s = seconds(sample.t_send_ns.saturating_sub(start_ns));
        (at_s, taken_s(sample))
    };
    let (good, failed): (Vec<&Sample>, Vec<&Sample>) = all.partition(|s| s.is_success());
    let [slowest, longest] = [&good, &failed].map(|of| largest(of.iter().map(|s| taken_s(s))));
    let is_far = !good.is_empty() && longest > slowest * FAR;
    let highest = if is_far {
        slowest
    } else {
        slowest.max(longest)
    } * 1.05;
    let mut plot = Plot::new(Axis::new(TIME, run_s), Axis::new("latency, s", highest));
    let mut key = Vec::new();
    let mut notes = Vec::new();
    let every = good.len().div_ceil(DOTS).max(1);
    // The slow ones are few and stay.
    let mut latencies: Vec<f64> = good.iter().map(|sample| taken_s(sample)).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let slow = exact_quantile(&latencies, 0.995).unwrap_or(0.0);
    let mut drawn = 0;
    for (at, group) in groups.iter().enumerate() {
        let good = group
            .samples
            .iter()
            .filter(|sample| measured(sample) && sample.is_success());
        let thinned = good
            .enumerate()
            .filter(|(at, sample)| at % every == 0 || taken_s(sample) > slow)
            .map(|(_, sample)| point(sample));
        let thinned: Vec<(f64, f64)> = thinned.collect();
        drawn += thinned.len();
        if !thinned.is_empty() {
            key.push((class(at), group.name.clone()));
        }
        plot.dots(&class(at), thinned);
    }
    if every > 1 {
        let n = good.len();
        notes.push(format!(
            "Thinned out: {drawn} of {n} successes are drawn, the slowest 0.5 % among them."
        ));
    }
    let every_failed = failed.len().div_ceil(CROSSES).max(1);
    let crosses = failed.iter().step_by(every_failed).map(|s| point(s));
    plot.crosses("fail", crosses);
    if !failed.is_empty() {
        key.push(("fail".to_string(), format!("failed: {}", failed.len())));
    }
    notes.extend(failure_notes(&failed, highest, every_failed));
    chart("Latency over time", &plot, key, notes.join(" "))
}

/// Said of failures above the highest latency of the axis, and of those not drawn.
fn failure_notes(failed: &[&Sample], highest: f64, every: usize) -> Vec<String> {
    let times = failed.iter().map(|sample| taken_s(sample));
    let above: Vec<f64> = times.filter(|&time| time > highest).collect();
    let mut notes = Vec::new();
    if !above.is_empty() {
        let (n, longest) = (above.len(), fixed(largest(above.into_iter()), 1));
        notes.push(format!(
            "At the top edge: {n} failed, after up to {longest} s."
        ));
    }
    if every > 1 {
        notes.push(format!("Of the failures one in {every} is drawn."));
    }
    notes
}

/// What each span of time adds to the columns that it covers, by the share of it that lies in each.
fn columns(spans: impl Iterator<Item = (f64, f64, f64)>, run_s: f64) -> Vec<f64> {
    let width = run_s / COLUMNS as f64;
    let mut columns = vec![0.0; COLUMNS];
    for (from_s, to_s, amount) in spans {
        let first = ((from_s / width) as usize).min(COLUMNS - 1);
        let last = ((to_s / width) as usize).min(COLUMNS - 1);
        let length = (to_s - from_s).max(f64::MIN_POSITIVE);
        for (at, column) in columns.iter_mut().enumerate().take(last + 1).skip(first) {
            let (start, end) = (at as f64 * width, (at + 1) as f64 * width);
            let share = (to_s.min(end) - from_s.max(start)).max(0.0) / length;
            *column += amount * if first == last { 1.0 } else { share };
        }
    }
    columns.iter().map(|amount| amount / width).collect()
}

/// A chart of columns; `label` has the unit of the y axis.
fn over_time(
    title: &'static str,
    label: &'static str,
    columns: &[f64],
    run_s: f64,
) -> Option<Chart> {
    let highest = largest(columns.iter().copied());
    let mut plot = Plot::new(Axis::new(TIME, run_s), Axis::new(label, highest * 1.05));
    let width = run_s / COLUMNS as f64;
    let steps = columns.iter().enumerate().flat_map(|(at, &value)| {
        let at = at as f64;
        [(at * width, value), ((at + 1.0) * width, value)]
    });
    plot.line("c0", steps);
    let key = format!(
        "mean of each {} s; highest {}",
        fixed(width, 2),
        fixed(highest, 1)
    );
    chart(title, &plot, vec![("c0".to_string(), key)], String::new())
}

/// Output tokens of successes, spread evenly from the first to the last of each.
fn tokens(groups: &[Group]) -> Option<Chart> {
    let (start_ns, run_s) = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let since = |ns: u64| seconds(ns.saturating_sub(start_ns));
    let samples = groups.iter().flat_map(|group| &group.samples);
    let spans = samples
        .filter(|sample| sample.is_success())
        .filter_map(|sample| {
            let tokens = sample.completion_tokens?;
            let first_ns = sample.t_first_ns.unwrap_or(sample.t_end_ns);
            let last_ns = sample
                .t_first_ns
                .and(sample.t_last_ns)
                .unwrap_or(sample.t_end_ns);
            Some((since(first_ns), since(last_ns), tokens as f64))
        });
    let columns = columns(spans, run_s);
    let chart = over_time("Output tokens per second", "tokens/s", &columns, run_s)?;
    Some(Chart {
        note: "The tokens of a reply are spread evenly from its first to its last.".to_string(),
        ..chart
    })
    .filter(|_| columns.iter().any(|&rate| rate > 0.0))
}

fn in_flight(groups: &[Group]) -> Option<Chart> {
    let (start_ns, run_s) = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let samples = groups.iter().flat_map(|group| &group.samples);
    let spans = samples.map(|sample| {
        let from_s = seconds(sample.t_send_ns.saturating_sub(start_ns));
        let to_s = seconds(sample.t_end_ns.saturating_sub(start_ns));
        (from_s, to_s, to_s - from_s)
    });
    let columns = columns(spans, run_s);
    over_time("Requests in flight", "requests", &columns, run_s)
}

/// TTFT of each group from p5 to p95 with its median: rounds, or rotations, beside each other.
fn side_by_side(title: &'static str, groups: &[Values<'_>]) -> Option<Chart> {
    let widest = largest(groups.iter().map(|values| values.at(0.95))) * 1.05;
    let mut plot = Plot::of_rows(time_axis("TTFT, ms", groups, widest), groups.len());
    let mut key = Vec::new();
    for (at, values) in groups.iter().enumerate() {
        let y = (groups.len() - at) as f64 - 0.72;
        let [low, median, high] = [0.05, 0.5, 0.95].map(|q| values.at(q));
        plot.row_name(y, &escaped(values.name));
        plot.line(&values.class, [(low, y), (high, y)]);
        plot.mark(&values.class, median, y);
        let [low, median, high] = [low, median, high].map(|value| fixed(value, 2));
        let text = format!("{}: median {median}, p5 {low}, p95 {high} ms", values.name);
        key.push((values.class.clone(), text));
    }
    let note = "A line goes from p5 to p95, the mark is the median.".to_string();
    chart(title, &plot, key, note).filter(|_| groups.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure};

    fn of(sorted: Vec<f64>) -> Values<'static> {
        let (name, class) = ("a", class(0));
        Values {
            name,
            class,
            sorted,
        }
    }

    #[test]
    fn a_curve_has_its_marks_and_goes_on_to_the_edge() {
        // 0 to 98, and one of 1000: p99 is 0.01 of the way from 98 to 1000, the edge at 110 12 / 902 of it:
        // (98 + 0.0133) / 99.
        let values = of((0..99).map(f64::from).chain([1000.0]).collect());
        let p99 = values.at(0.99);
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
    fn one_slow_group_does_not_press_the_others_onto_the_axis() {
        let far = [of(vec![10.0, 20.0, 30.0]), of(vec![900.0, 1000.0])];
        let svg = Plot::new(time_axis("ms", &far, 1000.0), Axis::new("%", 1.0)).svg("t");
        assert!(svg.contains("ms, logarithmic"), "{svg}");
        for near in [
            [of(vec![10.0, 60.0]), of(vec![100.0])],
            [of(vec![0.0]), of(vec![0.0])],
        ] {
            let svg = Plot::new(time_axis("ms", &near, 100.0), Axis::new("%", 1.0)).svg("t");
            assert!(!svg.contains("logarithmic"), "{svg}");
        }
    }

    #[test]
    fn a_timeout_stands_at_the_top_edge_and_the_caption_says_so() {
        const SECOND_NS: u64 = 1_000_000_000;
        let good = Sample {
            t_last_ns: Some(2 * SECOND_NS),
            t_end_ns: 2 * SECOND_NS,
            ..Sample::default()
        };
        let timeout = Sample {
            failure: Some(Failure::new(FailKind::TimeoutTotal, "late")),
            t_end_ns: 300 * SECOND_NS,
            ..Sample::default()
        };
        let group = |samples| Group {
            name: "a".to_string(),
            samples,
        };
        let chart = latency(&[group(vec![good, timeout.clone()])]).expect("a chart");
        assert_eq!(
            chart.note,
            "At the top edge: 1 failed, after up to 300.0 s."
        );
        // 2 s of 2.1 s: 160 of 168 units above 200.
        assert!(chart.svg.contains("M50.0 40.0h0"), "{}", chart.svg);
        assert!(chart.svg.contains("M50.0 32.0m-3-3"), "{}", chart.svg);
        // Of failures alone they are the scale, and the group has no dot to name.
        let chart = latency(&[group(vec![timeout])]).expect("a chart");
        assert_eq!((chart.note.as_str(), chart.key.len()), ("", 1));
    }

    #[test]
    fn eighteen_groups_look_different_and_the_page_knows_how() {
        let mut classes: Vec<String> = (0..18).map(class).collect();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), 18, "{classes:?}");
        let page = include_str!("../page.html");
        for style in classes.iter().flat_map(|class| class.split(' ')) {
            let (line, colour) = (format!(".line.{style}{{"), format!(".{style}{{--c:"));
            assert!(page.contains(&line) || page.contains(&colour), "{style}");
        }
    }

    #[test]
    fn what_lasts_is_spread_over_the_columns_that_it_covers() {
        // 12 s in 120 columns of 0.1 s; 6 tokens from 0.15 s to 0.45 s are 20 a second, at the edges half a column.
        let got = columns([(0.15, 0.45, 6.0)].into_iter(), 12.0);
        for (at, wanted) in [
            (0, 0.0),
            (1, 10.0),
            (2, 20.0),
            (3, 20.0),
            (4, 10.0),
            (5, 0.0),
        ] {
            assert!((got[at] - wanted).abs() < 1e-6, "{at}: {}", got[at]);
        }
        // All at once, and at the very end.
        let got = columns([(12.0, 12.0, 5.0)].into_iter(), 12.0);
        assert!((got[COLUMNS - 1] - 50.0).abs() < 1e-6, "{got:?}");
    }
}
