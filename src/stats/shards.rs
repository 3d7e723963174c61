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
        let span_ns = (sample.t_send_ns, sample.t_end_ns);
        self.span_ns = union(self.span_ns.into_iter().chain([span_ns]));
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

    /// Returns when all shards of the file were at work.
    fn common_ns(&self) -> Option<(u64, u64)> {
        let overlap_ns = self.facts.as_ref().and_then(|facts| facts.overlap_ns);
        overlap_ns.or(self.work_ns())
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
    /// For each file, whether it was stopped before the end of the pass.
    pub is_cut: Vec<bool>,
    /// The requests that missing shards were to send, by their index.
    pub missing: Vec<(u64, Option<u64>)>,
}

/// Merges the parts of a pass. `missing` are the indexes of shards without a file; `peak` is the most requests in flight
/// at once.
pub fn merged(parts: &[Part], missing: &[u64], peak: u64) -> Merged {
    let mut facts = parts.iter().filter_map(|part| part.facts.as_ref());
    let shares = facts.find_map(|facts| facts.shares.clone());
    let share = |index: &u64| shares.as_ref()?.get(usize::try_from(*index).ok()?).copied();
    let planned: Vec<Option<u64>> = parts
        .iter()
        .map(|part| part.held.iter().map(share).sum())
        .collect();
    let is_cut: Vec<bool> = parts.iter().map(is_cut).collect();
    let missing = missing.iter().map(|index| (*index, share(index)));
    let missing: Vec<(u64, Option<u64>)> = missing.collect();
    let (overlap_ns, overlap) = overlap(parts);
    let is_whole = missing.is_empty() && !is_cut.contains(&true);
    let is_complete = is_whole && parts.iter().zip(&planned).all(is_complete);
    let of_parts = facts_of(parts, shares, is_complete);
    Merged {
        facts: Facts {
            overlap_ns: overlap_ns.filter(|_| overlap.is_some_and(|share| share < OVERLAP)),
            concurrency_peak: peak,
            ..of_parts
        },
        overlap,
        planned,
        is_cut,
        missing,
    }
}

/// Whether a part lacks requests that it was to send.
fn is_cut(part: &Part) -> bool {
    // A duration may end before the last requests of a plan are sent.
    let facts = part.facts.as_ref();
    facts.is_none_or(|facts| facts.was_stopped)
}

/// Merges the facts of all parts. `shares`: the requests that each shard was to send.
fn facts_of(parts: &[Part], shares: Option<Vec<u64>>, is_complete: bool) -> Facts {
    let facts = || parts.iter().filter_map(|part| part.facts.as_ref());
    let whole_plan = shares.as_ref().map(|shares| shares.iter().sum());
    let known: u64 = parts.iter().map(Part::known).sum();
    let sum = |of: fn(&Facts) -> u64| facts().map(of).sum::<u64>();
    let first = facts().next().cloned().unwrap_or_default();
    let starts = facts().map(|facts| facts.t_start_ns).filter(|ns| *ns > 0);
    Facts {
        t_start_ns: starts.min().unwrap_or(0),
        window_ns: union(facts().filter_map(|facts| facts.window_ns)),
        planned: whole_plan.or_else(|| facts().map(|facts| facts.planned).sum()),
        not_sent: match whole_plan {
            Some(planned) => planned.saturating_sub(known),
            None => sum(|facts| facts.not_sent),
        },
        turns_not_sent: sum(|facts| facts.turns_not_sent),
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
        was_stopped: parts.iter().any(is_cut),
        is_complete: first.is_complete.map(|_| is_complete),
        shortened: shortened(parts),
        told: first
            .told
            .iter()
            .map(|(key, told)| (key.clone(), of_first(told, parts)))
            .collect(),
        shares,
        ..first
    }
}

/// Whether a file has all that its shards were to send. One of several shards that lacked another one says that it is
/// incomplete.
fn is_complete((part, planned): (&Part, &Option<u64>)) -> bool {
    part.facts.as_ref().is_some_and(|facts| {
        let done = Some(part.sent + facts.turns_not_sent);
        facts.is_complete == Some(true) || done == *planned
    })
}

/// Returns the span from the first start to the last end; `None` without spans.
pub fn union(spans: impl Iterator<Item = (u64, u64)>) -> Option<(u64, u64)> {
    spans.reduce(|(from_ns, to_ns), (from, to)| (from_ns.min(from), to_ns.max(to)))
}

