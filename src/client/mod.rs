//! One request at a time over a kept connection: `Client::send(turn) -> Sample`.
//!
//! Owns HTTP, SSE and the JSON of the APIs. A turn goes in, a sample comes out, also for a failure. This module knows
//! no load, statistics or output.

pub mod api;
pub mod body;
mod buffers;
mod chunk;
pub mod count;
mod dialect;
pub mod discovery;
mod encoded;
pub mod endpoint;
pub mod exchange;
mod framing;
pub mod http;
mod json;
pub mod lessons;
pub mod proxy;
mod query;
mod receive;
mod reply;
pub mod secret;
pub mod server_clock;
pub mod setup;
mod socket;
mod sse;
mod template;
mod tls;
mod transport;
pub mod trust;
mod usage;
pub mod wire;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};

use self::body::{BodyShape, Pieces, pieces};
use self::endpoint::Endpoint;
use self::exchange::{Cutter, Exchange, Incoming, is_shut_down};
use self::http::{Link, MAX_BODY_BYTES, classify};
use self::receive::Receiver;
use self::server_clock::ServerClock;
use self::wire::Wire;
use crate::error;
use crate::plan::Turn;
use crate::sample::{FailKind, Failure, Sample};
use crate::units::Epoch;

/// The media type of a stream; media types have no case.
const STREAM_TYPE: &[u8] = b"text/event-stream";
/// A reused connection that the server had closed before the request fails within this time of the send, or within
/// three times as long as it took to open.
const STALE_NS: u64 = 100_000_000;

/// The settings that all requests of a run share.
#[derive(Debug, Clone)]
pub struct Target {
    pub link: Link,
    /// The URI of the requests, such as `http://localhost:8000/v1/completions`.
    pub uri: Uri,
    /// The URI requested before the run to open a connection; the answer does not matter.
    pub idle_uri: Uri,
    pub body: BodyShape,
    /// The text before the number in `x-request-id`.
    pub run_id: String,
    pub server_clock: Arc<ServerClock>,
}

impl Target {
    /// Makes a target for the body's API of the endpoint, with a new run id.
    ///
    /// # Errors
    /// Fails when the endpoint makes no valid URI.
    pub fn new(link: Link, endpoint: &Endpoint, body: BodyShape) -> error::Result<Target> {
        Ok(Target {
            link,
            uri: endpoint.route(body.api)?,
            idle_uri: endpoint.idle_uri(body.api)?,
            body,
            run_id: format!("{:08x}", fastrand::u32(..)),
            server_clock: Arc::default(),
        })
    }
}

/// So many requests in a row that found their kept connection closed tell that the server keeps none.
const MOST_STALE: u8 = 3;

/// One worker's connection to the server.
pub struct Client {
    target: Arc<Target>,
    wire: Arc<Wire>,
    exchange: Exchange,
    receiver: Receiver,
    /// The body of the last reply whose status was not a success; a sample has only its beginning.
    refusal: String,
    /// The end of the last request's body and its `max_tokens`, kept because most bodies end alike.
    rest: Option<(Option<u64>, String)>,
}

impl Client {
    pub fn new(target: Arc<Target>) -> Client {
        let wire = target.link.wire();
        let receiver = Receiver::new(wire.clone(), target.body.api);
        let exchange = Exchange::new(&target.link, &wire);
        Client {
            target,
            wire,
            exchange,
            receiver,
            refusal: String::new(),
            rest: None,
        }
    }

    /// Returns a handle whose `shutdown` cuts the request in flight.
    pub fn cutter(&self) -> Cutter {
        self.exchange.cutter()
    }

    /// The state that this client and its connection share.
    pub fn wire(&self) -> Arc<Wire> {
        self.wire.clone()
    }

    /// Returns whether a cutter ended the last request. A server that had refused it, or reported an error in
    /// its stream, had ended it before.
    pub fn was_cut(&self, sample: &Sample) -> bool {
        let failure = sample.failure.as_ref();
        let is_open = |f: &Failure| !matches!(f.kind, FailKind::Http | FailKind::StreamError);
        self.wire.seen().is_cut && failure.is_some_and(is_open)
    }

    /// Returns the run's clock.
    pub fn epoch(&self) -> Epoch {
        self.wire.epoch
    }

