//! Tests of the formats of `replay` against golden files, from fixed samples.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::report::golden::{MS, check, client, five_tokens};
use crate::report::text::{self, Screen};
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, TokenSource};
use crate::stats::client::ClientSummary;
use crate::stats::facts::{Facts, Metric};
use crate::stats::goodput::Slo;
use crate::stats::records::Records;
use crate::stats::spread::Spread;
use crate::stats::time::Time;

/// A metric with a label that selects one series; its name is wider than the guide's column.
const LONG: &str = "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"}";

/// Returns turn `k % 2` of session `k / 2`, sent at 40 + `k` · 100 ms.
fn success(round: u64, k: u64, ttft: u64, cached: u64) -> Sample {
    Sample {
        labels: Labels {
            session: Some(k / 2),
            turn: Some(k % 2),
            round: Some(round),
            concurrency: Some(2),
            ..Labels::default()
        },
        ..five_tokens(k, 40 + k * 100, ttft, cached)
    }
}

/// Returns four successes, of which one has a single token, one is not streamed and one has no `usage`; two failures,
/// one cut.
fn first_round() -> Vec<Sample> {
    let failed = |k, kind, reason: &str, status| Sample {
        failure: Some(Failure::new(kind, reason)),
        status,
        completion_tokens: None,
        ..success(1, k, 10, 0)
    };
    vec![
        Sample {
            connect_ns: Some(30 * MS),
            ..success(1, 0, 500, 0)
        },
        Sample {
            completion_tokens: Some(1),
            ..success(1, 1, 700, 500)
        },
        Sample {
            t_first_ns: None,
            t_last_ns: None,
            ..success(1, 2, 333, 0)
        },
        Sample {
            token_source: Some(TokenSource::Events),
            cached_tokens: None,
            resent: true,
            ..success(1, 3, 100, 0)
        },
        failed(4, FailKind::Http, "{\"error\":\"overloaded\"}", Some(503)),
        failed(6, FailKind::TimeoutIdle, "no byte", Some(200)),
        Sample {
            phase: Phase::Cut,
            ..success(1, 8, 10, 0)
        },
    ]
}

fn second_round() -> Vec<Sample> {
    let ttfts = [60, 70, 55, 41];
    let requests = ttfts.into_iter().enumerate();
    requests
        .map(|(k, ttft)| success(2, k as u64, ttft, 992))
        .collect()
}

fn facts(round: u64, turns_not_sent: u64, metrics: Vec<Metric>) -> Facts {
    Facts {
        concurrency: Some(2),
        round: Some(round),
        turns_not_sent,
        concurrency_peak: if round == 1 { 5 } else { 2 },
        slo: Some(Slo {
            ttft_ms: Some(600.0),
            latency_ms: Some(1000.0),
            ..Slo::default()
        }),
        metrics,
        client: client(&[(120, 0)]),
        ..Facts::default()
    }
}

fn metric(name: &str, values: &[f64], over_pass: Option<f64>, source: &str) -> Metric {
    Metric {
        name: name.to_string(),
        spread: Spread::of(values.to_vec()),
        over_pass,
        source: source.to_string(),
        shared: over_pass.is_some(),
    }
}

fn pass(facts: Facts, samples: &[Sample]) -> Pass {
    Pass::new(facts, Records::kept().with_details(true).with(samples))
}

fn rounds() -> [Pass; 2] {
    let hit_rate = "Δ vllm:prefix_cache_hits / Δ vllm:prefix_cache_queries";
    let cold = vec![
        metric(
            "lmcache_hit_rate",
            &[0.0, 0.25, 0.125, 0.0],
            Some(0.125),
            hit_rate,
        ),
        metric("gone", &[], None, "not found"),
    ];
    let warm = vec![
        metric("lmcache_hit_rate", &[0.992; 4], Some(0.992), hit_rate),
        metric(
            LONG,
            &[123_456_789.0, 992.0, 992.0, 992.0],
            Some(3968.0),
            "counter",
        ),
    ];
    [
        pass(facts(1, 2, cold), &first_round()),
        pass(facts(2, 0, warm), &second_round()),
    ]
}

fn without_anything() -> Pass {
    let facts = Facts {
        client: ClientSummary::default(),
        concurrency_peak: 0,
        ..facts(1, 0, Vec::new())
    };
    pass(facts, &[])
}

