//! The fixed workloads of `run` side by side, with remarks on their figures below.

use std::sync::LazyLock;

use serde_json::Value;

use super::failures::{self, Failed};
use super::keys::{self, Key};
use super::report::Report;
use super::{common, groups, key_figures, kv_cache, replay};
use crate::report::document::{
    Block, Cell, Document, Medium, Node, Pair, Section, Style, Table, row,
};
use crate::sample::Workload;
use crate::stats::catalog::{self, Datum};
use crate::stats::lengths::PROMPT_OFF;
use crate::stats::pass::{Pass, sum};
use crate::stats::time::Time;

pub const WORKLOAD_SCHEMA: &str = "tmesh-cli/workload/1";
pub const SUMMARY_SCHEMA: &str = "tmesh-cli/run/1";

/// The keys of a workload's figures in the order of its file.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let keys = keys::parse(
        "avg_ttft_ms=ttft_avg_ms p50_ttft_ms=ttft_p50_ms p95_ttft_ms=ttft_p95_ms p99_ttft_ms=ttft_p99_ms
        avg_tbt_ms=itl_avg_ms avg_tpot_ms=tpot_with_first_ms avg_throughput_tps=request_tokens_per_s
        output_throughput_tps=throughput_tokens_per_s request_throughput_rps
        peak_mem_mb avg_mem_mb error_rate total_requests successful_requests failed_requests
        total_kv_used_tokens kv_used_bytes avg_prefix_hit_rate total_evict_count evict_ms avg_spec_accept_rate
        total_preemption_count usage_prefix_hit_rate=prefix_cache_hit_rate avg_latency_ms=latency_avg_ms",
    );
    keys.into_iter()
        .chain(keys::parse(keys::COUNTERS))
        .collect()
});

/// The rows of the table above those of the server and the system, each with its name and its key in the catalogue.
const ROWS: [(&str, &str); 23] = [
    ("Requests", "total_requests"),
    ("At once, at most", "concurrency_peak"),
    ("Succeeded", "successful_requests"),
    ("Failed", "failed_requests"),
    ("Error rate", "error_rate"),
    ("Prompt tokens, mean", "input_tokens_mean"),
    ("Output tokens, mean", "output_tokens_mean"),
    ("TTFT avg (ms)", "ttft_avg_ms"),
    ("TTFT p50 (ms)", "ttft_p50_ms"),
    ("TTFT p95 (ms)", "ttft_p95_ms"),
    ("TTFT p99 (ms)", "ttft_p99_ms"),
    ("TTFT n", TTFT_N),
    ("First answer token avg (ms)", "time_to_answer_avg_ms"),
    ("First answer token p99 (ms)", "time_to_answer_p99_ms"),
    ("TBT avg (ms)", "itl_avg_ms"),
    ("TBT p99 (ms)", "itl_p99_ms"),
    ("TBT n", TBT_N),
    ("TPOT with first token avg (ms)", "tpot_with_first_ms"),
    ("Latency avg (ms)", "latency_avg_ms"),
    ("Latency p99 (ms)", "latency_p99_ms"),
    ("A request's tokens/s, avg", "request_tokens_per_s"),
    ("Output tokens/s", "throughput_tokens_per_s"),
    ("Requests/s", "request_throughput_rps"),
];
/// More rows on pages, where a workload has a steady window.
const STEADY: [(&str, &str); 3] = [
    ("Steady window (s)", "steady_duration_s"),
    (
        "Output tokens/s, steady window",
        "steady_throughput_tokens_per_s",
    ),
    ("Requests/s, steady window", "steady_request_throughput_rps"),
];
/// Keys for the number of requests that have a time; the catalogue has none for them.
pub const TTFT_N: &str = "ttft_n";
pub const TBT_N: &str = "itl_n";

/// The achieved length of outputs is mentioned if it is short by more than this share.
const OUTPUT_SHORT: f64 = 0.05;
/// Above this difference of two hit rates, one of them covers requests of others as well, or is wrong.
const HIT_RATES_APART: f64 = 0.05;

