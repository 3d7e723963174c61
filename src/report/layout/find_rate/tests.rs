use serde_json::json;

use super::next::rounded_down;
use super::*;
use crate::report::golden::five_tokens;
use crate::report::layout::of_file;
use crate::report::text::{self, Screen};
use crate::report::{csv, html, markdown};
use crate::sample::Sample;
use crate::stats::facts::Facts;
use crate::stats::pass::{Pass, Passes};
use crate::stats::records::Records;

const NARROW: Screen = Screen {
    width: Some(80),
    is_utf8: true,
};

fn about() -> Value {
    json!({"command": "find-rate", "model": "m", "endpoint": "http://h:8000/v1/", "backend": "attached",
        "slo": {"ttft_ms": 200.0, "itl_ms": null, "latency_ms": null},
        "options": {"slo_file": "my slo.yaml", "attainment": 0.95, "budget_requests": 20_000, "budget_time_s": null,
            "burstiness": 1.0, "max_inflight": 256,
            "prompts": {"input_tokens": "128", "output_tokens": "32", "repeat_ratio": 0.3}}})
}

fn probe(kind: &str, place: f64, [attainment, low, high]: [f64; 3], outcome: &str) -> Value {
    let is_closed = kind == "closed";
    json!({"kind": kind, "concurrency": is_closed.then_some(place as u64),
        "rate_per_s": (!is_closed).then_some(place), "requests": 1200, "sent": 1300,
        "attainment": attainment, "low": low, "high": high, "outcome": outcome,
        "throughput_per_s": 12.25, "ttft_p50_ms": 101.5, "ttft_p99_ms": 350.25, "latency_mean_ms": 500.0})
}

fn findings() -> Value {
    let mut overload = probe("open", 13.2, [0.411, 0.302, 0.52], "overload");
    overload["ttft_p99_ms"] = 12_345.6.into();
    let probes = vec![
        probe("closed", 16.0, [0.9, 0.88, 0.92], "counted"),
        overload,
        probe("open", 12.8, [0.93, 0.92, 0.94], "fail"),
        probe("open", 12.4, [0.962, 0.954, 0.97], "pass"),
        probe("verify", 12.4, [0.96, 0.952, 0.968], "pass"),
    ];
    json!({"status": "confirmed", "why": null, "rate_per_s": 12.4, "low_per_s": 12.1, "high_per_s": 12.7,
        "x_max_per_s": 14.25, "last_pass_per_s": 12.4, "first_fail_per_s": 12.8,
        "cliff": {"from_per_s": 12.8, "to_per_s": 13.2, "attainment_from": 0.93, "attainment_to": 0.411},
        "target": 0.95, "probes": probes, "requests": 6500, "seconds": 612.34})
}

fn report(findings: Value) -> Report {
    Report {
        about: about(),
        passes: Vec::new(),
        findings,
        notes: Vec::new(),
    }
}

#[test]
fn the_answer_is_a_rate_with_its_interval_or_why_there_is_none() {
    let mut found = findings();
    assert_eq!(
        sentence(&found),
        "Highest rate under the SLO: 12.4 requests/s (12.1 to 12.7), confirmed"
    );
    found["status"] = "unresolved".into();
    found["why"] = "the budget of requests is spent".into();
    assert_eq!(
        sentence(&found),
        "Highest rate under the SLO: unresolved: the budget of requests is spent; \
         the best guess is 12.4 requests/s (12.1 to 12.7)"
    );
    for key in ["rate_per_s", "low_per_s", "high_per_s"] {
        found[key] = Value::Null;
    }
    assert_eq!(
        sentence(&found),
        "Highest rate under the SLO: unresolved: the budget of requests is spent"
    );
    // A rate alone does not confirm itself.
    let odd = json!({"status": "confirmed"});
    assert_eq!(
        sentence(&odd),
        "Highest rate under the SLO: unresolved: nothing was found out"
    );
}

fn next_command(found: &Value) -> String {
    let next = next(&report(found.clone()));
    next.command.expect("a command")
}

#[test]
fn the_next_command_follows_from_the_answer() {
    let server = "--endpoint http://h:8000/v1 --model m";
    let prompts = "--input-tokens 128 --output-tokens 32 --repeat-ratio 0.3";
    let open = "--burstiness 1.0 --max-inflight 256";
    let mut found = findings();
    // 0.9 x 12.4 = 11.16, rounded down to three digits.
    let wanted = format!(
        "tmesh-cli load {server} {prompts} --rate 11.1 {open} --slo-file 'my slo.yaml' --duration 60s"
    );
    assert_eq!(next_command(&found), wanted);
    found["status"] = "unresolved".into();
    let wanted = format!(
        "tmesh-cli find-rate {server} --slo-file 'my slo.yaml' --attainment 95% {prompts} {open} \
         --budget-requests 40000"
    );
    assert_eq!(next_command(&found), wanted);
    // No rate has passed: a larger budget would not help.
    found["last_pass_per_s"] = Value::Null;
    let wanted =
        format!("tmesh-cli load {server} {prompts} --concurrency 1 --slo-file 'my slo.yaml'");
    assert_eq!(next_command(&found), wanted);
}

