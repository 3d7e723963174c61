//! TTFT over the length of a prompt: a fit through what was measured, and how far single values lie from it.

use super::least_squares;

/// Terms of a polynomial for cold prompts: attention is quadratic in the length.
const COLD_TERMS: usize = least_squares::MOST_TERMS;
/// Terms of one for warm prompts: to look a prompt up takes time in proportion to its length.
const WARM_TERMS: usize = 2;
/// Lengths count as different when one is this many times the other.
const DIFFERENT: f64 = 1.5;
/// A value weighs half as much when its error is so many times the median of all; the fit is repeated so often.
const OUTLYING: f64 = 4.0;
const ROUNDS: usize = 6;
/// Values by which a deviation is estimated.
const NEAREST: usize = 40;
/// Values of about one length: their logarithms differ by less than this.
const ALIKE: f64 = 0.1;
/// The fit weighs as much as so many values.
const PRIOR: f64 = 3.0;
/// The mean of absolute errors times √(π/2) is a standard deviation, if they are normally distributed; without their
/// largest tenth, 1.49 times.
const MEAN_TO_DEVIATION: f64 = 1.49;

/// Measured TTFTs, in seconds, of prompts of one kind.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The most terms of the polynomial.
    most_terms: usize,
    /// Tokens and seconds of each request.
    values: Vec<(f64, f64)>,
    terms: Vec<f64>,
    /// The error over the length at which a value is trusted half as much as one without an error.
    outlying: f64,
}

impl Curve {
    pub fn cold() -> Curve {
        Curve {
            most_terms: COLD_TERMS,
            values: Vec::new(),
            terms: Vec::new(),
            outlying: 0.0,
        }
    }

    pub fn warm() -> Curve {
        Curve {
            most_terms: WARM_TERMS,
            ..Curve::cold()
        }
    }

    pub fn note(&mut self, tokens: f64, seconds: f64) {
        self.values.push((tokens, seconds));
        self.terms = self.fit(|_| 1.0);
        for _ in 0..ROUNDS {
            let rough = std::mem::take(&mut self.terms);
            let mut errors: Vec<f64> = self
                .values
                .iter()
                .map(|value| error(&rough, value))
                .collect();
            errors.sort_unstable_by(f64::total_cmp);
            self.outlying = (errors[errors.len() / 2] * OUTLYING).max(f64::MIN_POSITIVE);
            self.terms = self.fit(|value| self.trust(&rough, value));
        }
    }

    /// Returns by how much a value counts, from 0 to 1.
    fn trust(&self, terms: &[f64], value: &(f64, f64)) -> f64 {
        1.0 / (1.0 + (error(terms, value) / self.outlying).powi(2))
    }

    /// Returns the expected TTFT in seconds: the fit, moved by what the values of about this length say. `None` before
    /// anything was measured.
    pub fn at(&self, tokens: f64) -> Option<f64> {
        if self.values.is_empty() {
            return None;
        }
        let (mut sum, mut weights) = (0.0, PRIOR);
        for known in &self.values {
            let &(own, seconds) = known;
            if (own / tokens).ln().abs() < ALIKE {
                let weight = self.trust(&self.terms, known);
                sum += weight * (seconds - value(&self.terms, own));
                weights += weight;
            }
        }
        let moved = sum / weights;
        Some(value(&self.terms, tokens) + moved)
    }

    /// Returns the TTFT of the fit alone, in seconds.
    pub fn fitted(&self, tokens: f64) -> f64 {
        value(&self.terms, tokens)
    }

    /// Returns the standard deviation of single values around what is expected at this length, by the nearest lengths.
    /// `unit` is what errors at a length are divided by.
    pub fn deviation_at(&self, tokens: f64, unit: impl Fn(f64) -> f64) -> f64 {
        let values = self.values.iter();
        let mut near: Vec<(f64, f64)> = values
            .map(|&(own, seconds)| {
                let error = (seconds - value(&self.terms, own)) / unit(own);
                ((own / tokens).ln().abs(), error.abs())
            })
            .collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let alike = near.iter().filter(|(apart, _)| *apart < DIFFERENT.ln());
        // The fit itself is uncertain where few values carry it.
        let uncertain = (1.0 + 1.0 / (alike.count() as f64 + 1.0)).sqrt();
        near.truncate(NEAREST);
        near.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        // Without the outer tenth, which is a fifth of the mean of absolute errors that are normally distributed.
        let inner = &near[..near.len() - near.len() / 10];
        let mean = inner.iter().map(|(_, error)| error).sum::<f64>() / inner.len().max(1) as f64;
        let free = self.values.len().saturating_sub(self.terms.len()).max(1);
        let scale = (self.values.len() as f64 / free as f64).sqrt() * uncertain;
        mean * MEAN_TO_DEVIATION * scale
    }

    /// Fits a polynomial with as many terms as there are different lengths, by least squares. Errors count by the length,
    /// since they grow with it, and by the trust in the value.
    fn fit(&self, trust: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let mut lengths: Vec<f64> = self.values.iter().map(|&(tokens, _)| tokens).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        lengths.dedup_by(|longer, shorter| *longer < *shorter * DIFFERENT);
        let terms = lengths.len().min(self.most_terms);
        let points = self.values.iter().map(|value| {
            let &(tokens, seconds) = value;
            let weight = trust(value) / tokens.max(1.0).powi(2);
            (thousands(tokens), seconds, weight)
        });
        least_squares::fit(points, terms)
    }
}

/// Makes the equations well conditioned.
fn thousands(tokens: f64) -> f64 {
    tokens / 1000.0
}

fn value(terms: &[f64], tokens: f64) -> f64 {
    least_squares::value(terms, thousands(tokens))
}

/// Returns how far a value is from a fit, over its length.
fn error(terms: &[f64], &(tokens, seconds): &(f64, f64)) -> f64 {
    (seconds - value(terms, tokens)).abs() / tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_is_found_in_spite_of_an_outlier() {
        // 10 ms + 2 ms per 1,000 tokens + 0.1 ms per (1,000 tokens)².
        let ttft_s = |tokens: f64| 0.010 + 0.002 * tokens / 1e3 + 0.0001 * (tokens / 1e3).powi(2);
        let mut curve = Curve::cold();
        for tokens in [1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 64e3, 5e3, 9e3] {
            curve.note(tokens, ttft_s(tokens));
        }
        curve.note(10e3, 1.0);
        for tokens in [1e3, 10e3, 50e3] {
            let found = curve.at(tokens).expect("a fit");
            assert!(
                (found / ttft_s(tokens) - 1.0).abs() < 0.01,
                "{tokens}: {found}"
            );
        }
    }

    #[test]
    fn values_of_one_length_give_their_mean_and_their_deviation() {
        let mut curve = Curve::cold();
        assert_eq!(curve.at(500.0), None);
        for (tokens, seconds) in [(1000.0, 0.9), (1000.0, 1.1), (1010.0, 0.9), (990.0, 1.1)] {
            curve.note(tokens, seconds);
        }
        let found = curve.at(1000.0).expect("a fit");
        assert!((found - 1.0).abs() < 0.002, "{found}");
        // The median of four errors of 0.1, · 1.4826 · √(4/3) · √(1 + 1/5).
        let deviation_s = curve.deviation_at(1000.0, |_| 1.0);
        assert!((deviation_s - 0.1875).abs() < 0.003, "{deviation_s}");
    }
}
