//! ureq for this program: settings, addresses resolved once, small requests, and the meaning of its errors.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderMap, HeaderValue, Request, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Agent, Body, Error, Proxy, SendBody};

use super::secret::{Secrets, beginning};
use super::transport::{connector, is_timeout};
use super::trust::TlsSettings;
use super::wire::{Expired, Timeouts, Wire};
use crate::sample::{FailKind, Failure};
use crate::units::{Epoch, steers};

/// Timeout of a request outside the measurement, which generates nothing.
pub const SMALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes read of a reply that is not a stream.
pub const MAX_BODY_BYTES: u64 = 16 << 20;
/// Most bytes read of a failed reply, of which 200 characters are shown.
const MAX_REASON_BYTES: usize = 64 << 10;

/// Longest head of a reply. A larger one would fill the buffer and look like the end of the connection.
pub const MAX_HEAD_BYTES: usize = (16 << 10) - 1;
pub const USER_AGENT: &str = concat!("tmesh-cli/", env!("CARGO_PKG_VERSION"));

/// The header that every reply of `tmesh-cli mock` has, with its version.
const MOCK_HEADER: &str = "x-tmesh-mock";

/// The settings for connections to one server.
#[derive(Debug, Clone)]
pub struct Link {
    pub addrs: Vec<SocketAddr>,
    pub timeouts: Timeouts,
    /// Shared by all connections.
    pub tls: Arc<TlsSettings>,
    /// The proxy, if there is one; `addrs` are then the proxy's.
    pub proxy: Option<Proxy>,
    /// Headers of every request: authorization and the user's own.
    pub headers: HeaderMap,
    pub secrets: Secrets,
    pub epoch: Epoch,
    /// Requests in a row, of all workers, that found their kept connection closed.
    pub stale_in_a_row: Arc<AtomicU8>,
}

impl Link {
    /// Makes a link without the user's key, headers or certificates.
    pub fn bare(addrs: Vec<SocketAddr>, timeouts: Timeouts, epoch: Epoch) -> Link {
        Link {
            addrs,
            timeouts,
            tls: Arc::default(),
            proxy: None,
            headers: HeaderMap::new(),
            secrets: Secrets::default(),
            epoch,
            stale_in_a_row: Arc::default(),
        }
    }

    /// Returns the state that one worker shares with its connection.
    pub fn wire(&self) -> Arc<Wire> {
        Wire::new(self.epoch, self.timeouts, self.proxy.is_some())
    }

    /// Returns how long a TCP connection takes to open; `None` if none opens.
    pub fn connect_time(&self) -> Option<Duration> {
        let start = Instant::now();
        let stream = TcpStream::connect_timeout(self.addrs.first()?, self.timeouts.connect);
        stream.ok().map(|_| start.elapsed())
    }

    /// Makes a failure safe to show: secrets masked, one line, no characters that steer a terminal, at most 200 characters.
    pub fn tidy(&self, failure: Failure) -> Failure {
        Failure {
            reason: self.redact(failure.reason),
            ..failure
        }
    }

    /// Masks the secrets in a text of the server.
    pub fn redact(&self, text: impl Into<String>) -> String {
        one_line(&self.secrets.redact(text.into()))
    }
}

fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars().map(|c| if steers(c) { ' ' } else { c }) {
        if !(c == ' ' && line.ends_with(' ')) {
            line.push(c);
        }
    }
    line.chars().take(200).collect()
}

/// Resolves a host once and puts first the address that accepts a connection.
///
/// # Errors
/// Fails with kind `dns` when there is no address, and with `connect` or `timeout_connect` when no address answers.
pub fn resolve(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|e| Failure::new(FailKind::Dns, e.to_string()))?;
    let mut addrs: Vec<SocketAddr> = found.collect();
    let mut last = Failure::new(FailKind::Dns, "the name has no address");
    for at in 0..addrs.len() {
        match TcpStream::connect_timeout(&addrs[at], timeout) {
            Ok(_) => {
                addrs.swap(0, at);
                return Ok(addrs);
            }
            Err(error) => {
                let timed_out = error.kind() == std::io::ErrorKind::TimedOut;
                let kind = if timed_out {
                    FailKind::TimeoutConnect
                } else {
                    FailKind::Connect
                };
                last = Failure::new(kind, format!("{}: {error}", addrs[at]));
            }
        }
    }
    Err(last)
}

/// Answers every lookup with the addresses found at the start. Otherwise ureq looks up the host for each request, in a
/// new thread each time if a timeout is set.
#[derive(Debug)]
pub struct Fixed(pub Vec<SocketAddr>);

impl Resolver for Fixed {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addrs = self.empty();
        // ureq accepts at most 16.
        for addr in self.0.iter().take(16) {
            addrs.push(*addr);
        }
        Ok(addrs)
    }
}

/// Returns the settings of connections: the exchange reads those that concern it, an agent all of them.
pub fn config(link: &Link) -> Config {
    Agent::config_builder()
        // A status outside 2xx is a measurement with a body to read, and redirects are not followed.
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // By default ureq uses the environment's proxy; we measure the endpoint.
        .proxy(link.proxy.clone())
        .user_agent(USER_AGENT)
        // Our transport enforces the other deadlines: see `Wire::limit`.
        .timeout_connect(Some(link.timeouts.connect))
        .max_response_header_size(MAX_HEAD_BYTES)
        .build()
}

/// A whole small reply with its secrets masked, except very short ones.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub text: String,
}

