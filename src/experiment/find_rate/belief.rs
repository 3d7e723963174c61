//! The belief about the highest rate, from the attainment of every probe.
//!
//! The logit of the attainment is taken for a straight line in the logarithm of the rate: it crosses the target at the
//! highest rate, with some slope. Both are on a grid. The likelihood is binomial, with the counts divided by the design
//! effect, since neighbouring requests wait together.

/// Steps of the grid of rates, in the logarithm, and how many there are to either side of the first guess.
const STEP: f64 = 0.02;
const SIDE: usize = 150;
/// Slopes: logits by which the attainment falls while the rate grows by a factor e.
const SLOPES: [f64; 9] = [2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 45.0, 100.0];
/// Before the first probe, the standard deviations of the logarithms of the rate and of the slope.
const GUESS_SD: f64 = 0.5;
const SLOPE_SD: f64 = 0.5;
/// Rates above the capacity are the less likely: the standard deviation of the logarithm.
const CAPACITY_SD: f64 = 0.08;
/// The share of requests that miss or meet the SLO whatever the rate is.
const LAPSE: f64 = 0.002;
/// The share of misses for which design effects are expected, and the share from which on they do not grow.
const USUAL_MISSES: f64 = 0.05;
const MOST_MISSES: f64 = 0.2;
/// The expected design effects have the weight of so many design effects of requests when they are compared with those
/// measured.
const EXPECTED_WEIGHT: f64 = 60.0;
/// An overload tells at least as much as so many independent requests.
const OVERLOAD_WEIGHT: f64 = 4.0;

/// The expectation before the first probe.
#[derive(Debug, Clone, Copy)]
pub struct Prior {
    pub rate_per_s: f64,
    /// No server goes on above this rate.
    pub capacity_per_s: f64,
    pub slope: f64,
}

/// The attainment of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    pub rate_per_s: f64,
    /// Requests that were judged, and those that met the SLO.
    pub judged: f64,
    pub met: f64,
    /// The design effect that is expected where one of twenty misses.
    pub expected: f64,
    /// The design effect by batch means; `None` without misses.
    pub measured: Option<f64>,
    /// Whether it was ended because the server fell behind.
    pub is_overload: bool,
}

impl Seen {
    /// Returns the expected design effect at a share of misses. The congestion that makes misses makes them last: in
    /// simulated queues and engines the effect grows as the root of the share.
    fn expected_at(&self, missed: f64) -> f64 {
        (self.expected * (missed.min(MOST_MISSES) / USUAL_MISSES).sqrt()).max(1.0)
    }
}

/// The belief. Its grid is around the rate of the prior.
#[derive(Debug, Clone)]
pub struct Belief {
    prior: Prior,
    target: f64,
    /// The probability of each rate of the grid; they sum to 1.
    weights: Vec<f64>,
    /// The mean slope.
    pub slope: f64,
}

impl Belief {
    pub fn new(prior: Prior, target: f64) -> Belief {
        let mut belief = Belief {
            prior,
            target: target.clamp(0.01, 0.9999),
            weights: Vec::new(),
            slope: 0.0,
        };
        belief.weigh(&[], &[]);
        belief
    }

    /// Works out the belief anew. Cost: probes × grid.
    pub fn learn(&mut self, seen: &[Seen]) {
        // The design effects follow from the misses that the belief itself makes likely.
        let smooth = |one: &Seen| {
            let missed = one.judged - one.met + one.expected * (1.0 - self.target);
            one.expected_at(missed / (one.judged + one.expected))
        };
        let designs: Vec<f64> = seen.iter().map(smooth).collect();
        self.weigh(seen, &designs);
        let expected: Vec<f64> = seen
            .iter()
            .map(|one| one.expected_at(1.0 - self.attainment(one.rate_per_s)))
            .collect();
        let (mut sum, mut all) = (EXPECTED_WEIGHT, EXPECTED_WEIGHT);
        for (one, expected) in seen.iter().zip(&expected) {
            if let Some(measured) = one.measured {
                let weight = one.judged / expected;
                sum += weight * (measured / expected).clamp(0.1, 10.0);
                all += weight;
            }
        }
        let factor = sum / all;
        let designs: Vec<f64> = expected.iter().map(|of| (of * factor).max(1.0)).collect();
        self.weigh(seen, &designs);
    }

    /// Returns the attainment that the belief makes likely at a rate.
    pub fn attainment(&self, rate_per_s: f64) -> f64 {
        let from = (rate_per_s / self.quantile(0.5)).ln();
        attainment(self.slope * from - logit(self.target))
    }

