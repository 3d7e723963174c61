use serde_json::{Value, json};

use super::*;
use crate::report::golden::{MS, five_tokens};
use crate::report::json::render;
use crate::report::text::{self, Screen};
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, TokenSource};
use crate::stats::facts::Facts;
use crate::stats::goodput::Slo;
use crate::stats::records::Records;

/// Returns a reply of 11 tokens to 100 prompt tokens: the first at `first` ms, then one every 20 ms.
fn streamed(send: u64, first: u64) -> Sample {
    Sample {
        t_send_ns: send * MS,
        t_first_ns: Some(first * MS),
        t_last_ns: Some((first + 200) * MS),
        t_end_ns: (first + 201) * MS,
        prompt_tokens: Some(100),
        completion_tokens: Some(11),
        token_source: Some(TokenSource::Usage),
        token_events: 11,
        gaps_us: vec![20_000; 10],
        ..Sample::default()
    }
}

fn plain(send: u64, end: u64) -> Sample {
    Sample {
        t_send_ns: send * MS,
        t_end_ns: end * MS,
        ..Sample::default()
    }
}

fn pass(facts: Facts, samples: &[Sample]) -> Pass {
    Pass::new(facts, Records::kept().with(samples))
}

fn report(passes: Vec<Pass>) -> Report {
    Report {
        about: json!({"command": "load", "model": "m"}),
        passes,
        findings: Value::Null,
        notes: Vec::new(),
    }
}

fn file(passes: Vec<Pass>) -> Value {
    let text = render(&document(&report(passes)));
    serde_json::from_str(&text).expect("JSON")
}

/// Returns an open loop at 10/s whose prompts repeat: a warm-up, four successes, a failure, and one that was cut.
fn open() -> Pass {
    let of = |due: u64, repeat: bool, sample: Sample| Sample {
        t_due_ns: Some(due * MS),
        labels: Labels {
            repeat: Some(repeat),
            ..Labels::default()
        },
        ..sample
    };
    let cached = |tokens, response, sample: Sample| Sample {
        cached_tokens: tokens,
        response_cached: response,
        ..sample
    };
    let warmup = Sample {
        phase: Phase::Warmup,
        ..streamed(500, 600)
    };
    let counted = Sample {
        completion_tokens: Some(11),
        token_source: Some(TokenSource::Tokenize),
        ..plain(1200, 1220)
    };
    let failed = Sample {
        failure: Some(Failure::new(FailKind::Http, "overloaded")),
        status: Some(503),
        ..plain(1350, 1360)
    };
    let cut = Sample {
        phase: Phase::Cut,
        ..plain(1500, 1700)
    };
    let samples = [
        warmup,
        cached(Some(0), Some(false), of(1000, false, streamed(1000, 1100))),
        cached(None, Some(true), of(1200, true, counted)),
        of(1300, false, failed),
        cached(Some(40), Some(false), of(1100, false, streamed(1102, 1252))),
        cached(Some(80), None, of(1400, true, streamed(1400, 1450))),
        of(1500, false, cut),
    ];
    let facts = Facts {
        rate_per_s: Some(10.0),
        planned: Some(8),
        concurrency_peak: 3,
        exhausted: Some(1),
        perfect_response_rate: Some(0.4),
        perfect_prefix_rate: Some(0.45),
        not_sent: 2,
        slo: Some(Slo {
            latency_ms: Some(320.0),
            ..Slo::default()
        }),
        ..Facts::default()
    };
    pass(facts, &samples)
}

fn closed(concurrency: u64, samples: &[Sample]) -> Pass {
    let facts = Facts {
        concurrency: Some(concurrency),
        ..Facts::default()
    };
    pass(facts, samples)
}