/// Makes the whole report.
pub fn document(report: &Report) -> Document {
    let passes = &report.passes;
    let mut section = Section::new("Figures");
    let failed = Failed::of(passes);
    failed.begin(&mut section);
    table(&mut section, passes.iter().map(Pass::name), |at, key| {
        let pass = &passes[at];
        let n = |time| Some(Datum::Count(pass.figures.time(time).map_or(0, |of| of.n)));
        match key {
            TTFT_N => n(Time::Ttft),
            TBT_N => n(Time::Itl),
            key => catalog::value(pass, key),
        }
    });
    section.line("");
    notes(&mut section, passes);
    let [sources, untold] = [true, false].map(|is_there| told(passes, is_there));
    let mut missing = common::absent(passes, "ttft_avg_ms itl_avg_ms output_tokens_mean");
    missing.extend_from_slice(&untold);
    let heading = "Sources of the figures that are not from requests:";
    let sections = vec![
        section,
        failures::table(passes, Pass::name),
        list("Sources", heading, Medium::Both, sources),
        list("", "Not reported:", Medium::Screen, untold),
    ];
    let charts = vec![groups::passes(passes, "TTFT by workload")];
    let names: Vec<String> = passes.iter().map(Pass::name).collect();
    Document {
        key_figures: leading(&failed, &names, |at, key| catalog::value(&passes[at], key)),
        ..common::document(report, sections, missing, charts, summary(report))
    }
}

/// Returns the key figures over the workloads; `value` gives the figure with a key of the catalogue of a workload.
pub fn leading(
    failed: &Failed,
    workloads: &[String],
    value: impl Fn(usize, &str) -> Option<Datum>,
) -> Vec<Pair> {
    const FIGURES: [(&str, &str); 7] = [
        ("TTFT p50", "ttft_p50_ms"),
        ("TTFT p99", "ttft_p99_ms"),
        ("TBT, mean", "itl_avg_ms"),
        ("Latency, mean", "latency_avg_ms"),
        ("Output throughput", "throughput_tokens_per_s"),
        ("Prefix cache hit rate", catalog::HIT_RATE),
        ("Memory, peak", "peak_mem_mb"),
    ];
    let figures = FIGURES.map(|(name, key)| {
        let values = workloads.iter().enumerate();
        let values = values.map(|(at, place)| (place.clone(), value(at, key).map(Datum::as_f64)));
        key_figures::range(name, key_figures::unit(key), values)
    });
    key_figures::with_requests(failed, figures)
}

/// Adds the table with a row for each figure and a column for each workload; `value` gives the figure with a key of the
/// catalogue in a column.
pub fn table(
    section: &mut Section,
    workloads: impl ExactSizeIterator<Item = String>,
    value: impl Fn(usize, &str) -> Option<Datum>,
) {
    let told = catalog::told_figures().flat_map(|figure| {
        let usage = ("  the same by usage", "prefix_cache_hit_rate");
        let usage = (figure.key == catalog::HIT_RATE).then_some(usage);
        std::iter::once((figure.label, figure.key)).chain(usage)
    });
    let n = workloads.len();
    let counters = keys::parse(keys::COUNTERS);
    // Files of earlier versions have none of these, and only replies that reason have the times to an answer.
    let is_rare = |key: &str| {
        key.starts_with("time_to_answer") || counters.iter().any(|(counter, _)| *counter == key)
    };
    let is_there = |key: &str| (0..n).any(|at| value(at, key).is_some());
    let rows = ROWS.into_iter().chain(told);
    let rows = rows.filter(|(_, key)| !is_rare(key) || is_there(key));
    let beside = STEADY.into_iter().filter(|(_, key)| is_there(key));
    let columns: Vec<(String, usize)> = workloads.map(|name| (name, 15)).collect();
    let table = |first, rows: &[(&str, &str)]| {
        let rows = rows.iter().map(|(name, key)| {
            let cells = (0..n).map(|at| cell(key, value(at, key)));
            row(*name, cells)
        });
        Table::new(Style::Ruled, (first, 32), columns.clone(), rows)
    };
    let mut rows: Vec<(&str, &str)> = rows.collect();
    let screen = table("Workload", &rows);
    rows.extend(beside);
    section.tables(screen, table("Figure", &rows));
}

