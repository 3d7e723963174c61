//! The whole procedure, looks, last look and Holm included, against simulated servers. `make verdict-sim` prints the
//! table.
//!
//! Latencies are log-normal with a deviation of 0.35, of which 0.21 goes with the request before it (AR(1) of 0.8), under a
//! drift of 10 % and a sine of 5 % with one to three periods in the run. TTFT and ITL vary on their own.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::ops::Range;
use std::thread;

use fastrand::Rng;

use super::{Ask, Compare, Next, Settings};
use crate::sample::Sample;
use crate::stats::compare::runs::{Run, runs};
use crate::stats::compare::{Findings, Name, Verdict};
use crate::stats::facts::Facts;
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::records::Records;

const DEVIATION: f64 = 0.35;
const CORRELATION: f64 = 0.8;
const DRIFT: f64 = 0.1;
const SINE: f64 = 0.05;
const TTFT_NS: f64 = 200e6;
const ITL_NS: f64 = 10e6;
const OUTPUT_TOKENS: u64 = 20;
const MARGIN: f64 = 0.03;
const SEEDS: Range<u64> = 0..240;
/// The figures that decide by default.
const DEFAULT: [Name; 3] = [Name::TtftMean, Name::ItlMean, Name::ErrorRate];

fn normal(rng: &mut Rng) -> f64 {
    // The Box-Muller transform makes a normal value of two uniform ones.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
}

/// Logarithms of the times of a server, request after request.
struct Series {
    rng: Rng,
    last: f64,
    drift: f64,
    periods: f64,
    phase: f64,
    /// The share of the run that a request takes.
    step: f64,
    at: f64,
}

impl Series {
    fn new(seed: u64, requests: u64) -> Series {
        let mut rng = Rng::with_seed(seed);
        Series {
            last: normal(&mut rng) * DEVIATION,
            drift: normal(&mut rng) * DRIFT,
            periods: 1.0 + 2.0 * rng.f64(),
            phase: rng.f64(),
            step: 1.0 / requests as f64,
            at: 0.0,
            rng,
        }
    }

    fn next(&mut self) -> f64 {
        let rest = DEVIATION * (1.0 - CORRELATION * CORRELATION).sqrt();
        self.last = CORRELATION * self.last + rest * normal(&mut self.rng);
        let own = 0.8 * DEVIATION * normal(&mut self.rng);
        let sine = SINE * (TAU * (self.at * self.periods + self.phase)).sin();
        let slow = self.drift * self.at + sine;
        self.at += self.step;
        0.6 * self.last + own + slow
    }
}

/// One comparison: the figures that decide, the most pairs, requests in flight, and by what factors the new side is
/// slower.
#[derive(Clone)]
struct Case {
    figures: Vec<Name>,
    pairs: u64,
    concurrency: u64,
    ttft: f64,
    itl: f64,
}

impl Case {
    fn new(figures: &[Name], pairs: u64, slower: f64) -> Case {
        Case {
            figures: figures.to_vec(),
            pairs,
            concurrency: 1,
            ttft: slower,
            itl: 1.0,
        }
    }

    /// Runs the machine against two servers that share a host and its noise.
    fn run(&self, seed: u64) -> Findings {
        let mut machine = Compare::new(&Settings {
            figures: self.figures.clone(),
            margin: MARGIN,
            pairs: self.pairs,
            concurrency: self.concurrency,
            seed,
        });
        let series = |of: u64| Series::new(seed * 2 + of + 1_000_000, 2 * self.pairs);
        let (mut ttft, mut itl) = (series(0), series(1));
        let mut in_flight: BTreeMap<(u64, u64), (Ask, Record)> = BTreeMap::new();
        let (mut now_ns, mut id) = (0, 0);
        loop {
            match machine.next() {
                Next::End => return machine.findings(),
                Next::Send(ask) => {
                    let by = if ask.side == 1 {
                        (self.ttft, self.itl)
                    } else {
                        (1.0, 1.0)
                    };
                    let ttft_ns = TTFT_NS * by.0 * ttft.next().exp();
                    let itl_ns = ITL_NS * by.1 * itl.next().exp();
                    let record = reply(now_ns, ttft_ns, itl_ns);
                    in_flight.insert((record.t_end_ns(), id), (ask, record));
                    id += 1;
                }
                Next::Wait => {
                    let (_, (ask, record)) = in_flight.pop_first().expect("something is in flight");
                    now_ns = record.t_end_ns();
                    machine.tell(ask, &record);
                }
            }
        }
    }
}

fn reply(sent_ns: u64, ttft_ns: f64, itl_ns: f64) -> Record {
    let first_ns = sent_ns + ttft_ns as u64;
    let last_ns = first_ns + (itl_ns * (OUTPUT_TOKENS - 1) as f64) as u64;
    Record::from(&Sample {
        t_send_ns: sent_ns,
        t_first_ns: Some(first_ns),
        t_last_ns: Some(last_ns),
        t_end_ns: last_ns,
        prompt_tokens: Some(512),
        completion_tokens: Some(OUTPUT_TOKENS),
        ..Sample::default()
    })
}

