//! `find-rate`: the probes of a search for the highest rate under an SLO, its answer, and what to do next.

mod next;

use serde_json::Value;

use self::next::next;
use super::common;
use super::failures;
use super::findings::{count, list, share};
use super::form::Form;
use super::kv_cache::times;
use super::report::Report;
use crate::report::charts::{Charts, Point, Trend};
use crate::report::document::{Block, Cell, Document, Medium, Section, Style, Table, row};
use crate::sample::find;
use crate::stats::find_rate::{self, Kind, Outcome, Status};
use crate::units::{counted, fixed};

pub const FORM: Form = Form {
    schema: "tmesh-cli/find-rate/1",
    keys: &[
        "status",
        "why",
        "rate_per_s",
        "low_per_s",
        "high_per_s",
        "x_max_per_s",
        "last_pass_per_s",
        "first_fail_per_s",
        "cliff",
        "is_client_limited",
        "target",
        "probes",
        "requests",
        "seconds",
    ],
};
/// The width of the column of the probes' names.
const NAME_WIDTH: usize = 14;

/// Returns the line that is printed when a probe has ended.
pub fn line(probe: &find_rate::Probe) -> String {
    let probe = &serde_json::to_value(probe).unwrap_or_default();
    let attained = match (percent(probe, "attainment"), interval(probe)) {
        (Some(share), Some(interval)) => format!("{share:.1} % ({interval}), "),
        (Some(share), None) => format!("{share:.1} %, "),
        (None, _) => String::new(),
    };
    let p99 = probe["ttft_p99_ms"].as_f64().map(|ms| {
        let (p99, _) = times(ms * 1e6, 0.0);
        format!(", TTFT p99 {p99}")
    });
    let (name, n, p99) = (
        name(probe),
        count(probe, "requests").unwrap_or(0),
        p99.unwrap_or_default(),
    );
    format!(
        "{name:<NAME_WIDTH$}  {attained}n {n}{p99}: {}\n",
        word(probe)
    )
}

/// Makes the report.
pub fn document(report: &Report) -> Document {
    let (about, found) = (&report.about, &report.findings);
    let sections = vec![probes(found), rates(report)];
    let figures = (sections, charts(about, found));
    let answer = (sentence(found), next(report));
    FORM.document(report, Vec::new(), figures, answer)
}

/// Returns the name of a probe: its requests in flight, or its rate.
fn name(probe: &Value) -> String {
    let rate = probe["rate_per_s"]
        .as_f64()
        .map(|rate| format!("{}/s", per_second(rate)));
    let in_flight = count(probe, "concurrency").map(|n| format!("{n} in flight"));
    let name = rate.or(in_flight).unwrap_or_else(|| "unknown".to_string());
    match probe["kind"] == Kind::Verify.name() {
        true => format!("{name}, verify"),
        false => name,
    }
}

/// Formats a rate: `0.523`, `12.4`, `1012`.
fn per_second(rate: f64) -> String {
    fixed(rate, usize::from(rate < 1000.0))
}

fn outcome(probe: &Value) -> Option<Outcome> {
    find(&Outcome::NAMES, probe["outcome"].as_str()?)
}

/// Returns the word for an outcome, which marks an overload.
fn word(probe: &Value) -> &'static str {
    match outcome(probe) {
        Some(Outcome::Overload) => "OVERLOAD",
        Some(other) => other.name(),
        None => "unknown",
    }
}

fn percent(probe: &Value, key: &str) -> Option<f64> {
    Some(probe[key].as_f64()? * 100.0)
}

/// Returns the interval of the attainment in percent.
fn interval(probe: &Value) -> Option<String> {
    let (low, high) = (percent(probe, "low")?, percent(probe, "high")?);
    Some(format!("{low:.1} to {high:.1}"))
}

/// Makes the table of the probes.
fn probes(found: &Value) -> Section {
    let rows = list(&found["probes"]).map(|probe| {
        let number = |key: &str, decimals| Cell::fixed(probe[key].as_f64(), decimals);
        let cells = [
            count(probe, "requests").map_or(Cell::NONE, Cell::from),
            Cell::percent(probe["attainment"].as_f64()),
            interval(probe).map_or(Cell::NONE, Cell::from),
            number("throughput_per_s", 1),
            number("ttft_p50_ms", 1),
            number("ttft_p99_ms", 1),
            word(probe).into(),
        ];
        row(name(probe), cells)
    });
    let columns = [
        ("n", 7),
        ("Met SLO", 9),
        ("Interval", 14),
        ("Req/s", 7),
        ("TTFT p50", 10),
        ("p99", 9),
        ("Outcome", 10),
    ];
    let mut section = Section::new("Probes");
    section.table(Table::new(
        Style::Plain,
        ("Probe", NAME_WIDTH),
        columns,
        rows,
    ));
    let what = "Met SLO: of the n requests after the warm-up, %, with its 95 % interval";
    let units = "Req/s: successes per second; TTFT in ms";
    let items = [what, units].map(str::to_string).to_vec();
    section.add(Medium::Both, Block::List(items));
    section.line("");
    section
}

