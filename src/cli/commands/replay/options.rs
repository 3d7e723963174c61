//! The options of `replay`, as typed and checked against each other.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::args::{Args, above_zero, at_least_one, share};
use crate::cli::common::Common;
use crate::cli::condition::Limits;
use crate::cli::counters::{EVERY, PageUrl};
use crate::cli::side::SideUrl;
use crate::client::endpoint::without_secrets;
use crate::error::{Error, Result};
use crate::prom::selector::Selector;
use crate::report::layout::load::KEYS;
use crate::units::{parse_number, quoted};

/// The options of `replay`: what is sent, how often, and where the results go.
pub struct Options {
    pub dataset: Source,
    pub levels: Vec<Level>,
    pub rounds: u64,
    pub shuffles: bool,
    pub live_history: bool,
    /// The shared options; each level adds its number to the nonce.
    pub common: Common,
    pub reset: Option<Reset>,
    pub max_context_tokens: Option<u64>,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub min_output_tokens: Option<u64>,
    pub temperature: f64,
    pub top_p: Option<f64>,
    pub prometheus: Prometheus,
    /// The folder of the debug logs.
    pub debug_dir: Option<PathBuf>,
    pub output_dir: PathBuf,
    pub sends_metadata: bool,
    pub keep_gaps: bool,
    pub limits: Limits,
}

/// Where the records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// So many made prompts.
    Synthetic(u64),
}

impl Source {
    fn parse(args: &Args) -> Result<Source> {
        args.apart(&[("--synthetic", "--dataset", "")])?;
        let synthetic = args.value("--synthetic", at_least_one)?;
        let file = args.text("--dataset").map(|path| Source::File(path.into()));
        file.or(synthetic.map(Source::Synthetic)).ok_or_else(|| {
            let server = match args.text("--endpoint") {
                Some(url) => format!("--endpoint {}", quoted(&without_secrets(&url))),
                None => "--backend mock".to_string(),
            };
            Error::input("--dataset", "not given; want a file of prompts").next(format!(
                "Or with 20 made prompts: tmesh-cli replay --synthetic 20 {server}"
            ))
        })
    }

    /// The path of the file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Synthetic(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Synthetic(_) => f.write_str("made prompts"),
        }
    }
}

/// A concurrency level: a number of requests in flight, and how many records are sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub concurrency: u64,
    /// `None`: all records.
    pub samples: Option<u64>,
}

/// When and how to empty the server's cache.
pub struct Reset {
    pub url: SideUrl,
    pub between_rounds: bool,
    pub between_levels: bool,
}

/// Which of the server's metrics to read.
pub struct Prometheus {
    pub url: PageUrl,
    /// The metrics that the user named, to be read beside each request.
    pub selectors: Vec<Selector>,
    pub interval: Duration,
}

impl Options {
    pub fn parse(args: &Args) -> Result<Options> {
        let dataset = Source::parse(args)?;
        let reset = reset(args)?;
        let output_dir = args.text("--output-dir");
        let levels = levels(args)?;
        let rounds = args.value("--rounds", at_least_one)?.unwrap_or(2);
        let names: Vec<String> = match args.has("--fail-if") {
            true => places(&levels, rounds).map(|(c, r)| place(c, r)).collect(),
            false => Vec::new(),
        };
        let options = Options {
            limits: Limits::parse(args, &KEYS, "round", &names)?,
            dataset,
            levels,
            rounds,
            shuffles: !args.has("--no-shuffle-round2"),
            live_history: args.has("--live-history"),
            common: common(args, reset.as_ref())?,
            reset,
            max_context_tokens: args.value("--max-context-tokens", at_least_one)?,
            max_input_tokens: args.value("--max-input-length", at_least_one)?,
            max_output_tokens: args.value("--max-output-tokens", at_least_one)?,
            min_output_tokens: args.value("--min-output-tokens", at_least_one)?,
            temperature: args.value("--temperature", parse_number)?.unwrap_or(0.0),
            top_p: args.value("--top-p", share)?,
            prometheus: prometheus(args)?,
            debug_dir: debug_dir(args)?,
            output_dir: output_dir.map_or("benchmark_results".into(), PathBuf::from),
            sends_metadata: args.has("--send-metadata"),
            keep_gaps: !args.has("--no-gaps"),
        };
        match (options.min_output_tokens, options.max_output_tokens) {
            (Some(least), Some(most)) if least > most => {
                let why = format!("more than --max-output-tokens {most}");
                Err(Error::input(format!("--min-output-tokens {least}"), why))
            }
            _ => Ok(options),
        }
    }

    /// Returns the largest number of records of any level; `None`: all.
    pub fn most_samples(&self) -> Option<u64> {
        let wanted: Option<Vec<u64>> = self.levels.iter().map(|level| level.samples).collect();
        wanted.and_then(|wanted| wanted.into_iter().max())
    }

