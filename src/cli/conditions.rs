//! `--fail-if` as `run` and `load` take it, and the error that tells what was missed.

use serde_json::Value;

use super::args::Args;
use super::flags::nearest;
use crate::error::{Error, Result};
use crate::stats::condition::Condition;

/// Of one place: keys and values.
type Figures<const N: usize> = [(&'static str, Value); N];

/// Each condition with the option as typed; `keys` are the figures that there are, `places` whose they can be, each
/// a `kind`.
///
/// # Errors
/// When one is no condition, or is about what the run does not have.
pub fn parse(
    args: &mut Args,
    keys: &[&'static str],
    kind: &str,
    places: &[impl AsRef<str>],
) -> Result<Vec<(String, Condition)>> {
    let texts = args.texts("--fail-if")?.into_iter();
    let conditions = texts.map(|text| {
        let wrong = |why: String| Error::input(format!("--fail-if '{text}'"), why);
        let condition = Condition::parse(&text).map_err(wrong)?;
        check(&condition, keys, kind, places).map_err(wrong)?;
        Ok((format!("--fail-if {condition}"), condition))
    });
    conditions.collect()
}

fn check(
    condition: &Condition,
    keys: &[&'static str],
    kind: &str,
    places: &[impl AsRef<str>],
) -> std::result::Result<(), String> {
    if !keys.contains(&condition.figure.as_str()) {
        return Err(match nearest(&condition.figure, keys.iter().copied()) {
            Some(near) => format!("no such figure; did you mean {near}?"),
            None => format!("no such figure; want one of {}", keys.join(", ")),
        });
    }
    let names: Vec<&str> = places.iter().map(AsRef::as_ref).collect();
    if names.iter().any(|name| condition.is_of(name)) {
        return Ok(());
    }
    Err(format!(
        "of a {kind} that is not run; it has {}",
        names.join(", ")
    ))
}

/// The options that were missed, each with what is wrong. `places` with their figures: `None` where one was not run.
pub fn missed<'a, const N: usize>(
    limits: &'a [(String, Condition)],
    places: &[(String, Option<Figures<N>>)],
) -> Vec<(&'a str, String)> {
    let mut missed = Vec::new();
    for (option, condition) in limits {
        for (place, figures) in places.iter().filter(|(place, _)| condition.is_of(place)) {
            let mut figures = figures.iter().flatten();
            let found = figures.find(|(key, _)| *key == condition.figure);
            let fault = condition.fault(place, found.and_then(|(_, value)| value.as_f64()));
            missed.extend(fault.map(|fault| (option.as_str(), fault)));
        }
    }
    missed
}

/// One error of all that was missed: option and what is wrong. `None`: nothing was.
pub fn error(missed: Vec<(&str, String)>) -> Option<Error> {
    let mut missed = missed.into_iter();
    let (option, fault) = missed.next()?;
    let error = Error::missed(option, fault);
    Some(missed.fold(error, |error, (option, fault)| {
        error.next(format!("[ERROR] {option}: {fault}"))
    }))
}