/// An agent for the small requests before and during a run.
pub struct Small {
    link: Link,
    wire: Arc<Wire>,
    agent: Agent,
    timeout: Duration,
    /// The version of the mock that answers, from its first reply.
    mock_version: OnceLock<String>,
}

impl Small {
    pub fn new(link: Link) -> Small {
        Small::within(link, SMALL_TIMEOUT)
    }

    /// Makes an agent with a timeout of its own for each request.
    pub fn within(link: Link, timeout: Duration) -> Small {
        let wire = link.wire();
        let connector = connector(&wire, &link.tls);
        let agent = Agent::with_parts(config(&link), connector, Fixed(link.addrs.clone()));
        Small {
            link,
            wire,
            agent,
            timeout,
            mock_version: OnceLock::new(),
        }
    }

    /// The version of the mock that has answered, fit to be shown; `None` if no reply so far was a mock's.
    pub fn mock_version(&self) -> Option<&str> {
        self.mock_version.get().map(String::as_str)
    }

    pub fn get(&self, url: &str) -> Result<Page, Failure> {
        self.run(Request::get(url), SendBody::none())
    }

    pub fn post(&self, url: &str, json: &str) -> Result<Page, Failure> {
        let mut bytes = json.as_bytes();
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("content-length", bytes.len());
        self.run(request, SendBody::from_reader(&mut bytes))
    }

    fn run(
        &self,
        builder: ureq::http::request::Builder,
        body: SendBody<'_>,
    ) -> Result<Page, Failure> {
        let mut request = builder
            .body(body)
            .map_err(|e| Failure::new(FailKind::Malformed, e.to_string()))?;
        request.headers_mut().extend(self.link.headers.clone());
        // A server that accepts one connection at a time must be free for the run.
        let close = HeaderValue::from_static("close");
        request.headers_mut().insert(header::CONNECTION, close);
        self.wire.begin_within(self.timeout);
        let broken = |e: Error| match (classify(&e, &self.wire), self.wire.seen().expired) {
            (Failure { kind, .. }, Some(_)) => Failure::new(
                kind,
                "the server accepted the connection but did not answer",
            ),
            (failure, None) => failure,
        };
        let mut response = self.agent.run(request).map_err(broken)?;
        if let Some(version) = response.headers().get(MOCK_HEADER) {
            let version = String::from_utf8_lossy(version.as_bytes());
            self.mock_version.get_or_init(|| self.link.redact(version));
        }
        let text = text(response.body_mut()).map_err(broken)?;
        Ok(Page {
            status: response.status().as_u16(),
            text: self.link.secrets.redact_page(text),
        })
    }
}

/// Reads a text body; invalid UTF-8 is replaced.
pub fn text(body: &mut Body) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&bytes(body)?).into_owned())
}

/// Reads as much of a failed reply's body as a message can use; a longer body costs the connection.
pub fn start(body: impl Read) -> String {
    let mut bytes = Vec::new();
    // The part before a broken end is still worth showing.
    let _ = body
        .take(MAX_REASON_BYTES as u64 + 1)
        .read_to_end(&mut bytes);
    // One byte more shows that the body is longer.
    String::from_utf8_lossy(beginning(&bytes, MAX_REASON_BYTES)).into_owned()
}

/// Reads the whole body, of at most `MAX_BODY_BYTES`.
pub fn bytes(body: &mut Body) -> Result<Vec<u8>, Error> {
    body.with_config().limit(MAX_BODY_BYTES).read_to_vec()
}

/// Returns the failure of the request that an error of ureq means.
pub fn classify(error: &Error, wire: &Wire) -> Failure {
    let seen = wire.seen();
    let connecting = seen.connecting && seen.connect_ns.is_none();
    let kind = match (connecting, seen.expired) {
        _ if matches!(error, Error::ConnectProxyFailed(_)) => FailKind::Connect,
        (true, _) if is_timeout(error) => FailKind::TimeoutConnect,
        (true, _) if seen.tcp_done => FailKind::Tls,
        (true, _) => FailKind::Connect,
        (false, Some(Expired::FirstToken)) => FailKind::TimeoutFirstToken,
        (false, Some(Expired::End)) => FailKind::Truncated,
        (false, Some(Expired::Idle)) => FailKind::TimeoutIdle,
        (false, Some(Expired::Total)) => FailKind::TimeoutTotal,
        (false, None) => match error {
            Error::Io(_) | Error::BodyStalled => FailKind::Truncated,
            Error::BodyExceedsLimit(_) => FailKind::Oversized,
            _ => FailKind::Malformed,
        },
    };
    let limits = wire.timeouts();
    let within = |limit: Duration, option| format!("{} s ({option})", limit.as_secs_f64());
    let text = match (kind, error) {
        (FailKind::TimeoutFirstToken, _) => {
            format!(
                "no token within {}",
                within(limits.first_token, "--first-token-timeout")
            )
        }
        (FailKind::TimeoutIdle, _) => {
            format!("no byte for {}", within(limits.idle, "--idle-timeout"))
        }
        (FailKind::TimeoutTotal, _) => {
            format!("not finished within {}", within(limits.total, "--timeout"))
        }
        (FailKind::Oversized, _) => format!("a body of more than {} MiB", MAX_BODY_BYTES >> 20),
        (_, Error::Io(io)) => io.to_string(),
        (_, other) => other.to_string(),
    };
    Failure::new(kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short_one_line_and_free_of_control_characters() {
        let line = one_line(&format!("  a\n\n\x1b[31mb{}", "é".repeat(300)));
        assert!(line.starts_with("a [31mbé"), "{line}");
        assert_eq!(line.chars().count(), 200);
    }
}
