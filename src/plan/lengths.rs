//! Lengths of prompts and answers, as `--input-tokens` and `--output-tokens` give them.

use std::fmt;

use fastrand::Rng;

use super::random::normal;
use crate::units::{parse_count, parse_number};

/// Longest prompt or answer.
const MOST: u64 = 10_000_000;

/// How many tokens each request has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    Fixed(u64),
    /// Every number from the first to the last is equally likely.
    Uniform(u64, u64),
    /// Normally distributed, rounded, at least 1.
    Normal {
        mean: f64,
        deviation: f64,
    },
}

impl Length {
    /// Parses `N`, `A:B` or `normal:M,S`.
    ///
    /// # Errors
    /// Fails with the wanted form.
    pub fn parse(text: &str) -> Result<Length, String> {
        if let Some(parameters) = text.strip_prefix("normal:") {
            let (mean, deviation) = parameters
                .split_once(',')
                .ok_or("want normal:MEAN,DEVIATION, such as normal:500,100")?;
            let (mean, deviation) = (parse_number(mean)?, parse_number(deviation)?);
            if !(1.0..=MOST as f64).contains(&mean) || deviation > MOST as f64 {
                return Err(format!("want a mean from 1 to {MOST}"));
            }
            return Ok(Length::Normal { mean, deviation });
        }
        let Some((least, most)) = text.split_once(':') else {
            return Ok(Length::Fixed(tokens(text)?));
        };
        let (least, most) = (tokens(least)?, tokens(most)?);
        if least > most {
            return Err(format!("{least} is more than {most}; want LEAST:MOST"));
        }
        Ok(Length::Uniform(least, most))
    }

    /// Draws a length from 1 to 10 million tokens.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        match *self {
            Length::Fixed(tokens) => tokens,
            Length::Uniform(least, most) => rng.u64(least..=most),
            Length::Normal { mean, deviation } => {
                let drawn = (mean + deviation * normal(rng)).round();
                drawn.clamp(1.0, MOST as f64) as u64
            }
        }
    }

    /// Returns the least length that can be drawn.
    pub fn least(&self) -> u64 {
        match *self {
            Length::Fixed(tokens) | Length::Uniform(tokens, _) => tokens,
            Length::Normal {
                mean,
                deviation: 0.0,
            } => mean.round() as u64,
            Length::Normal { .. } => 1,
        }
    }
}

fn tokens(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        tokens if (1..=MOST).contains(&tokens) => Ok(tokens),
        _ => Err(format!("want 1 to {MOST}")),
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Fixed(tokens) => tokens.fmt(f),
            Length::Uniform(least, most) => write!(f, "{least}:{most}"),
            Length::Normal { mean, deviation } => write!(f, "normal:{mean},{deviation}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_as_typed() {
        let normal = Length::Normal {
            mean: 500.0,
            deviation: 100.5,
        };
        for (text, wanted, least) in [
            ("100", Length::Fixed(100), 100),
            ("5:9", Length::Uniform(5, 9), 5),
            ("7:7", Length::Uniform(7, 7), 7),
            ("normal:500,100.5", normal, 1),
        ] {
            let length = Length::parse(text).expect(text);
            assert_eq!(length, wanted);
            assert_eq!((length.to_string().as_str(), length.least()), (text, least));
        }
        assert_eq!(Length::parse("2k"), Ok(Length::Fixed(2000)));
        assert_eq!(Length::parse("normal:12,0").map(|l| l.least()), Ok(12));
    }

    #[test]
    fn a_malformed_length_is_refused() {
        for text in [
            "",
            "0",
            "-1",
            "x",
            "1:",
            ":1",
            "0:5",
            "9:5",
            "1:2:3",
            "10000001",
            "normal:",
            "normal:5",
            "normal:0,1",
            "normal:nan,1",
            "normal:5,inf",
            "normal:5,-1",
            "Normal:5,1",
        ] {
            assert!(Length::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn draws_have_the_distribution_that_was_asked_for() {
        let mut rng = Rng::with_seed(2);
        let mut draws = |text: &str| -> Vec<u64> {
            let length = Length::parse(text).expect(text);
            (0..100_000).map(|_| length.draw(&mut rng)).collect()
        };
        assert!(draws("40").iter().all(|&tokens| tokens == 40));
        let uniform = draws("1:4");
        for tokens in 1..=4 {
            // A quarter, 25,000, with a deviation of sqrt(100,000 * 3 / 16) = 137.
            let count = uniform.iter().filter(|&&drawn| drawn == tokens).count();
            assert!(count.abs_diff(25_000) < 550, "{tokens}: {count}");
        }
        let normal = draws("normal:500,100");
        let mean = normal.iter().sum::<u64>() as f64 / 1e5;
        // The mean of 100,000 has a deviation of 100 / 316 = 0.32.
        assert!((mean - 500.0).abs() < 1.3, "{mean}");
        assert!(draws("normal:1,1000").iter().all(|&tokens| tokens >= 1));
    }
}
