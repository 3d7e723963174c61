//! The JSON of `replay`: a round's file with the guide's keys and full precision, then our own, and the report of all
//! rounds.

use serde::Serialize;
use serde_json::{Map, Value};

use super::spread::statistics;
use crate::report::document::Node;
use crate::report::layout::keys::{self, Entry};
use crate::report::layout::report::Report;
use crate::stats::comparison::Comparison;
use crate::stats::facts::Metric;
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::records::Detail;
use crate::stats::spread::Spread;
use crate::stats::time::Time;

/// The file `concurrency_{C}_round_{R}.json`; `requests` is a list of `RequestLine`.
#[derive(Serialize)]
pub struct RoundFile<'a, R: Serialize> {
    schema: &'static str,
    tool_version: &'static str,
    configuration: &'a Value,
    summary: Node,
    requests: R,
}

impl<'a, R: Serialize> RoundFile<'a, R> {
    pub fn new(configuration: &'a Value, pass: &Pass, requests: R) -> RoundFile<'a, R> {
        RoundFile {
            schema: "tmesh-cli/replay/1",
            tool_version: env!("CARGO_PKG_VERSION"),
            configuration,
            summary: summary(pass),
            requests,
        }
    }
}

/// One request. Times are in milliseconds, and `None` if it failed, because failures are in no figure.
#[derive(Debug, PartialEq, Serialize)]
pub struct RequestLine<'a> {
    index: u64,
    prompt: &'a str,
    ttft: Option<f64>,
    itl: Option<f64>,
    latency: Option<f64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    session_id: &'a str,
    turn: Option<u64>,
    /// The server's metrics during the request, by name; `None` if none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Map<String, Value>>,
}

impl<'a> RequestLine<'a> {
    /// Makes the line of a request; `prompt` is the last user message. `None` if the request was cut or belongs to the
    /// warm-up.
    pub fn of(
        record: &Record,
        detail: &Detail,
        index: u64,
        prompt: &'a str,
        session_id: &'a str,
    ) -> Option<RequestLine<'a>> {
        let success = record.is_good();
        let ms = |ns: Option<f64>| ns.filter(|_| success).map(|ns| ns / 1e6);
        record.is_measured().then(|| RequestLine {
            index,
            prompt,
            ttft: ms(record.ttft_from_sent_ns().map(|ns| ns as f64)),
            itl: ms(record.itl_ns()),
            latency: ms(Some(record.latency_from_sent_ns() as f64)),
            input_tokens: record.prompt_tokens.get(),
            output_tokens: record.completion_tokens.get(),
            success,
            error: detail.error(),
            session_id,
            turn: record.turn.get(),
            metrics: None,
        })
    }
}

/// The keys of a round's file with those of the catalogue: up to the times, up to the time to the first answer token,
/// then up to the server's metrics.
const COUNTS: &str = "total_requests successful_requests failed_requests";
pub const FIGURES: &str = "avg_input_tokens=input_tokens_mean avg_output_tokens=output_tokens_mean
    test_duration_s=duration_s token_throughput=throughput_tokens_per_s request_throughput=request_throughput_rps
    goodput_requests goodput_requests_percent goodput_tokens goodput_tokens_percent
    goodput_token_throughput=goodput_tokens_per_s goodput_request_throughput=goodput_rps
    prefix_cache_hit_rate first_turn_hit_rate turns_not_sent cut_requests failures concurrency_mean concurrency_peak
    token_sources connect_share stale_connections requests_not_streamed";
const BESIDE: &str = "gaps_are_tokens gaps_in_one_read_share
    steady_duration_s steady_throughput_tokens_per_s steady_request_throughput_rps";

/// Returns the object `summary` of a round's file or of a point of `load`; times are measured from the send.
pub fn summary(pass: &Pass) -> Node {
    let entries = |keys| keys::entries(&keys::parse(keys), pass);
    let mut summary = entries(COUNTS);
    for (ending, time) in [
        ("_ttft", Time::TtftFromSent),
        ("_itl", Time::Itl),
        ("_latency", Time::LatencyFromSent),
    ] {
        summary.extend(spread_entries(pass.figures.time(time), ending));
    }
    summary.extend(entries(FIGURES));
    summary.extend(spread_entries(
        pass.figures.time_to_answer,
        "_time_to_answer",
    ));
    summary.extend(entries(BESIDE));
    let metrics = pass.facts.metrics.iter();
    let metrics = metrics.map(|metric| (metric.name.clone(), metric_node(metric)));
    summary.push(("prometheus_metrics".into(), Node::object(metrics)));
    summary.extend(entries("client"));
    summary.extend(keys::entries(&keys::server(), pass));
    Node::Object(summary)
}

/// Returns `avg` and so on, each key with this ending, then the number of requests that have the figure.
fn spread_entries(spread: Option<Spread>, ending: &str) -> impl Iterator<Item = Entry> {
    let n = spread.map_or(0, |spread| spread.n);
    let names = ["avg", "p50", "p90", "p99", "min", "max", "stddev"];
    let values = statistics(spread).map(Node::from);
    let named = names.into_iter().zip(values).chain([("n", n.into())]);
    named.map(move |(name, value)| (format!("{name}{ending}").into(), value))
}

fn metric_node(metric: &Metric) -> Node {
    let spread = metric.spread;
    let spread = spread.map(|of| Node::Object(spread_entries(Some(of), "").collect()));
    Node::object([
        ("spread", spread.unwrap_or_default()),
        ("over_round", metric.over_pass.into()),
        ("source", metric.source.as_str().into()),
        ("shared", metric.shared.into()),
    ])
}

/// Returns the report of all rounds, each with its comparison with the first.
pub fn report(report: &Report, comparisons: &[Option<Comparison>]) -> Node {
    let mut entries = keys::head("tmesh-cli/replay-report/1");
    let rounds = report.passes.iter().zip(comparisons);
    let rounds = rounds.map(|(pass, of)| round(pass, of.as_ref()));
    entries.extend([
        ("about".into(), report.about.clone().into()),
        ("notes".into(), Node::from(report.notes.clone())),
        ("rounds".into(), Node::List(rounds.collect())),
    ]);
    Node::Object(entries)
}

fn round(pass: &Pass, comparison: Option<&Comparison>) -> Node {
    let facts = &pass.facts;
    // The ratio of mean TTFT has the ends of its 95 % interval, null if too few units are independent. The first round
    // has null.
    let comparison = comparison.map(|pairs| {
        let (low, high) = pairs.interval.unzip();
        Node::object([
            ("ttft_ratio", pairs.ratio.into()),
            ("ttft_ratio_low", low.into()),
            ("ttft_ratio_high", high.into()),
            ("request_pairs", pairs.n.into()),
            ("independent_units", pairs.units.into()),
        ])
    });
    Node::object([
        ("concurrency", facts.concurrency.into()),
        ("round", facts.round.into()),
        ("complete", facts.is_complete.into()),
        ("summary", summary(pass)),
        ("against_round_1", comparison.unwrap_or_default()),
    ])
}