fn cell(key: &str, value: Option<Datum>) -> Cell {
    let unit = key_figures::unit(key);
    let decimals = match unit {
        "tokens" | "MiB" => 1,
        _ if key == "evict_ms" => 1,
        _ => 2,
    };
    match value {
        Some(bytes) if unit == "bytes" => {
            Cell::exact(bytes.as_f64() / f64::from(1 << 20), decimals)
        }
        Some(Datum::Number(share)) if unit == "share" => Cell::percent(share),
        Some(Datum::Count(n)) => n.into(),
        value => Cell::exact(value.map(Datum::as_f64), decimals),
    }
}

/// Adds remarks on each workload that the table does not have. Pages have a table of their own for failures.
fn notes(section: &mut Section, passes: &[Pass]) {
    let mut listed = Vec::new();
    for pass in passes {
        let (mut failed, mut of) = (Section::default(), Section::default());
        failures::lines(&mut failed, pass);
        of.count("Requests Cut at the End", pass.figures.cut);
        doubts(&mut of, pass);
        common::token_sources(&mut of, pass);
        common::connections(&mut of, pass);
        common::client(&mut of, pass);
        let [failed, lines] = [failed, of].map(|of| lines(of, pass));
        for line in failed.iter().chain(&lines) {
            section.line(line);
        }
        listed.extend(lines);
    }
    section.add(Medium::Page, Block::List(listed));
}

/// Returns pairs and lines as a screen shows them, each after the name of the workload.
fn lines(of: Section, pass: &Pass) -> Vec<String> {
    let lines = of.blocks.into_iter().flat_map(|(_, block)| match block {
        Block::Pairs(pairs) => pairs.iter().map(Pair::to_string).collect(),
        Block::Line(line) => vec![line],
        Block::Table(_) | Block::List(_) | Block::Rule(_) => Vec::new(),
    });
    let name = pass.name();
    lines.map(|line| format!("{name}: {line}")).collect()
}

/// Adds warnings that put the figures in doubt: lengths that are not those wanted, or two hit rates that differ.
fn doubts(section: &mut Section, pass: &Pass) {
    let figures = &pass.figures;
    let wanted = pass.facts.workload.map_or(0, Workload::tokens) as f64;
    let mut lengths = |of: &str, mean: f64| {
        let said = format!("{of} have {mean:.1} tokens on average, {wanted} were wanted");
        section.pair("Warning", said);
    };
    let is_off = |mean: &f64| (mean - wanted).abs() > PROMPT_OFF * wanted;
    let is_short = |mean: &f64| *mean < (1.0 - OUTPUT_SHORT) * wanted;
    if let Some(mean) = figures.prompt_tokens.mean().filter(is_off) {
        lengths("prompts", mean);
    }
    if let Some(mean) = figures.output_tokens.mean().filter(is_short) {
        lengths("answers", mean);
    }
    if let Some(rates) = hit_rates_apart(pass) {
        let [server, usage] = rates.map(Cell::percent);
        section.pair("Warning", format!("the server's hit rate is {server}, that of usage {usage}: others use the server, or one of them is wrong"));
    }
}

/// Returns the server's hit rate and that of `usage` if they differ by more than they should.
fn hit_rates_apart(pass: &Pass) -> Option<[f64; 2]> {
    let server = catalog::told(pass, catalog::HIT_RATE).value?;
    let usage = pass.figures.all.prefix_cache_hit_rate?;
    ((server - usage).abs() > HIT_RATES_APART).then_some([server, usage])
}

/// Returns where the figures of the server and the system come from, or why they are absent if not `is_there`. Figures
/// with the same source or reason share a line.
fn told(passes: &[Pass], is_there: bool) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for figure in catalog::told_figures() {
        let places = passes.iter().map(|pass| {
            let told = catalog::told(pass, figure.key);
            let is_said = told.source != catalog::NOT_IN_INPUT;
            let said = (is_said && told.value.is_some() == is_there).then_some(told.source);
            (pass.name(), said.into_iter().collect())
        });
        for line in common::in_places(&places.collect::<Vec<_>>()) {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, names)) => names.push(figure.label),
                None => lines.push((line, vec![figure.label])),
            }
        }
    }
    let lines = lines.into_iter();
    let lines = lines.map(|(line, names)| format!("{}: {line}", names.join(" · ")));
    lines.collect()
}

