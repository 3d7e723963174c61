//! How a figure is spread over the requests of a round: mean, exact percentiles, deviation.

use serde::Serialize;

use super::quantile::exact_quantile;

/// In the unit of its values. The names of the fields are the keys of the JSON result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    pub avg: f64,
    /// Percentiles are type 7, as `exact_quantile`.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub min: f64,
    pub max: f64,
    /// Of the sample (n − 1); `None` for one value.
    pub stddev: Option<f64>,
    pub n: u64,
}

impl Spread {
    /// `None` without values; those that are not finite are left out. Cost: a sort.
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
            p99: at(0.99)?,
            min: at(0.0)?,
            max: at(1.0)?,
            stddev: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            n: values.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_worked_by_hand() {
        let got = Spread::of(vec![40.0, 10.0, 80.0, f64::NAN, 30.0]).expect("values");
        // Sorted 10 30 40 80, mean 160 / 4; ranks 0 to 3: p50 at 1.5, p90 at 2.7, p99 at 2.97.
        // Deviations −30 −10 0 40: squares 900 + 100 + 0 + 1600 = 2600, over 3, root 29.439203.
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert_eq!((got.avg, got.p50, got.n), (40.0, 35.0, 4));
        assert!(near(got.p90, 68.0) && near(got.p99, 78.8), "{got:?}");
        assert_eq!((got.min, got.max), (10.0, 80.0));
        assert!(
            near(got.stddev.expect("four values"), 29.439_203),
            "{got:?}"
        );
    }

    #[test]
    fn one_value_has_no_deviation_and_none_no_spread() {
        let one = Spread::of(vec![7.0]).expect("a value");
        assert_eq!((one.avg, one.p99, one.stddev, one.n), (7.0, 7.0, None, 1));
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![f64::INFINITY]), None);
    }
}
