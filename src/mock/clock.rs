//! The mock's clock: monotonic nanoseconds since its start.

use std::thread;
use std::time::{Duration, Instant};

use super::freeze::Freeze;
use crate::units::nanoseconds;

/// Counts from one epoch.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now_ns(self) -> u64 {
        self.at_ns(Instant::now())
    }

    pub fn at_ns(self, time: Instant) -> u64 {
        nanoseconds(time.saturating_duration_since(self.0))
    }

    /// Returns at once if the time has passed.
    pub fn sleep_until(self, time_ns: u64) {
        let left_ns = time_ns.saturating_sub(self.now_ns());
        if left_ns > 0 {
            thread::sleep(Duration::from_nanos(left_ns));
        }
    }

    /// Returns at the end of the window, or at once outside it.
    pub fn sleep_through(self, freeze: Freeze) {
        if let Some(end_ns) = freeze.end_at(self.now_ns()) {
            self.sleep_until(end_ns);
        }
    }
}
