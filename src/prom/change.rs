//! The change of a metric between two scrapes, beside one request or over a round: pure functions of observations.
//!
//! A counter that fell, or vanished, between the two scrapes or in one that lies between them was reset: the
//! server restarted, and the change is unknown. A restart that no scrape shows as a fall is not seen. A
//! counter that is not on the page yet stands at 0: engines make some of theirs on first use.

use super::series::{PairReading, Reading};

/// One scrape. Lists of them are in the order of time, and no two overlap.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Nanoseconds from the run's epoch to the moment before the request for the page.
    pub t_begin_ns: u64,
    /// Nanoseconds from the run's epoch to the moment when the page had been read.
    pub t_end_ns: u64,
    /// The readings, one for each asked-for name.
    pub values: Vec<Reading>,
}

/// Why a change is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// No scrape had ended by the start.
    NoBefore,
    /// No scrape began at or after the end.
    NoAfter,
    /// The metric was not on the page at the end.
    Absent,
    /// The counter fell or vanished in between: the server restarted.
    Reset,
    /// The value is NaN or infinite at either end.
    NoNumber,
    /// The metric is a gauge, which has no increase.
    NoCounter,
    /// The counter that another one is divided by did not rise.
    Zero,
}

/// The change of one metric beside a request, or over a round.
///
/// Counter: the difference. Gauge: the later value. Ratio: the hits' difference over the lookups'. `None`:
/// one of the scrapes is missing, the value is absent or no number, a counter fell, or nothing was looked up.
pub fn beside(
    observations: &[Observation],
    metric: usize,
    t_send_ns: u64,
    t_end_ns: u64,
) -> Option<f64> {
    let last = observations.get(first_from(observations, t_end_ns))?;
    let last = last.values.get(metric)?;
    if let Reading::Gauge(value) = last {
        return value.filter(|value| value.is_finite());
    }
    let span = span(observations, t_send_ns, t_end_ns).ok()?;
    match last {
        Reading::Ratio(pairs) => {
            let best = pairs.iter().find(|pair| pair.is_whole())?;
            ratio(span, metric, best).ok()
        }
        _ => increase(span, metric).ok(),
    }
}

/// Returns the scrapes from the last one that had ended by the start to the first one that began at or after the end,
/// both included.
///
/// # Errors
/// When one of the two is missing.
fn span(
    observations: &[Observation],
    t_start_ns: u64,
    t_end_ns: u64,
) -> Result<&[Observation], Unknown> {
    let ended = observations.partition_point(|seen| seen.t_end_ns <= t_start_ns);
    let before = ended.checked_sub(1).ok_or(Unknown::NoBefore)?;
    let after = first_from(observations, t_end_ns);
    observations.get(before..=after).ok_or(Unknown::NoAfter)
}

/// Returns the index of the first scrape that began at or after a time.
fn first_from(observations: &[Observation], t_ns: u64) -> usize {
    observations.partition_point(|seen| seen.t_begin_ns < t_ns)
}

/// Returns the reading of a metric in a scrape.
pub fn reading(seen: &Observation, metric: usize) -> &Reading {
    seen.values.get(metric).unwrap_or(&Reading::Absent)
}

/// Returns the increase of a counter from the first scrape of a span to its last.
///
/// # Errors
/// The reason why the increase is unknown.
fn increase(span: &[Observation], metric: usize) -> Result<f64, Unknown> {
    rise(span.iter().map(|seen| reading(seen, metric)))
}

/// Returns hits over lookups, by the counters of the pair that was best at the end.
///
/// # Errors
/// The reasons of `increase`, and lookups that did not rise.
fn ratio(span: &[Observation], metric: usize, best: &PairReading) -> Result<f64, Unknown> {
    let seen = || {
        span.iter().map(|seen| match reading(seen, metric) {
            Reading::Ratio(pairs) => pairs.iter().find(|pair| pair.pair == best.pair),
            _ => None,
        })
    };
    let rises = |of: fn(&PairReading) -> &[Reading]| -> Result<f64, Unknown> {
        let counter =
            |at| rise(seen().map(|pair| pair.map_or(&Reading::Absent, |pair| &of(pair)[at])));
        (0..of(best).len()).map(counter).sum()
    };
    quotient(rises(|pair| &pair.hits), rises(|pair| &pair.of))
}

/// Divides one change by another.
///
/// # Errors
/// The reason of the first change that is unknown, and a denominator of 0.
pub fn quotient(part: Result<f64, Unknown>, whole: Result<f64, Unknown>) -> Result<f64, Unknown> {
    match (part?, whole?) {
        (part, whole) if whole > 0.0 => Ok(part / whole),
        _ => Err(Unknown::Zero),
    }
}

/// Returns the increase from the first reading to the last.
fn rise<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> Result<f64, Unknown> {
    let mut rise = Rise::default();
    readings.into_iter().for_each(|reading| rise.add(reading));
    rise.get()
}

/// The increase of a counter, from readings that are added one by one.
#[derive(Debug, Clone, Default)]
pub struct Rise {
    /// `None`: no reading yet.
    first: Option<f64>,
    highest: f64,
    last: f64,
    /// Why the last reading has no value.
    absent: Option<Unknown>,
    /// Why no later reading can give an increase.
    broken: Option<Unknown>,
}

impl Rise {
    pub fn add(&mut self, reading: &Reading) {
        let value = match reading {
            _ if self.broken.is_some() => return,
            Reading::Counter(value) => value.ok_or(Unknown::NoNumber),
            // Before its first use it is not a fall.
            Reading::Absent if self.highest > 0.0 => Err(Unknown::Reset),
            Reading::Absent if self.first.is_none() => Ok(0.0),
            Reading::Absent => Err(Unknown::Absent),
            Reading::Gauge(_) | Reading::Ratio(_) => Err(Unknown::NoCounter),
        };
        self.absent = value.err();
        match value {
            Ok(value) if value < self.highest => self.broken = Some(Unknown::Reset),
            Ok(value) => {
                self.first.get_or_insert(value);
                (self.highest, self.last) = (value, value);
            }
            Err(Unknown::Absent | Unknown::NoNumber) if self.first.is_some() => {}
            Err(why) => self.broken = Some(why),
        }
    }

    /// Returns the increase from the first reading to the last.
    ///
    /// # Errors
    /// The reason why the increase is unknown.
    pub fn get(&self) -> Result<f64, Unknown> {
        if let Some(why) = self.broken.or(self.absent) {
            return Err(why);
        }
        let change = self.last - self.first.ok_or(Unknown::Absent)?;
        match change.is_finite() {
            true => Ok(change),
            false => Err(Unknown::NoNumber),
        }
    }
}
