//! Lines that several layouts show below their figures, and the sections that every page has around the figures.

use serde_json::Value;

use super::kv_cache;
use super::report::Report;
use crate::report::charts::Charts;
use crate::report::client;
use crate::report::document::{
    Block, Cell, Document, Medium, Node, Pair, Section, Style, Table, row,
};
use crate::sample::TokenSource;
use crate::stats::catalog::{self, COUNTER_HIT_RATE, Datum, HIT_RATE};
use crate::stats::facts::Metric;
use crate::stats::figures::{Figures, Tokens};
use crate::stats::pass::Pass;
use crate::units::{fixed, share};

/// The warning on every result that the built-in mock server gave.
pub const MOCK: &str = "Mock server: not a measurement of an engine";
/// The hit rate above which a first rotation, or the first turns of a first round, were not cold. Tokens that all
/// prompts begin with before their own text do not count as hits.
pub const COLD_HIT_RATE: f64 = 0.02;
/// Connection set-up is mentioned above this share of TTFT.
const NOTABLE_SHARE: f64 = 0.01;

/// Gaps of 0, between events of one read, are mentioned from this share of all gaps on.
const NOTABLE_GAPS: f64 = 0.001;

const UNWATCHED: &str = "Whether the client kept up: the run was too short to watch it";

/// Returns the figure with a key of the catalogue; a number has exactly `decimals` decimals.
pub fn figure(pass: &Pass, key: &str, decimals: usize) -> Cell {
    match catalog::value(pass, key) {
        Some(Datum::Count(n)) => n.into(),
        value => Cell::exact(value.map(Datum::as_f64), decimals),
    }
}

/// Returns the cell of a hit rate, or `not reported` if no reply reported it.
pub fn hit_rate(rate: impl Into<Option<f64>>) -> Cell {
    Cell::percent(rate).or("not reported")
}

/// Says how long the prompts and the outputs of all these passes are on average.
pub fn tokens(section: &mut Section, passes: &[Pass]) {
    let mean = |of: fn(&Figures) -> Tokens| {
        let all = || passes.iter().map(|pass| of(&pass.figures));
        let total = all().filter_map(|tokens| tokens.total).sum();
        let mean = share(total, all().map(|tokens| tokens.n).sum());
        Cell::fixed(mean, 1)
    };
    let prompt = mean(|figures| figures.prompt_tokens);
    let output = mean(|figures| figures.output_tokens);
    section.pair("Tokens per Request", format!("{prompt} in, {output} out"));
}

/// Returns the rates in the steady window; `None` without one.
pub fn steady(pass: &Pass) -> Option<Pair> {
    let steady = pass.figures.steady?;
    let [window, all] = [steady.duration_s, pass.figures.duration_s].map(|s| fixed(s, 1));
    let tokens = Cell::fixed(steady.tokens_per_s, 1);
    let requests = fixed(steady.requests_per_s, 1);
    let said = format!("{window} s of {all} s, {tokens} tokens/s, {requests} requests/s");
    Some(Pair::new("Steady Window", said))
}

/// Returns the share of the gaps that are 0, if it is notable.
pub fn gaps_in_one_read(figures: &Figures) -> Option<Pair> {
    let share = figures.gaps_in_one_read_share;
    let share = Cell::percent(share.filter(|&share| share >= NOTABLE_GAPS)?);
    let name = format!("{share} of the gaps are 0");
    Some(Pair::new(name, "their events came in one read"))
}

pub fn concurrency(section: &mut Section, pass: &Pass) {
    let mean = Cell::fixed(pass.figures.concurrency_mean, 1);
    let peak = pass.facts.concurrency_peak;
    section.pair("Achieved Concurrency", format!("mean {mean}, peak {peak}"));
}

/// Says who counted the output tokens, unless it was `usage` alone.
pub fn token_sources(section: &mut Section, pass: &Pass) {
    let sources = &pass.figures.token_sources;
    let has = |source: TokenSource| sources.contains_key(source.name());
    let [events, estimate] = [TokenSource::Events, TokenSource::Estimate].map(has);
    if sources.len() < 2 && !events && !estimate && !has(TokenSource::Tokenize) {
        return;
    }
    let named = |(source, n)| format!("{source} ({n} requests)");
    let mut said = sources.iter().map(named).collect::<Vec<_>>().join(", ");
    if events {
        said += "; an event may hold several tokens";
    }
    if estimate {
        said += "; estimates are made from the bytes of the text";
    }
    section.pair("Output tokens counted by", said);
}

