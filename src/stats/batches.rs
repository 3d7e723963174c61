//! The uncertainty of a sum of values that depend on their neighbours because they share queues, batches and the time
//! of day.
//!
//! The values, in the order of their sends, are cut into twenty batches. The differences between the sums of the
//! batches tell how uncertain the total is. Where neighbouring batches are correlated, the interval is widened as for
//! an autoregressive series of first order.

use super::compare::interval::{error_of_sum, t};

/// The number of batches that values are cut into. There is no interval for fewer values than this.
pub const BATCHES: usize = 20;
/// The confidence of the interval.
const CONFIDENCE: f64 = 0.95;
/// The highest correlation of neighbouring batches that the interval is widened for.
const MAX_CORRELATION: f64 = 0.9;

/// Returns half the width of the 95 % interval of the sum of these values, in their unit. The values are deviations
/// from an expected value, in the order of their sends. `None` for fewer values than batches.
pub fn half_width(deviations: &[f64]) -> Option<f64> {
    Some(t(CONFIDENCE, BATCHES as f64 - 1.0) * standard_error(deviations)?)
}

/// Returns the standard error of the sum of these values, as `half_width` does.
pub fn standard_error(deviations: &[f64]) -> Option<f64> {
    let n = deviations.len();
    if n < BATCHES {
        return None;
    }
    let batches = (0..BATCHES).map(|k| &deviations[n * k / BATCHES..n * (k + 1) / BATCHES]);
    let sums: Vec<f64> = batches.map(|batch| batch.iter().sum()).collect();
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let products: f64 = sums.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if squares <= 0.0 {
        return Some(0.0);
    }
    let count = BATCHES as f64;
    let correlation = products / squares;
    // The estimated correlation is too low by (1 + 4 r) / n on average.
    let correlation = correlation + (1.0 + 4.0 * correlation) / count;
    let correlation = correlation.clamp(0.0, MAX_CORRELATION);
    let widened = (1.0 + correlation) / (1.0 - correlation);
    Some(error_of_sum(&sums) * widened.sqrt())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns `n` values of standard deviation 1, each correlated with the one before it by `phi` (AR(1)).
    pub fn series(phi: f64, n: usize, rng: &mut fastrand::Rng) -> Vec<f64> {
        let mut normal = || {
            // The Box-Muller transform makes a normal value of two uniform ones.
            let (u, v) = (1.0 - rng.f64(), rng.f64());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let mut last = normal();
        let rest = (1.0 - phi * phi).sqrt();
        let values = (0..n).map(|_| {
            last = phi * last + rest * normal();
            last
        });
        values.collect()
    }

    #[test]
    fn alternating_batches_have_the_width_worked_by_hand() {
        // Two values a batch give sums of ±2: their squares are 20 · 4, times 20/19. Neighbours have opposite signs, so
        // nothing is widened. The root of 1600 / 19 is 9.1766.
        let values: Vec<f64> = (0..40)
            .map(|k| if k / 2 % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let got = half_width(&values).expect("forty values");
        assert!((got - 2.093_024 * 9.176_629).abs() < 1e-4, "{got}");
        assert_eq!(half_width(&[0.0; 20]), Some(0.0));
        assert_eq!(half_width(&[1.0; 19]), None);
    }

    #[test]
    fn correlated_batches_widen_the_interval() {
        // Ten batches of sum 1 and then ten of sum −1 have 18 products of 1 and one of −1, over 20 squares: 0.85.
        // Adding (1 + 3.4) / 20 gives 1.07, which is held to 0.9: the square of the width is 19 times as large.
        let values: Vec<f64> = (0..20).map(|k| if k < 10 { 1.0 } else { -1.0 }).collect();
        let got = half_width(&values).expect("twenty values");
        let wanted = 2.093_024 * (400.0_f64 / 19.0 * 19.0).sqrt();
        assert!((got - wanted).abs() < 1e-4, "{got}");
    }
}
