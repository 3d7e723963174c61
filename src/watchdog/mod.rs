//! A thread that watches this process during a run: how late it wakes, and once a second the kernel's counters for it.
//! It sends `Vitals` and judges nothing.

mod cgroup;
mod meter;
pub mod proc;

use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use self::meter::Meter;
use crate::error::{Error, Result};
use crate::units::Epoch;
use crate::vitals::{PROBE_EVERY_NS, Vitals};

const SECOND_NS: u64 = 1_000_000_000;
/// Seconds that may wait to be received; if more do, the current one is extended.
const WAITING_SECONDS: usize = 64;

/// The receiving side of a running watchdog.
pub struct Watch {
    /// One a second, and a last partial one at the end; then the channel disconnects.
    pub vitals: Receiver<Vitals>,
    /// Ends the watchdog at once, by a message or when dropped.
    pub end: Sender<()>,
}

/// Starts watching; the first probe is due from now on.
///
/// # Errors
/// Fails when the system refuses a thread.
pub fn start(epoch: Epoch) -> Result<Watch> {
    let (end, ended) = bounded(1);
    let (sender, vitals) = bounded(WAITING_SECONDS);
    let watchdog = Watchdog {
        epoch,
        ended,
        vitals: sender,
    };
    let started = thread::Builder::new()
        .name("watchdog".to_string())
        .spawn(move || watchdog.run());
    started.map_err(|e| Error::input("watchdog thread", e))?;
    Ok(Watch { vitals, end })
}

struct Watchdog {
    epoch: Epoch,
    ended: Receiver<()>,
    vitals: Sender<Vitals>,
}

impl Watchdog {
    fn run(self) {
        let start_ns = self.epoch.now_ns();
        let mut meter = Meter::start(start_ns);
        let mut probes = Probes {
            due_ns: start_ns + PROBE_EVERY_NS,
            lags_us: Vec::new(),
        };
        let mut second_ends_ns = start_ns + SECOND_NS;
        let timeout = Err(RecvTimeoutError::Timeout);
        while self.ended.recv_deadline(self.epoch.instant(probes.due_ns)) == timeout {
            let now_ns = self.epoch.now_ns();
            probes.wake(now_ns);
            // A receiver that hangs must not make probes late.
            if now_ns >= second_ends_ns && !self.vitals.is_full() {
                let seconds = (now_ns - start_ns) / SECOND_NS;
                second_ends_ns = start_ns + (seconds + 1) * SECOND_NS;
                if self.vitals.send(probes.end(meter.read(now_ns))).is_err() {
                    return;
                }
            }
        }
        // The thread may receive the end while it is late with its probes.
        let now_ns = self.epoch.now_ns();
        while probes.due_ns <= now_ns {
            probes.wake(now_ns);
        }
        // Nobody waits for it any more if the end took long to arrive.
        let _ = self.vitals.send(probes.end(meter.read(now_ns)));
    }
}

/// The probes since the last `Vitals`.
struct Probes {
    /// The due time of the next probe. No probe is left out: after a pause the missed ones follow at once, each with
    /// its own lag.
    due_ns: u64,
    lags_us: Vec<u32>,
}

impl Probes {
    fn wake(&mut self, now_ns: u64) {
        let lag_us = now_ns.saturating_sub(self.due_ns) / 1000;
        // The value saturates after 71 minutes.
        self.lags_us.push(u32::try_from(lag_us).unwrap_or(u32::MAX));
        self.due_ns += PROBE_EVERY_NS;
    }

    /// Moves the probes into the meter's reading.
    fn end(&mut self, mut read: Vitals) -> Vitals {
        read.lags_us = std::mem::take(&mut self.lags_us);
        read.t_first_probe_ns = self.due_ns - read.lags_us.len() as u64 * PROBE_EVERY_NS;
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn after_a_pause_every_missed_probe_has_its_own_lag() {
        let mut probes = Probes {
            due_ns: 1050 * MS,
            lags_us: Vec::new(),
        };
        // Due at 1050, 1100 and 1150 ms, and all seen at 1152 ms.
        for _ in 0..3 {
            probes.wake(1152 * MS);
        }
        let vitals = probes.end(Vitals::default());
        let seen: Vec<(u64, u64)> = vitals.probes().collect();
        let wanted = [(1050, 102), (1100, 52), (1150, 2)];
        assert_eq!(seen, wanted.map(|(due, lag)| (due * MS, lag * MS)));
        assert_eq!(probes.due_ns, 1200 * MS);
    }

    #[test]
    fn the_end_brings_the_rest_of_the_second_where_the_last_one_ended() {
        let epoch = Epoch::start();
        let watch = start(epoch).expect("a thread");
        let whole = watch.vitals.recv().expect("the first second");
        watch.end.send(()).expect("it runs");
        let rest = watch.vitals.recv().expect("the partial second");
        assert!(watch.vitals.recv().is_err(), "and nothing after it");
        assert!(whole.t_end_ns - whole.t_start_ns >= SECOND_NS);
        assert_eq!(rest.t_start_ns, whole.t_end_ns);
        let probes = whole.lags_us.len() as u64;
        let next_ns = whole.t_first_probe_ns + probes * PROBE_EVERY_NS;
        assert_eq!(rest.t_first_probe_ns, next_ns);
        let now_ns = epoch.now_ns();
        let mut all = whole.probes().chain(rest.probes());
        assert!(all.all(|(due_ns, lag_ns)| due_ns + lag_ns <= now_ns));
    }
}
