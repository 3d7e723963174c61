//! Estimates with an uncertainty, their intervals by Student's t, and how significant they are.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// More degrees of freedom are taken for as many: quantiles are within 0.001 % of those of the normal distribution, and
/// statrs 0.19 loses digits beyond, or does not end.
const NORMAL: f64 = 1e5;
/// How many times the data so far are looked at when asking how much data an answer takes.
const FARTHEST: f64 = 100.0;
/// A normal value lies below this in 80 % of cases: the share of repetitions that shall have their answer.
const POWER: f64 = 0.84;

/// An uncertainty of an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uncertainty {
    /// The middle of its interval.
    pub centre: f64,
    /// The standard error.
    pub error: f64,
    /// Degrees of freedom; infinite for a normal distribution.
    pub df: f64,
}

/// A value with its uncertainties, of which the widest counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub uncertainties: Vec<Uncertainty>,
}

/// The quantile of Student's t that a share `confidence` (0..1) of absolute values lies below; `df` above 0, which need
/// not be whole.
pub fn t(confidence: f64, df: f64) -> f64 {
    students_t(df).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + confidence / 2.0))
}

/// `None` without degrees of freedom.
fn students_t(df: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, df.min(NORMAL)).ok()
}

impl Uncertainty {
    /// The ends of the interval at this confidence, 0..1.
    fn interval(self, confidence: f64) -> (f64, f64) {
        let half = match self.error > 0.0 {
            true => t(confidence, self.df) * self.error,
            false => 0.0,
        };
        (self.centre - half, self.centre + half)
    }

    /// The share of cases in which chance alone takes the centre as far from 0 as this, in either direction (two-sided p).
    fn p(self) -> f64 {
        if self.error <= 0.0 {
            return if self.centre == 0.0 { 1.0 } else { 0.0 };
        }
        let far = -(self.centre / self.error).abs();
        students_t(self.df).map_or(1.0, |t| 2.0 * t.cdf(far))
    }
}

impl Estimate {
    /// An estimate with one uncertainty around its value; `None` where one of them is not finite.
    pub fn new(value: f64, error: f64, df: f64) -> Option<Estimate> {
        let uncertainty = Uncertainty {
            centre: value,
            error,
            df,
        };
        let is_known = value.is_finite() && error.is_finite() && df > 0.0;
        is_known.then(|| Estimate {
            value,
            uncertainties: vec![uncertainty],
        })
    }

    /// The ends of the interval at this confidence, 0..1.
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let ends = self
            .uncertainties
            .iter()
            .map(|one| one.interval(confidence));
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), ends| {
            (low.min(ends.0), high.max(ends.1))
        })
    }

    /// The two-sided p of no difference: below `1 − confidence` exactly where the interval does not hold 0.
    pub fn p(&self) -> f64 {
        self.uncertainties
            .iter()
            .map(|one| one.p())
            .fold(0.0, f64::max)
    }

    /// How many times as many data make the interval end before `distance` from the value, in four of five repetitions;
    /// `None` where more than a hundred times as many would be needed. From data of `units` independent units.
    pub fn times_needed(&self, distance: f64, confidence: f64, units: u64) -> Option<f64> {
        let mut times = 1.0;
        while times <= FARTHEST {
            let is_enough = self.uncertainties.iter().all(|one| {
                let df = one.df + (times - 1.0) * units as f64;
                (t(confidence, df) + POWER) * one.error / f64::sqrt(times) < distance
            });
            if is_enough {
                return Some(times);
            }
            times *= 1.05;
        }
        None
    }
}

/// Mean and variance (n − 1) of values; `None` for fewer than two.
pub fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (mean, squares / (n - 1.0)))
}

/// The mean of `new` less the mean of `base`, with a variance of its own for each (Welch 1947, degrees of freedom by
/// Satterthwaite 1946); `None` where a side has fewer than two values.
pub fn welch(base: &[f64], new: &[f64]) -> Option<Estimate> {
    let ((a, of_a), (b, of_b)) = (moments(base)?, moments(new)?);
    let (m, n) = (base.len() as f64, new.len() as f64);
    let (of_a, of_b) = (of_a / m, of_b / n);
    let variance = of_a + of_b;
    let df = match variance > 0.0 {
        true => variance.powi(2) / (of_a.powi(2) / (m - 1.0) + of_b.powi(2) / (n - 1.0)),
        false => m + n - 2.0,
    };
    Estimate::new(b - a, variance.sqrt(), df)
}