/// Returns a figure of the server with the shard that read it.
fn of_first(told: &Told, parts: &[Part]) -> Told {
    const BY: &str = ", read by shard ";
    let read = parts.iter().find(|part| part.facts.is_some());
    let shard = read.and_then(|part| part.held.first());
    // A file of several shards says it already.
    let shard = shard.filter(|_| !told.source.contains(BY));
    let by = shard.map_or(String::new(), |index| format!("{BY}{index}"));
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
    let at_work = || parts.iter().filter(|part| part.work_ns().is_some());
    if at_work().map(|part| part.held.len()).sum::<usize>() < 2 {
        return (None, None);
    }
    let whole_ns = union(at_work().filter_map(Part::work_ns));
    let common = at_work().filter_map(Part::common_ns);
    let common_ns =
        common.reduce(|(from_ns, to_ns), (from, to)| (from_ns.max(from), to_ns.min(to)));
    let (Some((first, last)), Some((from, to))) = (whole_ns, common_ns) else {
        return (None, None);
    };
    // Shards that ran one after the other have no time in common.
    let to = to.max(from);
    let whole_s = seconds(last.saturating_sub(first));
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
        Some(index) => format!("The clock of shard {index}"),
        None => "The clock".to_string(),
    };
    for (first, last) in readings {
        let set_us = first.set_by_us(last);
        if set_us.abs() > SET {
            let by = set_us as f64 / 1e6;
            notes.push(format!(
                "{} was set by {by:+.3} s during the run; throughput and requests in flight are off by as much",
                name(first)
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
                name(clock),
                least as f64 / 1e6,
                most as f64 / 1e6,
                reference.shard.unwrap_or(0)
            ));
        }
    }
    Clocks { within_us, notes }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure};

    const S: u64 = 1_000_000_000;

    /// A part with requests that were sent at `from` and ended at `to`, in seconds.
    fn part(index: u64, requests: u64, (from, to): (u64, u64), facts: Option<Facts>) -> Part {
        let mut part = Part::new(vec![index]);
        for id in 0..requests {
            part.add(&Sample {
                id,
                t_send_ns: from * S,
                t_end_ns: to * S,
                prompt_tokens: Some(10),
                ..Sample::default()
            });
        }
        part.facts = facts;
        part
    }

    fn facts(planned: u64, shares: &[u64]) -> Option<Facts> {
        Some(Facts {
            planned: Some(planned),
            shares: Some(shares.to_vec()),
            ..Facts::default()
        })
    }

    #[test]
    fn requests_of_the_warm_up_and_controls_are_not_counted_as_sent() {
        let mut part = Part::new(vec![0]);
        for (phase, failure) in [
            (Phase::Warmup, None),
            (Phase::Control, None),
            (Phase::Measured, None),
            (Phase::Measured, Some(Failure::new(FailKind::Http, "x"))),
            (Phase::Cut, None),
        ] {
            part.add(&Sample {
                phase,
                failure,
                t_send_ns: 5,
                t_end_ns: 9,
                ..Sample::default()
            });
        }
        assert_eq!((part.sent, part.failed, part.span_ns), (3, 1, Some((5, 9))));
    }

    #[test]
    fn the_plan_of_all_shards_says_what_a_missing_and_a_cut_one_were_to_send() {
        let shares = [4, 3, 3, 3];
        let stopped = facts(3, &shares).map(|facts| Facts {
            was_stopped: true,
            ..facts
        });
        let parts = [
            part(0, 4, (10, 20), facts(4, &shares)),
            // It was killed.
            part(1, 1, (10, 12), None),
            // A signal ended it.
            part(3, 2, (10, 20), stopped),
        ];
        let merged = merged(&parts, &[2], 3);
        assert_eq!(merged.planned, [Some(4), Some(3), Some(3)]);
        assert_eq!(merged.is_cut, [false, true, true]);
        assert_eq!(merged.missing, [(2, Some(3))]);
        assert_eq!(merged.facts.planned, Some(13));
        // 7 of 13 were sent.
        assert_eq!(merged.facts.not_sent, 6);
        assert_eq!(merged.facts.concurrency_peak, 3);
        assert_eq!(
            missing(&merged.missing),
            ["shard 2 is missing: 3 requests that it was to send"]
        );
    }

    #[test]
    fn rates_are_those_of_the_time_in_which_all_shards_were_at_work() {
        let of = |spans: &[(u64, u64)]| {
            let parts = (0..)
                .zip(spans)
                .map(|(index, span)| part(index, 1, *span, facts(1, &[1, 1, 1])));
            let merged = merged(&parts.collect::<Vec<_>>(), &[], 1);
            (merged.overlap, merged.facts.overlap_ns)
        };
        // 96 of 100 seconds, and 90 of 100.
        assert_eq!(of(&[(100, 198), (102, 200)]), (Some(0.96), None));
        let overlap_ns = Some((105 * S, 195 * S));
        assert_eq!(of(&[(100, 195), (105, 200)]), (Some(0.9), overlap_ns));
        // One after the other.
        let none_ns = Some((120 * S, 120 * S));
        assert_eq!(of(&[(100, 110), (120, 130)]), (Some(0.0), none_ns));
        assert_eq!(of(&[(100, 110)]), (None, None));
    }

    #[test]
    fn a_shard_of_an_open_loop_is_at_work_by_the_schedule_of_the_whole_plan() {
        let scheduled = |index, span: (u64, u64)| {
            let facts = Facts {
                schedule_ns: Some((100 * S, 199 * S)),
                ..Facts::default()
            };
            part(index, 1, span, Some(facts))
        };
        // Its only request was sent late in the schedule.
        let parts = [scheduled(0, (100, 200)), scheduled(1, (150, 151))];
        assert_eq!(merged(&parts, &[], 1).overlap, Some(0.99));
    }

    #[test]
    fn facts_of_all_shards_are_sums_means_and_the_words_of_each() {
        let of = |ended: &str, prefix, exhausted, shortened| {
            Some(Facts {
                ended: Some(ended.to_string()),
                perfect_prefix_rate: Some(prefix),
                exhausted: Some(exhausted),
                shortened: Some(shortened),
                in_flight: 2,
                window_ns: Some((5 * S, (20 + exhausted) * S)),
                t_start_ns: (5 + exhausted) * S,
                ..Facts::default()
            })
        };
        let parts = [
            part(0, 3, (10, 20), of("a signal", 0.4, 1, (2, 7))),
            part(1, 1, (10, 20), of("the duration is over", 0.8, 0, (1, 3))),
        ];
        let facts = merged(&parts, &[], 4).facts;
        assert_eq!(
            facts.ended.as_deref(),
            Some("a signal; the duration is over")
        );
        // 30 prompt tokens at 0.4 and 10 at 0.8.
        assert_eq!(facts.perfect_prefix_rate, Some(0.5));
        assert_eq!(facts.exhausted, Some(1));
        assert_eq!(facts.shortened, Some((3, 7)));
        assert_eq!(facts.in_flight, 4);
        assert_eq!(facts.window_ns, Some((5 * S, 21 * S)));
        assert_eq!(facts.t_start_ns, 5 * S);
    }

    /// The clock of a shard that is ahead of the server's by so many milliseconds, known within 10 ms.
    fn clock(shard: u64, ahead_ms: i64) -> (Clock, Clock) {
        let server_us = 1_000_000_000_u64;
        let wall_us = server_us.saturating_add_signed(ahead_ms * 1000);
        let clock = Clock {
            shard: Some(shard),
            wall_us,
            t_ns: 0,
            server_us: Some((server_us - 10_000, server_us + 10_000)),
        };
        (clock, clock)
    }

    #[test]
    fn clocks_that_are_apart_by_the_dates_of_the_server_are_noted() {
        // Each is known within 10 ms, so two are known within 20 ms.
        let near = clocks(&[clock(0, 0), clock(1, 15)]);
        assert_eq!((near.within_us, near.notes.len()), (Some(35_000), 0));
        let far = clocks(&[clock(0, 0), clock(1, -500)]);
        assert_eq!(far.within_us, Some(520_000));
        let note = "The clock of shard 1 is 0.480 to 0.520 s behind that of shard 0 by the dates of the server's replies: ";
        assert!(far.notes[0].starts_with(note), "{:?}", far.notes);
        let (first, _) = clock(2, 0);
        let unknown = Clock {
            server_us: None,
            ..first
        };
        assert_eq!(clocks(&[clock(0, 0), (unknown, unknown)]).within_us, None);
        // It was set forward during the run.
        let later = Clock {
            wall_us: first.wall_us + 1_300_000,
            t_ns: S,
            ..first
        };
        let set = clocks(&[(first, later)]);
        let note = "The clock of shard 2 was set by +0.300 s during the run; ";
        assert!(set.notes[0].starts_with(note), "{:?}", set.notes);
    }
}