/// The results of many seeds.
#[derive(Debug, Default)]
struct Results {
    verdicts: BTreeMap<Verdict, u64>,
    pairs: Vec<u64>,
    /// Intervals of the first deciding figure that hold the truth.
    covered: u64,
    n: u64,
}

impl Results {
    fn of(trials: &[(Findings, bool)]) -> Results {
        let mut results = Results::default();
        for (findings, is_covered) in trials {
            *results.verdicts.entry(findings.verdict).or_default() += 1;
            results.covered += u64::from(*is_covered);
            results.pairs.push(findings.sides[0].requests);
            results.n += 1;
        }
        results.pairs.sort_unstable();
        results
    }

    fn share(&self, verdict: Verdict) -> f64 {
        *self.verdicts.get(&verdict).unwrap_or(&0) as f64 / self.n as f64
    }

    /// Verdicts of a difference that there is not.
    fn alarms(&self) -> f64 {
        self.share(Verdict::Slower) + self.share(Verdict::Faster)
    }

    fn print(&self, what: &str) {
        let percent = |share: f64| format!("{:5.1} %", 100.0 * share);
        let mean = self.pairs.iter().sum::<u64>() as f64 / self.n as f64;
        println!(
            "{what:52} slower {} faster {} same {} unclear {} | requests a side {mean:6.0}, 90 % under {:5} | \
             interval right {}",
            percent(self.share(Verdict::Slower)),
            percent(self.share(Verdict::Faster)),
            percent(self.share(Verdict::Same)),
            percent(self.share(Verdict::Unclear)),
            self.pairs[(self.pairs.len() * 9 / 10).min(self.pairs.len() - 1)],
            percent(self.covered as f64 / self.n as f64),
        );
    }
}

/// Whether the interval of the first figure holds the factor.
fn covers(findings: &Findings, name: Name, factor: f64) -> bool {
    let figure = findings.figures.iter().find(|figure| figure.name == name);
    let ends = figure.and_then(|figure| figure.low.zip(figure.high));
    ends.is_some_and(|(low, high)| (low..=high).contains(&factor))
}

fn live(case: &Case, seeds: Range<u64>) -> Results {
    let trial = |seed| {
        let findings = case.run(seed);
        let truth = if case.figures[0] == Name::ItlMean {
            case.itl
        } else {
            case.ttft
        };
        let is_covered = covers(&findings, case.figures[0], truth);
        (findings, is_covered)
    };
    in_threads(seeds, |seeds| seeds.map(trial).collect())
}

/// Saved runs in the order base, new, new, base, …, whose means differ by `deviation` from run to run and by 0.02 for
/// their few requests, under a drift of 5 %.
fn saved(
    figures: &[Name],
    a_side: usize,
    deviation: f64,
    slower: f64,
    seeds: Range<u64>,
) -> Results {
    let trial = |seed| {
        let mut rng = Rng::with_seed(seed + 2_000_000);
        let drift = [0.05 * normal(&mut rng), 0.05 * normal(&mut rng)];
        let mut passes: [Vec<Pass>; 2] = [Vec::new(), Vec::new()];
        for k in 0..2 * a_side {
            let side = [0, 1, 1, 0][k % 4];
            let at = k as f64 / (2 * a_side - 1) as f64;
            let mut log = |drift: f64| drift * at + deviation.hypot(0.02) * normal(&mut rng);
            let by = if side == 1 { slower } else { 1.0 };
            let (ttft_ns, itl_ns) = (
                TTFT_NS * by * log(drift[0]).exp(),
                ITL_NS * log(drift[1]).exp(),
            );
            passes[side].push(pass(ttft_ns, itl_ns));
        }
        let [base, new] = passes.each_ref().map(|side| {
            let run = |(number, pass)| Run {
                id: "",
                number,
                pass,
            };
            side.iter().enumerate().map(run).collect::<Vec<Run>>()
        });
        // The runs of the new side come from another file.
        let new: Vec<Run> = new.iter().map(|run| Run { id: "new", ..*run }).collect();
        let findings = runs(&base, &new, figures, MARGIN);
        let is_covered = covers(&findings, Name::TtftMean, slower);
        (findings, is_covered)
    };
    in_threads(seeds, |seeds| seeds.map(trial).collect())
}

/// A run of fifty equal requests.
fn pass(ttft_ns: f64, itl_ns: f64) -> Pass {
    let mut records = Records::kept();
    let replies = (0..50).map(|k| reply(k * 1_000_000_000, ttft_ns, itl_ns));
    records.list = replies.collect::<Vec<_>>().into();
    let facts = Facts {
        concurrency: Some(1),
        ..Facts::default()
    };
    Pass::new(facts, records)
}

