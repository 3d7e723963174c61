//! One request at a time over a kept connection: `Client::send(turn) -> Sample`.
//!
//! Owns HTTP, SSE and the JSON of the APIs. A turn goes in, a sample comes out; what fails is a
//! sample too. Knows nothing of load, statistics or output.

pub mod api;
pub mod body;
mod chunk;
pub mod count;
mod dialect;
pub mod discovery;
pub mod endpoint;
pub mod http;
mod json;
pub mod lessons;
pub mod proxy;
mod query;
mod reply;
pub mod secret;
pub mod setup;
mod socket;
mod sse;
mod template;
mod transport;
mod usage;
pub mod wire;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use ureq::{Agent, Body, SendBody};

use self::body::{BodyShape, pieces};
use self::endpoint::Endpoint;
use self::http::{Link, classify};
use self::reply::Reply;
use self::wire::Wire;
use crate::error;
use crate::plan::Turn;
use crate::sample::{FailKind, Failure, Sample};
use crate::units::Epoch;

/// The media type of a stream; media types have no case.
const STREAM_TYPE: &[u8] = b"text/event-stream";
/// Of an event: one that does not end may not eat the memory of the machine that the server runs on.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// Of a stream: of one that does not end, the times between its tokens are kept.
const MAX_STREAM_BYTES: usize = 256 << 20;

/// Everything the requests of a run have in common.
#[derive(Debug, Clone)]
pub struct Target {
    pub link: Link,
    /// Where the requests go, such as `http://localhost:8000/v1/completions`.
    pub uri: Uri,
    /// Asked for before the run to have a connection; whatever the answer is.
    pub idle_uri: Uri,
    pub body: BodyShape,
    /// Stands before the number in `x-request-id`.
    pub run_id: String,
}

impl Target {
    /// The endpoint's route for the body's API, under a run id of its own.
    ///
    /// # Errors
    /// When the endpoint makes no URI.
    pub fn new(link: Link, endpoint: &Endpoint, body: BodyShape) -> error::Result<Target> {
        Ok(Target {
            link,
            uri: endpoint.route(body.api)?,
            idle_uri: endpoint.idle_uri(body.api)?,
            body,
            run_id: format!("{:08x}", fastrand::u32(..)),
        })
    }
}

/// One worker's way to the server.
pub struct Client {
    target: Arc<Target>,
    wire: Arc<Wire>,
    agent: Agent,
    sse: sse::Parser,
    reply: Reply,
    buffer: Vec<u8>,
    /// The body of the last reply whose status was no success; a sample has the beginning of it.
    refusal: String,
    /// The end of the last request's body and the `max_tokens` in it; most others are alike.
    rest: Option<(Option<u64>, String)>,
}

impl Client {
    pub fn new(target: Arc<Target>) -> Client {
        let wire = target.link.wire();
        let reply = Reply::new(target.body.api);
        let agent = http::agent(&target.link, &wire);
        Client {
            target,
            wire,
            agent,
            sse: sse::Parser::default(),
            reply,
            buffer: vec![0; 4 << 10],
            refusal: String::new(),
            rest: None,
        }
    }

    /// A handle whose `shutdown` cuts the request in flight.
    pub fn agent(&self) -> Agent {
        self.agent.clone()
    }

    /// The run's clock.
    pub fn epoch(&self) -> Epoch {
        self.wire.epoch
    }

    /// The time now, on the run's clock.
    pub fn now_ns(&self) -> u64 {
        self.wire.epoch.now_ns()
    }

    /// Opens the connection that the first request will find. Failing is no matter: the request
    /// opens its own then, and its sample says so.
    pub fn warm_up(&self) {
        self.wire.begin_within(http::SMALL_TIMEOUT);
        let mut request = Request::new(SendBody::none());
        *request.uri_mut() = self.target.idle_uri.clone();
        request
            .headers_mut()
            .extend(self.target.link.headers.clone());
        if let Ok(mut response) = self.agent.run(request) {
            // Read to its end, or the connection is not kept.
            let _ = http::text(response.body_mut());
        }
    }

    /// Sends one turn and waits for its end. A reused connection that turns out closed before a
    /// byte came is replaced once, with a new clock (`resent`).
    pub fn send(&mut self, turn: &Turn) -> Sample {
        let sample = self.attempt(turn);
        let seen = self.wire.seen();
        let stale = sample.reused
            && seen.reads == 0
            && seen.expired.is_none()
            && sample
                .failure
                .as_ref()
                .is_some_and(|f| f.kind == FailKind::Truncated);
        if stale {
            let again = self.attempt(turn);
            // An agent that was shut down, which is how a run cuts its requests, opens no connection:
            // then nothing was sent again.
            if self.wire.seen().connecting {
                return Sample {
                    resent: true,
                    ..again
                };
            }
        }
        sample
    }

    /// The text of the last reply's answer, escaped for the inside of a JSON string, if its turn keeps it.
    pub fn take_answer(&mut self) -> Arc<str> {
        self.reply.take_answer()
    }

