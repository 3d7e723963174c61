//! A point of `load` under the keys of a result of `vllm bench serve`, its detailed lists included.
//!
//! Its figures follow vLLM's definitions where they are not ours: TTFT and latency from the send, ITL over all
//! gaps between token events, goodput with limits that may be met, a deviation of the population (`numpy.std`),
//! and p99 alone of the percentiles. Requests that were cut are left out. A figure that no request has is null,
//! where vLLM writes 0; a failure has zeros in the lists, as there. `generated_texts` is left out, since no text
//! is kept, and so is what speculative decoding would add.

use serde::Serialize;
use serde_json::{Value, json};

use super::saved::{peak, slo};
use crate::sample::{Phase, Sample};
use crate::stats::goodput::Slo;
use crate::stats::load::LoadSummary;
use crate::stats::{exact_quantile, latency_ns, lateness_ns, ttft_ns};
use crate::units::seconds;

/// The names of the fields are the keys.
#[derive(Serialize)]
pub struct VllmResult<'a> {
    date: String,
    endpoint_type: &'a str,
    backend: &'a str,
    label: Option<&'a str>,
    model_id: &'a str,
    tokenizer_id: Option<&'a str>,
    num_prompts: u64,
    /// A number, or `inf` as a text.
    request_rate: Value,
    burstiness: Value,
    max_concurrency: Option<u64>,
    duration: f64,
    completed: u64,
    failed: u64,
    total_input_tokens: Option<u64>,
    total_output_tokens: Option<u64>,
    request_throughput: Option<f64>,
    request_goodput: Option<f64>,
    output_throughput: Option<f64>,
    total_token_throughput: Option<f64>,
    input_lens: Vec<Option<u64>>,
    output_lens: Vec<Option<u64>>,
    /// In seconds, as all lists of times.
    ttfts: Vec<Option<f64>>,
    itls: Vec<Vec<f64>>,
    latencies: Vec<f64>,
    start_times: Vec<f64>,
    /// How late each was sent.
    queue_times: Vec<f64>,
    errors: Vec<String>,
    max_output_tokens_per_s: Option<f64>,
    max_concurrent_requests: u64,
    #[serde(flatten)]
    ttft: Ttft,
    #[serde(flatten)]
    tpot: Tpot,
    #[serde(flatten)]
    itl: Itl,
    #[serde(flatten)]
    e2el: E2el,
}

/// Declares a struct with the four statistics of a time, in milliseconds, under vLLM's names.
macro_rules! statistics {
    ($name:ident, $mean:ident, $median:ident, $std:ident, $p99:ident) => {
        #[derive(Serialize)]
        struct $name {
            $mean: Option<f64>,
            $median: Option<f64>,
            $std: Option<f64>,
            $p99: Option<f64>,
        }

        impl $name {
            fn of(values_s: Vec<f64>) -> $name {
                let [$mean, $median, $std, $p99] = statistics_ms(values_s);
                $name {
                    $mean,
                    $median,
                    $std,
                    $p99,
                }
            }
        }
    };
}

statistics!(Ttft, mean_ttft_ms, median_ttft_ms, std_ttft_ms, p99_ttft_ms);
statistics!(Tpot, mean_tpot_ms, median_tpot_ms, std_tpot_ms, p99_tpot_ms);
statistics!(Itl, mean_itl_ms, median_itl_ms, std_itl_ms, p99_itl_ms);
statistics!(E2el, mean_e2el_ms, median_e2el_ms, std_e2el_ms, p99_e2el_ms);

/// Mean, median, deviation of the population, p99.
fn statistics_ms(values_s: Vec<f64>) -> [Option<f64>; 4] {
    let mut values: Vec<f64> = values_s.into_iter().map(|value| value * 1e3).collect();
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = (n > 0.0).then(|| values.iter().sum::<f64>() / n);
    let std = mean.map(|mean| {
        let squares = values.iter().map(|value| (value - mean).powi(2));
        (squares.sum::<f64>() / n).sqrt()
    });
    let [median, p99] = [0.5, 0.99].map(|q| exact_quantile(&values, q));
    [mean, median, std, p99]
}

