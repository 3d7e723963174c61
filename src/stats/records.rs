//! The requests of a pass as they end: a record of each, or histograms in an endless pass.

use std::borrow::Cow;
use std::sync::Arc;

use super::answers::Answers;
use super::counts::possible;
use super::edges::Edges;
use super::facts::Facts;
use super::figures::{FailureCount, Failures, Figures, Means};
use super::goodput::Goodput;
use super::lengths::Lengths;
use super::overload::Overload;
use super::record::Record;
use super::spread::{Histogram, Spread};
use super::steady::{Finder, Steady};
use super::tally::Tally;
use super::time::{HitRule, Time};
use crate::sample::{Failure, Phase, Sample, TokenSource, why};
use crate::units::share;

/// The requests of a pass, and what cannot be told from single records.
#[derive(Debug, Default)]
pub struct Records {
    /// Records in the order in which the requests ended; empty in an endless pass. Charts share them.
    pub list: Arc<Vec<Record>>,
    pub failures: Failures,
    /// Gaps between token events of successes, without those of bursts.
    pub gaps: Histogram,
    answers: Answers,
    /// The number of events of successes that could not be read, and the first of them.
    unread: Option<(u64, String)>,
    /// Successes with an impossible token count.
    impossible_counts: u64,
    /// The lengths of successes compared with those that were wanted.
    lengths: Lengths,
    /// Tokens and bytes of text of the plain successes whose tokens the server counted.
    plain_tokens: u64,
    plain_bytes: u64,
    /// Plain replies whose tokens are still to be counted.
    pub uncounted: Vec<Uncounted>,
    /// One detail for each record; `None` if no file about single requests was asked for.
    pub details: Option<Vec<Detail>>,
    /// Controls, in the order of their ends; no figure but the verdict on the KV cache has them.
    pub controls: Vec<Record>,
    /// The requests that cross an edge of the window.
    edges: Edges,
    live: Option<Box<Live>>,
    keeps: bool,
    keeps_gaps: bool,
}

/// A plain reply whose tokens are still to be counted.
#[derive(Debug, Clone)]
pub struct Uncounted {
    /// The index of its record in `list`.
    pub at: usize,
    pub id: u64,
    pub text: Arc<str>,
}

/// The data of a request that files about single requests have and figures do not use.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    pub id: u64,
    pub status: Option<u16>,
    pub failure: Option<Failure>,
    pub gaps_us: Vec<u32>,
}

/// Figures that can be asked for at any time, in constant memory.
#[derive(Debug, Default)]
struct Live {
    tally: Tally,
    /// The histogram of each time, at the index `Time as usize`; `None` if no request has had the time.
    times: [Option<Histogram>; Time::NAMES.len()],
    interval: Means,
}

impl Records {
    /// Makes records that keep every request.
    pub fn kept() -> Records {
        Records {
            keeps: true,
            ..Records::default()
        }
    }

    /// Makes records whose figures can be asked for at any time; no single record is kept if the pass is `endless`. All
    /// prompts begin with the same `common_tokens` tokens before their own text.
    pub fn live(endless: bool, common_tokens: u64) -> Records {
        let live = Live {
            tally: Tally::new(common_tokens),
            ..Live::default()
        };
        Records {
            live: Some(Box::new(live)),
            keeps: !endless,
            ..Records::default()
        }
    }

    /// Keeps details too, with the gaps between token events if `keeps_gaps`.
    pub fn with_details(self, keeps_gaps: bool) -> Records {
        Records {
            details: Some(Vec::new()),
            keeps_gaps,
            ..self
        }
    }

    /// Adds the gaps of a success. Gaps of 0, which are frequent with a fast server, are counted first and added at
    /// once.
    fn add_gaps(&mut self, gaps_us: &[u32]) {
        let mut in_one_read = 0;
        for &us in gaps_us {
            match us {
                0 => in_one_read += 1,
                _ => self.gaps.add_ns(f64::from(us) * 1e3),
            }
        }
        self.gaps.add_zeros(in_one_read);
    }

