//! The charts of the HTML report, drawn from distributions and from requests.
//!
//! Points are thinned out to a number that does not grow with the run; captions say so.

mod plot;
mod series;

pub use self::plot::escaped;
use self::plot::{Axis, CROSS, DOT, Plot};
pub use self::series::{Charts, Requests, Series};
use crate::stats::record::Record;
use crate::stats::spread::exact_quantile;
use crate::units::{fixed, seconds};

/// The number of colours in page.html.
const COLOURS: usize = 6;
/// The number of points of a distribution's curve.
const CURVE: usize = 160;
/// The most dots that all groups have together, and the most crosses.
const DOTS: usize = 3000;
const CROSSES: usize = 500;
/// The number of columns of a chart over time.
const COLUMNS: usize = 120;

/// The quantiles that are marked. Each has its name and how far below its line the name stands, in units of the
/// drawing, so that the names of the upper two do not touch.
const MARKED: [(f64, &str, f64); 3] = [(0.5, "p50", 4.0), (0.95, "p95", 10.0), (0.99, "p99", 0.0)];

/// Draws every chart that has enough data, each as HTML.
pub fn draw(charts: &[Charts]) -> Vec<String> {
    const TTFT: &str = "TTFT, ms";
    let plots = charts.iter().flat_map(|of| {
        [
            Some(shares("Time to first token (TTFT)", TTFT, &of.ttft)),
            Some(shares("Gaps between token events", "gap, ms", &of.gaps)),
            latency(&of.requests),
            tokens(&of.requests),
            in_flight(&of.requests),
            side_by_side(of.beside, TTFT, &of.ttft),
        ]
    });
    let plots = plots.flatten().filter(|plot| !plot.key.is_empty());
    plots.map(|plot| plot.figure()).collect()
}

/// Returns the class of a group: a colour, with `d` (dashed) and then `e` (dotted) when all colours have been used.
fn class(group: usize) -> String {
    let style = ["", " d", " e"][group / COLOURS % 3];
    format!("c{}{style}", group % COLOURS)
}