#[test]
fn a_search_goes_on_with_what_it_lacked() {
    let mut found = findings();
    found["status"] = "unresolved".into();
    let again = |rest: &str| {
        format!(
            "tmesh-cli find-rate --endpoint http://h:8000/v1 --model m --slo-file 'my slo.yaml' --attainment 95% \
             --input-tokens 128 --output-tokens 32 --repeat-ratio 0.3 --burstiness 1.0 {rest}"
        )
    };
    // The client was the limit, not the budget.
    found["is_client_limited"] = true.into();
    let wanted = again("--max-inflight 512 --budget-requests 20000");
    assert_eq!(next_command(&found), wanted);
    // A signal ended the search, not the budget.
    found["is_client_limited"] = false.into();
    let mut passes = Passes::new(&about());
    passes.sample(five_tokens(0, 0, 10, 0));
    let mut stopped = Report {
        passes: passes.finish(),
        ..report(found.clone())
    };
    stopped.passes[0].facts.was_stopped = true;
    let wanted = again("--max-inflight 256 --budget-requests 20000");
    assert_eq!(next(&stopped).command, Some(wanted));
    // The SLO is not met even at one request at a time.
    for key in ["rate_per_s", "last_pass_per_s", "first_fail_per_s"] {
        found[key] = Value::Null;
    }
    let command = next_command(&found);
    assert!(
        command.ends_with(" --concurrency 1 --slo-file 'my slo.yaml'"),
        "{command}"
    );
}

#[test]
fn a_rate_is_rounded_down_to_three_digits() {
    for (rate, wanted) in [
        (11.16, "11.1"),
        (11.2, "11.2"),
        (0.05678, "0.0567"),
        (1234.5, "1234"),
        (9.999, "9.99"),
        (0.9 * 100.0, "90.0"),
    ] {
        assert_eq!(rounded_down(rate), wanted);
    }
}

#[test]
fn the_line_of_a_probe_fits_80_columns() {
    let mut probe = find_rate::Probe {
        kind: Kind::Open,
        concurrency: None,
        rate_per_s: Some(12.4),
        requests: 1200,
        sent: 1300,
        attainment: Some(0.962),
        low: Some(0.954),
        high: Some(0.97),
        outcome: Outcome::Pass,
        throughput_per_s: Some(12.3),
        ttft_p50_ms: Some(101.5),
        ttft_p99_ms: Some(350.25),
        latency_mean_ms: None,
    };
    let wanted = "12.4/s          96.2 % (95.4 to 97.0), n 1200, TTFT p99 350.2 ms: pass\n";
    assert_eq!(line(&probe), wanted);
    probe.kind = Kind::Verify;
    probe.rate_per_s = Some(1012.375);
    probe.requests = 120_000;
    (probe.attainment, probe.low, probe.high) = (Some(1.0), Some(1.0), Some(1.0));
    probe.outcome = Outcome::Overload;
    probe.ttft_p99_ms = Some(112_345.6);
    let long = line(&probe);
    assert!(long.chars().count() <= 81, "{long}");
    assert!(
        long.starts_with("1012/s, verify  100.0 % (100.0 to 100.0), n 120000, "),
        "{long}"
    );
    assert!(long.ends_with("TTFT p99 112.35 s: OVERLOAD\n"), "{long}");
    let probe = find_rate::Probe {
        kind: Kind::Closed,
        concurrency: Some(16),
        rate_per_s: None,
        attainment: None,
        outcome: Outcome::Counted,
        ttft_p99_ms: None,
        requests: 200,
        ..probe
    };
    assert_eq!(line(&probe), "16 in flight    n 200: counted\n");
}

