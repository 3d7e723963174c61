//! `find-rate`: finds the highest rate of requests at which enough of them meet the SLO.
//!
//! A ladder in closed loop tells what the server can do at most. Then probes in open loop narrow down the rate, short
//! ones first; each is at the rate that all of them together make likely. At the end the rate is verified with other
//! arrivals and for twice as long.

mod belief;
mod found;
mod ladder;
mod open;
mod rates;
#[cfg(test)]
mod simulation;
mod told;

use self::belief::{Belief, Seen};
use self::ladder::Ladder;
use self::open::Open;
use self::rates::HIGHEST;
use self::told::Told;
use crate::stats::find_rate::{Findings, Kind, Outcome, Probe, Status};
use crate::stats::goodput::Slo;
use crate::stats::record::Record;
use crate::units::counted;

/// The search ends when the logarithm of the rate is known with this standard deviation.
const KNOWN: f64 = 0.06;
/// Probes are short while it is above this.
const VAGUE: f64 = 0.12;
/// Longer probes are above and below the likely rate in turn, so that the slope is learned: by so many logits of the
/// attainment, and at most by this in the logarithm of the rate.
const ASIDE: f64 = 0.6;
const MOST_ASIDE: f64 = 0.3;
/// The next rate after a verification that failed, as a share of the rate that failed.
const DOWN: f64 = 0.95;
/// Below this share of the closed loop's maximum the search ends, and above the highest rate.
const LOWEST: f64 = 0.02;
/// The share of the maximum from which on a rate is limited by the client, if the maximum was.
const CLIENT: f64 = 0.8;
/// The ladder takes at most this part of the budget.
const LADDER: u64 = 3;
/// The goal of a search, and its limits.
#[derive(Debug, Clone)]
pub struct Settings {
    pub slo: Slo,
    /// The share of the requests that must meet the SLO, 0..1.
    pub attainment: f64,
    /// The most requests to send in all.
    pub budget_requests: u64,
    /// The most requests that the client can have in flight.
    pub most_in_flight: u64,
    /// The seed that those of the probes follow from.
    pub seed: u64,
}

/// The next probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ask {
    /// Send so many requests, as many of them in flight as `concurrency`.
    Closed { concurrency: u64, requests: u64 },
    /// Send requests at random times (a Poisson process) until the probe does not go on.
    Open { rate_per_s: f64, seed: u64 },
}

/// The probe that is under way.
#[derive(Debug)]
enum Current {
    Closed { concurrency: u64, told: Vec<Told> },
    Open { kind: Kind, open: Open },
}

/// The machine of the whole search.
#[derive(Debug)]
pub struct FindRate {
    settings: Settings,
    findings: Findings,
    ladder: Ladder,
    /// `None` until the ladder has ended.
    belief: Option<Belief>,
    seen: Vec<Seen>,
    current: Option<Current>,
    /// Requests that the current probe has sent: all places up to the highest one that was told, or asked about.
    sent: u64,
    /// The rate of the next verification, once the search has ended.
    verify_per_s: Option<f64>,
    is_over: bool,
}

