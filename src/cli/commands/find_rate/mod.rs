//! `tmesh-cli find-rate`: the highest rate at which an SLO holds.

mod options;

use std::time::Instant;

use serde_json::{Value, json};

use self::options::Options;
use crate::cli::args::Args;
use crate::cli::checks;
use crate::cli::commands::load::{Plans, prompts};
use crate::cli::connect::{Connection, Server};
use crate::cli::discover::{Ready, announce};
use crate::cli::feedback::Feedback;
use crate::cli::output::{self, Samples};
use crate::cli::run::Run;
use crate::cli::step::Sending;
use crate::cli::terminal::{print, print_last, stdout_screen};
use crate::cli::verdict::{Ending, verdict};
use crate::error::Result;
use crate::experiment::find_rate::{Ask, FindRate};
use crate::load::open::Due;
use crate::plan::arrival::Arrivals;
use crate::plan::requests::{Batch, Plan};
use crate::plan::{Session, Turn};
use crate::report::layout::find_rate as layout;
use crate::report::text;
use crate::sample::{Labels, Sample};
use crate::stats::facts::Facts;
use crate::stats::find_rate::{Findings, Status};
use crate::stats::record::Record;
use crate::stats::records::Records;
use crate::units::counted;

/// More arrivals than any probe sends; of so many, the first are those of a process without an end.
const ENDLESS: u64 = 1 << 32;
/// Failures from the first request on that end a search.
const MOST_FAILURES: u32 = 5;

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let server = Server::parse(args, None)?;
    let connection = Connection::parse(args, server)?;
    let options = Options::parse(args)?;
    let most = options.load.max_inflight;
    checks::in_flight(
        &format!("--max-inflight {most}"),
        most,
        connection.is_mock(),
    )?;
    let source = prompts::source(&options.load)?;
    options.load.outputs.check()?;
    let opened = connection.open()?;
    announce(&opened)?;
    let model = prompts::model(&opened)?;
    let ready = prompts::ready(opened, &model, &options.load, &source, "999")?;
    let plans = Plans::new(source, &options.load, &ready);
    print(&specification(&options, &ready))?;
    let samples = Samples::named(options.load.outputs.samples.as_ref(), true);
    let mut run = Run::begin(&ready, header(&options), &samples)?;
    warm_up(&mut run, &options, &plans.warmup)?;
    let findings = search(&mut run, &options, &plans.measured)?;
    end(run, &findings, &options)
}

fn specification(options: &Options, ready: &Ready) -> String {
    let slo = options.search.slo;
    let limits = [
        ("TTFT", slo.ttft_ms),
        ("ITL", slo.itl_ms),
        ("latency", slo.latency_ms),
    ];
    let limits = limits.into_iter();
    let limits = limits.filter_map(|(name, limit)| Some(format!("{name} below {} ms", limit?)));
    let limits: Vec<String> = limits.collect();
    let time = options
        .budget_time
        .map_or(String::new(), |time| format!(", {} s", time.as_secs_f64()));
    format!(
        "\nFind: the highest rate at which {} % of the requests have {}\nBudget: {}{time}\nPrompts: {}\n{}",
        options.search.attainment * 100.0,
        limits.join(" and "),
        counted(options.search.budget_requests, "request"),
        prompts::prompts(&options.load),
        ready.lines("")
    )
}

/// Returns the run's options for the header.
fn header(options: &Options) -> Value {
    json!({
        "slo_file": options.load.common.slo_file,
        "attainment": options.search.attainment,
        "burstiness": prompts::burstiness_header(&options.load),
        "max_inflight": options.load.max_inflight,
        "budget_requests": options.search.budget_requests,
        "budget_time_s": options.budget_time.map(|time| time.as_secs_f64()),
        "min_rate": options.min_rate,
        "warmup": options.load.warmup,
        "prompts": prompts::prompts_header(&options.load),
    })
}

fn warm_up(run: &mut Run, options: &Options, plan: &Plan) -> Result<()> {
    let turns = turns(plan, "warmup", Labels::default(), run.next_id);
    let (label, records) = ("Warm-up".to_string(), Records::kept());
    run.warm_up(label, options.load.warmup, 1, records, turns)?;
    Ok(())
}

/// Returns requests without an end; those of different names share no made prompt.
fn turns<'a>(
    plan: &'a Plan,
    name: &str,
    labels: Labels,
    first_id: u64,
) -> impl Iterator<Item = Turn> + use<'a> {
    plan.turns(&Batch {
        name: name.to_string(),
        requests: None,
        gap: labels.concurrency.unwrap_or(1),
        first_id,
        labels,
    })
}

/// Makes one probe after the other until the search ends, and returns what it found.
fn search(run: &mut Run, options: &Options, plan: &Plan) -> Result<Findings> {
    let begun = Instant::now();
    let mut driver = Driver::new(run, options);
    for round in 1.. {
        driver.check_time();
        let Some(ask) = driver.search.next() else {
            break;
        };
        let probe = Probe { ask, round };
        let labels = probe.labels();
        let requests = turns(plan, &round.to_string(), labels.clone(), run.next_id);
        driver.begin(requests, run.next_id);
        let step = driver.feedback.step(probe.in_flight(options));
        let sent = run.pass(step, probe.sending(&mut driver, options))?;
        driver.take_all();
        if run.stop.is_set() {
            let why = sent.facts.ended.as_deref();
            driver.search.stop(why.unwrap_or_default());
        }
        driver.search.end_probe();
        let facts = Facts {
            round: labels.round,
            concurrency: labels.concurrency,
            rate_per_s: labels.rate_per_s,
            ..sent.facts
        };
        run.end_pass(facts, sent.records);
        if let Some(probe) = driver.search.findings().probes.last() {
            print(&layout::line(probe))?;
        }
        if run.stop.is_set() {
            break;
        }
    }
    let mut findings = driver.search.findings().clone();
    findings.seconds = begun.elapsed().as_secs_f64();
    Ok(findings)
}

