//! The spread of a figure over requests: mean, percentiles, deviation; exact, or from a histogram.

use hdrhistogram::Histogram as Hdr;
use serde::{Deserialize, Serialize};

/// Statistics in the unit of the values, which is milliseconds for times. The names of the fields are the keys of the
/// series `pass`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub avg: f64,
    /// Percentiles are of type 7, see `exact_quantile`; those of a histogram are at most 0.1 % above the nearest rank.
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub min: f64,
    pub max: f64,
    /// The sample standard deviation (n − 1); `None` for one value and from a histogram.
    pub stddev: Option<f64>,
    pub n: u64,
}

impl Spread {
    /// Works out the spread of the finite values; `None` without values. Cost: a sort.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let at = |q| exact_quantile(&values, q);
        let n = values.len() as f64;
        let avg = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - avg).powi(2)).sum();
        Some(Spread {
            avg,
            p50: at(0.5)?,
            p90: at(0.9)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            min: at(0.0)?,
            max: at(1.0)?,
            stddev: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            n: values.len() as u64,
        })
    }
}

/// The quantile `q` (0..=1) of sorted values, by linear interpolation between closest ranks ("type 7");
/// `None` without values.
pub fn exact_quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = q * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(below + (above - below) * rank.fract())
}

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

    /// Returns the mean; `None` without values.
    pub fn get(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// A histogram of durations in constant memory: a percentile is at most 0.1 % above the true one. A duration of more
/// than an hour counts as an hour, except in the maximum.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Hdr<u64>,
    mean_ms: Mean,
    min_ns: u64,
    max_ns: u64,
}

const HOUR_NS: u64 = 3_600_000_000_000;

