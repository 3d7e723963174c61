//! Counts and sums over the requests of a pass, in constant memory.

use super::facts::Facts;
use super::figures::{Figures, Side, Tokens};
use super::kv_cache::Share;
use super::record::Record;
use super::reuse::Rotations;
use super::separation::{self, Controls, NoShare};
use super::spread::Mean;
use super::time::Reported;
use crate::sample::{Phase, TokenSource};
use crate::units::{per_second, seconds, share};

/// Prompt tokens of some of the requests, and how many of them the server reported as cached.
#[derive(Debug, Clone, Copy, Default)]
struct Hits {
    requests: u64,
    prompt: u64,
    cached: u64,
    /// Cached tokens beyond those that all prompts begin with before their own text.
    beyond: u64,
}

impl Hits {
    fn add(&mut self, record: &Record, common_tokens: u64) {
        self.requests += 1;
        let Some(prompt_tokens) = record.prompt_tokens.get() else {
            return;
        };
        self.prompt += prompt_tokens;
        self.cached += record.cached_tokens.get().unwrap_or(0);
        self.beyond += record.cached_beyond(common_tokens);
    }

    fn side(self, is_reported: bool) -> Side {
        let rate = |tokens| share(tokens, self.prompt).filter(|_| is_reported);
        Side {
            requests: self.requests,
            prefix_cache_hit_rate: rate(self.cached),
            text_hit_rate: rate(self.beyond),
        }
    }
}

/// The first and the last of some stamps, and the number of stamps.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    n: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Range {
    fn add(&mut self, ns: u64) {
        self.first_ns = match self.n {
            0 => ns,
            _ => self.first_ns.min(ns),
        };
        self.last_ns = self.last_ns.max(ns);
        self.n += 1;
    }

    /// Returns the events per second from the first to the last; `None` for fewer than two.
    fn rate(self) -> Option<f64> {
        let time_s = seconds(self.last_ns - self.first_ns);
        per_second(self.n.saturating_sub(1), time_s)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The number of tokens that all prompts begin with before their own text.
    common_tokens: u64,
    /// The means and counts that go into the figures unchanged.
    seen: Figures,
    wanted: Tokens,
    all: Hits,
    first_turns: Hits,
    cold: Hits,
    warm: Hits,
    has_later_turns: bool,
    reported: Reported,
    response_hits: u64,
    /// Tokens and events of the requests whose output tokens the server counted.
    counted_tokens: u64,
    counted_events: u64,
    decode_ns: u64,
    decode_tokens: u64,
    ttft_ns: u64,
    connect_ns: u64,
    tpot_with_first_ms: Mean,
    request_tokens_per_s: Mean,
    sources: [u64; TokenSource::NAMES.len()],
    due: Range,
    sent: Range,
    /// Sends and ends of the requests that were measured.
    measured: Range,
    measured_end_ns: u64,
    last_end_ns: u64,
    /// The time in flight of all requests, in any phase.
    busy_ns: u64,
    rotations: Rotations,
}

impl Tally {
    /// Makes a tally of prompts that all begin with the same `common_tokens` tokens before their own text.
    pub fn new(common_tokens: u64) -> Tally {
        Tally {
            common_tokens,
            rotations: Rotations::new(common_tokens),
            ..Tally::default()
        }
    }

    pub fn add(&mut self, record: &Record) {
        self.rotations.add(record);
        self.reported = self.reported.or(Reported {
            prefix: record.cached_tokens.get().is_some(),
            response: record.response_cached().is_some(),
        });
        let busy_ns = record.t_end_ns().saturating_sub(record.t_send_ns);
        self.busy_ns = self.busy_ns.saturating_add(busy_ns);
        self.last_end_ns = self.last_end_ns.max(record.t_end_ns());
        if record.phase() == Phase::Warmup {
            self.seen.warmup += 1;
            return;
        }
        self.sent.add(record.t_send_ns);
        if let Some(due_ns) = record.t_due_ns() {
            self.due.add(due_ns);
        }
        if record.phase() == Phase::Cut {
            self.seen.cut += 1;
            return;
        }
        self.measured.add(record.t_send_ns);
        self.measured_end_ns = self.measured_end_ns.max(record.t_end_ns());
        self.seen.stale_connections += u64::from(record.is_resent());
        match record.failure {
            Some(_) => self.seen.failed += 1,
            None => self.add_good(record),
        }
    }

