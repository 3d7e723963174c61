//! The server's metrics during the requests of a pass, and their lines in the samples file.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::{Map, Value, json};

use crate::collect::Series;
use crate::error::Result;
use crate::prom::change::Observation;
use crate::prom::scrape::{Recorder, Scraper, Seen, start};
use crate::prom::series::Reading;
use crate::stats::facts::Metric;
use crate::stats::record::Record;

/// Scrapes of one page.
pub struct Scrapes {
    recorder: Arc<Recorder>,
    /// The names of the metrics wanted.
    pub names: Vec<String>,
}

/// Called after every request, before the worker's next one.
pub type AfterEach = Arc<dyn Fn() + Send + Sync>;

impl Scrapes {
    pub fn new(scraper: Scraper, names: Vec<String>) -> Scrapes {
        Scrapes {
            recorder: Recorder::new(scraper),
            names,
        }
    }

    /// Scrapes once before the first request of a pass. Then scrapes at every interval until the returned sender is
    /// dropped, or without an interval whenever the returned function is called.
    ///
    /// # Errors
    /// Fails when the system refuses a thread.
    pub fn begin(
        &self,
        interval: Option<Duration>,
    ) -> Result<(Option<AfterEach>, Option<Sender<()>>)> {
        *self.recorder.seen() = Seen::default();
        self.recorder.scrape_now();
        let recorder = Arc::clone(&self.recorder);
        Ok(match interval {
            None => (Some(Arc::new(move || recorder.scrape_now())), None),
            Some(interval) => (None, Some(start(recorder, interval)?)),
        })
    }

    /// Scrapes once after the last request of a pass. If the user waits for the end of the run, a page that hangs is
    /// not waited for.
    pub fn end(&self, is_stopped: bool) {
        self.recorder.scrape_last(is_stopped);
    }

    /// Returns the observations of the pass. Scrapes wait while the guard is held.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.recorder.seen()
    }

    /// Returns a series of the readings that came since its last call, named `metrics`.
    pub fn lines(&self) -> Series {
        let (recorder, names) = (Arc::clone(&self.recorder), self.names.clone());
        let mut told = 0;
        Box::new(move || {
            let seen = recorder.seen();
            let fresh = seen.observations.get(told..).unwrap_or_default();
            told = seen.observations.len();
            let lines = fresh.iter().map(|seen| ("metrics", line(&names, seen)));
            lines.collect()
        })
    }
}

/// Returns the span from the first send to the last end; `None`: nothing was sent.
pub fn span(records: &[Record]) -> Option<(u64, u64)> {
    let start_ns = records.iter().map(|record| record.t_send_ns).min();
    start_ns.zip(records.iter().map(|record| record.t_end_ns).max())
}

/// Returns the line of a scrape in the samples file.
fn line(names: &[String], seen: &Observation) -> Value {
    let by_name = |of: fn(&Reading) -> Value| -> Map<String, Value> {
        let values = seen.values.iter().map(of);
        names.iter().cloned().zip(values).collect()
    };
    json!({
        "t_start_ns": seen.t_begin_ns,
        "t_end_ns": seen.t_end_ns,
        "values": by_name(value),
        "sources": by_name(|reading| source(reading).into()),
    })
}

/// Returns the source of a reading, for the user.
pub fn source(reading: &Reading) -> String {
    match reading {
        Reading::Absent => Metric::NOT_FOUND.to_string(),
        Reading::Counter(_) => "counter".to_string(),
        Reading::Gauge(_) => "gauge".to_string(),
        Reading::Ratio(pairs) => {
            let whole = pairs.iter().find(|pair| pair.is_whole());
            let Some(pair) = whole.or(pairs.first()) else {
                return Metric::NOT_FOUND.to_string();
            };
            let sum = |names: &[&str]| match names {
                [name] => format!("Δ {name}"),
                names => format!("Δ ({})", names.join(" + ")),
            };
            format!("{} / {}", sum(pair.pair.hits), sum(pair.pair.of))
        }
    }
}

/// Returns a reading as the samples file has it: a number, or hits and their total.
fn value(reading: &Reading) -> Value {
    match reading {
        Reading::Absent => Value::Null,
        Reading::Counter(value) | Reading::Gauge(value) => json!(value),
        Reading::Ratio(pairs) => match pairs.iter().find(|pair| pair.is_whole()) {
            Some(pair) => json!({"hits": sum(&pair.hits), "of": sum(&pair.of)}),
            None => Value::Null,
        },
    }
}

/// Returns the sum of counters; `None` if one has no value.
fn sum(readings: &[Reading]) -> Option<f64> {
    let counters = readings.iter().map(|reading| match reading {
        Reading::Counter(value) => *value,
        _ => None,
    });
    counters.sum()
}
