//! `--max-error-rate` and `--fail-if`: what makes a run that ended well end with 1.

use super::points::Point;
use crate::cli::args::{Args, share};
use crate::cli::conditions;
use crate::error::Result;
use crate::report::load_json::{KEYS, figures};
use crate::stats::condition::Condition;
use crate::stats::load::LoadSummary;

/// Conditions that must not hold, each with the option it is from.
pub struct Limits(Vec<(String, Condition)>);

impl Limits {
    /// # Errors
    /// When a condition is none, or is about what the run does not have.
    pub fn parse(args: &mut Args, points: &[Point]) -> Result<Limits> {
        let names: Vec<String> = points.iter().map(Point::name).collect();
        let mut limits = conditions::parse(args, &KEYS, "point", &names)?;
        if let Some(rate) = args.value("--max-error-rate", share)? {
            let condition = Condition::above("error_rate", rate);
            limits.push((format!("--max-error-rate {rate}"), condition));
        }
        Ok(Limits(limits))
    }

    /// The options that were missed, each with what is wrong.
    pub fn missed(&self, points: &[Point], summaries: &[LoadSummary]) -> Vec<(&str, String)> {
        let places = points.iter().enumerate();
        let places = places.map(|(at, point)| (point.name(), summaries.get(at).map(figures)));
        conditions::missed(&self.0, &places.collect::<Vec<_>>())
    }
}