impl FindRate {
    pub fn new(settings: &Settings) -> FindRate {
        FindRate {
            settings: settings.clone(),
            findings: Findings {
                status: Status::Unresolved,
                why: None,
                rate_per_s: None,
                low_per_s: None,
                high_per_s: None,
                x_max_per_s: None,
                last_pass_per_s: None,
                first_fail_per_s: None,
                cliff: None,
                is_client_limited: false,
                target: settings.attainment,
                probes: Vec::new(),
                requests: 0,
                seconds: 0.0,
            },
            ladder: Ladder::default(),
            belief: None,
            seen: Vec::new(),
            current: None,
            sent: 0,
            verify_per_s: None,
            is_over: false,
        }
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Begins the next probe; `None` at the end.
    pub fn next(&mut self) -> Option<Ask> {
        if self.is_over {
            return None;
        }
        self.sent = 0;
        match self.belief.is_none() {
            true => self.next_rung().or_else(|| self.next_rate()),
            false => self.next_rate(),
        }
    }

    /// Takes the request at place `k` of the current probe. Requests come in any order.
    pub fn tell(&mut self, k: u64, record: &Record) {
        let Some(current) = &mut self.current else {
            return;
        };
        let told = Told::new(record, &self.settings.slo);
        self.sent = self.sent.max(k + 1);
        match current {
            Current::Closed { told: all, .. } => all.push(told),
            Current::Open { open, .. } => open.tell(k as usize, told),
        }
    }

    /// Whether the current probe goes on after it has sent so many requests. Cost: constant but for a few looks at all
    /// of them.
    pub fn goes_on(&mut self, sent: u64) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        self.sent = self.sent.max(sent);
        let is_affordable = self.findings.requests + sent < self.settings.budget_requests;
        match current {
            Current::Closed { concurrency, .. } => sent < ladder::requests(*concurrency),
            Current::Open { open, .. } => open.goes_on(sent) && is_affordable,
        }
    }

    /// Ends the current probe; all its requests have ended.
    pub fn end_probe(&mut self) {
        self.findings.requests += self.sent;
        match self.current.take() {
            Some(Current::Closed { concurrency, told }) => self.end_rung(concurrency, &told),
            Some(Current::Open { kind, open }) => self.end_open(kind, &open),
            None => {}
        }
        self.sent = 0;
    }

