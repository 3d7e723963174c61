//! The figures of one round of `replay`, from all of its samples: percentiles are exact.

use std::collections::BTreeMap;

use serde::Serialize;

use super::client::ClientSummary;
use super::figures::{itl_ns, latency_ns, ttft_ns};
use super::goodput::{Goodput, Slo};
use super::quantile::Mean;
use super::spread::Spread;
use super::summary::FailureCount;
use super::{count_failure, hit_rate};
use crate::sample::{FailKind, Phase, Sample};
use crate::units::seconds;

/// What the round was, beside its samples.
#[derive(Debug, Clone)]
pub struct RoundFacts {
    pub concurrency: u64,
    pub round: u64,
    /// Turns whose session ended before them.
    pub not_sent: u64,
    /// The most requests in flight at once.
    pub peak: u64,
    /// An earlier round of this run had a reply that reported cached tokens: in this one, absence is 0.
    pub cached_reported: bool,
    pub slo: Option<Slo>,
    pub metrics: Vec<MetricSummary>,
    pub client: ClientSummary,
}

/// One of the server's metrics beside the round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSummary {
    #[serde(skip)]
    pub name: String,
    /// Over requests.
    pub spread: Option<Spread>,
    /// Of the whole round; the headline.
    pub over_round: Option<f64>,
    /// Such as `gauge`, `counter` or `Δ vllm:… / Δ vllm:…`.
    pub source: String,
    /// Read beside several requests at once.
    pub shared: bool,
}

/// The figures of a round, as every report shows them. Absent is `None`; latency figures and tokens
/// are over successes.
#[derive(Debug, Clone)]
pub struct RoundSummary {
    pub concurrency: u64,
    pub round: u64,
    /// Successes and failures.
    pub total_requests: u64,
    pub successful: u64,
    pub failed: u64,
    pub not_sent: u64,
    pub cut: u64,
    /// Last `t_end` − first `t_send` of the requests that were measured; 0 without any.
    pub duration_s: f64,
    pub input_tokens_mean: Option<f64>,
    pub output_tokens_mean: Option<f64>,
    pub ttft_ms: Option<Spread>,
    pub itl_ms: Option<Spread>,
    pub latency_ms: Option<Spread>,
    /// Output tokens per second; `None`: nobody counted them.
    pub token_throughput: Option<f64>,
    /// Successes per second.
    pub request_throughput: Option<f64>,
    /// `None` without an SLO.
    pub goodput: Option<Goodput>,
    /// Σ cached / Σ prompt tokens; `None`: no reply reported cached tokens.
    pub prefix_cache_hit_rate: Option<f64>,
    /// The same of first turns alone; `None` too where no session has a second turn.
    pub first_turn_hit_rate: Option<f64>,
    pub failures: BTreeMap<&'static str, FailureCount>,
    /// Σ time in flight within the duration, over the duration.
    pub concurrency_mean: Option<f64>,
    pub concurrency_peak: u64,
    /// Successes by where their output tokens were counted.
    pub token_sources: BTreeMap<&'static str, u64>,
    pub stale_connections: u64,
    /// Connection set-up as a share of all TTFT.
    pub connect_share: Option<f64>,
    /// Successes whose reply was no stream: they have no TTFT and no ITL.
    pub not_streamed: u64,
    pub metrics: Vec<MetricSummary>,
    pub client: ClientSummary,
}

impl RoundSummary {
    /// Requests of the warm-up are in no figure, those that were cut only in `cut` and concurrency.
    pub fn of(samples: &[Sample], facts: RoundFacts) -> RoundSummary {
        let part = |phase| samples.iter().filter(move |sample| sample.phase == phase);
        let measured: Vec<&Sample> = part(Phase::Measured).collect();
        let (good, failed): (Vec<&Sample>, Vec<&Sample>) =
            measured.iter().partition(|sample| sample.is_success());
        let span = Span::of(&measured);
        let duration_s = span.seconds();
        let per_second = |n: u64| (duration_s > 0.0).then(|| n as f64 / duration_s);
        let input = Tally::of(&good, |sample| sample.prompt_tokens);
        let output = Tally::of(&good, |sample| sample.completion_tokens);
        let in_flight: u64 = measured
            .iter()
            .copied()
            .chain(part(Phase::Cut))
            .map(|sample| span.overlap_ns(sample))
            .sum();
        let hits = Hits::of(&good, facts.cached_reported);
        RoundSummary {
            concurrency: facts.concurrency,
            round: facts.round,
            total_requests: measured.len() as u64,
            successful: good.len() as u64,
            failed: failed.len() as u64,
            not_sent: facts.not_sent,
            cut: part(Phase::Cut).count() as u64,
            duration_s,
            input_tokens_mean: input.mean,
            output_tokens_mean: output.mean,
            ttft_ms: spread_ms(&good, |sample| ttft_ns(sample).map(|ns| ns as f64)),
            itl_ms: spread_ms(&good, itl_ns),
            latency_ms: spread_ms(&good, |sample| Some(latency_ns(sample) as f64)),
            token_throughput: output.total.and_then(per_second),
            request_throughput: per_second(good.len() as u64),
            goodput: facts
                .slo
                .map(|slo| Goodput::of(&slo, &measured, facts.not_sent, duration_s)),
            prefix_cache_hit_rate: hits.all,
            first_turn_hit_rate: hits.first_turns,
            failures: failures(&failed),
            concurrency_mean: (duration_s > 0.0).then(|| seconds(in_flight) / duration_s),
            concurrency_peak: facts.peak,
            token_sources: token_sources(&good),
            stale_connections: measured.iter().filter(|sample| sample.resent).count() as u64,
            connect_share: connect_share(&good),
            not_streamed: good.iter().filter(|s| s.t_first_ns.is_none()).count() as u64,
            metrics: facts.metrics,
            client: facts.client,
        }
    }
}