impl Default for Histogram {
    fn default() -> Self {
        let counts = Hdr::new_with_bounds(1, HOUR_NS, 3);
        Histogram {
            counts: counts.expect("1 ns to an hour in three digits is valid"),
            mean_ms: Mean::default(),
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Histogram {
    pub fn add_ns(&mut self, ns: f64) {
        let whole_ns = ns.round() as u64;
        self.counts.saturating_record(whole_ns);
        self.mean_ms.add(ns / 1e6);
        self.min_ns = self.min_ns.min(whole_ns);
        self.max_ns = self.max_ns.max(whole_ns);
    }

    /// Adds 0 ns `count` times.
    pub fn add_zeros(&mut self, count: u64) {
        if count > 0 {
            self.counts.saturating_record_n(0, count);
            self.mean_ms.n += count;
            self.min_ns = 0;
        }
    }

    /// Returns how many values are 0.
    pub fn zeros(&self) -> u64 {
        self.counts.count_at(0)
    }

    /// Returns the spread in milliseconds; `None` without values.
    pub fn spread(&self) -> Option<Spread> {
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |q| ms(self.counts.value_at_quantile(q).min(self.max_ns));
        Some(Spread {
            avg: self.mean_ms.get()?,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            min: ms(self.min_ns),
            max: ms(self.max_ns),
            stddev: None,
            n: self.counts.len(),
        })
    }

    /// Returns the values in milliseconds, ascending, each with its number of occurrences.
    pub fn values_ms(&self) -> impl Iterator<Item = (f64, u64)> {
        let steps = self.counts.iter_recorded();
        steps.map(|step| {
            let ns = step.value_iterated_to().min(self.max_ns);
            (ns as f64 / 1e6, step.count_since_last_iteration())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_worked_by_hand() {
        let got = Spread::of(vec![40.0, 10.0, 80.0, f64::NAN, 30.0]).expect("values");
        // The sorted values are 10 30 40 80, with mean 160 / 4; on ranks 0 to 3, p50 is at 1.5, p90 at 2.7, p95 at 2.85
        // and p99 at 2.97. The deviations are −30 −10 0 40: squares 900 + 100 + 0 + 1600 = 2600, over 3, root
        // 29.439203.
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert_eq!((got.avg, got.p50, got.n), (40.0, 35.0, 4));
        assert!(
            near(got.p90, 68.0) && near(got.p95, 74.0) && near(got.p99, 78.8),
            "{got:?}"
        );
        assert_eq!((got.min, got.max), (10.0, 80.0));
        assert!(
            near(got.stddev.expect("four values"), 29.439_203),
            "{got:?}"
        );
    }

    #[test]
    fn one_value_has_no_deviation_and_no_values_have_no_spread() {
        let one = Spread::of(vec![7.0]).expect("a value");
        assert_eq!((one.avg, one.p99, one.stddev, one.n), (7.0, 7.0, None, 1));
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![f64::INFINITY]), None);
    }

    #[test]
    fn an_exact_quantile_lies_between_the_closest_ranks() {
        let sorted = [10.0, 20.0, 40.0, 80.0];
        // On ranks 0 to 3, 0.5 is rank 1.5, half way from 20 to 40, and 0.9 is rank 2.7.
        for (q, wanted) in [(0.0, 10.0), (0.5, 30.0), (0.9, 68.0), (1.0, 80.0)] {
            let got = exact_quantile(&sorted, q).expect("there are values");
            assert!((got - wanted).abs() < 1e-9, "{q}: {got}");
        }
        assert_eq!(exact_quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(exact_quantile(&[], 0.5), None);
    }

    #[test]
    fn a_mean_without_values_is_absent() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(), None);
        mean.add(1.0);
        mean.add(4.0);
        assert_eq!(mean.get(), Some(2.5));
    }

    #[test]
    fn percentiles_of_a_histogram_are_within_a_thousandth_of_a_sorted_list() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut sorted: Vec<u64> = (0..5000)
            .map(|_| 10_u64.pow(rng.u32(3..12)) * rng.u64(1..10))
            .collect();
        let mut histogram = Histogram::default();
        sorted.iter().for_each(|&ns| histogram.add_ns(ns as f64));
        sorted.sort_unstable();
        let got = histogram.spread().expect("values");
        // The nearest rank is the k-th smallest value with k = q n, so index q n - 1.
        for (q, value) in [
            (0.5, got.p50),
            (0.9, got.p90),
            (0.95, got.p95),
            (0.99, got.p99),
        ] {
            let wanted = sorted[(q * 5000.0) as usize - 1] as f64 / 1e6;
            assert!(
                value >= wanted && value <= wanted * 1.001,
                "p{q}: {value} for {wanted}"
            );
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        assert_eq!(
            (got.n, got.min, got.max),
            (5000, ms(sorted[0]), ms(sorted[4999]))
        );
        let mean = sorted.iter().map(|&ns| ms(ns)).sum::<f64>() / 5000.0;
        assert!(
            (got.avg / mean - 1.0).abs() < 1e-9,
            "{} for {mean}",
            got.avg
        );
        let counted: u64 = histogram.values_ms().map(|(_, n)| n).sum();
        assert_eq!(counted, 5000);
    }

    #[test]
    fn zeros_are_added_at_once() {
        let mut histogram = Histogram::default();
        histogram.add_zeros(0);
        assert_eq!(histogram.spread(), None);
        histogram.add_ns(5e6);
        histogram.add_zeros(3);
        let got = histogram.spread().expect("values");
        assert_eq!((got.n, got.min, got.avg, got.max), (4, 0.0, 1.25, 5.0));
        assert_eq!(got.p50, 0.0);
    }

    #[test]
    fn values_of_zero_and_of_more_than_an_hour_are_kept() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.spread(), None);
        histogram.add_ns(0.0);
        assert_eq!(histogram.spread().expect("one").p99, 0.0);
        histogram.add_ns(2.0 * HOUR_NS as f64);
        assert_eq!(histogram.spread().expect("two").max, 7_200_000.0);
    }
}
