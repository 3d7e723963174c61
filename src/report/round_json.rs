//! `concurrency_{C}_round_{R}.json`: the guide's keys with full precision, then our own.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::cells::statistics;
use super::{notes, read_back};
use crate::sample::{Phase, Sample};
use crate::stats::goodput::Goodput;
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
pub(super) struct Figures<'a>(pub(super) &'a RoundSummary);

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

/// The figures in a file that `RoundFile` wrote; `None`: it is no such file.
pub fn read(file: &Value) -> Option<RoundSummary> {
    let (configuration, of) = (file.get("configuration")?, file.get("summary")?);
    let round = read_figures(
        of,
        configuration["concurrency"].as_u64()?,
        configuration["round"].as_u64()?,
    )?;
    Some(RoundSummary {
        goodput: read_goodput(file),
        metrics: read_metrics(configuration, &of["prometheus_metrics"])?,
        ..round
    })
}

/// The figures of an object that `Figures` wrote, but for goodput and metrics; `None`: it is no such object.
pub(super) fn read_figures(of: &Value, concurrency: u64, round: u64) -> Option<RoundSummary> {
    let count = |key: &str| of[key].as_u64();
    let number = |key: &str| of[key].as_f64();
    Some(RoundSummary {
        concurrency,
        round,
        total_requests: count("total_requests")?,
        successful: count("successful_requests")?,
        failed: count("failed_requests")?,
        not_sent: count("turns_not_sent")?,
        cut: count("cut_requests")?,
        duration_s: number("test_duration_s")?,
        input_tokens_mean: number("avg_input_tokens"),
        output_tokens_mean: number("avg_output_tokens"),
        ttft_ms: read_back::spread(of, "_ttft"),
        itl_ms: read_back::spread(of, "_itl"),
        latency_ms: read_back::spread(of, "_latency"),
        token_throughput: number("token_throughput"),
        request_throughput: number("request_throughput"),
        goodput: None,
        prefix_cache_hit_rate: number("prefix_cache_hit_rate"),
        first_turn_hit_rate: number("first_turn_hit_rate"),
        failures: read_back::failures(&of["failures"]),
        concurrency_mean: number("concurrency_mean"),
        concurrency_peak: count("concurrency_peak")?,
        token_sources: read_back::token_sources(&of["token_sources"]),
        stale_connections: count("stale_connections")?,
        connect_share: number("connect_share"),
        not_streamed: count("requests_not_streamed")?,
        metrics: Vec::new(),
        client: read_back::client(&of["client"])?,
    })
}

/// What the shares are of is not in the summary: it is counted over the requests.
fn read_goodput(file: &Value) -> Option<Goodput> {
    let of = &file["summary"];
    let count = |key: &str| of[key].as_u64();
    let requests = file["requests"].as_array()?.iter();
    let tokens = requests.filter_map(|request| request["output_tokens"].as_u64());
    Some(Goodput {
        requests: count("goodput_requests")?,
        of_requests: count("total_requests")?.saturating_add(count("turns_not_sent")?),
        tokens: count("goodput_tokens"),
        of_tokens: count("goodput_tokens").map(|_| tokens.fold(0, u64::saturating_add)),
        tokens_per_s: of["goodput_token_throughput"].as_f64(),
        requests_per_s: of["goodput_request_throughput"].as_f64(),
    })
}

/// In the order that they were asked for.
fn read_metrics(configuration: &Value, metrics: &Value) -> Option<Vec<MetricSummary>> {
    let asked = configuration["prometheus_metrics"].as_array();
    let names = asked.into_iter().flatten().filter_map(Value::as_str);
    let metrics = names.map(|name| {
        let metric = &metrics[name];
        Some(MetricSummary {
            name: name.to_string(),
            spread: read_back::spread(&metric["spread"], ""),
            over_round: metric["over_round"].as_f64(),
            source: metric["source"].as_str()?.to_string(),
            shared: metric["shared"] == true,
        })
    });
    metrics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden_round::{first_round, rounds};

    #[test]
    fn figures_that_were_written_are_those_that_are_read() {
        for round in rounds() {
            let lines: Vec<RequestLine<'_>> = first_round()
                .iter()
                .filter_map(|sample| RequestLine::of(sample, 0, "", ""))
                .collect();
            let names = round.metrics.iter().map(|metric| metric.name.as_str());
            let configuration = serde_json::json!({"concurrency": 2, "round": round.round,
                "prometheus_metrics": names.collect::<Vec<_>>()});
            let file = RoundFile::new(&configuration, &round, lines);
            let file = serde_json::to_value(&file).expect("JSON");
            let wanted = round.clone();
            // Goodput's base is counted over the requests, which here are those of round 1.
            let mut got = read(&file).expect("all keys");
            if round.round == 2 {
                got.goodput = wanted.goodput.clone();
            }
            assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
            if round.round == 1 {
                let mut huge = file.clone();
                huge["summary"]["turns_not_sent"] = u64::MAX.into();
                huge["requests"] =
                    serde_json::json!([{"output_tokens": u64::MAX}, {"output_tokens": 1}]);
                let goodput = read(&huge).expect("all keys").goodput.expect("an SLO");
                let of = (goodput.of_requests, goodput.of_tokens);
                assert_eq!(of, (u64::MAX, Some(u64::MAX)));
            }
            for key in ["configuration", "summary"] {
                let mut part = file.clone();
                part.as_object_mut().expect("an object").remove(key);
                assert!(read(&part).is_none(), "{key}");
            }
        }
    }
}