    /// Ends the search before its last probe, with what it has.
    pub fn stop(&mut self, why: &str) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        if self.current.is_some() {
            self.end_probe();
        }
        if self.findings.status != Status::Confirmed {
            self.findings.why = Some(why.to_string());
        }
    }

    /// Says in a few words what is under way.
    pub fn status(&self) -> String {
        let guess = self.belief.as_ref().map(|belief| {
            let (low, high) = (belief.quantile(0.025), belief.quantile(0.975));
            format!(", probably {low:.3} to {high:.3} requests/s")
        });
        let probe = match &self.current {
            Some(Current::Closed { concurrency, .. }) => format!("{concurrency} in flight"),
            Some(Current::Open { kind, open }) => {
                let verb = if *kind == Kind::Verify {
                    "verifying"
                } else {
                    "trying"
                };
                format!("{verb} {:.3} requests/s", open.plan.rate_per_s)
            }
            None => String::new(),
        };
        probe + guess.as_deref().unwrap_or_default()
    }

    fn next_rung(&mut self) -> Option<Ask> {
        let concurrency = self.ladder.next(self.settings.most_in_flight)?;
        let requests = ladder::requests(concurrency);
        // The search needs the larger part of the budget.
        if self.findings.requests + requests > self.settings.budget_requests / LADDER {
            return None;
        }
        self.current = Some(Current::Closed {
            concurrency,
            told: Vec::new(),
        });
        Some(Ask::Closed {
            concurrency,
            requests,
        })
    }

    fn end_rung(&mut self, concurrency: u64, told: &[Told]) {
        let rung = self.ladder.end(concurrency, told);
        let outcome = match rung.counts {
            true => Outcome::Counted,
            false => Outcome::Unsteady,
        };
        self.findings.probes.push(Probe {
            concurrency: Some(concurrency),
            throughput_per_s: Some(rung.throughput_per_s),
            requests: told.len() as u64,
            attainment: (!told.is_empty()).then_some(rung.attainment),
            ..found::probe(Kind::Closed, self.sent, outcome, told.iter())
        });
        self.findings.x_max_per_s = self.ladder.x_max_per_s();
        if told.is_empty() {
            return;
        }
        if told.iter().all(|one| one.is_failed) {
            self.stop("every request failed");
        } else if concurrency == 1 && is_hopeless(told, self.settings.attainment) {
            let met = told.iter().filter(|one| one.is_met).count();
            let all = counted(told.len() as u64, "request");
            self.stop(&format!(
                "the SLO is not met even at one request at a time: {met} of {all} met it"
            ));
        }
    }

    /// Begins the next probe in open loop.
    fn next_rate(&mut self) -> Option<Ask> {
        let Some(x_max) = self.ladder.x_max_per_s() else {
            self.stop("the ladder has no throughput: no rung kept its requests in flight");
            return None;
        };
        let target = self.settings.attainment;
        let ladder = &self.ladder;
        let prior = rates::prior(ladder, target, x_max);
        let plan = |rate, slope, length| rates::plan(ladder, target, rate, slope, length);
        let belief = self
            .belief
            .get_or_insert_with(|| Belief::new(prior, target));
        let (likely, slope, spread) = (belief.quantile(0.5), belief.slope, belief.spread());
        if likely < LOWEST * x_max || likely > HIGHEST * x_max {
            let not = if likely < x_max { "not " } else { "" };
            self.stop(&format!(
                "the SLO is {not}met even at {likely:.3} requests/s"
            ));
            return None;
        }
        if self.verify_per_s.is_none() && spread < KNOWN {
            // No open loop lasts above the throughput of a saturated server.
            self.verify_per_s = Some(match ladder.is_saturated {
                true => likely.min(x_max),
                false => likely,
            });
        }
        let (kind, plan) = match self.verify_per_s {
            Some(rate) => (Kind::Verify, plan(rate, slope, 2.0)),
            None if spread > VAGUE => (Kind::Open, plan(likely, slope, 0.0)),
            None => {
                let is_above = self.findings.probes.len().is_multiple_of(2);
                let aside = (ASIDE / slope).min(MOST_ASIDE) * if is_above { 1.0 } else { -1.0 };
                (Kind::Open, plan(likely * aside.exp(), slope, 1.0))
            }
        };
        let needed = (plan.warmup + plan.judged) as u64;
        if self.findings.requests + needed > self.settings.budget_requests {
            self.stop("the budget of requests is spent");
            return None;
        }
        let open = match kind {
            Kind::Verify => Open::verifying(plan, target),
            _ => Open::new(plan, target),
        };
        self.current = Some(Current::Open { kind, open });
        let probes = self.findings.probes.len() as u64;
        Some(Ask::Open {
            rate_per_s: plan.rate_per_s,
            seed: self.settings.seed.wrapping_add(probes),
        })
    }

    fn end_open(&mut self, kind: Kind, open: &Open) {
        let mut judged = open.judge();
        let rate = open.plan.rate_per_s;
        let is_whole = judged.requests as usize >= open.plan.judged;
        if kind == Kind::Verify && is_whole {
            // At the end of its length a verification is decided by the attainment itself.
            let is_met = judged.attainment >= Some(self.findings.target);
            judged.outcome = if is_met { Outcome::Pass } else { Outcome::Fail };
        } else if kind == Kind::Verify && open.has_waited() && judged.outcome == Outcome::Pass {
            judged.outcome = Outcome::Unclear;
        }
        self.findings.probes.push(Probe {
            rate_per_s: Some(rate),
            requests: judged.requests,
            attainment: judged.attainment,
            low: judged.interval.map(|(low, _)| low),
            high: judged.interval.map(|(_, high)| high),
            ..found::probe(kind, self.sent, judged.outcome, open.told())
        });
        self.seen.extend(judged.seen);
        if let Some(belief) = &mut self.belief {
            belief.learn(&self.seen);
        }
        found::conclude(&mut self.findings, self.belief.as_ref());
        if open.told().all(|one| one.is_failed) {
            self.stop("every request failed");
        }
        match judged.outcome {
            _ if kind != Kind::Verify || self.is_over => {}
            Outcome::Pass => self.confirm(rate),
            _ => self.verify_per_s = Some(DOWN * rate),
        }
    }

    /// Ends the search with a rate that was verified.
    fn confirm(&mut self, rate: f64) {
        self.is_over = true;
        let most = self.settings.most_in_flight;
        let is_client_limit = self.ladder.next(most).is_none() && !self.ladder.is_saturated;
        let x_max = self.ladder.x_max_per_s().unwrap_or(0.0);
        let found = &mut self.findings;
        found.rate_per_s = Some(rate);
        found.low_per_s = found.low_per_s.map(|low| low.min(rate));
        found.high_per_s = found.high_per_s.map(|high| high.max(rate));
        if is_client_limit && rate > CLIENT * x_max {
            let limit = counted(most, "request");
            found.is_client_limited = true;
            found.why = Some(format!(
                "the client, not the server, may be the limit: it has at most {limit} in flight"
            ));
        } else {
            found.status = Status::Confirmed;
        }
    }
}

