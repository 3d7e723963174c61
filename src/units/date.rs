//! Dates of the wall clock as texts.

use std::time::SystemTime;

/// Formats a wall-clock time as RFC 3339 in UTC, such as `2026-11-23T06:13:38Z`.
pub fn format_utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = z / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the milliseconds since 1970 of a date such as `2023-11-16 18:15:46.6805900`, in UTC unless it ends in an
/// offset.
pub fn date_ms(text: &str) -> Option<f64> {
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        // From `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_414_418, "2026-11-23T06:13:38Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(
                format_utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                text
            );
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