/// The result of one point, from its samples; `about` is what is said of the run, an object.
pub fn result<'a>(about: &'a Value, summary: &LoadSummary, samples: &[Sample]) -> VllmResult<'a> {
    let measured = samples.iter().filter(|s| s.phase == Phase::Measured);
    let measured: Vec<&Sample> = measured.collect();
    let good: Vec<&Sample> = measured
        .iter()
        .copied()
        .filter(|s| s.is_success())
        .collect();
    let round = &summary.round;
    let sum = |tokens: fn(&Sample) -> Option<u64>| {
        let mut counted = good.iter().filter_map(|sample| tokens(sample)).peekable();
        counted.peek().is_some().then(|| counted.sum::<u64>())
    };
    let input = sum(|sample| sample.prompt_tokens);
    let output = sum(|sample| sample.completion_tokens);
    let both = input.zip(output).map(|(input, output)| input + output);
    let per_s = |n: u64| (round.duration_s > 0.0).then(|| n as f64 / round.duration_s);
    let options = &about["options"];
    let backend = match options["api"].as_str() {
        Some("completions") => "openai",
        Some("chat") => "openai-chat",
        other => other.unwrap_or("openai"),
    };
    let gaps = good.iter().flat_map(|sample| gaps_s(sample)).collect();
    let of_good = |figure: fn(&Sample) -> Option<f64>| {
        let figures = good.iter().filter_map(|sample| figure(sample));
        figures.collect::<Vec<f64>>()
    };
    VllmResult {
        date: date(about["started_at"].as_str().unwrap_or_default()),
        endpoint_type: backend,
        backend,
        label: None,
        model_id: about["model"].as_str().unwrap_or_default(),
        tokenizer_id: None,
        num_prompts: summary.planned.unwrap_or(measured.len() as u64),
        request_rate: summary.rate_per_s.map_or(json!("inf"), |rate| json!(rate)),
        burstiness: match &options["burstiness"] {
            Value::Null => json!(1.0),
            told => told.clone(),
        },
        max_concurrency: summary.concurrency.or(options["max_inflight"].as_u64()),
        duration: round.duration_s,
        completed: round.successful,
        failed: round.failed,
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: round.request_throughput,
        request_goodput: slo(&about["slo"])
            .and_then(|slo| per_s(good.iter().filter(|s| is_within(&slo, s)).count() as u64)),
        output_throughput: output.and_then(per_s),
        total_token_throughput: both.and_then(per_s),
        input_lens: list(&measured, |sample| sample.prompt_tokens),
        output_lens: list(&measured, |sample| sample.completion_tokens),
        ttfts: list(&measured, ttft_s),
        itls: measured.iter().map(|s| gaps_s(s).collect()).collect(),
        latencies: measured
            .iter()
            .map(|sample| latency_s(sample).filter(|_| sample.is_success()))
            .map(|latency| latency.unwrap_or(0.0))
            .collect(),
        start_times: measured.iter().map(|s| seconds(s.t_send_ns)).collect(),
        queue_times: measured
            .iter()
            .map(|sample| seconds(lateness_ns(sample).unwrap_or(0)))
            .collect(),
        errors: measured.iter().map(|sample| error(sample)).collect(),
        max_output_tokens_per_s: max_tokens_per_s(&good),
        max_concurrent_requests: peak_of(&good),
        ttft: Ttft::of(of_good(ttft_s)),
        tpot: Tpot::of(of_good(tpot_s)),
        itl: Itl::of(gaps),
        e2el: E2el::of(of_good(latency_s)),
    }
}

/// `20261125-030000` of `2026-11-25T03:00:00Z`.
fn date(started_at: &str) -> String {
    let digits = started_at.replace(['-', ':', 'Z'], "");
    digits.replace('T', "-")
}

/// A value a request; of a failure 0, as vLLM has it, of a success without one null.
fn list<T: Default>(measured: &[&Sample], of: impl Fn(&Sample) -> Option<T>) -> Vec<Option<T>> {
    let values = measured.iter().map(|sample| match sample.is_success() {
        true => of(sample),
        false => Some(T::default()),
    });
    values.collect()
}

fn ttft_s(sample: &Sample) -> Option<f64> {
    ttft_ns(sample).map(seconds)
}

