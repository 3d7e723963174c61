//! Ends a run: who asked for it, and how requests in flight are cut.

use std::io::{IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::client::exchange::Cutter;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::sample::Failure;

/// Signals closer together than this are one: coreutils' `timeout` sends its signal to its child, and at once to all of
/// its process group.
const ONE_SIGNAL: Duration = Duration::from_millis(10);

/// Why a run ended before its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Signal,
    Duration,
    /// The reader of stdout is gone.
    Closed,
    /// The server refuses every request: its status and words.
    Refused(u16, Failure),
    /// Nothing has answered for as long as the run waits: the last failure.
    Gone(Failure),
}

/// A handle to end the run, of which every part of the run holds a clone.
#[derive(Clone)]
pub struct Stop(Arc<Inner>);

struct Inner {
    reason: OnceLock<Reason>,
    /// Dropped to end the run, which wakes all that wait on `woken`.
    sleepers: Mutex<Option<Sender<()>>>,
    woken: Receiver<()>,
    in_flight: Mutex<Vec<Cutter>>,
    before_leaving: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Stop {
    pub fn new() -> Stop {
        let (sleepers, woken) = bounded(0);
        Stop(Arc::new(Inner {
            reason: OnceLock::new(),
            sleepers: Mutex::new(Some(sleepers)),
            woken,
            in_flight: Mutex::new(Vec::new()),
            before_leaving: Mutex::new(Vec::new()),
        }))
    }

    /// Ends the run and cuts its requests; the first reason is kept.
    pub fn request(&self, reason: Reason) {
        if self.0.reason.set(reason).is_err() {
            return;
        }
        drop(lock(&self.0.sleepers).take());
        for cutter in lock(&self.0.in_flight).drain(..) {
            cutter.shutdown();
        }
    }

    pub fn reason(&self) -> Option<&Reason> {
        self.0.reason.get()
    }

    pub fn is_set(&self) -> bool {
        self.reason().is_some()
    }

    pub fn is_signalled(&self) -> bool {
        self.reason() == Some(&Reason::Signal)
    }

    /// Returns whether something else than its plan or its duration ended the run; a signal is the regular end of an endless
    /// one.
    pub fn was_early(&self, is_endless: bool) -> bool {
        match self.reason() {
            None | Some(Reason::Duration) => false,
            Some(Reason::Signal) => !is_endless,
            Some(_) => true,
        }
    }

    /// Says why the run ended.
    pub fn words(&self) -> String {
        match self.reason() {
            Some(Reason::Signal) => "stopped by a signal".to_string(),
            Some(Reason::Closed) => "stdout was closed".to_string(),
            Some(Reason::Gone(failure)) => format!("nothing answers: {}", failure.reason),
            Some(Reason::Duration) => "the duration is over".to_string(),
            Some(Reason::Refused(..)) => "the server refuses every request".to_string(),
            None => "all requests were sent".to_string(),
        }
    }

    /// Returns a channel that disconnects when the run must end; nothing is sent on it.
    pub fn woken(&self) -> &Receiver<()> {
        &self.0.woken
    }

    /// Cuts this exchange's request when the run ends.
    pub fn cuts(&self, cutter: &Cutter) {
        lock(&self.0.in_flight).push(cutter.clone());
        // `request` may have walked the list just before this cutter was added.
        if self.is_set() {
            cutter.shutdown();
        }
    }

    /// Drops the cutters so far, which have sent their last request; their connections then close.
    pub fn forget(&self) {
        lock(&self.0.in_flight).clear();
    }

    /// Registers a function to run before a second signal ends the process. It must return at once.
    pub fn before_leaving(&self, last: impl Fn() + Send + Sync + 'static) {
        lock(&self.0.before_leaving).push(Box::new(last));
    }

    fn leave(&self) {
        for last in lock(&self.0.before_leaving).iter() {
            last();
        }
    }

    /// Ends the run at SIGINT, SIGTERM or SIGHUP, and the process at the second signal (exit 130), whatever ended the
    /// run.
    ///
    /// A SIGHUP that was ignored at the start stays ignored, as nohup requires.
    ///
    /// # Errors
    /// When the system refuses a pipe, a handler or a thread.
    pub fn on_signals(&self) -> Result<()> {
        let failed = |e: std::io::Error| Error::input("signals", e);
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        // A byte a signal: of two in a row none is lost.
        let (mut came, tell) = UnixStream::pair().map_err(failed)?;
        for signal in wanted {
            pipe::register(signal, tell.try_clone().map_err(failed)?).map_err(failed)?;
        }
        ENDS_AT_ONCE.store(false, SeqCst);
        let stop = self.clone();
        let listening = std::thread::Builder::new().spawn(move || {
            let mut first: Option<Instant> = None;
            while came.read_exact(&mut [0]).is_ok() {
                match first {
                    Some(at) if at.elapsed() < ONE_SIGNAL => {}
                    Some(_) => {
                        stop.leave();
                        std::process::exit(130);
                    }
                    None => {
                        first = Some(Instant::now());
                        // The terminal has shown ^C where the report would begin.
                        if std::io::stderr().is_terminal() {
                            eprintln!("");
                        }
                        stop.request(Reason::Signal);
                    }
                }
            }
        });
        listening.map(|_| ()).map_err(failed)
    }
}

/// Whether SIGINT and SIGTERM end the process: until a run listens to them.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(true);

/// Lets SIGINT and SIGTERM end the process until a run takes them over. A shell without job control starts its background
/// jobs with SIGINT ignored; they are to obey one all the same, from their first moment on.
pub fn obey_signals() {
    for signal in [SIGINT, SIGTERM] {
        // It fails for signals that nobody may handle.
        let _ = flag::register_conditional_default(signal, &ENDS_AT_ONCE);
    }
}

/// Returns whether this process was started with the signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays_and_sleepers_wake() {
        let stop = Stop::new();
        assert!(!stop.is_set());
        let sleeper = stop.clone();
        let thread = std::thread::spawn(move || sleeper.woken().recv().is_err());
        stop.request(Reason::Duration);
        stop.request(Reason::Signal);
        assert!(thread.join().expect("the sleeper ends"));
        assert_eq!(stop.reason(), Some(&Reason::Duration));
    }

    #[test]
    fn registered_functions_run_before_the_process_exits() {
        let stop = Stop::new();
        let (sender, receiver) = bounded(2);
        for word in ["first", "second"] {
            let sender = sender.clone();
            stop.before_leaving(move || sender.send(word).expect("room for two"));
        }
        stop.leave();
        let words: Vec<&str> = receiver.try_iter().collect();
        assert_eq!(words, ["first", "second"]);
    }
}
