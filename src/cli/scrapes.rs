//! The scrapes of one page during the requests of a pass, and their lines in the samples file.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::{Map, Value, json};

use crate::collect::Series;
use crate::error::Result;
use crate::lock::lock;
use crate::prom::change::{Observation, reading};
use crate::prom::course::Course;
use crate::prom::scrape::{Recorder, Scraper, Seen, start};
use crate::prom::series::Reading;
use crate::stats::facts::Metric;
use crate::stats::record::Record;

/// The scrapes of one page: their names, and what has been read of them in the current pass.
pub struct Scrapes {
    recorder: Arc<Recorder>,
    /// The names in the order of the readings: those that every command follows, then those that the user named.
    names: Arc<Names>,
    course: Arc<Mutex<Course>>,
}

/// The names of the readings.
pub struct Names {
    pub all: Vec<String>,
    /// The place of the first name that the user named.
    pub own: usize,
}

/// Called after every request, before the worker's next one.
pub type AfterEach = Arc<dyn Fn() + Send + Sync>;
/// Returns the stamp from which the pass counts; `None`: nothing has been sent yet.
pub type Start = Box<dyn Fn() -> Option<u64> + Send>;

impl Scrapes {
    pub fn new(scraper: Scraper, names: Names, course: Course) -> Scrapes {
        Scrapes {
            recorder: Recorder::new(scraper),
            names: Arc::new(names),
            course: Arc::new(Mutex::new(course)),
        }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Scrapes once before the first request of a pass, which `course` will follow. Then scrapes at every interval until
    /// the returned sender is dropped, or without an interval whenever the returned function is called.
    ///
    /// # Errors
    /// Fails when the system refuses a thread.
    pub fn begin(
        &self,
        interval: Option<Duration>,
        course: Course,
    ) -> Result<(Option<AfterEach>, Option<Sender<()>>)> {
        *self.course() = match interval {
            None => course.between_requests(),
            Some(_) => course,
        };
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

    /// Returns the observations of the pass, which are kept where the user named metrics. Scrapes wait while the guard
    /// is held.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.recorder.seen()
    }

    /// Returns the course of the scrapes whose lines have been returned.
    pub fn course(&self) -> MutexGuard<'_, Course> {
        lock(&self.course)
    }

    /// Returns a series of the readings that came since its last call, named `metrics`, which also adds them to the
    /// course.
    pub fn lines(&self, start: Start) -> Series {
        let (recorder, course) = (Arc::clone(&self.recorder), Arc::clone(&self.course));
        let names = Arc::clone(&self.names);
        let mut told = 0;
        Box::new(move || {
            let fresh = fresh(&recorder, names.has_own(), &mut told);
            let lines = fresh.into_iter().map(|seen| {
                let line = line(&names, &seen);
                lock(&course).add(seen, start());
                ("metrics", line)
            });
            lines.collect()
        })
    }
}

impl Names {
    /// Whether the user named any.
    pub fn has_own(&self) -> bool {
        self.own < self.all.len()
    }
}

/// Returns the observations after the first `told`; those that nobody asks for later are not kept.
fn fresh(recorder: &Recorder, keeps: bool, told: &mut usize) -> Vec<Observation> {
    let observations = &mut recorder.seen().observations;
    if !keeps {
        return std::mem::take(observations);
    }
    let fresh = observations.get(*told..).unwrap_or_default().to_vec();
    *told = observations.len();
    fresh
}

/// Returns the span from the first send to the last end; `None`: nothing was sent.
pub fn span(records: &[Record]) -> Option<(u64, u64)> {
    let start_ns = records.iter().map(|record| record.t_send_ns).min();
    start_ns.zip(records.iter().map(|record| record.t_end_ns()).max())
}

/// Returns the line of a scrape in the samples file. Names that are not on the page are left out, unless the user named
/// them.
fn line(names: &Names, seen: &Observation) -> Value {
    let readings = names.all.iter().enumerate();
    let readings = readings.map(|(place, name)| (place, name, reading(seen, place)));
    let shown =
        readings.filter(|(place, _, reading)| *place >= names.own || **reading != Reading::Absent);
    let shown: Vec<(&String, &Reading)> = shown.map(|(_, name, reading)| (name, reading)).collect();
    let by_name = |of: fn(&Reading) -> Value| -> Map<String, Value> {
        let values = shown.iter();
        let mut by_name = Map::new();
        by_name.extend(values.map(|(name, reading)| ((*name).clone(), of(reading))));
        by_name
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
