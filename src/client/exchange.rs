//! One exchange of HTTP/1.1 after the other over a kept connection: a request goes out, a head and a body come in.
//!
//! Connections, request heads and reply heads are made by ureq and ureq-proto. The loop around them is here because
//! ureq's own takes 14 KB of stack, and the pages of a stack that were used once stay in memory for each worker.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::Timeout;
use ureq::http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, NextTimeout, ShutdownHandle, Transport, time,
};
use ureq_proto::client::state::{RecvResponse, SendBody, SendRequest};
use ureq_proto::client::{Call, RecvResponseResult, SendRequestResult};

use super::framing::Framing;
use super::http::{Fixed, Link, MAX_HEAD_BYTES, USER_AGENT, config};
use super::transport::connector;
use super::wire::Wire;
use crate::lock::lock;

/// uvicorn and llama.cpp close after 5 s without saying so.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Our transport sets the timeouts of reads and writes.
const NO_LIMIT: NextTimeout = NextTimeout {
    after: time::Duration::NotHappening,
    reason: Timeout::Global,
    per_read: None,
    per_write: None,
};

type Connect = dyn Fn(&ConnectionDetails) -> Result<Box<dyn Transport>, Error> + Send + Sync;

/// One worker's connection to its server, opened when a request needs it.
pub struct Exchange {
    connect: Arc<Connect>,
    cutter: Cutter,
    /// The connection that waits for the next request, and since when.
    kept: Option<(Box<dyn Transport>, Instant)>,
}

impl Exchange {
    pub fn new(link: &Link, wire: &Arc<Wire>) -> Exchange {
        let connector = connector(wire, &link.tls);
        Exchange {
            connect: Arc::new(move |details| {
                let transport = connector.connect(details, None)?;
                Ok(transport.ok_or(Error::ConnectionFailed)?.boxed())
            }),
            cutter: Cutter::default(),
            kept: None,
        }
    }

    /// Returns the handle that cuts the exchange from another thread.
    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    /// Sends a request and waits for the head of its reply; the body is then read from `Incoming`.
    ///
    /// # Errors
    /// Fails when no connection opens, or the connection breaks, or what comes is no HTTP.
    pub fn run(
        &mut self,
        link: &Link,
        mut request: Request<()>,
        body: &mut impl Read,
    ) -> Result<(Response<()>, Incoming<'_>), Error> {
        self.cutter.check()?;
        let headers = request.headers_mut();
        for (name, value) in [(header::USER_AGENT, USER_AGENT), (header::ACCEPT, "*/*")] {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        let asks_to_close = says(headers, "close");
        let mut transport = match self.take_kept() {
            Some(transport) => transport,
            None => self.open(link, &request)?,
        };
        let call = send(request, body, &mut *transport)?;
        let (response, framing) = receive(call, &mut *transport)?;
        let headers = response.headers();
        let is_old = response.version() == Version::HTTP_10 && !says(headers, "keep-alive");
        let incoming = Incoming {
            is_last: asks_to_close || is_old || says(headers, "close"),
            transport: Some(transport),
            framing,
            kept: &mut self.kept,
        };
        Ok((response, incoming))
    }

    /// Takes the kept connection if it is still good.
    fn take_kept(&mut self) -> Option<Box<dyn Transport>> {
        let (mut transport, since) = self.kept.take()?;
        (transport.is_open() && since.elapsed() < MAX_IDLE).then_some(transport)
    }

    #[inline(never)]
    fn open(&self, link: &Link, request: &Request<()>) -> Result<Box<dyn Transport>, Error> {
        let config = config(link);
        let fixed = Fixed(link.addrs.clone());
        let cutter = self.cutter.clone();
        let timeout = NextTimeout {
            after: link.timeouts.connect.into(),
            reason: Timeout::Connect,
            ..NO_LIMIT
        };
        let details = ConnectionDetails {
            uri: request.uri(),
            addrs: fixed.resolve(request.uri(), &config, timeout)?,
            config: &config,
            request_level: false,
            resolver: &fixed,
            now: time::Instant::now(),
            timeout,
            current_time: Arc::new(time::Instant::now),
            run_connector: self.connect.clone(),
            register_shutdown: Arc::new(move |handle| cutter.register(handle)),
        };
        (self.connect)(&details)
    }
}

/// Sends head and body.
#[inline(never)]
fn send(
    request: Request<()>,
    body: &mut impl Read,
    transport: &mut dyn Transport,
) -> Result<Call<RecvResponse>, Error> {
    let mut call: Call<SendRequest> = Call::new(request)?.proceed();
    while !call.can_proceed() {
        let amount = call.write(transport.buffers().output())?;
        transport.transmit_output(amount, NO_LIMIT)?;
    }
    match call.proceed()? {
        Some(SendRequestResult::RecvResponse(call)) => Ok(call),
        Some(SendRequestResult::SendBody(call)) => send_body(call, body, transport),
        // A user's own header asked for it; the server may take the body unasked.
        Some(SendRequestResult::Await100(call)) => match call.proceed()? {
            ureq_proto::client::Await100Result::SendBody(call) => send_body(call, body, transport),
            ureq_proto::client::Await100Result::RecvResponse(call) => Ok(call),
        },
        None => Err(Error::BodyStalled),
    }
}

fn send_body(
    mut call: Call<SendBody>,
    body: &mut impl Read,
    transport: &mut dyn Transport,
) -> Result<Call<RecvResponse>, Error> {
    while !call.can_proceed() {
        let (_, output) = transport.buffers().tmp_and_output();
        let amount = body.read(output)?;
        call.consume_direct_write(amount)?;
        transport.transmit_output(amount, NO_LIMIT)?;
    }
    call.proceed().ok_or(Error::BodyStalled)
}

/// Waits for the head of the reply; returns it with the framing of its body.
#[inline(never)]
fn receive(
    mut call: Call<RecvResponse>,
    transport: &mut dyn Transport,
) -> Result<(Response<()>, Framing), Error> {
    let response = loop {
        let has_more = transport.maybe_await_input(NO_LIMIT)?;
        let buffers = transport.buffers();
        let input = buffers.input();
        let (amount, response) = call.try_response(input, false)?;
        let head_bytes = if response.is_some() {
            amount
        } else {
            input.len()
        };
        if head_bytes > MAX_HEAD_BYTES {
            return Err(Error::LargeResponseHeader(input.len(), MAX_HEAD_BYTES));
        }
        buffers.input_consume(amount);
        match response {
            Some(response) => break response,
            None if has_more => {}
            None => return Err(disconnected()),
        }
    };
    let framing = match call.proceed() {
        Some(RecvResponseResult::RecvBody(call)) => Framing::of(call.body_mode()),
        // No body follows.
        _ => Framing::Length(0),
    };
    Ok((response, framing))
}

/// Returns whether a header `Connection` has this word.
fn says(headers: &HeaderMap, word: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).into_iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|said| said.trim().eq_ignore_ascii_case(word))
}