#[test]
fn figures_of_an_open_loop_are_those_worked_by_hand() {
    let file = file(vec![open()]);
    let near = [
        // TTFT from the due time is 100, 152 and 50 ms, on ranks 0 to 2: p95 is at 1.9, p99 at 1.98.
        ("ttft_avg_ms", 302.0 / 3.0),
        ("ttft_p50_ms", 100.0),
        ("ttft_p95_ms", 146.8),
        ("ttft_p99_ms", 150.96),
        // ITL is 200 ms over ten gaps in all three streams.
        ("tpot_ms", 20.0),
        ("itl_p99_ms", 20.0),
        // Latency is 300, 352, 250 and, for the plain reply, 20 ms, on ranks 0 to 3: p50 is at 1.5, p95 at 2.85, p99 at
        // 2.97.
        ("avg_latency_ms", 230.5),
        ("latency_p50_ms", 275.0),
        ("latency_p95_ms", 344.2),
        ("latency_p99_ms", 350.44),
        // The second request was sent 2 ms late.
        ("ttft_from_sent_avg_ms", 100.0),
        ("ttft_from_sent_p50_ms", 100.0),
        ("ttft_from_sent_p95_ms", 145.0),
        ("ttft_from_sent_p99_ms", 149.0),
        ("latency_from_sent_avg_ms", 230.0),
        ("latency_from_sent_p99_ms", 348.5),
        // The duration goes from the first send at 1000 to the end at 1651 ms; replies have 11 tokens each, and those
        // of one were counted afterwards.
        ("duration_s", 0.651),
        ("throughput_tokens_per_s", 44.0 / 0.651),
        ("request_throughput_rps", 4.0 / 0.651),
        // One of four replies was cached as a whole; 0 + 40 + 80 of 3 x 100 prompt tokens were cached.
        ("response_cache_hit_rate", 0.25),
        ("prefix_cache_hit_rate", 0.4),
        ("perfect_response_cache_hit_rate", 0.4),
        ("perfect_prefix_cache_hit_rate", 0.45),
        ("error_rate", 0.2),
        // Lateness is 0, 2, 0, 50 and 0 ms: rank 0.99 of 4 is 3.96.
        ("lateness_avg_ms", 10.4),
        ("lateness_p99_ms", 48.08),
        ("lateness_max_ms", 50.0),
        // Six requests were due and sent from 1000 to 1500 ms.
        ("offered_rate_per_s", 10.0),
        ("scheduled_rate_per_s", 10.0),
        ("achieved_rate_per_s", 10.0),
        // Three of the four successes are below 320 ms from the due time; with the failure there are five requests.
        ("goodput_requests_percent", 60.0),
        ("goodput_tokens_percent", 75.0),
        ("goodput_tokens_per_s", 33.0 / 0.651),
        ("goodput_rps", 3.0 / 0.651),
    ];
    for (key, wanted) in near {
        let got = file[key].as_f64().expect(key);
        assert!((got - wanted).abs() < 1e-9, "{key}: {got} for {wanted}");
    }
    let whole = [
        ("total_requests", 5),
        ("successful_requests", 4),
        ("failed_requests", 1),
        ("cut_requests", 1),
        ("sent_requests", 6),
        ("planned_requests", 8),
        ("not_sent_requests", 2),
        ("warmup_requests", 1),
        ("exhausted_requests", 1),
    ];
    for (key, wanted) in whole {
        assert_eq!(file[key], wanted, "{key}");
    }
    assert_eq!(file["latency_from"], "due");
    assert_eq!(file["failures"]["http"]["status"], 503);
    assert_eq!(file["token_sources"], json!({"tokenize": 1, "usage": 3}));
    let split = |part: &str| {
        let latency = &file["splits"][part]["latency"];
        (latency["avg_ms"].as_f64(), latency["n"].as_u64())
    };
    assert_eq!(split("first_use"), (Some(326.0), Some(2)));
    assert_eq!(split("repeat"), (Some(135.0), Some(2)));
    assert_eq!(split("hit"), (Some(20.0), Some(1)));
    assert_eq!(split("miss"), (Some(902.0 / 3.0), Some(3)));
}

