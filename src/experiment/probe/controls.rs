//! Conclusions from controls about the cache, by `usage` and by time.

use super::lab::{Control, Lab, Reading};

/// The least growth of TTFT from the shortest to the longest cold prompts, in standard errors, with which a cached
/// prompt would be seen to be faster.
const VISIBLE: f64 = 5.0;
/// Fewer controls of a length show nothing.
const LEAST: usize = 5;

/// A block, or a small part of a prompt: token counts are not exact.
pub fn slack(tokens: u64) -> u64 {
    (tokens / 16).max(16)
}

/// Returns whether `usage` reports no more of a new prompt than what all prompts have in common.
pub fn is_cold(reading: &Reading, lab: &Lab) -> bool {
    let most = lab.common_tokens + slack(reading.tokens);
    reading.cached.is_none_or(|cached| cached <= most)
}

/// Returns whether times would show that repeats are reused, and show that they are not: TTFT grows with the length of
/// new prompts, and that of the longest repeats is as high as that of new prompts.
pub fn times_show_no_reuse(controls: &[Control]) -> bool {
    let lengths = || controls.iter().map(|control| control.tokens);
    let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else {
        return false;
    };
    let times = |tokens, of: fn(&Control) -> Reading| -> Vec<f64> {
        let alike = controls.iter().filter(|control| control.tokens == tokens);
        alike.map(|control| of(control).ttft_s).collect()
    };
    let short = times(shortest, |control| control.cold);
    let cold = times(longest, |control| control.cold);
    let warm = times(longest, |control| control.warm);
    if short.len().min(cold.len()) < LEAST {
        return false;
    }
    let growth = median(&cold) - median(&short);
    let saved = median(&cold) - median(&warm);
    let error = |a: &[f64], b: &[f64]| (squared_error(a) + squared_error(b)).sqrt();
    growth > VISIBLE * error(&cold, &short) && saved + 2.0 * error(&cold, &warm) < growth / 2.0
}

/// Returns the middle value, or the mean of the two in the middle; 0 without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[at],
        _ => f64::midpoint(sorted[at - 1], sorted[at]),
    }
}

/// Returns the square of the standard error of a median, by the median absolute deviation.
fn squared_error(values: &[f64]) -> f64 {
    /// For normally distributed values: their deviation over the median absolute one, and √(π/2).
    const FACTOR: f64 = 1.4826 * 1.2533;
    let middle = median(values);
    let apart: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    (FACTOR * median(&apart)).powi(2) / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(tokens: u64, cold_s: f64, warm_s: f64) -> Control {
        let reading = |ttft_s| Reading {
            tokens,
            cached: None,
            ttft_s,
            answer: None,
            sent_s: 0.0,
        };
        Control {
            tokens,
            cold: reading(cold_s),
            warm: reading(warm_s),
        }
    }

    #[test]
    fn a_median_is_the_middle() {
        for (values, middle) in [
            (&[][..], 0.0),
            (&[3.0], 3.0),
            (&[4.0, 1.0], 2.5),
            (&[9.0, 1.0, 2.0], 2.0),
        ] {
            assert_eq!(median(values), middle);
        }
    }

    #[test]
    fn times_show_that_nothing_is_reused_only_where_ttft_grows() {
        // Cold TTFT of 1.0 to 1.4 s at 100 tokens, and of 9.0 to 9.4 s at 1,000.
        let times = |long_s: f64, warm_s: f64| -> Vec<Control> {
            let each = (0..5).map(|at| 0.1 * f64::from(at));
            let pairs = each.map(|more_s| {
                [
                    control(100, 1.0 + more_s, 1.0 + more_s),
                    control(1000, long_s + more_s, warm_s + more_s),
                ]
            });
            pairs.flatten().collect()
        };
        assert!(times_show_no_reuse(&times(9.0, 9.0)));
        assert!(!times_show_no_reuse(&times(9.0, 1.0)));
        assert!(!times_show_no_reuse(&times(1.0, 1.0)));
        assert!(!times_show_no_reuse(&times(9.0, 9.0)[..8]));
        assert!(!times_show_no_reuse(&[]));
    }
}