fn latency_s(sample: &Sample) -> Option<f64> {
    Some(seconds(latency_ns(sample)))
}

/// `(latency − TTFT) / (n_out − 1)`; 0, unlike our ITL, when all tokens came in one read.
fn tpot_s(sample: &Sample) -> Option<f64> {
    let others = sample
        .completion_tokens?
        .checked_sub(1)
        .filter(|&n| n > 0)?;
    Some((latency_s(sample)? - ttft_s(sample)?) / others as f64)
}

fn gaps_s(sample: &Sample) -> impl Iterator<Item = f64> {
    let gaps = if sample.is_success() {
        &sample.gaps_us[..]
    } else {
        &[]
    };
    gaps.iter().map(|&us| f64::from(us) / 1e6)
}

fn error(sample: &Sample) -> String {
    let failure = sample.failure.as_ref();
    failure.map_or(String::new(), |failure| failure.to_string())
}

/// vLLM's rule: a limit may be met, and what a request does not have is 0.
fn is_within(slo: &Slo, sample: &Sample) -> bool {
    let figures = [
        (slo.ttft_ms, ttft_s(sample)),
        (slo.itl_ms, tpot_s(sample)),
        (slo.latency_ms, latency_s(sample)),
    ];
    let mut limited = figures.into_iter();
    limited.all(|(limit, value)| limit.is_none_or(|limit| value.unwrap_or(0.0) * 1e3 <= limit))
}

/// The most token events in one of the whole seconds since the first send; `None`: no stream tells when its
/// tokens came.
fn max_tokens_per_s(good: &[&Sample]) -> Option<f64> {
    let start_ns = good.iter().map(|sample| sample.t_send_ns).min()?;
    let has_gaps = |s: &&Sample| s.token_events < 2 || !s.gaps_us.is_empty();
    if !good.iter().all(has_gaps) {
        return None;
    }
    let mut seconds: Vec<u64> = Vec::new();
    for sample in good {
        let Some(mut at_ns) = sample.t_first_ns else {
            continue;
        };
        let gaps = sample.gaps_us.iter().map(|&us| u64::from(us) * 1000);
        for gap_ns in std::iter::once(0).chain(gaps) {
            at_ns += gap_ns;
            let second = (at_ns.saturating_sub(start_ns) / 1_000_000_000) as usize;
            if seconds.len() <= second {
                seconds.resize(second + 1, 0);
            }
            seconds[second] += 1;
        }
    }
    seconds.into_iter().max().map(|tokens| tokens as f64)
}

