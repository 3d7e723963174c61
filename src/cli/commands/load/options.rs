//! The options of `load`, as typed and checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use super::outputs::Outputs;
use super::points::{Point, Way};
use crate::cli::args::{Args, above_zero, at_least_one, share};
use crate::cli::common::Common;
use crate::cli::condition::Limits;
use crate::cli::counters::PageUrl;
use crate::cli::discover::Ready;
use crate::cli::shard::check_in_flight;
use crate::error::{Error, Result};
use crate::plan::arrival::Burstiness;
use crate::plan::groups::Shared;
use crate::plan::lengths::Length;
use crate::plan::trace::Unit;
use crate::report::layout::load::KEYS;
use crate::units::{parse_count, parse_number};

const REQUESTS: u64 = 50;
const CONCURRENCY: u64 = 5;
const MAX_TOKENS: u64 = 100;
const INPUT_TOKENS: u64 = 128;
const REPEAT_RATIO: f64 = 0.3;
const WARMUP: u64 = 5;
/// Prompt tokens of a warm-up request in a run whose prompts are not made by the program.
const WARMUP_TOKENS: u64 = 100;
const MAX_INFLIGHT: u64 = 256;

/// Ends the message about options that a trace, which sets each answer's length, excludes.
const EACH: &str = ", which sets it for each request";

/// Options that exclude each other, with the rest of the message.
const APART: [(&str, &str, &str); 14] = [
    ("--concurrency", "--rate", ""),
    (
        "--concurrency",
        "--trace",
        ", which schedules the requests; --max-inflight limits those in flight",
    ),
    (
        "--rate",
        "--trace",
        ", which schedules the requests; --speed changes the rate",
    ),
    (
        "--duration",
        "--trace",
        ", which ends by itself; --requests N sends its first N",
    ),
    ("--duration", "--requests", ""),
    ("--dataset", "--trace", ""),
    ("--input-tokens", "--dataset", ""),
    ("--input-tokens", "--trace", ""),
    ("--shared-prefix-tokens", "--dataset", ""),
    ("--shared-prefix-tokens", "--trace", ""),
    ("--max-tokens", "--output-tokens", ""),
    ("--max-tokens", "--trace", EACH),
    ("--output-tokens", "--trace", EACH),
    ("--repeat-ratio", "--trace", EACH),
];
const ONLY_WITH: [(&str, &str); 4] = [
    ("--groups", "--shared-prefix-tokens"),
    ("--burstiness", "--rate"),
    ("--speed", "--trace"),
    ("--trace-unit", "--trace"),
];

/// The options of a run of `load`: its requests, when they go out, and where figures go.
pub struct Options {
    pub points: Vec<Point>,
    pub prompts: Prompts,
    /// Requests of each point; `None`: the duration decides.
    pub requests: Option<u64>,
    pub duration: Option<Duration>,
    pub warmup: u64,
    pub burstiness: Burstiness,
    /// The speed at which a trace is sent, as a multiple of its own.
    pub speed: f64,
    /// Number of threads of an open loop.
    pub max_inflight: u64,
    /// The server's page of metrics.
    pub page: PageUrl,
    pub common: Common,
    pub limits: Limits,
    pub outputs: Outputs,
}

/// Prompts and the lengths of their answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompts {
    pub origin: Origin,
    /// Tokens of a made prompt: the run's, or else the warm-up's.
    pub input: Length,
    pub output: Length,
    pub shared: Option<Shared>,
    pub repeat_ratio: f64,
}

impl Prompts {
    /// Whether answers end where the model ends them.
    pub fn has_own_ends(&self) -> bool {
        matches!(self.origin, Origin::Dataset(_))
    }
}

/// The source of a run's prompts.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Made,
    Dataset(PathBuf),
    /// A trace; without a unit, its format and its timestamps decide.
    Trace(PathBuf, Option<Unit>),
}

