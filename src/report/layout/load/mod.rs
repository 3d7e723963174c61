//! The points of `load`: the guide's figures first, then times, then remarks on them.

mod json;

use std::slice;

use self::json::splits;
pub use self::json::{KEYS, file};
use super::common::{self, figure, hit_rate};
use super::failures::{self, Failed};
use super::groups;
use super::key_figures;
use super::report::Report;
use super::trends;
use crate::report::charts::Charts;
use crate::report::document::{Block, Cell, Document, Medium, Pair, Section, Style, Table, row};
use crate::stats::figures::Figures;
use crate::stats::goodput::Goodput;
use crate::stats::overload::Overload;
use crate::stats::pass::Pass;
use crate::stats::spread::Spread;
use crate::stats::time::Time;
use crate::units::{fixed, whole_percent};

/// Makes the whole report: every point, then the points of a sweep as one table.
pub fn document(report: &Report) -> Document {
    let charts = Charts {
        trends: trends::sweep(&report.passes),
        ..groups::passes(&report.passes, "TTFT by point")
    };
    const ABSENT: &str = "ttft_avg_ms itl_avg_ms response_cache_hit_rate prefix_cache_hit_rate counter_hit_rate output_tokens_mean goodput_requests";
    let passes = &report.passes;
    let mut sections: Vec<Section> = passes.iter().map(point).collect();
    sections.extend(sweep(passes));
    sections.push(failures::table(passes, Pass::name));
    let missing = common::absent(passes, ABSENT);
    Document {
        key_figures: leading(passes),
        ..common::document(
            report,
            sections,
            missing,
            vec![charts],
            json::figures(report),
        )
    }
}

/// Returns the key figures of a point, or those of a sweep from the least to the greatest. The last of them are shown
/// only where others are absent.
fn leading(passes: &[Pass]) -> Vec<Pair> {
    const FIGURES: [(&str, &str); 9] = [
        ("Goodput, requests", "goodput_requests_percent"),
        ("TTFT p50", "ttft_p50_ms"),
        ("TTFT p99", "ttft_p99_ms"),
        ("TPOT", "tpot_ms"),
        ("Output throughput", "throughput_tokens_per_s"),
        ("Prefix cache hit rate", "prefix_cache_hit_rate"),
        ("Response cache hit rate", "response_cache_hit_rate"),
        ("Latency, mean", "latency_avg_ms"),
        ("Request throughput", "request_throughput_rps"),
    ];
    let figures = FIGURES.map(|(name, key)| key_figures::of(name, key, passes, Pass::name));
    key_figures::with_requests(&Failed::of(passes), figures)
}

/// Makes the rest of the report after each point has been shown as it ended.
pub fn closing(report: &Report) -> Document {
    Document {
        sections: sweep(&report.passes).into_iter().collect(),
        ..document(report)
    }
}

/// Makes the section of a point as the whole report has it; the other points need not be known yet.
pub fn point(pass: &Pass) -> Section {
    let name = pass.facts.title();
    let mut section = Section::new(name.clone());
    Failed::of(slice::from_ref(pass)).begin(&mut section);
    section.line(name);
    section.add(Medium::Screen, Block::Rule('='));
    section.table(headline(pass));
    section.line("");
    section.table(times(&pass.figures));
    section.line("");
    counts(&mut section, pass);
    open_loop(&mut section, pass);
    goodput(&mut section, &pass.figures);
    common::tokens(&mut section, slice::from_ref(pass));
    common::concurrency(&mut section, pass);
    common::token_sources(&mut section, pass);
    common::connections(&mut section, pass);
    failures::lines(&mut section, pass);
    common::server(&mut section, pass);
    common::client(&mut section, pass);
    section.line("");
    section
}

