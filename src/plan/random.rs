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

#[cfg(test)]
mod tests {
    use super::*;

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
