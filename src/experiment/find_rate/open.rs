//! One probe in open loop. It judges the requests in the order of their sends, so that slow ones are not left out, and
//! only those behind the warm-up.

use super::belief::Seen;
use super::told::Told;
use crate::stats::batches::standard_error;
use crate::stats::find_rate::Outcome;
use crate::stats::overload::{Ended, LEAST, Overload};

/// Half a 95 % interval in deviations, for twenty batches (Student's t, 19 degrees of freedom).
const T: f64 = 2.093;
/// How many design effects of requests a probe judges before it may fail early.
const EARLY: f64 = 2.5;
/// Requests grow by this share from one look at them to the next.
const LOOK: f64 = 1.2;
/// The design effect of a probe is a mean: that expected has this weight, that measured as many as it has misses, at most
/// so many.
const EXPECTED_WEIGHT: f64 = 30.0;
const MOST_WEIGHT: f64 = 60.0;
/// A verification whose latencies have grown by more than this from its first half to its second goes on, by this factor:
/// a queue that grows may not have reached the SLO yet. With so many requests an overload of 5 % shows by itself.
const GROWN: f64 = 0.5;
const LONGER: f64 = 1.5;
const MOST_JUDGED: usize = 4000;

/// How a probe is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub rate_per_s: f64,
    /// Requests at its start that are not judged, and those that are.
    pub warmup: usize,
    pub judged: usize,
    /// The expected design effect: requests that tell as much as one independent request would.
    pub design: f64,
}

#[derive(Debug)]
pub struct Open {
    pub plan: Plan,
    target: f64,
    told: Vec<Option<Told>>,
    /// The first requests have ended, up to this place.
    prefix: usize,
    last_end_ns: u64,
    next_look: usize,
    next_overload: u64,
    is_done: bool,
    is_overloaded: bool,
    /// Whether it goes on while latencies grow, and has done so.
    waits: bool,
    has_waited: bool,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub outcome: Outcome,
    pub requests: u64,
    pub attainment: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// For the belief; `None` without judged requests.
    pub seen: Option<Seen>,
}

impl Open {
    pub fn new(plan: Plan, target: f64) -> Open {
        Open {
            plan,
            target,
            told: Vec::new(),
            prefix: 0,
            last_end_ns: 0,
            next_look: plan.warmup + (EARLY * plan.design) as usize,
            next_overload: LEAST,
            is_done: false,
            is_overloaded: false,
            waits: false,
            has_waited: false,
        }
    }

    /// Makes a probe that goes on while latencies grow.
    pub fn verifying(plan: Plan, target: f64) -> Open {
        Open {
            waits: true,
            ..Open::new(plan, target)
        }
    }

    /// Whether the probe was made longer because latencies grew.
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    pub fn tell(&mut self, place: usize, told: Told) {
        if place >= self.told.len() {
            self.told.resize(place + 1, None);
        }
        self.told[place] = Some(told);
        self.last_end_ns = self.last_end_ns.max(told.end_ns);
        while self.told.get(self.prefix).is_some_and(Option::is_some) {
            self.prefix += 1;
        }
        if self.is_done {
            return;
        }
        let last = self.plan.warmup + self.plan.judged;
        if self.prefix >= last && self.waits && self.is_growing() {
            let longer = self.plan.judged as f64 * LONGER;
            self.plan.judged = (longer as usize).min(MOST_JUDGED);
            self.has_waited = true;
        } else if self.prefix >= last {
            self.prefix = last;
            self.is_done = true;
        } else if self.prefix >= self.next_look {
            self.next_look = (self.prefix as f64 * LOOK).ceil() as usize;
            let (_, interval) = self.interval(self.prefix);
            self.is_done = interval.is_some_and(|(_, high)| high < self.target);
        }
    }

    /// Whether the probe goes on after so many sends.
    pub fn goes_on(&mut self, sent: u64) -> bool {
        if !self.is_done && sent >= self.next_overload {
            self.next_overload = (sent as f64 * LOOK).ceil() as u64;
            let overload = Overload::at(self.last_end_ns, sent, &self.ended());
            self.is_overloaded = overload.is_some_and(|of| of.is_overloaded());
            self.is_done = self.is_overloaded;
        }
        !self.is_done
    }