    /// Returns the current time on the run's clock.
    pub fn now_ns(&self) -> u64 {
        self.wire.epoch.now_ns()
    }

    /// Opens the connection that the first request will use. A failure is ignored: the request then opens its own, and
    /// its sample shows that.
    pub fn warm_up(&mut self) {
        self.wire.begin_within(http::SMALL_TIMEOUT);
        let mut request = Request::new(());
        *request.uri_mut() = self.target.idle_uri.clone();
        *request.headers_mut() = self.target.link.headers.clone();
        if let Ok((_, body)) = self
            .exchange
            .run(&self.target.link, request, &mut std::io::empty())
        {
            // The connection is only kept if the body is read to its end.
            self.receiver.skip(body.take(MAX_BODY_BYTES));
        }
    }

    /// Sends one turn and waits for its end. A pooled connection that turns out closed before any byte came is replaced
    /// once, and the clock restarts (`resent`).
    ///
    /// A server that closes its connections after every reply without saying so, as llama.cpp does after a stream, is
    /// learnt: from then on each request opens a connection of its own.
    pub fn send(&mut self, turn: &Turn) -> Sample {
        let in_a_row = Arc::clone(&self.target.link.stale_in_a_row);
        if in_a_row.load(Relaxed) >= MOST_STALE {
            self.wire.leave_connection();
        }
        let sample = self.attempt(turn);
        let is_stale = self.was_stale(&sample);
        if is_stale {
            in_a_row.fetch_add(1, Relaxed);
        } else if sample.reused && sample.is_success() {
            in_a_row.store(0, Relaxed);
        }
        if is_stale {
            let again = self.attempt(turn);
            // An exchange that was cut opens no further connection: the request was not sent again.
            if self.wire.seen().connecting {
                return Sample {
                    resent: true,
                    t_first_send_ns: Some(sample.t_send_ns),
                    ..again
                };
            }
        }
        sample
    }

    /// Returns whether the request found a reused connection that was closed already. A server that takes the request, holds
    /// it and then closes has failed, and that time is the request's.
    fn was_stale(&self, sample: &Sample) -> bool {
        let seen = self.wire.seen();
        let failure = sample.failure.as_ref();
        let took_ns = sample.t_end_ns.saturating_sub(sample.t_send_ns);
        sample.reused
            && seen.reads == 0
            && seen.expired.is_none()
            && !seen.is_cut
            && failure.is_some_and(|failure| failure.kind == FailKind::Truncated)
            && took_ns <= STALE_NS.max(3 * self.wire.last_connect_ns())
    }

    /// Returns the last answer's text, escaped for the inside of a JSON string, if its turn keeps it.
    pub fn take_answer(&mut self) -> Arc<str> {
        self.receiver.reply.take_answer()
    }

    /// Returns the number of events with data in the last reply, without `[DONE]`.
    pub fn events(&self) -> u64 {
        self.receiver.reply.events()
    }

    /// Returns the server's text with the last status that was not a success, as received.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Returns whether the last reply reported its usage before it ended.
    pub fn has_running_usage(&self) -> bool {
        self.receiver.reply.has_running_usage()
    }

    /// Sends the request of `warm_up`; returns how long its answer took, and whether a pooled connection carried it.
    /// `None` without an answer.
    pub fn round_trip(&mut self) -> Option<(Duration, bool)> {
        let from_ns = self.now_ns();
        self.warm_up();
        let taken_ns = self.now_ns().saturating_sub(from_ns);
        let seen = self.wire.seen();
        (seen.reads > 0).then_some((Duration::from_nanos(taken_ns), !seen.connecting))
    }

