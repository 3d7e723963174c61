//! The scheduled times of an open loop: a pure function of rate, burstiness and seed.

use std::fmt;

use fastrand::Rng;

use super::random::gamma;
use crate::units::parse_number;

/// Smallest shape. Below it nearly all gaps are 0 and the few others are hours long.
const LEAST_SHAPE: f64 = 0.01;
/// Largest shape. Above it gaps differ by less than 0.1 %; `inf` is for that.
const GREATEST_SHAPE: f64 = 1e6;

/// How unevenly requests arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Burstiness {
    /// The shape of the gamma distribution of the gaps: 1 is a Poisson process, less comes in bursts.
    Shape(f64),
    /// All gaps are equal.
    Even,
}

impl Burstiness {
    /// Takes a number above 0, or `inf`.
    ///
    /// # Errors
    /// Fails with the wanted form.
    pub fn parse(text: &str) -> Result<Burstiness, String> {
        if text == "inf" {
            return Ok(Burstiness::Even);
        }
        match parse_number(text)? {
            shape if (LEAST_SHAPE..=GREATEST_SHAPE).contains(&shape) => {
                Ok(Burstiness::Shape(shape))
            }
            _ => Err(format!(
                "want {LEAST_SHAPE} to {GREATEST_SHAPE}, or inf for even gaps"
            )),
        }
    }
}

impl fmt::Display for Burstiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Burstiness::Shape(shape) => shape.fmt(f),
            Burstiness::Even => f.write_str("inf"),
        }
    }
}

/// Scheduled times in nanoseconds from the start, without end; the first is 0.
#[derive(Debug)]
pub struct Arrivals {
    gap_s: f64,
    burstiness: Burstiness,
    rng: Rng,
    /// The sum of the gaps so far, in units of the mean gap.
    gaps: f64,
}

impl Arrivals {
    /// Makes arrivals with a mean rate of `rate_per_s`, which is above 0 and finite.
    pub fn new(rate_per_s: f64, burstiness: Burstiness, seed: u64) -> Arrivals {
        Arrivals {
            gap_s: 1.0 / rate_per_s,
            burstiness,
            rng: Rng::with_seed(seed),
            gaps: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // The cast saturates.
        let due = (self.gaps * self.gap_s * 1e9).round() as u64;
        self.gaps += match self.burstiness {
            // Sums of ones are exact, so no rounding error accumulates.
            Burstiness::Even => 1.0,
            Burstiness::Shape(shape) => gamma(shape, &mut self.rng) / shape,
        };
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 1_000_000;

    /// Returns gaps in units of their wanted mean, at 1,000 a second.
    fn gaps(shape: f64) -> Vec<f64> {
        let times: Vec<u64> = Arrivals::new(1000.0, Burstiness::Shape(shape), 7)
            .take(DRAWS + 1)
            .collect();
        let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
        gaps.map(|ns| ns / 1e6).collect()
    }

    fn moments(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let squares: f64 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum();
        (mean, squares / n)
    }

    #[test]
    fn a_million_gaps_of_a_poisson_process_are_exponential() {
        let mut gaps = gaps(1.0);
        let (mean, variance) = moments(&gaps);
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        gaps.sort_unstable_by(f64::total_cmp);
        let n = gaps.len() as f64;
        // Kolmogorov-Smirnov: the greatest distance between the two distribution functions.
        let distance = gaps.iter().enumerate().fold(0.0_f64, |most, (k, gap)| {
            let wanted = 1.0 - (-gap).exp();
            let (below, up_to) = (k as f64 / n, (k + 1) as f64 / n);
            most.max(wanted - below).max(up_to - wanted)
        });
        let limit = 1.628 / n.sqrt();
        assert!(distance < limit, "{distance} of {limit}");
    }

    #[test]
    fn the_variance_of_the_gaps_is_one_over_the_burstiness() {
        // A gamma distribution of shape B and mean 1 has the variance 1 / B; its estimate over n draws has a standard
        // error of (1 / B) * sqrt((2 + 6 / B) / n): 0.74 % for 0.5, 0.37 % ... 0.19 % for 4.
        for (shape, wanted) in [(0.5, 2.0), (4.0, 0.25)] {
            let (mean, variance) = moments(&gaps(shape));
            assert!((mean - 1.0).abs() < 0.005, "{shape}: {mean}");
            assert!(
                (variance / wanted - 1.0).abs() < 0.02,
                "{shape}: {variance}"
            );
        }
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut even = Arrivals::new(3.0, Burstiness::Even, 1);
        let first: Vec<u64> = even.by_ref().take(4).collect();
        assert_eq!(first, [0, 333_333_333, 666_666_667, 1_000_000_000]);
        // The 3,000,001st is due after a million seconds.
        assert_eq!(even.nth(3_000_000 - 4), Some(1_000_000_000_000_000));
    }

    #[test]
    fn the_first_is_due_at_once_and_the_same_seed_gives_the_same_times() {
        let times = |seed| -> Vec<u64> {
            let arrivals = Arrivals::new(50.0, Burstiness::Shape(0.5), seed);
            arrivals.take(1000).collect()
        };
        assert_eq!(times(3)[0], 0);
        assert!(times(3).is_sorted());
        assert_eq!(times(3), times(3));
        assert_ne!(times(3), times(4));
    }

    #[test]
    fn times_beyond_the_clock_saturate() {
        let times: Vec<u64> = Arrivals::new(1e-12, Burstiness::Even, 0).take(3).collect();
        assert_eq!(times, [0, u64::MAX, u64::MAX]);
    }

    #[test]
    fn burstiness_is_a_number_above_0_or_inf() {
        for (text, wanted) in [
            ("1", Burstiness::Shape(1.0)),
            ("0.5", Burstiness::Shape(0.5)),
            ("inf", Burstiness::Even),
        ] {
            let parsed = Burstiness::parse(text).expect(text);
            assert_eq!((parsed, parsed.to_string().as_str()), (wanted, text));
        }
        for text in ["0", "-1", "nan", "NaN", "", "1e-9", "1e300", "even", "-inf"] {
            assert!(Burstiness::parse(text).is_err(), "{text}");
        }
    }
}
