//! Charts over the time of a run: its requests, its output tokens and the requests in flight, with a mark where each
//! group of requests begins.

use super::colour::{WHOLE, class};
use super::plot::{Axis, CROSS, DOT, Plot, largest};
use super::series::Requests;
use crate::stats::record::Record;
use crate::stats::spread::exact_quantile;
use crate::units::{fixed, seconds};

/// The most dots that all groups have together, and the most crosses.
const DOTS: usize = 3000;
const CROSSES: usize = 500;
/// The number of columns of a chart over time.
const COLUMNS: usize = 120;

/// Returns the stamp of the first send, and the seconds that the run took; `None` without requests.
fn span(groups: &[Requests]) -> Option<(u64, f64)> {
    let start_ns = all(groups).map(|record| record.t_send_ns).min()?;
    let end_ns = all(groups).map(|record| record.t_end_ns()).max()?;
    Some((start_ns, seconds(end_ns.saturating_sub(start_ns))))
}

fn all(groups: &[Requests]) -> impl Iterator<Item = &Record> {
    groups.iter().flat_map(Requests::records)
}

const TIME: &str = "time since the first request, s";

/// Returns the time that a request took from its scheduled time: a success to its last token, a failure to its end.
fn taken_s(record: &Record) -> f64 {
    seconds(match record.failure {
        None => record.latency_ns(),
        Some(_) => {
            let in_flight_ns = record.t_end_ns().saturating_sub(record.t_send_ns);
            in_flight_ns + record.lateness_ns().unwrap_or(0)
        }
    })
}

/// Draws the latency of each measured request over the time of its send; failures are crosses.
pub fn latency(groups: &[Requests]) -> Option<Plot> {
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
        let good = group.records().filter(|record| record.is_good());
        let is_drawn = |(at, of): &(usize, &Record)| at % every == 0 || taken_s(of) > slow_s;
        let thinned = good.enumerate().filter(is_drawn);
        let thinned: Vec<(f64, f64)> = thinned.map(|(_, record)| point(record)).collect();
        drawn += thinned.len();
        if !thinned.is_empty() {
            plot.key.push((class(at), group.name.clone()));
        }
        plot.shapes(DOT, &class(at), thinned);
    }
    begins(&mut plot, groups, start_ns);
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

/// Marks where each group begins, if there are several, and says so in the key.
fn begins(plot: &mut Plot, groups: &[Requests], start_ns: u64) {
    let sent = |group: &Requests| group.records().map(|record| record.t_send_ns).min();
    let first = groups.iter().map(sent).enumerate();
    let first: Vec<(usize, u64)> = first.filter_map(|(at, ns)| Some((at, ns?))).collect();
    if first.len() < 2 {
        return;
    }
    for (at, ns) in first {
        let (class, at_s) = (class(at), seconds(ns.saturating_sub(start_ns)));
        plot.begin(&class, at_s);
        let text = format!("{}, from {} s on", groups[at].name, fixed(at_s, 2));
        match plot.key.iter_mut().find(|(known, _)| *known == class) {
            Some((_, shown)) => *shown = text,
            None => plot.key.push((class, text)),
        }
    }
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
    groups: &[Requests],
    (start_ns, run_s): (u64, f64),
) -> Plot {
    let since = |ns: u64| seconds(ns.saturating_sub(start_ns));
    let spans = spans.map(|(from_ns, to_ns, amount)| {
        let (from_s, to_s) = (since(from_ns), since(to_ns));
        (from_s, to_s, amount.map_or(to_s - from_s, |n| n as f64))
    });
    let columns = columns(spans, run_s);
    let highest = largest(columns.iter().copied());
    let y = Axis::new(label, highest * 1.05);
    let mut plot = Plot::new(title, Axis::new(TIME, run_s), y);
    let width = run_s / COLUMNS as f64;
    let steps = columns.iter().enumerate().flat_map(|(at, &value)| {
        let at = at as f64;
        [(at * width, value), ((at + 1.0) * width, value)]
    });
    plot.line(WHOLE, steps);
    let (width, highest) = (fixed(width, 2), fixed(highest, 1));
    let key = format!("mean of each {width} s; highest {highest}");
    plot.key.push((WHOLE.to_string(), key));
    begins(&mut plot, groups, start_ns);
    plot
}

/// Draws the output tokens of successes, spread evenly from the first token to the last of each reply.
pub fn tokens(groups: &[Requests]) -> Option<Plot> {
    let run = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let tokens = all(groups).filter(|record| record.is_good());
    let tokens = tokens.filter_map(|record| {
        let count = record.completion_tokens.get().filter(|&count| count > 0)?;
        let last_ns = record.t_done_ns();
        let first_ns = record.t_first_ns().unwrap_or(last_ns);
        Some((first_ns, last_ns, Some(count)))
    });
    let mut tokens = tokens.peekable();
    tokens.peek()?;
    let (title, label) = ("Output tokens per second", "tokens/s");
    let mut plot = over_time(title, label, tokens, groups, run);
    plot.note = "The tokens of a reply are spread evenly from its first to its last.".to_string();
    Some(plot)
}

pub fn in_flight(groups: &[Requests]) -> Option<Plot> {
    let run = span(groups).filter(|(_, run_s)| *run_s > 0.0)?;
    let requests = all(groups).map(|record| (record.t_send_ns, record.t_end_ns(), None));
    let (title, label) = ("Requests in flight", "requests");
    Some(over_time(title, label, requests, groups, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Sample};

    #[test]
    fn a_timeout_stands_at_the_top_edge_and_the_caption_says_so() {
        const SECOND_NS: u64 = 1_000_000_000;
        let ends_at = |second: u64| {
            Record::from(&Sample {
                t_end_ns: second * SECOND_NS,
                ..Sample::default()
            })
        };
        let good = ends_at(2);
        let mut timeout = ends_at(300);
        timeout.failure = Some(FailKind::TimeoutTotal);
        let group = |records: Vec<Record>| Requests {
            name: "a".to_string(),
            of_pass: records.into(),
            has: |_| true,
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
