//! `--fail-if` and its relatives: figures that must not be on the wrong side of a number.

use super::args::Args;
use super::flags::nearest;
use crate::error::{Error, Result};
use crate::stats::catalog;
use crate::stats::pass::Pass;
use crate::units::fixed;

/// Keys that a command has, each with the catalogue's key of the figure.
pub type Keys = &'static [(&'static str, &'static str)];

/// Conditions that must not hold, each with the option it is from.
pub struct Limits {
    keys: Keys,
    limits: Vec<(String, Condition)>,
}

impl Limits {
    /// Takes `--fail-if`; `places` are the passes whose figures there will be, each a `kind`.
    ///
    /// # Errors
    /// When one is no condition, or is about a figure or a place that the run does not have.
    pub fn parse(args: &Args, keys: Keys, kind: &str, places: &[String]) -> Result<Limits> {
        let mut limits = Limits {
            keys,
            limits: Vec::new(),
        };
        for text in args.texts("--fail-if") {
            let wrong = |why: String| Error::input(format!("--fail-if '{text}'"), why);
            let condition = Condition::parse(text).map_err(wrong)?;
            limits.check(&condition, kind, places).map_err(wrong)?;
            let option = format!("--fail-if {}", condition.text);
            limits.limits.push((option, condition));
        }
        Ok(limits)
    }

    /// Adds a condition of the program's own that another option stands for.
    pub fn add(&mut self, option: String, condition: &str) {
        let condition = Condition::parse(condition).expect("it is one");
        self.limits.push((option, condition));
    }

    fn check(
        &self,
        condition: &Condition,
        kind: &str,
        places: &[String],
    ) -> std::result::Result<(), String> {
        let names = || self.keys.iter().map(|(name, _)| *name);
        if !names().any(|name| name == condition.figure) {
            return Err(match nearest(&condition.figure, names()) {
                Some(near) => format!("no such figure; did you mean {near}?"),
                None => {
                    let names: Vec<&str> = names().collect();
                    format!("no such figure; want one of {}", names.join(", "))
                }
            });
        }
        if places.iter().any(|place| condition.is_of(place)) {
            return Ok(());
        }
        let places = places.join(", ");
        Err(format!("of a {kind} that is not run; it has {places}"))
    }

    /// The options that were missed, each with what is wrong. A place has no pass where it was not run.
    pub fn missed(&self, places: &[(String, Option<&Pass>)]) -> Vec<(String, String)> {
        let value = |pass: &Pass, name: &str| {
            let (_, key) = self.keys.iter().find(|(known, _)| *known == name)?;
            catalog::value(pass, key).map(catalog::Datum::as_f64)
        };
        let mut missed = Vec::new();
        for (option, condition) in &self.limits {
            for (place, pass) in places.iter().filter(|(place, _)| condition.is_of(place)) {
                let value = pass.and_then(|pass| value(pass, &condition.figure));
                let fault = condition.fault(place, value);
                missed.extend(fault.map(|fault| (option.clone(), fault)));
            }
        }
        missed
    }
}

/// `[PLACE.]FIGURE OPERATOR NUMBER`, such as `stress_test.error_rate>=0.05`.
#[derive(Debug)]
struct Condition {
    /// Without blanks.
    text: String,
    /// Whose figure; `None`: everyone's.
    place: Option<String>,
    figure: String,
    holds: Compare,
    limit: f64,
}

type Compare = fn(&f64, &f64) -> bool;

/// The operators, those of two characters first.
const OPERATORS: [(&str, Compare); 6] = [
    (">=", f64::ge),
    ("<=", f64::le),
    ("==", f64::eq),
    ("!=", f64::ne),
    (">", f64::gt),
    ("<", f64::lt),
];

impl Condition {
    /// # Errors
    /// Why the text is none; the caller adds the option it came from.
    fn parse(text: &str) -> std::result::Result<Condition, String> {
        let form = "want FIGURE, one of > >= < <= == !=, and a number, such as avg_ttft_ms>100";
        let at = text.find(['<', '>', '=', '!']).ok_or(form)?;
        let (name, rest) = text.split_at(at);
        let mut operators = OPERATORS.into_iter();
        let operator = operators.find(|(sign, _)| rest.starts_with(sign));
        let (sign, holds) = operator.ok_or(form)?;
        let limit: Option<f64> = rest[sign.len()..].trim().parse().ok();
        let limit = limit.filter(|limit| limit.is_finite()).ok_or(form)?;
        let name = name.trim();
        let (place, figure) = match name.rsplit_once('.') {
            Some((place, figure)) => (Some(place.to_string()), figure),
            None => (None, name),
        };
        if figure.is_empty() {
            return Err(form.to_string());
        }
        Ok(Condition {
            text: format!("{name}{sign}{limit}"),
            place,
            figure: figure.to_string(),
            holds,
            limit,
        })
    }

    /// Whether it is about what `place` stands for.
    fn is_of(&self, place: &str) -> bool {
        self.place.as_ref().is_none_or(|own| own == place)
    }

    /// Says what is wrong with the figure of `place`, such as that it is not reported; `None`: nothing is.
    fn fault(&self, place: &str, value: Option<f64>) -> Option<String> {
        let figure = &self.figure;
        match value {
            None => Some(format!("{place}.{figure} is not reported")),
            Some(value) if (self.holds)(&value, &self.limit) => {
                Some(format!("{place}.{figure} is {}", fixed(value, 3)))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_wrong_side_is_a_fault() {
        for (text, value, is_fault) in [
            ("avg_ttft_ms>100", 100.0, false),
            ("avg_ttft_ms>100", 100.1, true),
            ("avg_ttft_ms >= 100", 100.0, true),
            ("output_throughput_tps<50", 49.9, true),
            ("output_throughput_tps<50", 50.0, false),
            ("total_requests<=3", 3.0, true),
            ("failed_requests!=0", 0.0, false),
            ("failed_requests==0", 0.0, true),
            ("a>-1e-3", 0.0, true),
        ] {
            let condition = Condition::parse(text).expect(text);
            let fault = condition.fault("stress_test", Some(value));
            assert_eq!(fault.is_some(), is_fault, "{text} {value}");
        }
        let condition = Condition::parse("stress_test.error_rate>=0.05").expect("one");
        assert_eq!(condition.text, "stress_test.error_rate>=0.05");
        assert!(condition.is_of("stress_test") && !condition.is_of("long_input"));
        assert_eq!(
            condition.fault("stress_test", Some(0.1)).as_deref(),
            Some("stress_test.error_rate is 0.100")
        );
        assert_eq!(
            condition.fault("stress_test", None).as_deref(),
            Some("stress_test.error_rate is not reported")
        );
    }

    #[test]
    fn what_is_no_condition_says_what_is_wanted() {
        for text in [
            "",
            "avg_ttft_ms",
            "avg_ttft_ms>",
            ">1",
            "a=1",
            "a>x",
            "a>1ms",
            "a>inf",
            "a>NaN",
            "a=>1",
            "short_input.>1",
            "a<>1",
        ] {
            let why = Condition::parse(text).expect_err(text);
            assert!(why.starts_with("want FIGURE"), "{text}: {why}");
        }
    }
}