/// Makes the table of the guide's figures in its order, each with what it is counted over.
fn headline(pass: &Pass) -> Table {
    let (figures, facts) = (&pass.figures, &pass.facts);
    let ms = |key: &str| figure(pass, key, 2).unit("ms");
    let streamed = |key: &str| match figures.is_not_streamed() {
        true => Cell::Absent("not streamed"),
        false => ms(key),
    };
    let n = |spread: Spread| format!("n {}", spread.n);
    let waited = |spread: Spread| match figures.is_open {
        true => format!("n {}, from the due time", spread.n),
        false => n(spread),
    };
    let [ttft, itl, latency] = [Time::Ttft, Time::Itl, Time::Latency].map(|of| figures.time(of));
    let [ttft, latency] = [ttft, latency].map(|spread| spread.map(waited).unwrap_or_default());
    let cached = |of: &str, perfect: Option<f64>| match perfect {
        Some(_) => format!("{of}; a perfect cache: {}", Cell::percent(perfect)),
        None => of.to_string(),
    };
    let responses = cached("whole replies", facts.perfect_response_rate);
    let mut prefixes = cached("prompt tokens", facts.perfect_prefix_rate);
    if facts.perfect_prefix_rate.is_some() && facts.perfect_prefix_by_plan {
        prefixes.push_str(", by planned lengths");
    }
    let response_rate = hit_rate(figures.response_cache_hit_rate);
    let prefix_rate = hit_rate(figures.all.prefix_cache_hit_rate);
    let throughput = figure(pass, "throughput_tokens_per_s", 2).unit("tokens/s");
    let rows = [
        ("TTFT P50", streamed("ttft_p50_ms"), ttft),
        ("TTFT P95", streamed("ttft_p95_ms"), String::new()),
        ("TTFT P99", streamed("ttft_p99_ms"), String::new()),
        ("TPOT", streamed("tpot_ms"), itl.map(n).unwrap_or_default()),
        ("Throughput", throughput, String::new()),
        ("Cache Hit Rate", response_rate, responses),
        ("Prefix Cache Hit Rate", prefix_rate, prefixes),
        ("Avg Latency", ms("latency_avg_ms"), latency),
    ];
    let rows = rows.map(|(name, value, of)| row(name, [value, of.into()]));
    let columns = [("Value", 14), ("Of", 0)];
    Table::new(Style::Headless, ("Figure", 24), columns, rows)
}

/// Makes the table of times, with one row for each.
fn times(figures: &Figures) -> Table {
    let time = |time| figures.time(time);
    let mut times = vec![("TTFT".to_string(), time(Time::Ttft))];
    if figures.time_to_answer.is_some() {
        times.push(("First answer token".to_string(), figures.time_to_answer));
    }
    times.push(("ITL".to_string(), time(Time::Itl)));
    times.push(("Latency".to_string(), time(Time::Latency)));
    for (name, [ttft, latency]) in told_apart(figures) {
        times.push((format!("TTFT, {name}"), time(ttft)));
        times.push((format!("Latency, {name}"), time(latency)));
    }
    if figures.is_open {
        let [ttft, latency] = [Time::TtftFromSent, Time::LatencyFromSent].map(time);
        times.push(("TTFT from the send".to_string(), ttft));
        times.push(("Latency from the send".to_string(), latency));
    }
    if figures.is_not_streamed() {
        times.retain(|(name, _)| name.starts_with("Latency"));
    }
    let rows = times.into_iter().map(|(name, spread)| {
        let of = spread.map(|of| [of.avg, of.p50, of.p95, of.p99, of.max]);
        let cells = (0..5).map(|k| Cell::exact(of.map(|of| of[k]), 2));
        let n = spread.map_or(0, |of| of.n);
        row(name, cells.chain([n.into()]))
    });
    let columns = ["Avg", "P50", "P95", "P99", "Max", "n"].map(|name| (name, 9));
    Table::new(Style::Plain, ("Milliseconds", 26), columns, rows)
}

/// Returns the splits by name; if a cache hits exactly the repeats, one row stands for both: `repeat = hit`.
fn told_apart(figures: &Figures) -> Vec<(String, [Time; 2])> {
    let mut told: Vec<(String, [Time; 2])> = Vec::new();
    for (key, name, times) in splits(figures) {
        let spreads = |times: [Time; 2]| times.map(|time| figures.time(time));
        let same = told
            .iter_mut()
            .find(|(_, other)| spreads(*other) == spreads(times));
        match same {
            Some((other, _)) => *other += &format!(" = {key}"),
            None => told.push((name.to_string(), times)),
        }
    }
    told
}

fn counts(section: &mut Section, pass: &Pass) {
    let (figures, facts) = (&pass.figures, &pass.facts);
    let (successful, failed) = (figures.successful, figures.failed);
    let sent = figures.requests + figures.cut;
    let cut = match figures.cut {
        0 => String::new(),
        cut => format!(" + {cut} cut at the end"),
    };
    let sum = format!("{sent} sent = {successful} succeeded + {failed} failed{cut}");
    section.pair("Requests", sum);
    if facts.not_sent > 0 {
        let planned = facts.planned.map_or(String::new(), |n| format!(" of {n}"));
        let exhausted = facts.exhausted.is_some_and(|n| n > 0);
        let why = if exhausted { "; workers ran out" } else { "" };
        section.pair("Not Sent", format!("{}{planned}{why}", facts.not_sent));
    }
    if let Some(rate) = figures.error_rate() {
        section.pair("Error Rate", Cell::percent(rate));
    }
    common::warmup(section, pass);
    let rate = Cell::fixed(figures.request_throughput, 2);
    let duration = fixed(figures.duration_s, 2);
    let throughput = format!("{rate} requests/s over {duration} s");
    section.pair("Request Throughput", throughput);
    if let Some(pair) = common::steady(pass) {
        section.pair(pair.name, pair.value);
    }
}

