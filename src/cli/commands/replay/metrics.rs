//! The metrics that the user named, beside the requests of a round.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::options::Prometheus;
use crate::cli::connect::Opened;
use crate::cli::counters::Counters;
use crate::cli::scrapes::{Scrapes, source, span};
use crate::error::Result;
use crate::prom::change::beside;
use crate::sample::Phase;
use crate::stats::facts::Metric;
use crate::stats::record::Record;
use crate::stats::spread::Spread;

/// The server's counters, and how often they are read.
pub struct Metrics {
    pub counters: Counters,
    interval: Duration,
}

impl Metrics {
    /// Reads the page once and warns of names that are not on it.
    ///
    /// # Errors
    /// Fails when a page that the user asked for is no page of metrics.
    pub fn open(wanted: &Prometheus, opened: &Opened) -> Result<Metrics> {
        let counters = Counters::open(&wanted.url, &wanted.selectors, None, opened)?;
        Ok(Metrics {
            counters,
            interval: wanted.interval,
        })
    }

    /// Returns the counters to read in a round at this concurrency, and how often: metrics that the user named are read
    /// between the requests where only one is in flight.
    pub fn beside(&self, concurrency: u64) -> (&Counters, Option<Duration>) {
        let is_between = concurrency == 1 && self.own().is_some();
        (&self.counters, (!is_between).then_some(self.interval))
    }

    /// Returns the scrapes if the user named metrics.
    pub fn own(&self) -> Option<&Scrapes> {
        let scrapes = self.counters.scrapes();
        scrapes.filter(|scrapes| scrapes.names().has_own())
    }
}

/// Returns the metrics of one request, by name; null where there is no figure.
pub fn of(scrapes: &Scrapes, record: &Record) -> Map<String, Value> {
    let seen = scrapes.seen();
    let value = |at| beside(&seen.observations, at, record.t_send_ns, record.t_end_ns());
    let mut values = Map::new();
    values.extend(own(scrapes).map(|(at, name)| (name.clone(), json!(value(at)))));
    values
}

/// Returns the names that the user gave with their places among the readings.
fn own(scrapes: &Scrapes) -> impl Iterator<Item = (usize, &String)> {
    let names = scrapes.names();
    names.all.iter().enumerate().skip(names.own)
}

/// Returns each metric over the requests and over the whole round.
pub fn over(scrapes: &Scrapes, records: &[Record], concurrency: u64) -> Vec<Metric> {
    let seen = &scrapes.seen().observations;
    let whole = span(records);
    let metric = |(metric, name): (usize, &String)| {
        let good = records.iter().filter(|record| record.failure.is_none());
        let good = good.filter(|record| record.phase() != Phase::Cut);
        let values =
            good.filter_map(|record| beside(seen, metric, record.t_send_ns, record.t_end_ns()));
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
    own(scrapes).map(metric).collect()
}
