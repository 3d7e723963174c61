//! A start at a time of the wall clock, so that several processes begin together.

use std::time::{Duration, SystemTime};

use super::stop::Stop;
use crate::error::{Error, Result};
use crate::units::{Epoch, nanoseconds};

/// The most that a run may begin after its time.
const MOST_LATE: Duration = Duration::from_secs(1);
/// The longest wait without a look at the clock, which may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The time at which a run sends its first request.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The option with its value, as typed.
    pub what: String,
    pub time: SystemTime,
}

impl Start {
    /// Returns the time until the start; zero if it has passed.
    pub fn left(&self) -> Duration {
        let left = self.time.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }

    /// # Errors
    /// Fails when the time passed more than a second ago.
    pub fn check(&self) -> Result<()> {
        let late = SystemTime::now().duration_since(self.time);
        let late = late.unwrap_or_default();
        if late <= MOST_LATE {
            return Ok(());
        }
        let why = format!("passed {:.1} s ago", late.as_secs_f64());
        Err(Error::input(&self.what, why).next("Give a later time: all must be set up before it."))
    }

    /// Waits until so long before the start, or until the run is stopped.
    pub fn wait_until_before(&self, lead: Duration, stop: &Stop) {
        while !stop.is_set() {
            let left = self.left().saturating_sub(lead);
            if left.is_zero() {
                return;
            }
            // This channel has no message; it disconnects when the run is stopped.
            let _ = stop.woken().recv_timeout(left.min(LOOK_EVERY));
        }
    }

    /// Waits for the start, or until the run is stopped. Returns the stamp of the start.
    ///
    /// # Errors
    /// Fails as `check` does.
    pub fn wait(&self, epoch: Epoch, stop: &Stop) -> Result<u64> {
        self.wait_until_before(Duration::ZERO, stop);
        self.check()?;
        let late = SystemTime::now().duration_since(self.time);
        let late_ns = nanoseconds(late.unwrap_or_default());
        Ok(epoch.now_ns().saturating_sub(late_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(time: SystemTime) -> Start {
        Start {
            what: "--start-at then".to_string(),
            time,
        }
    }

    #[test]
    fn a_start_is_waited_for_to_the_millisecond_and_its_stamp_is_that_of_its_time() {
        let epoch = Epoch::start();
        let start = start(SystemTime::now() + Duration::from_millis(50));
        let stamp_ns = start.wait(epoch, &Stop::new()).expect("in time");
        let now_ns = epoch.now_ns();
        assert!(start.left().is_zero());
        // The clock of the wall and that of the stamps are read one after the other.
        assert!((49_000_000..51_000_000).contains(&stamp_ns), "{stamp_ns}");
        assert!(now_ns >= stamp_ns, "{now_ns} {stamp_ns}");
    }

    #[test]
    fn a_start_that_passed_more_than_a_second_ago_is_an_error() {
        let ago = |ms| start(SystemTime::now() - Duration::from_millis(ms));
        assert!(ago(500).check().is_ok());
        let error = ago(3000).wait(Epoch::start(), &Stop::new());
        let error = error.expect_err("late").to_string();
        assert!(
            error.starts_with("[ERROR] --start-at then: passed 3.0 s ago"),
            "{error}"
        );
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = Stop::new();
        stop.request(super::super::stop::Reason::Signal);
        let far = start(SystemTime::now() + Duration::from_secs(1000));
        far.wait_until_before(Duration::ZERO, &stop);
        assert!(far.left() > Duration::from_secs(900));
    }
}
