use crate::report::document::Next;
use serde_json::json;

use super::next::round_up;
use super::*;
use crate::report::layout::of_file;
use crate::report::text::{self, Screen};
use crate::report::{csv, html, markdown};

const NARROW: Screen = Screen {
    width: Some(80),
    is_utf8: true,
};

fn about() -> Value {
    json!({"command": "compare", "model": "m", "endpoint": "http://a:8000/v1/", "backend": "attached",
        "options": {"against": "http://b:8000/v1", "concurrency": 1, "pairs": 2000,
            "figures": ["ttft_mean", "itl_mean"],
            "prompts": {"input_tokens": "128", "output_tokens": "32", "repeat_ratio": 0.0}}})
}

fn next_command(about: &Value, found: &Value) -> String {
    next(about, found).command.expect("a command")
}

/// A figure with the values of both sides, and the ends of its interval.
fn figure(name: &str, [base, new]: [f64; 2], [low, high]: [f64; 2], verdict: &str) -> Value {
    let is_share = name.ends_with("_rate");
    json!({"name": name, "point": null, "decides": true, "base": base, "new": new,
        "ratio": (!is_share).then_some(new / base), "difference": is_share.then_some(new - base),
        "low": low, "high": high, "confidence": 0.95, "verdict": verdict, "pairs": 400,
        "needed": null, "why": null})
}

fn side(name: &str, times: f64) -> Value {
    let quantiles: Vec<f64> = (0..=100).map(|k| times * f64::from(k)).collect();
    json!({"name": name, "model": "m", "requests": 401, "failed": 1, "runs": 1,
        "prompt_tokens": 128.0, "output_tokens": 32.25,
        "ttft_ms": quantiles, "itl_ms": quantiles, "latency_ms": []})
}

/// Findings with this verdict; TTFT rises from 100 to 110.3 ms.
fn findings(verdict: &str, figures: &[Value]) -> Value {
    json!({"verdict": verdict, "unit": "pairs", "margin": 0.03, "figures": figures,
        "sides": [side("http://a:8000/v1", 2.0), side("http://b:8000/v1", 3.0)],
        "notes": ["The outputs differ"], "stopped": null})
}

fn slower() -> Value {
    let ttft = figure("ttft_mean", [100.0, 110.3], [1.081, 1.126], "slower");
    let itl = figure("itl_mean", [20.0, 20.02], [0.99, 1.012], "same");
    let errors = figure("error_rate", [0.0, 0.0025], [-0.002, 0.0071], "same");
    let mut throughput = figure("output_throughput", [1312.5, 1312.5], [0.98, 1.02], "same");
    throughput["decides"] = false.into();
    throughput["why"] = "few tokens".into();
    findings("slower", &[ttft, itl, errors, throughput])
}

fn report(findings: Value) -> Report {
    Report {
        about: about(),
        passes: Vec::new(),
        findings,
        notes: vec!["A note".to_string()],
    }
}

#[test]
fn the_sentence_names_the_figures_that_made_the_verdict() {
    assert_eq!(
        sentence(&slower()),
        "Slower: TTFT +10.3 % (+8.1 to +12.6 %), 400 pairs"
    );
    let one = |verdict: &str, figure: Value| sentence(&findings(verdict, &[figure]));
    let more = figure("error_rate", [0.01, 0.035], [0.01, 0.04], "slower");
    assert_eq!(
        one("slower", more),
        "More errors: error rate +2.5 points (+1.0 to +4.0 points), 400 pairs"
    );
    let fewer = figure("hit_rate", [0.9, 0.8], [-0.12, -0.08], "slower");
    assert_eq!(
        one("slower", fewer),
        "Lower hit rate: hit rate -10.0 points (-12.0 to -8.0 points), 400 pairs"
    );
    let same = figure("ttft_mean", [100.0, 99.8], [0.99, 1.006], "same");
    assert_eq!(
        one("same", same),
        "Same within 3 %: TTFT -0.2 % (-1.0 to +0.6 %), 400 pairs"
    );
    let mut unclear = figure("latency_p95", [100.0, 102.1], [0.99, 1.053], "unclear");
    unclear["point"] = "concurrency 8".into();
    unclear["needed"] = 900.into();
    assert_eq!(
        one("unclear", unclear),
        "Unclear: latency p95 at concurrency 8 +2.1 % (-1.0 to +5.3 %), 400 pairs; about 900 more would tell"
    );
    let many = [
        "ttft_mean",
        "ttft_p95",
        "itl_mean",
        "latency_mean",
        "latency_p95",
    ];
    let many = many.map(|name| figure(name, [100.0, 80.0], [0.75, 0.85], "faster"));
    let part = "-20.0 % (-25.0 to -15.0 %)";
    assert_eq!(
        sentence(&findings("faster", &many)),
        format!("Faster: TTFT {part}, TTFT p95 {part}, ITL {part}, 2 more, 400 pairs")
    );
    assert_eq!(sentence(&json!({})), "Unclear: no figure decides");
}