fn open_loop(section: &mut Section, pass: &Pass) {
    let (figures, facts) = (&pass.figures, &pass.facts);
    if !figures.is_open {
        return;
    }
    let asked = facts.rate_per_s;
    let asked = asked.map_or(String::new(), |rate| format!(" (asked for: {rate})"));
    let [offered, achieved] = [figures.scheduled_per_s, figures.achieved_per_s].map(|rate| {
        rate.map_or(Cell::NONE.to_string(), |rate| {
            format!("{}/s", fixed(rate, 2))
        })
    });
    let rates = format!("offered {offered}{asked}, achieved {achieved}");
    section.pair("Rate", rates);
    let lateness = figures.time(Time::Lateness).map(|late| {
        let [mean, p99, max] = [late.avg, late.p99, late.max].map(|ms| fixed(ms, 2));
        Cell::Text(format!("mean {mean} ms, p99 {p99} ms, max {max} ms"))
    });
    section.pair("Lateness", lateness.unwrap_or(Cell::NONE));
    if let Some(overload) = figures.overload.filter(Overload::is_overloaded) {
        let [backlog, growth] = [overload.backlog, overload.growth].map(whole_percent);
        let said = format!(
            "requests came faster than the server ended them: backlog {backlog}, latency grew by {growth}"
        );
        section.pair("Overload", said);
    }
    if let Some(n) = facts.exhausted.filter(|&n| n > 0) {
        let said = format!("{n} requests found no idle worker; raise --max-inflight");
        section.pair("Pool Exhausted", said);
    }
}

fn goodput(section: &mut Section, figures: &Figures) {
    let Some(goodput) = &figures.goodput else {
        return;
    };
    let share = Cell::percent(goodput.requests_share());
    let requests = Cell::fixed(goodput.requests_per_s, 2);
    let tokens = Cell::fixed(goodput.tokens_per_s, 2);
    let said = format!(
        "{} of {} requests met the SLO ({share}), {requests} requests/s, {tokens} tokens/s",
        goodput.requests, goodput.of_requests
    );
    section.pair("Goodput", said);
}

/// Returns the name of a point, with a star if it ran away.
fn marked(pass: &Pass) -> String {
    let star = if pass.figures.is_overloaded() {
        " *"
    } else {
        ""
    };
    pass.facts.point() + star
}

/// Makes one table of the points of a sweep; `None` for a single point. A screen has goodput only if there is an SLO.
fn sweep(passes: &[Pass]) -> Option<Section> {
    const COLUMNS: [(&str, usize); 7] = [
        ("tokens/s", 10),
        ("req/s", 9),
        ("TTFT p50", 10),
        ("TTFT p99", 10),
        ("ITL p99", 9),
        ("goodput", 9),
        ("errors", 7),
    ];
    let mut rows = Vec::new();
    let mut run = None;
    for pass in passes {
        if pass.facts.run != run {
            run = pass.facts.run;
            rows.extend(run.map(|run| row(format!("Run {run}"), [])));
        }
        let goodput = pass.figures.goodput.as_ref();
        let cells = [
            figure(pass, "throughput_tokens_per_s", 1),
            figure(pass, "request_throughput_rps", 2),
            figure(pass, "ttft_p50_ms", 1),
            figure(pass, "ttft_p99_ms", 1),
            figure(pass, "itl_p99_ms", 1),
            Cell::percent(goodput.and_then(Goodput::requests_share)),
            pass.figures.failed.into(),
        ];
        rows.push(row(marked(pass), cells));
    }
    let page = Table::new(Style::Plain, ("Times in ms", 16), COLUMNS, rows);
    let has_goodput = passes.iter().any(|pass| pass.figures.goodput.is_some());
    let screen = match has_goodput {
        true => page.clone(),
        false => page.clone().without("goodput"),
    };
    let mut section = Section::new("Sweep");
    section.tables(screen, page);
    if passes.iter().any(|pass| pass.figures.is_overloaded()) {
        let star = "A star marks an overload: requests came faster than the server ended them";
        section.add(Medium::Both, Block::List(vec![star.to_string()]));
    }
    section.line("");
    (passes.len() > 1).then_some(section)
}

#[cfg(test)]
mod tests;
