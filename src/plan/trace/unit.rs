//! The timestamps of a trace: their unit, and dates.

/// The unit of timestamps that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Seconds,
}

/// Least mean gap of whole milliseconds. Less means more than 200 arrivals a second; published traces have about ten.
const LEAST_GAP: f64 = 5.0;
/// Least mean gap of numbers with a fraction, which are rare in traces in milliseconds.
const LEAST_FRACTIONAL_GAP: f64 = 20.0;
/// Least number of different whole numbers for which the gap is judged.
const LEAST_WHOLE: usize = 4;
/// Seconds since 1970 from 2001 to 2286; as milliseconds, the trace would begin 11 days after its own start.
const EPOCH_SECONDS: std::ops::Range<f64> = 1e9..1e10;

impl Unit {
    /// Parses `ms` or `s`.
    ///
    /// # Errors
    /// Fails with the wanted form.
    pub fn parse(text: &str) -> Result<Unit, String> {
        match text {
            "ms" => Ok(Unit::Milliseconds),
            "s" => Ok(Unit::Seconds),
            _ => Err("want ms or s".to_string()),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
        }
    }

    pub fn in_ms(self) -> f64 {
        match self {
            Unit::Milliseconds => 1.0,
            Unit::Seconds => 1000.0,
        }
    }
}

/// Says why timestamps, in ascending order, look like seconds; `None`: they can be milliseconds.
///
/// They look like seconds if the mean gap between different ones would be an implausible rate, or if all are seconds
/// since 1970.
pub(super) fn like_seconds(times: impl Iterator<Item = f64> + Clone) -> Option<String> {
    let mut different: usize = 0;
    let mut first_and_last: Option<(f64, f64)> = None;
    let mut is_whole = true;
    for time in times {
        is_whole &= time.fract() == 0.0;
        let (first, last) = first_and_last.unwrap_or((time, f64::NAN));
        different += usize::from(time != last);
        first_and_last = Some((first, time));
    }
    let (first, last) = first_and_last?;
    if EPOCH_SECONDS.contains(&first) && EPOCH_SECONDS.contains(&last) {
        return Some(format!("they begin at {first}, seconds since 1970"));
    }
    let (least, gap) = match is_whole {
        true => (LEAST_WHOLE, LEAST_GAP),
        false => (2, LEAST_FRACTIONAL_GAP),
    };
    let span = last - first;
    let is_dense = different >= least && span / (different as f64 - 1.0) < gap;
    is_dense.then(|| format!("{different} different ones within {span}"))
}

/// Returns the milliseconds since 1970 of a date such as `2023-11-16 18:15:46.6805900`, in UTC unless it ends in an
/// offset.
pub(super) fn date_ms(text: &str) -> Option<f64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let days_of_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=days_of_month).contains(&day) {
        return None;
    }
    let (time, offset_min) = without_offset(time)?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let seconds = parts.next()?;
    let is_plain = seconds
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let second: f64 = seconds.parse().ok().filter(|_| is_plain)?;
    if hour > 23 || minute > 59 || second >= 61.0 {
        return None;
    }
    // March begins the year, so that a leap day is its last day: Howard Hinnant's days_from_civil.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let minutes = (days - 719_468) * 1440 + hour * 60 + minute - offset_min;
    Some(minutes as f64 * 60_000.0 + second * 1000.0)
}

/// Splits the zone off a time; returns the time and the zone's minutes east of UTC.
fn without_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z').or(time.strip_suffix(" UTC")) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (hours, minutes) = match time[at + 1..].split_once(':') {
        Some((hours, minutes)) => (digits(hours)?, digits(minutes)?),
        None => match digits(&time[at + 1..])? {
            hours if time.len() - at <= 3 => (hours, 0),
            both => (both / 100, both % 100),
        },
    };
    let offset_min = hours * 60 + minutes;
    let is_west = time.as_bytes()[at] == b'-';
    let time = time[..at].trim_end();
    Some((time, if is_west { -offset_min } else { offset_min }))
}

/// Parses one to four digits.
fn digits(text: &str) -> Option<i64> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_that_would_be_an_impossible_rate_look_like_seconds() {
        for (times, wanted) in [
            (&[0.0, 0.5, 1.0, 1.5][..], true),
            (&[0.0, 0.7, 1.4, 2.1], true),
            // 3, 7 and 30 seconds apart.
            (&[0.0, 3.0, 6.0, 9.0, 12.0], true),
            (&[0.25, 7.5, 14.75], true),
            (&[1_700_000_000.0, 1_700_000_030.0], true),
            // Simultaneous requests do not make the gap smaller.
            (&[0.0, 0.0, 0.0, 0.0, 0.0, 50.0], false),
            (&[0.0, 50.0], false),
            (&[0.0, 5.0, 10.0, 15.0], false),
            (&[1000.0, 1400.0, 1500.0, 1500.25], false),
            (&[1_700_000_000_000.0, 1_700_000_000_400.0], false),
            (&[0.5], false),
            (&[0.0, 1.0, 2.0], false),
        ] {
            let found = like_seconds(times.iter().copied());
            assert_eq!(found.is_some(), wanted, "{times:?}: {found:?}");
        }
    }

    #[test]
    fn a_date_is_read_with_its_fraction_and_its_zone() {
        for (text, wanted) in [
            ("1970-01-01 00:00:00", Some(0.0)),
            // From 1970 to 2023-11-16 are 19,677 days; 18 h 15 min 46.5 s are 65,746.5 s.
            (
                "2023-11-16 18:15:46.5000000",
                Some((19_677.0 * 86_400.0 + 65_746.5) * 1000.0),
            ),
            // 2024-02-29 is day 19,782.
            ("2024-02-29T00:00:00Z", Some(19_782.0 * 86_400_000.0)),
            ("2024-02-29 02:00:00+02:00", Some(19_782.0 * 86_400_000.0)),
            (
                "2024-02-28 19:00:00.25-0500",
                Some(19_782.0 * 86_400_000.0 + 250.0),
            ),
            ("2023-02-29 00:00:00", None),
            ("2023-13-01 00:00:00", None),
            ("2023-11-16", None),
            ("2023-11-16 24:00:00", None),
            ("2023-11-16 1:2:inf", None),
            ("16.11.2023 18:15:46", None),
            ("", None),
        ] {
            assert_eq!(date_ms(text), wanted, "{text}");
        }
    }
}
