//! The whole search against simulated servers over hundreds of seeds, ladder, overload rule and tails included, and the
//! overload rule on finished passes. `make verdict-sim` prints the tables.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::thread;

use fastrand::Rng;

use super::open::{Open, Plan};
use super::told::Told;
use super::{Ask, DOWN, FindRate, Settings};
use crate::sample::Sample;
use crate::stats::find_rate::{Findings, Kind, Outcome, Probe, Status};
use crate::stats::goodput::Slo;
use crate::stats::overload::Overload;
use crate::stats::record::Record;

/// Threads of the client.
const MOST_IN_FLIGHT: u64 = 256;
const BUDGET: u64 = 20_000;
const TARGET: f64 = 0.95;
/// Nanoseconds: whole numbers can be compared.
const S: f64 = 1e9;

/// The server to simulate.
#[derive(Clone, Copy)]
enum Model {
    /// Slots, each of which serves one request at a time for a log-normal time of mean 1 s; first come, first served.
    Slots { slots: usize, sigma: f64 },
    /// An engine with continuous batching: a step makes one token for each of up to `batch` requests, and takes the
    /// longer the more there are. The prefill of a new request holds up all others. Replies have a log-normal number of
    /// tokens of mean 200.
    Engine { batch: usize },
}

/// Time of a step: alone, and for each request of the batch; time of a prefill.
const STEP_S: f64 = 0.010;
const STEP_EACH_S: f64 = 0.0005;
const PREFILL_S: f64 = 0.030;

/// A request in a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    /// The end in nanoseconds, or for an engine the step at which it ends, in billionths.
    end: u64,
    place: u64,
    due_ns: u64,
    send_ns: u64,
    first_ns: u64,
    tokens: u64,
}

struct Server {
    model: Model,
    rng: Rng,
    now_ns: u64,
    /// Slots: their next free moments.
    free: BinaryHeap<Reverse<u64>>,
    running: BinaryHeap<Reverse<Job>>,
    waiting: VecDeque<Job>,
    /// Engine: billionths of steps made, and the end of the prefills that hold it up.
    steps: u64,
    held_until_ns: u64,
}

fn log_normal(rng: &mut Rng, mean: f64, sigma: f64) -> f64 {
    // The Box-Muller transform makes a normal value of two uniform ones.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    mean * (sigma * normal - sigma * sigma / 2.0).exp()
}

fn exponential(rng: &mut Rng, rate: f64) -> f64 {
    -(1.0 - rng.f64()).ln() / rate
}

impl Server {
    fn new(model: Model, now_ns: u64, seed: u64) -> Server {
        let slots = match model {
            Model::Slots { slots, .. } => slots,
            Model::Engine { .. } => 0,
        };
        Server {
            model,
            rng: Rng::with_seed(seed),
            now_ns,
            free: (0..slots).map(|_| Reverse(now_ns)).collect(),
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            steps: 0,
            held_until_ns: now_ns,
        }
    }

    /// Takes a request that is sent at `send_ns`; all ends before it have been taken.
    fn send(&mut self, place: u64, due_ns: u64, send_ns: u64) {
        let mut job = Job {
            end: 0,
            place,
            due_ns,
            send_ns,
            first_ns: 0,
            tokens: 1,
        };
        match self.model {
            Model::Slots { sigma, .. } => {
                let free_ns = self.free.pop().map_or(0, |free| free.0);
                job.first_ns = free_ns.max(send_ns);
                job.end = job.first_ns + (log_normal(&mut self.rng, 1.0, sigma) * S) as u64;
                self.free.push(Reverse(job.end));
                self.running.push(Reverse(job));
            }
            Model::Engine { .. } => {
                self.advance(send_ns);
                job.tokens = (log_normal(&mut self.rng, 200.0, 0.7) as u64).max(2);
                self.waiting.push_back(job);
                self.admit();
            }
        }
    }

    fn step_ns(&self) -> f64 {
        (STEP_S + STEP_EACH_S * self.running.len() as f64) * S
    }

    /// Makes the steps of an engine up to a moment before the next end.
    fn advance(&mut self, to_ns: u64) {
        let from_ns = self.now_ns.max(self.held_until_ns.min(to_ns));
        let steps = (to_ns - from_ns) as f64 / self.step_ns();
        self.steps += (steps * 1e9) as u64;
        self.now_ns = to_ns;
    }

