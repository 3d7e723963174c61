//! `concurrency_{C}_round_{R}.json`: the guide's keys with full precision, then our own.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::cells::statistics;
use super::notes;
use crate::sample::{Phase, Sample};
use crate::stats::round::{MetricSummary, RoundSummary};
use crate::stats::spread::Spread;
use crate::stats::{itl_ns, latency_ns, ttft_ns};

/// The file of one round; `requests` is a list of `RequestLine`.
#[derive(Serialize)]
pub struct RoundFile<'a, R: Serialize> {
    schema: &'static str,
    tool_version: &'static str,
    configuration: &'a Value,
    summary: Figures<'a>,
    requests: R,
}

impl<'a, R: Serialize> RoundFile<'a, R> {
    pub fn new(
        configuration: &'a Value,
        summary: &'a RoundSummary,
        requests: R,
    ) -> RoundFile<'a, R> {
        RoundFile {
            schema: "tmesh-cli/replay/1",
            tool_version: env!("CARGO_PKG_VERSION"),
            configuration,
            summary: Figures(summary),
            requests,
        }
    }
}

/// One request; times are milliseconds, and `None` where it failed: they are in no figure.
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
    /// The server's metrics beside it, by name; `None` where none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Map<String, Value>>,
}

impl<'a> RequestLine<'a> {
    /// `prompt` is the last user message. `None` for a request that was cut or of the warm-up.
    pub fn of(
        sample: &Sample,
        index: u64,
        prompt: &'a str,
        session_id: &'a str,
    ) -> Option<RequestLine<'a>> {
        let ms = |ns: Option<f64>| ns.filter(|_| sample.is_success()).map(|ns| ns / 1e6);
        let error = sample.failure.as_ref().map(|failure| {
            let why = notes::reason(sample.status, &failure.reason);
            format!("{}: {why}", failure.kind.name())
        });
        (sample.phase == Phase::Measured).then(|| RequestLine {
            index,
            prompt,
            ttft: ms(ttft_ns(sample).map(|ns| ns as f64)),
            itl: ms(itl_ns(sample)),
            latency: ms(Some(latency_ns(sample) as f64)),
            input_tokens: sample.prompt_tokens,
            output_tokens: sample.completion_tokens,
            success: sample.is_success(),
            error,
            session_id,
            turn: sample.labels.turn,
            metrics: None,
        })
    }
}

/// The object `summary`.
struct Figures<'a>(&'a RoundSummary);

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let round = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("total_requests", &round.total_requests)?;
        map.serialize_entry("successful_requests", &round.successful)?;
        map.serialize_entry("failed_requests", &round.failed)?;
        spread(&mut map, "ttft", round.ttft_ms.as_ref())?;
        spread(&mut map, "itl", round.itl_ms.as_ref())?;
        spread(&mut map, "latency", round.latency_ms.as_ref())?;
        map.serialize_entry("avg_input_tokens", &round.input_tokens_mean)?;
        map.serialize_entry("avg_output_tokens", &round.output_tokens_mean)?;
        map.serialize_entry("test_duration_s", &round.duration_s)?;
        map.serialize_entry("token_throughput", &round.token_throughput)?;
        map.serialize_entry("request_throughput", &round.request_throughput)?;
        goodput(&mut map, round)?;
        map.serialize_entry("prefix_cache_hit_rate", &round.prefix_cache_hit_rate)?;
        map.serialize_entry("first_turn_hit_rate", &round.first_turn_hit_rate)?;
        map.serialize_entry("turns_not_sent", &round.not_sent)?;
        map.serialize_entry("cut_requests", &round.cut)?;
        map.serialize_entry("failures", &round.failures)?;
        map.serialize_entry("concurrency_mean", &round.concurrency_mean)?;
        map.serialize_entry("concurrency_peak", &round.concurrency_peak)?;
        map.serialize_entry("token_sources", &round.token_sources)?;
        map.serialize_entry("connect_share", &round.connect_share)?;
        map.serialize_entry("stale_connections", &round.stale_connections)?;
        map.serialize_entry("requests_not_streamed", &round.not_streamed)?;
        map.serialize_entry("prometheus_metrics", &ByName(&round.metrics))?;
        map.serialize_entry("client", &round.client)?;
        map.end()
    }
}

/// `avg_ttft` and so on, then the number of requests that have the figure.
fn spread<M: SerializeMap>(map: &mut M, of: &str, spread: Option<&Spread>) -> Result<(), M::Error> {
    let names = ["avg", "p50", "p90", "p99", "min", "max", "stddev"];
    for (name, value) in names.into_iter().zip(statistics(spread)) {
        map.serialize_entry(&format!("{name}_{of}"), &value)?;
    }
    map.serialize_entry(&format!("n_{of}"), &spread.map_or(0, |spread| spread.n))
}

fn goodput<M: SerializeMap>(map: &mut M, round: &RoundSummary) -> Result<(), M::Error> {
    let goodput = round.goodput.as_ref();
    let percent = |share: Option<f64>| share.map(|share| share * 100.0);
    let requests_percent = percent(goodput.and_then(|goodput| goodput.requests_share()));
    let tokens_percent = percent(goodput.and_then(|goodput| goodput.tokens_share()));
    let per_s = goodput.and_then(|goodput| goodput.tokens_per_s);
    map.serialize_entry("goodput_requests", &goodput.map(|goodput| goodput.requests))?;
    map.serialize_entry("goodput_requests_percent", &requests_percent)?;
    map.serialize_entry(
        "goodput_tokens",
        &goodput.and_then(|goodput| goodput.tokens),
    )?;
    map.serialize_entry("goodput_tokens_percent", &tokens_percent)?;
    map.serialize_entry("goodput_token_throughput", &per_s)?;
    let per_s = goodput.and_then(|goodput| goodput.requests_per_s);
    map.serialize_entry("goodput_request_throughput", &per_s)
}

/// Metrics as an object, in their order.
struct ByName<'a>(&'a [MetricSummary]);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|metric| (&metric.name, metric)))
    }
}