    fn weigh(&mut self, seen: &[Seen], designs: &[f64]) {
        let prior = self.prior;
        let capacity = (prior.capacity_per_s / prior.rate_per_s).ln();
        let mut logs = Vec::with_capacity((2 * SIDE + 1) * SLOPES.len());
        for place in 0..=2 * SIDE {
            let x = (place as f64 - SIDE as f64) * STEP;
            for slope in SLOPES {
                let deviations = [
                    x / GUESS_SD,
                    (x - capacity).max(0.0) / CAPACITY_SD,
                    (slope / prior.slope).ln() / SLOPE_SD,
                ];
                let before = deviations.iter().map(|of| -0.5 * of * of).sum::<f64>();
                let probes = seen.iter().zip(designs);
                let told = probes.map(|(one, design)| self.log_likelihood(one, *design, x, slope));
                logs.push(before + told.sum::<f64>());
            }
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut slopes = [0.0; SLOPES.len()];
        self.weights.clear();
        for row in logs.chunks(SLOPES.len()) {
            let mut sum = 0.0;
            for (log, slope) in row.iter().zip(&mut slopes) {
                let weight = (log - most).exp();
                *slope += weight;
                sum += weight;
            }
            self.weights.push(sum);
        }
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= sum);
        let logs = SLOPES.iter().zip(&slopes);
        self.slope = (logs.map(|(slope, weight)| slope.ln() * weight).sum::<f64>() / sum).exp();
    }

    /// Returns the log likelihood of a probe for a highest rate, given as the logarithm over the prior one, and a slope.
    fn log_likelihood(&self, one: &Seen, design: f64, x: f64, slope: f64) -> f64 {
        let from = (one.rate_per_s / self.prior.rate_per_s).ln() - x;
        let p = attainment(slope * from - logit(self.target));
        let weight = match one.is_overload {
            true => (1.0 / design).max(OVERLOAD_WEIGHT / one.judged),
            false => 1.0 / design,
        };
        (one.met * p.ln() + (one.judged - one.met) * (1.0 - p).ln()) * weight
    }

    /// Returns the rate that the true one is below with this probability.
    pub fn quantile(&self, level: f64) -> f64 {
        let mut below = 0.0;
        let mut x = SIDE as f64;
        for (place, weight) in self.weights.iter().enumerate() {
            if below + weight >= level {
                // Each weight is spread over the step around its rate.
                x = place as f64 - SIDE as f64 - 0.5 + (level - below) / weight;
                break;
            }
            below += weight;
        }
        self.prior.rate_per_s * (x * STEP).exp()
    }

    /// Returns a quarter of the width of the 95 % interval, as a share of the rate: one standard deviation.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.975) / self.quantile(0.025)).ln() / 4.0
    }
}

fn logit(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

/// Returns the attainment so many logits below one half.
fn attainment(below: f64) -> f64 {
    LAPSE / 2.0 + (1.0 - LAPSE) / (1.0 + below.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prior() -> Prior {
        Prior {
            rate_per_s: 8.0,
            capacity_per_s: 40.0,
            slope: 10.0,
        }
    }

    fn seen(rate_per_s: f64, judged: f64, attainment: f64) -> Seen {
        Seen {
            rate_per_s,
            judged,
            met: judged * attainment,
            expected: 1.0,
            measured: None,
            is_overload: false,
        }
    }

    #[test]
    fn many_requests_below_and_above_the_rate_tell_it() {
        // The logit of 0.95 is 2.944. With a slope of 18 and a rate of 10, at 9 it is 2.944 + 18 · 0.10536 = 4.841, a
        // share of 0.99216; at 11 it is 2.944 - 18 · 0.09531 = 1.229, a share of 0.77362.
        let mut belief = Belief::new(prior(), 0.95);
        belief.learn(&[
            seen(9.0, 20_000.0, 0.992_16),
            seen(11.0, 20_000.0, 0.773_62),
        ]);
        let median = belief.quantile(0.5);
        assert!((median / 10.0 - 1.0).abs() < 0.01, "{median}");
        assert!((belief.slope - 18.0).abs() < 0.5, "{}", belief.slope);
        assert!(belief.spread() < 0.02, "{}", belief.spread());
    }

    #[test]
    fn without_probes_it_is_the_prior_cut_at_the_capacity() {
        // Before a probe the logarithm of the rate is normal with a deviation of 0.5, and 97.5 % lie below 8 e^0.98.
        let free = Belief::new(prior(), 0.95);
        assert!((free.quantile(0.5) / 8.0 - 1.0).abs() < 0.01);
        assert!((free.quantile(0.975) / (8.0 * 0.98_f64.exp()) - 1.0).abs() < 0.02);
        let cut = Belief::new(
            Prior {
                capacity_per_s: 8.0,
                ..prior()
            },
            0.95,
        );
        assert!(cut.quantile(0.975) < 8.0 * (3.0 * CAPACITY_SD).exp());
    }

    #[test]
    fn an_overload_of_few_requests_tells_that_the_rate_is_lower() {
        let overload = Seen {
            expected: 1000.0,
            is_overload: true,
            ..seen(8.0, 50.0, 0.2)
        };
        let mut belief = Belief::new(prior(), 0.95);
        belief.learn(&[overload]);
        assert!(belief.quantile(0.95) < 8.0, "{}", belief.quantile(0.95));
    }
}
