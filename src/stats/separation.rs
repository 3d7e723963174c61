//! The share of requests that hit the cache, estimated from their times alone.
//!
//! Controls of known kind, cold ones (a new text) and warm ones (an immediate repeat), give the threshold that tells
//! hits from misses best, and how often it is wrong. The share of the measured requests below it is corrected for these
//! errors ("adjusted count", Forman 2008).

use std::fmt;

use super::batches::half_width;

/// The least controls of each kind.
pub const MIN_CONTROLS: usize = 15;
/// The least J of held-out controls at which times tell hits from misses.
const MIN_J: f64 = 0.5;
/// So many times the root of 1 / controls of a kind is the least J where that is more: up to 27 controls. For J is the
/// distance of Kolmogorov and Smirnov, which two samples of n from one distribution exceed by chance in exp(-J² n) of
/// runs: 0.1 % of them.
const BEYOND_CHANCE: f64 = 2.6;
/// Half a 95 % interval in deviations of a normal distribution.
const Z: f64 = 1.96;

/// Times to the first token of requests whose kind is known, sent interleaved; finite, in any unit.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    pub cold: Vec<f64>,
    pub warm: Vec<f64>,
}

/// Why times cannot tell hits from misses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    TooFew {
        cold: usize,
        warm: usize,
    },
    /// The J of held-out controls is under the least one.
    NotSeparable {
        j: f64,
        least: f64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refusal::TooFew { cold, warm } => write!(
                out,
                "too few controls: {cold} cold and {warm} warm; want at least {MIN_CONTROLS} of each"
            ),
            Refusal::NotSeparable { j, least } => write!(
                out,
                "not separable: the times of cold and warm requests overlap (J = {j:.2}; want at least {least})"
            ),
        }
    }
}

/// Why times give no share of hits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoShare {
    Refused(Refusal),
    NoTtft,
}

impl fmt::Display for NoShare {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            NoShare::Refused(refusal) => write!(out, "times do not tell: {refusal}"),
            NoShare::NoTtft => out.write_str("no warm request has a TTFT"),
        }
    }
}

/// How well a threshold separates warm controls from cold ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Separation {
    /// A request is taken for a hit when its time is below this; in the unit of the controls.
    pub threshold: f64,
    /// `t − f` (Youden's J), 0..=1. It is too high on average, since the threshold was chosen by the same controls:
    /// see `held_out`.
    pub j: f64,
    /// The share of the warm controls below the threshold.
    pub t: f64,
    /// The share of the cold controls below the threshold.
    pub f: f64,
    /// Controls of each kind.
    pub cold: usize,
    pub warm: usize,
    held_out: Below,
}

/// The estimated share of hits and the ends of its 95 % interval; all are 0..=1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    pub share: f64,
    pub low: f64,
    pub high: f64,
}

/// Counts of the controls below a threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Below {
    cold: usize,
    warm: usize,
}

impl Controls {
    /// The threshold with the highest J, halfway between neighbouring times; of several that are equally good, the
    /// middle one in order, or the lower of the two in the middle. Cost: quadratic in the number of controls.
    ///
    /// Whether times are separable is judged by held-out controls: each is compared with the threshold of all others,
    /// so their J is not too high because of the choice.
    ///
    /// Errors: fewer controls than `MIN_CONTROLS` of a kind; a held-out J under the least one.
    pub fn separate(&self) -> Result<Separation, Refusal> {
        let (cold, warm) = (self.cold.len(), self.warm.len());
        if cold.min(warm) < MIN_CONTROLS {
            return Err(Refusal::TooFew { cold, warm });
        }
        let sorted = self.sorted();
        let held_out = held_out(&sorted, cold, warm);
        let held_out_j = share(held_out.warm, warm) - share(held_out.cold, cold);
        let least = least_j(cold.min(warm));
        let cut = best_cut(sorted.iter(), cold, warm).filter(|_| held_out_j >= least);
        let Some(cut) = cut else {
            return Err(Refusal::NotSeparable {
                j: held_out_j,
                least,
            });
        };
        let (t, f) = (share(cut.below.warm, warm), share(cut.below.cold, cold));
        Ok(Separation {
            threshold: cut.threshold,
            j: t - f,
            t,
            f,
            cold,
            warm,
            held_out,
        })
    }

    /// Returns the highest J of any threshold, for any number of controls; 0 without one of both kinds. It is too high
    /// on average, the more so the fewer there are.
    pub fn raw_j(&self) -> f64 {
        let (cold, warm) = (self.cold.len(), self.warm.len());
        let cut = best_cut(self.sorted().iter(), cold, warm).filter(|_| cold > 0 && warm > 0);
        cut.map_or(0.0, |cut| {
            share(cut.below.warm, warm) - share(cut.below.cold, cold)
        })
    }