    fn attempt(&mut self, turn: &Turn) -> Sample {
        let shape = &self.target.body;
        let rest = match self.rest.take() {
            Some((max_tokens, rest)) if max_tokens == turn.max_tokens => rest,
            _ => shape.rest(turn.max_tokens),
        };
        let (_, rest) = self.rest.insert((turn.max_tokens, rest));
        let request_id = format!("{}-{}", self.target.run_id, turn.id);
        let metadata = shape.metadata(turn, &request_id);
        let pieces = pieces(shape.api, turn, &metadata, rest);
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let mut body = Pieces::new(&pieces);
        let request = post(&self.target, &request_id, length);
        let most = turn.max_tokens.unwrap_or(0);
        self.receiver.start(most, turn.keeps_reply);

        let mut sample = Sample {
            id: turn.id,
            labels: turn.labels.clone(),
            prompt_bytes: turn.prompt.bytes() as u64,
            ..Sample::default()
        };
        sample.t_send_ns = self.wire.begin();
        // With TLS, the first bytes on the wire are the handshake.
        if self.target.uri.scheme() == Some(&Scheme::HTTP) {
            self.wire.body_follows(length);
        }
        let outcome = match self.exchange.run(&self.target.link, request, &mut body) {
            Ok((head, body)) => {
                let headers_ns = self.wire.last_ns();
                sample.t_headers_ns = Some(headers_ns);
                sample.status = Some(head.status().as_u16());
                let received = receive(&mut self.receiver, &mut self.refusal, &head, body);
                let server_clock = &self.target.server_clock;
                server_clock.note(head.headers(), sample.t_send_ns, headers_ns);
                received
            }
            Err(error) => {
                if is_shut_down(&error) {
                    self.wire.cut();
                }
                Err(classify(&error, &self.wire))
            }
        };
        sample.t_end_ns = match outcome {
            Ok(()) => self.wire.last_ns(),
            Err(_) => self.wire.epoch.now_ns(),
        };
        sample.failure = outcome.err().map(|failure| self.target.link.tidy(failure));
        self.fill(&mut sample);
        sample
    }

    /// Adds what the connection and the reply tell.
    fn fill(&mut self, sample: &mut Sample) {
        let seen = self.wire.seen();
        sample.connect_ns = seen.connect_ns;
        sample.reused = !seen.connecting;
        self.receiver.reply.fill(sample);
        // The server's own words.
        let shown = |reason: String| self.target.link.redact(reason);
        sample.finish_reason = sample.finish_reason.take().map(shown);
        let unread = sample.unread.take();
        sample.unread = unread.map(|(count, first)| (count, shown(first)));
    }
}

/// Reads the reply to its end; the error says how it failed.
fn receive(
    receiver: &mut Receiver,
    refusal: &mut String,
    head: &Response<()>,
    mut body: Incoming<'_>,
) -> Result<(), Failure> {
    if !head.status().is_success() {
        let retry_after = retry_after(head.headers());
        *refusal = http::start(&mut body);
        let reason = match refusal.trim() {
            "" => head.status().to_string(),
            _ => refusal.clone(),
        };
        return Err(Failure {
            kind: FailKind::Http,
            reason,
            retry_after,
        });
    }
    let content_type = head.headers().get(header::CONTENT_TYPE);
    if let Some(encoding) = encoding_unasked(head.headers()) {
        return Err(Failure::new(
            FailKind::Malformed,
            format!("the reply is encoded ({encoding}), although no encoding was requested"),
        ));
    }
    let is_labelled = content_type
        .and_then(|value| value.as_bytes().get(..STREAM_TYPE.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(STREAM_TYPE));
    let is_stream = receiver.read(&mut body, is_labelled)?;
    match receiver.reply.judge(is_stream) {
        Some((kind, why)) => Err(Failure::new(kind, why)),
        None => Ok(()),
    }
}

/// Returns the encoding of the body, since requests allow none.
fn encoding_unasked(headers: &HeaderMap) -> Option<String> {
    let of = |name, known: &[&str]| {
        let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
        let mut words = value
            .split(',')
            .map(|word| word.trim().to_ascii_lowercase());
        let is_known = words.all(|word| known.contains(&word.as_str()));
        (!is_known).then(|| value.into_owned())
    };
    of(header::CONTENT_ENCODING, &["identity"])
        .or_else(|| of(header::TRANSFER_ENCODING, &["chunked", "identity"]))
}

fn post(target: &Target, request_id: &str, length: usize) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.uri.clone();
    let headers = request.headers_mut();
    headers.clone_from(&target.link.headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // Hex digits and a number always make a valid header value.
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    request
}

/// Returns `Retry-After` in seconds, at most an hour; its date form is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    (0.0..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests;
