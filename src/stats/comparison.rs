//! A later round of `replay` against the first: the ratio of mean TTFT, with an interval from batches of sessions.

use std::collections::BTreeMap;

use super::batches::{BATCHES, half_width};
use super::compare::interval::Ratio;
use super::record::Record;

/// How many mean latencies a stretch of a round must last to count as independent of the next one.
const LATENCIES: f64 = 10.0;

/// The mean TTFT of a later round over that of the first, both over the requests that have a TTFT in both rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub round: u64,
    /// The mean TTFT of these requests in the first round and in the later one, in nanoseconds.
    pub first_ns: f64,
    pub later_ns: f64,
    pub ratio: f64,
    /// The ends of the 95 % interval; `None` for fewer than twenty independent units.
    pub interval: Option<(f64, f64)>,
    /// The number of requests that have a TTFT in both rounds.
    pub n: u64,
    /// The number of independent units: stretches of ten mean latencies in the shorter round, at most one for each
    /// session.
    pub units: u64,
}

/// A session that is in both rounds: when it was first sent in the later one, and the sums of its TTFT.
struct Paired {
    sent_ns: u64,
    before: f64,
    after: f64,
}

/// Compares a later round with the first; `None` if no request is in both. Batches hold sessions in the order of their
/// sends in the later round.
pub fn compare(first: &[Record], later: &[Record], round: u64) -> Option<Comparison> {
    let timed = first.iter().filter_map(Timed::of);
    let (mut before, mut sessions) = (BTreeMap::new(), BTreeMap::new());
    before.extend(timed.map(|one| (one.key, one)));
    let mut pairs = [Vec::new(), Vec::new()];
    for Timed {
        key,
        ttft_ns,
        record,
    } in later.iter().filter_map(Timed::of)
    {
        let Some(earlier) = before.get(&key) else {
            continue;
        };
        let session = sessions.entry(key.0).or_insert(Paired {
            sent_ns: u64::MAX,
            before: 0.0,
            after: 0.0,
        });
        session.sent_ns = session.sent_ns.min(record.t_send_ns);
        session.before += earlier.ttft_ns;
        session.after += ttft_ns;
        pairs[0].push(earlier.record);
        pairs[1].push(record);
    }
    let mut sessions: Vec<Paired> = sessions.into_values().collect();
    sessions.sort_by_cached_key(|session| session.sent_ns);
    let terms = sessions.iter().map(|pair| (pair.before, pair.after));
    let Ratio {
        before,
        after,
        ratio,
        deviations,
    } = Ratio::of(&terms.collect::<Vec<(f64, f64)>>())?;
    let units = pairs.iter().map(|round| stretches(round)).min();
    let units = units.unwrap_or(0).min(sessions.len() as u64);
    let half = half_width(&deviations).filter(|_| units >= BATCHES as u64);
    let n = pairs[0].len() as u64;
    Some(Comparison {
        round,
        first_ns: before / n as f64,
        later_ns: after / n as f64,
        ratio,
        interval: half.map(|half| ((ratio - half / before).max(0.0), ratio + half / before)),
        n,
        units,
    })
}

/// Counts the stretches of ten mean latencies between the first send and the last end.
fn stretches(requests: &[&Record]) -> u64 {
    let from_ns = requests.iter().map(|one| one.t_send_ns).min();
    let to_ns = requests.iter().map(|one| one.t_done_ns()).max();
    let span_ns = to_ns.unwrap_or(0).saturating_sub(from_ns.unwrap_or(0));
    let latencies = requests.iter().map(|one| one.latency_from_sent_ns() as f64);
    let mean_ns = latencies.sum::<f64>() / requests.len() as f64;
    (span_ns as f64 / (LATENCIES * mean_ns)) as u64
}

/// A success with a TTFT.
struct Timed<'a> {
    /// Session and turn; a session without turns has turn 0.
    key: (u64, u64),
    ttft_ns: f64,
    record: &'a Record,
}