fn disconnected() -> Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "Peer disconnected").into()
}

/// The body of a reply as it comes in. Its connection is kept once the body was read to its end.
pub struct Incoming<'a> {
    /// `None` once the body has ended.
    transport: Option<Box<dyn Transport>>,
    framing: Framing,
    /// Whether the connection carries no further request.
    is_last: bool,
    kept: &'a mut Option<(Box<dyn Transport>, Instant)>,
}

impl Incoming<'_> {
    fn next(&mut self, output: &mut [u8]) -> Result<usize, Error> {
        let Some(transport) = &mut self.transport else {
            return Ok(0);
        };
        loop {
            if self.framing.is_over() {
                self.keep();
                return Ok(0);
            }
            let has_more = match transport.maybe_await_input(NO_LIMIT) {
                Ok(has_more) => has_more,
                // A connection that was reset has ended.
                Err(Error::Io(error)) if is_reset(&error) => false,
                Err(error) => return Err(error),
            };
            let buffers = transport.buffers();
            let (used, made) = self.framing.read(buffers.input(), output)?;
            buffers.input_consume(used);
            if made > 0 {
                return Ok(made);
            }
            if !has_more && used == 0 {
                let may_close = self.framing.may_close();
                self.transport = None;
                return if may_close {
                    Ok(0)
                } else {
                    Err(disconnected())
                };
            }
        }
    }

    /// Keeps the connection for the next request, unless it is to end or has bytes that nobody asked for.
    fn keep(&mut self) {
        let transport = self.transport.take().filter(|_| !self.is_last);
        if let Some(mut transport) = transport
            && transport.buffers().input().is_empty()
            && transport.is_open()
        {
            *self.kept = Some((transport, Instant::now()));
        }
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        self.next(output).map_err(Error::into_io)
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Cuts the exchange of one worker from another thread.
#[derive(Clone, Default)]
pub struct Cutter(Arc<Mutex<Cuttable>>);

#[derive(Default)]
struct Cuttable {
    is_shut_down: bool,
    /// The connection opened last.
    connection: Option<Weak<dyn ShutdownHandle>>,
}

impl Cutter {
    /// Ends the exchange in flight, and refuses further ones.
    pub fn shutdown(&self) {
        let connection = {
            let mut cuttable = self.state();
            cuttable.is_shut_down = true;
            cuttable.connection.take()
        };
        if let Some(connection) = connection.and_then(|connection| connection.upgrade()) {
            connection.shutdown();
        }
    }

    fn state(&self) -> MutexGuard<'_, Cuttable> {
        lock(&self.0)
    }

    fn register(&self, connection: Weak<dyn ShutdownHandle>) -> Result<(), Error> {
        let mut cuttable = self.state();
        cuttable.connection = Some(connection);
        cuttable.check()
    }

    /// # Errors
    /// Fails once the exchange was shut down.
    fn check(&self) -> Result<(), Error> {
        self.state().check()
    }
}

impl Cuttable {
    fn check(&self) -> Result<(), Error> {
        match self.is_shut_down {
            true => Err(io::Error::new(io::ErrorKind::NotConnected, SHUT_DOWN).into()),
            false => Ok(()),
        }
    }
}

/// The error of a request that was refused because its exchange was shut down.
const SHUT_DOWN: &str = "the run has ended";

/// Returns whether a request was refused because its exchange was shut down.
pub fn is_shut_down(error: &Error) -> bool {
    matches!(error, Error::Io(io) if io.kind() == io::ErrorKind::NotConnected && io.to_string() == SHUT_DOWN)
}