/// Splits the seeds among threads.
fn in_threads(
    seeds: Range<u64>,
    run: impl Fn(Range<u64>) -> Vec<(Findings, bool)> + Sync,
) -> Results {
    let middle = u64::midpoint(seeds.start, seeds.end);
    let trials = thread::scope(|scope| {
        let later = scope.spawn(|| run(middle..seeds.end));
        let mut trials = run(seeds.start..middle);
        trials.extend(later.join().expect("no trial panics"));
        trials
    });
    Results::of(&trials)
}

#[test]
#[ignore = "240 seeds of every case: make verdict-sim"]
fn verdict_sim_of_pairs() {
    let mean = [Name::TtftMean];
    let p95 = [Name::TtftP95];
    for (figures, what, pairs) in [
        (&mean[..], "ttft_mean", 400),
        (&DEFAULT, "default figures", 400),
        (&mean, "ttft_mean", 2000),
        (&DEFAULT, "default figures", 2000),
        (&p95, "ttft_p95", 1200),
        (&p95, "ttft_p95", 2000),
    ] {
        let alike = live(&Case::new(figures, pairs, 1.0), SEEDS);
        alike.print(&format!("{what}, {pairs} pairs, alike"));
        let slower = live(&Case::new(figures, pairs, 1.1), SEEDS);
        slower.print(&format!("{what}, {pairs} pairs, 10 % slower"));
        assert!(alike.alarms() <= 0.07, "{what} {pairs}");
        let least = if figures == p95 { 0.88 } else { 0.93 };
        assert!(slower.share(Verdict::Slower) >= least, "{what} {pairs}");
    }
}

#[test]
#[ignore = "240 seeds of every case: make verdict-sim"]
fn verdict_sim_of_windows() {
    for concurrency in [2, 8] {
        let pairs = super::default_pairs(concurrency);
        let case = |slower| Case {
            concurrency,
            ..Case::new(&DEFAULT, pairs, slower)
        };
        let alike = live(&case(1.0), SEEDS);
        alike.print(&format!(
            "default figures, {concurrency} in flight, {pairs} pairs, alike"
        ));
        let slower = live(&case(1.1), SEEDS);
        slower.print(&format!(
            "default figures, {concurrency} in flight, 10 % slower"
        ));
        assert!(alike.alarms() <= 0.07, "{concurrency}");
        assert!(slower.share(Verdict::Slower) >= 0.93, "{concurrency}");
    }
}

#[test]
#[ignore = "240 seeds of every case: make verdict-sim"]
fn verdict_sim_of_saved_runs() {
    for (figures, what) in [(&DEFAULT[..1], "ttft_mean"), (&DEFAULT, "default figures")] {
        for (a_side, deviation) in [(4, 0.02), (5, 0.03), (10, 0.03), (10, 0.05)] {
            let label = format!("saved, {what}, {a_side} a side, deviation {deviation}");
            let alike = saved(figures, a_side, deviation, 1.0, SEEDS);
            alike.print(&format!("{label}, alike"));
            let slower = saved(figures, a_side, deviation, 1.1, SEEDS);
            slower.print(&format!("{label}, 10 % slower"));
            assert!(alike.alarms() <= 0.07, "{label}");
            let is_named = (what, a_side) == ("ttft_mean", 5);
            assert!(
                !is_named || slower.share(Verdict::Slower) >= 0.88,
                "{label}"
            );
        }
    }
}

#[test]
fn sides_that_are_alike_are_seldom_told_apart_and_one_that_is_slower_is_found() {
    // All 240 seeds have 2.1 % of alarms, and 94.6 % are found.
    let alike = live(&Case::new(&DEFAULT, 400, 1.0), 0..30);
    assert!(alike.alarms() <= 0.15, "{:?}", alike.verdicts);
    let slower = live(&Case::new(&DEFAULT, 400, 1.1), 0..30);
    assert!(
        slower.share(Verdict::Slower) >= 0.8,
        "{:?}",
        slower.verdicts
    );
}

#[test]
fn a_fifth_more_is_found_in_windows_of_requests_in_flight_together() {
    let case = Case {
        concurrency: 4,
        ..Case::new(&DEFAULT, 1600, 1.2)
    };
    let slower = live(&case, 0..6);
    assert!(
        slower.share(Verdict::Slower) >= 0.8,
        "{:?}",
        slower.verdicts
    );
}

#[test]
fn saved_runs_that_are_alike_are_seldom_told_apart_and_slower_ones_are_found() {
    let mean = [Name::TtftMean];
    let alike = saved(&mean, 5, 0.03, 1.0, 0..60);
    assert!(alike.alarms() <= 0.12, "{:?}", alike.verdicts);
    let slower = saved(&mean, 5, 0.03, 1.1, 0..60);
    assert!(
        slower.share(Verdict::Slower) >= 0.75,
        "{:?}",
        slower.verdicts
    );
}
