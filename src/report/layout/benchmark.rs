//! `benchmark`: the block of every interval with the guides' labels, the final report, and its result file.

use std::slice;

use serde_json::Value;

use super::common::{self, COLD_HIT_RATE, hit_rate};
use super::failures::{self, Failed};
use super::report::Report;
use super::{groups, key_figures, keys, trends};
use crate::prom::kv::Now;
use crate::report::charts::Charts;
use crate::report::document::{
    Block, Cell, Document, Medium, Node, Pair, Section, Style, Table, row,
};
use crate::stats::figures::{Figures, Means, Side};
use crate::stats::pass::Pass;
use crate::stats::reuse::Reuse;
use crate::stats::spread::Spread;
use crate::stats::time::Time;
use crate::units::fixed;

/// Returns the block of an interval: the guides' twelve labels, then lines for events that are rare. `interval_s` is
/// the length of the interval as the user gave it; `server` is what the server's page
/// of metrics tells.
pub fn block(
    figures: &Figures,
    interval: &Means,
    interval_s: f64,
    in_flight: u64,
    server: &Now,
) -> Section {
    let mut section = Section::new("");
    global(&mut section, figures);
    let name = format!("Requests Processed in Last {interval_s} second Interval");
    section.pair(name, interval.requests);
    averages(&mut section, "Interval", interval);
    if figures.failed > 0 {
        let kinds = figures.failures.iter();
        let kinds = kinds.map(|(kind, failure)| format!("{kind} {}", failure.count));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        section.pair("Failed Requests", format!("{} ({kinds})", figures.failed));
    }
    section.count("In Flight", in_flight);
    if let Some(rate) = figures.all.prefix_cache_hit_rate {
        section.pair("Prefix Cache Hit Rate", Cell::percent(rate));
    }
    now(&mut section, server);
    section.line("");
    section
}

fn now(section: &mut Section, server: &Now) {
    if let Some(rate) = server.hit_rate {
        section.pair("Prefix Cache Hit Rate by Counters", Cell::percent(rate));
    }
    if let Some(share) = server.kv_use {
        section.pair("KV Cache Use", Cell::percent(share));
    }
    if server.running.or(server.waiting).is_some() {
        let [running, waiting] = [server.running, server.waiting].map(|of| Cell::exact(of, 0));
        section.pair(
            "Running / Waiting Requests",
            format!("{running} / {waiting}"),
        );
    }
}

fn global(section: &mut Section, figures: &Figures) {
    section.pair("Elapsed Time", Cell::fixed(figures.duration_s, 2));
    section.pair("Total Number of Requests Processed", figures.successful);
    section.pair("QPS", Cell::fixed(figures.request_throughput, 2));
    averages(section, "Global", &figures.means);
}

fn averages(section: &mut Section, scope: &str, means: &Means) {
    for (name, _, value) in named(means) {
        let decimals = if name == "ITL" { 3 } else { 2 };
        let name = format!("{scope} Average {name}");
        section.pair(name, Cell::fixed(value, decimals));
    }
}

/// Returns the averages with the guides' labels and the keys of the result file; times are in seconds.
fn named(means: &Means) -> [(&'static str, &'static str, Option<f64>); 4] {
    let decode = means.decode_tokens_per_s.get();
    let prefill = means.prefill_tokens_per_s.get();
    [
        ("TTFT", "ttft_s", seconds(means.ttft_ms.get())),
        ("ITL", "itl_s", seconds(means.itl_ms.get())),
        ("Prefill Throughput", "prefill_tokens_per_s", prefill),
        ("Decode Throughput", "decode_tokens_per_s", decode),
    ]
}

fn seconds(ms: Option<f64>) -> Option<f64> {
    ms.map(|ms| ms / 1e3)
}

/// The report with its charts.
pub fn document(report: &Report) -> Document {
    Document {
        charts: report.passes.iter().map(charts).collect(),
        ..final_report(report)
    }
}

fn charts(pass: &Pass) -> Charts {
    Charts {
        trends: trends::rotations(pass),
        ..groups::rotations(pass)
    }
}

/// Returns the report that the command shows at its end, which has no charts.
pub fn final_report(report: &Report) -> Document {
    const ABSENT: &str =
        "ttft_avg_ms itl_avg_ms prefix_cache_hit_rate counter_hit_rate output_tokens_mean";
    let passes = &report.passes;
    let mut sections: Vec<Section> = passes.iter().map(figures).collect();
    sections.push(failures::table(passes, |_| "whole run".to_string()));
    let missing = common::absent(passes, ABSENT);
    let data = passes.first().map(|pass| result(&report.about, pass, 0));
    let data = data.unwrap_or_default();
    Document {
        key_figures: passes.first().map_or(Vec::new(), leading),
        ..common::document(report, sections, missing, Vec::new(), data)
    }
}

