//! Scrapes as lines of the series `metrics` in the samples file.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::prom::change::Observation;
use crate::prom::scrape::Recorder;
use crate::prom::series::Reading;

/// The readings that have come since the last call; `names` are those that the recorder wants.
pub fn lines(
    recorder: Arc<Recorder>,
    names: Vec<String>,
) -> impl FnMut() -> Vec<(&'static str, Value)> + Send {
    let mut told = 0;
    move || {
        let seen = recorder.seen();
        let fresh = seen.observations.get(told..).unwrap_or_default();
        told = seen.observations.len();
        fresh
            .iter()
            .map(|seen| ("metrics", line(&names, seen)))
            .collect()
    }
}

/// A scrape as it stands in the samples file.
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

/// What a reading comes from, for the user.
pub fn source(reading: &Reading) -> String {
    match reading {
        Reading::Absent => "not found".to_string(),
        Reading::Counter(_) => "counter".to_string(),
        Reading::Gauge(_) => "gauge".to_string(),
        Reading::Ratio(pairs) => {
            let whole = pairs.iter().find(|pair| pair.is_whole());
            let Some(pair) = whole.or(pairs.first()) else {
                return "not found".to_string();
            };
            let sum = |names: &[&str]| match names {
                [name] => format!("Δ {name}"),
                names => format!("Δ ({})", names.join(" + ")),
            };
            format!("{} / {}", sum(pair.pair.hits), sum(pair.pair.of))
        }
    }
}

/// A reading as it stands in the samples file: a number, or hits and what they are of.
fn value(reading: &Reading) -> Value {
    match reading {
        Reading::Absent => Value::Null,
        Reading::Counter(value) | Reading::Gauge(value) => json!(value),
        Reading::Ratio(pairs) => {
            let sum = |readings: &[Reading]| -> Option<f64> {
                let counters = readings.iter().map(|reading| match reading {
                    Reading::Counter(value) => *value,
                    _ => None,
                });
                counters.sum()
            };
            let whole = pairs.iter().find(|pair| pair.is_whole());
            whole.map_or(
                Value::Null,
                |pair| json!({"hits": sum(&pair.hits), "of": sum(&pair.of)}),
            )
        }
    }
}