    pub fn add(&mut self, sample: &Sample) {
        let possible = possible(sample);
        let is_odd = matches!(possible, Cow::Owned(_));
        let sample = &*possible;
        let record = Record::from(sample);
        if sample.phase == Phase::Control {
            self.controls.push(record);
            return;
        }
        self.edges.add(sample);
        if record.is_good() {
            if !record.is_burst() {
                self.add_gaps(&sample.gaps_us);
            }
            self.add_answer(sample, &record);
            self.lengths.add(sample);
            self.add_text(sample);
            self.impossible_counts += u64::from(is_odd);
            if let Some((count, first)) = &sample.unread {
                self.unread.get_or_insert_with(|| (0, first.clone())).0 += count;
            }
        } else if record.is_measured() {
            self.count_failure(sample);
        }
        if let Some(live) = &mut self.live {
            live.add(&record);
        }
        if !self.keeps {
            return;
        }
        if record.is_uncounted() {
            let (at, id) = (self.list.len(), sample.id);
            let text = sample.text.clone();
            self.uncounted
                .extend(text.map(|text| Uncounted { at, id, text }));
        }
        if let Some(details) = &mut self.details {
            details.push(Detail::of(sample, self.keeps_gaps));
        }
        Arc::make_mut(&mut self.list).push(record);
    }

    /// Adds the time to the first answer token of a success, before its record is kept.
    fn add_answer(&mut self, good: &Sample, record: &Record) {
        let before = self.keeps.then_some(&self.list[..]);
        let live = self.live.as_ref();
        let ttft = live.and_then(|live| live.times[Time::Ttft as usize].as_ref());
        self.answers.add(good, record, before, ttft);
    }

    /// Adds the tokens and bytes of a plain success that the server counted.
    fn add_text(&mut self, good: &Sample) {
        if let Some(tokens) = good.completion_tokens.filter(|_| good.t_first_ns.is_none()) {
            self.plain_tokens += tokens;
            self.plain_bytes += good.text_bytes;
        }
    }

    /// Returns the tokens per byte of the plain replies that the server counted; `None` if it counted none.
    pub fn tokens_per_byte(&self) -> Option<f64> {
        share(self.plain_tokens, self.plain_bytes)
    }

    /// Counts a failed sample under its kind; the first of a kind is the example.
    fn count_failure(&mut self, sample: &Sample) {
        if let Some(failure) = &sample.failure {
            let entry = self.failures.entry(failure.kind.name());
            let first = || FailureCount {
                count: 0,
                status: sample.status,
                example: failure.reason.clone(),
            };
            entry.or_insert_with(first).count += 1;
        }
    }

    /// Sets the output tokens of the request at this index, which were counted after it ended.
    pub fn count(&mut self, at: usize, tokens: u64, source: TokenSource) {
        let record = &mut Arc::make_mut(&mut self.list)[at];
        record.completion_tokens = Some(tokens).into();
        record.token_source = Some(source);
        self.lengths
            .answer(record.wanted_output_tokens.get(), tokens, source);
    }

    /// Returns the figures of all requests so far, exact where records are kept.
    pub fn figures(&self, facts: &Facts) -> Figures {
        match self.keeps {
            true => Figures::of(self, facts),
            false => self.live_figures(facts),
        }
    }

    /// Returns the figures so far at a cost that does not grow with the run, with percentiles from histograms.
    pub fn live_figures(&self, facts: &Facts) -> Figures {
        match &self.live {
            Some(live) => {
                let figures = Figures {
                    time_to_answer: self.answers.live(),
                    ..live.figures(facts).with_beside(self)
                };
                self.with_window(figures, facts, &live.tally)
            }
            None => Figures::of(self, facts),
        }
    }

    /// Adds the hits by times, and the output tokens of requests that cross an edge if the pass has a window.
    fn with_window(&self, figures: Figures, facts: &Facts, tally: &Tally) -> Figures {
        let figures = Figures {
            hits_by_times: tally.hits_by_times(facts, &self.controls),
            ..figures
        };
        if let Some(overlap_ns) = facts.overlap_ns {
            let kept = self.keeps.then_some(&self.list[..]);
            return figures.over(overlap_ns, kept, facts.slo.as_ref());
        }
        let Some(window_ns) = facts.window_ns else {
            return figures;
        };
        let tokens = self.edges.tokens(window_ns, tally.tokens_an_event());
        figures.with_edge_tokens(window_ns, tokens)
    }

    /// Returns the values of a time in milliseconds, ascending, each with its number of occurrences; from a histogram
    /// where no records are kept. Cost: a sort.
    pub fn times_ms(&self, time: Time) -> Vec<(f64, u64)> {
        if let Some(live) = self.live.as_ref().filter(|_| !self.keeps) {
            let histogram = live.times[time as usize].iter();
            return histogram.flat_map(Histogram::values_ms).collect();
        }
        let times = self.list.iter().filter_map(|record| time.of(record, None));
        let mut times: Vec<f64> = times.collect();
        times.sort_unstable_by(f64::total_cmp);
        times.into_iter().map(|ns| (ns / 1e6, 1)).collect()
    }