fn shown(section: &Section, width: Option<usize>) -> String {
    let is_utf8 = true;
    text::section(section, Screen { width, is_utf8 })
}

fn table(pass: &Pass, width: Option<usize>) -> String {
    shown(&figures(pass), width)
}

fn json(pass: &Pass) -> String {
    let records = &pass.records;
    let details = records.details.iter().flatten();
    let lines: Vec<RequestLine<'_>> = (0..)
        .zip(records.list.iter().zip(details))
        .filter_map(|(index, (record, detail))| {
            RequestLine::of(record, detail, index, "Why \"so\"?", "s1")
        })
        .collect();
    let round = pass.facts.round;
    let configuration = json!({"endpoint": "http://h", "concurrency": 2, "round": round});
    let file = RoundFile::new(&configuration, pass, &lines);
    serde_json::to_string_pretty(&file).expect("JSON")
}

fn summary_csv() -> String {
    crate::report::csv::render(&csv(&rounds()))
}

#[test]
fn the_first_rounds_figures_are_those_worked_by_hand() {
    let round = &rounds()[0].figures;
    let near = |got: Option<f64>, wanted: f64| {
        assert!(
            got.is_some_and(|got| (got - wanted).abs() < 0.005),
            "{got:?} for {wanted}"
        );
    };
    // TTFT is 100 500 700, on ranks 0 to 2: p90 is at 1.8, p99 at 1.98. The squares of the deviations are 111111.1 +
    // 4444.4 + 71111.1 = 186666.7, over 2, root 305.505.
    let ttft = round.time(Time::Ttft).expect("three");
    near(Some(ttft.avg), 1300.0 / 3.0);
    near(Some(ttft.p90), 660.0);
    near(Some(ttft.p99), 696.0);
    near(ttft.stddev, 305.505);
    // Latency is 180 414 580 780, on ranks 0 to 3: p50 is at 1.5, p90 at 2.7, p99 at 2.97. The squares of the
    // deviations −308.5 −74.5 91.5 291.5 add up to 194067, over 3, root 254.340.
    let latency = round.time(Time::Latency).expect("four");
    near(Some(latency.avg), 488.5);
    near(Some(latency.p50), 497.0);
    near(Some(latency.p90), 720.0);
    near(Some(latency.p99), 774.0);
    near(latency.stddev, 254.340);
    // The duration goes from 40 to 921 ms, when request 1 ends: 4 requests with 5 + 1 + 5 + 5 tokens.
    near(Some(round.duration_s), 0.881);
    near(round.token_throughput, 16.0 / 0.881);
    near(round.request_throughput, 4.0 / 0.881);
    // Time in flight is 581 + 781 + 414 + 181 + 91 + 91 ms and, for the request that was cut, 840 to 921.
    near(round.concurrency_mean, 2220.0 / 881.0);
    // The server cached 500 of 4 x 1000 tokens; first turns are requests 0 and 2. Opening connections took 30 of 1300
    // ms.
    assert_eq!(
        (round.all.prefix_cache_hit_rate, round.first_turn_hit_rate),
        (Some(0.125), Some(0.0))
    );
    near(round.connect_share, 30.0 / 1300.0);
    // Requests 0 and 3 are below 600 ms; 1 is not, and 2 has no TTFT. Two more failed and two were not sent.
    let goodput = round.goodput.as_ref().expect("an SLO");
    assert_eq!((goodput.requests, goodput.of_requests), (2, 8));
    assert_eq!((goodput.tokens, goodput.of_tokens), (Some(10), Some(16)));
    near(goodput.tokens_per_s, 10.0 / 0.881);
}

#[test]
fn golden_round_table() {
    let rounds = rounds();
    let first = table(&rounds[0], None);
    let second = shown(&round(&rounds, 1), None);
    let closing = shown(&closing(&rounds), None);
    let empty = table(&without_anything(), None);
    let text = format!("{first}{second}{closing}--- nothing measured ---\n{empty}");
    check("replay_table.txt", &text);
}

