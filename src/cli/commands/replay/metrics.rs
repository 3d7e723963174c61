//! The server's metrics during the requests of a round.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::options::Prometheus;
use crate::cli::connect::Opened;
use crate::cli::scrapes::{Scrapes, source, span};
use crate::error::{Error, Result};
use crate::prom::change::beside;
use crate::prom::scrape::Scraper;
use crate::prom::series::{Found, Wanted};
use crate::sample::Phase;
use crate::stats::facts::Metric;
use crate::stats::record::Record;
use crate::stats::spread::Spread;
use crate::units::quoted;

/// Scrapes during a round: between requests at concurrency 1, else on a schedule.
pub struct Metrics {
    scrapes: Scrapes,
    interval: Duration,
}

impl Metrics {
    /// Reads the page once and warns of names that are not on it.
    ///
    /// # Errors
    /// Fails when there is no page of metrics.
    pub fn open(wanted: &Prometheus, opened: &Opened) -> Result<Metrics> {
        let url = &wanted.url.shown;
        let what = format!("--prometheus-url {url}");
        let hint = format!("Try: tmesh-cli check prometheus {}", quoted(url));
        let small = wanted.url.open_beside(opened);
        let small = small.map_err(|failure| Error::input(&what, failure).next(&hint))?;
        let names = wanted.selectors.iter().map(|s| s.asked.clone()).collect();
        let selectors = Wanted::new(wanted.selectors.clone());
        let scraper = Scraper::new(small, wanted.url.text.clone(), selectors, opened.link.epoch);
        let found = scraper.find();
        let (found, skipped) = found.map_err(|why| Error::input(&what, why).next(&hint))?;
        if let Some(skipped) = skipped {
            eprintln!(
                "warning: {what}: {}",
                opened.link.redact(skipped.to_string())
            );
        }
        for found in found {
            if let Found::Missing { name, nearest } = found {
                let near = match nearest.is_empty() {
                    true => String::new(),
                    false => format!("; the nearest: {}", nearest.join(", ")),
                };
                eprintln!("warning: --prometheus-metrics {name}: not on {url} (so far){near}");
            }
        }
        Ok(Metrics {
            scrapes: Scrapes::new(scraper, names),
            interval: wanted.interval,
        })
    }

    /// Returns the pages to scrape in a round at this concurrency, and how often.
    pub fn beside(&self, concurrency: u64) -> (&Scrapes, Option<Duration>) {
        (&self.scrapes, (concurrency > 1).then_some(self.interval))
    }

    /// Warns if scrapes of the round failed.
    pub fn warn(&self) {
        let seen = self.scrapes.seen();
        if let Some(why) = &seen.first_error {
            let errors = seen.errors;
            eprintln!("warning: --prometheus-url: {errors} scrapes of the round failed: {why}");
        }
    }

    /// Returns the metrics of one request, by name; null where there is no figure.
    pub fn of(&self, record: &Record) -> Map<String, Value> {
        let seen = self.scrapes.seen();
        let names = self.scrapes.names.iter().enumerate();
        let value = |at| beside(&seen.observations, at, record.t_send_ns, record.t_end_ns);
        let values = names.map(|(at, name)| (name.clone(), json!(value(at))));
        values.collect()
    }

    /// Returns each metric over the requests and over the whole round.
    pub fn over(&self, records: &[Record], concurrency: u64) -> Vec<Metric> {
        let seen = &self.scrapes.seen().observations;
        let whole = span(records);
        let metric = |(metric, name): (usize, &String)| {
            let good = records.iter().filter(|record| record.failure.is_none());
            let good = good.filter(|record| record.phase != Phase::Cut);
            let values =
                good.filter_map(|record| beside(seen, metric, record.t_send_ns, record.t_end_ns));
            Metric {
                name: name.clone(),
                spread: Spread::of(values.collect()),
                over_pass: whole.and_then(|(from, to)| beside(seen, metric, from, to)),
                source: match seen.last() {
                    Some(last) => source(&last.values[metric]),
                    None => Metric::NOT_FOUND.to_string(),
                },
                shared: concurrency > 1,
            }
        };
        let names = self.scrapes.names.iter().enumerate();
        names.map(metric).collect()
    }
}
