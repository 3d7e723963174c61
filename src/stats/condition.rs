//! `--fail-if`: a figure that must not be on the wrong side of a number.

use std::fmt;

use crate::units::fixed;

/// `[PLACE.]FIGURE OPERATOR NUMBER`, such as `stress_test.error_rate>=0.05`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Whose figure; `None`: everyone's.
    pub place: Option<String>,
    pub figure: String,
    operator: Operator,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    Equal,
    Unequal,
    Above,
    Below,
}

impl Operator {
    /// Those of two characters first.
    const ALL: [(&'static str, Operator); 6] = [
        (">=", Operator::AtLeast),
        ("<=", Operator::AtMost),
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        (">", Operator::Above),
        ("<", Operator::Below),
    ];
}

impl Condition {
    /// # Errors
    /// Why the text is none; the caller adds the option it came from.
    pub fn parse(text: &str) -> Result<Condition, String> {
        let form = "want FIGURE, one of > >= < <= == !=, and a number, such as avg_ttft_ms>100";
        let at = text.find(['<', '>', '=', '!']).ok_or(form)?;
        let (name, rest) = text.split_at(at);
        let (sign, operator) = Operator::ALL
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or(form)?;
        let number = rest[sign.len()..].trim();
        let limit: f64 = number.parse().map_err(|_| form)?;
        if !limit.is_finite() {
            return Err(form.to_string());
        }
        let name = name.trim();
        let (place, figure) = match name.rsplit_once('.') {
            Some((place, figure)) => (Some(place.to_string()), figure),
            None => (None, name),
        };
        if figure.is_empty() {
            return Err(form.to_string());
        }
        Ok(Condition {
            place,
            figure: figure.to_string(),
            operator,
            limit,
        })
    }

    /// `figure` must not be above `limit`.
    pub fn above(figure: &str, limit: f64) -> Condition {
        Condition {
            place: None,
            figure: figure.to_string(),
            operator: Operator::Above,
            limit,
        }
    }

    /// `figure` must not be below `limit`.
    pub fn below(figure: &str, limit: f64) -> Condition {
        Condition {
            operator: Operator::Below,
            ..Condition::above(figure, limit)
        }
    }

    /// Whether it is about what `place` stands for.
    pub fn is_of(&self, place: &str) -> bool {
        self.place.as_ref().is_none_or(|own| own == place)
    }

    /// What is wrong with the figure of `place`; `None`: nothing. A figure that is not reported is.
    pub fn fault(&self, place: &str, value: Option<f64>) -> Option<String> {
        let figure = &self.figure;
        let Some(value) = value else {
            return Some(format!("{place}.{figure} is not reported"));
        };
        let is_met = match self.operator {
            Operator::AtLeast => value >= self.limit,
            Operator::AtMost => value <= self.limit,
            Operator::Equal => value == self.limit,
            Operator::Unequal => value != self.limit,
            Operator::Above => value > self.limit,
            Operator::Below => value < self.limit,
        };
        is_met.then(|| format!("{place}.{figure} is {}", fixed(value, 3)))
    }
}

/// As it would be typed, without a place.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut signs = Operator::ALL.into_iter();
        let sign = signs.find(|(_, operator)| *operator == self.operator);
        if let Some(place) = &self.place {
            write!(f, "{place}.")?;
        }
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.figure, self.limit)
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
        assert_eq!(condition.to_string(), "stress_test.error_rate>=0.05");
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
