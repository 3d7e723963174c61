//! The layer between ureq and the socket: stamps every read, sets each read's deadline by the phase of the request, and
//! notes connections as they are made.
//!
//! The layer is outside TLS, so that stamps are taken when plain bytes are there.

use std::sync::Arc;
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};

use super::socket::SocketConnector;
use super::tls::{Boxed, TlsConnector};
use super::trust::TlsSettings;
use super::wire::Wire;

/// Returns the connector of one worker: TCP or a tunnel through a proxy, then TLS if the scheme asks for it, then the
/// stamping layer. Workers that share `tls` share its certificates and sessions.
pub fn connector(wire: &Arc<Wire>, tls: &Arc<TlsSettings>) -> impl Connector {
    ().chain(Begin(wire.clone()))
        // It runs the whole chain for the connection to the proxy.
        .chain(Tunnel(ConnectProxyConnector::default()))
        .chain(SocketConnector(wire.clone()))
        .chain(TcpDone(wire.clone()))
        .chain(TlsConnector(tls.clone()))
        .chain(Stamping(wire.clone()))
}

/// Makes a tunnel if there is a proxy.
#[derive(Debug)]
struct Tunnel(ConnectProxyConnector);

impl Connector<()> for Tunnel {
    type Out = Boxed;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Boxed>, Error> {
        match details.config.proxy() {
            Some(_) => self.open(details),
            None => Ok(None),
        }
    }
}

impl Tunnel {
    /// Its large stack frame must not be part of every worker's stack: see `TlsConnector::wrap`.
    #[inline(never)]
    fn open(&self, details: &ConnectionDetails) -> Result<Option<Boxed>, Error> {
        let tunnel = Connector::<()>::connect(&self.0, details, None)?;
        Ok(tunnel.map(Transport::boxed))
    }
}

#[derive(Debug)]
struct Begin(Arc<Wire>);

impl Connector<()> for Begin {
    type Out = ();

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<()>, Error> {
        self.0.connection_asked();
        Ok(None)
    }
}

#[derive(Debug)]
struct TcpDone(Arc<Wire>);

impl<In: Transport> Connector<In> for TcpDone {
    type Out = In;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<In>, Error> {
        self.0.tcp_made(details);
        Ok(chained)
    }
}

#[derive(Debug)]
struct Stamping(Arc<Wire>);

impl<In: Transport> Connector<In> for Stamping {
    type Out = Either<(), Stamped<In>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        self.0.connection_made(details);
        let wire = self.0.clone();
        Ok(chained.map(|inner| Either::B(Stamped { inner, wire })))
    }
}

#[derive(Debug)]
struct Stamped<In> {
    inner: In,
    wire: Arc<Wire>,
}

impl<In: Transport> Transport for Stamped<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, mut timeout: NextTimeout) -> Result<(), Error> {
        if self.wire.is_connecting() {
            return self.inner.transmit_output(amount, timeout);
        }
        let (limit_ns, kind) = self.wire.limit(self.wire.epoch.now_ns());
        if limit_ns == 0 {
            self.wire.expire(kind);
            return Err(Error::Timeout(ureq::Timeout::PerWrite));
        }
        timeout.per_write = Some(Duration::from_nanos(limit_ns).into());
        let sent = self.inner.transmit_output(amount, timeout);
        if sent.as_ref().is_err_and(is_timeout) {
            self.wire.expire(kind);
        }
        self.wire.write_ended(self.wire.epoch.now_ns());
        sent
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        let wire = &self.wire;
        if wire.is_connecting() {
            return self.inner.await_input(timeout);
        }
        let from_ns = wire.last_ns();
        let (limit_ns, kind) = wire.limit(from_ns);
        let mut left_ns = limit_ns;
        while left_ns > 0 {
            timeout.per_read = Some(Duration::from_nanos(left_ns.min(wire.read_step_ns)).into());
            let read = self.inner.await_input(timeout);
            let now_ns = wire.epoch.now_ns();
            if read.as_ref().is_err_and(is_timeout) {
                left_ns = limit_ns.saturating_sub(now_ns - from_ns);
                continue;
            }
            wire.read_ended(now_ns, matches!(read, Ok(true)));
            return read;
        }
        wire.expire(kind);
        Err(Error::Timeout(ureq::Timeout::PerRead))
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Returns whether an error is a timeout, however ureq wrapped it.
pub fn is_timeout(error: &Error) -> bool {
    match error {
        Error::Timeout(_) => true,
        Error::Io(io) => io.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}