#[test]
fn single_runs_are_unclear_and_say_why() {
    let mut figure = figure("ttft_mean", [100.0, 110.0], [0.0, 0.0], "unclear");
    for key in ["low", "high", "confidence"] {
        figure[key] = Value::Null;
    }
    figure["pairs"] = 1.into();
    figure["why"] = "one run does not tell how runs differ".into();
    let mut found = findings("unclear", &[figure]);
    found["unit"] = "runs".into();
    assert_eq!(
        sentence(&found),
        "Unclear: TTFT +10.0 %, 1 run a side; one run does not tell how runs differ"
    );
    let load = "tmesh-cli load --endpoint http://a:8000/v1 --model m --input-tokens 128 --output-tokens 32 \
        --repeat-ratio 0.0 --runs 5 --samples new.jsonl";
    assert_eq!(next_command(&about(), &found), load);
    found["figures"][0]["needed"] = 6.into();
    assert!(next_command(&about(), &found).contains("--runs 7 "));
    let mut at_rates = about();
    at_rates["options"]["load"] = json!({
        "concurrency": [], "rate_per_s": [2.0, 2.5], "burstiness": "inf", "max_inflight": 64, "requests": null,
        "duration_s": 30.0, "warmup": 0,
    });
    let pace =
        "--rate 2,2.5 --burstiness inf --max-inflight 64 --warmup 0 --duration 30s --runs 7 ";
    assert!(next_command(&at_rates, &found).contains(pace));
    let mut of_replay = about();
    of_replay["options"]["prompts"] = Value::Null;
    let Next { advice, command } = next(&of_replay, &found);
    assert_eq!(command, None);
    let wanted = "Next: give each side 7 runs of its command, each with samples of its own.";
    assert_eq!(advice, [wanted]);
    assert!(
        summary(&report(found.clone()))
            .ends_with("- Next: compare 7 runs a side (load --runs 7)\n")
    );
    found["verdict"] = "same".into();
    let mut about = about();
    about["options"]["new"] = json!(["my run.jsonl", "b.jsonl"]);
    assert_eq!(
        next_command(&about, &found),
        "tmesh-cli report -i 'my run.jsonl'"
    );
}

#[test]
fn the_next_command_follows_from_the_verdict() {
    let prompts = "--input-tokens 128 --output-tokens 32 --repeat-ratio 0.0";
    let again = |rest: &str| {
        format!(
            "tmesh-cli compare --endpoint http://a:8000/v1 --model m --against http://b:8000/v1 {prompts} \
             --figure ttft_mean --figure itl_mean --margin 3% {rest}"
        )
    };
    let load = format!(
        "tmesh-cli load --endpoint http://b:8000/v1 --model m {prompts} --concurrency 1 --samples new.jsonl"
    );
    assert_eq!(next_command(&about(), &slower()), load);
    let mut found = findings(
        "unclear",
        &[figure("itl_mean", [1.0, 1.0], [0.9, 1.1], "unclear")],
    );
    assert_eq!(
        next_command(&about(), &found),
        again("--concurrency 1 --pairs 4000")
    );
    // 400 pairs and 913 more, rounded up to two digits.
    found["figures"][0]["needed"] = 913.into();
    assert_eq!(
        next_command(&about(), &found),
        again("--concurrency 1 --pairs 1400")
    );
    let same = findings("same", &[]);
    assert_eq!(
        next_command(&about(), &same),
        again("--concurrency 8 --pairs 2000")
    );
    let mut about = about();
    // A hundred pairs are no window of 8 in flight.
    about["options"]["pairs"] = 100.into();
    assert_eq!(
        next_command(&about, &same),
        again("--concurrency 8 --pairs 2000")
    );
    about["options"]["concurrency"] = 8.into();
    let sweep = "tmesh-cli load --endpoint http://b:8000/v1 --model m --concurrency 1,4,16";
    assert_eq!(next_command(&about, &same), sweep);
    let mock = json!({"backend": "mock", "options": {"against_mock": "itl_ms=5,a b"}});
    let found = json!({"verdict": "unclear", "unit": "pairs"});
    let again = "tmesh-cli compare --backend mock --against-mock 'itl_ms=5,a b'";
    assert_eq!(next_command(&mock, &found), again);
}