/// Returns the groups that have values, each with its class.
fn drawn(groups: &[Series]) -> Vec<(String, &Series)> {
    let all = groups.iter().enumerate();
    let drawn = all.filter(|(_, group)| group.n() > 0);
    drawn.map(|(at, group)| (class(at), group)).collect()
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// Returns an axis for all groups: logarithmic if the typical value of some group would be too close to 0 to be seen.
fn time_axis(label: &'static str, groups: &[Series], max: f64) -> Axis {
    const FAR: f64 = 20.0;
    let least = |q: f64| {
        let times = groups.iter().filter_map(|group| group.quantile(q));
        times.filter(|&time| time > 0.0).reduce(f64::min)
    };
    match (least(0.05), least(0.5)) {
        (Some(low), Some(median)) if median * FAR < max => Axis::logarithmic(label, low * 0.8, max),
        _ => Axis::new(label, max),
    }
}

/// Draws the share of values below each time, with p50, p95 and p99 marked.
fn shares(title: &'static str, label: &'static str, groups: &[Series]) -> Plot {
    let largest = largest(groups.iter().filter_map(|group| group.quantile(0.99))) * 1.1;
    let x = time_axis(label, groups, largest);
    let max = x.max;
    let mut plot = Plot::new(title, x, Axis::new("share below, %", 100.0));
    for (q, name, lower) in MARKED {
        plot.level(q * 100.0, name, lower);
    }
    let mut beyond = 0;
    for (class, group) in drawn(groups) {
        plot.line(&class, curve(group, max));
        let marked = MARKED.map(|(q, name, _)| {
            let time = group.quantile(q).unwrap_or(0.0);
            plot.mark(&class, time, q * 100.0);
            format!("{name} {}", fixed(time, 2))
        });
        let (name, n) = (&group.name, group.n());
        let text = format!("{name}: {} ms, n {n}", marked.join(", "));
        plot.key.push((class, text));
        beyond += n - group.count_up_to(max);
    }
    plot.note = match beyond {
        0 => String::new(),
        1 => "1 value is beyond the right edge.".to_string(),
        n => format!("{n} values are beyond the right edge."),
    };
    plot
}

/// Returns times up to `max` with the share of values below each, interpolated like the quantiles so that marks lie on
/// the curve.
fn curve(group: &Series, max: f64) -> Vec<(f64, f64)> {
    let shares = (0..=CURVE).map(|k| k as f64 / CURVE as f64);
    let mut shares: Vec<f64> = shares.chain(MARKED.map(|(q, _, _)| q)).collect();
    shares.sort_unstable_by(f64::total_cmp);
    let points = shares.into_iter();
    let points = points.filter_map(|q| Some((group.quantile(q)?, q * 100.0)));
    let mut points: Vec<(f64, f64)> = points.take_while(|(time, _)| *time <= max).collect();
    if let Some(rank) = group.rank_of(max) {
        points.push((max, rank * 100.0 / (group.n() - 1) as f64));
    }
    points
}

/// Draws each group from p5 to p95 with its median, so that rounds or rotations can be compared.
fn side_by_side(title: &'static str, label: &'static str, groups: &[Series]) -> Option<Plot> {
    let widest = largest(groups.iter().filter_map(|group| group.quantile(0.95))) * 1.05;
    let axis = time_axis(label, groups, widest);
    let groups = drawn(groups);
    let rows = groups.len();
    let mut plot = Plot::of_rows(title, axis, rows);
    for (at, (class, group)) in groups.into_iter().enumerate() {
        let y = (rows - at) as f64 - 0.72;
        let [low, median, high] = [0.05, 0.5, 0.95].map(|q| group.quantile(q).unwrap_or(0.0));
        plot.row_name(y, &group.name);
        plot.line(&class, [(low, y), (high, y)]);
        plot.mark(&class, median, y);
        let [low, median, high] = [low, median, high].map(|value| fixed(value, 2));
        let text = format!("{}: median {median}, p5 {low}, p95 {high} ms", group.name);
        plot.key.push((class, text));
    }
    plot.note = "A line goes from p5 to p95, the mark is the median.".to_string();
    (rows > 1).then_some(plot)
}

/// Returns the stamp of the first send, and the seconds that the run took; `None` without requests.
fn span(groups: &[Requests]) -> Option<(u64, f64)> {
    let start_ns = all(groups).map(|record| record.t_send_ns).min()?;
    let end_ns = all(groups).map(|record| record.t_end_ns).max()?;
    Some((start_ns, seconds(end_ns.saturating_sub(start_ns))))
}

fn all(groups: &[Requests]) -> impl Iterator<Item = &Record> {
    groups.iter().flat_map(|group| &group.records)
}

const TIME: &str = "time since the first request, s";

/// Returns the time that a request took from its scheduled time: a success to its last token, a failure to its end.
fn taken_s(record: &Record) -> f64 {
    seconds(match record.failure {
        None => record.latency_ns(),
        Some(_) => {
            let in_flight_ns = record.t_end_ns.saturating_sub(record.t_send_ns);
            in_flight_ns + record.lateness_ns().unwrap_or(0)
        }
    })
}

/// Draws the latency of each measured request over the time of its send; failures are crosses.
fn latency(groups: &[Requests]) -> Option<Plot> {
    /// Failures that took more than this many times longer are not drawn to scale: timeouts would press all other
    /// points onto the axis.
    const FAR: f64 = 3.0;
    let (start_ns, run_s) = span(groups)?;
    let measured = all(groups).filter(|record| record.is_measured());
    let (good, failed): (Vec<&Record>, Vec<&Record>) = measured.partition(|of| of.is_good());
    let [mut good_s, failed_s] =
        [&good, &failed].map(|of| of.iter().map(|one| taken_s(one)).collect::<Vec<f64>>());
    let [slowest, longest] = [&good_s, &failed_s].map(|of| largest(of.iter().copied()));
    let highest = match !good.is_empty() && longest > slowest * FAR {
        true => slowest * 1.05,
        false => slowest.max(longest) * 1.05,
    };
    let axes = (Axis::new(TIME, run_s), Axis::new("latency, s", highest));
    let mut plot = Plot::new("Latency over time", axes.0, axes.1);
    let point = |record: &Record| {
        let at_s = seconds(record.t_send_ns.saturating_sub(start_ns));
        (at_s, taken_s(record))
    };
    // The slowest 0.5 % are few and are kept when others are thinned out.
    good_s.sort_unstable_by(f64::total_cmp);
    let slow_s = exact_quantile(&good_s, 0.995).unwrap_or(0.0);
    let [every, every_failed] =
        [(&good, DOTS), (&failed, CROSSES)].map(|(of, most)| of.len().div_ceil(most).max(1));
    let mut drawn = 0;
    for (at, group) in groups.iter().enumerate() {
        let good = group.records.iter().filter(|record| record.is_good());
        let is_drawn = |(at, of): &(usize, &Record)| at % every == 0 || taken_s(of) > slow_s;
        let thinned = good.enumerate().filter(is_drawn);
        let thinned: Vec<(f64, f64)> = thinned.map(|(_, record)| point(record)).collect();
        drawn += thinned.len();
        if !thinned.is_empty() {
            plot.key.push((class(at), group.name.clone()));
        }
        plot.shapes(DOT, &class(at), thinned);
    }
    let crosses = failed.iter().step_by(every_failed).map(|one| point(one));
    plot.shapes(CROSS, "fail", crosses);
    if !failed.is_empty() {
        let text = format!("failed: {}", failed.len());
        plot.key.push(("fail".to_string(), text));
    }
    let n = good.len();
    let above = failed_s.iter().filter(|&&time| time > highest).count();
    let longest = fixed(longest, 1);
    let notes = [
        (every > 1).then(|| {
            format!(
                "Thinned out: {drawn} of {n} successes are drawn, the slowest 0.5 % among them."
            )
        }),
        (above > 0).then(|| format!("At the top edge: {above} failed, after up to {longest} s.")),
        (every_failed > 1).then(|| format!("One in {every_failed} failures is drawn.")),
    ];
    plot.note = notes.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(plot)
}

/// Spreads the amount of each span, given as start, end and amount, over the columns that it covers, in proportion to
/// the time in each.
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

/// Draws a chart of columns: the amounts per second between two stamps or, if spans have no amount, how many spans
/// overlap.
fn over_time(
    title: &'static str,
    label: &'static str,
    spans: impl Iterator<Item = (u64, u64, Option<u64>)>,
    (start_ns, run_s): (u64, f64),
) -> Plot {
    let since = |ns: u64| seconds(ns.saturating_sub(start_ns));
    let spans = spans.map(|(from_ns, to_ns, amount)| {
        let (from_s, to_s) = (since(from_ns), since(to_ns));
        (from_s, to_s, amount.map_or(to_s - from_s, |n| n as f64))
    });
    let columns = columns(spans, run_s);
    let highest = largest(columns.iter().copied());
    let axes = (Axis::new(TIME, run_s), Axis::new(label, highest * 1.05));
    let mut plot = Plot::new(title, axes.0, axes.1);
    let width = run_s / COLUMNS as f64;
    let steps = columns.iter().enumerate().flat_map(|(at, &value)| {
        let at = at as f64;
        [(at * width, value), ((at + 1.0) * width, value)]
    });
    plot.line("c0", steps);
    let (width, highest) = (fixed(width, 2), fixed(highest, 1));
    let key = format!("mean of each {width} s; highest {highest}");
    plot.key.push(("c0".to_string(), key));
    plot
}

/// Draws the output tokens of successes, spread evenly from the first token to the last of each reply.
fn tokens(groups: &[Requests]) -> Option<Plot> {
    let run = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let tokens = all(groups).filter(|record| record.is_good());
    let tokens = tokens.filter_map(|record| {
        let count = record.completion_tokens.get().filter(|&count| count > 0)?;
        let last_ns = record.t_done_ns();
        let first_ns = record.t_first_ns.get().unwrap_or(last_ns);
        Some((first_ns, last_ns, Some(count)))
    });
    let mut tokens = tokens.peekable();
    tokens.peek()?;
    let mut plot = over_time("Output tokens per second", "tokens/s", tokens, run);
    plot.note = "The tokens of a reply are spread evenly from its first to its last.".to_string();
    Some(plot)
}

fn in_flight(groups: &[Requests]) -> Option<Plot> {
    let run = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let requests = all(groups).map(|record| (record.t_send_ns, record.t_end_ns, None));
    Some(over_time("Requests in flight", "requests", requests, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::FailKind;

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

    #[test]
    fn a_timeout_stands_at_the_top_edge_and_the_caption_says_so() {
        const SECOND_NS: u64 = 1_000_000_000;
        let good = Record {
            t_end_ns: 2 * SECOND_NS,
            ..Record::default()
        };
        let timeout = Record {
            t_end_ns: 300 * SECOND_NS,
            failure: Some(FailKind::TimeoutTotal),
            ..good
        };
        let group = |records| Requests {
            name: "a".to_string(),
            records,
        };
        let chart = latency(&[group(vec![good, timeout])]).expect("a chart");
        assert_eq!(
            chart.note,
            "At the top edge: 1 failed, after up to 300.0 s."
        );
        // The success takes 2 s on an axis of 2.1 s: 160 of 168 units above the axis at 200.
        assert!(chart.svg().contains("M50.0 40.0h0"), "{}", chart.svg());
        assert!(chart.svg().contains("M50.0 32.0m-3-3"), "{}", chart.svg());
        // Failures without any success set the scale themselves, and the group has no dot to name.
        let chart = latency(&[group(vec![timeout])]).expect("a chart");
        assert_eq!((chart.note.as_str(), chart.key.len()), ("", 1));
    }

    #[test]
    fn eighteen_groups_look_different_and_the_page_has_their_styles() {
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
    fn an_amount_is_spread_over_the_columns_that_its_span_covers() {
        // The columns are 0.1 s long. 6 tokens from 0.15 s to 0.45 s are 20 a second, and fill half of the columns at
        // the edges.
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
        // The whole amount comes at one moment, at the very end.
        let got = columns([(12.0, 12.0, 5.0)].into_iter(), 12.0);
        assert!((got[COLUMNS - 1] - 50.0).abs() < 1e-6, "{got:?}");
    }
}
