//! The steady window of a closed loop: the longest span in which nearly all of the wanted requests are in flight.

use super::edges;
use super::record::Record;
use crate::sample::Phase;
use crate::units::seconds;

/// The share of the wanted requests that must be in flight, in percent.
const IN_FLIGHT_PERCENT: u64 = 95;
/// A hand-over, from the end of a request to the next send, does not end the window if it takes at most this part of the
/// mean time in flight: a connection that is handed over so fast is busy for 95 % of the time, too.
const HAND_OVER: u64 = 20;
/// The fewest mean times in flight that a window lasts.
const LEAST: u64 = 2;

/// The rates in the steady window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    pub duration_s: f64,
    /// Output tokens per second; `None` where no reply has a count.
    pub tokens_per_s: Option<f64>,
    /// Successes per second.
    pub requests_per_s: f64,
}

/// Looks for the steady window of a pass.
pub struct Finder<'a> {
    pub records: &'a [Record],
    /// The number of requests that should be in flight.
    pub wanted: u64,
    /// The span of the measured requests.
    pub span_ns: (u64, u64),
    /// The output tokens per event of requests without a count; `None` where no reply has a count.
    pub tokens_an_event: Option<f64>,
}

impl Finder<'_> {
    /// Returns the rates in the window; `None` if there is none. Cost: two sorts, of the sends and of the ends.
    pub fn rates(&self) -> Option<Steady> {
        let window_ns = self.window()?;
        let duration_s = seconds(window_ns.1 - window_ns.0);
        let good = self.records.iter().filter(|record| record.is_good());
        let requests: f64 = good.map(|record| in_flight(record, window_ns)).sum();
        let tokens = self.tokens_an_event.map(|tokens_an_event| {
            let all = self.records.iter();
            let tokens = all.map(|record| tokens(record, window_ns, tokens_an_event));
            tokens.sum::<f64>()
        });
        Some(Steady {
            duration_s,
            tokens_per_s: tokens.map(|tokens| tokens / duration_s),
            requests_per_s: requests / duration_s,
        })
    }

    /// Returns the first of the longest windows.
    fn window(&self) -> Option<(u64, u64)> {
        let all = self.records.iter();
        let all = all.map(|record| (record.t_send_ns, record.t_end_ns()));
        let (mut sends, mut ends): (Vec<u64>, Vec<u64>) = all.unzip();
        sends.sort_unstable();
        ends.sort_unstable();
        let sum = |stamps: &[u64]| stamps.iter().map(|&ns| u128::from(ns)).sum::<u128>();
        let n = (sends.len() as u128).max(1);
        let mean_ns = (sum(&ends).saturating_sub(sum(&sends)) / n) as u64;
        let least = self.wanted.saturating_mul(IN_FLIGHT_PERCENT).div_ceil(100);
        let full = Full {
            sends: &sends,
            ends: &ends,
            least: least.max(1) as usize,
            in_flight: 0,
        };
        let (from_ns, to_ns) = self.span_ns;
        let full = full.map(|(begun_ns, ended_ns)| (begun_ns.max(from_ns), ended_ns.min(to_ns)));
        let full = full.filter(|(begun_ns, ended_ns)| begun_ns < ended_ns);
        let longest = longest(full, mean_ns / HAND_OVER);
        longest.filter(|(from_ns, to_ns)| to_ns - from_ns >= mean_ns.saturating_mul(LEAST))
    }
}

/// Joins spans that are at most a pause apart, and returns the first of the longest.
fn longest(spans: impl Iterator<Item = (u64, u64)>, pause_ns: u64) -> Option<(u64, u64)> {
    let mut longest: Option<(u64, u64)> = None;
    let mut joined: Option<(u64, u64)> = None;
    for (from_ns, to_ns) in spans {
        let begun_ns = joined.filter(|(_, before_ns)| from_ns - before_ns <= pause_ns);
        let begun_ns = begun_ns.map_or(from_ns, |(begun_ns, _)| begun_ns);
        joined = Some((begun_ns, to_ns));
        if longest.is_none_or(|(from_ns, end_ns)| to_ns - begun_ns > end_ns - from_ns) {
            longest = joined;
        }
    }
    longest
}

/// The spans with at least `least` requests in flight, in their order, from the sends and the ends that are still to
/// come, both ascending. A request that ends at the stamp of another one's send hands over without a pause.
struct Full<'a> {
    sends: &'a [u64],
    ends: &'a [u64],
    least: usize,
    in_flight: usize,
}

impl Full<'_> {
    /// Goes on to the next stamp and returns it; `None` after the last end.
    fn step(&mut self) -> Option<u64> {
        let end_ns = *self.ends.first()?;
        let at_ns = self.sends.first().map_or(end_ns, |&ns| ns.min(end_ns));
        let at = |stamps: &[u64]| stamps.partition_point(|&ns| ns <= at_ns);
        let (sent, ended) = (at(self.sends), at(self.ends));
        (self.sends, self.ends) = (&self.sends[sent..], &self.ends[ended..]);
        self.in_flight = (self.in_flight + sent).saturating_sub(ended);
        Some(at_ns)
    }
}

impl Iterator for Full<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut begun_ns = None;
        loop {
            let at_ns = self.step()?;
            match begun_ns {
                None if self.in_flight >= self.least => begun_ns = Some(at_ns),
                Some(begun_ns) if self.in_flight < self.least => return Some((begun_ns, at_ns)),
                _ => {}
            }
        }
    }
}

/// Returns the share of a request's time in flight that lies in the window, 0..=1.
fn in_flight(record: &Record, (from_ns, to_ns): (u64, u64)) -> f64 {
    let end_ns = record.t_end_ns();
    match end_ns.saturating_sub(record.t_send_ns) {
        0 => f64::from((from_ns..=to_ns).contains(&end_ns)),
        all_ns => record.overlap_ns(from_ns, to_ns) as f64 / all_ns as f64,
    }
}

/// Returns the output tokens of a request that came in the window. Events count as evenly spread, and the tokens of a
/// reply that was not streamed as evenly spread over its time in flight. Failures have none.
fn tokens(record: &Record, window_ns: (u64, u64), tokens_an_event: f64) -> f64 {
    let is_cut = record.phase() == Phase::Cut;
    if record.failure.is_some() && !is_cut {
        return 0.0;
    }
    let tokens = record.completion_tokens.get().filter(|_| !is_cut);
    let events = u64::from(record.token_events);
    let stamps = record.t_first_ns().zip(record.t_last_ns());
    let Some(stamps) = stamps.filter(|_| events > 0) else {
        return tokens.map_or(0.0, |n| n as f64 * in_flight(record, window_ns));
    };
    let weight = tokens.map_or(tokens_an_event, |n| n as f64 / events as f64);
    edges::evenly_spread(events, stamps, window_ns) * weight
}

#[cfg(test)]
mod tests;
