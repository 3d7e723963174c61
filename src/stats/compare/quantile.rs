//! The 95th percentile of the values of one side, and how it depends on each unit.

use std::ops::Range;

use super::interval::{error_of_sum, t};
use crate::stats::spread::exact_quantile;

/// The 95th percentile of one side.
pub struct Quantile {
    pub value: f64,
    /// How far the logarithm of the percentile moves with the share of values below it.
    pub slope: f64,
    /// How far each unit is from the share of values above the percentile, in units of that share.
    pub off: Vec<f64>,
}

impl Quantile {
    /// `None` without values.
    pub fn of(values: &[f64], units: &[Range<usize>]) -> Option<Quantile> {
        const Q: f64 = 0.95;
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| exact_quantile(&sorted, q.clamp(0.0, 1.0));
        let value = at(Q)?;
        let n = values.len() as f64;
        let above = values.iter().filter(|&&x| x > value).count() as f64 / n;
        let shares = units.iter().map(|unit| {
            let unit = &values[unit.clone()];
            let over = unit.iter().filter(|&&x| x > value).count() as f64;
            (over - above * unit.len() as f64) / n
        });
        let shares: Vec<f64> = shares.collect();
        let half = t(0.95, (units.len() as f64 - 1.0).max(1.0)) * error_of_sum(&shares);
        let (low, high) = (at(Q - half)?, at(Q + half)?);
        let slope = if half > 0.0 {
            (high / low).ln() / (2.0 * half)
        } else {
            0.0
        };
        Some(Quantile {
            value,
            slope,
            off: shares,
        })
    }
}