/// Says what share of TTFT went into connections, if it is notable, and how many requests were resent or not streamed.
pub fn connections(section: &mut Section, pass: &Pass) {
    let figures = &pass.figures;
    let share = figures.connect_share;
    if let Some(share) = share.filter(|&share| share > NOTABLE_SHARE) {
        let share = Cell::percent(share);
        let name = format!("Connection set-up is {share} of TTFT");
        section.pair(name, "the server does not keep connections");
    }
    let stale = figures.stale_connections;
    if stale > 0 {
        let said = format!("{stale} requests were sent again on a new one");
        section.pair("Stale connections", said);
    }
    let replies = figures.not_streamed;
    if replies > 0 {
        let said = format!("{replies} replies, without TTFT and ITL");
        section.pair("Not streamed", said);
    }
}

pub fn warmup(section: &mut Section, pass: &Pass) {
    let n = pass.figures.warmup;
    if n > 0 {
        section.pair("Warm-up", format!("{n} requests, left out of every figure"));
    }
}

/// Adds what the server's counters tell of the pass, beside the hit rate of `usage`; nothing where they tell nothing.
pub fn server(section: &mut Section, pass: &Pass) {
    let value = |key| catalog::value(pass, key).map(Datum::as_f64);
    let source = |key| catalog::told(pass, key).source;
    let mut said: Vec<(&str, String)> = Vec::new();
    if let Some(rate) = value(COUNTER_HIT_RATE) {
        let usage = hit_rate(pass.figures.all.prefix_cache_hit_rate);
        let rate = format!("{} (by usage: {usage})", Cell::percent(rate));
        said.push(("Prefix Cache Hit Rate by Counters", rate));
        said.push(("Counters of the Hit Rate", source(HIT_RATE)));
    }
    let tiers = ["device", "host", "remote"].map(|tier| {
        let share = catalog::value(pass, &format!("{tier}_hit_rate"))?;
        Some(format!("{tier} {}", Cell::percent(share.as_f64())))
    });
    let tiers: Vec<String> = tiers.into_iter().flatten().collect();
    if !tiers.is_empty() {
        said.push(("Hit Rate by Tier", tiers.join(", ")));
    }
    if let Some(share) = value("kv_cache_use_peak") {
        said.push(("KV Cache Use", format!("peak {}", Cell::percent(share))));
    }
    said.extend(requests_in_server(pass).map(|two| ("Running / Waiting Requests", two)));
    for (name, key) in [
        ("Preemptions", "total_preemption_count"),
        ("Evictions", "total_evict_count"),
    ] {
        if let Some(n) = catalog::value(pass, key) {
            let n = Cell::exact(Some(n.as_f64()), 0);
            said.push((name, format!("{n} ({})", source(key))));
        }
    }
    if !said.is_empty() {
        section.line("Server Metrics:");
    }
    for (name, said) in said {
        section.pair(format!("  {name}"), said);
    }
}

/// Requests that the server worked on and those that waited for it; `None`: it tells neither.
fn requests_in_server(pass: &Pass) -> Option<String> {
    let two = |of: &str, decimals| {
        let keys = ["running", "waiting"].map(|state| format!("{state}_requests_{of}"));
        let values = keys.map(|key| catalog::value(pass, &key).map(Datum::as_f64));
        let is_told = values.iter().any(Option::is_some);
        let [running, waiting] = values.map(|value| Cell::exact(value, decimals));
        is_told.then(|| format!("{of} {running} / {waiting}"))
    };
    let said = [two("mean", 1), two("peak", 0)].into_iter().flatten();
    let said = said.collect::<Vec<_>>().join(", ");
    (!said.is_empty()).then_some(said)
}

/// Says whether this client kept up.
pub fn client(section: &mut Section, pass: &Pass) {
    let pair = client::pair(&pass.facts.client);
    section.add(Medium::Both, Block::Pairs(vec![pair]));
}

/// Makes the document of a report, without key figures: its figures, then the parts that every page has, and the
/// verdict on the KV cache. `missing` lists the figures that are not reported.
pub fn document(
    report: &Report,
    figures: Vec<Section>,
    missing: Vec<String>,
    charts: Vec<Charts>,
    data: Node,
) -> Document {
    let mut sections = figures;
    sections.push(list("Not reported", missing));
    let (answer, conflict) = kv_cache::told(report);
    let remarks = report.notes.iter().cloned();
    Document {
        remarks: remarks.chain(conflict).collect(),
        data: kv_cache::with(answer.as_ref(), data),
        answer,
        sections,
        charts,
        ..frame(report)
    }
}

