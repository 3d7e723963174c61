//! The facts of a pass that its requests do not tell, which the samples file keeps as the series `pass`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::ClientSummary;
use super::goodput::Slo;
use super::spread::Spread;
use super::time::Reported;
use crate::sample::{Workload, find};

/// The names of the fields are the keys of the series, the same for every command; a field that does not apply is null.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The labels of the pass: a fixed workload, the number of the round (from 1), the wanted number of requests in
    /// flight, and the wanted rate in requests per second.
    pub workload: Option<Workload>,
    pub round: Option<u64>,
    pub concurrency: Option<u64>,
    pub rate_per_s: Option<f64>,
    /// The number of the run, from 1, where all points are sent several times.
    pub run: Option<u64>,
    /// The stamp of the first send.
    pub t_start_ns: u64,
    /// The stamps of the window that rates are taken over; `None` if they are taken from the first send to the last
    /// end.
    pub window_ns: Option<(u64, u64)>,
    /// The first and the last due time of the whole plan of an open loop; `None` without shards.
    pub schedule_ns: Option<(u64, u64)>,
    /// The stamps between which all shards of a run were at work, where that is much less than the whole time: rates are
    /// taken over it.
    pub overlap_ns: Option<(u64, u64)>,
    /// The number of requests that were planned; `None` if a duration decides.
    pub planned: Option<u64>,
    /// The requests that the plan gives to each shard of the run; `None` without shards, and if the plan was not made to
    /// its end.
    pub shares: Option<Vec<u64>>,
    /// Requests of the plan that were not sent because the run was cut short.
    pub not_sent: u64,
    /// Turns that were not sent because an earlier turn of their session had failed.
    pub turns_not_sent: u64,
    /// The most requests in flight at once.
    pub concurrency_peak: u64,
    /// Requests that were in flight at the end and have no sample.
    pub in_flight: u64,
    /// The total time that the requests without a sample had been in flight.
    #[serde(skip)]
    pub in_flight_ns: u64,
    /// Requests of an open loop that found no idle worker when they were due.
    pub exhausted: Option<u64>,
    /// The hit rates that a cache of unlimited size would have had, 0..=1.
    pub perfect_response_rate: Option<f64>,
    pub perfect_prefix_rate: Option<f64>,
    /// Whether `perfect_prefix_rate` is worked out from planned lengths because no reply counts its prompt tokens.
    pub perfect_prefix_by_plan: bool,
    /// The reason why the pass ended, in words.
    pub ended: Option<String>,
    /// Whether something else than its plan or its duration ended the pass, such as a signal.
    pub was_stopped: bool,
    /// Whether everything that was planned was sent.
    pub is_complete: Option<bool>,
    /// The number of requests that were sent without their earliest pairs of question and answer, and the most pairs
    /// that one of them lost.
    pub shortened: Option<(u64, u64)>,
    /// The server's metrics during the pass, in the order in which they were asked for.
    pub metrics: Vec<Metric>,
    pub told: ToldFigures,
    /// The prefix cache hit rate of the controls after the pass, by the server's counters.
    pub controls_hit_rate: Option<f64>,
    /// The number of tokens that all prompts begin with before their own text, as the set-up found it; `None` if it was
    /// not measured.
    #[serde(skip)]
    pub common_tokens: Option<u64>,
    /// Whether the replies of earlier passes of this run have reported cache hits.
    #[serde(skip)]
    pub reported: Reported,
    #[serde(skip)]
    pub slo: Option<Slo>,
    /// The summary of the series `client`.
    #[serde(skip)]
    pub client: ClientSummary,
}

/// One of the server's metrics during the pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    pub name: String,
    /// The spread over requests of the readings around each request.
    pub spread: Option<Spread>,
    /// The value over the whole pass, which is the headline.
    pub over_pass: Option<f64>,
    /// The kind of the metric, such as `gauge`, `counter` or `Δ vllm:… / Δ vllm:…`.
    pub source: String,
    /// Whether some readings cover several requests that were in flight at once.
    pub shared: bool,
}

/// A figure that the server or the system reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    pub value: Option<f64>,
    /// The source of the value; without a value, the reason for its absence.
    pub source: String,
}

