//! The charts of the HTML report, drawn from distributions and from requests.
//!
//! Points are thinned out to a number that does not grow with the run; captions say so.

mod colour;
mod over_time;
mod plot;
mod series;
mod trend;

use self::colour::{WHOLE, class};
use self::over_time::{in_flight, latency, tokens};
pub use self::plot::escaped;
use self::plot::{Axis, DOT, Plot, largest};
pub use self::series::{Charts, Point, Requests, Series, Trend};
use crate::units::fixed;

/// The number of points of a distribution's curve.
const CURVE: usize = 160;
/// The quantiles that are marked. Each has its name and how far below its line the name stands, in units of the
/// drawing, so that the names of the upper two do not touch.
const MARKED: [(f64, &str, f64); 3] = [(0.5, "p50", 4.0), (0.95, "p95", 10.0), (0.99, "p99", 0.0)];

/// The fewest requests that a percentile is drawn of.
pub const ENOUGH: u64 = 20;

/// Draws every chart that has enough data, each as HTML; those that show the answer come first.
pub fn draw(charts: &[Charts]) -> Vec<String> {
    const TTFT: &str = "TTFT, ms";
    let mut plots = Vec::new();
    for of in charts {
        plots.extend(of.trends.iter().map(trend::draw));
        plots.push(shares("Time to first token (TTFT)", TTFT, &of.ttft));
        plots.push(gaps(of));
        plots.push(shares("Inter-token latency (ITL)", "ITL, ms", &of.itl));
        plots.push(shares("Latency", "latency, ms", &of.latency));
        plots.extend(latency(&of.requests));
        plots.extend(tokens(&of.requests));
        plots.extend(in_flight(&of.requests));
        plots.extend(side_by_side(of.beside, TTFT, &of.ttft));
    }
    let plots = plots.iter().filter(|plot| !plot.key.is_empty());
    plots.map(Plot::figure).collect()
}

fn gaps(of: &Charts) -> Plot {
    let mut plot = shares(of.gap_name, "gap, ms", &of.gaps);
    for remark in &of.gap_remarks {
        let blank = if plot.note.is_empty() { "" } else { " " };
        plot.note += &format!("{blank}{remark}.");
    }
    plot
}

/// Returns the groups that have values, each with its class.
fn drawn(groups: &[Series]) -> Vec<(String, &Series)> {
    let all = groups.iter().enumerate();
    let drawn = all.filter(|(_, group)| group.n() > 0);
    let class = |at, group: &Series| match group.is_whole {
        true => WHOLE.to_string(),
        false => class(at),
    };
    drawn.map(|(at, group)| (class(at, group), group)).collect()
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

/// Draws the share of values below each time, with p50, p95 and p99 marked, of groups with enough requests.
fn shares(title: &'static str, label: &'static str, groups: &[Series]) -> Plot {
    let (drawn, few): (Vec<_>, Vec<_>) = drawn(groups)
        .into_iter()
        .partition(|(_, group)| group.requests >= ENOUGH);
    let p99 = drawn.iter().filter_map(|(_, group)| group.quantile(0.99));
    let largest = largest(p99) * 1.1;
    let x = time_axis(label, groups, largest);
    let max = x.max;
    let mut plot = Plot::new(title, x, Axis::new("share below, %", 100.0));
    for (q, name, lower) in MARKED {
        plot.level(q * 100.0, name, lower);
    }
    let mut beyond = 0;
    for (class, group) in drawn {
        plot.line(&class, curve(group, max));
        let marked = MARKED.map(|(q, name, _)| {
            let time = group.quantile(q).unwrap_or(0.0);
            plot.mark(&class, time, q * 100.0);
            format!("{name} {}", fixed(time, 2))
        });
        let (name, known) = (&group.name, group.known());
        let n = known.map_or(String::new(), |n| format!(", n {n}"));
        let text = format!("{name}: {} ms{n}", marked.join(", "));
        plot.key.push((class, text));
        beyond += known.map_or(0, |n| n - group.count_up_to(max));
    }
    let beyond = match beyond {
        0 => None,
        1 => Some("1 value is beyond the right edge.".to_string()),
        n => Some(format!("{n} values are beyond the right edge.")),
    };
    let few = few
        .iter()
        .map(|(_, group)| format!("{} ({})", group.name, group.requests));
    let few = few.collect::<Vec<_>>().join("; ");
    let few =
        (!few.is_empty()).then(|| format!("Not drawn, with fewer than {ENOUGH} requests: {few}."));
    plot.note = beyond.into_iter().chain(few).collect::<Vec<_>>().join(" ");
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

/// Draws each group from p5 to p95 with its median, or each of its values if it has too few requests, so that rounds or
/// rotations can be compared.
fn side_by_side(title: &'static str, label: &'static str, groups: &[Series]) -> Option<Plot> {
    let end = |group: &Series| group.quantile(if group.requests < ENOUGH { 1.0 } else { 0.95 });
    let widest = largest(groups.iter().filter_map(end)) * 1.05;
    let axis = time_axis(label, groups, widest);
    let groups = drawn(groups);
    let rows = groups.len();
    let mut plot = Plot::of_rows(title, axis, rows);
    for (at, (class, group)) in groups.into_iter().enumerate() {
        let y = (rows - at) as f64 - 0.72;
        plot.row_name(y, &group.name);
        if group.requests < ENOUGH {
            plot.shapes(DOT, &class, group.counted().map(|(value, _)| (value, y)));
            plot.key.push((
                class,
                format!("{}: {} requests", group.name, group.requests),
            ));
            continue;
        }
        let [low, median, high] = [0.05, 0.5, 0.95].map(|q| group.quantile(q).unwrap_or(0.0));
        plot.line(&class, [(low, y), (high, y)]);
        plot.mark(&class, median, y);
        let [low, median, high] = [low, median, high].map(|value| fixed(value, 2));
        let text = format!("{}: median {median}, p5 {low}, p95 {high} ms", group.name);
        plot.key.push((class, text));
    }
    plot.note = format!(
        "A line goes from p5 to p95, its mark is the median. A group of fewer than {ENOUGH} requests has a dot for each."
    );
    (rows > 1).then_some(plot)
}

#[cfg(test)]
mod tests;