    /// Begins the waiting requests that the batch of an engine has room for.
    fn admit(&mut self) {
        let Model::Engine { batch } = self.model else {
            return;
        };
        while self.running.len() < batch {
            let Some(mut job) = self.waiting.pop_front() else {
                return;
            };
            let held_ns = self.held_until_ns.max(self.now_ns) + (PREFILL_S * S) as u64;
            self.held_until_ns = held_ns;
            job.first_ns = held_ns;
            job.end = self.steps + (job.tokens - 1) * 1_000_000_000;
            self.running.push(Reverse(job));
        }
    }

    /// Returns the next end.
    fn next_end_ns(&self) -> Option<u64> {
        let job = self.running.peek()?.0;
        Some(match self.model {
            Model::Slots { .. } => job.end,
            Model::Engine { .. } => {
                let steps = job.end.saturating_sub(self.steps) as f64 / 1e9;
                self.now_ns.max(self.held_until_ns) + (steps * self.step_ns()).ceil() as u64
            }
        })
    }

    /// Takes the next end, if it is not after this moment.
    fn end(&mut self, until_ns: u64) -> Option<(u64, Sample)> {
        let end_ns = self.next_end_ns().filter(|end_ns| *end_ns <= until_ns)?;
        if let Model::Engine { .. } = self.model {
            self.advance(end_ns);
        }
        self.now_ns = end_ns;
        let job = self.running.pop()?.0;
        self.admit();
        let sample = Sample {
            t_due_ns: Some(job.due_ns),
            t_send_ns: job.send_ns,
            t_first_ns: Some(job.first_ns),
            t_last_ns: Some(end_ns),
            t_end_ns: end_ns,
            completion_tokens: Some(job.tokens),
            ..Sample::default()
        };
        Some((job.place, sample))
    }

    fn in_flight(&self) -> u64 {
        (self.running.len() + self.waiting.len()) as u64
    }
}

/// Sends requests at random times until `goes_on` says no, and tells their ends. Returns the moment of the last one. A
/// request for which no thread is free is sent late.
fn open(
    server: &mut Server,
    rate_per_s: f64,
    arrivals: &mut Rng,
    goes_on: &mut dyn FnMut(Option<(u64, Record)>, u64) -> bool,
) -> u64 {
    let mut due_ns = server.now_ns;
    let mut late: VecDeque<(u64, u64)> = VecDeque::new();
    let mut sent = 0;
    let mut is_sending = true;
    loop {
        let until_ns = if is_sending { due_ns } else { u64::MAX };
        while let Some((place, sample)) = server.end(until_ns) {
            goes_on(Some((place, Record::from(&sample))), sent);
            if let Some((place, due_ns)) = late.pop_front() {
                server.send(place, due_ns, server.now_ns);
            }
        }
        if !is_sending {
            return server.now_ns;
        }
        is_sending = goes_on(None, sent);
        if is_sending {
            match server.in_flight() < MOST_IN_FLIGHT {
                true => server.send(sent, due_ns, due_ns),
                false => late.push_back((sent, due_ns)),
            }
            sent += 1;
            due_ns += (exponential(arrivals, rate_per_s) * S) as u64;
        }
    }
}

fn search(model: Model, slo: Slo, budget_requests: u64, seed: u64) -> Findings {
    let mut machine = FindRate::new(&Settings {
        slo,
        attainment: TARGET,
        budget_requests,
        most_in_flight: MOST_IN_FLIGHT,
        seed: seed * 1000,
    });
    let mut now_ns = 0;
    let mut probes = 0;
    while let Some(ask) = machine.next() {
        probes += 1;
        assert!(probes < 200, "it does not end");
        let mut server = Server::new(model, now_ns, (seed * 1000 + probes) ^ 0x5eed);
        match ask {
            Ask::Closed {
                concurrency,
                requests,
            } => {
                let mut sent = concurrency.min(requests);
                (0..sent).for_each(|place| server.send(place, now_ns, now_ns));
                while let Some((place, sample)) = server.end(u64::MAX) {
                    now_ns = server.now_ns;
                    machine.tell(
                        place,
                        &Record::from(&Sample {
                            t_due_ns: None,
                            ..sample
                        }),
                    );
                    if sent < requests {
                        server.send(sent, now_ns, now_ns);
                        sent += 1;
                    }
                }
            }
            Ask::Open { rate_per_s, seed } => {
                let mut arrivals = Rng::with_seed(seed);
                now_ns = open(&mut server, rate_per_s, &mut arrivals, &mut |told, sent| {
                    match told {
                        Some((place, record)) => machine.tell(place, &record),
                        None => return machine.goes_on(sent),
                    }
                    true
                });
            }
        }
        machine.end_probe();
    }
    machine.findings().clone()
}

