//! Means and percentiles of an endless run, in constant memory.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::seconds;

/// A running mean.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    n: u64,
    sum: f64,
}

impl Mean {
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
    }

    /// `None` without values.
    pub fn get(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// A distribution of durations up to an hour (longer ones count as an hour, but for the maximum):
/// a percentile is at most 0.1 % above the true one.
#[derive(Debug, Clone)]
pub struct Distribution {
    histogram: Histogram<u64>,
    max_ns: u64,
}

const HOUR_NS: u64 = 3_600_000_000_000;

impl Default for Distribution {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HOUR_NS, 3);
        Distribution {
            histogram: histogram.expect("1 ns to an hour in three digits is valid"),
            max_ns: 0,
        }
    }
}

impl Distribution {
    pub fn add_ns(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// `None` without values.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let n = self.histogram.len();
        let at = |q| seconds(self.histogram.value_at_quantile(q).min(self.max_ns));
        (n > 0).then(|| Quantiles {
            n,
            p50_s: at(0.5),
            p90_s: at(0.9),
            p99_s: at(0.99),
            max_s: seconds(self.max_ns),
        })
    }
}

/// Percentiles in seconds: nearest rank, at most 0.1 % too high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50_s: f64,
    pub p90_s: f64,
    pub p99_s: f64,
    /// Exact.
    pub max_s: f64,
    pub n: u64,
}

/// The quantile `q` (0..=1) of sorted values, by linear interpolation between closest ranks ("type 7");
/// `None` without values.
pub fn exact_quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = q * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(below + (above - below) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_quantile_lies_between_the_closest_ranks() {
        let sorted = [10.0, 20.0, 40.0, 80.0];
        // Ranks 0 to 3: 0.5 is rank 1.5, half way from 20 to 40; 0.9 is rank 2.7.
        for (q, wanted) in [(0.0, 10.0), (0.5, 30.0), (0.9, 68.0), (1.0, 80.0)] {
            let got = exact_quantile(&sorted, q).expect("there are values");
            assert!((got - wanted).abs() < 1e-9, "{q}: {got}");
        }
        assert_eq!(exact_quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(exact_quantile(&[], 0.5), None);
    }

    #[test]
    fn a_mean_of_nothing_is_absent() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(), None);
        mean.add(1.0);
        mean.add(4.0);
        assert_eq!(mean.get(), Some(2.5));
    }

    #[test]
    fn percentiles_are_within_a_thousandth_of_a_sorted_list() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut sorted: Vec<u64> = (0..5000)
            .map(|_| 10_u64.pow(rng.u32(3..12)) * rng.u64(1..10))
            .collect();
        let mut distribution = Distribution::default();
        sorted.iter().for_each(|&ns| distribution.add_ns(ns));
        sorted.sort_unstable();
        let got = distribution.quantiles().expect("values");
        // Nearest rank: the k-th smallest with k = q n, so index q n - 1.
        for (q, value) in [(0.5, got.p50_s), (0.9, got.p90_s), (0.99, got.p99_s)] {
            let wanted = seconds(sorted[(q * 5000.0) as usize - 1]);
            assert!(
                value >= wanted && value <= wanted * 1.001,
                "p{q}: {value} for {wanted}"
            );
        }
        assert_eq!((got.n, got.max_s), (5000, seconds(sorted[4999])));
    }

    #[test]
    fn values_of_zero_and_of_more_than_an_hour_are_kept() {
        let mut distribution = Distribution::default();
        assert_eq!(distribution.quantiles(), None);
        distribution.add_ns(0);
        assert_eq!(distribution.quantiles().expect("one").p99_s, 0.0);
        distribution.add_ns(2 * HOUR_NS);
        assert_eq!(distribution.quantiles().expect("two").max_s, 7200.0);
    }
}
