//! Polynomials of the least squares of errors.

/// The most terms of a polynomial: a constant, a linear and a quadratic one.
pub const MOST_TERMS: usize = 3;
/// Pivots under this are rounding errors.
const NOTHING: f64 = 1e-12;

/// Returns the value of a polynomial.
pub fn value(terms: &[f64], x: f64) -> f64 {
    let terms = terms.iter().zip(powers(x));
    terms.map(|(term, power)| term * power).sum()
}

fn powers(x: f64) -> [f64; MOST_TERMS] {
    [1.0, x, x * x]
}

/// Returns the polynomial of so many terms with the least weighted squares of errors. Points are x, y and the weight of
/// the squared error. Terms that the points do not tell apart are 0.
pub fn fit(points: impl Iterator<Item = (f64, f64, f64)>, terms: usize) -> Vec<f64> {
    // The last column is the right side.
    let mut system = [[0.0; MOST_TERMS + 1]; MOST_TERMS];
    for (x, y, weight) in points {
        let powers = powers(x);
        for (equation, a) in system.iter_mut().zip(powers).take(terms) {
            for (sum, b) in equation.iter_mut().zip(powers).take(terms) {
                *sum += weight * a * b;
            }
            equation[MOST_TERMS] += weight * a * y;
        }
    }
    for at in 0..terms {
        let best = (at..terms).max_by(|&a, &b| system[a][at].abs().total_cmp(&system[b][at].abs()));
        system.swap(at, best.unwrap_or(at));
        let pivot = system[at];
        if pivot[at].abs() < NOTHING {
            continue;
        }
        for (row, equation) in system.iter_mut().enumerate().take(terms) {
            if row != at {
                let factor = equation[at] / pivot[at];
                for (a, b) in equation.iter_mut().zip(pivot) {
                    *a -= factor * b;
                }
            }
        }
    }
    let solved = (0..terms).map(|at| match system[at][at] {
        pivot if pivot.abs() < NOTHING => 0.0,
        pivot => system[at][MOST_TERMS] / pivot,
    });
    solved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parabola_is_found_and_terms_that_points_do_not_tell_are_0() {
        let near = |found: Vec<f64>, wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len());
            let errors = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
            assert!(errors.fold(0.0, f64::max) < 1e-9, "{found:?}");
        };
        // y = 1 + 2 x + 3 x²; the point far off has no weight.
        let points = [
            (0.0, 1.0, 1.0),
            (1.0, 6.0, 2.0),
            (2.0, 17.0, 1.0),
            (3.0, 99.0, 0.0),
        ];
        near(fit(points.into_iter(), 3), &[1.0, 2.0, 3.0]);
        // Two values of one x: their mean, weighted 3 to 1.
        let points = [(0.0, 4.0, 3.0), (0.0, 8.0, 1.0)];
        near(fit(points.into_iter(), 3), &[5.0, 0.0, 0.0]);
        assert_eq!(value(&[1.0, 2.0, 3.0], 2.0), 17.0);
    }
}