/// Returns the requests of a pass at a rate.
fn pass(model: Model, rate_per_s: f64, requests: u64, seed: u64) -> Vec<Record> {
    let mut server = Server::new(model, 0, seed);
    let mut records = Vec::new();
    let mut arrivals = Rng::with_seed(seed ^ 0xa111);
    open(&mut server, rate_per_s, &mut arrivals, &mut |told, sent| {
        records.extend(told.map(|(_, record)| record));
        sent < requests
    });
    records
}

/// Returns the attainment of a long run with some arrivals; threads are not limited in what matters.
fn attainment(model: Model, slo: Slo, rate_per_s: f64, requests: u64, seed: u64) -> f64 {
    let mut records = pass(model, rate_per_s, requests, seed);
    records.sort_unstable_by_key(|one| one.t_due_ns());
    let judged = &records[records.len() / 100..];
    let met = judged.iter().filter(|one| slo.is_met(one)).count();
    met as f64 / judged.len() as f64
}

/// Finds the highest rate by bisection over long runs, all with the same random numbers.
fn highest_rate(model: Model, slo: Slo, (mut low, mut high): (f64, f64)) -> f64 {
    for _ in 0..11 {
        let middle = (low * high).sqrt();
        let seeds = [1, 2, 3, 4];
        let shares = each(&seeds, |seed| attainment(model, slo, middle, 250_000, seed));
        match shares.iter().sum::<f64>() / 4.0 >= TARGET {
            true => low = middle,
            false => high = middle,
        }
    }
    (low * high).sqrt()
}

/// Works through the seeds on two threads.
fn each<T: Send>(seeds: &[u64], one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let one = &one;
            let seeds = seeds.iter().skip(half).step_by(2);
            scope.spawn(move || seeds.map(|seed| one(*seed)).collect::<Vec<T>>())
        });
        let halves = halves.into_iter();
        halves
            .flat_map(|half| half.join().expect("no panic"))
            .collect()
    })
}

/// The results of many searches.
struct Searches {
    truth: f64,
    all: Vec<Findings>,
}

impl Searches {
    fn new(model: Model, slo: Slo, truth: f64, seeds: u64) -> Searches {
        let seeds: Vec<u64> = (0..seeds).collect();
        Searches {
            truth,
            all: each(&seeds, |seed| search(model, slo, BUDGET, seed)),
        }
    }

    fn confirmed(&self) -> impl Iterator<Item = &Findings> {
        let all = self.all.iter();
        all.filter(|one| one.status == Status::Confirmed)
    }

    /// Relative errors of the searches that were confirmed.
    fn errors(&self) -> Vec<f64> {
        let rates = self.confirmed().filter_map(|one| one.rate_per_s);
        rates.map(|rate| rate / self.truth - 1.0).collect()
    }

    /// The share of all searches that were confirmed with such an error.
    fn share(&self, is: impl Fn(f64) -> bool) -> f64 {
        let errors = self.errors();
        errors.iter().filter(|error| is(**error)).count() as f64 / self.all.len() as f64
    }

    fn covered(&self) -> f64 {
        let holds = |one: &&Findings| {
            let (low, high) = (one.low_per_s, one.high_per_s);
            low.is_some_and(|low| low <= self.truth) && high.is_some_and(|high| self.truth <= high)
        };
        self.confirmed().filter(holds).count() as f64 / self.confirmed().count().max(1) as f64
    }

