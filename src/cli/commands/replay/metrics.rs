//! The server's metrics beside the requests of a round.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::{Map, Value, json};

use super::options::Prometheus;
use crate::cli::connect::Opened;
use crate::cli::scrape_lines::{lines, source};
use crate::error::{Error, Result};
use crate::prom::change::beside;
use crate::prom::scrape::{Recorder, Scraper, Seen, start};
use crate::prom::series::{Found, Wanted};
use crate::report::metrics::summaries;
use crate::sample::Sample;
use crate::stats::round::MetricSummary;

/// Scrapes while requests are sent: at one in flight between them, else on a schedule.
pub struct Metrics {
    recorder: Arc<Recorder>,
    names: Vec<String>,
    interval: Duration,
    /// Ends the scraping thread of the round.
    end: Option<Sender<()>>,
}

impl Metrics {
    /// Looks at the page once and warns of names that are not on it.
    ///
    /// # Errors
    /// When there is no page of metrics.
    pub fn open(wanted: &Prometheus, opened: &Opened) -> Result<Metrics> {
        let url = &wanted.url.text;
        let what = format!("--prometheus-url {url}");
        let hint = format!("Try: tmesh-cli check prometheus {url}");
        let small = wanted.url.open_beside(opened);
        let small = small.map_err(|failure| Error::input(&what, failure).next(&hint))?;
        let names = wanted.selectors.iter().map(|s| s.asked.clone()).collect();
        let selectors = Wanted::new(wanted.selectors.clone());
        let scraper = Scraper::new(small, url.clone(), selectors, opened.link.epoch);
        let found = scraper.find();
        let (_, found) = found.map_err(|why| Error::input(&what, why).next(&hint))?;
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
            recorder: Recorder::new(scraper),
            names,
            interval: wanted.interval,
            end: None,
        })
    }

    /// The edge of a round, before its first request. What to call after every request, if anything.
    pub fn begin(&mut self, concurrency: u64) -> Result<Option<Arc<dyn Fn() + Send + Sync>>> {
        *self.recorder.seen() = Seen::default();
        self.recorder.scrape_now();
        if concurrency == 1 {
            let recorder = Arc::clone(&self.recorder);
            return Ok(Some(Arc::new(move || recorder.scrape_now())));
        }
        self.end = Some(start(Arc::clone(&self.recorder), self.interval)?);
        Ok(None)
    }

    /// The edge of a round, behind its last request. When the user is waiting for the end of the run, a page
    /// that hangs is not waited for.
    pub fn end(&mut self, is_stopped: bool) {
        self.end = None;
        self.recorder.scrape_last(is_stopped);
        let seen = self.recorder.seen();
        if let Some(why) = &seen.first_error {
            eprintln!(
                "warning: --prometheus-url: {} scrapes of the round failed: {why}",
                seen.errors
            );
        }
    }

    /// The readings that have come since the last call, as lines of a series.
    pub fn lines(&self) -> impl FnMut() -> Vec<(&'static str, Value)> + Send + use<> {
        lines(Arc::clone(&self.recorder), self.names.clone())
    }

    /// The metrics beside one request, by name; null where there is no figure.
    pub fn of(&self, sample: &Sample) -> Map<String, Value> {
        let seen = self.recorder.seen();
        let names = self.names.iter().enumerate();
        names
            .map(|(metric, name)| {
                let (from, to) = (sample.t_send_ns, sample.t_end_ns);
                let value = beside(&seen.observations, metric, from, to);
                (name.clone(), json!(value))
            })
            .collect()
    }

    /// Each metric over the requests and over the round as a whole.
    pub fn summaries(&self, samples: &[Sample], concurrency: u64) -> Vec<MetricSummary> {
        let seen = &self.recorder.seen().observations;
        let last = |metric| match seen.last() {
            Some(last) => source(&last.values[metric]),
            None => "not found".to_string(),
        };
        let names = self.names.iter().enumerate();
        let named = names.map(|(metric, name)| (name.clone(), last(metric)));
        summaries(seen, named.collect(), samples, concurrency)
    }
}
