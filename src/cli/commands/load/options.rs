//! The options of `load`, as typed and checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use super::limits::Limits;
use super::outputs::Outputs;
use super::points::Point;
use crate::cli::args::{Args, above_zero, at_least_one, share};
use crate::cli::slo;
use crate::error::{Error, Result};
use crate::plan::arrival::Burstiness;
use crate::plan::groups::Shared;
use crate::plan::lengths::Length;
use crate::stats::goodput::Slo;
use crate::units::{parse_count, parse_number};

const REQUESTS: u64 = 50;
const CONCURRENCY: u64 = 5;
const MAX_TOKENS: u64 = 100;
const INPUT_TOKENS: u64 = 128;
const REPEAT_RATIO: f64 = 0.3;
const WARMUP: u64 = 5;
const MAX_INFLIGHT: u64 = 256;

/// What is sent, when, and what is made of it.
pub struct Options {
    pub points: Vec<Point>,
    pub prompts: Prompts,
    /// Of each point; `None`: the duration decides.
    pub requests: Option<u64>,
    pub duration: Option<Duration>,
    pub warmup: u64,
    pub burstiness: Burstiness,
    /// Of a trace, as a multiple of its own.
    pub speed: f64,
    /// Threads of an open loop.
    pub max_inflight: u64,
    pub slo: Option<Slo>,
    pub limits: Limits,
    pub outputs: Outputs,
    pub seed: u64,
    pub nonce: String,
}

/// Where prompts and the lengths of answers come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompts {
    Made {
        input: Length,
        output: Length,
        shared: Option<Shared>,
        repeat_ratio: f64,
    },
    Dataset {
        path: PathBuf,
        output: Length,
        repeat_ratio: f64,
    },
    Trace(PathBuf),
}

impl Options {
    pub fn parse(args: &mut Args) -> Result<Options> {
        let prompts = prompts(args)?;
        let points = points(args, &prompts)?;
        let is_open = points.iter().any(Point::is_open);
        let (requests, duration) = extent(args, &prompts)?;
        let burstiness = only_for(
            args.value("--burstiness", Burstiness::parse)?,
            points.iter().any(|point| matches!(point, Point::Rate(_))),
            "--burstiness",
            "--rate",
        )?;
        let speed = only_for(
            args.value("--speed", speed)?,
            matches!(prompts, Prompts::Trace(_)),
            "--speed",
            "--trace",
        )?;
        let max_inflight = only_for(
            args.value("--max-inflight", at_least_one)?,
            is_open,
            "--max-inflight",
            "--rate or --trace; in a closed loop --concurrency says how many",
        )?;
        let slo = args.text("--slo-file")?;
        let random = || format!("{:08x}", fastrand::u32(..));
        Ok(Options {
            limits: Limits::parse(args, &points)?,
            outputs: Outputs::parse(args)?,
            prompts,
            points,
            requests,
            duration,
            warmup: args.value("--warmup", parse_count)?.unwrap_or(WARMUP),
            burstiness: burstiness.unwrap_or(Burstiness::Shape(1.0)),
            speed: speed.unwrap_or(1.0),
            max_inflight: max_inflight.unwrap_or(MAX_INFLIGHT),
            slo: slo.as_deref().map(slo::read).transpose()?,
            seed: args.value("--seed", parse_count)?.unwrap_or(0),
            nonce: args.text("--nonce")?.unwrap_or_else(random),
        })
    }

    /// The most requests at once, and the option that says so.
    pub fn most_in_flight(&self) -> (&'static str, u64) {
        let closed = self.points.iter().filter_map(|point| match point {
            Point::Concurrency(n) => Some(*n),
            Point::Rate(_) | Point::Trace => None,
        });
        match closed.max() {
            Some(most) => ("--concurrency", most),
            None => ("--max-inflight", self.max_inflight),
        }
    }

    /// Requests from the first use of a prompt to a repeat of it, so that the reply can be there: as many as are in
    /// flight, or in an open loop as are due in a second.
    pub fn gap(&self, point: Point) -> u64 {
        match point {
            Point::Concurrency(n) => n,
            Point::Rate(rate) => (rate.ceil() as u64).max(CONCURRENCY).min(self.max_inflight),
            Point::Trace => 1,
        }
    }

    /// Requests at once of a point.
    pub fn in_flight(&self, point: Point) -> u64 {
        match point {
            Point::Concurrency(n) => n,
            Point::Rate(_) | Point::Trace => self.max_inflight,
        }
    }
}

/// An option that means something only beside another one.
fn only_for<T>(value: Option<T>, is_there: bool, flag: &str, other: &str) -> Result<Option<T>> {
    if value.is_some() && !is_there {
        return Err(Error::input(flag, format!("only with {other}")));
    }
    Ok(value)
}

fn not_together(flag: &str, other: &str) -> Error {
    Error::input(flag, format!("not together with {other}"))
}

