//! The figures of one point of `load`: a pass of N requests at one concurrency, at one rate, or of a trace.
//!
//! Counts and throughput are those of a round, from the sends. In an open loop TTFT, latency and goodput count
//! from the due times, since a stalled server would otherwise hide its stall by holding back the sends behind it.

use serde::Serialize;

use super::client::ClientSummary;
use super::figures::{
    itl_ns, latency_from_due_ns, latency_ns, lateness_ns, ttft_from_due_ns, ttft_ns,
};
use super::goodput::{Goodput, Slo};
use super::quantile::exact_quantile;
use super::round::{RoundFacts, RoundSummary};
use crate::sample::{Phase, Sample};
use crate::units::seconds;

/// What the point was, beside its samples.
#[derive(Debug, Clone)]
pub struct LoadFacts {
    /// Of a closed loop: requests that were to be in flight at once.
    pub concurrency: Option<u64>,
    /// Of an open loop: the rate that was asked for; `None` too for a trace.
    pub rate_per_s: Option<f64>,
    /// Requests that were to be sent; `None`: as many as a duration allows.
    pub planned: Option<u64>,
    /// The most requests in flight at once.
    pub peak: u64,
    /// Earlier in this run a reply reported cached tokens, or said whether it was cached as a whole: in this
    /// point absence is 0, or a miss.
    pub cached_reported: bool,
    pub response_cached_reported: bool,
    pub slo: Option<Slo>,
    /// Of an open loop: requests that found no idle worker when they were due.
    pub exhausted: Option<u64>,
    /// Hit rates that a cache of unlimited size would have had.
    pub perfect_response_rate: Option<f64>,
    pub perfect_prefix_rate: Option<f64>,
    /// Of those planned; the run was cut short.
    pub not_sent: u64,
    pub client: ClientSummary,
}

/// The line that ends a point in the samples file, as series `point`; the names of the fields are the keys.
#[derive(Debug, Serialize)]
pub struct PointLine<'a> {
    /// Which point of a sweep, from 0.
    point: u64,
    concurrency: Option<u64>,
    rate_per_s: Option<f64>,
    planned: Option<u64>,
    concurrency_peak: u64,
    exhausted: Option<u64>,
    perfect_response_rate: Option<f64>,
    perfect_prefix_rate: Option<f64>,
    not_sent: u64,
    client: &'a ClientSummary,
}

impl LoadFacts {
    pub fn line(&self, point: u64) -> PointLine<'_> {
        PointLine {
            point,
            concurrency: self.concurrency,
            rate_per_s: self.rate_per_s,
            planned: self.planned,
            concurrency_peak: self.peak,
            exhausted: self.exhausted,
            perfect_response_rate: self.perfect_response_rate,
            perfect_prefix_rate: self.perfect_prefix_rate,
            not_sent: self.not_sent,
            client: &self.client,
        }
    }
}

/// A time over requests, in milliseconds. The names of the fields are the keys of the JSON result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    pub avg_ms: f64,
    /// Percentiles are type 7, as `exact_quantile`.
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub n: u64,
}

impl Times {
    /// `None` without values. Cost: a sort.
    fn of(values_ns: impl Iterator<Item = f64>) -> Option<Times> {
        let mut values: Vec<f64> = values_ns.map(|ns| ns / 1e6).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |q| exact_quantile(&values, q);
        Some(Times {
            avg_ms: values.iter().sum::<f64>() / values.len() as f64,
            p50_ms: at(0.5)?,
            p95_ms: at(0.95)?,
            p99_ms: at(0.99)?,
            max_ms: at(1.0)?,
            n: values.len() as u64,
        })
    }
}

/// TTFT and latency of the same requests. `None`: none of them has the figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Waits {
    pub ttft: Option<Times>,
    pub latency: Option<Times>,
}

impl Waits {
    /// From the due times, or from the sends in a closed loop.
    fn of<'a>(good: impl Iterator<Item = &'a Sample> + Clone) -> Waits {
        let ttft = good.clone().filter_map(ttft_from_due_ns);
        Waits {
            ttft: Times::of(ttft.map(|ns| ns as f64)),
            latency: Times::of(good.map(|sample| latency_from_due_ns(sample) as f64)),
        }
    }

    fn from_sent(good: &[&Sample]) -> Waits {
        let good = good.iter().copied();
        let ttft = good.clone().filter_map(ttft_ns);
        Waits {
            ttft: Times::of(ttft.map(|ns| ns as f64)),
            latency: Times::of(good.map(|sample| latency_ns(sample) as f64)),
        }
    }
}