    fn line(&self, name: &str) -> String {
        let errors = self.errors();
        let n = errors.len().max(1) as f64;
        let bias = errors.iter().sum::<f64>() / n;
        let variance = errors
            .iter()
            .map(|error| (error - bias).powi(2))
            .sum::<f64>()
            / n;
        let mut requests: Vec<u64> = self.all.iter().map(|one| one.requests).collect();
        requests.sort_unstable();
        let at = |share: f64| requests[((requests.len() - 1) as f64 * share) as usize];
        let probes: usize = self.all.iter().map(|one| one.probes.len()).sum();
        let widths = self
            .confirmed()
            .filter_map(|one| Some(one.high_per_s? / one.low_per_s?));
        let width = widths.map(f64::ln).sum::<f64>() / n / 2.0;
        format!(
            "{name:26} {:6.2} {:+5.1} {:5.1} {:6.0} {:6.0} {:6.0} {:6.0} {:6.0} {:5.1} {:6} {:6} {:6} {:5.1}",
            self.truth,
            100.0 * bias,
            100.0 * variance.sqrt(),
            100.0 * self.share(|error| error.abs() <= 0.05),
            100.0 * self.share(|error| error.abs() <= 0.10),
            100.0 * self.share(|error| error > 0.05),
            100.0 * errors.len() as f64 / self.all.len() as f64,
            100.0 * self.covered(),
            100.0 * width,
            requests.iter().sum::<u64>() / requests.len() as u64,
            at(0.95),
            requests.last().copied().unwrap_or_default(),
            probes as f64 / self.all.len() as f64,
        )
    }

    /// Checks what holds for every search.
    fn check(&self) {
        for one in &self.all {
            assert!(one.requests <= BUDGET, "{} requests", one.requests);
            let sent: u64 = one.probes.iter().map(|probe| probe.sent).sum();
            assert_eq!(sent, one.requests);
            if one.status == Status::Confirmed {
                let last = one.probes.last().expect("a probe");
                assert_eq!((last.kind, last.rate_per_s), (Kind::Verify, one.rate_per_s));
                assert!(
                    last.attainment.is_some_and(|share| share >= TARGET),
                    "{last:?}"
                );
                assert_eq!(last.outcome, Outcome::Pass);
            } else {
                assert!(one.why.is_some());
            }
            let verified = one.probes.iter().filter(|probe| probe.kind == Kind::Verify);
            let verified: Vec<&Probe> = verified.collect();
            for pair in verified.windows(2) {
                assert_ne!(pair[0].outcome, Outcome::Pass);
                let (before, after) = (pair[0].rate_per_s, pair[1].rate_per_s);
                assert_eq!(after, before.map(|rate| DOWN * rate));
            }
        }
    }
}

fn wait(limit_ms: f64) -> Slo {
    Slo {
        ttft_ms: Some(limit_ms),
        ..Slo::default()
    }
}

const SIXTEEN: Model = Model::Slots {
    slots: 16,
    sigma: 0.6,
};
/// The highest rate of sixteen slots with a wait of at most 0.5 s in 95 % of the requests, by long runs.
const SIXTEEN_PER_S: f64 = 13.14;

