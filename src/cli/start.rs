//! `--start-at`: a time of the wall clock at which a run begins.

use std::time::{Duration, SystemTime};

use super::args::Args;
use crate::error::Result;
use crate::load::start::Start;
use crate::units::date_ms;

/// # Errors
/// Fails when it is no time, or one that has passed.
pub fn parse(args: &Args) -> Result<Option<Start>> {
    let Some(time) = args.value("--start-at", time)? else {
        return Ok(None);
    };
    let typed = args.text("--start-at").unwrap_or_default();
    let start = Start {
        what: format!("--start-at {typed}"),
        time,
    };
    start.check()?;
    Ok(Some(start))
}

/// Parses a date with its zone, or seconds since 1970.
fn time(text: &str) -> std::result::Result<SystemTime, String> {
    let wrong = || {
        "not a time; want RFC 3339 such as 2026-11-29T18:00:00Z, or seconds since 1970".to_string()
    };
    let seconds: Option<f64> = text.parse().ok();
    let ms = seconds.map(|seconds| seconds * 1000.0).or_else(|| {
        let date = text.split_once(['T', 't', ' ']);
        let has_zone = date.is_some_and(|(_, time)| time.contains(['Z', 'z', '+', '-']));
        has_zone.then(|| date_ms(&text.to_ascii_uppercase()))?
    });
    // Until the year 9999.
    let ms = ms
        .filter(|ms| (0.0..2.534e14).contains(ms))
        .ok_or_else(wrong)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(ms / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_with_its_zone_or_seconds_since_1970() {
        // From `date -u -d 2026-11-23T06:13:38Z +%s`.
        for (text, wanted) in [
            ("2026-11-23T06:13:38Z", Some(1_795_414_418_000)),
            ("2026-11-23t06:13:38.25z", Some(1_795_414_418_250)),
            ("2026-11-23T08:13:38+02:00", Some(1_795_414_418_000)),
            ("1795414418", Some(1_795_414_418_000)),
            ("1795414418.5", Some(1_795_414_418_500)),
            // Without a zone it could be the local time or UTC.
            ("2026-11-23T06:13:38", None),
            ("tomorrow", None),
            ("-1", None),
            ("nan", None),
            ("1e300", None),
        ] {
            let since = time(text).ok().map(|time| {
                let since = time.duration_since(SystemTime::UNIX_EPOCH);
                since.expect("after 1970").as_millis()
            });
            assert_eq!(since, wanted, "{text}");
        }
    }
}