#[test]
fn the_file_begins_with_the_keys_of_the_guide() {
    let text = serde_json::to_string(&json::file(&report(vec![open()]))).expect("JSON");
    let wanted = [
        "schema",
        "tool_version",
        "ttft_p50_ms",
        "ttft_p95_ms",
        "ttft_p99_ms",
        "tpot_ms",
        "throughput_tokens_per_s",
        "request_throughput_rps",
        "response_cache_hit_rate",
        "prefix_cache_hit_rate",
        "avg_latency_ms",
    ];
    let mut last = 0;
    for key in wanted {
        let at = text.find(&format!("\"{key}\":")).expect(key);
        assert!(at >= last, "{key}");
        last = at;
    }
    assert!(
        text.starts_with(r#"{"schema":"tmesh-cli/load/1","#),
        "{text}"
    );
}

#[test]
fn an_absent_figure_is_null_and_its_source_says_why() {
    let first = [streamed(1000, 1100), streamed(1310, 1430)];
    let second = [streamed(2000, 2300), streamed(2001, 2310)];
    let file = file(vec![closed(1, &first), closed(4, &second)]);
    let point = &file["points"][0];
    for (key, why) in [
        (
            "response_cache_hit_rate",
            "no reply said whether it was cached as a whole",
        ),
        ("prefix_cache_hit_rate", "no reply reported cached tokens"),
        ("goodput_rps", "no SLO was given"),
        ("lateness_p99_ms", "a closed loop has none"),
        ("latency_from_sent_p50_ms", "a closed loop has none"),
        (
            "planned_requests",
            "the run has a duration, not a number of requests",
        ),
    ] {
        assert_eq!(point[key], Value::Null, "{key}");
        let wanted = format!("not reported: {why}");
        assert_eq!(point["metric_sources"][key], wanted, "{key}");
    }
    assert_eq!(point["latency_from"], "sent");
    assert_eq!(point.get("environment"), None);
    assert_eq!(file["environment"]["command"], "load");
    // The first point has 110 ms, the mean of 100 and 120; the second point has 300 and 309 ms.
    assert_eq!(point["ttft_p50_ms"], 110.0);
    assert_eq!(file["points"][1]["ttft_p50_ms"], 304.5);
}

#[test]
fn a_reply_that_was_not_streamed_has_no_ttft_and_the_lines_say_so() {
    let cached = Sample {
        response_cached: Some(true),
        ..plain(0, 50)
    };
    let facts = Facts {
        concurrency: Some(16),
        perfect_response_rate: Some(0.3),
        ..Facts::default()
    };
    let text = text::section(&point(&pass(facts, &[cached])), Screen::FILE);
    for name in ["TTFT P50", "TTFT P95", "TTFT P99", "TPOT"] {
        let line = format!("{name:<24}  not streamed\n");
        assert!(text.contains(&line), "{text}");
    }
    let rate = "Cache Hit Rate                 100.0 %  whole replies; a perfect cache: 30.0 %\n";
    assert!(text.contains(rate), "{text}");
    assert!(!text.contains("\nTTFT  "), "{text}");
    let throughput = "Throughput                         n/a\n";
    assert!(text.contains(throughput), "{text}");
}

#[test]
fn a_sweep_ends_with_a_row_a_point_and_goodput_only_with_an_slo() {
    let samples = [Sample {
        t_end_ns: 250 * MS,
        ..streamed(0, 40)
    }];
    let passes = [closed(1, &samples), closed(16, &samples)];
    let text = text::section(&sweep(&passes).expect("two points"), Screen::FILE);
    // The point has 11 tokens and one request in 0.25 s.
    let wanted = "\
Times in ms       tokens/s    req/s  TTFT p50  TTFT p99  ITL p99 errors
concurrency 1         44.0     4.00      40.0      40.0     20.0      0
concurrency 16        44.0     4.00      40.0      40.0     20.0      0

";
    assert_eq!(text, wanted);
    assert!(sweep(&passes[..1]).is_none());
}

#[test]
fn points_and_closing_lines_are_the_whole_report() {
    let samples = [streamed(0, 40)];
    let report = report(vec![closed(1, &samples), closed(16, &samples)]);
    let points = report
        .passes
        .iter()
        .map(|pass| text::section(&point(pass), Screen::FILE));
    let shown: String = points.collect();
    let closing = text::render(&closing(&report), Screen::FILE);
    assert_eq!(
        shown + &closing,
        text::render(&document(&report), Screen::FILE)
    );
}

#[test]
fn no_line_of_a_block_or_a_sweep_is_wider_than_80_columns() {
    let facts = Facts {
        rate_per_s: Some(1000.5),
        exhausted: Some(123),
        slo: Some(Slo::default()),
        perfect_response_rate: Some(0.3),
        ..Facts::default()
    };
    let late = Sample {
        t_due_ns: Some(0),
        ..streamed(3, 40)
    };
    let late = || pass(facts.clone(), slice::from_ref(&late));
    let text = text::render(&document(&report(vec![late(), late()])), Screen::FILE);
    let (text, _) = text.split_once("\nTTFT: ").expect("bars");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for wanted in [
        "\nLateness: mean 3.00 ms, p99 3.00 ms, max 3.00 ms\n",
        "\nPool Exhausted: 123 requests found no idle worker; raise --max-inflight",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn one_resent_request_in_a_thousand_is_mentioned() {
    let mut samples = vec![streamed(0, 100); 1000];
    samples[7].resent = true;
    let report = report(vec![closed(4, &samples)]);
    let shown = text::render(&document(&report), Screen::FILE);
    let said = shown
        .lines()
        .find(|line| line.contains("Stale connections"));
    let said = said.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        said.contains("1 requests were sent again on a new one"),
        "{said}"
    );
}

#[test]
fn the_key_figures_of_a_sweep_go_from_the_least_to_the_greatest() {
    let point = |concurrency, ttft_ms: u64| {
        let facts = Facts {
            concurrency: Some(concurrency),
            ..Facts::default()
        };
        let samples = [0, 1].map(|k| five_tokens(k, k * (ttft_ms + 81), ttft_ms, 0));
        Pass::new(facts, Records::kept().with(&samples))
    };
    // Two requests follow one another. Each takes 80 ms from its first token to its fifth and 1 ms more to its end: a
    // point lasts 0.4 s or 0.8 s, with 10 tokens.
    let pairs = leading(&[point(1, 119), point(4, 319)]);
    let texts: Vec<String> = pairs.iter().map(Pair::to_string).collect();
    let wanted = [
        "Requests: 4 (0 failed)",
        "TTFT p50: 119.0 ms (concurrency 1) to 319.0 ms (concurrency 4)",
        "TTFT p99: 119.0 ms (concurrency 1) to 319.0 ms (concurrency 4)",
        "TPOT: 20.0 ms",
        "Output throughput: 12.5 tokens/s (concurrency 4) to 25.0 tokens/s (concurrency 1)",
        "Prefix cache hit rate: 0.0 %",
        "Latency, mean: 199.0 ms (concurrency 1) to 399.0 ms (concurrency 4)",
        "Request throughput: 2.50 requests/s (concurrency 4) to 5.00 requests/s (concurrency 1)",
    ];
    assert_eq!(texts, wanted);
}

/// Returns a point at a rate of 100 requests that are due every 10 ms and end `each_ms` after each other.
fn served(each_ms: u64) -> Pass {
    let samples = (0..100).map(|k| Sample {
        t_due_ns: Some(10 * k * MS),
        completion_tokens: Some(11),
        ..plain(10 * k, each_ms * (k + 1))
    });
    let facts = Facts {
        rate_per_s: Some(100.0),
        exhausted: Some(0),
        ..Facts::default()
    };
    pass(facts, &samples.collect::<Vec<_>>())
}

#[test]
fn a_point_that_ran_away_is_marked() {
    // One server takes 20 ms for each request: by the last due time, 990 ms, 49 of 100 have ended. The first ten took 65 ms
    // on average, so that 100 / 0.99 s · 0.065 s = 6.566 are expected in flight: 1 - 49 / 93.434 = 0.4756. The halves took
    // 265 and 765 ms: 500 / 265 = 1.8868.
    let (away, held) = (served(20), served(10));
    let one = file(vec![served(20)]);
    assert_eq!(one["overloaded"], true);
    let near = |key: &str, wanted: f64| (one[key].as_f64().expect(key) - wanted).abs() < 1e-4;
    assert!(near("backlog_share", 0.4756) && near("latency_growth", 1.8868));
    let text = text::render(&document(&report(vec![served(20)])), Screen::FILE);
    let said = "Overload: requests came faster than the server ended them: backlog 48 %, latency grew by 189 %";
    assert!(text.contains(said), "{text}");
    // In a sweep the row of the point has a star, and the list under the table says what it means.
    let passes = vec![held, away];
    let trend = &trends::sweep(&passes)[0];
    assert!(!trend.key[0].1.contains("overload") && trend.key[1].1.ends_with(", overload"));
    let text = text::render(&document(&report(passes)), Screen::FILE);
    assert_eq!(text.matches("rate 100/s *").count(), 1, "{text}");
    assert!(text.contains("A star marks an overload"), "{text}");
    // A point that kept up says so in its file alone; a closed loop and a short pass have no such key.
    let held = file(vec![served(10)]);
    assert_eq!(
        (&held["overloaded"], &held["latency_growth"]),
        (&json!(false), &json!(0.0))
    );
    for other in [closed(1, &[streamed(0, 100)]), open()] {
        assert!(file(vec![other]).get("overloaded").is_none());
    }
}
