//! The charts of the HTML report: what is drawn, from the requests of each group.
//!
//! Points are thinned out to a number that does not grow with the run; captions say so.

mod plot;

use self::plot::{Axis, Plot};
use super::html::escaped;
use super::saved::{Group, Report};
use crate::sample::{Phase, Sample};
use crate::stats::{exact_quantile, latency_ns};
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
        cold_and_warm(&ttft),
    ];
    charts.into_iter().flatten().collect()
}

/// A colour; `d` (dashed) when all have been used.
fn class(group: usize) -> String {
    let dashed = if group / COLOURS % 2 == 1 { " d" } else { "" };
    format!("c{}{dashed}", group % COLOURS)
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

/// The share of values below each time, p50, p95 and p99 marked.
fn shares(title: &'static str, label: &'static str, groups: &[Values<'_>]) -> Option<Chart> {
    // The names of the upper two would touch at the height of their lines.
    const MARKED: [(f64, &str, f64); 3] =
        [(0.5, "p50", 4.0), (0.95, "p95", 10.0), (0.99, "p99", 0.0)];
    let largest = largest(groups.iter().map(|values| values.at(0.99))) * 1.1;
    let x = Axis::new(label, largest);
    let max = x.max;
    let mut plot = Plot::new(x, Axis::new("share below, %", 100.0));
    for (q, name, lower) in MARKED {
        plot.level(q * 100.0, name, lower);
    }
    let mut key = Vec::new();
    let mut beyond = 0;
    for values in groups {
        let points = (0..=CURVE).map(|k| k as f64 / CURVE as f64);
        let points = points.map(|q| (values.at(q), q * 100.0));
        plot.line(&values.class, points.take_while(|(x, _)| *x <= max));
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
        beyond += values.sorted.iter().filter(|&&value| value > max).count();
    }
    let note = match beyond {
        0 => String::new(),
        n => format!("{n} values are beyond the right edge."),
    };
    chart(title, &plot, key, note).filter(|_| !groups.is_empty())
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

/// Latency of each request over the time of its send; failures as crosses.
fn latency(groups: &[Group]) -> Option<Chart> {
    let (start_ns, run_s) = span(groups)?;
    let measured = |sample: &&Sample| sample.phase == Phase::Measured;
    let all = || {
        groups
            .iter()
            .flat_map(|group| group.samples.iter().filter(measured))
    };
    let of = |sample: &Sample| match sample.is_success() {
        true => seconds(latency_ns(sample)),
        false => seconds(sample.t_end_ns.saturating_sub(sample.t_send_ns)),
    };
    let point = |sample: &Sample| {
        let at_s = seconds(sample.t_send_ns.saturating_sub(start_ns));
        (at_s, of(sample))
    };
    let highest = largest(all().map(of)) * 1.05;
    let mut plot = Plot::new(Axis::new(TIME, run_s), Axis::new("latency, s", highest));
    let mut key = Vec::new();
    let (good, failed): (Vec<&Sample>, Vec<&Sample>) = all().partition(|s| s.is_success());
    let every = good.len().div_ceil(DOTS).max(1);
    // The slow ones are few and stay.
    let mut latencies: Vec<f64> = good.iter().map(|sample| of(sample)).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let slow = exact_quantile(&latencies, 0.995).unwrap_or(0.0);
    let mut drawn = 0;
    for (at, group) in groups.iter().enumerate() {
        let good = group
            .samples
            .iter()
            .filter(measured)
            .filter(|s| s.is_success());
        let thinned = good
            .enumerate()
            .filter(|(at, sample)| at % every == 0 || of(sample) > slow)
            .map(|(_, sample)| point(sample));
        let thinned: Vec<(f64, f64)> = thinned.collect();
        drawn += thinned.len();
        plot.dots(&class(at), thinned);
        key.push((class(at), group.name.clone()));
    }
    let every_failed = failed.len().div_ceil(CROSSES).max(1);
    plot.crosses(
        "fail",
        failed.iter().step_by(every_failed).map(|s| point(s)),
    );
    let mut note = String::new();
    if !failed.is_empty() {
        key.push(("fail".to_string(), format!("failed: {}", failed.len())));
    }
    if every > 1 {
        note = format!(
            "Thinned out: {drawn} of {} successes are drawn, the slowest 0.5 % among them.",
            good.len()
        );
    }
    if every_failed > 1 {
        note += &format!(" Of the failures one in {every_failed} is drawn.");
    }
    chart("Latency over time", &plot, key, note)
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
fn cold_and_warm(groups: &[Values<'_>]) -> Option<Chart> {
    let widest = largest(groups.iter().map(|values| values.at(0.95))) * 1.05;
    let mut plot = Plot::of_rows(Axis::new("TTFT, ms", widest), groups.len());
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
    chart("Cold against warm: TTFT", &plot, key, note).filter(|_| groups.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