/// Makes a section with a list that has a heading on a screen; empty without items.
fn list(title: &str, heading: &str, on: Medium, items: Vec<String>) -> Section {
    let mut section = Section::new(title);
    if !items.is_empty() {
        section.line("");
        section.line(heading);
        section.add(on, Block::List(items));
    }
    section
}

/// Returns the file of one workload; `about` is the header of the run.
pub fn workload_file(about: &Value, pass: &Pass) -> Node {
    let mut entries = keys::head(WORKLOAD_SCHEMA);
    entries.extend(keys::entries(&KEYS, pass));
    let environment = environment(about, pass.facts.workload);
    let rest: [(&str, Node); 5] = [
        ("metric_sources", Node::object(keys::sources(&KEYS, pass))),
        ("failures", keys::figure(pass, "failures")),
        ("environment", environment.into()),
        ("concurrency", pass.facts.concurrency.unwrap_or(1).into()),
        ("detail", replay::summary(pass)),
    ];
    entries.extend(rest.map(|(key, node)| (key.into(), node)));
    Node::Object(entries)
}

/// Returns the file of the run, with the answer.
pub fn summary_file(report: &Report) -> Node {
    kv_cache::with(kv_cache::told(report).0.as_ref(), summary(report))
}

fn summary(report: &Report) -> Node {
    let Report { about, passes, .. } = report;
    let files = passes.iter();
    let files = files.map(|pass| (pass.name(), workload_file(about, pass)));
    let overall = Node::object([
        ("total_workloads", passes.len().into()),
        ("total_requests", sum(passes, |of| of.requests).into()),
        (
            "successful_requests",
            sum(passes, |of| of.successful).into(),
        ),
        ("failed_requests", sum(passes, |of| of.failed).into()),
    ]);
    let mut entries = keys::head(SUMMARY_SCHEMA);
    let rest = [
        ("workloads", Node::object(files)),
        ("overall", overall),
        ("environment", environment(about, None).into()),
    ];
    entries.extend(rest.map(|(key, node)| (key.into(), node)));
    Node::Object(entries)
}

