//! From samples to a `Summary`: counts, means and percentiles in constant memory.
//!
//! Samples go in one by one; a summary can be taken at any time. Nothing here prints.

pub mod bootstrap;
pub mod client;
pub mod condition;
mod figures;
pub mod goodput;
pub mod load;
mod quantile;
pub mod round;
pub mod spread;
mod summary;
pub mod workload;

use std::collections::BTreeMap;

use self::client::ClientStats;
use self::figures::{decode_ns, decode_tokens_per_s, prefill_tokens_per_s};
pub use self::figures::{
    itl_ns, latency_from_due_ns, latency_ns, lateness_ns, ttft_from_due_ns, ttft_ns,
};
use self::quantile::{Distribution, Mean};
pub use self::quantile::{Quantiles, exact_quantile};
pub use self::summary::{Averages, Clock, FailureCount, RotationSummary, Summary};
use crate::sample::{FailKind, Phase, Sample, TokenSource};
use crate::units::seconds;
use crate::vitals::Vitals;

/// Means over requests that succeeded, of a whole run or of one interval.
#[derive(Debug, Clone, Default)]
struct Means {
    requests: u64,
    ttft_s: Mean,
    itl_s: Mean,
    prefill_tokens_per_s: Mean,
    decode_tokens_per_s: Mean,
}

impl Means {
    fn add(&mut self, sample: &Sample) {
        self.requests += 1;
        let figures = [
            (&mut self.ttft_s, ttft_ns(sample).map(seconds)),
            (&mut self.itl_s, itl_ns(sample).map(|ns| ns / 1e9)),
            (&mut self.prefill_tokens_per_s, prefill_tokens_per_s(sample)),
            (&mut self.decode_tokens_per_s, decode_tokens_per_s(sample)),
        ];
        for (mean, value) in figures {
            if let Some(value) = value {
                mean.add(value);
            }
        }
    }

    fn averages(&self) -> Averages {
        Averages {
            requests: self.requests,
            ttft_s: self.ttft_s.get(),
            itl_s: self.itl_s.get(),
            prefill_tokens_per_s: self.prefill_tokens_per_s.get(),
            decode_tokens_per_s: self.decode_tokens_per_s.get(),
        }
    }
}

/// Requests of the first rotation, or of the later ones.
#[derive(Debug, Clone, Default)]
struct Part {
    requests: u64,
    ttft_s: Mean,
    ttft: Distribution,
    prompt_tokens: u64,
    cached_tokens: u64,
}

impl Part {
    fn add(&mut self, sample: &Sample) {
        self.requests += 1;
        if let Some(ns) = ttft_ns(sample) {
            self.ttft_s.add(seconds(ns));
            self.ttft.add_ns(ns);
        }
        self.prompt_tokens += sample.prompt_tokens.unwrap_or(0);
        self.cached_tokens += sample.cached_tokens.unwrap_or(0);
    }

    fn summary(&self, cached_reported: bool) -> RotationSummary {
        RotationSummary {
            requests: self.requests,
            ttft_mean_s: self.ttft_s.get(),
            ttft: self.ttft.quantiles(),
            prefix_cache_hit_rate: hit_rate(
                self.cached_tokens,
                self.prompt_tokens,
                cached_reported,
            ),
        }
    }
}

fn hit_rate(cached: u64, prompt: u64, reported: bool) -> Option<f64> {
    (reported && prompt > 0).then(|| cached as f64 / prompt as f64)
}

/// Counts a failed sample under its kind; the first of a kind is the example.
fn count_failure(failures: &mut BTreeMap<FailKind, FailureCount>, sample: &Sample) {
    let Some(failure) = &sample.failure else {
        return;
    };
    let entry = failures
        .entry(failure.kind)
        .or_insert_with(|| FailureCount {
            count: 0,
            status: sample.status,
            example: failure.reason.clone(),
        });
    entry.count += 1;
}

/// Everything that a run of `benchmark` remembers of its samples.
#[derive(Debug, Default)]
pub struct Stats {
    all: Means,
    interval: Means,
    ttft: Distribution,
    itl: Distribution,
    gap: Distribution,
    gaps_in_one_read: u64,
    first_rotation: Part,
    later_rotations: Part,
    prompt_tokens: u64,
    /// These three over the requests whose tokens somebody counted.
    prompt_mean: Mean,
    output_mean: Mean,
    wanted_mean: Mean,
    cached_tokens: u64,
    cached_reported: bool,
    output_tokens: u64,
    /// Of requests whose output tokens the server counted.
    counted_tokens: u64,
    counted_events: u64,
    decode_ns: u64,
    decode_tokens: u64,
    ttft_ns: u64,
    connect_ns: u64,
    sources: BTreeMap<TokenSource, u64>,
    failures: BTreeMap<FailKind, FailureCount>,
    stale_connections: u64,
    not_streamed: u64,
    warmup: u64,
    cut: u64,
    busy_ns: u64,
    last_end_ns: u64,
    client: ClientStats,
}

impl Stats {
    pub fn add(&mut self, sample: &Sample) {
        self.busy_ns += sample.t_end_ns.saturating_sub(sample.t_send_ns);
        self.last_end_ns = self.last_end_ns.max(sample.t_end_ns);
        match sample.phase {
            Phase::Cut => {
                self.cut += 1;
                return;
            }
            Phase::Warmup => {
                self.warmup += 1;
                self.cached_reported |= sample.cached_tokens.is_some();
                return;
            }
            Phase::Measured => {}
        }
        self.stale_connections += u64::from(sample.resent);
        match &sample.failure {
            Some(_) => count_failure(&mut self.failures, sample),
            None => self.add_success(sample),
        }
    }