#[test]
fn golden_round_table_of_80_columns() {
    let text: String = rounds()
        .iter()
        .map(|round| table(round, Some(80)))
        .collect();
    check("replay_table_80.txt", &text);
    for line in text.lines().take_while(|line| !line.is_empty()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn golden_round_csv() {
    check("replay_metrics_summary.csv", &summary_csv());
}

#[test]
fn golden_round_json() {
    let text = json(&rounds()[0]);
    let text = text.replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1);
    check("replay_round.json", &format!("{text}\n"));
}

#[test]
fn a_terminal_as_wide_as_the_box_gets_the_box() {
    let round = &rounds()[0];
    // The box has 28 + 7 x 12 for cells, 3 beside each of its 8 columns, and the last bar.
    assert_eq!(table(round, Some(137)), table(round, None));
    assert!(!table(round, Some(136)).contains('│'));
}

#[test]
fn a_round_says_that_it_was_shortened_or_cut_short() {
    let facts = Facts {
        shortened: Some((7, 3)),
        is_complete: Some(false),
        ..facts(1, 0, Vec::new())
    };
    let text = shown(&round(&[pass(facts, &first_round())], 0), None);
    let wanted = "\nContext limit: 7 requests were sent without their earliest pairs of question and answer, at most 3 pairs each\n\
        The round was cut short\n\n";
    assert!(text.ends_with(wanted), "{text}");
}

/// Returns the rows of the table's box: the cells under the name of each metric.
fn box_rows(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| line.strip_prefix('│')?.strip_suffix('│'))
        .map(|line| {
            let mut cells = line.split('│').map(|cell| cell.trim().to_string());
            (cells.next().expect("a name"), cells.collect())
        })
        .collect()
}

/// Returns the column of a round in a section of the CSV, with absent figures as the table shows them.
fn csv_column(text: &str, section: &str, column: usize) -> Vec<String> {
    let quoted = format!("\"{}\"", section.replace('"', "\"\""));
    let lines = text
        .lines()
        .skip_while(|line| *line != section && *line != quoted);
    let cell = |line: &str| line.split(',').nth(column).expect("a column").to_string();
    lines
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| match cell(line) {
            absent if absent.is_empty() => "n/a".to_string(),
            figure => figure,
        })
        .collect()
}

fn printed(value: &Value, decimals: usize) -> String {
    let Some(value) = value.as_f64() else {
        return "n/a".to_string();
    };
    format!("{value:.decimals$}")
}

