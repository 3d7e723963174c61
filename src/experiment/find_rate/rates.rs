//! Which rates are asked first, and how long a probe at a rate is, by what the ladder told.

use super::belief::Prior;
use super::ladder::Ladder;
use super::open::Plan;

/// A longer probe alone would tell the logarithm of the rate with this standard deviation; a verification is twice as
/// long.
const EACH: f64 = 0.09;
/// The most requests that a longer probe judges.
const LONGEST: f64 = 2500.0;
/// The least requests that a probe judges, also in expected design effects.
const LEAST: f64 = 100.0;
const LEAST_EFFECTS: f64 = 3.0;
/// The expected design effect where one of twenty requests misses, for each request in flight. In simulated queues of 1
/// to 64 slots and in simulated engines it was 2 to 5.
const DESIGN: f64 = 4.0;
const LEAST_DESIGN: f64 = 4.0;
/// The expected slope over the root of the requests in flight, since their number varies by its root. In the simulations
/// it was 3 to 5.
const SLOPE: f64 = 4.0;
/// The warm-up of a probe, for each request in flight, and the least.
const WARMUP: f64 = 3.0;
const LEAST_WARMUP: f64 = 20.0;
/// The first rate, as a share of the throughput of the highest rung that met the SLO, or else of the first rung.
const FIRST: f64 = 0.85;
const FIRST_WITHOUT: f64 = 0.25;
/// The most that the rate can be, as a multiple of a closed loop's maximum without saturation.
pub const HIGHEST: f64 = 2.0;

/// Returns the expectation after the ladder.
pub fn prior(ladder: &Ladder, target: f64, x_max: f64) -> Prior {
    let passed = ladder.highest_pass_per_s(target);
    let rate_per_s = passed.map_or(FIRST_WITHOUT * x_max, |passed| FIRST * passed);
    Prior {
        rate_per_s,
        capacity_per_s: match ladder.is_saturated {
            true => x_max,
            false => HIGHEST * x_max,
        },
        slope: SLOPE * in_flight(ladder, rate_per_s).max(0.5).sqrt(),
    }
}

/// Returns the expected number of requests in flight at a rate, by Little's law.
fn in_flight(ladder: &Ladder, rate_per_s: f64) -> f64 {
    rate_per_s * ladder.latency_s(rate_per_s)
}

/// Plans a probe; its length is that of a short one, or this multiple of that of a longer one.
pub fn plan(ladder: &Ladder, target: f64, rate_per_s: f64, slope: f64, length: f64) -> Plan {
    let in_flight = in_flight(ladder, rate_per_s);
    let design = (DESIGN * in_flight).max(LEAST_DESIGN);
    let short = (LEAST_EFFECTS * design).max(LEAST);
    // The variance of the logit is that of the attainment, p (1 - p) / n, over (p (1 - p))².
    let long = design / (target * (1.0 - target) * (slope * EACH).powi(2));
    let long = long.min(LONGEST).max(short);
    Plan {
        rate_per_s,
        warmup: (WARMUP * in_flight).max(LEAST_WARMUP) as usize,
        judged: (length * long).max(short) as usize,
        design,
    }
}
