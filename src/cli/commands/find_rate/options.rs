//! The options of `find-rate`.

use std::time::Duration;

use crate::cli::args::{Args, above_zero, at_least_one, percent};
use crate::cli::commands::load::{self, Way};
use crate::error::{Error, Result};
use crate::experiment::find_rate::Settings;
use crate::units::parse_number;

const ATTAINMENT: f64 = 0.95;
const BUDGET_REQUESTS: u64 = 20_000;

pub struct Options {
    pub load: load::Options,
    pub search: Settings,
    pub budget_time: Option<Duration>,
    pub min_rate: Option<f64>,
}

impl Options {
    /// # Errors
    /// Fails when an option is malformed, or there is no SLO.
    pub fn parse(args: &Args) -> Result<Options> {
        let load = load::Options::of_experiment(args, Way::Concurrency(1))?;
        let slo = load.common.slo.ok_or_else(|| {
            let why = "not given; want a YAML file of what a request must stay below";
            Error::input("--slo-file", why)
                .next("Such as the two lines: slo:, then two blanks and ttft_ms: 500")
        })?;
        let budget_requests = args.value("--budget-requests", at_least_one)?;
        let attainment = args.value("--attainment", attainment)?;
        Ok(Options {
            search: Settings {
                slo,
                attainment: attainment.unwrap_or(ATTAINMENT),
                budget_requests: budget_requests.unwrap_or(BUDGET_REQUESTS),
                most_in_flight: load.max_inflight,
                seed: load.common.seed,
            },
            load,
            budget_time: args.value("--budget-time", above_zero)?,
            min_rate: args.value("--min-rate", parse_number)?,
        })
    }
}

/// Parses a share of requests that batches can tell from all and from none.
fn attainment(text: &str) -> std::result::Result<f64, String> {
    match percent(text)? {
        share if (0.5..=0.999).contains(&share) => Ok(share),
        _ => Err("want 50% to 99.9%".to_string()),
    }
}