fn prompts(args: &mut Args) -> Result<Prompts> {
    let dataset = args.text("--dataset")?;
    let trace = args.text("--trace")?;
    let input = args.value("--input-tokens", Length::parse)?;
    let shared = shared(args, input.unwrap_or(Length::Fixed(INPUT_TOKENS)).least())?;
    let max_tokens = args.value("--max-tokens", at_least_one)?;
    let output = args.value("--output-tokens", Length::parse)?;
    let ratio = args.value("--repeat-ratio", share)?;
    let brought = match (&dataset, &trace) {
        (Some(_), Some(_)) => return Err(not_together("--dataset", "--trace")),
        (Some(_), None) => Some("--dataset"),
        (None, Some(_)) => Some("--trace"),
        (None, None) => None,
    };
    if let Some(brought) = brought {
        let made = [
            (input.is_some(), "--input-tokens"),
            (shared.is_some(), "--shared-prefix-tokens"),
        ];
        if let Some((_, flag)) = made.into_iter().find(|(is_given, _)| *is_given) {
            return Err(not_together(flag, brought));
        }
    }
    if max_tokens.is_some() && output.is_some() {
        return Err(not_together("--max-tokens", "--output-tokens"));
    }
    let fixed = max_tokens.unwrap_or(MAX_TOKENS);
    if let Some(path) = trace {
        let own = [
            (max_tokens.is_some(), "--max-tokens"),
            (output.is_some(), "--output-tokens"),
            (ratio.is_some(), "--repeat-ratio"),
        ];
        if let Some((_, flag)) = own.into_iter().find(|(is_given, _)| *is_given) {
            return Err(Error::input(
                flag,
                "not together with --trace, which says so for each request",
            ));
        }
        return Ok(Prompts::Trace(path.into()));
    }
    let output = output.unwrap_or(Length::Fixed(fixed));
    Ok(match dataset {
        // Its records are there to be sent once each.
        Some(path) => Prompts::Dataset {
            path: path.into(),
            output,
            repeat_ratio: ratio.unwrap_or(0.0),
        },
        None => Prompts::Made {
            input: input.unwrap_or(Length::Fixed(INPUT_TOKENS)),
            output,
            shared,
            repeat_ratio: ratio.unwrap_or(REPEAT_RATIO),
        },
    })
}

fn shared(args: &mut Args, shortest: u64) -> Result<Option<Shared>> {
    let tokens = args.value("--shared-prefix-tokens", at_least_one)?;
    let groups = args.value("--groups", at_least_one)?;
    let groups = only_for(
        groups,
        tokens.is_some(),
        "--groups",
        "--shared-prefix-tokens",
    )?;
    let shared = tokens.map(|tokens| Shared {
        tokens,
        groups: groups.unwrap_or(1),
    });
    if let Some(shared) = shared {
        shared.check(shortest)?;
    }
    Ok(shared)
}

fn points(args: &mut Args, prompts: &Prompts) -> Result<Vec<Point>> {
    let concurrency = args.list("--concurrency", at_least_one)?;
    let rates = args.list("--rate", rate)?;
    let is_trace = matches!(prompts, Prompts::Trace(_));
    let points: Vec<Point> = match (concurrency.is_empty(), rates.is_empty(), is_trace) {
        (false, false, _) => return Err(not_together("--concurrency", "--rate")),
        (false, _, true) => {
            let why = "not together with --trace, which says when requests are due; --max-inflight limits them";
            return Err(Error::input("--concurrency", why));
        }
        (_, false, true) => {
            let why =
                "not together with --trace, which says when requests are due; --speed changes it";
            return Err(Error::input("--rate", why));
        }
        (true, true, true) => vec![Point::Trace],
        (true, true, false) => vec![Point::Concurrency(CONCURRENCY)],
        (false, true, false) => concurrency.into_iter().map(Point::Concurrency).collect(),
        (true, false, false) => rates.into_iter().map(Point::Rate).collect(),
    };
    for (at, point) in points.iter().enumerate() {
        if points[..at].contains(point) {
            let (flag, value) = point.option();
            let why = "the same point twice; its figures have the same name";
            return Err(Error::input(format!("{flag} {value}"), why));
        }
    }
    Ok(points)
}

/// How much of a plan is sent: a number of requests, or what a duration lets out.
fn extent(args: &mut Args, prompts: &Prompts) -> Result<(Option<u64>, Option<Duration>)> {
    let requests = args.value("--requests", at_least_one)?;
    let duration = args.value("--duration", above_zero)?;
    if duration.is_some() && requests.is_some() {
        return Err(not_together("--duration", "--requests"));
    }
    let is_made = matches!(prompts, Prompts::Made { .. });
    if duration.is_some() && matches!(prompts, Prompts::Trace(_)) {
        let why = "not together with --trace, which has an end; --requests takes its first ones";
        return Err(Error::input("--duration", why));
    }
    let by_default = (is_made && duration.is_none()).then_some(REQUESTS);
    Ok((requests.or(by_default), duration))
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        rate if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("want 0.001 to 100000 requests a second".to_string()),
    }
}

fn speed(text: &str) -> std::result::Result<f64, String> {
    match parse_number(text)? {
        speed if (0.001..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("want 0.001 to 100000 times the trace's own".to_string()),
    }
}
