//! The fixed workloads side by side: one table, and below it what is to be known of its figures.

use std::fmt::{self, Write};

use super::cells::{DECIMALS, or_absent, printed};
use super::sections::in_places;
use super::{client, notes, percent};
use crate::stats::spread::Spread;
use crate::stats::workload::{
    ACCEPT_RATE, EVICT_MS, EVICTIONS, HIT_RATE, KV_BYTES, KV_TOKENS, MEAN_MEMORY, PEAK_MEMORY,
    PREEMPTIONS, TOLD, UNTOLD, WorkloadSummary,
};

const NAME_WIDTH: usize = 32;
const FIGURE_WIDTH: usize = 15;

/// The achieved lengths are mentioned when they are further off than this.
const PROMPT_OFF: f64 = 0.01;
const OUTPUT_SHORT: f64 = 0.05;

/// What is printed: the table, notes on single workloads, and where figures are from.
pub fn table(out: &mut String, workloads: &[WorkloadSummary]) -> fmt::Result {
    let mut head = vec!["Workload".to_string()];
    head.extend(names(workloads));
    line(out, &head)?;
    writeln!(
        out,
        "{}",
        "-".repeat(NAME_WIDTH + FIGURE_WIDTH * workloads.len())
    )?;
    for row in rows(workloads) {
        line(out, &row)?;
    }
    writeln!(out)?;
    for workload in workloads {
        let mut text = String::new();
        if workload.round.failed > 0 {
            notes::failures(&mut text, workload.round.failed, &workload.round.failures)?;
        }
        beyond(&mut text, workload)?;
        for line in text.lines() {
            writeln!(out, "{}: {line}", workload.workload.name())?;
        }
    }
    for (title, is_there) in [
        ("Sources of the figures that are not from requests", true),
        ("Not reported", false),
    ] {
        let lines = told(workloads, is_there);
        if !lines.is_empty() {
            writeln!(out, "\n{title}:")?;
        }
        lines
            .iter()
            .try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}

pub(super) fn names(workloads: &[WorkloadSummary]) -> impl Iterator<Item = String> {
    let names = workloads.iter().map(|one| one.workload.name());
    names.map(str::to_string)
}

fn line(out: &mut String, cells: &[String]) -> fmt::Result {
    write!(out, "{:<NAME_WIDTH$}", cells[0])?;
    for cell in &cells[1..] {
        write!(out, "{cell:>FIGURE_WIDTH$}")?;
    }
    writeln!(out)
}

/// A row a figure: its name with the unit, then a cell a workload.
pub(super) fn rows(workloads: &[WorkloadSummary]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, cell: &dyn Fn(&WorkloadSummary) -> Option<String>| {
        let cells = workloads.iter().map(|one| or_absent(cell(one)));
        rows.push(std::iter::once(name.to_string()).chain(cells).collect());
    };
    row("Requests", &|one| {
        Some(one.round.total_requests.to_string())
    });
    row("At once, at most", &|one| {
        Some(one.round.concurrency_peak.to_string())
    });
    row("Succeeded", &|one| Some(one.round.successful.to_string()));
    row("Failed", &|one| Some(one.round.failed.to_string()));
    row("Error rate", &|one| one.error_rate().map(percent));
    row("Prompt tokens, mean", &|one| {
        printed(one.round.input_tokens_mean, 1)
    });
    row("Output tokens, mean", &|one| {
        printed(one.round.output_tokens_mean, 1)
    });
    row("TTFT avg (ms)", &|one| ms(one.round.ttft_ms.as_ref(), avg));
    row("TTFT p50 (ms)", &|one| ms(one.round.ttft_ms.as_ref(), p50));
    row("TTFT p95 (ms)", &|one| printed(one.ttft_p95_ms, DECIMALS));
    row("TTFT p99 (ms)", &|one| ms(one.round.ttft_ms.as_ref(), p99));
    row("TTFT n", &|one| n(one.round.ttft_ms.as_ref()));
    row("TBT avg (ms)", &|one| ms(one.round.itl_ms.as_ref(), avg));
    row("TBT p99 (ms)", &|one| ms(one.round.itl_ms.as_ref(), p99));
    row("TBT n", &|one| n(one.round.itl_ms.as_ref()));
    row("TPOT with first token avg (ms)", &|one| {
        printed(one.tpot_ms, DECIMALS)
    });
    row("Latency avg (ms)", &|one| {
        ms(one.round.latency_ms.as_ref(), avg)
    });
    row("Latency p99 (ms)", &|one| {
        ms(one.round.latency_ms.as_ref(), p99)
    });
    row("A request's tokens/s, avg", &|one| {
        printed(one.request_tokens_per_s, DECIMALS)
    });
    row("Output tokens/s", &|one| {
        printed(one.round.token_throughput, DECIMALS)
    });
    row("Requests/s", &|one| {
        printed(one.round.request_throughput, DECIMALS)
    });
    for key in TOLD {
        row(told_name(key), &|one| {
            one.told(key).map(|value| told_cell(key, value))
        });
        if key == HIT_RATE {
            row("  the same by usage", &|one| {
                one.round.prefix_cache_hit_rate.map(percent)
            });
        }
    }
    rows
}

fn avg(spread: &Spread) -> f64 {
    spread.avg
}

fn p50(spread: &Spread) -> f64 {
    spread.p50
}

fn p99(spread: &Spread) -> f64 {
    spread.p99
}

fn ms(spread: Option<&Spread>, of: fn(&Spread) -> f64) -> Option<String> {
    printed(spread.map(of), DECIMALS)
}

fn n(spread: Option<&Spread>) -> Option<String> {
    Some(spread.map_or(0, |spread| spread.n).to_string())
}

/// How a figure of `TOLD` is called in tables.
fn told_name(key: &str) -> &'static str {
    match key {
        PEAK_MEMORY => "Memory peak (MiB)",
        MEAN_MEMORY => "Memory avg (MiB)",
        KV_TOKENS => "KV cache used, peak (tokens)",
        KV_BYTES => "KV cache used, peak (MiB)",
        HIT_RATE => "Prefix cache hit rate",
        EVICTIONS => "Evictions",
        EVICT_MS => "Eviction time (ms)",
        ACCEPT_RATE => "Speculative accept rate",
        PREEMPTIONS => "Preemptions",
        _ => "unknown",
    }
}