    /// What the watchdog saw in a second; what is of before `measured_ns` does not count.
    pub fn add_vitals(&mut self, vitals: &Vitals, measured_ns: u64) {
        self.client.add(vitals, measured_ns);
    }

    fn add_success(&mut self, sample: &Sample) {
        self.all.add(sample);
        self.interval.add(sample);
        if let Some(ns) = ttft_ns(sample) {
            self.ttft.add_ns(ns);
            self.ttft_ns += ns;
            self.connect_ns += sample.connect_ns.unwrap_or(0);
        }
        if let Some(ns) = itl_ns(sample) {
            self.itl.add_ns(ns.round() as u64);
        }
        if let Some((ns, tokens)) = decode_ns(sample) {
            self.decode_ns += ns;
            self.decode_tokens += tokens;
        }
        for &us in &sample.gaps_us {
            self.gap.add_ns(u64::from(us) * 1000);
            self.gaps_in_one_read += u64::from(us == 0);
        }
        self.not_streamed += u64::from(sample.t_first_ns.is_none());
        if sample.labels.rotation == Some(0) {
            self.first_rotation.add(sample);
        } else {
            self.later_rotations.add(sample);
        }
        self.add_tokens(sample);
    }

    fn add_tokens(&mut self, sample: &Sample) {
        if let Some(prompt) = sample.prompt_tokens {
            self.prompt_tokens += prompt;
            self.prompt_mean.add(prompt as f64);
        }
        self.cached_tokens += sample.cached_tokens.unwrap_or(0);
        self.cached_reported |= sample.cached_tokens.is_some();
        if let Some(output) = sample.completion_tokens {
            self.output_tokens += output;
            self.output_mean.add(output as f64);
            let wanted = sample.labels.wanted_output_tokens.unwrap_or(output);
            self.wanted_mean.add(wanted as f64);
        }
        if let Some(source) = sample.token_source {
            *self.sources.entry(source).or_default() += 1;
            if source != TokenSource::Events {
                self.counted_tokens += sample.completion_tokens.unwrap_or(0);
                self.counted_events += sample.token_events;
            }
        }
    }

    /// The averages since the last call.
    pub fn end_interval(&mut self) -> Averages {
        std::mem::take(&mut self.interval).averages()
    }

    /// Whether any request was measured and succeeded.
    pub fn any_success(&self) -> bool {
        self.all.requests > 0
    }

    /// The figures so far. `started_ns` is when the first request was sent, `measured_ns` when the
    /// warm-up was over, `now_ns` the time up to which rates count.
    pub fn summary(&self, clock: &Clock) -> Summary {
        let elapsed_s = seconds(clock.now_ns.saturating_sub(clock.measured_ns));
        let run_s = seconds(
            clock
                .now_ns
                .max(self.last_end_ns)
                .saturating_sub(clock.started_ns),
        );
        let per_second = |n: u64| (elapsed_s > 0.0).then(|| n as f64 / elapsed_s);
        let requests = self.all.requests;
        let prompt_tokens_total = self.prompt_mean.get().map(|_| self.prompt_tokens);
        let output_tokens_total = self.output_mean.get().map(|_| self.output_tokens);
        let tokens_counted = self.sources.keys().any(|&s| s != TokenSource::Events);
        Summary {
            elapsed_s,
            qps: per_second(requests),
            averages: self.all.averages(),
            output_tokens_per_s: output_tokens_total.and_then(per_second),
            decode_tokens_per_s_weighted: (self.decode_ns > 0)
                .then(|| self.decode_tokens as f64 / seconds(self.decode_ns)),
            ttft: self.ttft.quantiles(),
            itl: self.itl.quantiles(),
            gap: self.gap.quantiles(),
            gaps_are_tokens: tokens_counted && self.counted_events * 10 >= self.counted_tokens * 9,
            gaps_in_one_read_share: self
                .gap
                .quantiles()
                .map(|q| self.gaps_in_one_read as f64 / q.n as f64),
            first_rotation: self.first_rotation.summary(self.cached_reported),
            later_rotations: self.later_rotations.summary(self.cached_reported),
            prefix_cache_hit_rate: hit_rate(
                self.cached_tokens,
                self.prompt_tokens,
                self.cached_reported,
            ),
            prompt_tokens_mean: self.prompt_mean.get(),
            output_tokens_mean: self.output_mean.get(),
            output_tokens_wanted_mean: self.wanted_mean.get(),
            prompt_tokens_total,
            output_tokens_total,
            token_sources: self
                .sources
                .iter()
                .map(|(source, &n)| (source.name(), n))
                .collect(),
            concurrency_mean: (run_s > 0.0).then(|| seconds(self.busy_ns) / run_s),
            concurrency_peak: clock.peak,
            in_flight: clock.in_flight,
            failed: self.failures.values().map(|failure| failure.count).sum(),
            failures: self
                .failures
                .iter()
                .map(|(kind, f)| (kind.name(), f.clone()))
                .collect(),
            requests_cut: self.cut,
            requests_in_warmup: self.warmup,
            connect_share: (self.ttft_ns > 0).then(|| self.connect_ns as f64 / self.ttft_ns as f64),
            stale_connections: self.stale_connections,
            requests_not_streamed: self.not_streamed,
            client: self.client.summary(clock.started_ns, clock.mock_in_process),
        }
    }
}

#[cfg(test)]
mod tests;
