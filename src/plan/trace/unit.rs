//! The timestamps of a trace: their unit, and dates.

use crate::sample::{find, named};
use crate::units::fixed;

named! {
    /// The unit of timestamps that are numbers.
    pub enum Unit {
        Milliseconds = "ms",
        Seconds = "s",
    }
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
        find(&Unit::NAMES, text).ok_or_else(|| "want ms or s".to_string())
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
    // The difference of two decimal fractions has digits that neither of them has.
    let span = if is_whole {
        span.to_string()
    } else {
        fixed(span, 1)
    };
    is_dense.then(|| format!("{different} different ones within {span}"))
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
    fn the_reason_has_no_digits_that_the_timestamps_do_not_have() {
        // 0.3 - 0.1 is 0.19999999999999998 as a double.
        for (times, wanted) in [
            (&[0.1, 0.2, 0.3][..], "3 different ones within 0.200"),
            (&[0.5, 1.0, 13.25], "3 different ones within 12.8"),
            (&[0.0, 3.0, 6.0, 12.0], "4 different ones within 12"),
        ] {
            assert_eq!(
                like_seconds(times.iter().copied()).as_deref(),
                Some(wanted),
                "{times:?}"
            );
        }
    }
}