#[test]
fn csv_and_json_have_the_figures_of_the_table() {
    let csv = summary_csv();
    for (k, round) in rounds().iter().enumerate() {
        let text = table(round, None);
        let file: Value = serde_json::from_str(&json(round)).expect("JSON");
        let summary = &file["summary"];
        let names = ["avg", "p50", "p90", "p99", "min", "max", "stddev"];
        let rows = box_rows(&text);
        assert_eq!(
            rows.len(),
            4 + round.facts.metrics.len(),
            "the table has a head, three times and the metrics"
        );
        for (name, cells) in rows.iter().filter(|(name, _)| *name != "Metric") {
            // The table marks the name of a metric that is shared.
            let name = name.trim_end_matches('*');
            assert_eq!(&csv_column(&csv, name, k + 1), cells, "{name}");
            let key = name.strip_suffix(" (ms)").map(str::to_lowercase);
            let from_json = names.map(|statistic| match &key {
                Some(key) => printed(&summary[format!("{statistic}_{key}")], 2),
                None => printed(&summary["prometheus_metrics"][name]["spread"][statistic], 4),
            });
            assert_eq!(&from_json.to_vec(), cells, "{name}");
        }
        let rates = csv_column(&csv, "Throughput", k + 1);
        let keys = ["token_throughput", "request_throughput"];
        assert_eq!(rates, keys.map(|key| printed(&summary[key], 2)));
        let lines = [
            format!("  Token Throughput: {} tokens/sec", rates[0]),
            format!("  Request Throughput: {} requests/sec", rates[1]),
        ];
        let met = csv_column(&csv, "Goodput (SLO)", k + 1);
        let keys = [
            "goodput_requests",
            "goodput_requests_percent",
            "goodput_tokens",
            "goodput_tokens_percent",
        ];
        let decimals = [0, 2, 0, 2];
        let from_json: Vec<String> = keys
            .iter()
            .zip(decimals)
            .map(|(key, d)| printed(&summary[key], d))
            .collect();
        assert_eq!(met, from_json);
        let of = round.figures.goodput.as_ref().expect("an SLO");
        let tokens = of.of_tokens.expect("tokens");
        let goodput = [
            format!(
                "  Requests Meeting SLO: {} / {} ({}%)",
                met[0], of.of_requests, met[1]
            ),
            format!("  Tokens Meeting SLO: {} / {tokens} ({}%)", met[2], met[3]),
        ];
        for wanted in lines.iter().chain(&goodput) {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
        let counts = csv_column(&csv, "Requests", k + 1);
        let keys = ["total_requests", "successful_requests", "failed_requests"];
        assert_eq!(counts, keys.map(|key| printed(&summary[key], 0)));
    }
}

#[test]
fn failed_requests_say_why_and_cut_ones_are_left_out() {
    let file: Value = serde_json::from_str(&json(&rounds()[0])).expect("JSON");
    let requests = file["requests"].as_array().expect("an array");
    assert_eq!(requests.len(), 6);
    let failed = &requests[4];
    assert_eq!(
        failed["error"],
        "http: HTTP 503: {\"error\":\"overloaded\"}"
    );
    assert_eq!(
        (&failed["success"], &failed["ttft"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(requests[0]["ttft"], 500.0);
    assert_eq!(requests[0].get("error"), None);
    // The request was sent at 240 ms, and its body ended 333 + 81 ms later.
    assert_eq!(requests[2]["latency"], 414.0);
}

#[test]
fn a_later_round_is_so_many_times_faster_or_slower_or_neither() {
    let said = |later_ns: f64, interval| {
        let mut section = Section::default();
        let of = Comparison {
            round: 2,
            first_ns: 132_700_000.0,
            later_ns,
            ratio: later_ns / 132_700_000.0,
            interval,
            n: 24,
            units: 3,
        };
        compared(&mut section, &of);
        shown(&section, None)
    };
    // 132.7 / 8.1 is 16.4; 1 / 0.0667 is 15.0 and 1 / 0.05 is 20. 265.4 is twice 132.7.
    for (later_ns, interval, wanted) in [
        (
            8_100_000.0,
            Some((0.05, 0.0667)),
            "16x faster, 132.7 ms -> 8.10 ms (95 % interval 15x to 20x, 24 pairs)",
        ),
        (
            8_100_000.0,
            Some((0.0, 0.1)),
            "16x faster, 132.7 ms -> 8.10 ms (95 % interval from 10x on, 24 pairs)",
        ),
        (
            265_400_000.0,
            Some((1.5, 2.5)),
            "2.0x slower, 132.7 ms -> 265.4 ms (95 % interval 1.5x to 2.5x, 24 pairs)",
        ),
        (
            106_160_000.0,
            Some((0.5, 1.25)),
            "neither faster nor slower, 132.7 ms -> 106.2 ms (95 % interval 0.8x to 2.0x, 24 pairs)",
        ),
        (
            132_800_000.0,
            None,
            "neither faster nor slower, 132.7 ms -> 132.8 ms (24 pairs; no interval: 3 of 20 independent units)",
        ),
    ] {
        let wanted = format!("Round 2 against round 1: mean TTFT {wanted}");
        let text = said(later_ns, interval).replace("\n  ", " ");
        assert_eq!(text.trim_end(), wanted);
    }
}

#[test]
fn the_key_figures_compare_the_last_round_with_the_first() {
    // TTFT is 100 500 700 ms in round 1 and 41 55 60 70 ms in round 2, where p99 is at rank 2.97: 69.7. ITL is 20 ms, and
    // 992 of 1000 prompt tokens are cached. Round 2 goes from 40 ms to the end of request 3: 340 + 41 + 81 ms. All of
    // its 20 tokens came in 0.422 s.
    let passes = rounds();
    let comparisons: Vec<_> = (0..2).map(|at| comparison(&passes, at)).collect();
    let pairs = leading::key_figures(&passes, &comparisons);
    let texts: Vec<String> = pairs.iter().map(Pair::to_string).collect();
    // Sessions and turns (0, 0), (0, 1) and (1, 1) have a TTFT in both rounds: 1300 / (60 + 70 + 41) = 7.6.
    let wanted = [
        "Requests: 10 (2 failed)",
        "TTFT p50, round 1: 500.0 ms",
        "TTFT p50, round 2: 57.5 ms",
        "Speed-up of mean TTFT, round 2 against round 1: 7.6x",
        "Prefix cache hit rate, round 2: 99.2 %",
        "Goodput, requests, round 2: 100.0 %",
        "TTFT p99, round 2: 69.7 ms",
        "Output throughput, round 2: 47.4 tokens/s",
    ];
    assert_eq!(texts, wanted);
}
