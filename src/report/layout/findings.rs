//! Reads the findings and the options of a run, and writes them for people and for command lines.
//!
//! Findings come as JSON, as the samples file and the result file have them, and may hold anything.

use serde_json::Value;

use crate::units::quoted;

pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn count(value: &Value, key: &str) -> Option<u64> {
    value[key].as_u64()
}

/// Returns the option with this value for a command line, after a blank; empty where there is no value.
pub fn option(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!(" {name} {}", quoted(text)),
        Value::Number(number) => format!(" {name} {number}"),
        _ => String::new(),
    }
}

/// Returns the options of the prompts of a run, as `load` takes them, from its header.
pub fn prompts(about: &Value) -> String {
    const OPTIONS: [(&str, &str); 9] = [
        ("--dataset", "dataset"),
        ("--trace", "trace"),
        ("--trace-unit", "trace_unit"),
        ("--speed", "speed"),
        ("--input-tokens", "input_tokens"),
        ("--output-tokens", "output_tokens"),
        ("--shared-prefix-tokens", "shared_prefix_tokens"),
        ("--groups", "groups"),
        ("--repeat-ratio", "repeat_ratio"),
    ];
    let prompts = &about["options"]["prompts"];
    let options = OPTIONS.iter();
    options
        .map(|(name, key)| option(name, &prompts[*key]))
        .collect()
}

/// Returns the options of the pace and the extent of a load, from its options in the header.
pub fn pace(load: &Value) -> String {
    let mut options = String::new();
    for (name, key) in [("--concurrency", "concurrency"), ("--rate", "rate_per_s")] {
        let values = list(&load[key]).filter_map(Value::as_f64);
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        let values = (!values.is_empty()).then(|| values.join(","));
        options += &option(name, &values.into());
    }
    for (name, key) in [
        ("--burstiness", "burstiness"),
        ("--max-inflight", "max_inflight"),
        ("--requests", "requests"),
        ("--warmup", "warmup"),
    ] {
        options += &option(name, &load[key]);
    }
    let duration = load["duration_s"].as_f64().map(|s| format!("{s}s"));
    options + &option("--duration", &duration.into())
}

/// Formats a share such as `95 %` or `99.9 %`.
pub fn share(of: f64) -> String {
    format!("{} %", (of * 1000.0).round() / 10.0)
}
