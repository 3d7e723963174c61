//! The clocks of a run: a pair of readings ties its stamps to the wall clock, so that shards can be laid side by side.

use serde::Serialize;
use serde_json::Value;

/// One moment on the wall clock of a process and on the clock of its stamps. The names of the fields are the keys of
/// the header's `clock` and of the series of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// The index of the shard whose clocks these are; `None`: the run has no shards.
    pub shard: Option<u64>,
    /// Microseconds since 1970.
    pub wall_us: u64,
    /// Nanoseconds from the run's epoch.
    pub t_ns: u64,
    /// The lowest and the highest time of the server's clock at stamp 0 by the dates of its replies so far, in
    /// microseconds since 1970; `None`: no reply had a date.
    pub server_us: Option<(u64, u64)>,
}

impl Clock {
    /// Reads what was written; `None` without both readings.
    pub fn read(of: &Value) -> Option<Clock> {
        let server = &of["server_us"];
        Some(Clock {
            shard: of["shard"].as_u64(),
            wall_us: of["wall_us"].as_u64()?,
            t_ns: of["t_ns"].as_u64()?,
            server_us: server[0].as_u64().zip(server[1].as_u64()),
        })
    }

    /// Returns the wall clock at stamp 0, in microseconds since 1970.
    pub fn zero_us(&self) -> u64 {
        self.wall_us.saturating_sub(self.t_ns / 1000)
    }

    /// Returns how far the wall clock is ahead of the server's: the least and the most, in microseconds.
    pub fn ahead_us(&self) -> Option<(i64, i64)> {
        let (low, high) = self.server_us?;
        let from = |server: u64| self.zero_us().cast_signed() - server.cast_signed();
        Some((from(high), from(low)))
    }

    /// Returns how far this wall clock is ahead of another one by the dates of the same server: the least and the most,
    /// in microseconds.
    pub fn ahead_of_us(&self, other: &Clock) -> Option<(i64, i64)> {
        let ((low, high), (other_low, other_high)) = (self.ahead_us()?, other.ahead_us()?);
        Some((low - other_high, high - other_low))
    }

    /// Returns by how much the wall clock was set between two moments of one run, in microseconds.
    pub fn set_by_us(&self, later: &Clock) -> i64 {
        later.zero_us().cast_signed() - self.zero_us().cast_signed()
    }
}

/// The shards of a run that a file has, as the header's `shard` says. The names of the fields are its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The number of shards of the run.
    pub of: u64,
    /// The indexes of those in the file, ascending.
    pub held: Vec<u64>,
}

impl Held {
    /// Reads what was written; `None` if it is no shard of a run.
    pub fn read(of: &Value) -> Option<Held> {
        let held = of["held"].as_array()?;
        Some(Held {
            of: of["of"].as_u64()?,
            held: held.iter().filter_map(Value::as_u64).collect(),
        })
    }

    /// Returns the indexes that the file lacks.
    pub fn missing(&self) -> Vec<u64> {
        (0..self.of)
            .filter(|index| !self.held.contains(index))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A clock read at stamp 2 s, when it showed 1,000 s; the server's showed 998 s at stamp 0, within 50 ms.
    fn clock() -> Clock {
        Clock {
            shard: Some(1),
            wall_us: 1_000_000_000,
            t_ns: 2_000_000_000,
            server_us: Some((997_950_000, 998_050_000)),
        }
    }

    #[test]
    fn a_clock_is_as_far_ahead_of_another_as_the_dates_of_the_server_tell() {
        assert_eq!(clock().zero_us(), 998_000_000);
        assert_eq!(clock().ahead_us(), Some((-50_000, 50_000)));
        // Half a second ahead, with dates as exact.
        let ahead = Clock {
            wall_us: 1_000_500_000,
            ..clock()
        };
        assert_eq!(ahead.ahead_of_us(&clock()), Some((400_000, 600_000)));
        assert_eq!(clock().ahead_of_us(&ahead), Some((-600_000, -400_000)));
        let without = Clock {
            server_us: None,
            ..clock()
        };
        assert_eq!(without.ahead_of_us(&clock()), None);
        // A second later the clock was set back by 300 ms.
        let later = Clock {
            wall_us: 1_000_700_000,
            t_ns: 3_000_000_000,
            ..clock()
        };
        assert_eq!(clock().set_by_us(&later), -300_000);
    }

    #[test]
    fn clocks_and_shards_are_read_as_they_were_written() {
        let written = serde_json::to_value(clock()).expect("JSON");
        assert_eq!(Clock::read(&written), Some(clock()));
        assert_eq!(Clock::read(&json!(null)), None);
        let held = Held {
            of: 4,
            held: vec![0, 2],
        };
        let written = serde_json::to_value(&held).expect("JSON");
        assert_eq!(written, json!({"of": 4, "held": [0, 2]}));
        assert_eq!(Held::read(&written), Some(held.clone()));
        assert_eq!(held.missing(), [1, 3]);
        assert_eq!(Held::read(&json!(null)), None);
    }
}
