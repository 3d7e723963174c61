//! `--fail-if` and similar options: conditions on figures that make a run fail.

use super::args::{Args, share};
use super::flags::nearest;
use super::flow::paragraph;
use crate::error::{Error, Result};
use crate::sample::find;
use crate::stats::catalog;
use crate::stats::kv_cache::Verdict;
use crate::stats::pass::Pass;
use crate::units::fixed;

/// A command's keys of figures, each with the catalogue's key.
pub type Keys = &'static [(&'static str, &'static str)];

/// Conditions that make the run fail, each with its option.
pub struct Limits {
    keys: Keys,
    limits: Vec<(String, Condition)>,
    /// Conditions on the verdict on the KV cache, each with its option.
    verdicts: Vec<(String, OnVerdict)>,
}

/// `kv_cache==VERDICT` or `kv_cache!=VERDICT`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OnVerdict {
    verdict: Verdict,
    /// The run fails at this verdict, not at all others.
    is_equal: bool,
}

impl OnVerdict {
    const FIGURE: &str = "kv_cache";

    /// Parses a condition; `None`: it is not on the verdict.
    ///
    /// # Errors
    /// Fails with the reason; the caller adds the option.
    fn parse(text: &str) -> Option<std::result::Result<OnVerdict, String>> {
        let rest = text.trim().strip_prefix(OnVerdict::FIGURE)?.trim_start();
        let is_other_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if rest.starts_with(is_other_name) {
            return None;
        }
        let (is_equal, name) = match (rest.strip_prefix("=="), rest.strip_prefix("!=")) {
            (Some(name), _) => (true, name),
            (None, name) => (false, name.unwrap_or_default()),
        };
        Some(match find(&Verdict::NAMES, name.trim()) {
            Some(verdict) => Ok(OnVerdict { verdict, is_equal }),
            None => {
                let names = Verdict::NAMES.map(|(_, name)| name).join(", ");
                Err(format!(
                    "want kv_cache!=working, with == or != and one of {names}"
                ))
            }
        })
    }

    /// Says what is wrong with a verdict; `None` if it is fine.
    fn fault(self, verdict: Verdict) -> Option<String> {
        let is_fault = (verdict == self.verdict) == self.is_equal;
        is_fault.then(|| format!("kv_cache is {}", verdict.name()))
    }
}

impl Limits {
    /// Parses `--fail-if` and `--max-error-rate`; `places` are the names of the passes that will have figures, each a `kind`.
    ///
    /// # Errors
    /// Fails when one is not a condition, or names a figure or a place that the run does not have.
    pub fn parse(args: &Args, keys: Keys, kind: &str, places: &[String]) -> Result<Limits> {
        let mut limits = Limits {
            keys,
            limits: Vec::new(),
            verdicts: Vec::new(),
        };
        for text in args.texts("--fail-if") {
            let wrong = |why: String| Error::input(format!("--fail-if '{text}'"), why);
            if let Some(condition) = OnVerdict::parse(text) {
                let option = format!("--fail-if {text}");
                limits.verdicts.push((option, condition.map_err(wrong)?));
                continue;
            }
            let condition = Condition::parse(text).map_err(wrong)?;
            limits.check(&condition, kind, places)?;
            let option = format!("--fail-if {}", condition.text);
            limits.limits.push((option, condition));
        }
        if let Some(rate) = args.value("--max-error-rate", share)? {
            let option = format!("--max-error-rate {rate}");
            limits.add(option, &format!("error_rate>{rate}"));
        }
        Ok(limits)
    }

    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.verdicts.is_empty()
    }

    /// Adds a condition that another option stands for.
    pub fn add(&mut self, option: String, condition: &str) {
        let condition = Condition::parse(condition).expect("it is one");
        self.limits.push((option, condition));
    }

    /// Returns the catalogue's key of a figure, which may go by a key of the command's own files.
    fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        let own = self.keys.iter().find(|(known, _)| *known == name);
        let key = own.map_or(name, |(_, key)| key);
        catalog::find(key)
            .is_some_and(|figure| figure.is_value())
            .then_some(key)
    }

    fn check(&self, condition: &Condition, kind: &str, places: &[String]) -> Result<()> {
        let wrong = |why: &str| Error::input(format!("--fail-if '{}'", condition.text), why);
        let names = || self.keys.iter().map(|(name, _)| *name);
        if self.key(&condition.figure).is_none() {
            return Err(match nearest(&condition.figure, names()) {
                Some(near) => wrong(&format!("no such figure; did you mean {near}?")),
                None => {
                    let names: Vec<&str> = names().collect();
                    let mut list = String::new();
                    paragraph(&mut list, &format!("Want one of: {}", names.join(", ")));
                    wrong("no such figure").next(list.trim_end())
                }
            });
        }
        if places.iter().any(|place| condition.is_of(place)) {
            return Ok(());
        }
        let places = places.join(", ");
        Err(wrong(&format!(
            "no such {kind} in this run; want one of {places}"
        )))
    }

    /// Returns the options that were missed, each with the reason. A place that was not run has no pass.
    pub fn missed(
        &self,
        places: &[(String, Option<&Pass>)],
        verdict: Verdict,
    ) -> Vec<(String, String)> {
        let value = |pass: &Pass, name: &str| {
            let value = catalog::value(pass, self.key(name)?)?;
            Some(value.as_f64())
        };
        let verdicts = self.verdicts.iter();
        let verdicts =
            verdicts.filter_map(|(option, on)| Some((option.clone(), on.fault(verdict)?)));
        let mut missed: Vec<(String, String)> = verdicts.collect();
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
    /// The condition without blanks.
    text: String,
    /// The pass whose figure is compared; `None`: every pass.
    place: Option<String>,
    figure: String,
    holds: Compare,
    limit: f64,
}

