//! Lines below the figures that `benchmark` and `replay` both print.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::{number, percent};
use crate::sample::TokenSource;
use crate::stats::FailureCount;

/// Above this hit rate the first rotation, or round, was not cold.
pub(super) const COLD_HIT_RATE: f64 = 0.02;
/// Shares of connection set-up and of resent requests are shown above this.
const NOTABLE_SHARE: f64 = 0.01;

/// A hit rate in words: no reply reported one where it is `None`.
pub(super) fn hit_rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "not reported".to_string(), percent)
}

pub(super) fn concurrency(out: &mut String, mean: Option<f64>, peak: u64) -> fmt::Result {
    let mean = number(mean, 1);
    writeln!(out, "Achieved Concurrency: mean {mean}, peak {peak}")
}

/// Says who counted the output tokens, unless it was `usage` alone.
pub(super) fn token_sources(
    out: &mut String,
    token_sources: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let named = |source: TokenSource| token_sources.contains_key(source.name());
    let is_told = [
        TokenSource::Events,
        TokenSource::Tokenize,
        TokenSource::Estimate,
    ];
    if token_sources.len() < 2 && !is_told.into_iter().any(named) {
        return Ok(());
    }
    let sources: Vec<String> = token_sources
        .iter()
        .map(|(source, n)| format!("{source} ({n} requests)"))
        .collect();
    write!(out, "Output tokens counted by: {}", sources.join(", "))?;
    if named(TokenSource::Events) {
        write!(out, "; an event may hold several tokens")?;
    }
    if named(TokenSource::Estimate) {
        write!(out, "; an estimate is from the bytes of the text")?;
    }
    writeln!(out)
}

/// What opening connections cost, where it is notable; `stale` is compared with `successes`.
pub(super) fn connections(
    out: &mut String,
    successes: u64,
    connect_share: Option<f64>,
    stale: u64,
) -> fmt::Result {
    if let Some(share) = connect_share.filter(|&share| share > NOTABLE_SHARE) {
        writeln!(
            out,
            "Connection set-up is {} of TTFT: the server does not keep connections",
            percent(share)
        )?;
    }
    if stale as f64 > NOTABLE_SHARE * successes as f64 {
        writeln!(
            out,
            "Stale connections: {stale} requests were sent again on a new one"
        )?;
    }
    Ok(())
}

pub(super) fn not_streamed(out: &mut String, replies: u64) -> fmt::Result {
    if replies > 0 {
        writeln!(out, "Not streamed: {replies} replies, without TTFT and ITL")?;
    }
    Ok(())
}

/// How many failed, then a line a kind with the first of it.
pub(super) fn failures(
    out: &mut String,
    failed: u64,
    kinds: &BTreeMap<&'static str, FailureCount>,
) -> fmt::Result {
    writeln!(out, "Failed Requests: {failed}")?;
    for (kind, failure) in kinds {
        let why = reason(failure.status, &failure.example);
        writeln!(out, "  {kind} {}, the first: {why}", failure.count)?;
    }
    Ok(())
}

/// Why a request failed, its HTTP status first.
pub(super) fn reason(status: Option<u16>, reason: &str) -> String {
    let status = status.map_or_else(String::new, |status| format!("HTTP {status}: "));
    format!("{status}{reason}")
}

pub(super) fn cut(out: &mut String, cut: u64) -> fmt::Result {
    writeln!(out, "Requests Cut at the End: {cut}")
}
