//! Shares of requests or tokens, and their difference between two sides, which is never certain.

use super::interval::Uncertainty;
use crate::units::share;

/// A share of one side. Its uncertainty is that of independent requests to which a hit and a miss are added, each as
/// large as a mean request (Agresti and Caffo 2000): no error in a hundred requests does not mean that there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub share: f64,
    /// How far each request is from the share, in units of the share: they add up to 0.
    pub off: Vec<f64>,
    centre: f64,
    error: f64,
}

impl Share {
    /// Each request has a part, and the whole that it is a part of. `None` without a whole.
    pub fn of(terms: &[(f64, f64)]) -> Option<Share> {
        let n = terms.len() as f64;
        let part: f64 = terms.iter().map(|(part, _)| part).sum();
        let whole: f64 = terms.iter().map(|(_, whole)| whole).sum();
        if whole <= 0.0 {
            return None;
        }
        let ratio = part / whole;
        let one = whole / n;
        let centre = (part + one) / (whole + 2.0 * one);
        let squares: f64 = terms
            .iter()
            .map(|(part, whole)| (part - centre * whole).powi(2))
            .sum();
        let added = (centre * one).powi(2) + ((1.0 - centre) * one).powi(2);
        Some(Share {
            share: ratio,
            centre,
            error: (squares + added).sqrt() / (whole + 2.0 * one),
            off: terms
                .iter()
                .map(|(part, of)| (part - ratio * of) / whole)
                .collect(),
        })
    }

    /// `part` of `whole` requests; `None` without a request.
    pub fn counted(part: u64, whole: u64) -> Option<Share> {
        let added = whole as f64 + 2.0;
        let centre = (part as f64 + 1.0) / added;
        Some(Share {
            share: share(part, whole)?,
            off: Vec::new(),
            centre,
            error: (centre * (1.0 - centre) / added).sqrt(),
        })
    }

    /// The uncertainty of this share less another one.
    pub fn less(&self, other: &Share) -> Uncertainty {
        Uncertainty {
            centre: self.centre - other.centre,
            error: self.error.hypot(other.error),
            df: f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_in_a_hundred_is_not_certain() {
        // A hit and a miss are added: 1 of 102. √(1/102 · 101/102 / 102) = 0.0097560.
        let whole = vec![(0.0, 1.0); 100];
        for none in [Share::of(&whole), Share::counted(0, 100)] {
            let none = none.expect("a hundred requests");
            let gap = none.less(&none);
            assert_eq!((none.share, gap.centre), (0.0, 0.0));
            assert!(
                (gap.error - 0.009_756 * 2.0_f64.sqrt()).abs() < 1e-6,
                "{gap:?}"
            );
        }
        assert_eq!(Share::of(&[]), None);
        assert_eq!(Share::counted(0, 0), None);
    }

    #[test]
    fn shares_of_tokens_have_the_error_worked_by_hand() {
        // 50 of 100 and 150 of 300 tokens: a half. With 0 and 200 of 200 added, all but the added ones are on the share:
        // √(100² + 100²) / 800 = 0.176777.
        let half = Share::of(&[(50.0, 100.0), (150.0, 300.0)]).expect("tokens");
        assert_eq!((half.share, half.off.clone()), (0.5, vec![0.0, 0.0]));
        assert!((half.error - 0.176_777).abs() < 1e-6);
        // 0 of 100 and 300 of 300: three quarters; off by −75 and 75 of 400 tokens.
        let mixed = Share::of(&[(0.0, 100.0), (300.0, 300.0)]).expect("tokens");
        assert_eq!(mixed.off, [-0.1875, 0.1875]);
    }
}