    /// Returns the means over the successes since the last call.
    pub fn end_interval(&mut self) -> Means {
        let live = self.live.as_mut();
        live.map_or(Means::default(), |live| std::mem::take(&mut live.interval))
    }
}

impl Live {
    fn add(&mut self, record: &Record) {
        self.tally.add(record);
        if record.is_good() {
            self.interval.add(record);
        }
        for ((time, _), histogram) in Time::NAMES.into_iter().zip(&mut self.times) {
            if let Some(ns) = time.of(record, None) {
                histogram.get_or_insert_default().add_ns(ns);
            }
        }
    }

    fn figures(&self, facts: &Facts) -> Figures {
        Figures {
            times: self.times.each_ref().map(|of| of.as_ref()?.spread()),
            ..self.tally.figures(facts, None)
        }
    }
}

impl Detail {
    fn of(sample: &Sample, keeps_gaps: bool) -> Detail {
        Detail {
            id: sample.id,
            status: sample.status,
            failure: sample.failure.clone(),
            gaps_us: Vec::from(if keeps_gaps { &sample.gaps_us[..] } else { &[] }),
        }
    }

    /// Returns kind, status and reason of a failure.
    pub fn error(&self) -> Option<String> {
        let Failure { kind, reason, .. } = self.failure.as_ref()?;
        Some(format!("{}: {}", kind.name(), why(self.status, reason)))
    }
}

impl Figures {
    /// Works out the figures of a pass that kept its records; all percentiles are exact except those of gaps. Cost: one
    /// sort for each time.
    fn of(records: &Records, facts: &Facts) -> Figures {
        let common_tokens = facts.common_tokens.unwrap_or(0);
        let mut tally = Tally::new(common_tokens);
        records.list.iter().for_each(|record| tally.add(record));
        let (from_ns, to_ns) = tally.span_ns();
        let busy_ns = || {
            let counts = |record: &&Record| record.phase() != Phase::Warmup;
            let in_span = records.list.iter().filter(counts);
            let overlaps = in_span.map(|record| record.overlap_ns(from_ns, to_ns));
            overlaps.sum()
        };
        let hit_by = tally.reported(facts).hit_by();
        let rule = hit_by.map(|by| HitRule { by, common_tokens });
        let times = Time::NAMES.map(|(time, _)| {
            let all = records.list.iter();
            let values = all.filter_map(|record| time.of(record, rule));
            Spread::of(values.map(|ns| ns / 1e6).collect())
        });
        let figures = tally.figures(facts, facts.window_ns.is_none().then(busy_ns));
        let (list, not_sent) = (&records.list, facts.turns_not_sent);
        let goodput = facts.slo.as_ref();
        let goodput = goodput.map(|slo| Goodput::of(slo, list, not_sent, figures.duration_s));
        let figures = Figures {
            times,
            time_to_answer: records.answers.exact(),
            steady: figures.steady(list, facts, &tally),
            goodput,
            overload: Overload::of_pass(list),
            ..figures
        }
        .with_beside(records);
        records.with_window(figures, facts, &tally)
    }

    /// Returns the rates in the steady window of a closed loop without a window of its own.
    fn steady(&self, list: &[Record], facts: &Facts, tally: &Tally) -> Option<Steady> {
        let is_closed = facts.window_ns.is_none() && !self.is_open;
        let is_counted = self.output_tokens.total.is_some();
        Finder {
            records: list,
            wanted: facts.concurrency.filter(|_| is_closed)?,
            span_ns: tally.span_ns(),
            tokens_an_event: is_counted.then(|| tally.tokens_an_event()),
        }
        .rates()
    }

    /// Adds the figures that single records do not tell: failures, gaps and events that could not be read.
    fn with_beside(self, records: &Records) -> Figures {
        let gap = records.gaps.spread();
        Figures {
            gap,
            gaps_in_one_read_share: share(records.gaps.zeros(), gap.map_or(0, |gap| gap.n)),
            failures: records.failures.clone(),
            unread: records.unread.clone(),
            impossible_counts: records.impossible_counts,
            lengths: records.lengths.clone(),
            ..self
        }
    }
}

#[cfg(test)]
impl Records {
    /// Adds these requests.
    pub fn with(mut self, samples: &[Sample]) -> Records {
        samples.iter().for_each(|sample| self.add(sample));
        self
    }
}
