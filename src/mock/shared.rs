//! The state that the server's threads share, and how they wait.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::hang_up::hangs_up_by;
use super::metrics::Metrics;
use super::options::Options;
use super::pacer::Pacer;
use super::response_cache::ResponseCache;
use super::schedule::Schedule;
use super::truth::TruthLog;
use crate::error::Result;
use crate::units::Epoch;

/// The state that all connections share. No thread holds two of the locks at once.
pub struct Shared {
    pub options: Options,
    pub epoch: Epoch,
    pub pacer: Arc<Pacer>,
    pub truth_log: TruthLog,
    schedule: Mutex<Schedule>,
    metrics: Mutex<Metrics>,
    responses: Mutex<ResponseCache>,
    /// How long a connection may be silent while a request is waited for or read, from one byte to the next.
    pub idle_timeout: Duration,
    requests: AtomicU64,
    /// The open connections by number; `None` once the server is stopping.
    connections: Mutex<Option<HashMap<u64, Arc<TcpStream>>>>,
}

impl Shared {
    /// The state of a server that has answered nothing. Fails if the truth log cannot be created.
    pub fn new(options: Options, idle_timeout: Duration) -> Result<Shared> {
        let epoch = Epoch::start();
        Ok(Shared {
            epoch,
            pacer: Arc::new(Pacer::new(epoch)),
            truth_log: TruthLog::create(options.truth_log.as_deref())?,
            schedule: Mutex::new(Schedule::new(&options)),
            metrics: Mutex::new(Metrics::new(&options)),
            responses: Mutex::new(ResponseCache::new(options.response_cache)),
            idle_timeout,
            requests: AtomicU64::new(0),
            connections: Mutex::new(Some(HashMap::new())),
            options,
        })
    }

    /// The number of the next generating request, from 1.
    pub fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().expect("no holder panics")
    }

    /// Returns at `time_ns`, or at once if it has passed; in the freeze, at its end.
    ///
    /// # Errors
    /// The wait fails as soon as the client has hung up, because nobody wants the answer any more. While the server is
    /// frozen it does not notice that; the wait then fails at the end of the freeze.
    pub fn wait_until(&self, time_ns: u64, client: &TcpStream) -> io::Result<()> {
        let has_hung_up = hangs_up_by(client, time_ns, self.epoch);
        self.wait_out_freeze();
        match has_hung_up? {
            true => Err(ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// Returns at the end of the freeze, or at once outside it.
    pub fn wait_out_freeze(&self) {
        let freeze = self.schedule().freeze();
        let now_ns = self.epoch.now_ns();
        if let Some(end_ns) = freeze.end_at(now_ns) {
            thread::sleep(Duration::from_nanos(end_ns - now_ns));
        }
    }

    pub fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().expect("no holder panics")
    }

    pub fn responses(&self) -> MutexGuard<'_, ResponseCache> {
        self.responses.lock().expect("no holder panics")
    }

    pub fn connections(&self) -> MutexGuard<'_, Option<HashMap<u64, Arc<TcpStream>>>> {
        self.connections.lock().expect("no holder panics")
    }
}