    fn is_growing(&self) -> bool {
        let overload = Overload::at(self.last_end_ns, self.told.len() as u64, &self.ended());
        self.plan.judged < MOST_JUDGED && overload.is_some_and(|of| of.growth > GROWN)
    }

    fn ended(&self) -> Vec<Ended> {
        let told = self.told.iter().flatten();
        told.map(|one| Ended {
            due_ns: one.due_ns,
            end_ns: one.end_ns,
        })
        .collect()
    }

    /// Returns how many of the requests before this place are not judged. An overload may end a probe in its warm-up.
    fn warmup(&self, until: usize) -> usize {
        match self.is_overloaded {
            true => self.plan.warmup.min(until / 2),
            false => self.plan.warmup,
        }
    }

    pub fn told(&self) -> impl Iterator<Item = &Told> + Clone {
        self.told.iter().flatten()
    }

    /// Judges the probe; all its requests have ended.
    pub fn judge(&self) -> Judged {
        let until = match self.is_overloaded {
            true => self.told.len(),
            false => self.prefix.min(self.plan.warmup + self.plan.judged),
        };
        let (seen, interval) = self.interval(until);
        let requests = until.saturating_sub(self.warmup(until)) as u64;
        let outcome = match interval {
            _ if self.is_overloaded => Outcome::Overload,
            Some((low, _)) if low > self.target => Outcome::Pass,
            Some((_, high)) if high < self.target => Outcome::Fail,
            _ => Outcome::Unclear,
        };
        Judged {
            outcome,
            requests,
            attainment: seen.map(|seen| seen.met / seen.judged),
            interval,
            seen,
        }
    }

    /// Returns the attainment of the judged requests before this place, and its 95 % interval: Wilson's, of the number
    /// of requests divided by their design effect.
    fn interval(&self, until: usize) -> (Option<Seen>, Option<(f64, f64)>) {
        let judged = self.told.get(self.warmup(until)..until).unwrap_or_default();
        let is_met = |one: &Option<Told>| one.is_some_and(|one| one.is_met);
        let met = judged.iter().filter(|one| is_met(one)).count() as f64;
        let n = judged.len() as f64;
        if judged.is_empty() {
            return (None, None);
        }
        let p = met / n;
        let deviations: Vec<f64> = judged
            .iter()
            .map(|one| f64::from(u8::from(is_met(one))) - p)
            .collect();
        let misses = (n - met).min(met);
        let measured = standard_error(&deviations)
            .filter(|_| misses > 0.0)
            .map(|error| error.powi(2) / (n * p * (1.0 - p)));
        let seen = Seen {
            rate_per_s: self.plan.rate_per_s,
            judged: n,
            met,
            expected: self.plan.design,
            measured,
            is_overload: self.is_overloaded,
        };
        let design = measured.map_or(self.plan.design, |measured| {
            let weight = misses.min(MOST_WEIGHT);
            (measured * weight + self.plan.design * EXPECTED_WEIGHT) / (weight + EXPECTED_WEIGHT)
        });
        (Some(seen), Some(wilson(p, n / design.max(1.0))))
    }
}

