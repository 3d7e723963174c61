//! A point of `load` as a result file of `vllm bench serve`, including its detailed lists.
//!
//! Where vLLM's definitions differ from ours, the figures follow vLLM 0.32: TTFT and latency from the send, ITL over
//! all gaps between token events, goodput with values that may equal their limits, a duration from the start of the
//! schedule, concurrency by the whole seconds that requests touch, a deviation of the population (`numpy.std`), and p99
//! as the only percentile. Requests that were cut are left out. A figure that no request has is null, where vLLM writes
//! 0; a failure has zeros in the lists, as in vLLM. `generated_texts` is left out, since no text is kept, and so are
//! the keys of speculative decoding. The figures of a mock have a key `mock` with a text, at the place and in the form
//! of a pair of vLLM's `--metadata`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::document::Node;
use super::layout::common::MOCK;
use super::layout::keys::Entry;
use crate::stats::goodput::Slo;
use crate::stats::pass::Pass;
use crate::stats::record::{Count, Record};
use crate::stats::records::Detail;
use crate::stats::spread::exact_quantile;
use crate::units::{per_second, seconds};

/// The result of one point. Its gaps, which are most of it, are written directly from the details of the records.
#[derive(Serialize)]
pub struct VllmResult<'a> {
    #[serde(flatten)]
    before: Node,
    itls: Vec<Gaps<'a>>,
    #[serde(flatten)]
    after: Node,
}

/// Gaps in microseconds, which are written in seconds.
struct Gaps<'a>(&'a [u32]);

impl Serialize for Gaps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|&us| f64::from(us) / 1e6))
    }
}

/// A measured request with its detail.
#[derive(Clone, Copy)]
struct Request<'a> {
    record: &'a Record,
    detail: &'a Detail,
}

impl<'a> Request<'a> {
    fn ttft_s(&self) -> Option<f64> {
        self.record.ttft_from_sent_ns().map(seconds)
    }

    fn latency_s(&self) -> Option<f64> {
        Some(seconds(self.record.latency_from_sent_ns()))
    }

    /// TPOT in seconds: `(latency − TTFT) / (n_out − 1)`; 0, unlike our ITL, when all tokens came in one read.
    fn tpot_s(&self) -> Option<f64> {
        let others = self.record.completion_tokens.get()?.checked_sub(1);
        let others = others.filter(|&n| n > 0)?;
        Some((self.latency_s()? - self.ttft_s()?) / others as f64)
    }

    /// Returns the gaps between the token events of a success, in microseconds.
    fn gaps_us(&self) -> &'a [u32] {
        let gaps = &self.detail.gaps_us;
        if self.record.is_good() { gaps } else { &[] }
    }

    fn error(&self) -> String {
        let failure = self.detail.failure.as_ref();
        failure.map_or(String::new(), ToString::to_string)
    }

    /// Whether the request is within the limits by vLLM's rule: a value may equal its limit, and an absent value is 0.
    fn is_within(&self, slo: &Slo) -> bool {
        let is_met = |limit: Option<f64>, value: Option<f64>| {
            limit.is_none_or(|limit| value.unwrap_or(0.0) * 1e3 <= limit)
        };
        is_met(slo.ttft_ms, self.ttft_s())
            && is_met(slo.itl_ms, self.tpot_s())
            && is_met(slo.latency_ms, self.latency_s())
    }
}