/// The most successes in flight at once, each from its send to its last token.
fn peak_of(good: &[&Sample]) -> u64 {
    let spans = good.iter().map(|sample| Sample {
        t_send_ns: sample.t_send_ns,
        t_end_ns: sample.t_send_ns + latency_ns(sample),
        ..Sample::default()
    });
    peak(&spans.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::sample::{FailKind, Failure};
    use crate::stats::client::ClientStats;
    use crate::stats::load::LoadFacts;

    const MS: u64 = 1_000_000;

    /// A result of `vllm bench serve --save-detailed --percentile-metrics ttft,tpot,itl,e2el`.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "that it parses is the test")]
    struct Mirror {
        date: String,
        endpoint_type: String,
        backend: String,
        label: Option<String>,
        model_id: String,
        tokenizer_id: Option<String>,
        num_prompts: u64,
        request_rate: NumberOrInf,
        burstiness: NumberOrInf,
        max_concurrency: Option<u64>,
        duration: f64,
        completed: u64,
        failed: u64,
        total_input_tokens: Option<u64>,
        total_output_tokens: Option<u64>,
        request_throughput: Option<f64>,
        request_goodput: Option<f64>,
        output_throughput: Option<f64>,
        total_token_throughput: Option<f64>,
        mean_ttft_ms: Option<f64>,
        median_ttft_ms: Option<f64>,
        std_ttft_ms: Option<f64>,
        p99_ttft_ms: Option<f64>,
        mean_tpot_ms: Option<f64>,
        median_tpot_ms: Option<f64>,
        std_tpot_ms: Option<f64>,
        p99_tpot_ms: Option<f64>,
        mean_itl_ms: Option<f64>,
        median_itl_ms: Option<f64>,
        std_itl_ms: Option<f64>,
        p99_itl_ms: Option<f64>,
        mean_e2el_ms: Option<f64>,
        median_e2el_ms: Option<f64>,
        std_e2el_ms: Option<f64>,
        p99_e2el_ms: Option<f64>,
        max_output_tokens_per_s: Option<f64>,
        max_concurrent_requests: u64,
        input_lens: Vec<Option<u64>>,
        output_lens: Vec<Option<u64>>,
        ttfts: Vec<Option<f64>>,
        itls: Vec<Vec<f64>>,
        latencies: Vec<f64>,
        start_times: Vec<f64>,
        queue_times: Vec<f64>,
        errors: Vec<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum NumberOrInf {
        Number(f64),
        Text(String),
    }

    fn success(send: u64, first: u64, gaps_ms: &[u32]) -> Sample {
        let last = first + gaps_ms.iter().map(|&ms| u64::from(ms)).sum::<u64>();
        Sample {
            t_send_ns: send * MS,
            t_first_ns: Some(first * MS),
            t_last_ns: Some(last * MS),
            t_end_ns: (last + 1) * MS,
            prompt_tokens: Some(100),
            completion_tokens: Some(gaps_ms.len() as u64 + 1),
            token_events: gaps_ms.len() as u64 + 1,
            gaps_us: gaps_ms.iter().map(|ms| ms * 1000).collect(),
            ..Sample::default()
        }
    }

    fn facts(concurrency: Option<u64>, rate_per_s: Option<f64>) -> LoadFacts {
        LoadFacts {
            concurrency,
            rate_per_s,
            planned: Some(3),
            peak: 2,
            cached_reported: false,
            response_cached_reported: false,
            slo: None,
            exhausted: rate_per_s.map(|_| 0),
            perfect_response_rate: None,
            perfect_prefix_rate: None,
            not_sent: 0,
            client: ClientStats::default().summary(0, false),
        }
    }

    fn about() -> Value {
        json!({"model": "m", "started_at": "2026-11-25T03:00:00Z",
            "slo": {"ttft_ms": 100.0, "itl_ms": null, "latency_ms": null},
            "options": {"api": "chat", "max_inflight": 256, "burstiness": 0.5}})
    }

    fn mirrored(about: &Value, facts: LoadFacts, samples: &[Sample]) -> Mirror {
        let summary = LoadSummary::of(samples, facts);
        let text = serde_json::to_string(&result(about, &summary, samples)).expect("JSON");
        serde_json::from_str(&text).expect(&text)
    }

    fn near(got: Option<f64>, wanted: f64) {
        assert!(
            got.is_some_and(|got| (got - wanted).abs() < 1e-6),
            "{got:?} for {wanted}"
        );
    }

    fn samples() -> [Sample; 5] {
        let failed = Sample {
            failure: Some(Failure::new(FailKind::Http, "overloaded")),
            status: Some(503),
            t_end_ns: 1700 * MS,
            completion_tokens: None,
            prompt_tokens: None,
            ..success(1600, 1650, &[])
        };
        let [cut, warmup] = [Phase::Cut, Phase::Warmup].map(|phase| Sample {
            phase,
            ..success(0, 1, &[5])
        });
        [
            warmup,
            // TTFT 100 ms, latency 160 ms, TPOT 60 / 3.
            success(1000, 1100, &[10, 20, 30]),
            // TTFT 200 ms, latency 250 ms, TPOT 50 / 1; due 40 ms before it was sent.
            Sample {
                t_due_ns: Some(1060 * MS),
                ..success(1100, 1300, &[50])
            },
            failed,
            cut,
        ]
    }

    #[test]
    fn a_result_has_the_keys_of_vllm_and_figures_worked_by_hand() {
        let got = mirrored(&about(), facts(None, Some(8.0)), &samples());
        assert_eq!(
            (got.date.as_str(), got.backend.as_str()),
            ("20261125-030000", "openai-chat")
        );
        assert_eq!((got.num_prompts, got.completed, got.failed), (3, 2, 1));
        assert_eq!(got.request_rate, NumberOrInf::Number(8.0));
        assert_eq!(got.burstiness, NumberOrInf::Number(0.5));
        assert_eq!(got.max_concurrency, Some(256));
        // From 1000 to 1700 ms; 4 + 2 tokens out, 2 x 100 in; TTFT at most 100 ms: one.
        near(Some(got.duration), 0.7);
        assert_eq!(
            (got.total_input_tokens, got.total_output_tokens),
            (Some(200), Some(6))
        );
        near(got.request_throughput, 2.0 / 0.7);
        near(got.request_goodput, 1.0 / 0.7);
        near(got.output_throughput, 6.0 / 0.7);
        near(got.total_token_throughput, 206.0 / 0.7);
        // 100 and 200: half of 100 is the population's deviation; p99 is at rank 0.99.
        near(got.mean_ttft_ms, 150.0);
        near(got.median_ttft_ms, 150.0);
        near(got.std_ttft_ms, 50.0);
        near(got.p99_ttft_ms, 199.0);
        near(got.mean_tpot_ms, 35.0);
        near(got.std_tpot_ms, 15.0);
        // 10 20 30 50: mean 27.5, rank 1.5; squares 306.25 + 56.25 + 6.25 + 506.25 over 4; rank 2.97.
        near(got.mean_itl_ms, 27.5);
        near(got.median_itl_ms, 25.0);
        near(got.std_itl_ms, 218.75_f64.sqrt());
        near(got.p99_itl_ms, 49.4);
        near(got.mean_e2el_ms, 205.0);
        near(got.p99_e2el_ms, 249.1);
        // Tokens at 100, 110, 130, 160, 300 and 350 ms; both in flight from 1100 to 1160 ms.
        assert_eq!(
            (got.max_output_tokens_per_s, got.max_concurrent_requests),
            (Some(6.0), 2)
        );
        assert_eq!(got.input_lens, [Some(100), Some(100), Some(0)]);
        assert_eq!(got.output_lens, [Some(4), Some(2), Some(0)]);
        assert_eq!(got.ttfts, [Some(0.1), Some(0.2), Some(0.0)]);
        assert_eq!(got.itls, [vec![0.01, 0.02, 0.03], vec![0.05], vec![]]);
        assert_eq!(got.latencies, [0.16, 0.25, 0.0]);
        assert_eq!(got.start_times, [1.0, 1.1, 1.6]);
        assert_eq!(got.queue_times, [0.0, 0.04, 0.0]);
        assert_eq!(got.errors, ["", "", "http: overloaded"]);
    }

    #[test]
    fn a_closed_loop_has_no_rate_and_what_no_reply_tells_is_null() {
        let plain = Sample {
            t_end_ns: 50 * MS,
            ..Sample::default()
        };
        let about = json!({"model": "m", "options": {"api": "generate"}});
        let got = mirrored(&about, facts(Some(4), None), &[plain]);
        assert_eq!(got.request_rate, NumberOrInf::Text("inf".to_string()));
        assert_eq!(got.burstiness, NumberOrInf::Number(1.0));
        assert_eq!(
            (got.max_concurrency, got.backend.as_str()),
            (Some(4), "generate")
        );
        assert_eq!(
            (got.mean_ttft_ms, got.p99_itl_ms, got.std_tpot_ms),
            (None, None, None)
        );
        assert_eq!((got.total_output_tokens, got.request_goodput), (None, None));
        assert_eq!(got.ttfts, [None]);
        near(got.mean_e2el_ms, 50.0);
        near(got.std_e2el_ms, 0.0);
    }

    #[test]
    fn tokens_are_counted_by_whole_seconds_and_not_at_all_without_gaps() {
        let (early, late) = (success(500, 1000, &[400, 200]), success(600, 1550, &[10]));
        // Tokens at 0.5 and 0.9 s, then 1.1, 1.05 and 1.06 s since the first send.
        assert_eq!(max_tokens_per_s(&[&early, &late]), Some(3.0));
        let without = Sample {
            gaps_us: Vec::new(),
            ..early
        };
        assert_eq!(max_tokens_per_s(&[&without, &late]), None);
        assert_eq!(max_tokens_per_s(&[]), None);
    }
}