/// Shows the rates around the answer, and the cost of the search.
fn rates(report: &Report) -> Section {
    let (about, found) = (&report.about, &report.findings);
    let mut section = Section::new("Rates");
    if let Some(target) = found["target"].as_f64() {
        let limits = ["ttft_ms", "itl_ms", "latency_ms"].map(|key| {
            let limit = about["slo"][key].as_f64()?;
            Some(format!("{key} below {limit}"))
        });
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        let target = format!("{} of requests", share(target));
        let parts: Vec<String> = std::iter::once(target).chain(limits).collect();
        section.pair("SLO", parts.join(", "));
    }
    for (name, key) in [
        ("Last Pass", "last_pass_per_s"),
        ("First Fail", "first_fail_per_s"),
        ("Closed Loop's Maximum", "x_max_per_s"),
    ] {
        let rate = found[key].as_f64();
        let rate = rate.map(|rate| format!("{} requests/s", per_second(rate)));
        section.pair(name, rate.map_or(Cell::NONE, Cell::from));
    }
    if let Some(cliff) = cliff(&found["cliff"]) {
        section.pair("Cliff", cliff);
    }
    let requests = counted(count(found, "requests").unwrap_or(0), "request");
    let seconds = Cell::exact(found["seconds"].as_f64(), 1).unit("s");
    section.pair("Cost", format!("{requests} in {seconds}"));
    if !report.passes.is_empty() {
        common::tokens(&mut section, &report.passes);
    }
    failures::requests(&mut section, &report.passes);
    section
}

fn cliff(of: &Value) -> Option<String> {
    let number = |key: &str| of[key].as_f64();
    let shares = [number("attainment_from")?, number("attainment_to")?];
    let [from, to] = shares.map(|share| Cell::percent(share).to_string());
    let rates = [number("from_per_s")?, number("to_per_s")?];
    let [low, high] = rates.map(per_second);
    Some(format!("from {from} at {low} to {to} at {high} requests/s"))
}

/// Returns the answer in one line.
fn sentence(found: &Value) -> String {
    const LEAD: &str = "Highest rate under the SLO: ";
    let end = |key: &str| Some(per_second(found[key].as_f64()?));
    let rate = end("rate_per_s").map(|rate| {
        let interval = end("low_per_s").zip(end("high_per_s"));
        let interval = interval.map(|(low, high)| format!(" ({low} to {high})"));
        format!("{rate} requests/s{}", interval.unwrap_or_default())
    });
    let is_confirmed = found["status"] == Status::Confirmed.name();
    if let Some(rate) = rate.as_ref().filter(|_| is_confirmed) {
        return format!("{LEAD}{rate}, confirmed");
    }
    let why = found["why"].as_str().unwrap_or("nothing was found out");
    let why = why.trim_end_matches('.');
    let guess = rate.map(|rate| format!("; the best guess is {rate}"));
    format!("{LEAD}unresolved: {why}{}", guess.unwrap_or_default())
}

/// The probes of the open loop by their rates.
fn by_rate(found: &Value) -> Vec<(f64, &Value, usize)> {
    let probes = list(&found["probes"]).filter_map(|probe| {
        let group = outcome(probe).unwrap_or(Outcome::Unclear) as usize;
        Some((probe["rate_per_s"].as_f64()?, probe, group))
    });
    let mut probes: Vec<_> = probes.collect();
    probes.sort_by_cached_key(|(rate_per_s, ..)| rate_per_s.max(0.0).to_bits());
    probes
}

/// A limit of a chart, with its name and a note.
type Limit = (f64, &'static str, String);

/// Returns the limits of the attainment, of TTFT and of the throughput.
fn limits(about: &Value, found: &Value) -> [Option<Limit>; 3] {
    let target = found["target"].as_f64().map(|of| {
        let note = format!("SLO: {} of requests.", share(of));
        (of * 100.0, "SLO", note)
    });
    let ttft = about["slo"]["ttft_ms"].as_f64();
    let ttft = ttft.map(|ms| (ms, "SLO", format!("SLO: {ms} ms for each request.")));
    let most = found["x_max_per_s"].as_f64().map(|of| {
        let most = fixed(of, 1);
        let note = format!("max: {most} requests/s, the closed loop's maximum.");
        (of, "max", note)
    });
    [target, ttft, most]
}

fn charts(about: &Value, found: &Value) -> Charts {
    let probes = by_rate(found);
    let line = |name: &str, key: &str, scale: f64| {
        let points = probes.iter().filter_map(|&(x, probe, group)| {
            let y = probe[key].as_f64()? * scale;
            Some(Point { x, y, group })
        });
        (name.to_string(), points.collect::<Vec<Point>>())
    };
    let mut groups: Vec<usize> = probes.iter().map(|(.., group)| *group).collect();
    groups.sort_by_cached_key(|&group| group as u64);
    groups.dedup();
    let named = |group: usize| (group, Outcome::NAMES[group].1.to_string());
    let key: Vec<(usize, String)> = groups.into_iter().map(named).collect();
    let trend = |title, y, lines, limit: Option<Limit>| Trend {
        title,
        x: "rate, requests/s",
        y,
        lines,
        key: key.clone(),
        levels: limit.iter().map(|(at, name, _)| (*at, *name)).collect(),
        note: limit.map_or(String::new(), |(.., note)| note),
        ..Trend::default()
    };
    let [target, ttft, most] = limits(about, found);
    let attained = vec![line("", "attainment", 100.0)];
    let attained = trend(
        "Attainment over rate",
        "requests that met the SLO, %",
        attained,
        target,
    );
    let attained = Trend {
        y_max: Some(100.0),
        ..attained
    };
    let times = vec![
        line("p50", "ttft_p50_ms", 1.0),
        line("p99", "ttft_p99_ms", 1.0),
    ];
    let times = trend("TTFT over rate", "TTFT, ms", times, ttft);
    let throughput = vec![line("", "throughput_per_s", 1.0)];
    let throughput = trend(
        "Throughput over rate",
        "successes per second",
        throughput,
        most,
    );
    let has_points = |of: &Trend| of.lines.iter().any(|(_, points)| !points.is_empty());
    let all = [attained, times, throughput].into_iter();
    Charts {
        trends: all.filter(has_points).collect(),
        ..Charts::default()
    }
}

#[cfg(test)]
mod tests;