impl Options {
    pub fn parse(args: &Args) -> Result<Options> {
        args.apart(&APART)?;
        args.only_with(&ONLY_WITH)?;
        let prompts = prompts(args, REPEAT_RATIO)?;
        let ways = ways(args, &prompts.origin)?;
        let duration = args.value("--duration", above_zero)?;
        let is_limited = prompts.origin != Origin::Made || duration.is_some();
        let requests = args.value("--requests", at_least_one)?;
        let is_open = |way: &Way| !matches!(way, Way::Concurrency(_));
        if args.has("--max-inflight") && !ways.iter().any(is_open) {
            let why = "only with --rate or --trace; in a closed loop --concurrency sets how many";
            return Err(Error::input("--max-inflight", why));
        }
        let runs = args.value("--runs", at_least_one)?.unwrap_or(1);
        let speed = args.value("--speed", |text| within(text, "times the trace's own"))?;
        Ok(Options {
            requests: requests.or((!is_limited).then_some(REQUESTS)),
            duration,
            speed: speed.unwrap_or(1.0),
            ..Options::of(args, prompts, in_runs(&ways, runs))?
        })
    }

    /// Parses the options of an experiment, which decides how many requests it sends, and when. Prompts do not repeat
    /// unless the user wants them to.
    pub fn of_experiment(args: &Args, way: Way) -> Result<Options> {
        args.apart(&APART)?;
        args.only_with(&[("--groups", "--shared-prefix-tokens")])?;
        Options::of(args, prompts(args, 0.0)?, in_runs(&[way], 1))
    }

    fn of(args: &Args, prompts: Prompts, points: Vec<Point>) -> Result<Options> {
        let burstiness = args.value("--burstiness", Burstiness::parse)?;
        let max_inflight = args.value("--max-inflight", at_least_one)?;
        let names: Vec<String> = points.iter().map(Point::name).collect();
        Ok(Options {
            limits: Limits::parse(args, &KEYS, "point", &names)?,
            outputs: Outputs::parse(args, &names)?,
            prompts,
            points,
            requests: None,
            duration: None,
            warmup: args.value("--warmup", parse_count)?.unwrap_or(WARMUP),
            burstiness: burstiness.unwrap_or(Burstiness::Shape(1.0)),
            speed: 1.0,
            max_inflight: max_inflight.unwrap_or(MAX_INFLIGHT),
            page: PageUrl::parse(args)?,
            common: Common::parse(args)?,
        })
    }

    /// Returns the points of one run, without those that the other runs repeat.
    pub fn first_run(&self) -> impl Iterator<Item = &Point> {
        let is_first = |point: &&Point| point.run.is_none_or(|run| run == 1);
        self.points.iter().filter(is_first)
    }

    /// Returns how often all points are sent.
    pub fn runs(&self) -> u64 {
        let runs = self.points.iter().filter_map(|point| point.run);
        runs.max().unwrap_or(1)
    }

    pub fn limits_ttft(&self) -> bool {
        self.common.slo.is_some_and(|slo| slo.ttft_ms.is_some())
    }

    /// Checks that requests have the times that are limited.
    pub(super) fn check_streams(&self, ready: &Ready) -> Result<()> {
        if self.limits_ttft() && ready.setup.streams == Some(false) {
            let why = "a limit on ttft_ms, but the server does not stream: no request has a TTFT";
            return Err(Error::input("--slo-file", why)
                .next("Remove ttft_ms from the file and limit latency_ms instead."));
        }
        Ok(())
    }

    /// Checks that every shard has a request in flight where only a duration ends a point.
    pub fn check_shard(&self) -> Result<()> {
        let least = self.points.iter().filter_map(Point::concurrency).min();
        let Some(least) = least.filter(|_| self.duration.is_some()) else {
            return Ok(());
        };
        let shard = self.common.shard();
        check_in_flight(shard, &format!("--concurrency {least}"), least)
    }