/// Makes the result of a point whose records have details; `about` is the header of the run.
pub fn result<'a>(about: &Value, pass: &'a Pass) -> VllmResult<'a> {
    let details = pass.records.details.iter().flatten();
    let requests = pass.records.list.iter().zip(details);
    let requests = requests.map(|(record, detail)| Request { record, detail });
    let measured: Vec<Request<'a>> = requests.filter(|of| of.record.is_measured()).collect();
    let good = measured.iter().filter(|of| of.record.is_good());
    let good: Vec<Request<'a>> = good.copied().collect();
    let tokens = |of: fn(&Record) -> Count| list(&measured, |one| of(one.record).get());
    let lists = [
        ("input_lens", tokens(|of| of.prompt_tokens)),
        ("output_lens", tokens(|of| of.completion_tokens)),
        ("ttfts", list(&measured, Request::ttft_s)),
    ];
    let mock = (about["mock"] == true).then(|| ("mock", MOCK.into()));
    let before = setting(about, pass, measured.len()).into_iter().chain(mock);
    let duration_s = duration_s(&measured);
    let before = before.chain(totals(pass, &good, duration_s)).chain(lists);
    let times = |ns: fn(&Record) -> u64| each(&measured, |of| seconds(ns(of.record)));
    let after = [
        ("latencies", list(&measured, Request::latency_s)),
        ("start_times", times(|of| of.t_send_ns)),
        ("queue_times", times(|of| of.lateness_ns().unwrap_or(0))),
        ("errors", each(&measured, Request::error)),
        ("max_output_tokens_per_s", max_tokens_per_s(&good).into()),
        ("max_concurrent_requests", most_in_a_second(&good).into()),
    ];
    let mut after: Vec<Entry> = after.map(|(key, node)| (key.into(), node)).into();
    let of_each = |of: fn(&Request<'a>) -> Option<f64>| good.iter().filter_map(of).collect();
    let gaps_us = good.iter().flat_map(Request::gaps_us);
    after.extend(statistics("ttft", of_each(Request::ttft_s)));
    after.extend(statistics("tpot", of_each(Request::tpot_s)));
    after.extend(statistics(
        "itl",
        gaps_us.map(|&us| f64::from(us) / 1e6).collect(),
    ));
    after.extend(statistics("e2el", of_each(Request::latency_s)));
    VllmResult {
        before: Node::object(before),
        itls: measured.iter().map(|of| Gaps(of.gaps_us())).collect(),
        after: Node::Object(after),
    }
}