/// What an open loop has beside a closed one.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenLoop {
    /// (n − 1) / (last due − first due) of what was sent; `None` for fewer than two.
    pub scheduled_per_s: Option<f64>,
    /// `t_send − t_due` of successes and failures.
    pub lateness: Option<Times>,
    /// Requests that found no idle worker when they were due; `None`: not known, as of a run that was killed.
    pub exhausted: Option<u64>,
    pub from_sent: Waits,
}

impl OpenLoop {
    fn of(samples: &[Sample], good: &[&Sample], exhausted: Option<u64>) -> OpenLoop {
        let sent = samples.iter().filter(|s| s.phase != Phase::Warmup);
        let measured = sent.clone().filter(|s| s.phase == Phase::Measured);
        let lateness = measured.filter_map(lateness_ns);
        OpenLoop {
            scheduled_per_s: rate(sent.filter_map(|sample| sample.t_due_ns)),
            lateness: Times::of(lateness.map(|ns| ns as f64)),
            exhausted,
            from_sent: Waits::from_sent(good),
        }
    }
}

/// Which of the successes are in a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    FirstUse,
    Repeat,
    Hit,
    Miss,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::FirstUse, Part::Repeat, Part::Hit, Part::Miss];

    pub fn name(self) -> &'static str {
        match self {
            Part::FirstUse => "first_use",
            Part::Repeat => "repeat",
            Part::Hit => "hit",
            Part::Miss => "miss",
        }
    }
}

/// What tells a hit from a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitBy {
    /// Whole replies: `cached` of the reply.
    Response,
    /// At least one prompt token: `cached_tokens` of `usage`.
    Prefix,
}

impl HitBy {
    pub const ALL: [HitBy; 2] = [HitBy::Response, HitBy::Prefix];

    pub fn name(self) -> &'static str {
        match self {
            HitBy::Response => "response_cached",
            HitBy::Prefix => "cached_tokens",
        }
    }

    fn is_hit(self, sample: &Sample) -> bool {
        match self {
            HitBy::Response => sample.response_cached == Some(true),
            HitBy::Prefix => sample.cached_tokens.is_some_and(|tokens| tokens > 0),
        }
    }
}

/// The figures of a point, as every report shows them. Absent is `None`; times are over successes.
#[derive(Debug, Clone)]
pub struct LoadSummary {
    pub concurrency: Option<u64>,
    pub rate_per_s: Option<f64>,
    pub planned: Option<u64>,
    pub not_sent: u64,
    /// Requests of the warm-up, which are in no figure.
    pub warmup: u64,
    /// What a round has too, from the sends: counts, throughput, failures, this client.
    pub round: RoundSummary,
    /// From the due times in an open loop, else from the sends.
    pub waits: Waits,
    /// Over requests; their mean is TPOT.
    pub itl: Option<Times>,
    /// From the due times, as `waits`; `None` without an SLO.
    pub goodput: Option<Goodput>,
    /// `None` in a closed loop.
    pub open: Option<OpenLoop>,
    /// (n − 1) / (last send − first send); `None` for fewer than two.
    pub achieved_per_s: Option<f64>,
    /// Successes that were cached as a whole, over successes; `None`: no reply says whether it was.
    pub response_cache_hit_rate: Option<f64>,
    pub perfect_response_rate: Option<f64>,
    pub perfect_prefix_rate: Option<f64>,
    /// First use and repeat where prompts are repeated, hit and miss where a cache reports; counted as `waits`.
    pub splits: Vec<(Part, Waits)>,
    /// `None`: no cache reports.
    pub hit_by: Option<HitBy>,
}