    /// Returns the concurrency and the number of every round.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        places(&self.levels, self.rounds)
    }

    /// Returns the requested names of server metrics.
    pub fn metric_names(&self) -> Vec<&str> {
        let selectors = self.prometheus.selectors.iter();
        selectors.map(|selector| selector.asked.as_str()).collect()
    }

    pub fn most_concurrency(&self) -> u64 {
        let all = self.levels.iter().map(|level| level.concurrency);
        all.max().unwrap_or(1)
    }
}

/// Returns the levels: each number of requests in flight once, with its number of records.
fn levels(args: &Args) -> Result<Vec<Level>> {
    let mut concurrency = args.list("--concurrency", at_least_one)?;
    let samples = args.list("--num-samples", at_least_one)?;
    if concurrency.is_empty() {
        concurrency.push(1);
    }
    for (at, level) in concurrency.iter().enumerate() {
        if concurrency[..at].contains(level) {
            let why = "the same level twice; its files would have the same names";
            return Err(Error::input(format!("--concurrency {level}"), why));
        }
    }
    let (levels, numbers) = (concurrency.len(), samples.len());
    if numbers > 1 && numbers != levels {
        let why = format!(
            "{numbers} numbers for {levels} levels of --concurrency; want one, or one a level"
        );
        return Err(Error::input("--num-samples", why));
    }
    let samples = |at: usize| samples.get(at).or(samples.first()).copied();
    let levels = concurrency.into_iter().enumerate();
    let level = |(at, concurrency)| Level {
        concurrency,
        samples: samples(at),
    };
    Ok(levels.map(level).collect())
}

/// Parses the shared options. If a cache is emptied before every level, texts need no line that makes them new.
fn common(args: &Args, reset: Option<&Reset>) -> Result<Common> {
    args.apart(&[
        ("--no-nonce", "--nonce", ""),
        (
            "--shard",
            "--reset-cache-url",
            ": a shard would empty the cache of the others",
        ),
    ])?;
    let is_reset = reset.is_some_and(|reset| reset.between_levels);
    let is_exact = args.has("--no-nonce") || is_reset && !args.has("--nonce");
    let mut common = Common::parse(args)?;
    if is_exact {
        common.nonce = None;
    }
    Ok(common)
}

fn places(levels: &[Level], rounds: u64) -> impl Iterator<Item = (u64, u64)> {
    let of = move |level: &Level| {
        let concurrency = level.concurrency;
        (1..=rounds).map(move |round| (concurrency, round))
    };
    levels.iter().flat_map(of)
}

/// Returns the name of a round in conditions, with which its files begin, too.
pub fn place(concurrency: u64, round: u64) -> String {
    format!("concurrency_{concurrency}_round_{round}")
}

fn reset(args: &Args) -> Result<Option<Reset>> {
    let url = SideUrl::of_flag(args, "--reset-cache-url", "/")?;
    let between_rounds = args.has("--reset-cache-between-rounds");
    let between_levels = args.has("--reset-cache-between-concurrency");
    match url {
        Some(url) if between_rounds || between_levels => Ok(Some(Reset {
            url,
            between_rounds,
            between_levels,
        })),
        Some(url) => Err(Error::input(
            format!("--reset-cache-url {}", url.shown),
            "does not say when to reset; want --reset-cache-between-concurrency, --reset-cache-between-rounds, or both",
        )),
        None if between_rounds || between_levels => Err(Error::input(
            "--reset-cache-url",
            "not given; want one such as http://localhost:8000/reset_prefix_cache",
        )),
        None => Ok(None),
    }
}

fn prometheus(args: &Args) -> Result<Prometheus> {
    let url = PageUrl::parse(args)?;
    let mut selectors = args.list("--prometheus-metrics", Selector::parse)?;
    let mut asked = HashSet::new();
    selectors.retain(|selector| asked.insert(selector.asked.clone()));
    let interval = args.value("--prometheus-interval", above_zero)?;
    if let PageUrl::Off = url
        && let Some(flag) = ["--prometheus-metrics", "--prometheus-interval"]
            .into_iter()
            .find(|flag| args.has(flag))
    {
        return Err(Error::input(flag, "not together with --metrics-url off"));
    }
    Ok(Prometheus {
        url,
        selectors,
        interval: interval.unwrap_or(EVERY),
    })
}

fn debug_dir(args: &Args) -> Result<Option<PathBuf>> {
    let is_on = args.has("--debug");
    match args.text("--debug-log-dir") {
        Some(dir) if !is_on => {
            let what = format!("--debug-log-dir {dir}");
            Err(Error::input(what, "only with --debug"))
        }
        dir => Ok(is_on.then(|| dir.unwrap_or("debug_logs".to_string()).into())),
    }
}
