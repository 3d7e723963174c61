//! Two servers, compared by requests that go to both in turn.

use std::sync::Arc;

use serde_json::{Value, json};

use super::end::finish;
use super::options::{Options, nothing_to_compare};
use crate::cli::args::{Args, at_least_one};
use crate::cli::checks;
use crate::cli::commands::load::{self, Plans, Way, prompts};
use crate::cli::commands::mock;
use crate::cli::connect::{Connection, Opened, Server};
use crate::cli::discover::{Ready, announce};
use crate::cli::feedback::Feedback;
use crate::cli::output::Samples;
use crate::cli::run::Run;
use crate::cli::step::Sending;
use crate::cli::terminal::print;
use crate::cli::verdict::verdict;
use crate::error::Result;
use crate::experiment::compare::{Ask, Compare, Next, Settings, Status, default_pairs, window};
use crate::mock::Options as MockOptions;
use crate::plan::requests::{Batch, Plan};
use crate::plan::{Session, Turn};
use crate::sample::{Labels, Sample, Side};
use crate::stats::compare::Findings;
use crate::stats::facts::Facts;
use crate::stats::record::Record;
use crate::stats::records::Records;
use crate::units::counted;

const SIDES: [Side; 2] = [Side::Base, Side::New];

/// The options of a live comparison alone.
struct Live {
    load: load::Options,
    concurrency: u64,
    /// Most pairs of requests.
    pairs: u64,
    /// The options of the mocks in this process, as typed.
    mock: Option<String>,
    against_mock: Option<String>,
    against_api_key_file: Option<String>,
}

pub fn run(args: &Args, options: &Options) -> Result<u8> {
    let (base, new) = (Server::parse(args, None)?, other_server(args)?);
    let (base, new) = (
        Connection::parse(args, base)?,
        Connection::against(args, new)?,
    );
    let live = Live::parse(args)?;
    let what = format!("--concurrency {}", live.concurrency);
    let has_mock = base.is_mock() || new.is_mock();
    checks::in_flight(&what, live.concurrency.saturating_mul(2), has_mock)?;
    let source = prompts::source(&live.load)?;
    options.check_files()?;
    let (base, mut new) = (base.open()?, new.open()?);
    // All stamps of a run are on one clock.
    new.link.epoch = base.link.epoch;
    let ready = |opened: Opened| {
        announce(&opened)?;
        let model = prompts::model(&opened)?;
        prompts::ready(opened, &model, &live.load, &source, SIDES[0].name())
    };
    let (mut base, new) = (ready(base)?, ready(new)?);
    base.is_against_mock = new.is_mock();
    let plans = Plans::new(source, &live.load, &base);
    print(&specification(options, &live, &base, &new))?;
    let samples = Samples::named(options.samples.as_ref(), true);
    let mut run = Run::begin(&base, header(options, &live, &new), &samples)?;
    run.against = Some(Arc::clone(&new.target));
    warm_up(&mut run, &live, &plans.warmup)?;
    let mut findings = compare(&mut run, options, &live, &plans.measured)?;
    for (side, ready) in findings.sides.iter_mut().zip([&base, &new]) {
        side.name = match ready.opened.mock {
            Some(_) => "mock in this process".to_string(),
            None => ready.opened.endpoint.shown_url(""),
        };
        side.model.clone_from(&ready.target.body.model);
    }
    run.log
        .write(|file| file.write_series("compare", &findings));
    let ending = finish(&mut run.report, &mut run.log, &findings, options)?;
    verdict(&run, ending)
}

/// Returns the server that the endpoint is compared with.
fn other_server(args: &Args) -> Result<Server> {
    match (args.text("--against"), args.text("--against-mock")) {
        (Some(url), _) => Ok(Server::Url(url)),
        (None, Some(list)) => {
            let options = mock::options("--against-mock", MockOptions::default(), &list)?;
            Ok(Server::Mock(Box::new(options)))
        }
        (None, None) => Err(nothing_to_compare()),
    }
}

impl Live {
    fn parse(args: &Args) -> Result<Live> {
        let concurrency = args.value("--concurrency", at_least_one)?.unwrap_or(1);
        let pairs = args.value("--pairs", at_least_one)?;
        Ok(Live {
            load: load::Options::of_experiment(args, Way::Concurrency(concurrency))?,
            concurrency,
            pairs: pairs.unwrap_or_else(|| default_pairs(concurrency)),
            mock: args.text("--mock").as_deref().map(mock::shown_list),
            against_mock: args.text("--against-mock").as_deref().map(mock::shown_list),
            against_api_key_file: args.text("--against-api-key-file"),
        })
    }

    fn settings(&self, options: &Options) -> Settings {
        Settings {
            figures: options.figures.clone(),
            margin: options.margin,
            pairs: self.pairs,
            concurrency: self.concurrency,
            seed: self.load.common.seed,
        }
    }
}

fn specification(options: &Options, live: &Live, base: &Ready, new: &Ready) -> String {
    let [shown, against] = [base, new].map(|ready| ready.opened.endpoint.shown());
    let turns = match live.concurrency {
        1 => "one request to each, in random order".to_string(),
        n => format!(
            "{} requests to each, {n} in flight, in random order",
            window(n)
        ),
    };
    let warmup = match live.load.warmup {
        0 => String::new(),
        n => format!("Warm-up: {} to each, in no figure\n", counted(n, "request")),
    };
    format!(
        "\nCompare: {shown} (base) with {against} (new)\nIn turn: {turns}; at most {}\n\
         Decides: {}; a change of less than {} % counts as none\n{warmup}Prompts: {}\n{}",
        counted(live.pairs, "pair"),
        options.names().join(", "),
        options.margin * 100.0,
        prompts::prompts(&live.load),
        base.lines("")
    )
}

