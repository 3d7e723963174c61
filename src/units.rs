//! Quantities as text: durations, counts and decimals are parsed and formatted only here. Also says which characters
//! texts of others may not bring to a terminal.
//!
//! A parser's error says why the text is not such a quantity; the caller adds the option it came from.

mod date;

use std::time::{Duration, Instant};

pub use self::date::{date_ms, format_utc};

/// Parses `250us`, `10ms`, `2s`, `1.5m`, `2h` or a bare number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration; want one such as 250us, 10ms, 2s, 5m or 1h".to_string();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number = parse_number(digits).map_err(|_| wrong())?;
    match number * scale {
        // This limit keeps sums of durations from overflowing.
        seconds if seconds > 1e9 => Err("longer than 30 years".to_string()),
        seconds => Duration::try_from_secs_f64(seconds).map_err(|_| wrong()),
    }
}

/// Parses a whole number: `32000`, `2_000_000`, `32k` (thousand) or `2M` (million).
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || "not a whole number; want one such as 100, 32k or 2M".to_string();
    let plain = text.replace('_', "");
    let (digits, scale) = match plain.strip_suffix(['k', 'K']) {
        Some(rest) => (rest, 1_000),
        None => match plain.strip_suffix('M') {
            Some(rest) => (rest, 1_000_000),
            None => (plain.as_str(), 1),
        },
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(scale))
        .ok_or_else(wrong)
}

/// Parses a finite number ≥ 0, such as `0.5`, `100` or `1e6`.
pub fn parse_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 && !text.starts_with('+') => Ok(number),
        _ => Err("not a number; want one such as 0.5 or 100".to_string()),
    }
}

/// Formats with `decimals` places, or more where that would leave fewer than three significant digits.
pub fn fixed(value: f64, decimals: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.decimals$}");
    }
    let magnitude = value.abs().log10().floor();
    let wanted = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
    format!("{value:.*}", decimals.max(wanted))
}

/// Formats a count with its noun, such as `1 request`, `2 requests`.
pub fn counted(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Formats a count of at most three significant digits: `8000`, `61.2 k`, `2 M`.
pub fn rounded(n: u64) -> String {
    let (number, unit) = rounded_parts(n);
    number + unit
}

/// Formats an interval of counts; the unit stands once where both ends have the same: `60 to 62 k`.
pub fn rounded_span(low: u64, high: u64) -> String {
    let ((low, low_unit), (high, unit)) = (rounded_parts(low), rounded_parts(high));
    let low_unit = if low_unit == unit { "" } else { low_unit };
    format!("{low}{low_unit} to {high}{unit}")
}

fn rounded_parts(n: u64) -> (String, &'static str) {
    const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let scale = UNITS.iter().find(|(scale, _)| n as f64 >= scale * 0.9995);
    let Some((scale, unit)) = scale.filter(|_| n >= 10_000) else {
        return (n.to_string(), "");
    };
    let number = fixed(n as f64 / scale, 0);
    let number = match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string(),
        false => number,
    };
    (number, unit)
}

/// Formats a share as a whole percentage, such as `98 %`.
pub fn whole_percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Quotes a word so that a shell reads it back.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The instant that every stamp of a run counts from.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    pub fn start() -> Epoch {
        Epoch(Instant::now())
    }

    /// Returns monotonic nanoseconds since the epoch.
    pub fn now_ns(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }

    /// Returns the instant of a stamp.
    pub fn instant(self, stamp_ns: u64) -> Instant {
        self.0 + Duration::from_nanos(stamp_ns)
    }
}

/// Converts nanoseconds to seconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Returns a part as a share of its whole; `None` if the whole is 0.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Returns a count per second; `None` where no time has passed.
pub fn per_second(count: u64, time_s: f64) -> Option<f64> {
    (time_s > 0.0).then(|| count as f64 / time_s)
}

/// Converts a duration to nanoseconds; durations beyond 584 years saturate.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns whether a character would steer a terminal, or turn the direction of the text around it. Servers and files
/// can put it into any text.
pub fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_have_three_digits_and_a_unit() {
        for (n, wanted) in [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10 k"),
            (61_234, "61.2 k"),
            (100_000, "100 k"),
            (999_400, "999 k"),
            (999_600, "1 M"),
            (2_050_000, "2.05 M"),
            (3_000_000_000, "3 G"),
        ] {
            assert_eq!(rounded(n), wanted);
        }
        assert_eq!(rounded_span(60_500, 62_030), "60.5 to 62 k");
        assert_eq!(rounded_span(9500, 10_100), "9500 to 10.1 k");
    }

    #[test]
    fn durations_take_a_unit_and_default_to_seconds() {
        for (text, ms) in [
            ("250ms", 250),
            ("2s", 2000),
            ("20", 20_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        for text in [
            "",
            "s",
            "-1s",
            "10 s",
            "1d",
            "NaN",
            "inf",
            "1e30h",
            "9000000000s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_take_k_and_m() {
        for (text, n) in [
            ("0", 0),
            ("61", 61),
            ("32k", 32_000),
            ("2_000_000", 2_000_000),
            ("2M", 2_000_000),
        ] {
            assert_eq!(parse_count(text), Ok(n), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "99999999999999999999",
            "20000000000000000000M",
        ] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fixed_keeps_three_significant_digits() {
        for (value, decimals, text) in [
            (165.074, 2, "165.07"),
            (1.7, 2, "1.70"),
            (22871.741, 2, "22871.74"),
            (0.0025131, 3, "0.00251"),
            (0.0152, 3, "0.0152"),
            (0.0, 2, "0.00"),
            (0.04, 2, "0.0400"),
            (12.0, 0, "12.0"),
        ] {
            assert_eq!(fixed(value, decimals), text);
        }
    }
}
