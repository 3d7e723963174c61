//! One pass of a run: its requests, the facts that they do not tell, and its figures.

use serde::Deserialize;
use serde_json::Value;

use super::client::ClientStats;
use super::facts::Facts;
use super::figures::Figures;
use super::goodput::Slo;
use super::record::Record;
use super::records::Records;
use super::time::Reported;
use crate::sample::{Labels, Phase, Sample, TokenSource};
use crate::vitals::Vitals;

#[derive(Debug)]
pub struct Pass {
    pub facts: Facts,
    pub records: Records,
    pub figures: Figures,
}

impl Pass {
    /// Works out the figures. Cost: one sort for each time, where records are kept.
    pub fn new(facts: Facts, records: Records) -> Pass {
        Pass {
            figures: records.figures(&facts),
            facts,
            records,
        }
    }

    /// Returns the name of the pass in reports, such as `concurrency 8, round 2` or `rate 2.5/s`.
    pub fn name(&self) -> String {
        self.facts.name()
    }
}

/// Adds a count of the figures up over passes.
pub fn sum(passes: &[Pass], count: impl Fn(&Figures) -> u64) -> u64 {
    passes.iter().map(|pass| count(&pass.figures)).sum()
}

/// Whether the replies of these passes of a run have reported cache hits; the last pass knows what earlier ones
/// reported.
pub fn reported(passes: &[Pass]) -> Reported {
    let last = passes.last();
    last.map_or(Reported::default(), |pass| pass.figures.reported)
}

/// Returns the number of tokens that all prompts of a run begin with before their own text, from its header.
pub fn common_tokens(header: &Value) -> Option<u64> {
    header["setup"]["common_tokens"].as_u64()
}

/// Makes the passes of a run from the lines of its samples file, in their order.
#[derive(Debug)]
pub struct Passes {
    /// Settings from the header: the limits, whether the mock ran in this process, whether the run was endless, the
    /// length of the warm-up if the run has a window, the output tokens asked for, and the number of tokens that all
    /// prompts begin with.
    slo: Option<Slo>,
    mock_in_process: bool,
    is_endless: bool,
    warmup_ns: Option<u64>,
    wanted_output_tokens: Option<u64>,
    common_tokens: Option<u64>,
    ended: Vec<Pass>,
    /// Data of the lines since the last pass ended: the requests, the labels and the send of the first measured one,
    /// the send and end of each in an endless pass, which keeps no records, and the ids of those whose tokens are not
    /// counted yet with their indices in `records`.
    records: Records,
    first: Option<(Labels, u64)>,
    spans_ns: Vec<(u64, u64)>,
    uncounted: Vec<(u64, usize)>,
    /// Whether `uncounted` is in the order of the ids.
    is_sorted: bool,
    vitals: Vec<Vitals>,
}

impl Passes {
    /// Starts to read a file; `header` is its first line, an object.
    pub fn new(header: &Value) -> Passes {
        let options = &header["options"];
        let is_windowed = header["command"] == "benchmark";
        let limits = ["duration_s", "requests", "rotations"];
        let warmup_s = options["warmup_s"].as_f64().unwrap_or(0.0);
        let is_endless = is_windowed && limits.iter().all(|key| options[key].is_null());
        Passes {
            slo: Slo::deserialize(&header["slo"]).ok(),
            // Any other backend is a process of its own. Old files name no backend; in these `mock` means the one in
            // the process.
            mock_in_process: header["mock"] == true
                && matches!(header["backend"].as_str(), None | Some("mock")),
            is_endless,
            warmup_ns: is_windowed.then_some((warmup_s * 1e9) as u64),
            wanted_output_tokens: options["output_length_tokens"].as_u64(),
            common_tokens: common_tokens(header),
            ended: Vec::new(),
            records: empty(is_endless, common_tokens(header)),
            first: None,
            spans_ns: Vec::new(),
            uncounted: Vec::new(),
            is_sorted: true,
            vitals: Vec::new(),
        }
    }

    pub fn sample(&mut self, mut sample: Sample) {
        // A sample line without a wanted length takes it from the header of a benchmark.
        let wanted = &mut sample.labels.wanted_output_tokens;
        *wanted = wanted.or(self.wanted_output_tokens);
        let at = self.records.list.len();
        self.records.add(&sample);
        if self.records.list.get(at).is_some_and(Record::is_uncounted) {
            self.uncounted.push((sample.id, at));
            self.is_sorted = false;
        }
        if self.is_endless {
            self.spans_ns.push((sample.t_send_ns, sample.t_end_ns));
        }
        let is_beside = matches!(sample.phase, Phase::Warmup | Phase::Control);
        if !is_beside && self.first.is_none() {
            self.first = Some((sample.labels, sample.t_send_ns));
        }
    }