#[test]
fn the_table_fits_80_columns() {
    let shown = text::render(&document(&report(findings())), NARROW);
    let wanted = "\
Probe               n  Met SLO      Interval  Req/s  TTFT p50      p99   Outcome
16 in flight     1200   90.0 %  88.0 to 92.0   12.2     101.5    350.2   counted
13.2/s           1200   41.1 %  30.2 to 52.0   12.2     101.5  12345.6  OVERLOAD
12.8/s           1200   93.0 %  92.0 to 94.0   12.2     101.5    350.2      fail
12.4/s           1200   96.2 %  95.4 to 97.0   12.2     101.5    350.2      pass
12.4/s, verify   1200   96.0 %  95.2 to 96.8   12.2     101.5    350.2      pass
  Met SLO: of the n requests after the warm-up, %, with its 95 % interval
  Req/s: successes per second; TTFT in ms

SLO: 95 % of requests, ttft_ms below 200
Last Pass: 12.4 requests/s
First Fail: 12.8 requests/s
Closed Loop's Maximum: 14.2 requests/s
Cliff: from 93.0 % at 12.8 to 41.1 % at 13.2 requests/s
Cost: 6500 requests in 612.3 s

Highest rate under the SLO: 12.4 requests/s (12.1 to 12.7), confirmed
Next: tmesh-cli load ";
    assert!(shown.starts_with(wanted), "{shown}");
}

#[test]
fn every_page_shows_the_probes_and_html_the_charts() {
    let document = document(&report(findings()));
    let page = markdown::render(&document);
    for part in [
        "| 13.2/s | 1200 | 41.1 % | 30.2 to 52.0 | 12.2 | 101.5 | 12345.6 | OVERLOAD |",
        "| Cliff | from 93.0 % at 12.8 to 41.1 % at 13.2 requests/s |",
        "**Highest rate under the SLO: 12.4 requests/s (12.1 to 12.7), confirmed**",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(
        csv::render(&document)
            .contains("\n13.2/s,1200,41.1 %,30.2 to 52.0,12.2,101.5,12345.6,OVERLOAD\n")
    );
    let page = html::render(&document);
    for part in [
        "Attainment over rate",
        "TTFT over rate",
        "Throughput over rate",
        "TTFT, ms, logarithmic",
        "SLO: 95 % of requests.",
        "SLO: 200 ms for each request.",
        "max: 14.2 requests/s, the closed loop&#39;s maximum.",
        "</span>overload</li>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert_eq!(page.matches(">SLO</text>").count(), 2);
    assert_eq!(page.matches(">max</text>").count(), 1);
    // The axis of attainment goes from 200 at 0 % to 32 at 100 %: 95 % is at 200 - 0.95 * 168.
    assert!(
        page.contains("<path class=\"level\" d=\"M50 40.4H374\"/>"),
        "{page}"
    );
    // Four probes of the open loop, in four lines: attainment, two of TTFT, throughput.
    for (class, n) in [("c0", 2), ("c1", 1), ("c2", 1)] {
        let marks = format!("<circle class=\"mark {class}\"");
        assert_eq!(page.matches(&marks).count(), n * 4, "{class}");
    }
}

#[test]
fn the_result_file_gives_the_report_again() {
    let first = document(&report(findings()));
    let file = serde_json::to_value(&first.data).expect("JSON");
    assert_eq!(file["schema"], "tmesh-cli/find-rate/1");
    assert_eq!(file["slo"]["ttft_ms"], 200.0);
    let again = of_file(&file).expect("a search");
    assert_eq!(again.data, first.data);
    let shown = |document| text::render(document, Screen::FILE);
    assert_eq!(shown(&again), shown(&first));
}

#[test]
fn odd_findings_give_a_report_without_a_panic() {
    for found in [
        json!(null),
        json!([1]),
        json!({"probes": 5, "cliff": [], "target": "x"}),
        json!({"status": "confirmed", "rate_per_s": 1e-300, "low_per_s": -1, "high_per_s": 1e308}),
        json!({"status": "confirmed", "rate_per_s": -5.0, "target": 1e300,
            "probes": [{"rate_per_s": -1.0, "attainment": -5, "ttft_p99_ms": 1e308}, {"rate_per_s": 1e308}, 7]}),
    ] {
        let document = document(&report(found));
        html::render(&document);
        markdown::render(&document);
        text::render(&document, NARROW);
    }
}

#[test]
fn the_mean_lengths_are_those_of_the_requests_of_all_probes() {
    let pass = |tokens: &[u64]| {
        let samples = tokens.iter().map(|&tokens| Sample {
            completion_tokens: Some(tokens),
            ..five_tokens(0, 0, 100, 0)
        });
        let samples: Vec<Sample> = samples.collect();
        Pass::new(Facts::default(), Records::kept().with(&samples))
    };
    let report = Report {
        passes: vec![pass(&[30, 30, 30]), pass(&[32])],
        ..report(findings())
    };
    let shown = text::render(&document(&report), NARROW);
    // Three replies of 30 tokens and one of 32 have 122.
    assert!(
        shown.contains("\nTokens per Request: 1000.0 in, 30.5 out\n"),
        "{shown}"
    );
}
