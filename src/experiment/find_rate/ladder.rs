//! The ladder in closed loop: one request at a time, then twice as many, until the throughput grows by less than 10 %.

use super::told::Told;

/// The throughput has to grow by this factor from one rung to the next.
const GROWTH: f64 = 1.1;
/// The mean number in flight may differ from the wanted one by this share.
const LITTLE: f64 = 0.05;
/// The least requests of a rung, and those for each in flight. The first and the last for each in flight are left out.
const LEAST: u64 = 10;
const EACH: u64 = 6;
/// Rungs from here on have fewer requests for each in flight.
const MANY: u64 = 32;
const EACH_OF_MANY: u64 = 4;

/// From so many in flight on one rung that does not grow is enough; below, the throughput is too uncertain.
const FIRM: u64 = 16;

/// One rung, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    pub concurrency: u64,
    /// Successes per second while as many were in flight as wanted.
    pub throughput_per_s: f64,
    /// The mean latency in seconds.
    pub latency_s: f64,
    pub attainment: f64,
    /// Whether requests in flight, throughput and latency agree by Little's law.
    pub counts: bool,
}

#[derive(Debug, Default)]
pub struct Ladder {
    pub rungs: Vec<Rung>,
    pub is_saturated: bool,
    /// Whether the throughput of the last rung did not grow.
    has_stalled: bool,
}

/// Returns how many requests a rung has.
pub fn requests(concurrency: u64) -> u64 {
    let each = if concurrency < MANY {
        EACH
    } else {
        EACH_OF_MANY
    };
    (each * concurrency).max(LEAST)
}

impl Ladder {
    /// Returns the next concurrency; `None` at the end.
    pub fn next(&self, most_in_flight: u64) -> Option<u64> {
        let next = self.rungs.last().map_or(1, |rung| 2 * rung.concurrency);
        (!self.is_saturated && next <= most_in_flight.max(1)).then_some(next)
    }

    /// Takes the requests of a rung, in the order of their ends. Returns it.
    pub fn end(&mut self, concurrency: u64, told: &[Told]) -> Rung {
        let rung = measure(concurrency, told);
        let before = self.x_max_per_s();
        let grows = before.is_none_or(|before| rung.throughput_per_s >= GROWTH * before);
        if rung.counts {
            // Rungs with few requests are confirmed by the next one.
            self.is_saturated = !grows && (concurrency >= FIRM || self.has_stalled);
            self.has_stalled = !grows;
        }
        self.rungs.push(rung);
        rung
    }

    /// The highest throughput of the rungs that count.
    pub fn x_max_per_s(&self) -> Option<f64> {
        let counted = self.rungs.iter().filter(|rung| rung.counts);
        counted.map(|rung| rung.throughput_per_s).reduce(f64::max)
    }

    /// The highest throughput of the rungs that count and met the SLO.
    pub fn highest_pass_per_s(&self, target: f64) -> Option<f64> {
        let counted = self.rungs.iter().filter(|rung| rung.counts);
        let passed = counted.filter(|rung| rung.attainment >= target);
        passed.map(|rung| rung.throughput_per_s).reduce(f64::max)
    }

    /// The mean latency in seconds of the lowest rung that reaches this rate, or else of the one with the highest
    /// throughput.
    pub fn latency_s(&self, rate_per_s: f64) -> f64 {
        let counted = || self.rungs.iter().filter(|rung| rung.counts);
        let reaches = counted().find(|rung| rung.throughput_per_s >= rate_per_s);
        let highest = || counted().max_by(|a, b| a.throughput_per_s.total_cmp(&b.throughput_per_s));
        reaches.or_else(highest).map_or(0.0, |rung| rung.latency_s)
    }
}