    fn add_good(&mut self, record: &Record) {
        self.seen.means.add(record);
        self.seen.not_streamed += u64::from(!record.is_streamed());
        self.seen.bursts += u64::from(record.is_burst());
        self.seen.partly_streamed += u64::from(record.streamed_tokens.get().is_some());
        if let Some(ns) = record.ttft_from_sent_ns() {
            self.ttft_ns = self.ttft_ns.saturating_add(ns);
            let connect_ns = record.connect_ns().unwrap_or(0);
            self.connect_ns = self.connect_ns.saturating_add(connect_ns);
        }
        if let Some((ns, tokens)) = record.decode_ns() {
            self.decode_ns = self.decode_ns.saturating_add(ns);
            self.decode_tokens += tokens;
        }
        if let Some((tokens, ns)) = record.tokens_in_latency() {
            self.tpot_with_first_ms.add(ns as f64 / 1e6 / tokens as f64);
            self.request_tokens_per_s.add(tokens as f64 / seconds(ns));
        }
        self.response_hits += u64::from(record.response_cached() == Some(true));
        let common_tokens = self.common_tokens;
        self.all.add(record, common_tokens);
        match record.is_cold() {
            // The first send of a request that was sent again may have brought its prompt into the cache.
            _ if record.is_resent() => {}
            true => self.cold.add(record, common_tokens),
            false => self.warm.add(record, common_tokens),
        }
        match record.turn.get() {
            Some(0) => self.first_turns.add(record, common_tokens),
            turn => self.has_later_turns |= turn.is_some(),
        }
        self.add_tokens(record);
    }

    fn add_tokens(&mut self, record: &Record) {
        let output = record.completion_tokens.get();
        self.seen.prompt_tokens.add(record.prompt_tokens.get());
        self.seen.output_tokens.add(output);
        self.wanted
            .add(output.map(|output| record.wanted_output_tokens.get().unwrap_or(output)));
        if let Some(source) = record.token_source {
            self.sources[source as usize] += 1;
            if !matches!(source, TokenSource::Events | TokenSource::EventsOverUsage) {
                self.counted_tokens += output.unwrap_or(0);
                self.counted_events += u64::from(record.token_events);
            }
        }
    }

    /// The share of warm requests that hit, estimated from their times by the controls of new texts; `None` without such
    /// controls.
    pub fn hits_by_times(
        &self,
        facts: &Facts,
        controls: &[Record],
    ) -> Option<Result<Share, NoShare>> {
        // Pairs of a new text are sessions; repeats of a context at once are not, and may be alone on the server.
        let pairs = controls.iter().filter(|one| one.session.get().is_some());
        let new = pairs.clone().filter(|one| one.turn.get() == Some(0));
        // The first send of a request that was sent again may have brought its text into the cache.
        let good = pairs.filter(|one| one.failure.is_none() && !one.is_resent());
        let cold = good.clone().filter(|one| one.turn.get() == Some(0));
        let warm = good.filter(|one| one.turn.get() == Some(1));
        cold.clone().next()?;
        let ttft = |one: &Record| Some(one.ttft_from_sent_ns()? as f64);
        let controls = Controls {
            cold: cold.filter_map(ttft).collect(),
            warm: warm.filter_map(ttft).collect(),
        };
        let prefills = new.map(|one| (one.t_send_ns, one.t_first_ns().unwrap_or(one.t_end_ns())));
        let prefills = prefills.collect();
        let measured = self
            .rotations
            .warm_ttft_ns(facts.concurrency_peak, prefills);
        Some(match controls.separate() {
            Err(refusal) => Err(NoShare::Refused(refusal)),
            Ok(separation) => match separation::hit_share(&separation, &measured) {
                None => Err(NoShare::NoTtft),
                Some(of) => Ok(Share {
                    share: of.share,
                    interval: Some((of.low, of.high)),
                }),
            },
        })
    }

