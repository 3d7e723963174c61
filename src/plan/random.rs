//! Hashes that make seeds and names, and distributions that fastrand lacks.

use fastrand::Rng;

/// Returns the 64-bit FNV-1a hash.
pub fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns the output of SplitMix64 (Steele, Lea and Flood 2014), one step on; distinct states have distinct results.
pub fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws a number above 0 and at most 1, so that its logarithm is finite.
fn above_zero(rng: &mut Rng) -> f64 {
    1.0 - rng.f64()
}

/// Draws from the standard normal distribution, by Box and Muller (1958).
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * above_zero(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Draws from the gamma distribution with this shape and a scale of 1, by Marsaglia and Tsang (2000); a shape below 1
/// by their note: a draw of shape + 1, times `u^(1/shape)`.
pub fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        let boost = above_zero(rng).powf(1.0 / shape);
        return gamma(shape + 1.0, rng) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && above_zero(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Draws from the beta distribution with these shapes, of which the second is above 0; with a first of 0 it is 0.
pub fn beta(first: f64, second: f64, rng: &mut Rng) -> f64 {
    if first == 0.0 {
        return 0.0;
    }
    let (x, y) = (gamma(first, rng), gamma(second, rng));
    match x + y {
        // Draws of small shapes can be too small for a number. The rest of the distribution is then at its ends.
        0.0 => f64::from(u8::from(rng.f64() * (first + second) < first)),
        sum => x / sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_of_the_beta_distribution_have_its_mean_and_variance() {
        let mut rng = Rng::with_seed(6);
        for (a, b) in [
            (0.001_f64, 0.003_f64),
            (0.25, 12.25),
            (1.0, 1.0),
            (1.0, 49.0),
            (30.0, 2.0),
        ] {
            let draws: Vec<f64> = (0..200_000).map(|_| beta(a, b, &mut rng)).collect();
            assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
            let mean = draws.iter().sum::<f64>() / 2e5;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2e5;
            let (wanted, sum) = (a / (a + b), a + b);
            let spread = a * b / (sum * sum * (sum + 1.0));
            // Four standard errors of the mean.
            let error = 4.0 * (spread / 2e5).sqrt();
            assert!((mean - wanted).abs() < error, "{a} {b}: {mean}");
            assert!(
                (variance / spread - 1.0).abs() < 0.05,
                "{a} {b}: {variance}"
            );
        }
        assert_eq!(beta(0.0, 1.0, &mut rng), 0.0);
    }

    #[test]
    fn a_million_normal_draws_have_mean_0_and_variance_1() {
        let mut rng = Rng::with_seed(5);
        let draws: Vec<f64> = (0..1_000_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 1e6;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e6;
        // Four standard errors: 4 / 1,000, and 4 * 1.414 / 1,000.
        assert!(mean.abs() < 0.004, "{mean}");
        assert!((variance - 1.0).abs() < 0.0057, "{variance}");
        // 95.45 % lie within two deviations.
        let inside = draws.iter().filter(|x| x.abs() < 2.0).count() as f64 / 1e6;
        assert!((inside - 0.9545).abs() < 0.001, "{inside}");
    }
}
