//! The server's clock, as far as the `Date` of its replies tells it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use ureq::http::{HeaderMap, header};

const SECOND_US: u64 = 1_000_000;

/// Bounds on the server's time at stamp 0 of the run, in microseconds since 1970.
///
/// A `Date` is a whole second. It was written after the request was sent and before the headers were read, so each reply
/// narrows the bounds. Servers that write the date of their last tick shift both by the same part of a second for every
/// client.
#[derive(Debug)]
pub struct ServerClock {
    low_us: AtomicU64,
    high_us: AtomicU64,
}

impl Default for ServerClock {
    fn default() -> ServerClock {
        ServerClock {
            low_us: AtomicU64::new(0),
            high_us: AtomicU64::new(u64::MAX),
        }
    }
}

impl ServerClock {
    /// Takes the date of a reply in, if it has one. Stamps are nanoseconds from the run's epoch.
    pub fn note(&self, headers: &HeaderMap, t_send_ns: u64, t_headers_ns: u64) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since) = since {
            self.take(since.as_secs(), t_send_ns, t_headers_ns);
        }
    }

    fn take(&self, date_s: u64, t_send_ns: u64, t_headers_ns: u64) {
        let from_us = date_s.saturating_mul(SECOND_US);
        let low_us = from_us.saturating_sub(t_headers_ns.div_ceil(1000));
        let high_us = from_us.saturating_add(SECOND_US);
        let high_us = high_us.saturating_sub(t_send_ns / 1000);
        self.low_us.fetch_max(low_us, Relaxed);
        self.high_us.fetch_min(high_us, Relaxed);
    }

    /// Returns the lowest and the highest time; `None` if no reply had a date. The dates of several servers with unlike
    /// clocks may contradict each other: then the two are exchanged.
    pub fn bounds_us(&self) -> Option<(u64, u64)> {
        let (low_us, high_us) = (self.low_us.load(Relaxed), self.high_us.load(Relaxed));
        (low_us > 0).then_some((low_us.min(high_us), low_us.max(high_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn replies_around_the_turn_of_a_second_narrow_the_bounds() {
        let clock = ServerClock::default();
        assert_eq!(clock.bounds_us(), None);
        // Stamp 0 is second 100.3 of the server. Replies take 20 ms.
        clock.take(100, S / 10, S / 10 + 20_000_000);
        assert_eq!(clock.bounds_us(), Some((99_880_000, 100_900_000)));
        // Sent at 100.98, answered at 101.0: it has the new second.
        clock.take(101, S * 68 / 100, S * 70 / 100);
        assert_eq!(clock.bounds_us(), Some((100_300_000, 100_900_000)));
        // Sent at 101.95, answered before the second has passed.
        clock.take(101, S * 165 / 100, S * 167 / 100);
        assert_eq!(clock.bounds_us(), Some((100_300_000, 100_350_000)));
    }

    #[test]
    fn a_date_is_read_from_the_headers_and_anything_else_is_ignored() {
        let clock = ServerClock::default();
        let mut headers = HeaderMap::new();
        clock.note(&headers, 0, S);
        headers.insert(header::DATE, "today".parse().expect("a value"));
        clock.note(&headers, 0, S);
        assert_eq!(clock.bounds_us(), None);
        // The example of RFC 9110.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        headers.insert(header::DATE, date.parse().expect("a value"));
        clock.note(&headers, 0, S);
        // From `date -u -d '1994-11-06 08:49:37' +%s`.
        let at_us = 784_111_777 * SECOND_US;
        assert_eq!(
            clock.bounds_us(),
            Some((at_us - SECOND_US, at_us + SECOND_US))
        );
    }
}