/// The servers of the tables, with the limits and the highest rate under them, by long runs (see `highest_rate`).
fn servers() -> [(&'static str, Model, Slo, f64); 6] {
    let slots = |slots, sigma| Model::Slots { slots, sigma };
    let engine = Slo {
        itl_ms: Some(22.0),
        ..wait(1000.0)
    };
    [
        ("16 slots, sigma .6", SIXTEEN, wait(500.0), SIXTEEN_PER_S),
        ("4 slots, sigma 1.0", slots(4, 1.0), wait(500.0), 1.85),
        ("64 slots, sigma .6", slots(64, 0.6), wait(200.0), 57.48),
        ("1 slot, sigma .6", slots(1, 0.6), wait(3000.0), 0.475),
        (
            "engine, TTFT and ITL",
            Model::Engine { batch: 64 },
            engine,
            3.08,
        ),
        (
            "engine, TTFT",
            Model::Engine { batch: 32 },
            wait(1000.0),
            4.46,
        ),
    ]
}

/// Returns at which send a long probe is recognised as an overload.
fn recognised(model: Model, rate_per_s: f64, most: u64, seed: u64) -> Option<u64> {
    let plan = Plan {
        rate_per_s,
        warmup: 50,
        judged: 1_000_000,
        design: 1e9,
    };
    let mut probe = Open::new(plan, TARGET);
    let mut at = None;
    let mut server = Server::new(model, 0, seed);
    let mut arrivals = Rng::with_seed(seed ^ 0xa111);
    open(&mut server, rate_per_s, &mut arrivals, &mut |told, sent| {
        match told {
            Some((place, record)) => {
                probe.tell(place as usize, Told::new(&record, &Slo::default()));
            }
            None => {
                let goes_on = probe.goes_on(sent);
                if !goes_on && at.is_none() {
                    at = Some(sent);
                }
                return goes_on && sent < most;
            }
        }
        true
    });
    at
}

/// Returns the percentage of long probes at a rate that are recognised as overloads within 2,000 requests, the median of
/// the sends at which they are, and the percentage of finished passes of 2,000 requests.
fn overloads(model: Model, rate_per_s: f64, seeds: u64) -> (f64, u64, f64) {
    let seeds: Vec<u64> = (0..seeds).collect();
    let found = each(&seeds, |seed| recognised(model, rate_per_s, 2000, seed));
    let mut at: Vec<u64> = found.iter().flatten().copied().collect();
    at.sort_unstable();
    let passes = each(&seeds, |seed| {
        let overload = Overload::of_pass(&pass(model, rate_per_s, 2000, seed));
        overload.is_some_and(|of| of.is_overloaded())
    });
    let percent = |n: usize| 100.0 * n as f64 / seeds.len() as f64;
    let median = at.get(at.len() / 2).copied().unwrap_or(0);
    (
        percent(at.len()),
        median,
        percent(passes.iter().filter(|is| **is).count()),
    )
}

/// `make verdict-sim`.
#[test]
#[ignore = "takes a minute"]
fn verdict_sim_find_rate() {
    println!(
        "find-rate                   truth  bias    sd   in 5  in 10 high 5 confir covers width   mean   95 %    max probes"
    );
    for (name, model, slo, truth) in servers() {
        let searches = Searches::new(model, slo, truth, 240);
        searches.check();
        println!("{}", searches.line(name));
    }
}

/// `make verdict-sim`.
#[test]
#[ignore = "takes a minute"]
fn verdict_sim_overload() {
    println!("overload: % of probes within 2,000 requests, median of sends; % of passes of 2,000");
    let [first, second, third, fourth, ..] = servers();
    let of_slots = [(first, 16.0), (second, 4.0), (third, 64.0), (fourth, 1.0)];
    for ((name, model, ..), capacity) in of_slots {
        let mut line = format!("{name:22}");
        for factor in [0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 3.0] {
            let (probes, median, passes) = overloads(model, factor * capacity, 240);
            line += &format!(" | {factor} × {probes:5.1} {median:5} {passes:5.1}");
        }
        println!("{line}");
    }
}

/// Prints the highest rates that the tables compare with.
#[test]
#[ignore = "takes a minute"]
fn truth_of_the_simulated_servers() {
    for (name, model, slo, truth) in servers() {
        let found = highest_rate(model, slo, (0.9 * truth, 1.1 * truth));
        println!("{name}: {found:.3} for {truth}");
        assert!((found / truth - 1.0).abs() < 0.01);
    }
}

#[test]
fn a_search_finds_the_highest_rate_of_sixteen_slots() {
    let searches = Searches::new(SIXTEEN, wait(500.0), SIXTEEN_PER_S, 16);
    searches.check();
    let (near, high) = (
        searches.share(|error| error.abs() <= 0.10),
        searches.share(|error| error > 0.05),
    );
    // 97 % and 6 % of 240 seeds.
    assert!(near >= 0.8 && high <= 0.25, "{near} near, {high} high");
}

#[test]
fn an_overload_is_recognised_and_a_busy_server_is_none() {
    let (probes, _, passes) = overloads(SIXTEEN, 1.2 * 16.0, 40);
    assert!(probes >= 97.0 && passes >= 97.0, "{probes} {passes}");
    let (probes, _, passes) = overloads(SIXTEEN, 0.8 * 16.0, 40);
    assert!(probes <= 3.0 && passes <= 3.0, "{probes} {passes}");
}

#[test]
fn a_limit_that_no_request_meets_ends_the_search_on_the_first_rung() {
    let slo = Slo {
        latency_ms: Some(1.0),
        ..Slo::default()
    };
    let found = search(SIXTEEN, slo, BUDGET, 1);
    assert_eq!((found.status, found.requests), (Status::Unresolved, 10));
    assert_eq!(
        found.why.as_deref(),
        Some("the SLO is not met even at one request at a time: 0 of 10 requests met it")
    );
    assert_eq!((found.rate_per_s, found.low_per_s), (None, None));
}

#[test]
fn a_spent_budget_leaves_the_search_unresolved() {
    for budget in [0, 300, 1500] {
        let found = search(SIXTEEN, wait(500.0), budget, 1);
        assert!(found.requests <= budget, "{} of {budget}", found.requests);
        assert_eq!(found.status, Status::Unresolved);
        assert!(found.why.is_some());
    }
}
