//! `tmesh-cli check prometheus`: whether a metrics page can be read, and which metrics it has.

use std::fmt::Write;

use crate::cli::args::Args;
use crate::cli::side::SideUrl;
use crate::cli::terminal::print;
use crate::client::endpoint::without_secrets;
use crate::error::{Error, Result};
use crate::prom::change::{Observation, beside};
use crate::prom::parse::{Exposition, parse};
use crate::prom::scrape::fetch;
use crate::prom::selector::Selector;
use crate::prom::series::{Found, Kind, Reading, Wanted, lines};
use crate::units::{Epoch, fixed, quoted, seconds};

/// One line of the table.
struct Row {
    name: String,
    kind: &'static str,
    value: Option<f64>,
    series: usize,
}

/// Runs the command and returns the exit code.
///
/// # Errors
/// Fails when the page is out of reach, is not a page of metrics, or lacks a name that was asked for.
pub fn run(args: &Args) -> Result<u8> {
    let typed = args.url()?;
    let url = SideUrl::parse(&typed, "/metrics")
        .map_err(|why| Error::input(without_secrets(&typed), why))?;
    let selectors = args.list("--metrics", Selector::parse)?;
    url.warn_unencrypted();
    let epoch = Epoch::start();
    let next = format!("Try: curl {}", quoted(&url.shown));
    let small = url
        .open(epoch)
        .map_err(|failure| Error::input(&url.shown, failure).next(&next))?;
    let t_begin_ns = epoch.now_ns();
    let text = fetch(&small, &url.text).map_err(|why| Error::input(&url.shown, why).next(&next))?;
    let fetched_ns = epoch.now_ns() - t_begin_ns;
    let page = parse(&text).map_err(|why| Error::missed(&url.shown, why))?;
    let all = lines(&page);
    let skipped = page.skipped.as_ref();
    let skipped = skipped.map_or(String::new(), |skipped| format!("{skipped}\n"));
    print(&format!(
        "{}: read in {} ms, {} bytes, {} names, {} series\n{skipped}\n",
        url.shown,
        fixed(seconds(fetched_ns) * 1e3, 1),
        text.len(),
        all.len(),
        page.samples.len()
    ))?;
    if selectors.is_empty() {
        let rows = all.iter().map(|line| Row {
            name: line.name.to_string(),
            kind: line.kind.name(),
            value: level(&line.value),
            series: line.series,
        });
        print(&table(&rows.collect::<Vec<_>>()))?;
        print(
            "\nSeries of a name: summed for counters, averaged for gauges. _bucket and _created are left out.\n",
        )?;
        return Ok(0);
    }
    asked(&page, selectors)
}

/// Prints the requested metrics that are found to stdout; the error names those that are not.
fn asked(page: &Exposition, selectors: Vec<Selector>) -> Result<u8> {
    let wanted = Wanted::new(selectors);
    let values = since_start(wanted.read(page));
    let (mut rows, mut notes, mut missing) = (Vec::new(), String::new(), Vec::new());
    for (found, value) in wanted.find(page).into_iter().zip(values) {
        let metric = match found {
            Found::Metric(metric) => metric,
            Found::Missing { name, nearest } => {
                missing.push((name, nearest.join(", ")));
                continue;
            }
        };
        let name = metric.name;
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Ratio { engine, hits, of } => {
                notes += &format!("\n{name}: of {engine}, since its start: {hits} over {of}\n");
                "ratio"
            }
        };
        let series = metric.series;
        rows.push(Row {
            name,
            kind,
            value,
            series,
        });
    }
    if !rows.is_empty() {
        print(&format!("{}{notes}", table(&rows)))?;
    }
    let mut missing = missing.into_iter();
    let Some((name, nearest)) = missing.next() else {
        return Ok(0);
    };
    let error = Error::missed(format!("--metrics {name}"), "not on the page");
    let error = error.next(format!("Nearest: {nearest}"));
    Err(missing.fold(error, |error, (name, nearest)| {
        error.next(format!(
            "{name} is not on the page either; nearest: {nearest}"
        ))
    }))
}

/// Returns the change since the server's start: a counter's value, and a ratio of all that was counted.
fn since_start(values: Vec<Reading>) -> Vec<Option<f64>> {
    let count = values.len();
    let observation = |t_ns, values| Observation {
        t_begin_ns: t_ns,
        t_end_ns: t_ns,
        values,
    };
    let seen = [
        observation(0, vec![Reading::Absent; count]),
        observation(1, values),
    ];
    (0..count)
        .map(|metric| beside(&seen, metric, 0, 1))
        .collect()
}

fn level(reading: &Reading) -> Option<f64> {
    match reading {
        Reading::Counter(value) | Reading::Gauge(value) => *value,
        Reading::Absent | Reading::Ratio(_) => None,
    }
}

fn table(rows: &[Row]) -> String {
    let shown = |value: Option<f64>| match value {
        None => "-".to_string(),
        // Whole numbers are shown as on the page.
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value}"),
        Some(value) => fixed(value, 3),
    };
    let width = rows.iter().map(|row| row.name.chars().count()).max();
    let width = width.unwrap_or(0).max("name".len());
    let mut text = format!("{:width$}  {:9}  {:>16}  series\n", "name", "type", "value");
    for row in rows {
        let (name, kind, series) = (&row.name, row.kind, row.series);
        let value = shown(row.value);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:width$}  {kind:9}  {value:>16}  {series:>6}");
    }
    text
}