/// Makes what every page has around the figures: the title, the run, its settings and the warning.
pub fn frame(report: &Report) -> Document {
    let about = &report.about;
    let text = |key: &str, absent| about[key].as_str().unwrap_or(absent).to_string();
    let command = text("command", "report");
    Document {
        title: format!("tmesh-cli {command}: {}", text("model", "unknown model")),
        lead: lead(about),
        environment: environment(about),
        warning: (about["mock"] == true).then_some(MOCK),
        ..Document::default()
    }
}

/// Returns the date, the model and the endpoint of a run, as far as its header names them.
fn lead(about: &Value) -> Vec<Pair> {
    const NAMES: [(&str, &str); 3] = [
        ("Date", "started_at"),
        ("Model", "model"),
        ("Endpoint", "endpoint"),
    ];
    let texts = NAMES.into_iter();
    let texts = texts.filter_map(|(name, key)| Some((name, about[key].as_str()?)));
    let known = texts.filter(|(_, text)| !text.is_empty());
    known.map(|(name, text)| Pair::new(name, text)).collect()
}

/// Returns the version of this program, then every value of the header under its path; empty ones are left out.
fn environment(about: &Value) -> Section {
    let version = format!("tmesh-cli {}", env!("CARGO_PKG_VERSION"));
    let mut rows = vec![row("report by", [version.into()])];
    flatten(&mut rows, "", about);
    page_table("Environment", ["Setting", "Value"], rows)
}

fn flatten(rows: &mut Vec<Vec<Cell>>, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(rows, &format!("{path}{dot}{key}"), value);
            }
        }
        Value::String(text) => rows.push(row(path, [text.as_str().into()])),
        other => rows.push(row(path, [other.to_string().into()])),
    }
}

/// Makes a section with a table of words, for pages.
pub fn page_table<const N: usize>(
    title: &str,
    heads: [&'static str; N],
    rows: Vec<Vec<Cell>>,
) -> Section {
    let columns = heads[1..].iter().map(|&head| (head, 0));
    let table = Table::new(Style::Words, (heads[0], 0), columns, rows);
    let mut section = Section::new(title);
    section.add(Medium::Page, Block::Table(table));
    section
}

/// Makes a section with a list, for pages; a page leaves it out if there are no items.
pub fn list(title: &str, items: Vec<String>) -> Section {
    let mut section = Section::new(title);
    if !items.is_empty() {
        section.add(Medium::Page, Block::List(items));
    }
    section
}

/// Returns the absent figures of the passes, each with its reason: figures with these keys of the catalogue, separated
/// by blanks, then the client if nobody watched it, then the server's metrics.
pub fn absent(passes: &[Pass], keys: &str) -> Vec<String> {
    let of = |pass: &Pass| {
        let figures = keys.split(' ').filter_map(catalog::find);
        let missing = figures.filter(|figure| figure.of(pass).is_none());
        // Nothing is said of counters that the input knows nothing of.
        let has_counters = pass.facts.told.contains_key(HIT_RATE);
        let missing =
            missing.filter(|figure| has_counters || figure.definition.key != COUNTER_HIT_RATE);
        let reasons = missing.map(|figure| {
            let label = figure.definition.label;
            format!("{label}: {}", figure.source_or_why(pass))
        });
        let is_watched = pass.facts.client.limited.is_some();
        let unwatched = (!is_watched).then(|| UNWATCHED.to_string());
        let metrics = pass.facts.metrics.iter();
        let metrics = metrics.filter(|metric| metric.spread.is_none()).map(|of| {
            let why = match of.source.as_str() {
                Metric::NOT_FOUND => "not on the server's page of metrics",
                _ => "no request has a reading before it and one after it",
            };
            format!("{}: {why}", of.name)
        });
        let reasons = reasons.chain(unwatched).chain(metrics);
        (pass.name(), reasons.collect())
    };
    in_places(&passes.iter().map(of).collect::<Vec<_>>())
}

/// Returns each reason with the rounds or workloads that it applies to, in the order of first appearance; a reason that
/// applies to all of them stands alone.
pub fn in_places(absent: &[(String, Vec<String>)]) -> Vec<String> {
    let mut reasons: Vec<&String> = Vec::new();
    for why in absent.iter().flat_map(|(_, reasons)| reasons) {
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    let told = reasons.into_iter().map(|why| {
        let of = absent.iter().filter(|(_, reasons)| reasons.contains(why));
        let names: Vec<&str> = of.map(|(name, _)| name.as_str()).collect();
        match names.len() == absent.len() {
            true => why.clone(),
            false => format!("{}: {why}", names.join("; ")),
        }
    });
    told.collect()
}