    /// Returns the output tokens per event of the requests whose tokens the server counted; 1 if it counted none.
    pub fn tokens_an_event(&self) -> f64 {
        share(self.counted_tokens, self.counted_events).unwrap_or(1.0)
    }

    /// Returns the span of the measured requests, from the first send to the last end.
    pub fn span_ns(&self) -> (u64, u64) {
        (self.measured.first_ns, self.measured_end_ns)
    }

    /// Whether the replies of this pass or of earlier ones have reported cache hits.
    pub fn reported(&self, facts: &Facts) -> Reported {
        facts.reported.or(self.reported)
    }

    /// Returns the figures that need no distribution. `busy_ns` is the time in flight of the requests within the span
    /// that `span_ns` gives; `None` if the pass has a window, where the time of all requests counts.
    pub fn figures(&self, facts: &Facts, busy_ns: Option<u64>) -> Figures {
        let (from_ns, to_ns) = facts.window_ns.unwrap_or(self.span_ns());
        let duration_s = seconds(to_ns.saturating_sub(from_ns));
        let good = self.seen.means.requests;
        let (busy_ns, busy_of_s) = match busy_ns {
            Some(busy_ns) => (busy_ns, duration_s),
            None => {
                let run_end_ns = to_ns.max(self.last_end_ns);
                let run_ns = run_end_ns.saturating_sub(facts.t_start_ns);
                let busy_ns = self.busy_ns.saturating_add(facts.in_flight_ns);
                (busy_ns, seconds(run_ns))
            }
        };
        let reported = self.reported(facts);
        let first_turns = self.first_turns.side(reported.prefix);
        let first_turn_hit_rate = first_turns.prefix_cache_hit_rate;
        let sources = TokenSource::NAMES.into_iter().zip(self.sources);
        let sources = sources.map(|((_, name), n)| (name, n));
        let mut seen = self.seen.clone();
        seen.token_sources.extend(sources.filter(|(_, n)| *n > 0));
        Figures {
            requests: good + self.seen.failed,
            successful: good,
            cut: self.seen.cut + facts.in_flight,
            duration_s,
            wanted_output_tokens_mean: self.wanted.mean(),
            token_throughput: seen
                .output_tokens
                .total
                .and_then(|n| per_second(n, duration_s)),
            request_throughput: per_second(good, duration_s),
            decode_tokens_per_s_weighted: per_second(self.decode_tokens, seconds(self.decode_ns)),
            tpot_with_first_ms: self.tpot_with_first_ms.get(),
            request_tokens_per_s: self.request_tokens_per_s.get(),
            gaps_are_tokens: self.counted_tokens > 0
                && self.counted_events * 10 >= self.counted_tokens * 9,
            all: self.all.side(reported.prefix),
            cold: self.cold.side(reported.prefix),
            warm: self.warm.side(reported.prefix),
            reuse: self.rotations.reuse(facts.concurrency_peak),
            warm_hits: self.rotations.warm_hits(),
            rotations_sent: self.rotations.sent(),
            first_turn_hit_rate: first_turn_hit_rate.filter(|_| self.has_later_turns),
            first_turns,
            reported,
            response_cache_hit_rate: share(self.response_hits, good).filter(|_| reported.response),
            concurrency_mean: (busy_of_s > 0.0).then(|| seconds(busy_ns) / busy_of_s),
            connect_share: share(self.connect_ns, self.ttft_ns),
            is_open: facts.exhausted.is_some() || self.due.n > 0,
            scheduled_per_s: self.due.rate(),
            achieved_per_s: self.sent.rate(),
            ..seen
        }
    }
}
