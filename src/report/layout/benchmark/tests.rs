//! Tests of the formats of `benchmark` against golden files, from fixed samples.

use serde_json::json;

use super::*;
use crate::report::golden::{MS, check, client, five_tokens};
use crate::report::text::{self, Screen};
use crate::sample::{FailKind, Failure, Labels, Phase, Sample};
use crate::stats::facts::Facts;
use crate::stats::records::Records;

/// Returns request `k` over 2 contexts, sent at `k` · 100 ms.
fn success(k: u64, ttft_ms: u64, cached: u64) -> Sample {
    Sample {
        labels: Labels {
            context: Some(k % 2),
            rotation: Some(k / 2),
            wanted_output_tokens: Some(5),
            ..Labels::default()
        },
        gaps_us: vec![20_000; 4],
        ..five_tokens(k, k * 100, ttft_ms, cached)
    }
}

/// Returns a run of two cold requests, two warm ones, two failures, one cut and one resent, by a client that uses up
/// its core.
fn fixed_run(ended: &str) -> (Facts, Records) {
    let failed = |k, kind, reason: &str, status| Sample {
        failure: Some(Failure::new(kind, reason)),
        status,
        ..Sample {
            token_events: 0,
            ..success(k, 10, 0)
        }
    };
    let records = Records::live(true, 0).with(&[
        success(0, 500, 0),
        success(1, 700, 30),
        success(2, 100, 992),
        Sample {
            resent: true,
            ..success(3, 120, 992)
        },
        failed(4, FailKind::Http, "{\"error\":\"overloaded\"}", Some(503)),
        failed(
            5,
            FailKind::TimeoutIdle,
            "no byte for --idle-timeout",
            Some(200),
        ),
        Sample {
            phase: Phase::Cut,
            ..success(6, 10, 0)
        },
    ]);
    let facts = Facts {
        window_ns: Some((0, 2000 * MS)),
        concurrency_peak: 4,
        ended: Some(ended.to_string()),
        client: client(&[(120, 0), (950, 3)]),
        ..Facts::default()
    };
    (facts, records)
}

fn fixed_pass(ended: &str) -> Pass {
    let (facts, records) = fixed_run(ended);
    Pass::new(facts, records)
}

#[test]
fn golden_block() {
    let (facts, mut records) = fixed_run("");
    // No request ended in the second interval.
    let blocks = [1, 2].map(|_| {
        let (figures, interval) = (records.live_figures(&facts), records.end_interval());
        let block = block(&figures, &interval, 5.0, 3, &Now::default());
        text::section(&block, Screen::FILE)
    });
    check("benchmark_block.txt", &blocks.concat());
}

#[test]
fn a_block_ends_with_what_the_server_tells() {
    let lines = |server: &Now| -> Vec<String> {
        let block = block(&Figures::default(), &Means::default(), 5.0, 3, server);
        let text = text::section(&block, Screen::FILE);
        let lines = text
            .lines()
            .skip_while(|line| !line.starts_with("In Flight"));
        lines.skip(1).map(str::to_string).collect()
    };
    let all = Now {
        hit_rate: Some(0.25),
        kv_use: Some(0.125),
        running: Some(3.0),
        waiting: Some(0.0),
    };
    assert_eq!(
        lines(&all),
        [
            "Prefix Cache Hit Rate by Counters: 25.0 %",
            "KV Cache Use: 12.5 %",
            "Running / Waiting Requests: 3 / 0",
            ""
        ]
    );
    let some = Now {
        waiting: Some(2.0),
        ..Now::default()
    };
    assert_eq!(lines(&some), ["Running / Waiting Requests: n/a / 2", ""]);
    assert_eq!(lines(&Now::default()), [""]);
}

#[test]
fn a_first_rotation_that_hit_only_the_chat_template_was_cold() {
    let said = |cached| {
        let samples = [success(0, 500, cached), success(1, 700, cached)];
        let pass = Pass::new(
            Facts {
                common_tokens: Some(40),
                ..Facts::default()
            },
            Records::kept().with(&samples),
        );
        let text = text::section(&figures(&pass), Screen::FILE);
        let line = text.lines().find(|line| line.contains("was not cold"));
        line.map(str::to_string)
    };
    // The chat template has 40 of 1000 tokens, and 20 more are the limit of 2 %.
    assert_eq!(said(40), None);
    assert_eq!(said(60), None);
    assert_eq!(
        said(61).as_deref(),
        Some(
            "The first rotation was not cold: 6.1 % of its prompt tokens were cached, more than a chat template"
        )
    );
}

#[test]
fn golden_final_report() {
    let shown = |pass| {
        let report = Report {
            about: json!({"command": "benchmark"}),
            passes: vec![pass],
            findings: Value::Null,
            notes: Vec::new(),
        };
        let document = document(&report);
        document
            .sections
            .iter()
            .map(|section| text::section(section, Screen::FILE))
            .collect::<String>()
    };
    let empty = Facts {
        window_ns: Some((0, 0)),
        ended: Some("stopped by a signal".to_string()),
        ..Facts::default()
    };
    let both = [
        shown(fixed_pass("stopped by a signal")),
        shown(Pass::new(empty, Records::live(true, 0))),
    ];
    check(
        "benchmark_final.txt",
        &both.join("\n--- nothing measured ---\n"),
    );
}

#[test]
fn golden_json() {
    let about = json!({"command": "benchmark", "model": "m"});
    let result = result(&about, &fixed_pass("the duration is over"), 3);
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    let text = text.replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1);
    check("benchmark_result.json", &format!("{text}\n"));
}

#[test]
fn an_unreported_figure_is_null_in_the_file_and_not_0() {
    let pass = Pass::new(Facts::default(), Records::live(true, 0));
    let file = serde_json::to_value(result(&json!({}), &pass, 0)).expect("JSON");
    let summary = &file["summary"];
    for key in [
        "prompt_tokens_mean",
        "prompt_tokens_total",
        "output_tokens_mean",
        "output_tokens_wanted_mean",
        "output_tokens_total",
        "output_tokens_per_s",
    ] {
        assert_eq!(summary.get(key), Some(&Value::Null), "{key}");
    }
    for key in [
        "cores_allowed",
        "cpu_share_max",
        "periods",
        "steal_share_max",
        "open_files_max",
    ] {
        assert_eq!(summary["client"].get(key), Some(&Value::Null), "{key}");
    }
}

#[test]
fn the_key_figures_are_those_worked_by_hand() {
    // TTFT is 500 and 700 ms in the first rotation and 100 ms in the second, whose other request was sent again.
    // Percentiles are from histograms: nearest rank, at most 0.1 % too high, and the maximum is exact. 992 of 1000
    // prompt tokens are cached. The four successes and the request that was cut have 25 tokens in 2 s.
    let texts: Vec<String> = leading(&fixed_pass(""))
        .iter()
        .map(Pair::to_string)
        .collect();
    let wanted = [
        "Requests: 6 (2 failed)",
        "TTFT p50, first rotation (cold): 500.2 ms",
        "TTFT p50, later rotations (warm): 100.0 ms",
        "Prefix cache hit rate, later rotations: 99.2 %",
        "TTFT p99: 700.0 ms",
        "ITL, mean: 20.0 ms",
        "Output throughput: 12.5 tokens/s",
        "Request throughput: 2.00 requests/s",
    ];
    assert_eq!(texts, wanted);
}