/// The standard error of a sum of independent values that are expected to be 0: the square root of n / (n − 1) Σ x².
pub fn error_of_sum(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (squares * n / (n - 1.0)).sqrt()
}

/// The ratio of two sums.
pub struct Ratio {
    pub before: f64,
    pub after: f64,
    /// After over before.
    pub ratio: f64,
    /// How far each pair of terms is from the ratio: after − ratio · before. They add up to 0. The standard error of their
    /// sum is that of the ratio if divided by `before`, and that of its logarithm if divided by `after` (delta method).
    pub deviations: Vec<f64>,
}

impl Ratio {
    /// Each pair of terms has one before and one after. `None` unless both sums are above 0.
    pub fn of(terms: &[(f64, f64)]) -> Option<Ratio> {
        let before: f64 = terms.iter().map(|(before, _)| before).sum();
        let after: f64 = terms.iter().map(|(_, after)| after).sum();
        let ratio = after / before;
        let deviations = terms.iter().map(|(before, after)| after - ratio * before);
        let is_usable = before > 0.0 && after > 0.0 && ratio.is_finite();
        is_usable.then(|| Ratio {
            before,
            after,
            ratio,
            deviations: deviations.collect(),
        })
    }
}

/// Which of these p are significant at a level `alpha` for all together (Holm 1979).
pub fn holm(p: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    // None is negative, so their bits have their order.
    order.sort_by_cached_key(|&at| p[at].to_bits());
    let mut is_significant = vec![false; p.len()];
    for (rank, &at) in order.iter().enumerate() {
        if p[at] >= alpha / (p.len() - rank) as f64 {
            break;
        }
        is_significant[at] = true;
    }
    is_significant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_printed_tables() {
        // Student's t, two-sided; the normal distribution in the last line.
        let table = [
            (1.0, 12.706, 63.657),
            (2.0, 4.303, 9.925),
            (5.0, 2.571, 4.032),
            (19.0, 2.093, 2.861),
            (30.0, 2.042, 2.750),
            (120.0, 1.980, 2.617),
            (f64::INFINITY, 1.960, 2.576),
        ];
        for (df, of_95, of_99) in table {
            let got = (t(0.95, df), t(0.99, df));
            let near = |a: f64, b: f64| (a - b).abs() < 6e-4;
            assert!(near(got.0, of_95) && near(got.1, of_99), "{df}: {got:?}");
        }
    }

    #[test]
    fn quantiles_with_half_a_degree_of_freedom_between_have_the_integral_of_the_density() {
        // The density is (1 + x² / df)^(−(df + 1) / 2), up to a constant: its integrals by Simpson's rule up to the
        // quantile and up to 2,000 (the rest is below 1e-7) have the ratio 0.95.
        for df in [2.5_f64, 7.3] {
            let density = |x: f64| (1.0 + x * x / df).powf(-f64::midpoint(df, 1.0));
            let integral = |from: f64, to: f64| {
                let n = 200_000;
                let step = (to - from) / f64::from(n);
                let at = |k: i32| density(from + f64::from(k) * step);
                let inner = (1..n).map(|k| at(k) * if k % 2 == 0 { 2.0 } else { 4.0 });
                (at(0) + at(n) + inner.sum::<f64>()) * step / 3.0
            };
            let quantile = t(0.95, df);
            let within = integral(0.0, quantile);
            let share = within / (within + integral(quantile, 100.0) + integral(100.0, 2000.0));
            assert!((share - 0.95).abs() < 1e-6, "{df}: {share}");
        }
    }

    #[test]
    fn quantiles_rise_with_the_confidence_and_fall_with_the_degrees_of_freedom() {
        let mut above = [f64::INFINITY; 5];
        for tenth in -3..70 {
            let df = 10_f64.powf(f64::from(tenth) / 10.0);
            let got = [0.5, 0.9, 0.95, 0.995, 0.9999].map(|confidence| t(confidence, df));
            assert!(got.is_sorted() && got[0] > 0.0, "{df}: {got:?}");
            let falls = got
                .iter()
                .zip(above)
                .all(|(now, before)| *now < before + 1e-4);
            assert!(falls, "{df}: {got:?} after {above:?}");
            above = got;
        }
        assert_eq!(t(0.95, 0.0), f64::INFINITY);
    }

    #[test]
    fn an_estimate_with_few_degrees_of_freedom_has_the_interval_worked_by_hand() {
        // 1 2 3 6: mean 3, squares 4 + 1 + 0 + 9 = 14, error √(14 / 3 / 4) = 1.080123; t with 3 degrees is 3.182446.
        let got = Estimate::new(3.0, 1.080_123, 3.0).expect("finite");
        let (low, high) = got.interval(0.95);
        let half = 3.182_446 * 1.080_123;
        assert!((low - (3.0 - half)).abs() < 1e-4 && (high - (3.0 + half)).abs() < 1e-4);
        // 3 / 1.080123 = 2.777460; between 2.353 (p = .10) and 3.182 (p = .05).
        assert!((0.05..0.10).contains(&got.p()), "{}", got.p());
        assert_eq!(Estimate::new(f64::NAN, 1.0, 3.0), None);
    }

    #[test]
    fn welch_has_the_error_and_the_degrees_of_freedom_worked_by_hand() {
        // 1 3: mean 2, variance 2, over 2: 1. 4 6 11: mean 7, variance 13, over 3: 13/3. Together 16/3; its square,
        // 256/9, over 1/1 + (169/9)/2 = 187/18 is 512/187.
        let got = welch(&[1.0, 3.0], &[4.0, 6.0, 11.0]).expect("two values or more");
        let uncertainty = got.uncertainties[0];
        assert_eq!(got.value, 5.0);
        assert!((uncertainty.error - (16.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((uncertainty.df - 512.0 / 187.0).abs() < 1e-12);
        assert_eq!(welch(&[1.0], &[4.0, 6.0]), None);
    }

    #[test]
    fn holm_takes_the_smallest_first_and_stops_at_the_first_that_fails() {
        // .05 / 3 = .0167, / 2 = .025, / 1 = .05.
        for (p, wanted) in [
            ([0.01, 0.02, 0.04], [true, true, true]),
            ([0.04, 0.01, 0.03], [false, true, false]),
            ([0.02, 0.03, 0.04], [false, false, false]),
            ([0.0, 1.0, 0.024], [true, false, true]),
        ] {
            assert_eq!(holm(&p, 0.05), wanted, "{p:?}");
        }
        assert_eq!(holm(&[], 0.05), Vec::<bool>::new());
    }

    #[test]
    fn p_is_below_the_level_exactly_where_the_interval_leaves_out_0() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut out = 0;
        for _ in 0..300 {
            let uncertainties = (0..2).map(|_| Uncertainty {
                centre: 3.0 * rng.f64(),
                error: 0.2 + rng.f64(),
                df: 1.0 + 30.0 * rng.f64(),
            });
            let uncertainties = uncertainties.collect();
            let one = Estimate {
                value: 1.0,
                uncertainties,
            };
            let (low, high) = one.interval(0.9);
            assert_eq!(one.p() < 0.1, low > 0.0 || high < 0.0, "{one:?}");
            out += u32::from(low > 0.0);
        }
        assert!((30..270).contains(&out), "{out}");
    }

    #[test]
    fn data_needed_are_those_that_leave_out_the_distance() {
        // With a normal distribution (1.96 + 0.84) · 1 / √times < 0.5 takes 31.36 times as many, within a step of 5 %.
        let one = Estimate::new(1.0, 1.0, f64::INFINITY).expect("finite");
        let got = one.times_needed(0.5, 0.95, 10).expect("in reach");
        assert!((31.36..31.36 * 1.05).contains(&got), "{got}");
        assert_eq!(one.times_needed(0.1, 0.95, 10), None);
    }
}