    pub fn vitals(&mut self, seen: Vitals) {
        self.vitals.push(seen);
    }

    /// Sets the output tokens of the request with this id, which were counted after it ended.
    pub fn tokens(&mut self, id: u64, tokens: u64, source: TokenSource) {
        if !self.is_sorted {
            self.uncounted.sort_unstable();
            self.is_sorted = true;
        }
        // Of two requests with one id, the last counts.
        let end = self.uncounted.partition_point(|&(of, _)| of <= id);
        let found = self.uncounted[..end].last().filter(|&&(of, _)| of == id);
        if let Some(&(_, at)) = found {
            self.records.count(at, tokens, source);
        }
    }

    /// Ends a pass at its `pass` line.
    pub fn pass(&mut self, line: &Value) {
        self.end(Facts::read(line));
    }

    /// Returns all passes; a pass without its `pass` line has only the facts that its requests tell.
    pub fn finish(mut self) -> Vec<Pass> {
        // A run with a window has one pass, which has begun even if the file has no sample of it.
        let has_begun = self.first.is_some() || self.warmup_ns.is_some() && self.ended.is_empty();
        if has_begun {
            let (labels, first_ns) = self.first.take().unwrap_or_default();
            let t_start_ns = self.spans_ns().map(|(sent_ns, _)| sent_ns).min();
            let t_start_ns = t_start_ns.unwrap_or(0);
            let last_ns = self.spans_ns().map(|(_, ended_ns)| ended_ns).max();
            let last_ns = last_ns.unwrap_or(0);
            let window = |warmup_ns| (t_start_ns.saturating_add(warmup_ns), last_ns);
            self.end(Facts {
                workload: labels.workload,
                round: labels.round,
                concurrency: labels.concurrency,
                rate_per_s: labels.rate_per_s,
                t_start_ns: match self.warmup_ns {
                    Some(_) => t_start_ns,
                    None => first_ns,
                },
                window_ns: self.warmup_ns.map(window),
                concurrency_peak: peak_of(self.spans_ns()),
                ..Facts::default()
            });
        }
        self.ended
    }

    /// Returns the send and the end of each request since the last pass ended, controls among them.
    fn spans_ns(&self) -> impl Iterator<Item = (u64, u64)> {
        let kept = self.records.list.iter().chain(&self.records.controls);
        let kept = kept.filter(|_| !self.is_endless);
        let kept = kept.map(|record| (record.t_send_ns, record.t_end_ns()));
        kept.chain(self.spans_ns.iter().copied())
    }

    fn end(&mut self, facts: Facts) {
        let next = empty(self.is_endless, self.common_tokens);
        let records = std::mem::replace(&mut self.records, next);
        self.first = None;
        // The memory is free while figures are worked out.
        self.spans_ns = Vec::new();
        self.uncounted = Vec::new();
        self.is_sorted = true;
        let (measured_ns, _) = facts.window_ns.unwrap_or((facts.t_start_ns, 0));
        let mut client = ClientStats::default();
        for seen in self.vitals.drain(..) {
            // Controls after a window are watched, too.
            let is_after = facts
                .window_ns
                .is_some_and(|(_, end_ns)| seen.t_start_ns > end_ns);
            if seen.t_end_ns > facts.t_start_ns && !is_after {
                client.add(&seen, measured_ns);
            }
        }
        let facts = Facts {
            reported: reported(&self.ended),
            slo: self.slo,
            common_tokens: self.common_tokens,
            client: client.summary(facts.t_start_ns, self.mock_in_process),
            ..facts
        };
        self.ended.push(Pass::new(facts, records));
    }
}

/// Returns the records of a pass that has no request yet.
fn empty(is_endless: bool, common_tokens: Option<u64>) -> Records {
    match is_endless {
        true => Records::live(true, common_tokens.unwrap_or(0)),
        false => Records::kept(),
    }
}

/// Returns the largest number of spans that overlap. A span goes from its first stamp to its second; one that ends at
/// the stamp at which another begins does not overlap it.
pub fn peak_of(spans: impl Iterator<Item = (u64, u64)>) -> u64 {
    let (mut sent, mut ended): (Vec<u64>, Vec<u64>) = spans.unzip();
    sent.sort_unstable();
    ended.sort_unstable();
    let mut gone = 0;
    let in_flight = sent.iter().enumerate().map(|(before, sent_ns)| {
        let ends = ended[gone..].iter();
        gone += ends.take_while(|&end_ns| end_ns <= sent_ns).count();
        (before + 1).saturating_sub(gone) as u64
    });
    in_flight.max().unwrap_or(0)
}