/// One probe: a pass of its own, with prompts of its own.
struct Probe {
    ask: Ask,
    round: u64,
}

impl Probe {
    fn labels(&self) -> Labels {
        let (concurrency, rate_per_s) = match self.ask {
            Ask::Closed { concurrency, .. } => (Some(concurrency), None),
            Ask::Open { rate_per_s, .. } => (None, Some(rate_per_s)),
        };
        Labels {
            round: Some(self.round),
            concurrency,
            rate_per_s,
            ..Labels::default()
        }
    }

    fn in_flight(&self, options: &Options) -> u64 {
        let concurrency = self.labels().concurrency;
        concurrency.unwrap_or(options.load.max_inflight)
    }

    fn sending<'a>(&self, driver: &'a mut Driver<'_>, options: &Options) -> Sending<'a> {
        match self.ask {
            Ask::Closed { .. } => Sending::Closed(Box::new(driver)),
            Ask::Open { rate_per_s, seed } => {
                let times = Arrivals::new(rate_per_s, options.load.burstiness, seed, ENDLESS);
                let due = times.zip(driver).map(|(due_ns, session)| Due {
                    due_ns,
                    order: None,
                    session,
                });
                Sending::Open(Box::new(due))
            }
        }
    }
}

/// Sends the requests of a search, and tells it of the replies.
struct Driver<'a> {
    search: FindRate,
    feedback: Feedback,
    /// When the budget of time is spent.
    until: Option<Instant>,
    /// The requests of the current probe, the id of the first, and how many were sent and have ended.
    turns: Box<dyn Iterator<Item = Turn> + 'a>,
    first_id: u64,
    sent: u64,
    ended: u64,
    /// Requests that have failed so far; `None`: one has succeeded.
    failures: Option<u32>,
}

impl<'a> Driver<'a> {
    fn new(run: &Run, options: &Options) -> Driver<'a> {
        Driver {
            search: FindRate::new(&options.search),
            feedback: Feedback::new(&run.stop),
            until: options.budget_time.map(|time| Instant::now() + time),
            turns: Box::new(std::iter::empty()),
            first_id: 0,
            sent: 0,
            ended: 0,
            failures: Some(0),
        }
    }

    /// Begins a probe.
    fn begin(&mut self, turns: impl Iterator<Item = Turn> + 'a, first_id: u64) {
        self.turns = Box::new(turns);
        self.first_id = first_id;
        self.sent = 0;
        self.ended = 0;
        self.feedback.show(self.search.status());
    }

    /// Ends the search when its time is over.
    fn check_time(&mut self) {
        if self.until.is_some_and(|until| Instant::now() > until) {
            self.search.stop("the budget of time is spent");
        }
    }

    fn take_all(&mut self) {
        let come: Vec<Sample> = self.feedback.come().collect();
        come.iter().for_each(|sample| self.tell(sample));
        if !come.is_empty() {
            self.feedback.show(self.search.status());
        }
    }

    fn tell(&mut self, sample: &Sample) {
        let place = sample.id.saturating_sub(self.first_id);
        self.ended += 1;
        self.search.tell(place, &Record::from(sample));
        self.note_failure(sample);
    }

    /// Ends the search if the server has answered none of its first requests.
    fn note_failure(&mut self, sample: &Sample) {
        let before = self.failures.filter(|_| sample.failure.is_some());
        self.failures = before.map(|before| before + 1);
        let failure = sample.failure.as_ref();
        if let Some(failure) = failure.filter(|_| self.failures == Some(MOST_FAILURES)) {
            let why = format!("the first {MOST_FAILURES} requests failed: {failure}");
            self.search.stop(&why);
        }
    }

    /// Whether the current probe sends another request.
    fn goes_on(&mut self) -> bool {
        self.take_all();
        // Until the first success, each request waits for the reply to the one before.
        while self.failures.is_some() && self.ended < self.sent {
            match self.feedback.wait() {
                Some(sample) => self.tell(&sample),
                None => return false,
            }
        }
        self.check_time();
        self.search.goes_on(self.sent)
    }
}

impl Iterator for Driver<'_> {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        if !self.goes_on() {
            return None;
        }
        self.sent += 1;
        self.turns.next().map(Session::single)
    }
}

/// Prints the report, writes the files, and returns the exit code.
fn end(mut run: Run, findings: &Findings, options: &Options) -> Result<u8> {
    run.log
        .write(|file| file.write_series("find_rate", findings));
    run.report.found(findings);
    let document = layout::document(&run.report);
    let path = options.load.outputs.output.as_ref();
    output::result(&mut run.log, path, &document.data);
    print_last(&format!("\n{}", text::render(&document, stdout_screen())))?;
    verdict(&run, ending(findings, options))
}

fn ending(findings: &Findings, options: &Options) -> Ending {
    let is_confirmed = findings.status == Status::Confirmed;
    let rate = findings.rate_per_s.filter(|_| is_confirmed);
    let missed = rate.zip(options.min_rate).filter(|(rate, min)| rate < min);
    let missed = missed.map(|(rate, min)| {
        (
            format!("--min-rate {min}"),
            format!("the highest rate is {rate:.3}/s"),
        )
    });
    Ending {
        missed: missed.into_iter().collect(),
        is_unclear: !is_confirmed,
        ..Ending::default()
    }
}
