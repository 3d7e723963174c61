//! The final report of `benchmark`.

use std::fmt::{self, Write};

use super::notes::{self, COLD_HIT_RATE};
use super::{client, live, number, percent};
use crate::stats::{Quantiles, RotationSummary, Summary};
use crate::units::fixed;

/// Writes the final report; `why` says what ended the run.
pub fn report(out: &mut String, summary: &Summary, why: &str) -> fmt::Result {
    writeln!(out, "Final Report ({why})")?;
    live::global(out, summary)?;
    writeln!(out)?;
    percentiles(out, summary)?;
    rotations(out, summary)?;
    tokens(out, summary)?;
    notes::concurrency(out, summary.concurrency_mean, summary.concurrency_peak)?;
    failures(out, summary)?;
    client::line(out, &summary.client)
}

fn percentiles(out: &mut String, summary: &Summary) -> fmt::Result {
    writeln!(
        out,
        "{:<10}{:>13}{:>13}{:>13}{:>13}{:>13}",
        "seconds", "p50", "p90", "p99", "max", "n"
    )?;
    for (name, quantiles) in quantiles(summary) {
        row(out, name, quantiles)?;
    }
    if let Some(share) = summary
        .gaps_in_one_read_share
        .filter(|&share| share >= 0.001)
    {
        writeln!(
            out,
            "{} of the gaps are 0: their events came in one read",
            percent(share)
        )?;
    }
    writeln!(out)
}

/// Each distribution under its name.
pub(super) fn quantiles(summary: &Summary) -> [(&'static str, Option<Quantiles>); 3] {
    let gap = if summary.gaps_are_tokens {
        "token gap"
    } else {
        "chunk gap"
    };
    [
        ("TTFT", summary.ttft),
        ("ITL", summary.itl),
        (gap, summary.gap),
    ]
}

fn row(out: &mut String, name: &str, quantiles: Option<Quantiles>) -> fmt::Result {
    write!(out, "{name:<10}")?;
    let Some(q) = quantiles else {
        return writeln!(out, "{:>13}", "n/a");
    };
    for value in [q.p50_s, q.p90_s, q.p99_s, q.max_s] {
        write!(out, "{:>13}", fixed(value, 3))?;
    }
    writeln!(out, "{:>13}", q.n)
}

fn rotations(out: &mut String, summary: &Summary) -> fmt::Result {
    let (cold, warm) = (&summary.first_rotation, &summary.later_rotations);
    side(out, "First rotation (cold)", cold)?;
    if warm.requests > 0 {
        side(out, "Later rotations (warm)", warm)?;
    } else {
        writeln!(
            out,
            "Later rotations (warm): none finished; run longer to see the cache"
        )?;
    }
    if let (Some(cold), Some(warm)) = (cold.ttft_mean_s, warm.ttft_mean_s) {
        writeln!(out, "Cold TTFT / Warm TTFT: {}", fixed(cold / warm, 2))?;
    }
    if let Some(rate) = cold
        .prefix_cache_hit_rate
        .filter(|&rate| rate > COLD_HIT_RATE)
    {
        let rate = percent(rate);
        writeln!(
            out,
            "The first rotation was not cold: {rate} of its prompt tokens were cached"
        )?;
    }
    writeln!(out)
}

fn side(out: &mut String, name: &str, part: &RotationSummary) -> fmt::Result {
    let median = number(part.ttft.map(|q| q.p50_s), 3);
    let rate = notes::hit_rate(part.prefix_cache_hit_rate);
    writeln!(
        out,
        "{name}: TTFT mean {}, median {median}, hit rate {rate}, n {}",
        number(part.ttft_mean_s, 3),
        part.requests
    )
}

fn tokens(out: &mut String, summary: &Summary) -> fmt::Result {
    writeln!(
        out,
        "Tokens per Request: {} in, {} out",
        number(summary.prompt_tokens_mean, 1),
        number(summary.output_tokens_mean, 1)
    )?;
    if let (Some(got), Some(wanted)) = (
        summary.output_tokens_mean,
        summary.output_tokens_wanted_mean,
    ) && got < 0.95 * wanted
        // Where events were counted their mean says nothing of tokens; the next line says so.
        && !summary.token_sources.contains_key("events")
    {
        let (got, wanted) = (fixed(got, 1), fixed(wanted, 1));
        writeln!(
            out,
            "Output is short: {got} tokens a request, {wanted} asked for; latencies are of short answers"
        )?;
    }
    notes::token_sources(out, &summary.token_sources)?;
    writeln!(
        out,
        "Output Throughput: {} tokens/s",
        number(summary.output_tokens_per_s, 2)
    )?;
    let weighted = number(summary.decode_tokens_per_s_weighted, 2);
    writeln!(
        out,
        "Decode Throughput, token-weighted: {weighted} tokens/s a stream"
    )
}

fn failures(out: &mut String, summary: &Summary) -> fmt::Result {
    notes::connections(
        out,
        summary.averages.requests,
        summary.connect_share,
        summary.stale_connections,
    )?;
    notes::not_streamed(out, summary.requests_not_streamed)?;
    if summary.requests_in_warmup > 0 {
        writeln!(
            out,
            "Warm-up: {} requests, left out of every figure",
            summary.requests_in_warmup
        )?;
    }
    notes::failures(out, summary.failed, &summary.failures)?;
    notes::cut(out, summary.requests_cut)
}
