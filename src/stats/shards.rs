//! The shards of a run as one: the facts of their passes, the time in which all were at work, and their clocks.

use serde::Serialize;

use super::clock::Clock;
use super::facts::{Facts, Told};
use crate::sample::{Phase, Sample};
use crate::units::{counted, seconds};

/// The share of the whole time that all shards must have been at work for rates to be taken over the whole time.
pub const OVERLAP: f64 = 0.95;
/// By how many microseconds a wall clock may be set during a run without a note.
const SET: i64 = 10_000;

/// One file's part of a pass. Stamps are on the clock of the merged run.
#[derive(Debug, Default)]
pub struct Part {
    /// The indexes of the shards in the file.
    pub held: Vec<u64>,
    /// `None`: the file ends before the pass.
    pub facts: Option<Facts>,
    /// Requests in the file without those of the warm-up and controls, and how many of them failed.
    pub sent: u64,
    pub failed: u64,
    /// The first send and the last end of these.
    pub span_ns: Option<(u64, u64)>,
    prompt_tokens: u64,
    /// Requests of the warm-up, which are part of a plan with a window.
    warmup: u64,
}

impl Part {
    /// Makes the part of a file that holds these shards.
    pub fn new(held: Vec<u64>) -> Part {
        Part {
            held,
            ..Part::default()
        }
    }

    pub fn add(&mut self, sample: &Sample) {
        match sample.phase {
            Phase::Control => return,
            Phase::Warmup => {
                self.warmup += 1;
                return;
            }
            Phase::Measured | Phase::Cut => {}
        }
        self.sent += 1;
        self.failed += u64::from(sample.failure.is_some());
        self.prompt_tokens += sample.prompt_tokens.unwrap_or(0);
        let (from_ns, to_ns) = self.span_ns.unwrap_or((u64::MAX, 0));
        self.span_ns = Some((from_ns.min(sample.t_send_ns), to_ns.max(sample.t_end_ns)));
    }

    /// Returns the requests of the plan that the file has or knows of.
    fn known(&self) -> u64 {
        let of_facts = self.facts.as_ref().map_or(0, |facts| {
            let warmup = facts.window_ns.map_or(0, |_| self.warmup);
            warmup + facts.turns_not_sent + facts.in_flight
        });
        self.sent + of_facts
    }

    /// Returns when the shards of the file were at work: in their window, or by their schedule or from the first send,
    /// until the last end.
    fn work_ns(&self) -> Option<(u64, u64)> {
        let of_facts = |of: fn(&Facts) -> Option<(u64, u64)>| self.facts.as_ref().and_then(of);
        let schedule_ns = of_facts(|facts| facts.schedule_ns);
        let span_ns = union(self.span_ns.into_iter().chain(schedule_ns));
        of_facts(|facts| facts.window_ns).or(span_ns)
    }
}

/// A pass of all shards.
#[derive(Debug)]
pub struct Merged {
    pub facts: Facts,
    /// The share of the whole time in which all shards were at work, 0..=1; `None`: fewer than two had requests.
    pub overlap: Option<f64>,
    /// For each file, the requests that its shards were to send, if a plan says it.
    pub planned: Vec<Option<u64>>,
    /// For each file, whether it lacks some of them, or the end of the pass.
    pub is_cut: Vec<bool>,
    /// The requests that missing shards were to send, by their index.
    pub missing: Vec<(u64, Option<u64>)>,
}