fn told_cell(key: &str, value: f64) -> String {
    match key {
        HIT_RATE | ACCEPT_RATE => percent(value),
        KV_BYTES => format!("{:.2}", value / f64::from(1 << 20)),
        KV_TOKENS | EVICTIONS | PREEMPTIONS => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// Where the figures are from that server and system told, or why those are not there that they did not tell;
/// figures of which the same is said share a line.
pub(super) fn told(workloads: &[WorkloadSummary], is_there: bool) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for key in TOLD {
        let places = workloads.iter().map(|one| {
            let told = one.told.get(key);
            let told =
                told.filter(|told| told.value.is_some() == is_there && told.source != UNTOLD);
            let source = told.map(|told| told.source.clone());
            (
                one.workload.name().to_string(),
                source.into_iter().collect(),
            )
        });
        for line in in_places(&places.collect::<Vec<_>>()) {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, names)) => names.push(told_name(key)),
                None => lines.push((line, vec![told_name(key)])),
            }
        }
    }
    let lines = lines.into_iter();
    lines
        .map(|(line, names)| format!("{}: {line}", names.join(" · ")))
        .collect()
}

/// What the table does not tell of a workload, but for its failures: what was cut, doubts, this client.
pub(super) fn beyond(out: &mut String, one: &WorkloadSummary) -> fmt::Result {
    let round = &one.round;
    if round.cut > 0 {
        writeln!(out, "Requests Cut at the End: {}", round.cut)?;
    }
    for doubt in doubts(one) {
        writeln!(out, "{doubt}")?;
    }
    notes::token_sources(out, &round.token_sources)?;
    let (share, stale) = (round.connect_share, round.stale_connections);
    notes::connections(out, round.successful, share, stale)?;
    notes::not_streamed(out, round.not_streamed)?;
    client::line(out, &round.client)
}

fn doubts(one: &WorkloadSummary) -> Vec<String> {
    let mut doubts = Vec::new();
    let wanted = one.workload.tokens() as f64;
    if let Some(mean) = one.round.input_tokens_mean
        && (mean - wanted).abs() > PROMPT_OFF * wanted
    {
        doubts.push(format!(
            "Warning: prompts have {mean:.1} tokens on average, {wanted} were wanted"
        ));
    }
    if let Some(mean) = one.round.output_tokens_mean
        && mean < (1.0 - OUTPUT_SHORT) * wanted
    {
        doubts.push(format!(
            "Warning: answers have {mean:.1} tokens on average, {wanted} were wanted"
        ));
    }
    if let Some((server, usage)) = one.hit_rates_apart() {
        doubts.push(format!(
            "Warning: the server's hit rate is {}, that of usage {}: others use the server, or one of them is wrong",
            percent(server),
            percent(usage)
        ));
    }
    doubts
}