/// Returns the key figures. The last of them is shown only where one of the others is absent.
fn leading(pass: &Pass) -> Vec<Pair> {
    let figures = &pass.figures;
    let median = |time| figures.time(time).map(|spread| spread.p50);
    let [cold, warm] = [Time::TtftCold, Time::TtftWarm].map(median);
    let p99 = figures.time(Time::Ttft).map(|spread| spread.p99);
    let itl = figures.time(Time::Itl).map(|spread| spread.avg);
    let hits = figures.warm.prefix_cache_hit_rate;
    let tokens = figures.token_throughput;
    let requests = figures.request_throughput;
    let all = [
        ("TTFT p50, first rotation (cold)", "ms", cold),
        ("TTFT p50, later rotations (warm)", "ms", warm),
        ("Cold TTFT / Warm TTFT", "ratio", figures.reuse.ratio()),
        ("Prefix cache hit rate, later rotations", "share", hits),
        ("TTFT p99", "ms", p99),
        ("ITL, mean", "ms", itl),
        ("Output throughput", "tokens/s", tokens),
        ("Request throughput", "requests/s", requests),
    ];
    let all = all.map(|(name, unit, value)| key_figures::single(name, unit, value));
    key_figures::with_requests(&Failed::of(slice::from_ref(pass)), all)
}

fn figures(pass: &Pass) -> Section {
    let figures = &pass.figures;
    let why = pass.facts.ended.as_deref();
    let why = why.unwrap_or("the samples end here");
    let mut section = Section::new("Figures");
    Failed::of(slice::from_ref(pass)).begin(&mut section);
    section.line(format!("Final Report ({why})"));
    section.add(Medium::Page, Block::Pairs(vec![Pair::new("Ended", why)]));
    global(&mut section, figures);
    section.line("");
    percentiles(&mut section, figures);
    rotations(&mut section, figures);
    tokens(&mut section, pass);
    common::concurrency(&mut section, pass);
    common::connections(&mut section, pass);
    common::warmup(&mut section, pass);
    if figures.failed == 0 {
        section.pair("Failed Requests", 0);
    }
    failures::lines(&mut section, pass);
    section.pair("Requests Cut at the End", figures.cut);
    common::server(&mut section, pass);
    common::client(&mut section, pass);
    section
}

fn percentiles(section: &mut Section, figures: &Figures) {
    let line = |name: &str, spread: Option<Spread>| {
        let Some(ms) = spread else {
            return row(name, [Cell::NONE]);
        };
        let times = [ms.p50, ms.p90, ms.p99, ms.max];
        let times = times.map(|ms| Cell::fixed(ms / 1e3, 3));
        row(name, times.into_iter().chain([ms.n.into()]))
    };
    let columns = ["p50", "p90", "p99", "max", "n"].map(|head| (head, 13));
    let mut rows = vec![line("TTFT", figures.time(Time::Ttft))];
    if figures.time_to_answer.is_some() {
        rows.push(line("to answer", figures.time_to_answer));
    }
    rows.push(line("ITL", figures.time(Time::Itl)));
    rows.push(line(figures.gap_name(), figures.gap));
    let table = Table::new(Style::Plain, ("seconds", 10), columns, rows);
    section.tables(table.clone(), table.named("Seconds"));
    if let Some(pair) = common::gaps_in_one_read(figures) {
        section.pair(pair.name, pair.value);
    }
    section.line("");
}

fn rotations(section: &mut Section, figures: &Figures) {
    let [cold, warm] = [Time::TtftCold, Time::TtftWarm].map(|time| figures.time(time));
    let said = |side: Side, ttft: Option<Spread>| {
        let mean = Cell::fixed(seconds(ttft.map(|ms| ms.avg)), 3);
        let median = Cell::fixed(seconds(ttft.map(|ms| ms.p50)), 3);
        let (rate, n) = (hit_rate(side.prefix_cache_hit_rate), side.requests);
        format!("TTFT mean {mean}, median {median}, hit rate {rate}, n {n}")
    };
    section.pair("First rotation (cold)", said(figures.cold, cold));
    let later = match figures.warm.requests {
        0 => "none finished; run longer to see the cache".to_string(),
        _ => said(figures.warm, warm),
    };
    section.pair("Later rotations (warm)", later);
    section.pair("Cold TTFT / Warm TTFT", reuse(figures.reuse));
    let of_text = figures.cold.text_hit_rate;
    if of_text.is_some_and(|rate| rate > COLD_HIT_RATE) {
        let rate = Cell::percent(figures.cold.prefix_cache_hit_rate);
        let said = format!("{rate} of its prompt tokens were cached, more than a chat template");
        section.pair("The first rotation was not cold", said);
    }
    section.line("");
}

