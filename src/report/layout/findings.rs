//! The findings of experiments: their place in result files, and the parts that their reports have in common.
//!
//! Findings come as JSON, as the samples file and the result file have them, and may hold anything.

use serde_json::Value;

use super::keys;
use super::report::Report;
use crate::report::document::Node;
use crate::units::quoted;

/// The keys of a result file: those of the header, then those of the findings.
pub struct Form {
    pub schema: &'static str,
    /// The keys of the findings, in the order of the file. No header has them.
    pub keys: &'static [&'static str],
}

impl Form {
    /// Makes the value of a result file.
    pub fn data(&self, report: &Report) -> Node {
        let mut entries = keys::head(self.schema);
        let header = report.about.as_object().into_iter().flatten();
        entries.extend(header.map(|(key, value)| (key.clone().into(), value.clone().into())));
        let found = self.keys.iter();
        entries.extend(found.map(|&key| (key.into(), report.findings[key].clone().into())));
        Node::Object(entries)
    }

    /// Reads a result file back; `None` if it has another schema.
    pub fn read(&self, file: &Value) -> Option<Report> {
        if file["schema"] != self.schema {
            return None;
        }
        let mut about = file.clone();
        let is_of_header =
            |key: &str| !["schema", "tool_version"].contains(&key) && !self.keys.contains(&key);
        about.as_object_mut()?.retain(|key, _| is_of_header(key));
        Some(Report {
            about,
            passes: Vec::new(),
            findings: file.clone(),
            notes: Vec::new(),
        })
    }
}

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
    let points = [("--concurrency", "concurrency"), ("--rate", "rate_per_s")];
    let points = points.map(|(name, key)| {
        let values = list(&load[key]).filter_map(Value::as_f64);
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        let values = (!values.is_empty()).then(|| values.join(","));
        option(name, &values.into())
    });
    let others = [
        ("--burstiness", "burstiness"),
        ("--max-inflight", "max_inflight"),
        ("--requests", "requests"),
        ("--warmup", "warmup"),
    ];
    let others = others.map(|(name, key)| option(name, &load[key]));
    let duration = load["duration_s"].as_f64().map(|s| format!("{s}s"));
    [
        points.concat(),
        others.concat(),
        option("--duration", &duration.into()),
    ]
    .concat()
}

/// Formats a share such as `95 %` or `99.9 %`.
pub fn share(of: f64) -> String {
    format!("{} %", (of * 1000.0).round() / 10.0)
}