    fn sorted(&self) -> Vec<Control> {
        let control = |is_warm| move |&time: &f64| Control { time, is_warm };
        let cold = self.cold.iter().map(control(false));
        let warm = self.warm.iter().map(control(true));
        let mut sorted: Vec<Control> = cold.chain(warm).collect();
        // The bits of times, which are from 0 on, are in the order of the times.
        sorted.sort_by_cached_key(|control| control.time.to_bits());
        sorted
    }
}

/// Estimates the share of hits among measured times, in the unit of the controls and the order of their sends; `None`
/// without times.
///
/// With q, the share of times below the threshold, the estimate is p = (q − f) / (t − f), held to 0..=1. Its variance is
/// [Var(q) + p² t (1 − t) / n_warm + (1 − p)² f (1 − f) / n_cold] / (t − f)², where t and f are those of the held-out
/// controls with one more on each side of the threshold, so that controls without an error leave some doubt.
/// Var(q) is q (1 − q) / n with one more on each side too, or that of batch means where it is greater, since hits come
/// in blocks. So the interval allows for the chance in which requests were measured, not only for errors of the
/// threshold.
///
/// In simulations with 40 controls of each kind and 200 times, the root of the mean squared error was at most 1.7 points
/// from J = 0.98 on, 2.9 at 0.95, 4.1 at 0.90 and 6.2 at 0.78, and the interval held the share in 94 % of runs or more.
/// With 20 controls the error is about 1.3 to 2.2 times that, and the interval held the share in 92 % or more.
pub fn hit_share(separation: &Separation, measured: &[f64]) -> Option<Share> {
    let is_hit = |time: &&f64| **time < separation.threshold;
    let n = measured.len();
    let hits = measured.iter().filter(is_hit).count();
    if n == 0 {
        return None;
    }
    let q = share(hits, n);
    let p = ((q - separation.f) / separation.j).clamp(0.0, 1.0);
    let deviations = measured.iter().map(|time| f64::from(is_hit(&time)) - q);
    let half = half_width(&deviations.collect::<Vec<f64>>());
    let of_batches = (half.unwrap_or(0.0) / (Z * n as f64)).powi(2);
    let (t, of_t) = smoothed(separation.held_out.warm, separation.warm);
    let (f, of_f) = smoothed(separation.held_out.cold, separation.cold);
    let of_q = smoothed(hits, n).1.max(of_batches);
    let variance = of_q + p.powi(2) * of_t + (1.0 - p).powi(2) * of_f;
    let half = Z * variance.sqrt() / (t - f);
    Some(Share {
        share: p,
        low: (p - half).max(0.0),
        high: (p + half).min(1.0),
    })
}

/// Returns the least J of so many controls of a kind, to two digits.
fn least_j(controls: usize) -> f64 {
    let beyond_chance = BEYOND_CHANCE / (controls as f64).sqrt();
    (100.0 * beyond_chance.max(MIN_J)).ceil() / 100.0
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}

/// A share with one more on each side, and the variance of the share of so many.
fn smoothed(count: usize, of: usize) -> (f64, f64) {
    let share = share(count + 1, of + 2);
    (share, share * (1.0 - share) / of as f64)
}

#[derive(Debug, Clone, Copy)]
struct Control {
    time: f64,
    is_warm: bool,
}

struct Cut {
    threshold: f64,
    below: Below,
}

/// The best threshold between controls sorted by time, so many of each kind; `None` when all times are equal.
fn best_cut<'a>(
    sorted: impl Iterator<Item = &'a Control> + Clone,
    cold: usize,
    warm: usize,
) -> Option<Cut> {
    let mut below = Below::default();
    // J times both numbers of controls, as a whole number, so that equal ones are equal.
    let mut best_j = i128::MIN;
    let mut best = Vec::new();
    for (control, next) in sorted.clone().zip(sorted.skip(1)) {
        match control.is_warm {
            true => below.warm += 1,
            false => below.cold += 1,
        }
        if control.time == next.time {
            continue;
        }
        let j = (below.warm * cold) as i128 - (below.cold * warm) as i128;
        if j > best_j {
            best_j = j;
            best.clear();
        }
        if j == best_j {
            best.push(Cut {
                threshold: f64::midpoint(control.time, next.time),
                below,
            });
        }
    }
    let middle = best.len().checked_sub(1)? / 2;
    best.into_iter().nth(middle)
}

/// Counts the controls that are below the best threshold of all others.
fn held_out(sorted: &[Control], cold: usize, warm: usize) -> Below {
    let mut below = Below::default();
    for (at, control) in sorted.iter().enumerate() {
        let others = sorted[..at].iter().chain(&sorted[at + 1..]);
        let (cold, warm) = match control.is_warm {
            true => (cold, warm - 1),
            false => (cold - 1, warm),
        };
        let cut = best_cut(others, cold, warm);
        let is_below = cut.is_some_and(|cut| control.time < cut.threshold);
        match control.is_warm {
            true => below.warm += usize::from(is_below),
            false => below.cold += usize::from(is_below),
        }
    }
    below
}

#[cfg(test)]
mod tests;