/// Compares cold with warm TTFT at like load, or says why there is no comparison.
fn reuse(reuse: Reuse) -> String {
    let of = match reuse {
        Reuse::Absent(why) => return format!("not reported: {why}"),
        Reuse::Measured(of) => of,
    };
    let ratio = fixed(of.ratio, 2);
    let n = format!(
        "medians of {} cold and {} warm at like load",
        of.cold, of.warm
    );
    match of.interval {
        Some((low, high)) => {
            let (low, high) = (fixed(low, 2), fixed(high, 2));
            format!("{ratio} (95 % interval {low} to {high}, {n})")
        }
        None => format!("{ratio} ({n}; too few of them for an interval)"),
    }
}

fn tokens(section: &mut Section, pass: &Pass) {
    let figures = &pass.figures;
    common::tokens(section, slice::from_ref(pass));
    common::token_sources(section, pass);
    let throughput = Cell::fixed(figures.token_throughput, 2);
    section.pair("Output Throughput", format!("{throughput} tokens/s"));
    let weighted = Cell::fixed(figures.decode_tokens_per_s_weighted, 2);
    let weighted = format!("{weighted} tokens/s a stream");
    section.pair("Decode Throughput, token-weighted", weighted);
}

/// The keys of the summary, each with the catalogue's key of its figure or with a name that `summary` knows.
const SUMMARY: &str = "elapsed_s=duration_s qps=request_throughput_rps averages
    output_tokens_per_s=throughput_tokens_per_s decode_tokens_per_s_weighted ttft time_to_answer itl gap gaps_are_tokens
    gaps_in_one_read_share first_rotation later_rotations cold_warm_ttft prefix_cache_hit_rate prompt_tokens_mean=input_tokens_mean
    output_tokens_mean output_tokens_wanted_mean prompt_tokens_total output_tokens_total token_sources
    concurrency_mean concurrency_peak in_flight failed=failed_requests failures requests_cut=cut_requests
    requests_in_warmup=warmup_requests connect_share stale_connections requests_not_streamed client";

/// Returns the result file: `about`, then the figures. While the run goes on, the file has no reason for its end, and
/// `in_flight` requests.
pub fn result(about: &Value, pass: &Pass, in_flight: u64) -> Node {
    let mut entries = keys::head("tmesh-cli/benchmark/1");
    let header = about.as_object().into_iter().flatten();
    entries.extend(header.map(|(key, value)| (key.clone().into(), value.clone().into())));
    let summary = keys::parse(SUMMARY).into_iter().chain(keys::server());
    let summary = summary.map(|(key, name)| (key, self::summary(pass, name, in_flight)));
    entries.extend([
        ("ended".into(), pass.facts.ended.clone().into()),
        ("summary".into(), Node::object(summary)),
    ]);
    Node::Object(entries)
}

fn summary(pass: &Pass, name: &str, in_flight: u64) -> Node {
    let figures = &pass.figures;
    match name {
        "averages" => {
            let means = named(&figures.means).map(|(_, key, value)| (key, value.into()));
            let requests = ("requests", figures.means.requests.into());
            Node::object(std::iter::once(requests).chain(means))
        }
        "ttft" => keys::seconds(figures.time(Time::Ttft)),
        "time_to_answer" => keys::seconds(figures.time_to_answer),
        "itl" => keys::seconds(figures.time(Time::Itl)),
        "gap" => keys::seconds(figures.gap),
        "first_rotation" => rotation(figures.cold, figures.time(Time::TtftCold)),
        "later_rotations" => rotation(figures.warm, figures.time(Time::TtftWarm)),
        "cold_warm_ttft" => ratio(figures.reuse),
        "output_tokens_wanted_mean" => figures.wanted_output_tokens_mean.into(),
        "prompt_tokens_total" => figures.prompt_tokens.total.into(),
        "output_tokens_total" => figures.output_tokens.total.into(),
        "in_flight" => in_flight.into(),
        key => keys::figure(pass, key),
    }
}

fn ratio(reuse: Reuse) -> Node {
    let (of, absent) = match reuse {
        Reuse::Measured(of) => (Some(of), None),
        Reuse::Absent(why) => (None, Some(why.to_string())),
    };
    let (low, high) = of.and_then(|of| of.interval).unzip();
    Node::object([
        ("ratio", of.map(|of| of.ratio).into()),
        ("low", low.into()),
        ("high", high.into()),
        ("cold_requests", of.map(|of| of.cold).into()),
        ("warm_requests", of.map(|of| of.warm).into()),
        ("absent", absent.into()),
    ])
}

fn rotation(side: Side, ttft: Option<Spread>) -> Node {
    Node::object([
        ("requests", side.requests.into()),
        ("ttft_mean_s", seconds(ttft.map(|ms| ms.avg)).into()),
        ("ttft", keys::seconds(ttft)),
        ("prefix_cache_hit_rate", side.prefix_cache_hit_rate.into()),
    ])
}

#[cfg(test)]
mod tests;