fn wilson(p: f64, n: f64) -> (f64, f64) {
    let square = T * T;
    let centre = (p + square / (2.0 * n)) / (1.0 + square / n);
    let half = T * (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt() / (1.0 + square / n);
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        rate_per_s: 10.0,
        warmup: 10,
        judged: 100,
        design: 40.0,
    };

    fn told(place: u64, is_met: bool) -> Told {
        let due_ns = place * 100_000_000;
        Told {
            send_ns: due_ns,
            due_ns,
            end_ns: due_ns + 50_000_000,
            ttft_ns: None,
            latency_ns: 50_000_000,
            is_failed: false,
            is_met,
        }
    }

    #[test]
    fn an_interval_is_that_worked_by_hand() {
        // The square of 2.093 is 4.3806. The centre is (0.95 + 4.3806 / 800) / (1 + 4.3806 / 400) = 0.945125, and half the
        // width 2.093 √(0.0475 / 400 + 4.3806 / 640000) / 1.0109515 = 0.023202.
        let (low, high) = wilson(0.95, 400.0);
        assert!((low - 0.921_923).abs() < 1e-5 && (high - 0.968_327).abs() < 1e-5);
    }

    #[test]
    fn requests_are_judged_in_the_order_of_their_sends_behind_the_warm_up() {
        let mut open = Open::new(PLAN, 0.95);
        // The warm-up misses; of the hundred behind it the last misses; those behind are not judged.
        for place in (0..130).filter(|place| *place != 60) {
            open.tell(place, told(place as u64, (10..109).contains(&place)));
            assert!(open.goes_on(place as u64 + 1), "{place} has not been told");
        }
        open.tell(60, told(60, true));
        assert!(!open.goes_on(131));
        let judged = open.judge();
        assert_eq!((judged.requests, judged.attainment), (100, Some(0.99)));
        assert_eq!(judged.outcome, Outcome::Unclear);
    }

    #[test]
    fn a_probe_that_misses_clearly_ends_early() {
        let mut open = Open::new(
            Plan {
                design: 4.0,
                ..PLAN
            },
            0.95,
        );
        let place = (0..110).find(|place| {
            open.tell(*place, told(*place as u64, place % 2 == 0));
            !open.goes_on(*place as u64 + 1)
        });
        // The first look is behind the warm-up and 2.5 design effects.
        assert!(
            place.is_some_and(|place| (19..60).contains(&place)),
            "{place:?}"
        );
        assert_eq!(open.judge().outcome, Outcome::Fail);
    }

    /// Request k is due at 0.1 k s; requests take 50 ms and `growing` ms more each.
    fn verified(growing: u64) -> Open {
        let mut open = Open::verifying(PLAN, 0.95);
        let sent = (0..).find(|&place| {
            let one = told(place as u64, true);
            let latency_ns = one.latency_ns + place as u64 * growing * 1_000_000;
            let end_ns = one.due_ns + latency_ns;
            open.tell(
                place,
                Told {
                    latency_ns,
                    end_ns,
                    ..one
                },
            );
            !open.goes_on(place as u64 + 1)
        });
        assert!(sent.is_some());
        open
    }

    #[test]
    fn a_verification_goes_on_while_its_latencies_grow() {
        let steady = verified(0);
        assert_eq!((steady.judge().requests, steady.has_waited()), (100, false));
        // They double from the first half to the second, and go on to do so: 150, 225, 337, … up to the most.
        let growing = verified(2);
        assert!(growing.has_waited());
        assert_eq!(growing.judge().requests, 4000);
    }

    #[test]
    fn an_overload_within_the_warm_up_is_judged_by_its_second_half() {
        let plan = Plan {
            warmup: 1000,
            ..PLAN
        };
        let mut open = Open::new(plan, 0.95);
        // Request k is due at 0.1 k s and ends at 0.2 (k + 1) s: by each send, half of those before have ended.
        let mut told_until = 0;
        let sent = (0..1000).find(|sent| {
            while 2 * (told_until + 1) <= *sent {
                let end_ns = (told_until as u64 + 1) * 200_000_000;
                open.tell(
                    told_until,
                    Told {
                        end_ns,
                        ..told(told_until as u64, false)
                    },
                );
                told_until += 1;
            }
            !open.goes_on(*sent as u64)
        });
        let sent = sent.expect("an overload");
        for place in told_until..sent {
            open.tell(place, told(place as u64, false));
        }
        let judged = open.judge();
        assert_eq!(judged.outcome, Outcome::Overload);
        assert_eq!(judged.requests, (sent - sent / 2) as u64);
        assert_eq!(judged.attainment, Some(0.0));
        assert!(judged.seen.is_some());
    }
}
