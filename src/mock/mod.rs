//! A server that looks like vLLM and simulates its engine, for tests and for trying things out.
//!
//! ```text
//! accept -> connection thread: http -> routes -> answer: generation -> schedule (Plan) -> stream <-> pacer
//!                                                       response_cache   kv_cache         script    (one
//!                                                                                         events    thread)
//! ```
//!
//! What an answer will be and when each token is due is computed when a request has been read
//! (`schedule`); then it is only waited and written: by the connection's thread what is due already, by
//! the pacer's what is due later. Shares no parser and no type with the client, so that the two do not
//! share mistakes.

mod answer;
mod bad_request;
mod body;
mod clock;
mod events;
mod faults;
mod freeze;
mod generation;
mod http;
mod kv_cache;
mod metrics;
mod options;
mod pacer;
mod response_cache;
mod routes;
mod schedule;
mod script;
mod stream;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod truth;

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use options::{OPTIONS, Options};

use crate::error::{Error, Result};
use clock::Clock;
use http::NoRequest;
use metrics::Metrics;
use pacer::Pacer;
use response_cache::ResponseCache;
use schedule::Schedule;
use truth::TruthLog;

const STACK_BYTES: usize = 192 << 10;

/// A running server; dropping it stops accepting and shuts down its open connections.
pub struct Mock {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Mock {
    /// Binds the options' address, starts serving and returns at once.
    ///
    /// Fails if the options do not fit together, the address cannot be bound or the truth log not be created.
    pub fn start(options: Options) -> Result<Mock> {
        if !options.freeze_at.is_zero() && options.freeze_for.is_zero() {
            let why = "says when to freeze, not for how long; want --freeze-for too";
            return Err(Error::input("--freeze-at", why));
        }
        let wanted = (options.host.as_str(), options.port);
        let fail = |error| Error::input(format!("mock on {}:{}", wanted.0, wanted.1), error);
        let listener = TcpListener::bind(wanted).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let clock = Clock::start();
        let shared = Arc::new(Shared {
            clock,
            pacer: Arc::new(Pacer::new(clock)),
            truth_log: TruthLog::create(options.truth_log.as_deref())?,
            schedule: Mutex::new(Schedule::new(&options)),
            metrics: Mutex::new(Metrics::new(&options)),
            responses: Mutex::new(ResponseCache::new(options.response_cache)),
            requests: AtomicU64::new(0),
            connections: Mutex::new(Some(HashMap::new())),
            options,
        });
        let mut mock = Mock {
            address,
            shared,
            accepting: None,
        };
        let fail = |error| Error::input("mock", error);
        let pacer = Arc::clone(&mock.shared.pacer);
        spawn(move || pacer.run()).map_err(fail)?;
        let shared = Arc::clone(&mock.shared);
        mock.accepting = Some(spawn(move || accept(&listener, &shared)).map_err(fail)?);
        Ok(mock)
    }

    /// What `/v1/…` is appended to.
    pub fn url(&self) -> String {
        format!(
            "http://{}{}",
            reachable(self.address),
            self.shared.options.path_prefix
        )
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    #[cfg(test)]
    fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let open = self.shared.connections().take();
        for connection in open.into_iter().flat_map(HashMap::into_values) {
            let _ = connection.shutdown(Shutdown::Both); // It may be closed already.
        }
        self.shared.pacer.stop();
        // The accepting thread sees that there is no list any more once it accepts something.
        let woken = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

/// The address by which a listener on `address` is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What all connections share. No thread holds two of the locks at once.
struct Shared {
    options: Options,
    clock: Clock,
    pacer: Arc<Pacer>,
    truth_log: TruthLog,
    schedule: Mutex<Schedule>,
    metrics: Mutex<Metrics>,
    responses: Mutex<ResponseCache>,
    requests: AtomicU64,
    /// By number; `None` once the server is stopping.
    connections: Mutex<Option<HashMap<u64, Arc<TcpStream>>>>,
}

impl Shared {
    /// The number of the next generating request, from 1.
    fn next_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().expect("no holder panics")
    }

    /// Returns at the end of the freeze, or at once outside it.
    fn wait_out_freeze(&self) {
        let freeze = self.schedule().freeze();
        self.clock.sleep_through(freeze);
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().expect("no holder panics")
    }

    fn responses(&self) -> MutexGuard<'_, ResponseCache> {
        self.responses.lock().expect("no holder panics")
    }

    fn connections(&self) -> MutexGuard<'_, Option<HashMap<u64, Arc<TcpStream>>>> {
        self.connections.lock().expect("no holder panics")
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("mock".to_string())
        .stack_size(STACK_BYTES)
        .spawn(run)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((connection, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(10)); // Out of files, most likely.
            continue;
        };
        let connection = Arc::new(connection);
        match &mut *shared.connections() {
            Some(open) => open.insert(number, Arc::clone(&connection)),
            None => return,
        };
        let for_thread = Arc::clone(shared);
        let started = spawn(move || {
            serve(&for_thread, &connection);
            forget(&for_thread, number);
        });
        if started.is_err() {
            forget(shared, number);
        }
    }
}

/// With the list's hold on it goes the last one, so this closes the connection.
fn forget(shared: &Shared, number: u64) {
    if let Some(open) = &mut *shared.connections() {
        open.remove(&number);
    }
}

fn serve(shared: &Shared, connection: &Arc<TcpStream>) {
    if connection.set_nodelay(true).is_err() {
        return;
    }
    let mut reader = http::Reader::new(connection);
    loop {
        match reader.read() {
            Ok(request) => match routes::respond(shared, connection, request) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            },
            Err(NoRequest::Closed) => return,
            Err(NoRequest::Invalid(status)) => {
                shared.wait_out_freeze();
                let response =
                    bad_request::error_response(status, "no HTTP request", "Bad Request", None);
                let _ = (&**connection).write_all(&response.into_bytes(false)); // It is closed either way.
                return;
            }
        }
    }
}