impl LoadSummary {
    /// Of the samples of one point; those of the warm-up only tell whether a cache reports.
    pub fn of(samples: &[Sample], facts: LoadFacts) -> LoadSummary {
        let sent = samples.iter().filter(|s| s.phase != Phase::Warmup);
        let measured: Vec<&Sample> = sent
            .clone()
            .filter(|s| s.phase == Phase::Measured)
            .collect();
        let good = measured.iter().copied().filter(|s| s.is_success());
        let good: Vec<&Sample> = good.collect();
        let prefix_reported =
            facts.cached_reported || samples.iter().any(|s| s.cached_tokens.is_some());
        let response_reported =
            facts.response_cached_reported || samples.iter().any(|s| s.response_cached.is_some());
        let hit_by = match (response_reported, prefix_reported) {
            (true, _) => Some(HitBy::Response),
            (false, true) => Some(HitBy::Prefix),
            (false, false) => None,
        };
        let is_open =
            facts.exhausted.is_some() || sent.clone().any(|sample| sample.t_due_ns.is_some());
        let round = RoundFacts {
            concurrency: facts.concurrency.unwrap_or(0),
            round: 1,
            not_sent: 0,
            peak: facts.peak,
            cached_reported: prefix_reported,
            slo: None,
            metrics: Vec::new(),
            client: facts.client,
        };
        let round = RoundSummary::of(samples, round);
        LoadSummary {
            concurrency: facts.concurrency,
            rate_per_s: facts.rate_per_s,
            planned: facts.planned,
            not_sent: facts.not_sent,
            warmup: (samples.len() - sent.clone().count()) as u64,
            waits: Waits::of(good.iter().copied()),
            itl: Times::of(good.iter().copied().filter_map(itl_ns)),
            // Requests that were not sent met no server: they are no failures of it.
            goodput: facts
                .slo
                .map(|slo| Goodput::of(&slo, &measured, 0, round.duration_s)),
            open: is_open.then(|| OpenLoop::of(samples, &good, facts.exhausted)),
            achieved_per_s: rate(sent.map(|sample| sample.t_send_ns)),
            response_cache_hit_rate: response_rate(&good, response_reported),
            perfect_response_rate: facts.perfect_response_rate,
            perfect_prefix_rate: facts.perfect_prefix_rate,
            splits: splits(&good, hit_by),
            hit_by,
            round,
        }
    }

    /// Mean of the requests' ITL, in milliseconds.
    pub fn tpot_ms(&self) -> Option<f64> {
        self.itl.map(|itl| itl.avg_ms)
    }

    /// Failures over successes and failures; `None`: neither was.
    pub fn error_rate(&self) -> Option<f64> {
        let of = self.round.total_requests;
        (of > 0).then(|| self.round.failed as f64 / of as f64)
    }

    /// Successes, failures and what was cut.
    pub fn sent(&self) -> u64 {
        self.round.total_requests + self.round.cut
    }

    /// Whether there were replies, and not one of them came as a stream.
    pub fn is_not_streamed(&self) -> bool {
        self.round.successful > 0 && self.round.not_streamed == self.round.successful
    }
}

/// Events per second from the first to the last.
fn rate(stamps_ns: impl Iterator<Item = u64> + Clone) -> Option<f64> {
    let (first, last) = (stamps_ns.clone().min()?, stamps_ns.clone().max()?);
    (last > first).then(|| (stamps_ns.count() - 1) as f64 / seconds(last - first))
}

fn response_rate(good: &[&Sample], is_reported: bool) -> Option<f64> {
    let hits = good.iter().filter(|s| s.response_cached == Some(true));
    (is_reported && !good.is_empty()).then(|| hits.count() as f64 / good.len() as f64)
}

fn splits(good: &[&Sample], hit_by: Option<HitBy>) -> Vec<(Part, Waits)> {
    let mut splits = Vec::new();
    let mut split = |part: Part, is_of: &dyn Fn(&Sample) -> bool| {
        let of = good.iter().copied().filter(|sample| is_of(sample));
        splits.push((part, Waits::of(of)));
    };
    if good.iter().any(|s| s.labels.repeat == Some(true)) {
        split(Part::FirstUse, &|s| s.labels.repeat == Some(false));
        split(Part::Repeat, &|s| s.labels.repeat == Some(true));
    }
    if let Some(by) = hit_by {
        split(Part::Hit, &|s| by.is_hit(s));
        split(Part::Miss, &|s| !by.is_hit(s));
    }
    splits
}

#[cfg(test)]
mod tests;