/// From the first send to the last end; empty without requests.
struct Span {
    start_ns: u64,
    end_ns: u64,
}

impl Span {
    fn of(measured: &[&Sample]) -> Span {
        let start_ns = measured.iter().map(|sample| sample.t_send_ns).min();
        let end_ns = measured.iter().map(|sample| sample.t_end_ns).max();
        Span {
            start_ns: start_ns.unwrap_or(0),
            end_ns: end_ns.unwrap_or(0),
        }
    }

    fn seconds(&self) -> f64 {
        seconds(self.end_ns.saturating_sub(self.start_ns))
    }

    /// How long the request was in flight within the span.
    fn overlap_ns(&self, sample: &Sample) -> u64 {
        let end_ns = sample.t_end_ns.min(self.end_ns);
        end_ns.saturating_sub(sample.t_send_ns.max(self.start_ns))
    }
}

/// Tokens over the requests that count them; `None`: none does.
struct Tally {
    total: Option<u64>,
    mean: Option<f64>,
}

impl Tally {
    fn of(samples: &[&Sample], tokens: impl Fn(&Sample) -> Option<u64>) -> Tally {
        let mut mean = Mean::default();
        let mut total = 0;
        for tokens in samples.iter().filter_map(|sample| tokens(sample)) {
            mean.add(tokens as f64);
            total += tokens;
        }
        Tally {
            total: mean.get().map(|_| total),
            mean: mean.get(),
        }
    }
}

/// Hit rates that `usage` reported.
struct Hits {
    all: Option<f64>,
    first_turns: Option<f64>,
}

impl Hits {
    fn of(good: &[&Sample], reported: bool) -> Hits {
        let reported = reported || good.iter().any(|sample| sample.cached_tokens.is_some());
        let rate = |counts: fn(&Sample) -> bool| {
            let counted = good.iter().filter(|sample| counts(sample));
            let cached = counted.clone().filter_map(|sample| sample.cached_tokens);
            let prompt = counted.filter_map(|sample| sample.prompt_tokens);
            hit_rate(cached.sum(), prompt.sum(), reported)
        };
        let is_later = |sample: &Sample| sample.labels.turn.is_some_and(|turn| turn > 0);
        let several_turns = good.iter().any(|sample| is_later(sample));
        Hits {
            all: rate(|_| true),
            first_turns: several_turns
                .then(|| rate(|sample| sample.labels.turn == Some(0)))
                .flatten(),
        }
    }
}

fn spread_ms(good: &[&Sample], figure_ns: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
    let figures = good.iter().filter_map(|sample| figure_ns(sample));
    Spread::of(figures.map(|ns| ns / 1e6).collect())
}

fn failures(failed: &[&Sample]) -> BTreeMap<&'static str, FailureCount> {
    let mut kinds: BTreeMap<FailKind, FailureCount> = BTreeMap::new();
    for sample in failed {
        count_failure(&mut kinds, sample);
    }
    let named = kinds.into_iter().map(|(kind, count)| (kind.name(), count));
    named.collect()
}

fn token_sources(good: &[&Sample]) -> BTreeMap<&'static str, u64> {
    let mut sources = BTreeMap::new();
    for source in good.iter().filter_map(|sample| sample.token_source) {
        *sources.entry(source.name()).or_default() += 1;
    }
    sources
}

fn connect_share(good: &[&Sample]) -> Option<f64> {
    let streamed = good
        .iter()
        .filter_map(|s| Some((ttft_ns(s)?, s.connect_ns.unwrap_or(0))));
    let (ttft, connect) = streamed.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (ttft > 0).then(|| connect as f64 / ttft as f64)
}

#[cfg(test)]
mod tests;
