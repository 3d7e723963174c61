//! The samples of a run and the mock's log of it, joined by request.

use std::collections::HashMap;

use serde_json::Value;

use super::{Dir, ns};

/// A samples file whose lines are all JSON.
pub struct Samples {
    pub header: Value,
    /// The lines after the header.
    pub lines: Vec<Value>,
}

impl Samples {
    pub fn read(dir: &Dir, name: &str) -> Samples {
        let text = dir.read(name);
        let lines = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
        });
        let mut lines: Vec<Value> = lines.collect();
        let header = lines.remove(0);
        assert_eq!(header["schema"], "tmesh-cli/samples/2", "{name}");
        Samples { header, lines }
    }

    /// Returns the requests, without the lines of series.
    pub fn requests(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line["series"].is_null())
    }

    /// Returns the lines of a series.
    pub fn series(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| line["series"] == name)
    }

    /// Returns the `x-request-id` of a request.
    pub fn request_id(&self, request: &Value) -> String {
        let run_id = self.header["run_id"].as_str().expect("a run id");
        format!("{run_id}-{}", request["id"])
    }

    /// Returns each request with its line in the mock's log.
    pub fn with_truth(&self, truth: Vec<Value>) -> Vec<(Value, Value)> {
        let id = |line: &Value| line["id"].as_str().map(str::to_string);
        let truth = truth
            .into_iter()
            .filter_map(|line| Some((id(&line)?, line)));
        let truth: HashMap<String, Value> = truth.collect();
        let pair = |sample: &Value| {
            let id = self.request_id(sample);
            let told = truth.get(&id);
            let told = told.unwrap_or_else(|| panic!("the mock has not seen {id}"));
            (sample.clone(), told.clone())
        };
        self.requests().map(pair).collect()
    }
}

/// Returns (client's − mock's) TTFT and ITL of a request, in milliseconds.
pub fn errors_ms(sample: &Value, truth: &Value) -> (f64, f64) {
    let written = truth["t_written_ns"].as_array().expect("a stamp a token");
    let (first, last) = (ns(&written[0]), ns(&written[written.len() - 1]));
    let gaps = (written.len() - 1) as f64;
    let client_ttft = ns(&sample["t_first_ns"]) - ns(&sample["t_send_ns"]);
    let ttft = (client_ttft - (first - ns(&truth["t_read_ns"]))) as f64 / 1e6;
    let client_itl = (ns(&sample["t_last_ns"]) - ns(&sample["t_first_ns"])) as f64 / gaps;
    let itl = (client_itl - (last - first) as f64 / gaps) / 1e6;
    (ttft, itl)
}
