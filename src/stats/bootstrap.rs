//! A later round against the first: the ratio of mean TTFT, with an interval from resampled pairs.

use std::collections::BTreeMap;

use super::record::Record;
use super::spread::exact_quantile;

/// How often the pairs are drawn anew.
const RESAMPLES: usize = 2000;
/// The ends of the 95 % interval among the ratios of the resamples.
const ENDS: (f64, f64) = (0.025, 0.975);

/// Mean TTFT of a later round over that of the first, both over the requests that have one in both.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub round: u64,
    pub ratio: f64,
    /// The 95 % percentile bootstrap interval.
    pub low: f64,
    pub high: f64,
    /// Pairs of requests.
    pub n: u64,
}

/// `None` without a pair. The seed fixes the interval, whatever the order of the records. Cost: 2,000 draws a pair.
pub fn compare(first: &[Record], later: &[Record], round: u64, seed: u64) -> Option<Comparison> {
    let before: BTreeMap<_, _> = first.iter().filter_map(keyed_ttft).collect();
    let after: BTreeMap<_, _> = later.iter().filter_map(keyed_ttft).collect();
    let pairs: Vec<(f64, f64)> = after
        .iter()
        .filter_map(|(key, &after)| Some((*before.get(key)?, after)))
        .collect();
    let count = u32::try_from(pairs.len()).ok().filter(|&n| n > 0)?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| ratio((0..count).map(|_| pairs[rng.u32(..count) as usize])))
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    Some(Comparison {
        round,
        ratio: ratio(pairs.iter().copied()),
        low: exact_quantile(&ratios, ENDS.0)?,
        high: exact_quantile(&ratios, ENDS.1)?,
        n: u64::from(count),
    })
}

/// Ratio of the means, which is that of the sums.
fn ratio(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (before, after) = pairs.fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
    after / before
}

/// The TTFT of a success under session and turn; a session without turns has turn 0.
fn keyed_ttft(record: &Record) -> Option<((u64, u64), f64)> {
    let ns = record.ttft_from_sent_ns();
    let ns = ns.filter(|&ns| record.is_good() && ns > 0)?;
    let key = (record.session.get()?, record.turn.get().unwrap_or(0));
    Some((key, ns as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::FailKind;

    fn request(session: u64, ttft_ns: u64) -> Record {
        Record {
            session: Some(session).into(),
            turn: Some(0).into(),
            t_send_ns: 1,
            t_first_ns: Some(1 + ttft_ns).into(),
            ..Record::default()
        }
    }

    #[test]
    fn requests_are_paired_whatever_their_order() {
        let first = [request(0, 100), request(1, 300), request(2, 900)];
        let failed = Record {
            failure: Some(FailKind::Empty),
            ..request(2, 5)
        };
        let later = [request(1, 60), failed, request(0, 40), request(9, 7)];
        // Sessions 0 and 1 have both rounds: (40 + 60) / (100 + 300). A resample is 0 and 0 (0.4),
        // 1 and 1 (0.2) or one of each (0.25), so 2.5 % of them lie at either end.
        let got = compare(&first, &later, 2, 7).expect("pairs");
        assert_eq!((got.round, got.ratio, got.n), (2, 0.25, 2));
        assert_eq!((got.low, got.high), (0.2, 0.4));
        let mut turned = later.to_vec();
        turned.reverse();
        assert_eq!(compare(&first, &turned, 2, 7), Some(got));
    }

    #[test]
    fn without_pairs_there_is_nothing_to_compare() {
        assert_eq!(compare(&[], &[], 2, 1), None);
        assert_eq!(compare(&[request(0, 5)], &[request(1, 5)], 2, 1), None);
    }

    #[test]
    fn the_interval_has_the_width_that_theory_gives() {
        // TTFT in round 1 is 1000; in round 2 it is 400 or 600 in turn. The mean of n = 400 draws
        // of ±100 has deviation 100 / 20 = 5, so the ratio is 0.5 ± 1.96 · 0.005.
        let first: Vec<_> = (0..400).map(|k| request(k, 1000)).collect();
        let later: Vec<_> = (0..400).map(|k| request(k, 400 + k % 2 * 200)).collect();
        let got = compare(&first, &later, 2, 3).expect("pairs");
        assert!((got.ratio - 0.5).abs() < 1e-12);
        let half = 1.96 * 0.005;
        for (end, wanted) in [(got.low, 0.5 - half), (got.high, 0.5 + half)] {
            assert!((end - wanted).abs() < 0.1 * half, "{got:?}");
        }
        assert_ne!(compare(&first, &later, 2, 4), Some(got), "another seed");
    }
}