type Compare = fn(&f64, &f64) -> bool;

/// The operators, longest first.
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
    /// Fails with the reason; the caller adds the option.
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

    /// Returns whether the condition is about `place`.
    fn is_of(&self, place: &str) -> bool {
        self.place.as_ref().is_none_or(|own| own == place)
    }

    /// Says what is wrong with the figure of `place`, such as that it is not reported; `None` if it is fine.
    fn fault(&self, place: &str, value: Option<f64>) -> Option<String> {
        let figure = &self.figure;
        match value {
            None => Some(format!("{place}.{figure} is not reported")),
            Some(value) if (self.holds)(&value, &self.limit) => {
                Some(format!("{place}.{figure} is {}", self.shown(value)))
            }
            Some(_) => None,
        }
    }

    /// Formats a value for which the condition holds, with as many digits as it takes to see that it does.
    fn shown(&self, value: f64) -> String {
        let holds = |text: &String| {
            text.parse()
                .is_ok_and(|shown| (self.holds)(&shown, &self.limit))
        };
        let mut texts = (3..=12).map(|decimals| fixed(value, decimals));
        texts.find(holds).unwrap_or_else(|| value.to_string())
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
    fn a_value_is_shown_with_the_digits_that_put_it_beyond_its_limit() {
        for (text, value, shown) in [
            ("a>5", 5.0004, "x.a is 5.0004"),
            ("a>5", 5.000_000_06, "x.a is 5.0000001"),
            ("a<5", 4.9996, "x.a is 4.9996"),
            ("a>5", 7.25, "x.a is 7.250"),
            ("a>5", 5.000_000_000_000_001, "x.a is 5.000000000000001"),
        ] {
            let condition = Condition::parse(text).expect(text);
            assert_eq!(condition.fault("x", Some(value)).as_deref(), Some(shown));
        }
    }

    #[test]
    fn a_verdict_that_is_not_the_one_wanted_is_a_fault() {
        let fault = |text: &str, verdict| {
            let on = OnVerdict::parse(text).expect("on the verdict").expect(text);
            on.fault(verdict)
        };
        let of_off = Some("kv_cache is off".to_string());
        assert_eq!(fault("kv_cache!=working", Verdict::Off), of_off);
        assert_eq!(fault("kv_cache != working", Verdict::Working), None);
        assert_eq!(fault("kv_cache==off", Verdict::Off), of_off);
        assert_eq!(fault("kv_cache==too_small", Verdict::Off), None);
        for text in [
            "kv_cache>working",
            "kv_cache!=fine",
            "kv_cache",
            "kv_cache==1",
        ] {
            let why = OnVerdict::parse(text)
                .expect("on the verdict")
                .expect_err(text);
            assert!(
                why.ends_with("one of working, partly, off, too_small, unknown"),
                "{why}"
            );
        }
        assert!(OnVerdict::parse("kv_cache_x>1").is_none() && OnVerdict::parse("x>1").is_none());
    }

    #[test]
    fn a_malformed_condition_says_what_is_wanted() {
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