/// Returns the run's options for the header.
fn header(options: &Options, live: &Live, new: &Ready) -> Value {
    let url = new.opened.endpoint.shown_url("");
    let mut header = options.header();
    for (key, value) in [
        ("against", json!(live.against_mock.is_none().then_some(url))),
        ("mock", json!(live.mock)),
        ("against_mock", json!(live.against_mock)),
        ("against_api_key_file", json!(live.against_api_key_file)),
        ("against_model", json!(new.target.body.model)),
        ("pairs", json!(live.pairs)),
        ("concurrency", json!(live.concurrency)),
        ("warmup", json!(live.load.warmup)),
        ("prompts", prompts::prompts_header(&live.load)),
    ] {
        header[key] = value;
    }
    header
}

/// Sends the warm-up requests of both sides in turn.
fn warm_up(run: &mut Run, live: &Live, plan: &Plan) -> Result<()> {
    let requests = live.load.warmup;
    let mut sides = Turns::new(plan, live, "warmup", run.next_id);
    let asks = (0..requests).flat_map(|pair| [0, 1].map(|side| Ask { side, pair }));
    let turns = asks.filter_map(move |ask| sides.turn(ask));
    let (label, records) = ("Warm-up".to_string(), Records::kept());
    run.warm_up(label, 2 * requests, live.concurrency, records, turns)?;
    Ok(())
}

/// Sends pairs until the comparison is clear or over, and returns what it found.
fn compare(run: &mut Run, options: &Options, live: &Live, plan: &Plan) -> Result<Findings> {
    let feedback = Feedback::new(&run.stop);
    let step = feedback.step(live.concurrency);
    let mut driver = Driver {
        machine: Compare::new(&live.settings(options)),
        turns: Turns::new(plan, live, "pair", run.next_id),
        feedback,
    };
    let sent = run.pass(step, Sending::Closed(Box::new(&mut driver)))?;
    driver.take_all();
    if run.stop.is_set() {
        driver
            .machine
            .stop(sent.facts.ended.as_deref().unwrap_or_default());
    }
    let facts = Facts {
        concurrency: Some(live.concurrency),
        ..sent.facts
    };
    run.end_pass(facts, sent.records);
    Ok(driver.machine.findings())
}

/// The requests of both sides: those of a pair have the same lengths and different texts.
struct Turns<'a> {
    sides: [Box<dyn Iterator<Item = Turn> + 'a>; 2],
    first_id: u64,
}

impl<'a> Turns<'a> {
    fn new(plan: &'a Plan, live: &Live, name: &str, first_id: u64) -> Turns<'a> {
        let sides = SIDES.map(|side| {
            let batch = Batch {
                name: format!("{name}/{}", side.name()),
                requests: None,
                gap: live.concurrency,
                first_id: 0,
                labels: Labels {
                    concurrency: Some(live.concurrency),
                    side: Some(side),
                    ..Labels::default()
                },
            };
            Box::new(plan.turns(&batch)) as Box<dyn Iterator<Item = Turn> + 'a>
        });
        Turns { sides, first_id }
    }

    /// Makes the next request of a side; pairs are asked for in their order.
    fn turn(&mut self, ask: Ask) -> Option<Turn> {
        let turn = self.sides[ask.side].next()?;
        let id = self.first_id + 2 * ask.pair + ask.side as u64;
        Some(Turn { id, ..turn })
    }

    /// Returns what a sample of these requests was asked for.
    fn ask(&self, sample: &Sample) -> Ask {
        let place = sample.id.saturating_sub(self.first_id);
        Ask {
            side: (place % 2) as usize,
            pair: place / 2,
        }
    }
}

/// Sends the requests of a comparison, and tells it of the replies.
struct Driver<'a> {
    machine: Compare,
    turns: Turns<'a>,
    feedback: Feedback,
}

impl Driver<'_> {
    fn tell(&mut self, sample: &Sample) {
        self.machine
            .tell(self.turns.ask(sample), &Record::from(sample));
        self.feedback.show(status(&self.machine.status()));
    }

    fn take_all(&mut self) {
        let come: Vec<Sample> = self.feedback.come().collect();
        come.iter().for_each(|sample| self.tell(sample));
    }
}

impl Iterator for Driver<'_> {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        loop {
            self.take_all();
            match self.machine.next() {
                Next::Send(ask) => return self.turns.turn(ask).map(Session::single),
                Next::Wait => {
                    let sample = self.feedback.wait()?;
                    self.tell(&sample);
                }
                Next::End => return None,
            }
        }
    }
}

fn status(of: &Status<'_>) -> String {
    let deciding = of.figures.iter().filter(|figure| figure.decides);
    let figures = deciding.map(|figure| {
        let (name, verdict) = (figure.name.name(), figure.verdict.name());
        match figure.ratio {
            Some(ratio) => format!(", {name} {:+.1} % ({verdict})", (ratio - 1.0) * 100.0),
            None => format!(", {name} ({verdict})"),
        }
    });
    let figures: String = figures.collect();
    format!(
        "Compare: {} of at most {} pairs{figures}",
        of.pairs, of.most
    )
}