impl Timed<'_> {
    fn of(record: &Record) -> Option<Timed<'_>> {
        let ns = record.ttft_from_sent_ns();
        let ns = ns.filter(|&ns| record.is_good() && ns > 0)?;
        Some(Timed {
            key: (record.session.get()?, record.turn.get().unwrap_or(0)),
            ttft_ns: ns as f64,
            record,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::batches::tests::series;
    use super::*;
    use crate::sample::{FailKind, Labels, Sample};

    /// Returns a reply of one token, whose latency is its TTFT.
    fn request(session: u64, sent_ns: u64, ttft_ns: u64) -> Record {
        let end_ns = sent_ns + ttft_ns;
        Record::from(&Sample {
            labels: Labels {
                session: Some(session),
                turn: Some(0),
                ..Labels::default()
            },
            t_send_ns: sent_ns,
            t_first_ns: Some(end_ns),
            t_last_ns: Some(end_ns),
            t_end_ns: end_ns,
            ..Sample::default()
        })
    }

    #[test]
    fn requests_are_paired_in_any_order() {
        let first = [request(0, 1, 100), request(1, 2, 300), request(2, 3, 900)];
        let mut failed = request(2, 3, 5);
        failed.failure = Some(FailKind::Empty);
        let later = [
            request(1, 2, 60),
            failed,
            request(0, 1, 40),
            request(9, 4, 7),
        ];
        // Sessions 0 and 1 are in both rounds: (40 + 60) / (100 + 300).
        let got = compare(&first, &later, 2).expect("pairs");
        assert_eq!((got.round, got.ratio, got.n), (2, 0.25, 2));
        assert_eq!((got.first_ns, got.later_ns), (200.0, 50.0));
        assert_eq!(
            got.interval, None,
            "two sessions are too few for an interval"
        );
        let mut turned = later.to_vec();
        turned.reverse();
        assert_eq!(compare(&first, &turned, 2), Some(got));
    }

    #[test]
    fn without_pairs_there_is_nothing_to_compare() {
        assert_eq!(compare(&[], &[], 2), None);
        assert_eq!(compare(&[request(0, 1, 5)], &[request(1, 1, 5)], 2), None);
    }

    /// Returns a round of requests that follow one another, with these TTFTs in nanoseconds.
    fn serial(ttft_ns: impl Iterator<Item = f64>) -> Vec<Record> {
        let mut sent_ns = 0;
        let round = ttft_ns.enumerate().map(|(session, ttft_ns)| {
            let one = request(session as u64, sent_ns, ttft_ns as u64);
            sent_ns = one.t_end_ns();
            one
        });
        round.collect()
    }

    #[test]
    fn the_interval_has_the_width_that_theory_gives() {
        // TTFT is 1,000,000 ns in round 1, and 400,000 or 600,000 ns with equal probability in round 2. The mean of n =
        // 400 draws of ±100,000 has deviation 5,000, so the ratio is 0.5 ± 2.093 · 0.005. A single estimate of that
        // width from twenty batches is typically off by a sixth; the mean over 200 seeds is not.
        let half = 2.093 * 0.005;
        let first = serial((0..400).map(|_| 1e6));
        let widths = (0..200).map(|seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let later = serial((0..400).map(|_| if rng.bool() { 4e5 } else { 6e5 }));
            let (low, high) = compare(&first, &later, 2)
                .and_then(|got| got.interval)
                .expect("400 sessions");
            (high - low) / 2.0
        });
        let mean = widths.sum::<f64>() / 200.0;
        assert!(
            (0.95 * half..1.25 * half).contains(&mean),
            "{mean} for {half}"
        );
    }

    #[test]
    fn nineteen_stretches_of_ten_latencies_have_no_interval_and_twenty_have_one() {
        // With n requests, one after the other, there are n / 10 stretches.
        for (n, units, has) in [(199, 19, false), (200, 20, true)] {
            let round = serial((0..n).map(|k| 1e6 + f64::from(k % 7)));
            let got = compare(&round, &round, 2).expect("pairs");
            assert_eq!((got.units, got.interval.is_some()), (units, has), "{n}");
        }
        // A thousand sessions take one second each, a hundred at a time: the ten seconds are one stretch.
        let crowd: Vec<Record> = (0..1000)
            .map(|k| request(k, k / 100 * 1_000_000_000, 1_000_000_000))
            .collect();
        let got = compare(&crowd, &crowd, 2).expect("pairs");
        assert_eq!((got.units, got.interval), (1, None));
    }

    #[test]
    fn turns_of_a_session_are_one_unit() {
        let turns = |round: Vec<Record>| {
            let of_20 = round.into_iter().enumerate().map(|(k, mut one)| {
                one.session = Some(k as u64 / 20).into();
                one.turn = Some(k as u64 % 20).into();
                one
            });
            of_20.collect::<Vec<Record>>()
        };
        let round = turns(serial((0..380).map(|_| 1e6)));
        let got = compare(&round, &round, 2).expect("pairs");
        assert_eq!((got.n, got.units, got.interval), (380, 19, None));
    }

    #[test]
    fn an_interval_contains_1_in_nine_of_ten_runs_of_a_server_that_is_slow_at_times() {
        const SEEDS: u64 = 400;
        // The server answers all requests in 10 ms or all in 15 ms for 0.4 s on average, some forty requests at a time.
        let mut holds = 0;
        for seed in 0..SEEDS {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut round = || {
                let (mut now_ns, mut until_ns, mut ttft_ns) = (0.0, 0.0, 0.0);
                let ttft = (0..400).map(|_| {
                    while now_ns >= until_ns {
                        until_ns += -0.4e9 * (1.0 - rng.f64()).ln();
                        ttft_ns = if rng.bool() { 10e6 } else { 15e6 };
                    }
                    now_ns += ttft_ns;
                    ttft_ns
                });
                serial(ttft)
            };
            let (first, later) = (round(), round());
            let interval = compare(&first, &later, 2).and_then(|got| got.interval);
            let (low, high) = interval.expect("400 sessions, 40 stretches");
            holds += u64::from((low..=high).contains(&1.0));
        }
        let share = holds as f64 / SEEDS as f64;
        assert!(share >= 0.9, "{share}");
    }

    #[test]
    fn an_interval_of_equal_servers_contains_1_in_nine_of_ten_runs_at_any_correlation() {
        const SEEDS: u64 = 400;
        for phi in [0.0, 0.5, 0.8] {
            let holds = |seed: &u64| {
                let mut rng = fastrand::Rng::with_seed(*seed);
                let mut round = || {
                    let noise = series(phi, 400, &mut rng);
                    serial(noise.into_iter().map(|noise| 1e6 + 1e5 * noise))
                };
                let (first, later) = (round(), round());
                let got = compare(&first, &later, 2).and_then(|got| got.interval);
                let (low, high) = got.expect("400 sessions, 40 stretches");
                (low..=high).contains(&1.0)
            };
            let share = (0..SEEDS).filter(holds).count() as f64 / SEEDS as f64;
            assert!(share >= 0.9, "{share} at {phi}");
        }
    }
}
