//! What changed between two scrapes, beside one request or over a round: pure functions of observations.
//!
//! A counter that fell, or vanished, between the two scrapes or in one that lies between them was reset: the
//! server restarted, and the change is unknown. A restart that no scrape shows as a fall is not seen. A
//! counter that is not on the page yet stands at 0: engines make some of theirs on first use.

use super::series::{PairReading, Reading};

/// One scrape. Lists of them are in the order of time, and no two overlap.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Before the request for the page, from the run's epoch.
    pub t_begin_ns: u64,
    /// When the page had been read.
    pub t_end_ns: u64,
    /// One for each asked-for name.
    pub values: Vec<Reading>,
}

/// The change of one metric beside a request, or over a round: from the last scrape that had ended by its send
/// to the first that began at or after its end.
///
/// Counter: the difference. Gauge: the later value. Ratio: the hits' difference over the lookups'. `None`:
/// one of the scrapes is missing, the value is absent or no number, a counter fell, or nothing was looked up.
pub fn beside(
    observations: &[Observation],
    metric: usize,
    t_send_ns: u64,
    t_end_ns: u64,
) -> Option<f64> {
    let after = observations.partition_point(|seen| seen.t_begin_ns < t_end_ns);
    let last = observations.get(after)?.values.get(metric)?;
    if let Reading::Gauge(value) = last {
        return value.filter(|value| value.is_finite());
    }
    let ended = observations.partition_point(|seen| seen.t_end_ns <= t_send_ns);
    let span = observations.get(ended.checked_sub(1)?..=after)?;
    let readings: Vec<&Reading> = span
        .iter()
        .map(|seen| seen.values.get(metric).unwrap_or(&Reading::Absent))
        .collect();
    match last {
        Reading::Ratio(pairs) => {
            let best = pairs.iter().find(|pair| pair.is_whole())?;
            ratio(best, &readings)
        }
        _ => increase(readings),
    }
}

/// Of the pair that was best in the end.
fn ratio(best: &PairReading, readings: &[&Reading]) -> Option<f64> {
    let seen: Vec<Option<&PairReading>> = readings
        .iter()
        .map(|reading| match reading {
            Reading::Ratio(pairs) => pairs.iter().find(|pair| pair.pair == best.pair),
            _ => None,
        })
        .collect();
    let increases = |of: fn(&PairReading) -> &[Reading]| -> Option<f64> {
        let counter = |at| {
            let readings = seen.iter();
            increase(readings.map(move |pair| pair.map_or(&Reading::Absent, |pair| &of(pair)[at])))
        };
        (0..of(best).len()).map(counter).sum()
    };
    let (hits, of) = (increases(|pair| &pair.hits)?, increases(|pair| &pair.of)?);
    (of > 0.0).then_some(hits / of)
}

/// From the first reading to the last; `None` when it fell on the way, or either of them is no number.
fn increase<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> Option<f64> {
    let mut readings = readings.into_iter();
    let first = match readings.next()? {
        Reading::Absent => 0.0,
        Reading::Counter(value) => (*value)?,
        _ => return None,
    };
    let (mut highest, mut last) = (first, Some(first));
    for reading in readings {
        last = match reading {
            Reading::Counter(value) => *value,
            // Before its first use it is not a fall.
            Reading::Absent if highest <= 0.0 => None,
            _ => return None,
        };
        match last {
            Some(value) if value < highest => return None,
            Some(value) => highest = value,
            None => {}
        }
    }
    last.map(|last| last - first)
        .filter(|change| change.is_finite())
}