/// Throughput and requests in flight are measured from the end of the first N requests until the last send, when N are
/// in flight all the time.
fn measure(concurrency: u64, told: &[Told]) -> Rung {
    let n = concurrency as usize;
    let share = |is: fn(&Told) -> bool| {
        told.iter().filter(|one| is(one)).count() as f64 / told.len().max(1) as f64
    };
    let mut ends: Vec<u64> = told.iter().map(|one| one.end_ns).collect();
    ends.sort_by_cached_key(|&end_ns| end_ns);
    let edge = |k: usize| k.checked_sub(1).and_then(|k| ends.get(k)).copied();
    let from_ns = edge(n).unwrap_or(0);
    let to_ns = edge(ends.len().saturating_sub(n)).unwrap_or(0).max(from_ns);
    let time_s = (to_ns - from_ns) as f64 / 1e9;
    let within = told
        .iter()
        .filter(|one| one.end_ns > from_ns && one.end_ns <= to_ns);
    let good = within.filter(|one| !one.is_failed).count() as f64;
    let overlap = told.iter().map(|one| {
        let end_ns = one.end_ns.min(to_ns);
        end_ns.saturating_sub(one.send_ns.max(from_ns)) as f64 / 1e9
    });
    let in_flight = overlap.sum::<f64>() / time_s;
    let latency: f64 = told.iter().map(Told::latency_s).sum();
    let wanted = concurrency as f64;
    Rung {
        concurrency,
        throughput_per_s: if time_s > 0.0 { good / time_s } else { 0.0 },
        latency_s: latency / told.len().max(1) as f64,
        attainment: share(|one| one.is_met),
        // Not so where it is no number.
        counts: good > 0.0 && (in_flight - wanted).abs() < LITTLE * wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns requests as pairs of send and end in seconds.
    fn told(times: impl Iterator<Item = (u64, u64)>) -> Vec<Told> {
        let told = times.map(|(send_s, end_s)| Told {
            send_ns: send_s * 1_000_000_000,
            due_ns: send_s * 1_000_000_000,
            end_ns: end_s * 1_000_000_000,
            ttft_ns: None,
            latency_ns: (end_s - send_s) * 1_000_000_000,
            is_failed: false,
            is_met: end_s % 2 == 0,
        });
        told.collect()
    }

    #[test]
    fn a_rung_is_measured_while_all_are_in_flight() {
        // Two at a time take 1 s each: twelve end at 1, 1, 2, 2, … 6, 6 s. From the second end to the tenth, 1 to 5 s,
        // eight end.
        let rung = measure(2, &told((0..12).map(|k| (k / 2, k / 2 + 1))));
        assert_eq!((rung.throughput_per_s, rung.latency_s), (2.0, 1.0));
        assert_eq!((rung.attainment, rung.counts), (0.5, true));
    }

    #[test]
    fn a_rung_that_has_fewer_in_flight_does_not_count() {
        // One after the other: the mean number in flight is 1, not 2.
        let rung = measure(2, &told((0..12).map(|k| (k, k + 1))));
        assert_eq!((rung.throughput_per_s, rung.counts), (1.0, false));
        assert!(!measure(2, &[]).counts);
    }

    #[test]
    fn the_ladder_ends_where_the_throughput_stops_growing() {
        let mut ladder = Ladder::default();
        // Up to 16 in flight all are served at once, in 1 s; then 16 at a time.
        for (concurrency, throughput) in [(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0), (16, 16.0)] {
            assert_eq!(ladder.next(64), Some(concurrency));
            let sends = (0..requests(concurrency)).map(|k| (k / concurrency, k / concurrency + 1));
            let rung = ladder.end(concurrency, &told(sends));
            assert_eq!(rung.throughput_per_s, throughput);
        }
        assert_eq!(ladder.next(31), None);
        assert_eq!(ladder.next(64), Some(32));
        let sends = (0..requests(32)).map(|k| ((k / 16).saturating_sub(1), k / 16 + 1));
        ladder.end(32, &told(sends));
        assert_eq!((ladder.next(64), ladder.is_saturated), (None, true));
        assert_eq!(ladder.x_max_per_s(), Some(16.0));
        assert_eq!((ladder.latency_s(12.0), ladder.latency_s(3.0)), (1.0, 1.0));
    }
}
