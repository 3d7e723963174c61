//! The scheduled times of an open loop: a pure function of rate, number, burstiness and seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::random::{beta, fnv64, mixed};
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

/// Scheduled times in nanoseconds from the start; the first is 0.
///
/// The gaps after them fill `count / rate` exactly, so that a short run has its rate too: for a shape of 1 they
/// are those of a Poisson process of which the number in that time is known. The last gap leads to the end.
#[derive(Debug)]
pub struct Arrivals {
    count: u64,
    gap_s: f64,
    burstiness: Burstiness,
    rng: Rng,
    /// Gaps that are still to be drawn.
    left: u64,
    /// The time that they fill, in mean gaps.
    time_left: f64,
}

impl Arrivals {
    /// Makes `count` arrivals with a mean rate of `rate_per_s`, which is above 0 and finite.
    pub fn new(rate_per_s: f64, burstiness: Burstiness, seed: u64, count: u64) -> Arrivals {
        Arrivals {
            count,
            gap_s: 1.0 / rate_per_s,
            burstiness,
            // Another generator than those of texts, lengths and repeats, which the same seed decides.
            rng: Rng::with_seed(mixed(seed ^ fnv64(b"arrivals"))),
            left: count,
            time_left: count as f64,
        }
    }

    /// The number of requests that are due within a duration, which is at least the first.
    pub fn within(rate_per_s: f64, duration: Duration) -> u64 {
        // A product such as 28.999999999999996 is meant to be whole. `as` saturates.
        ((rate_per_s * duration.as_secs_f64() + 1e-6).floor() as u64).max(1)
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let later = self.left.checked_sub(1)?;
        let due_gaps = self.count as f64 - self.time_left;
        // The cast saturates.
        let due = (due_gaps * self.gap_s * 1e9).round() as u64;
        self.time_left = match self.burstiness {
            // Differences of whole numbers are exact: no rounding adds up.
            Burstiness::Even => later as f64,
            // The gap is `beta(shape, later * shape)` of the time left; this is the rest of it.
            Burstiness::Shape(shape) => {
                self.time_left * beta(later as f64 * shape, shape, &mut self.rng)
            }
        };
        self.left = later;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 1_000_000;

    fn times(rate_per_s: f64, burstiness: Burstiness, seed: u64, count: u64) -> Vec<u64> {
        Arrivals::new(rate_per_s, burstiness, seed, count).collect()
    }

    /// The gaps behind each of `count` arrivals at 1,000 a second, in units of their mean; the last up to the end.
    fn gaps(shape: f64, seed: u64, count: u64) -> Vec<f64> {
        let mut times = times(1000.0, Burstiness::Shape(shape), seed, count);
        times.push(count * 1_000_000);
        let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
        gaps.map(|ns| ns / 1e6).collect()
    }

    fn moments(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let squares: f64 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum();
        (mean, squares / n)
    }

    /// Kolmogorov and Smirnov: the greatest distance of the values' distribution function from the wanted one, over
    /// that which chance exceeds once in a hundred times.
    fn distance(mut values: Vec<f64>, wanted: impl Fn(f64) -> f64) -> f64 {
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len() as f64;
        let distance = values.iter().enumerate().fold(0.0_f64, |most, (k, value)| {
            let wanted = wanted(*value);
            let (below, up_to) = (k as f64 / n, (k + 1) as f64 / n);
            most.max(wanted - below).max(up_to - wanted)
        });
        distance / (1.628 / n.sqrt())
    }

    #[test]
    fn the_gaps_fill_the_time_of_their_number_exactly() {
        for count in [1, 2, 50, 1000] {
            for shape in [0.01, 0.25, 1.0, 4.0, 1e6] {
                for seed in 0..50 {
                    let times = times(20.0, Burstiness::Shape(shape), seed, count);
                    let end_ns = count * 50_000_000;
                    assert_eq!((times.len() as u64, times[0]), (count, 0));
                    assert!(times.is_sorted(), "{shape} {seed}");
                    // What is behind the last one is what the others have left of the time.
                    assert!(times.last().is_some_and(|&last| last <= end_ns + count));
                }
            }
        }
        // Every gap has the mean 1 / rate, the last one too: over 20,000 seeds of 50 gaps of variance
        // (50 - 1) / (50 + 1), the standard error is 0.007.
        let last = |seed| gaps(1.0, seed, 50).last().copied().unwrap_or(0.0);
        let mean = (0..20_000).map(last).sum::<f64>() / 2e4;
        assert!((mean - 1.0).abs() < 0.028, "{mean}");
    }

    #[test]
    fn a_short_run_of_the_default_seed_has_its_rate() {
        // 49 gaps between the first and the last of 50 at 20/s; the one behind is some 50 ms.
        let times = times(20.0, Burstiness::Shape(1.0), 42, 50);
        let rate = 49.0 / (times[49] as f64 / 1e9);
        assert!((19.6..22.0).contains(&rate), "{rate}");
    }

    #[test]
    fn the_gaps_of_a_poisson_process_of_known_number_are_those_of_uniform_times() {
        // A gap of n over a whole of 1 is above x with the chance (1 - x)^(n - 1), whichever of them it is.
        let of_ten = |place: usize| {
            let gaps = (0..20_000).map(|seed| gaps(1.0, seed, 10)[place] / 10.0);
            distance(gaps.collect(), |x| 1.0 - (1.0 - x).powi(9))
        };
        for place in [0, 4, 9] {
            let distance = of_ten(place);
            assert!(distance < 1.0, "{place}: {distance} of the limit");
        }
    }

    #[test]
    fn a_million_gaps_of_a_poisson_process_are_exponential() {
        let gaps = gaps(1.0, 7, DRAWS);
        let (mean, variance) = moments(&gaps);
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        let distance = distance(gaps, |gap| 1.0 - (-gap).exp());
        assert!(distance < 1.0, "{distance} of the limit");
    }

    #[test]
    fn the_variance_of_the_gaps_is_one_over_the_burstiness() {
        // A gamma distribution of shape B and mean 1 has the variance 1 / B; its estimate over n draws has a
        // standard error of (1 / B) * sqrt((2 + 6 / B) / n): 0.51 % for 0.25, 0.37 % ... 0.19 % for 4.
        for (shape, wanted) in [(0.25, 4.0), (0.5, 2.0), (4.0, 0.25)] {
            let (mean, variance) = moments(&gaps(shape, 7, DRAWS));
            assert!((mean - 1.0).abs() < 1e-9, "{shape}: {mean}");
            assert!(
                (variance / wanted - 1.0).abs() < 0.025,
                "{shape}: {variance}"
            );
        }
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut even = Arrivals::new(3.0, Burstiness::Even, 1, 3_000_001);
        let first: Vec<u64> = even.by_ref().take(4).collect();
        assert_eq!(first, [0, 333_333_333, 666_666_667, 1_000_000_000]);
        // The 3,000,001st is due after a million seconds.
        assert_eq!(even.nth(3_000_000 - 4), Some(1_000_000_000_000_000));
        assert_eq!(even.next(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let of = |seed| times(50.0, Burstiness::Shape(0.5), seed, 1000);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn a_duration_has_as_many_as_the_rate_says() {
        let within = |rate, ms| Arrivals::within(rate, Duration::from_millis(ms));
        assert_eq!(within(20.0, 2000), 40);
        // 0.29 * 100 is 28.999999999999996.
        assert_eq!(within(0.29, 100_000), 29);
        assert_eq!(within(3.0, 1500), 4);
        // The first is due at once, however low the rate.
        assert_eq!(within(0.001, 10), 1);
    }

    #[test]
    fn times_beyond_the_clock_saturate() {
        let times = times(1e-12, Burstiness::Even, 0, 3);
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