/// Whether so many requests miss the SLO one at a time that the target is out of reach: as many or more would miss it by
/// chance in less than one of a thousand rungs.
fn is_hopeless(told: &[Told], target: f64) -> bool {
    let n = told.len() as f64;
    let missed = told.iter().filter(|one| !one.is_met).count();
    let miss = 1.0 - target;
    let mut chance = target.powf(n);
    let mut fewer = 0.0;
    for k in 0..missed {
        fewer += chance;
        chance *= (n - k as f64) / (k as f64 + 1.0) * miss / target;
    }
    missed > 0 && 1.0 - fewer < 0.001
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{FailKind, Failure, Sample};

    fn machine() -> FindRate {
        FindRate::new(&Settings {
            slo: Slo::default(),
            attainment: 0.95,
            budget_requests: 20_000,
            most_in_flight: 64,
            seed: 1,
        })
    }

    #[test]
    fn failures_on_the_first_rung_end_the_search() {
        let mut machine = machine();
        let ask = machine.next();
        let wanted = Ask::Closed {
            concurrency: 1,
            requests: 10,
        };
        assert_eq!(ask, Some(wanted));
        for k in 0..10 {
            assert!(machine.goes_on(k));
            let sample = Sample {
                t_send_ns: k * 1_000_000,
                t_end_ns: k * 1_000_000 + 500_000,
                failure: Some(Failure::new(FailKind::Connect, "refused")),
                ..Sample::default()
            };
            machine.tell(k, &Record::from(&sample));
        }
        assert!(!machine.goes_on(10));
        machine.end_probe();
        assert_eq!(machine.next(), None);
        let found = machine.findings();
        assert_eq!(found.why.as_deref(), Some("every request failed"));
        assert_eq!((found.requests, found.x_max_per_s), (10, None));
        assert_eq!(found.probes[0].outcome, Outcome::Unsteady);
    }

    #[test]
    fn a_search_that_is_stopped_is_unresolved() {
        let mut machine = machine();
        machine.next();
        machine.stop("interrupted");
        machine.stop("again");
        assert_eq!(machine.next(), None);
        assert_eq!(machine.findings().status, Status::Unresolved);
        assert_eq!(machine.findings().why.as_deref(), Some("interrupted"));
        assert!(!machine.goes_on(0));
    }

    #[test]
    fn a_target_is_out_of_reach_where_chance_does_not_explain_the_misses() {
        // Of ten requests of which one in twenty misses, four or more miss with a probability of 0.00103, five or more
        // with 0.000064.
        let told = |missed: usize| -> Vec<Told> {
            let told = (0..10).map(|k| Told {
                send_ns: 0,
                due_ns: 0,
                end_ns: 0,
                ttft_ns: None,
                latency_ns: 0,
                is_failed: false,
                is_met: k >= missed,
            });
            told.collect()
        };
        assert!(!is_hopeless(&told(0), 0.95));
        assert!(!is_hopeless(&told(4), 0.95));
        assert!(is_hopeless(&told(5), 0.95));
    }
}