    /// Returns the most requests at once, and the option that sets it.
    pub fn most_in_flight(&self) -> (&'static str, u64) {
        match self.points.iter().filter_map(Point::concurrency).max() {
            Some(most) => ("--concurrency", most),
            None => ("--max-inflight", self.max_inflight),
        }
    }

    /// Returns the least number of requests between the first use of a prompt and its repeat, so that the first reply
    /// can arrive: as many as are in flight, or in an open loop as many as are scheduled in a second.
    pub fn gap(&self, point: Point) -> u64 {
        match point.way {
            Way::Concurrency(n) => n,
            Way::Rate(rate) => (rate.ceil() as u64).max(CONCURRENCY).min(self.max_inflight),
            Way::Trace => 1,
        }
    }

    /// Returns a point's requests in flight.
    pub fn in_flight(&self, point: Point) -> u64 {
        point.concurrency().unwrap_or(self.max_inflight)
    }
}

fn prompts(args: &Args, repeat_ratio: f64) -> Result<Prompts> {
    let origin = match (args.text("--dataset"), args.text("--trace")) {
        (Some(path), _) => Origin::Dataset(path.into()),
        (None, Some(path)) => Origin::Trace(path.into(), args.value("--trace-unit", Unit::parse)?),
        (None, None) => Origin::Made,
    };
    let (tokens, ratio) = match origin {
        Origin::Made => (INPUT_TOKENS, repeat_ratio),
        // By default, each record is sent once.
        Origin::Dataset(_) | Origin::Trace(..) => (WARMUP_TOKENS, 0.0),
    };
    let input = args.value("--input-tokens", Length::parse)?;
    let input = input.unwrap_or(Length::Fixed(tokens));
    let max_tokens = args.value("--max-tokens", at_least_one)?;
    let output = args.value("--output-tokens", Length::parse)?;
    let groups = args.value("--groups", at_least_one)?.unwrap_or(1);
    let shared = args.value("--shared-prefix-tokens", at_least_one)?;
    let shared = shared.map(|tokens| Shared { tokens, groups });
    if let Some(shared) = shared {
        shared.check(input.least())?;
    }
    Ok(Prompts {
        origin,
        input,
        output: output.unwrap_or(Length::Fixed(max_tokens.unwrap_or(MAX_TOKENS))),
        shared,
        repeat_ratio: args.value("--repeat-ratio", share)?.unwrap_or(ratio),
    })
}

fn ways(args: &Args, origin: &Origin) -> Result<Vec<Way>> {
    let closed = args.list("--concurrency", at_least_one)?;
    let open = args.list("--rate", |text| within(text, "requests a second"))?;
    let closed = closed.into_iter().map(Way::Concurrency);
    let mut ways: Vec<Way> = closed.chain(open.into_iter().map(Way::Rate)).collect();
    if ways.is_empty() {
        ways.push(match origin {
            Origin::Trace(..) => Way::Trace,
            Origin::Made | Origin::Dataset(_) => Way::Concurrency(CONCURRENCY),
        });
    }
    for (at, way) in ways.iter().enumerate() {
        if ways[..at].contains(way) {
            let what = format!("--{}", way.name().replace('_', " "));
            let why = "the same point twice; --runs N sends each point N times";
            return Err(Error::input(what, why));
        }
    }
    Ok(ways)
}

/// Returns all points of one run after those of the other, so that the runs of a point lie far apart in time.
fn in_runs(ways: &[Way], runs: u64) -> Vec<Point> {
    let runs = (1..=runs).map(|run| (runs > 1).then_some(run));
    let of_run = |run| ways.iter().map(move |&way| Point { way, run });
    runs.flat_map(of_run).collect()
}

/// Parses a number and refuses one so small or large that it must be a slip.
fn within(text: &str, unit: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        number if (0.001..=100_000.0).contains(&number) => Ok(number),
        _ => Err(format!("want 0.001 to 100000 {unit}")),
    }
}