impl Told {
    pub fn new(value: f64, source: impl Into<String>) -> Told {
        Told {
            value: Some(value),
            source: source.into(),
        }
    }

    pub fn absent(why: impl Into<String>) -> Told {
        Told {
            value: None,
            source: why.into(),
        }
    }
}

/// The figures that the server or the system reported for a pass, by the keys of `catalog::told_figures`.
pub type ToldFigures = BTreeMap<String, Told>;

impl Facts {
    /// Returns the name of the pass with a capital letter, to begin a line or a title.
    pub fn title(&self) -> String {
        let mut name = self.name();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        name
    }

    /// Returns the name of the pass in reports, such as `concurrency 8, round 2` or `rate 2.5/s`.
    pub fn name(&self) -> String {
        let point = self.point();
        match self.run {
            Some(run) => format!("{point}, run {run}"),
            None => point,
        }
    }

    /// Returns the name without the number of the run.
    pub fn point(&self) -> String {
        match (self.workload, self.rate_per_s, self.concurrency, self.round) {
            (Some(workload), ..) => workload.name().to_string(),
            (_, Some(rate), ..) => format!("rate {rate}/s"),
            (_, _, Some(concurrency), Some(round)) => {
                format!("concurrency {concurrency}, round {round}")
            }
            (_, _, Some(concurrency), None) => format!("concurrency {concurrency}"),
            (_, _, None, _) => "trace".to_string(),
        }
    }

    /// Reads a line of the series; a value that is missing or malformed stays absent.
    pub fn read(line: &Value) -> Facts {
        let count = |key: &str| line[key].as_u64();
        let number = |key: &str| line[key].as_f64();
        let two = |key: &str| Some((line[key][0].as_u64()?, line[key][1].as_u64()?));
        let workload = line["workload"].as_str();
        let metrics = line["metrics"].as_array().map_or(&[][..], Vec::as_slice);
        let mut told = ToldFigures::new();
        let of_line = line["told"].as_object().into_iter().flatten();
        told.extend(of_line.map(|(key, told)| {
            let source = told["source"].as_str().unwrap_or_default().to_string();
            let value = told["value"].as_f64();
            (key.clone(), Told { value, source })
        }));
        Facts {
            workload: workload.and_then(|name| find(&Workload::NAMES, name)),
            round: count("round"),
            concurrency: count("concurrency"),
            rate_per_s: number("rate_per_s"),
            run: count("run"),
            t_start_ns: count("t_start_ns").unwrap_or(0),
            window_ns: two("window_ns"),
            schedule_ns: two("schedule_ns"),
            overlap_ns: two("overlap_ns"),
            planned: count("planned"),
            shares: line["shares"].as_array().map(|shares| {
                shares
                    .iter()
                    .map(|share| share.as_u64().unwrap_or(0))
                    .collect()
            }),
            not_sent: count("not_sent").unwrap_or(0),
            turns_not_sent: count("turns_not_sent").unwrap_or(0),
            concurrency_peak: count("concurrency_peak").unwrap_or(0),
            in_flight: count("in_flight").unwrap_or(0),
            exhausted: count("exhausted"),
            perfect_response_rate: number("perfect_response_rate"),
            perfect_prefix_rate: number("perfect_prefix_rate"),
            perfect_prefix_by_plan: line["perfect_prefix_by_plan"] == true,
            ended: line["ended"].as_str().map(str::to_string),
            controls_hit_rate: number("controls_hit_rate"),
            was_stopped: line["was_stopped"] == true,
            is_complete: line["is_complete"].as_bool(),
            shortened: two("shortened"),
            metrics: metrics.iter().filter_map(Metric::read).collect(),
            told,
            ..Facts::default()
        }
    }
}

impl Metric {
    /// The source of a metric that is not on the server's page.
    pub const NOT_FOUND: &str = "not found";

    fn read(of: &Value) -> Option<Metric> {
        Some(Metric {
            name: of["name"].as_str()?.to_string(),
            spread: Spread::deserialize(&of["spread"]).ok(),
            over_pass: of["over_pass"].as_f64(),
            source: of["source"].as_str()?.to_string(),
            shared: of["shared"] == true,
        })
    }
}