/// Returns the settings of the run under vLLM's names.
fn setting(about: &Value, pass: &Pass, measured: usize) -> [(&'static str, Node); 10] {
    let text = |key: &str| about[key].as_str().unwrap_or_default();
    let (facts, options) = (&pass.facts, &about["options"]);
    let backend = match options["api"].as_str() {
        Some("completions") | None => "openai",
        Some("chat") => "openai-chat",
        Some(other) => other,
    };
    let burstiness = Some(options["burstiness"].clone()).filter(|told| !told.is_null());
    let prompts = facts.planned.unwrap_or(measured as u64);
    let rate = facts.rate_per_s.map_or("inf".into(), Node::from);
    let concurrency = facts.concurrency.or(options["max_inflight"].as_u64());
    // The date is `20261125-030000` for `2026-11-25T03:00:00Z`.
    let date = text("started_at").replace(['-', ':', 'Z'], "");
    [
        ("date", date.replace('T', "-").into()),
        ("endpoint_type", backend.into()),
        ("backend", backend.into()),
        ("label", Node::default()),
        ("model_id", text("model").into()),
        ("tokenizer_id", Node::default()),
        ("num_prompts", prompts.into()),
        ("request_rate", rate),
        ("burstiness", burstiness.unwrap_or(1.0.into()).into()),
        ("max_concurrency", concurrency.into()),
    ]
}

/// Returns the seconds from the start of the schedule, when the first request of an open loop is due, to the end of the
/// last request.
fn duration_s(measured: &[Request<'_>]) -> f64 {
    let records = measured.iter().map(|of| of.record);
    let due_or_sent = |record: &Record| record.t_due_ns().unwrap_or(record.t_send_ns);
    let start_ns = records.clone().map(due_or_sent).min().unwrap_or(0);
    let end_ns = records.map(|record| record.t_end_ns()).max().unwrap_or(0);
    seconds(end_ns.saturating_sub(start_ns))
}

fn totals(pass: &Pass, good: &[Request<'_>], duration_s: f64) -> [(&'static str, Node); 9] {
    let figures = &pass.figures;
    let per_s = |n| per_second(n, duration_s);
    let goodput = pass.facts.slo.and_then(|slo| {
        let within = good.iter().filter(|of| of.is_within(&slo));
        per_s(within.count() as u64)
    });
    let [input, output] = [figures.prompt_tokens.total, figures.output_tokens.total];
    let both = input.zip(output).map(|(input, output)| input + output);
    [
        ("duration", duration_s.into()),
        ("completed", figures.successful.into()),
        ("failed", figures.failed.into()),
        ("total_input_tokens", input.into()),
        ("total_output_tokens", output.into()),
        ("request_throughput", per_s(figures.successful).into()),
        ("request_goodput", goodput.into()),
        ("output_throughput", output.and_then(per_s).into()),
        ("total_token_throughput", both.and_then(per_s).into()),
    ]
}

/// Returns a list with one value for each request.
fn each<'a, T: Into<Value>>(measured: &[Request<'a>], of: impl Fn(&Request<'a>) -> T) -> Node {
    Node::from(measured.iter().map(of).collect::<Vec<T>>())
}

/// Returns a list with one value for each request: 0 for a failure, as in vLLM, and null for a success without a value.
fn list<'a, T: Default + Into<Value>>(
    measured: &[Request<'a>],
    of: impl Fn(&Request<'a>) -> Option<T>,
) -> Node {
    each(measured, |request| match request.record.is_good() {
        true => of(request),
        false => Some(T::default()),
    })
}

/// Returns mean, median, population deviation and p99 of times in seconds, in milliseconds under vLLM's names.
fn statistics(of: &str, values_s: Vec<f64>) -> [Entry; 4] {
    let mut values: Vec<f64> = values_s.into_iter().map(|value| value * 1e3).collect();
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = (n > 0.0).then(|| values.iter().sum::<f64>() / n);
    let std = mean.map(|mean| {
        let squares = values.iter().map(|value| (value - mean).powi(2));
        (squares.sum::<f64>() / n).sqrt()
    });
    let [median, p99] = [0.5, 0.99].map(|q| exact_quantile(&values, q));
    let named = [
        ("mean", mean),
        ("median", median),
        ("std", std),
        ("p99", p99),
    ];
    named.map(|(name, value)| (format!("{name}_{of}_ms").into(), value.into()))
}

/// Returns the stamp of the first send; `None` if nothing succeeded.
fn first_send_ns(good: &[Request<'_>]) -> Option<u64> {
    good.iter().map(|of| of.record.t_send_ns).min()
}

/// Returns the most token events in one of the whole seconds since the first send; `None` if no stream tells when its
/// tokens came.
fn max_tokens_per_s(good: &[Request<'_>]) -> Option<f64> {
    let start_ns = first_send_ns(good)?;
    let has_gaps = |of: &Request<'_>| of.record.token_events < 2 || !of.gaps_us().is_empty();
    let streamed = good
        .iter()
        .filter_map(|of| Some((of, of.record.t_first_ns()?)));
    let mut by_second: BTreeMap<u64, u64> = BTreeMap::new();
    for (of, mut at_ns) in streamed {
        let gaps = of.gaps_us().iter().map(|&us| u64::from(us) * 1000);
        for gap_ns in std::iter::once(0).chain(gaps) {
            at_ns += gap_ns;
            let second = at_ns.saturating_sub(start_ns) / 1_000_000_000;
            *by_second.entry(second).or_default() += 1;
        }
    }
    let most = by_second.into_values().max().map(|tokens| tokens as f64);
    most.filter(|_| good.iter().all(has_gaps))
}

/// Returns the most successes that touch one of the whole seconds since the first send, each from its send to its last
/// token. Requests that follow one another within a second count together.
fn most_in_a_second(good: &[Request<'_>]) -> u64 {
    let start_ns = first_send_ns(good).unwrap_or(0);
    let second = |ns: u64| ns.saturating_sub(start_ns) / 1_000_000_000;
    // Each second in which the number of requests changes, with the change.
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for of in good {
        let sent_ns = of.record.t_send_ns;
        let done_ns = sent_ns + of.record.latency_from_sent_ns();
        *changes.entry(second(sent_ns)).or_default() += 1;
        *changes.entry(second(done_ns) + 1).or_default() -= 1;
    }
    let mut now = 0_i64;
    let counts = changes.into_values().map(|change| {
        now += change;
        now.unsigned_abs()
    });
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::report::golden::MS;
    use crate::sample::{FailKind, Failure, Phase, Sample};
    use crate::stats::facts::Facts;
    use crate::stats::records::Records;

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

    fn facts(concurrency: Option<u64>, rate_per_s: Option<f64>) -> Facts {
        Facts {
            concurrency,
            rate_per_s,
            planned: Some(3),
            concurrency_peak: 2,
            exhausted: rate_per_s.map(|_| 0),
            ..Facts::default()
        }
    }

    fn about() -> Value {
        json!({"model": "m", "started_at": "2026-11-25T03:00:00Z",
            "options": {"api": "chat", "max_inflight": 256, "burstiness": 0.5}})
    }

    fn mirrored(about: &Value, facts: Facts, samples: &[Sample]) -> Mirror {
        let records = Records::kept().with_details(true);
        let pass = Pass::new(facts, records.with(samples));
        let text = serde_json::to_string(&result(about, &pass)).expect("JSON");
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
            // TTFT is 100 ms, latency 160 ms and TPOT 60 / 3.
            success(1000, 1100, &[10, 20, 30]),
            // TTFT is 200 ms, latency 250 ms and TPOT 50 / 1; the request was due 40 ms before it was sent.
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
        let facts = Facts {
            slo: Some(Slo {
                ttft_ms: Some(100.0),
                ..Slo::default()
            }),
            ..facts(None, Some(8.0))
        };
        let got = mirrored(&about(), facts, &samples());
        assert_eq!(
            (got.date.as_str(), got.backend.as_str()),
            ("20261125-030000", "openai-chat")
        );
        assert_eq!((got.num_prompts, got.completed, got.failed), (3, 2, 1));
        assert_eq!(got.request_rate, NumberOrInf::Number(8.0));
        assert_eq!(got.burstiness, NumberOrInf::Number(0.5));
        assert_eq!(got.max_concurrency, Some(256));
        // The duration goes from 1000 to 1700 ms, with 4 + 2 tokens out and 2 x 100 in; one request has a TTFT of at
        // most 100 ms.
        near(Some(got.duration), 0.7);
        assert_eq!(
            (got.total_input_tokens, got.total_output_tokens),
            (Some(200), Some(6))
        );
        near(got.request_throughput, 2.0 / 0.7);
        near(got.request_goodput, 1.0 / 0.7);
        near(got.output_throughput, 6.0 / 0.7);
        near(got.total_token_throughput, 206.0 / 0.7);
        // TTFT is 100 and 200 ms: half of the difference is the population's deviation, and p99 is at rank 0.99.
        near(got.mean_ttft_ms, 150.0);
        near(got.median_ttft_ms, 150.0);
        near(got.std_ttft_ms, 50.0);
        near(got.p99_ttft_ms, 199.0);
        near(got.mean_tpot_ms, 35.0);
        near(got.std_tpot_ms, 15.0);
        // The gaps are 10 20 30 50 ms, with mean 27.5 and the median at rank 1.5; the deviation is from 306.25 + 56.25
        // + 6.25 + 506.25 over 4, and p99 is at rank 2.97.
        near(got.mean_itl_ms, 27.5);
        near(got.median_itl_ms, 25.0);
        near(got.std_itl_ms, 218.75_f64.sqrt());
        near(got.p99_itl_ms, 49.4);
        near(got.mean_e2el_ms, 205.0);
        near(got.p99_e2el_ms, 249.1);
        // Tokens come at 100, 110, 130, 160, 300 and 350 ms; both requests lie in the first second.
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
    fn the_result_of_a_mock_has_one_more_key_that_says_so() {
        let keys = |about: &Value| -> Vec<(String, Value)> {
            let pass = Pass::new(
                facts(Some(2), None),
                Records::kept().with_details(true).with(&samples()),
            );
            let result = serde_json::to_value(result(about, &pass)).expect("JSON");
            result
                .as_object()
                .expect("an object")
                .clone()
                .into_iter()
                .collect()
        };
        let mut of_mock = about();
        of_mock["mock"] = true.into();
        let mut marked = keys(&of_mock);
        marked.retain(|(key, value)| {
            let is_mark = key == "mock";
            assert!(!is_mark || *value == "Mock server: not a measurement of an engine");
            !is_mark
        });
        let plain = keys(&about());
        assert_eq!(keys(&of_mock).len(), plain.len() + 1);
        assert_eq!(marked, plain);
    }

    #[test]
    fn a_closed_loop_has_no_rate_and_unreported_figures_are_null() {
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
    fn concurrency_counts_requests_that_touch_a_whole_second() {
        let most = |spans_ms: &[(u64, u64)]| {
            let sent = spans_ms
                .iter()
                .map(|&(send, last)| success(send, last, &[]));
            let samples: Vec<Sample> = sent.collect();
            mirrored(&about(), facts(Some(4), None), &samples).max_concurrent_requests
        };
        // Seconds count from the first send, at 500 ms. Three requests follow one another within a second, and count
        // together.
        assert_eq!(most(&[(500, 700), (700, 900), (900, 1400)]), 3);
        // Second 0 ends at 1500 ms: it has the first two requests, and second 1 has the last two.
        assert_eq!(most(&[(500, 800), (1400, 1600), (1500, 1700)]), 2);
        // The first request ends as second 1 begins, and counts in it.
        assert_eq!(most(&[(500, 1500), (1600, 1700), (1800, 2000)]), 3);
        assert_eq!(most(&[(500, 600), (2600, 2700)]), 1);
        assert_eq!(most(&[(500, 4600), (2600, 2700), (4500, 4600)]), 2);
        assert_eq!(most(&[]), 0);
    }

    #[test]
    fn the_duration_of_an_open_loop_begins_when_its_first_request_is_due() {
        let late = |due: u64, send: u64, first: u64| Sample {
            t_due_ns: Some(due * MS),
            ..success(send, first, &[])
        };
        // The first request is due at 1000 ms and the last one ends at 1701 ms; the sends lie from 1200 to 1500 ms.
        let samples = [late(1100, 1200, 1300), late(1000, 1500, 1700)];
        let got = mirrored(&about(), facts(None, Some(8.0)), &samples);
        near(Some(got.duration), 0.701);
        near(got.request_throughput, 2.0 / 0.701);
        near(got.output_throughput, 2.0 / 0.701);
        near(got.total_token_throughput, 202.0 / 0.701);
    }

    #[test]
    fn tokens_are_counted_by_whole_seconds_and_not_at_all_without_gaps() {
        let (early, late) = (success(500, 1000, &[400, 200]), success(600, 1550, &[10]));
        // Tokens come at 0.5 and 0.9 s, then at 1.1, 1.05 and 1.06 s after the first send.
        let most = |samples: &[Sample]| {
            let got = mirrored(&about(), facts(Some(1), None), samples);
            got.max_output_tokens_per_s
        };
        assert_eq!(most(&[early.clone(), late.clone()]), Some(3.0));
        let without = Sample {
            gaps_us: Vec::new(),
            ..early
        };
        assert_eq!(most(&[without, late]), None);
        assert_eq!(most(&[]), None);
    }
}