    /// Events with data in the last reply, `[DONE]` left out.
    pub fn events(&self) -> u64 {
        self.reply.events()
    }

    /// What the server said with the last status that was no success, as it came.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Whether the last reply reported its usage before it ended.
    pub fn has_running_usage(&self) -> bool {
        self.reply.has_running_usage()
    }

    /// Sends `warm_up`'s request: how long its answer took, and whether a kept connection carried it.
    /// `None` when none came.
    pub fn round_trip(&self) -> Option<(Duration, bool)> {
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
        let mut body = Pieces {
            pieces: &pieces,
            offset: 0,
        };
        let headers = headers(&self.target, &request_id, length);
        self.sse.reset();
        self.reply
            .start(turn.max_tokens.unwrap_or(0), turn.keeps_reply);

        let mut sample = Sample {
            id: turn.id,
            labels: turn.labels.clone(),
            prompt_bytes: turn.prompt.bytes() as u64,
            ..Sample::default()
        };
        let mut request = Request::new(SendBody::from_reader(&mut body));
        *request.method_mut() = ureq::http::Method::POST;
        *request.uri_mut() = self.target.uri.clone();
        *request.headers_mut() = headers;

        sample.t_send_ns = self.wire.begin();
        // With TLS, the first bytes on the wire are a handshake.
        if self.target.uri.scheme() == Some(&Scheme::HTTP) {
            self.wire.body_follows(length);
        }
        let outcome = match self.agent.run(request) {
            Ok(response) => self.receive(response, &mut sample),
            Err(error) => Err(classify(&error, &self.wire)),
        };
        sample.t_end_ns = match outcome {
            Ok(()) => self.wire.last_ns(),
            Err(_) => self.wire.epoch.now_ns(),
        };
        let seen = self.wire.seen();
        sample.connect_ns = seen.connect_ns;
        sample.reused = !seen.connecting;
        self.reply.fill(&mut sample);
        // The server's own words.
        let shown = |reason: String| self.target.link.redact(reason);
        sample.finish_reason = sample.finish_reason.map(shown);
        sample.unread = sample.unread.map(|(count, first)| (count, shown(first)));
        sample.failure = outcome.err().map(|failure| self.target.link.tidy(failure));
        sample
    }

    /// Reads the reply to its end; `Err` is how it failed.
    fn receive(
        &mut self,
        mut response: Response<Body>,
        sample: &mut Sample,
    ) -> Result<(), Failure> {
        sample.t_headers_ns = Some(self.wire.last_ns());
        sample.status = Some(response.status().as_u16());
        if !response.status().is_success() {
            let retry_after = retry_after(response.headers());
            self.refusal = http::start(response.body_mut());
            let reason = match self.refusal.trim() {
                "" => response.status().to_string(),
                _ => self.refusal.clone(),
            };
            return Err(Failure {
                kind: FailKind::Http,
                reason,
                retry_after,
            });
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        if let Some(encoding) = encoding_unasked(response.headers()) {
            return Err(Failure::new(
                FailKind::Malformed,
                format!("the reply is encoded ({encoding}), which nobody asked for"),
            ));
        }
        let is_labelled = content_type
            .and_then(|value| value.as_bytes().get(..STREAM_TYPE.len()))
            .is_some_and(|start| start.eq_ignore_ascii_case(STREAM_TYPE));
        let is_stream = self.body(response.body_mut(), is_labelled)?;
        match self.reply.judge(is_stream) {
            Some((kind, why)) => Err(Failure::new(kind, why)),
            None => Ok(()),
        }
    }

    /// Reads the body; returns whether it was a stream, which its bytes decide. `is_labelled` as an event stream, it
    /// is no text.
    fn body(&mut self, body: &mut Body, is_labelled: bool) -> Result<bool, Failure> {
        let mut reader = body.as_reader();
        let n = self.first_read(&mut reader)?;
        if is_stream(&self.buffer[..n], is_labelled) {
            self.stream(&mut reader, n)?;
            return Ok(true);
        }
        let whole = self.whole(&mut reader, n)?;
        if self.reply.plain(&whole.bytes) {
            return Ok(false);
        }
        // Several JSON values, a line each: a stream all the same.
        let mut from = 0;
        for (to, stamp_ns) in whole.reads {
            feed(
                &mut self.sse,
                &mut self.reply,
                &whole.bytes[from..to],
                stamp_ns,
            );
            from = to;
        }
        let (sse, reply) = (&mut self.sse, &mut self.reply);
        sse.end(|event| take(reply, &event, self.wire.last_ns()));
        Ok(true)
    }

    /// Reads until something but white space has come; returns how many bytes of it are in the buffer.
    fn first_read(&mut self, reader: &mut impl Read) -> Result<usize, Failure> {
        loop {
            let n = reader.read(&mut self.buffer);
            let n = n.map_err(|error| classify(&error.into(), &self.wire))?;
            if n == 0 || !self.buffer[..n].trim_ascii().is_empty() {
                return Ok(n);
            }
        }
    }

    /// Reads a body that is no event stream to its end, behind the `n` bytes of it that are in the buffer.
    fn whole(&mut self, reader: &mut impl Read, mut n: usize) -> Result<Whole, Failure> {
        let mut whole = Whole::default();
        while n > 0 {
            // Between JSON values some servers write a zero byte in place of the end of a line.
            let bytes = self.buffer[..n].iter();
            whole
                .bytes
                .extend(bytes.map(|&b| if b == 0 { b'\n' } else { b }));
            whole.reads.push((whole.bytes.len(), self.wire.last_ns()));
            if whole.bytes.len() as u64 > http::MAX_BODY_BYTES {
                return Err(oversized("a body", http::MAX_BODY_BYTES as usize));
            }
            let read = reader.read(&mut self.buffer);
            n = read.map_err(|error| classify(&error.into(), &self.wire))?;
        }
        Ok(whole)
    }

    /// The hot path, behind the first `n` bytes in the buffer. Order: read (the transport stamps it), then parse.
    fn stream(&mut self, reader: &mut impl Read, mut n: usize) -> Result<(), Failure> {
        let mut stream_bytes = 0;
        loop {
            let stamp_ns = self.wire.last_ns();
            feed(&mut self.sse, &mut self.reply, &self.buffer[..n], stamp_ns);
            if n == 0 {
                let reply = &mut self.reply;
                self.sse.end(|event| take(reply, &event, stamp_ns));
                return Ok(());
            }
            if self.reply.has_token() {
                self.wire.token_seen();
            }
            if self.reply.is_complete() {
                self.wire.reply_complete();
            }
            stream_bytes += n;
            if self.sse.held_bytes() > MAX_EVENT_BYTES {
                return Err(oversized("an event", MAX_EVENT_BYTES));
            }
            if stream_bytes > MAX_STREAM_BYTES {
                return Err(oversized("a stream", MAX_STREAM_BYTES));
            }
            n = match reader.read(&mut self.buffer) {
                Ok(n) => n,
                // Whatever happens behind a complete reply; the connection is not used again.
                Err(_) if self.reply.is_complete() => return Ok(()),
                Err(error) => {
                    // An error event outranks the broken end that follows it.
                    return match self.reply.judge(true) {
                        Some((FailKind::StreamError, words)) => {
                            Err(Failure::new(FailKind::StreamError, words))
                        }
                        _ => Err(classify(&error.into(), &self.wire)),
                    };
                }
            };
        }
    }
}

/// A body that is no event stream, and when each part of it had come: its end in the bytes, and the stamp.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    reads: Vec<(usize, u64)>,
}

