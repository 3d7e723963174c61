//! Whether an open loop ran away: requests came faster than the server ended them.
//!
//! Two numbers tell. The backlog is `1 − ended / (arrived − expected in flight)`, where as many are expected in flight as
//! the latency at the start explains (Little's law). The growth is `(mean latency of the second half − of the first) / of
//! the first`, from the scheduled time. Both are above `3 / √arrived` in an overload, and the larger of them is above a
//! threshold. A trend of latencies alone would not do: exactly at capacity it vanishes.

use super::record::Record;
use crate::sample::Phase;

/// The least arrivals to tell from.
pub const LEAST: u64 = 100;
/// An overload has a backlog and a growth above this over the root of the number of arrivals.
const NOISE: f64 = 3.0;
/// An overload has a backlog or a growth above this; growth counts up to 1.
const THRESHOLD: f64 = 0.5;

/// The two numbers of an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overload {
    pub arrivals: u64,
    /// The share of the arrivals that the server has not ended, beyond those that its latency explains; 0..=1.
    pub backlog: f64,
    /// The growth of the mean latency from the first half of the requests to the second, as a share; 0 or more.
    pub growth: f64,
}

/// A request that has ended: its scheduled time and its end, in nanoseconds from the run's epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    pub due_ns: u64,
    pub end_ns: u64,
}

impl Ended {
    fn latency_s(&self) -> f64 {
        self.end_ns.saturating_sub(self.due_ns) as f64 / 1e9
    }
}

impl Overload {
    /// Returns the two numbers at a moment by which `arrivals` requests were due, from those that have ended, in the
    /// order of their scheduled times. A request that ended later tells its latency only. `None`: there are too few.
    /// Cost: linear.
    pub fn at(until_ns: u64, arrivals: u64, ended: &[Ended]) -> Option<Overload> {
        let first = ended.first()?;
        let time_s = until_ns.saturating_sub(first.due_ns) as f64 / 1e9;
        if arrivals < LEAST || ended.len() < LEAST as usize / 2 || time_s <= 0.0 {
            return None;
        }
        let (early, late) = ended.split_at(ended.len() / 2);
        let (before, after) = (mean_s(early), mean_s(late));
        let at_first = mean_s(&ended[..ended.len() / 10]);
        let arrived = arrivals as f64;
        let in_flight = arrived / time_s * at_first;
        let completions = ended.iter().filter(|one| one.end_ns <= until_ns).count() as f64;
        let backlog = match arrived - in_flight {
            expected if expected > 0.0 => (1.0 - completions / expected).max(0.0),
            _ => 0.0,
        };
        let growth = if before > 0.0 {
            (after - before) / before
        } else {
            0.0
        };
        Some(Overload {
            arrivals,
            backlog,
            growth: growth.max(0.0),
        })
    }

    /// Returns the two numbers of a finished pass, at its last scheduled time; `None` in a closed loop, and with too few
    /// requests. Failures end as successes do; the warm-up is left out.
    pub fn of_pass(records: &[Record]) -> Option<Overload> {
        let sent = records
            .iter()
            .filter(|one| matches!(one.phase(), Phase::Measured | Phase::Cut));
        let timed = sent.filter_map(|one| {
            Some(Ended {
                due_ns: one.t_due_ns()?,
                end_ns: one.t_end_ns(),
            })
        });
        let mut ended: Vec<Ended> = timed.collect();
        ended.sort_unstable_by_key(|one| (one.due_ns, one.end_ns));
        let last = ended.last()?;
        Overload::at(last.due_ns, ended.len() as u64, &ended)
    }

    /// Whether the requests came faster than the server ended them.
    pub fn is_overloaded(&self) -> bool {
        let noise = NOISE / (self.arrivals as f64).sqrt();
        let strength = self.backlog.max(self.growth.min(1.0));
        self.backlog > noise && self.growth > noise && strength > THRESHOLD
    }
}

fn mean_s(of: &[Ended]) -> f64 {
    of.iter().map(Ended::latency_s).sum::<f64>() / of.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    const MS: u64 = 1_000_000;

    /// Returns `n` requests that are due every 10 ms and end at the time that `end_ms` gives.
    fn records(n: u64, end_ms: fn(u64) -> u64) -> Vec<Record> {
        let samples = (0..n).map(|k| Sample {
            t_due_ns: Some(10 * k * MS),
            t_send_ns: 10 * k * MS,
            t_end_ns: end_ms(k) * MS,
            ..Sample::default()
        });
        samples.map(|sample| Record::from(&sample)).collect()
    }

    #[test]
    fn a_server_at_half_the_rate_runs_away() {
        // One server takes 20 ms for each, so request k ends at 20 (k + 1) ms, 10 k + 20 ms after it was due. By the last
        // due time, 990 ms, 49 have ended. The first ten took 65 ms on average: 100 / 0.99 s · 0.065 s = 6.5657 are
        // expected in flight, and 1 - 49 / 93.4343 = 0.47557. The halves took 265 and 765 ms: 500 / 265 = 1.88679.
        let got = Overload::of_pass(&records(100, |k| 20 * (k + 1))).expect("an open loop");
        assert_eq!(got.arrivals, 100);
        assert!((got.backlog - 0.475_57).abs() < 1e-5, "{got:?}");
        assert!((got.growth - 1.886_79).abs() < 1e-5, "{got:?}");
        assert!(got.is_overloaded());
    }

    #[test]
    fn a_server_that_keeps_up_does_not() {
        // Request k ends 5 ms after it was due: 99 have ended by the last due time, and 100 / 0.99 · 0.005 = 0.50505 are
        // expected in flight.
        let got = Overload::of_pass(&records(100, |k| 10 * k + 5)).expect("an open loop");
        assert!((got.backlog - (1.0 - 99.0 / 99.494_95)).abs() < 1e-6);
        assert_eq!(got.growth, 0.0);
        assert!(!got.is_overloaded());
    }

    #[test]
    fn a_slow_reply_in_a_short_pass_is_no_backlog() {
        // All take 2 s, and none has ended when the last is due: so many are expected in flight.
        let got = Overload::of_pass(&records(100, |k| 10 * k + 2000)).expect("an open loop");
        assert_eq!((got.backlog, got.growth), (0.0, 0.0));
    }

    #[test]
    fn one_number_alone_is_no_overload() {
        let overload = |arrivals, backlog, growth| Overload {
            arrivals,
            backlog,
            growth,
        };
        for (one, wanted) in [
            (overload(900, 0.2, 0.6), true),
            // Not above 3 / 30.
            (overload(900, 0.09, 5.0), false),
            (overload(900, 0.9, 0.09), false),
            // Neither is above 0.5.
            (overload(900, 0.4, 0.4), false),
            (overload(900, 0.6, 0.2), true),
        ] {
            assert_eq!(one.is_overloaded(), wanted, "{one:?}");
        }
    }

    #[test]
    fn closed_loops_and_short_passes_have_no_numbers() {
        assert_eq!(Overload::of_pass(&records(99, |k| 20 * k + 20)), None);
        let closed = (0..200).map(|k| Sample {
            t_send_ns: 10 * k * MS,
            t_end_ns: (20 * k + 20) * MS,
            ..Sample::default()
        });
        let closed: Vec<Record> = closed.map(|one| Record::from(&one)).collect();
        assert_eq!(Overload::of_pass(&closed), None);
        assert_eq!(Overload::of_pass(&[]), None);
    }
}
