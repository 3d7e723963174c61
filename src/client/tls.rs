//! TLS between the socket and HTTP: like ureq's own, with buffers that are only as large as requests and replies need.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Stream};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter, time,
};

use super::buffers::GrowingBuffers;
use super::trust::TlsSettings;

/// A transport behind a pointer.
pub type Boxed = Box<dyn Transport>;

/// Adds TLS to a connection whose scheme asks for it.
#[derive(Debug)]
pub struct TlsConnector(pub Arc<TlsSettings>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, Boxed>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(inner) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || inner.is_tls() {
            return Ok(Some(Either::A(inner)));
        }
        Ok(Some(Either::B(self.wrap(details, inner.boxed())?)))
    }
}

impl TlsConnector {
    /// The state of a handshake takes kilobytes of stack, and the pages of a stack that were used once stay in memory.
    /// A plain connection therefore does without this frame.
    #[inline(never)]
    fn wrap(&self, details: &ConnectionDetails, inner: Boxed) -> Result<Boxed, Error> {
        let mut transport = self.begin(details, inner)?;
        transport.shake_hands(details)?;
        Ok(transport)
    }

    /// Makes a session that has sent nothing yet. Its frame has copies of the session, 6 KB in all, which must not
    /// lie below the frames of the handshake.
    #[inline(never)]
    fn begin(&self, details: &ConnectionDetails, inner: Boxed) -> Result<Box<Tls>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host)
            .map_err(|_| Error::Tls("Rustls invalid dns name error"))?
            .to_owned();
        let session = ClientConnection::new(self.0.config(), name)
            .map_err(|error| io::Error::other(format!("rustls: {error}")))?;
        Ok(Box::new(Tls {
            session,
            inner: TransportAdapter::new(inner, details.current_time.clone()),
            buffers: GrowingBuffers::default(),
        }))
    }
}

/// A TLS session over another transport.
struct Tls {
    session: ClientConnection,
    inner: TransportAdapter,
    /// The plain bytes.
    buffers: GrowingBuffers,
}

impl Tls {
    #[inline(never)]
    fn shake_hands(&mut self, details: &ConnectionDetails) -> Result<(), Error> {
        let mut timeout = details.timeout;
        // Opening the connection below took a part of the time.
        if let (time::Duration::Exact(limit), time::Instant::Exact(from)) =
            (timeout.after, details.now)
        {
            timeout.after = time::Duration::Exact(limit.saturating_sub(from.elapsed()));
        }
        self.inner.set_timeout(timeout);
        self.session.complete_io(&mut self.inner)?;
        Ok(())
    }
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.set_timeout(timeout);
        let output = self.buffers.take_output(amount);
        Stream::new(&mut self.session, &mut self.inner).write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.buffers.free_output();
        self.inner.set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = Stream::new(&mut self.session, &mut self.inner).read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.inner.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.inner.inner()).finish()
    }
}