/// Whether a body that begins so is an event stream. `is_labelled` as one, it is one unless it begins as JSON does.
fn is_stream(start: &[u8], is_labelled: bool) -> bool {
    const FIELDS: [&[u8]; 6] = [b":", b"data", b"event", b"id", b"retry", b"error"];
    let start = start
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(start)
        .trim_ascii_start();
    let is_json =
        start.starts_with(b"{") || start.starts_with(b"[") && !start.starts_with(b"[DONE]");
    let is_field = |field: &&[u8]| {
        let rest = start.strip_prefix(*field);
        rest.is_some_and(|rest| field.ends_with(b":") || rest.starts_with(b":"))
    };
    !is_json && (is_labelled || FIELDS.iter().any(is_field))
}

/// Hands the events that end with these bytes to the reply.
fn feed(sse: &mut sse::Parser, reply: &mut Reply, bytes: &[u8], stamp_ns: u64) {
    sse.feed(bytes, |event| take(reply, &event, stamp_ns));
}

fn take(reply: &mut Reply, event: &sse::Event<'_>, stamp_ns: u64) {
    match event {
        sse::Event::Data(data) => reply.event(data, stamp_ns),
        sse::Event::Error(data) => reply.error(data),
        sse::Event::Comment => {}
    }
}

fn oversized(what: &str, limit: usize) -> Failure {
    let why = format!("{what} of more than {} MiB", limit >> 20);
    Failure::new(FailKind::Oversized, why)
}

/// The encoding of the body, which no request allows.
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

fn headers(target: &Target, request_id: &str, length: usize) -> HeaderMap {
    let mut headers = target.link.headers.clone();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // Hex digits and a number are always a valid header value.
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    headers
}

/// The parts of a request body, read in order without joining them.
struct Pieces<'a> {
    pieces: &'a [&'a [u8]],
    offset: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while let Some(piece) = self.pieces.first().filter(|_| filled < out.len()) {
            let rest = &piece[self.offset..];
            let n = rest.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&rest[..n]);
            filled += n;
            self.offset += n;
            if self.offset == piece.len() {
                self.pieces = &self.pieces[1..];
                self.offset = 0;
            }
        }
        Ok(filled)
    }
}

/// `Retry-After` in seconds, at most an hour; the form with a date is left alone.
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