/// Merges the parts of a pass. `missing` are the indexes of shards without a file; `peak` is the most requests in flight
/// at once.
pub fn merged(parts: &[Part], missing: &[u64], peak: u64) -> Merged {
    let facts = || parts.iter().filter_map(|part| part.facts.as_ref());
    let shares = facts().find_map(|facts| facts.shares.clone());
    let share = |index: &u64| shares.as_ref()?.get(usize::try_from(*index).ok()?).copied();
    let planned: Vec<Option<u64>> = parts
        .iter()
        .map(|part| part.held.iter().map(share).sum())
        .collect();
    let is_cut = parts.iter().zip(&planned).map(|(part, planned)| {
        let is_short = planned.is_some_and(|planned| part.known() < planned);
        part.facts.is_none() || is_short
    });
    let is_cut: Vec<bool> = is_cut.collect();
    let missing = missing.iter().map(|index| (*index, share(index)));
    let missing: Vec<(u64, Option<u64>)> = missing.collect();
    let (overlap_ns, overlap) = overlap(parts);
    let is_whole = missing.is_empty() && !is_cut.contains(&true);
    let whole_plan = shares.as_ref().map(|shares| shares.iter().sum());
    let known: u64 = parts.iter().map(Part::known).sum();
    let sum = |of: fn(&Facts) -> u64| facts().map(of).sum::<u64>();
    let first = facts().next().cloned().unwrap_or_default();
    let starts = facts().map(|facts| facts.t_start_ns).filter(|ns| *ns > 0);
    let merged = Facts {
        t_start_ns: starts.min().unwrap_or(0),
        window_ns: union(facts().filter_map(|facts| facts.window_ns)),
        overlap_ns: overlap_ns.filter(|_| overlap.is_some_and(|share| share < OVERLAP)),
        planned: whole_plan.or_else(|| facts().map(|facts| facts.planned).sum()),
        not_sent: match whole_plan {
            Some(planned) => planned.saturating_sub(known),
            None => sum(|facts| facts.not_sent),
        },
        turns_not_sent: sum(|facts| facts.turns_not_sent),
        concurrency_peak: peak,
        in_flight: sum(|facts| facts.in_flight),
        schedule_ns: union(facts().filter_map(|facts| facts.schedule_ns)),
        exhausted: facts().map(|facts| facts.exhausted).sum(),
        perfect_response_rate: weighted(
            parts,
            |facts| facts.perfect_response_rate,
            |part| part.sent,
        ),
        perfect_prefix_rate: weighted(
            parts,
            |facts| facts.perfect_prefix_rate,
            |part| part.prompt_tokens.max(1),
        ),
        ended: ended(parts),
        is_complete: first
            .is_complete
            .map(|_| is_whole && facts().all(|facts| facts.is_complete == Some(true))),
        shortened: shortened(parts),
        told: first
            .told
            .iter()
            .map(|(key, told)| (key.clone(), of_first(told, parts)))
            .collect(),
        shares,
        ..first
    };
    Merged {
        facts: merged,
        overlap,
        planned,
        is_cut,
        missing,
    }
}

/// Returns the span from the first start to the last end; `None` without spans.
fn union(spans: impl Iterator<Item = (u64, u64)>) -> Option<(u64, u64)> {
    spans.reduce(|(from_ns, to_ns), (from, to)| (from_ns.min(from), to_ns.max(to)))
}

/// Returns a figure of the server with the shard that read it.
fn of_first(told: &Told, parts: &[Part]) -> Told {
    let read = parts.iter().find(|part| part.facts.is_some());
    let shard = read.and_then(|part| part.held.first());
    let by = shard.map_or(String::new(), |index| format!(", read by shard {index}"));
    Told {
        value: told.value,
        source: format!("{}{by}", told.source),
    }
}

/// Returns the mean of a rate over the parts that have one, by a weight.
fn weighted(
    parts: &[Part],
    rate: fn(&Facts) -> Option<f64>,
    weight: fn(&Part) -> u64,
) -> Option<f64> {
    let rates = parts.iter().filter_map(|part| {
        let rate = part.facts.as_ref().and_then(rate)?;
        Some((rate, weight(part) as f64))
    });
    let (sum, weights) = rates.fold((0.0, 0.0), |(sum, weights), (rate, weight)| {
        (sum + rate * weight, weights + weight)
    });
    (weights > 0.0).then(|| sum / weights)
}

