//! The server's threads: one accepts, one paces, one a connection reads requests and answers them.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::http::ErrorReply;
use super::options::{Options, Reuse};
use super::request::{NoRequest, Reader};
use super::routes::respond;
use super::shared::Shared;
use crate::error::{Error, Result};

const STACK_BYTES: usize = 192 << 10;

/// A connection that is silent for this long is closed; nginx keeps idle ones as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

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
        Mock::start_within(options, IDLE_TIMEOUT)
    }

    /// Starts as `start` does, with another time than 75 s after which a silent connection is closed.
    pub fn start_within(options: Options, idle_timeout: Duration) -> Result<Mock> {
        if !options.freeze_at.is_zero() && options.freeze_for.is_zero() {
            let why = "says when to freeze, not for how long; want --freeze-for too";
            return Err(Error::input("--freeze-at", why));
        }
        if let Reuse::Units(tokens) = options.reuse
            && !tokens.is_multiple_of(options.block_tokens)
        {
            let blocks = options.block_tokens;
            let why = format!("not whole blocks; want a multiple of --block-tokens, here {blocks}");
            return Err(Error::input(format!("--reuse units:{tokens}"), why));
        }
        let wanted = (options.host.as_str(), options.port);
        let fail = |error| Error::input(format!("mock on {}:{}", wanted.0, wanted.1), error);
        let listener = TcpListener::bind(wanted).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let shared = Arc::new(Shared::new(options, idle_timeout)?);
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

    /// The URL to which `/v1/…` is appended.
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
    pub fn addr(&self) -> SocketAddr {
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

/// Takes a connection from the list. Nothing else holds it by then, so this closes it.
fn forget(shared: &Shared, number: u64) {
    if let Some(open) = &mut *shared.connections() {
        open.remove(&number);
    }
}

fn serve(shared: &Shared, connection: &Arc<TcpStream>) {
    let idle_timeout = Some(shared.idle_timeout);
    if connection.set_nodelay(true).is_err() || connection.set_read_timeout(idle_timeout).is_err() {
        return;
    }
    let mut reader = Reader::new(connection, shared.epoch);
    loop {
        match reader.read() {
            Ok(request) => match respond(shared, connection, request) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            },
            Err(NoRequest::Closed) => return,
            Err(NoRequest::Invalid(status, why)) => {
                shared.wait_out_freeze();
                let error = ErrorReply::new(status, "Bad Request", why);
                let _ = (&**connection).write_all(&error.response().into_bytes(false)); // It is closed either way.
                return;
            }
        }
    }
}