#[test]
fn intervals_have_one_confidence_or_a_range() {
    let mut found = slower();
    let said = |found: &Value| confidence(&Figure::all(found));
    assert_eq!(said(&found).as_deref(), Some("95 % confidence"));
    found["figures"][1]["confidence"] = 0.995.into();
    assert_eq!(said(&found).as_deref(), Some("95 to 99.5 % confidence"));
    assert_eq!(said(&json!({})), None);
}

#[test]
fn a_number_is_rounded_up_to_two_digits() {
    for (n, wanted) in [
        (0, 0),
        (7, 7),
        (99, 99),
        (100, 100),
        (101, 110),
        (1313, 1400),
        (9901, 10_000),
    ] {
        assert_eq!(round_up(n), wanted, "{n}");
    }
}

#[test]
fn the_table_fits_80_columns() {
    let shown = text::render(&document(&report(slower())), NARROW);
    for line in shown.lines().take_while(|line| !line.starts_with("Slower")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let wanted = "\
Figure                Base     New   Change        Interval Verdict  Pairs  More
TTFT mean, ms *      100.0   110.3  +10.3 %   +8.1 to +12.6  slower    400
ITL mean, ms *        20.0    20.0   +0.1 %    -1.0 to +1.2    same    400
Error rate *         0.0 %   0.2 %     +0.2    -0.2 to +0.7    same    400
Output, tokens/s    1312.5  1312.5   +0.0 %    -2.0 to +2.0    same    400
  * decides; changes of rates are in points; intervals have 95 % confidence
  output throughput: few tokens

Base: http://a:8000/v1 | Model: m | Requests: 401 | Failed: 1
";
    assert!(shown.starts_with(wanted), "{shown}");
    let end = "
Note: The outputs differ
Note: A note

Slower: TTFT +10.3 % (+8.1 to +12.6 %), 400 pairs
Next: tmesh-cli load ";
    assert!(shown.contains(end), "{shown}");
}

#[test]
fn rates_have_words_of_their_own_and_points_their_headings() {
    let mut found = slower();
    found["figures"][0]["point"] = "concurrency 1".into();
    found["figures"][1]["point"] = "concurrency 8".into();
    found["figures"][2] = figure("error_rate", [0.0, 0.05], [0.02, 0.08], "slower");
    found["figures"][2]["point"] = "concurrency 8".into();
    found["figures"][3] = figure("hit_rate", [0.5, 0.6], [0.08, 0.12], "faster");
    found["figures"][3]["point"] = "concurrency 8".into();
    let page = markdown::render(&document(&report(found)));
    let rows = "\
| concurrency 1 |
| TTFT mean, ms \\* | 100.0 | 110.3 | +10.3 % | +8.1 to +12.6 | slower | 400 |  |
| concurrency 8 |
| ITL mean, ms \\* | 20.0 | 20.0 | +0.1 % | -1.0 to +1.2 | same | 400 |  |
| Error rate \\* | 0.0 % | 5.0 % | +5.0 | +2.0 to +8.0 | more | 400 |  |
| Hit rate \\* | 50.0 % | 60.0 % | +10.0 | +8.0 to +12.0 | higher | 400 |  |
";
    assert!(page.contains(rows), "{page}");
}

#[test]
fn every_page_shows_the_figures_the_sides_and_both_curves() {
    let document = document(&report(slower()));
    let page = markdown::render(&document);
    for part in [
        "| Figure | Base | New | Change | Interval | Verdict | Pairs | More |",
        "| TTFT mean, ms \\* | 100.0 | 110.3 | +10.3 % | +8.1 to +12.6 | slower | 400 |  |",
        "| Base | http://a:8000/v1 | m | 1 | 401 | 1 | 128.0 | 32.2 |",
        "| New | http://b:8000/v1 | m | 1 | 401 | 1 | 128.0 | 32.2 |",
        "- output throughput: few tokens",
        "**Slower: TTFT +10.3 % (+8.1 to +12.6 %), 400 pairs**",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("## Failures"), "{page}");
    let table = csv::render(&document);
    assert!(
        table.contains("TTFT mean, ms *\",100.0,110.3,+10.3 %,"),
        "{table}"
    );
    let page = html::render(&document);
    for part in [
        "<td>+8.1 to +12.6</td>",
        "Time to first token (TTFT)",
        "Inter-token latency (ITL)",
        "TTFT side by side",
        // The quantiles are 2 and 3 times their percent.
        "Base: p50 100.00, p95 190.00, p99 198.00 ms</li>",
        "New: p50 150.00, p95 285.00, p99 297.00 ms</li>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(
        !page.contains("<figcaption>Latency"),
        "no latency was given"
    );
    assert!(!page.contains("beyond the right edge"), "{page}");
    // Two curves in each of two charts, and a row for each in the one from p5 to p95.
    for class in ["line c0", "line c1"] {
        assert_eq!(page.matches(class).count(), 3, "{class}");
    }
}

#[test]
fn the_summary_is_five_lines_of_markdown() {
    let wanted = "\
**Slower: TTFT +10.3 % (+8.1 to +12.6 %), 400 pairs**
- TTFT 100.0 to 110.3 ms (slower); ITL 20.0 to 20.0 ms (same); error rate 0.0 % to 0.2 % (same)
- Base http://a:8000/v1 (m): 401 requests, 1 failed; New http://b:8000/v1 (m): 401 requests, 1 failed
- 400 pairs, sent to the sides in random order; less than 3 % counts as no change; 95 % confidence
- Next: find what changed on the new side before it is merged
";
    assert_eq!(summary(&report(slower())), wanted);
    let mut of_mock = report(slower());
    of_mock.about["mock"] = true.into();
    let side = "401 requests, 1 failed; Mock server: not a measurement of an engine\n";
    assert_eq!(
        summary(&of_mock),
        wanted.replace("401 requests, 1 failed\n", side)
    );
    for found in [json!(null), json!({"sides": [{"name": "a\n|b<c>"}]})] {
        let text = summary(&report(found));
        assert_eq!(text.matches('\n').count(), 5, "{text}");
        assert!(!text.contains('<'), "{text}");
    }
}

#[test]
fn the_result_file_gives_the_report_again() {
    let first = document(&report(slower()));
    let file = serde_json::to_value(&first.data).expect("JSON");
    assert_eq!(file["schema"], "tmesh-cli/compare/1");
    assert_eq!(file["figures"][0]["low"], 1.081);
    let again = of_file(&file).expect("a comparison");
    assert_eq!(again.data, first.data);
    let shown = text::render(&first, Screen::FILE);
    // The notes on the input of a report are not in the file.
    let shown = shown.replace("Note: A note\n", "");
    assert_eq!(text::render(&again, Screen::FILE), shown);
}

#[test]
fn odd_findings_give_a_report_without_a_panic() {
    for found in [
        json!(null),
        json!([1]),
        json!({"figures": 5, "sides": [1], "notes": "x", "stopped": []}),
        json!({"figures": [{"name": "ttft_mean", "decides": true, "pairs": u64::MAX, "needed": u64::MAX,
            "ratio": 1e308, "low": -1e308, "high": 0, "verdict": "unclear"}], "unit": "pairs",
            "sides": [{"ttft_ms": [5, -1, "x"], "requests": 99}, {"ttft_ms": [1]}]}),
        json!({"figures": [{"name": "unheard-of"}, {"name": "hit_rate", "decides": true}],
            "verdict": "unclear", "unit": "runs"}),
    ] {
        let report = report(found);
        summary(&report);
        let document = document(&report);
        html::render(&document);
        markdown::render(&document);
        text::render(&document, NARROW);
    }
}