/// Says why the pass ended, once for all shards that ended alike; `None` if no shard says it.
fn ended(parts: &[Part]) -> Option<String> {
    let mut whys: Vec<&str> = Vec::new();
    for why in parts
        .iter()
        .filter_map(|part| part.facts.as_ref()?.ended.as_deref())
    {
        if !whys.contains(&why) {
            whys.push(why);
        }
    }
    (!whys.is_empty()).then(|| whys.join("; "))
}

fn shortened(parts: &[Part]) -> Option<(u64, u64)> {
    let of = parts
        .iter()
        .filter_map(|part| part.facts.as_ref()?.shortened);
    of.reduce(|(requests, most), (more, other)| (requests + more, most.max(other)))
}

/// Returns the stamps between which all shards with requests were at work, and the share of the whole time that this
/// is; `None` with fewer than two.
fn overlap(parts: &[Part]) -> (Option<(u64, u64)>, Option<f64>) {
    let windows: Vec<(u64, u64)> = parts.iter().filter_map(Part::work_ns).collect();
    if windows.len() < 2 {
        return (None, None);
    }
    let from = windows.iter().map(|(from_ns, _)| *from_ns);
    let to = windows.iter().map(|(_, to_ns)| *to_ns);
    let (first, last) = (from.clone().min(), to.clone().max());
    let (from, to) = (from.max().unwrap_or(0), to.min().unwrap_or(0));
    // Shards that ran one after the other have no time in common.
    let to = to.max(from);
    let whole_s = seconds(last.unwrap_or(0).saturating_sub(first.unwrap_or(0)));
    let share = (whole_s > 0.0).then(|| seconds(to - from) / whole_s);
    (Some((from, to)), share)
}

/// How far the wall clocks of the shards are apart.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Clocks {
    /// The most that two of them can differ by, in microseconds; `None`: no server's dates tell it.
    pub within_us: Option<u64>,
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Compares the clocks of shards: for each, its first and its last reading.
pub fn clocks(readings: &[(Clock, Clock)]) -> Clocks {
    let mut notes = Vec::new();
    let name = |clock: &Clock| match clock.shard {
        Some(index) => format!("the clock of shard {index}"),
        None => "the clock".to_string(),
    };
    for (first, last) in readings {
        let set_us = first.set_by_us(last);
        if set_us.abs() > SET {
            let by = set_us as f64 / 1e6;
            notes.push(format!(
                "{} was set by {by:+.3} s during the run; throughput and requests in flight are off by as much",
                capital(&name(first))
            ));
        }
    }
    let last: Vec<&Clock> = readings.iter().map(|(_, last)| last).collect();
    let Some((reference, others)) = last.split_first() else {
        return Clocks::default();
    };
    let mut within_us = reference.ahead_us().map(|_| 0_u64);
    for clock in others {
        let Some((low, high)) = clock.ahead_of_us(reference) else {
            within_us = None;
            continue;
        };
        let most = low.unsigned_abs().max(high.unsigned_abs());
        within_us = within_us.map(|within| within.max(most));
        if low > 0 || high < 0 {
            let (least, most) = (low.abs().min(high.abs()), low.abs().max(high.abs()));
            let side = if low > 0 { "ahead of" } else { "behind" };
            notes.push(format!(
                "{} is {:.3} to {:.3} s {side} that of shard {} by the dates of the server's replies: throughput and requests in flight are off by as much; no latency is",
                capital(&name(clock)),
                least as f64 / 1e6,
                most as f64 / 1e6,
                reference.shard.unwrap_or(0)
            ));
        }
    }
    Clocks { within_us, notes }
}

fn capital(text: &str) -> String {
    let mut text = text.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// Says which shards are missing, with the requests that they were to send.
pub fn missing(of: &[(u64, Option<u64>)]) -> Vec<String> {
    let lacks = of.iter().map(|(index, planned)| match planned {
        Some(planned) => format!(
            "shard {index} is missing: {} that it was to send",
            counted(*planned, "request")
        ),
        None => format!("shard {index} is missing; nothing tells what it was to send"),
    });
    lacks.collect()
}