/// Returns the header of the run with the version of the program that writes it.
fn environment(about: &Value, workload: Option<Workload>) -> Value {
    let mut environment = about.clone();
    if let Some(map) = environment.as_object_mut() {
        map.insert("tool_version".into(), env!("CARGO_PKG_VERSION").into());
        let workload = workload.map(|workload| ("workload".into(), workload.name().into()));
        map.extend(workload);
    }
    environment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::golden::MS;
    use crate::report::text::{self, Screen};
    use crate::sample::{FailKind, Failure, Phase, Sample};
    use crate::stats::facts::{Facts, Told};
    use crate::stats::records::Records;

    /// Returns a request with as many tokens as the workload wants, in and out, one every `gap` ms; all stamps are in
    /// ms.
    fn sample(workload: Workload, send: u64, first: u64, gap: u64, cached: u64) -> Sample {
        let tokens = workload.tokens();
        let last = first + gap * (tokens - 1);
        Sample {
            t_send_ns: send * MS,
            t_first_ns: Some(first * MS),
            t_last_ns: Some(last * MS),
            t_end_ns: (last + 1) * MS,
            prompt_tokens: Some(tokens),
            cached_tokens: Some(cached),
            completion_tokens: Some(tokens),
            ..Sample::default()
        }
    }

    fn pass(workload: Workload, told: &[(&str, Told)], samples: &[Sample]) -> Pass {
        let told = told.iter().cloned();
        let facts = Facts {
            workload: Some(workload),
            told: told.map(|(key, told)| (key.to_string(), told)).collect(),
            ..Facts::default()
        };
        Pass::new(facts, Records::kept().with(samples))
    }

    /// Returns a pass of two requests of which the server reported everything except memory, evictions and drafts.
    fn short() -> Pass {
        let told = [
            ("peak_mem_mb", Told::absent("no memory on the page")),
            ("avg_mem_mb", Told::absent("no memory on the page")),
            (
                "total_kv_used_tokens",
                Told::new(256.0, "peak of 4 readings"),
            ),
            (
                "kv_used_bytes",
                Told::new(256_000.0, "used tokens × 1000 bytes"),
            ),
            (catalog::HIT_RATE, Told::new(0.0, "Δ hits / Δ queries")),
            ("evict_ms", Told::absent("vLLM exposes no eviction time")),
            ("total_preemption_count", Told::new(0.0, "Δ preemptions")),
        ];
        let of = |send, first| sample(Workload::Short, send, first, 5, 0);
        pass(Workload::Short, &told, &[of(100, 110), of(800, 820)])
    }

    /// Returns a pass of three successes and a failure in a run that was killed, so the server reported nothing.
    fn stress() -> Pass {
        let of = |first| sample(Workload::Stress, 4000, first, 4, 16);
        let failed = Sample {
            failure: Some(Failure::new(FailKind::Http, "overloaded")),
            status: Some(503),
            t_send_ns: 4001 * MS,
            t_end_ns: 4052 * MS,
            ..Sample::default()
        };
        pass(
            Workload::Stress,
            &[],
            &[of(4100), of(4200), failed, of(4302)],
        )
    }

    fn file(pass: &Pass) -> Value {
        let file = workload_file(&json!({"command": "run"}), pass);
        serde_json::to_value(file).expect("JSON")
    }

    fn printed(passes: Vec<Pass>) -> String {
        let report = Report {
            about: json!({"command": "run"}),
            passes,
            findings: Value::Null,
            notes: Vec::new(),
        };
        text::render(&document(&report), Screen::FILE)
    }

    #[test]
    fn the_keys_have_the_figures_worked_by_hand() {
        let short = file(&short());
        // First tokens come after 10 and 20 ms, then 127 gaps of 5 ms: the last of 128 tokens comes after 645 and 655
        // ms.
        let near = |key: &str, wanted: f64| {
            let got = short[key].as_f64().expect(key);
            assert!((got - wanted).abs() < 1e-9, "{key}: {got}");
        };
        near("avg_ttft_ms", 15.0);
        near("p50_ttft_ms", 15.0);
        near("p95_ttft_ms", 19.5);
        near("p99_ttft_ms", 19.9);
        near("avg_tbt_ms", 5.0);
        near("avg_tpot_ms", 650.0 / 128.0);
        near("avg_throughput_tps", (128.0 / 0.645 + 128.0 / 0.655) / 2.0);
        // The duration goes from the first send at 100 ms to the last end at 800 + 655 + 1 ms.
        near("output_throughput_tps", 256.0 / 1.356);
        near("request_throughput_rps", 2.0 / 1.356);
        near("avg_latency_ms", 650.0);
        let whole = [
            ("total_requests", 2),
            ("successful_requests", 2),
            ("failed_requests", 0),
            ("total_kv_used_tokens", 256),
            ("kv_used_bytes", 256_000),
            ("total_preemption_count", 0),
        ];
        for (key, wanted) in whole {
            assert_eq!(short[key], wanted, "{key}");
        }
        assert_eq!(short["environment"]["workload"], "short_input");
        let stress = file(&stress());
        assert_eq!(stress["error_rate"], 0.25);
        assert_eq!(stress["failures"]["http"]["count"], 1);
        // Each of the three successes had 16 of its 256 tokens cached.
        assert_eq!(stress["usage_prefix_hit_rate"], 0.0625);
    }

    #[test]
    fn an_unreported_figure_is_null_and_its_source_says_why() {
        let short = file(&short());
        for (key, why) in [
            ("peak_mem_mb", "no memory on the page"),
            ("total_evict_count", catalog::NOT_IN_INPUT),
            ("evict_ms", "vLLM exposes no eviction time"),
            ("avg_spec_accept_rate", catalog::NOT_IN_INPUT),
        ] {
            assert_eq!(short[key], Value::Null, "{key}");
            let wanted = format!("not reported: {why}");
            assert_eq!(short["metric_sources"][key], wanted, "{key}");
        }
        let sources = &short["metric_sources"];
        assert_eq!(sources["avg_prefix_hit_rate"], "Δ hits / Δ queries");
        assert_eq!(sources["avg_ttft_ms"], "requests");
        // Nothing reports memory, and only usage reports hits.
        let stress = file(&stress());
        assert_eq!(stress["total_kv_used_tokens"], Value::Null);
        assert_eq!(stress["avg_prefix_hit_rate"], 0.0625);
        let source = &stress["metric_sources"]["avg_prefix_hit_rate"];
        assert_eq!(source, "usage of the replies");
    }

    #[test]
    fn the_summary_adds_up_the_requests_of_its_workloads() {
        let report = Report {
            about: json!({"command": "run"}),
            passes: vec![short(), stress()],
            findings: Value::Null,
            notes: Vec::new(),
        };
        let summary = serde_json::to_value(summary_file(&report)).expect("JSON");
        let wanted = json!({"total_workloads": 2, "total_requests": 6, "successful_requests": 5, "failed_requests": 1});
        assert_eq!(summary["overall"], wanted);
        assert_eq!(summary["workloads"]["stress_test"]["total_requests"], 4);
        assert_eq!(summary["environment"].get("workload"), None);
    }

    #[test]
    fn a_workload_without_requests_has_no_figures() {
        let empty = pass(Workload::Long, &[], &[]);
        let absent = KEYS
            .iter()
            .filter(|(_, key)| catalog::value(&empty, key).is_none())
            .count();
        // All keys are absent except the three counts of requests.
        assert_eq!(absent, KEYS.len() - 3);
    }

    #[test]
    fn the_servers_hit_rate_is_used_and_that_of_usage_if_there_is_none() {
        let rate = |server: Option<f64>| {
            let told = server.map(|rate| (catalog::HIT_RATE, Told::new(rate, "counters")));
            let samples = [Sample {
                prompt_tokens: Some(100),
                ..sample(Workload::Long, 0, 1, 2, 20)
            }];
            let told: Vec<(&str, Told)> = told.into_iter().collect();
            let pass = pass(Workload::Long, &told, &samples);
            let value = catalog::value(&pass, catalog::HIT_RATE);
            (value.map(Datum::as_f64), hit_rates_apart(&pass))
        };
        assert_eq!(rate(None), (Some(0.2), None));
        assert_eq!(rate(Some(0.249)), (Some(0.249), None));
        assert_eq!(rate(Some(0.26)), (Some(0.26), Some([0.26, 0.2])));
    }

    #[test]
    fn lengths_that_are_off_and_cut_requests_are_listed_by_workload() {
        let cut = Sample {
            phase: Phase::Cut,
            ..Sample::default()
        };
        let long = Sample {
            prompt_tokens: Some(204),
            completion_tokens: Some(100),
            ..sample(Workload::Long, 0, 1, 2, 0)
        };
        let text = printed(vec![pass(Workload::Long, &[], &[long, cut]), stress()]);
        let wanted = "
long_input: Requests Cut at the End: 1
long_input: Warning: prompts have 204.0 tokens on average, 200 were wanted
long_input: Warning: answers have 100.0 tokens on average, 200 were wanted
long_input: client: not watched (the run was too short)
stress_test: Failed Requests: 1
stress_test:   http 1, the first: HTTP 503: overloaded
stress_test: client: not watched (the run was too short)

Sources of the figures that are not from requests:
  Prefix cache hit rate: usage of the replies
";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn figures_with_the_same_source_share_a_line() {
        let text = printed(vec![short(), stress()]);
        for line in [
            "  KV cache used, peak (MiB): short_input: used tokens × 1000 bytes",
            "  Prefix cache hit rate: stress_test: usage of the replies",
            "Not reported:",
            "  Memory peak (MiB) · Memory avg (MiB): short_input: no memory on the page",
            "  Eviction time (ms): short_input: vLLM exposes no eviction time",
            "KV cache used, peak (MiB)                  0.24            n/a",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }
}
