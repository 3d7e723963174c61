//! The options shared by every command that sends requests, and the way from them to a server that answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::Proxy;
use ureq::http::{HeaderMap, header};

use super::args::{Args, above_zero};
use super::commands::mock::options;
use super::credentials::{headers, key, key_in_file, trust};
use super::flags::{COMPARE, FIND_RATE, LOAD, REPLAY};
use super::given::Given;
use super::output::make_room;
use crate::client::Target;
use crate::client::api::Api;
use crate::client::endpoint::{Endpoint, without_secrets};
use crate::client::http::{Link, Small, resolve};
use crate::client::proxy;
use crate::client::secret::{ApiKey, Secrets};
use crate::client::setup::Tokenizer;
use crate::client::trust::{TlsSettings, Trust};
use crate::client::wire::Timeouts;
use crate::error::{Error, Result};
use crate::mock::{self, Mock};
use crate::sample::{FailKind, Failure};
use crate::units::{Epoch, quoted};

/// Longest time of a connection attempt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The default endpoint of `load`; no other command has one.
const DEFAULT_ENDPOINT: &str = "http://localhost:8000/generate";

/// The commands that speak all APIs.
const TAKES_ALL: [&str; 3] = [LOAD.name, COMPARE.name, FIND_RATE.name];

/// The server that a command asks.
#[derive(Clone)]
pub enum Server {
    /// A URL as typed, or the default of `load`.
    Url(String),
    /// A mock in this process.
    Mock(Box<mock::Options>),
}

impl Server {
    /// Parses `--endpoint`, `--backend mock` and `--mock`; `asked` is another option that asks for a mock, with that
    /// option's settings.
    pub fn parse(args: &Args, asked: Option<(&'static str, mock::Options)>) -> Result<Server> {
        let command = args.command();
        let backend = args.value("--backend", |text| match text {
            "mock" => Ok(()),
            _ => Err("no such backend; want mock"),
        })?;
        let list = args.text("--mock");
        let asked = match (asked, backend) {
            (Some((name, _)), Some(())) => {
                return Err(Error::input(name, "not together with --backend mock"));
            }
            (None, Some(())) => Some(("--backend mock", mock::Options::default())),
            (asked, None) => asked,
        };
        match (asked, args.text("--endpoint")) {
            (Some((name, _)), Some(_)) => Err(Error::input(name, "not together with --endpoint")),
            (Some((_, base)), None) => {
                let options = options("--mock", base, list.as_deref().unwrap_or(""))?;
                Ok(Server::Mock(Box::new(options)))
            }
            (None, Some(_)) if list.is_some() => {
                Err(Error::input("--mock", "only with --backend mock"))
            }
            (None, Some(url)) => Ok(Server::Url(url)),
            (None, None) if command == LOAD.name && list.is_none() => {
                Ok(Server::Url(DEFAULT_ENDPOINT.to_string()))
            }
            (None, None) => {
                let why = "not given; want one such as http://localhost:8000";
                // A replay has no prompts of its own.
                let prompts = match args.text("--dataset") {
                    _ if command != REPLAY.name => String::new(),
                    Some(path) => format!(" --dataset {}", quoted(&path)),
                    None => " --synthetic 20".to_string(),
                };
                Err(Error::input("--endpoint", why).next(format!(
                    "Or try it without a server: tmesh-cli {command} --backend mock{prompts}"
                )))
            }
        }
    }

    fn url(&self) -> Option<&str> {
        match self {
            Server::Url(url) => Some(url),
            Server::Mock(_) => None,
        }
    }
}

/// The shared options, as typed and checked.
pub struct Connection {
    /// The command's name.
    pub command: &'static str,
    pub server: Server,
    pub key: Option<ApiKey>,
    pub model: Option<String>,
    /// From `--api`, else from the endpoint's path.
    api: Option<Api>,
    timeouts: Timeouts,
    /// The user's headers, and the key.
    headers: HeaderMap,
    pub extra_body: Map<String, Value>,
    trust: Trust,
    plain_http: bool,
    /// Whether to use the proxy of the environment.
    proxy: bool,
    /// The options that name the server, for a next command.
    pub given: Given,
}

/// A server whose address answers.
pub struct Opened {
    /// The options that led to it.
    pub connection: Connection,
    /// The endpoint as the user typed it.
    pub typed: String,
    pub endpoint: Endpoint,
    pub link: Link,
    pub small: Small,
    /// The mock in this process, which runs until this is dropped.
    pub mock: Option<Mock>,
}

impl Opened {
    /// The version of the mock that answers, in this process or in another one; `None` if no reply to a small request
    /// was a mock's.
    pub fn mock_version(&self) -> Option<&str> {
        match &self.mock {
            Some(_) => Some(env!("CARGO_PKG_VERSION")),
            None => self.small.mock_version(),
        }
    }

    /// Returns the options that name this server on a command line.
    pub fn named_by(&self) -> String {
        match self.mock {
            Some(_) => "--backend mock".to_string(),
            None => {
                let url = self.endpoint.shown_url("");
                format!("--endpoint {}", quoted(url.trim_end_matches('/')))
            }
        }
    }

    /// Returns the server's token counter, for texts of this target.
    pub fn tokenizer<'a>(&'a self, target: &'a Target) -> Tokenizer<'a> {
        Tokenizer {
            target,
            endpoint: &self.endpoint,
            small: &self.small,
        }
    }
}

impl Connection {
    /// Parses the connection options in `args`; options that the command does not have count as not given.
    pub fn parse(args: &Args, server: Server) -> Result<Connection> {
        let duration = |name| args.value(name, above_zero);
        let total = duration("--timeout")?.unwrap_or(Duration::from_secs(300));
        let idle = duration("--idle-timeout")?.unwrap_or(Duration::from_secs(120));
        let timeouts = Timeouts {
            connect: CONNECT_TIMEOUT.min(total),
            first_token: duration("--first-token-timeout")?.unwrap_or(total),
            idle,
            total,
        };
        let api = api(args, server.url())?;
        let taken = match api {
            // Bodies of this API have neither a model nor messages.
            Some(Api::Generate) => &["prompt"][..],
            _ => &["prompt", "messages", "stream", "model"],
        };
        let proxy = args.value("--proxy", |text| match text {
            "env" => Ok(()),
            _ => Err("want env; the proxy is read from ALL_PROXY, HTTPS_PROXY or HTTP_PROXY"),
        })?;
        let extra_body = args.value("--extra-body", |text| object(text, taken))?;
        let key = key(args, server.url(), proxy.is_none())?;
        let mut headers = headers("--header", args.texts("--header"))?;
        if let Some(key) = &key {
            headers.insert(header::AUTHORIZATION, key.authorization());
        }
        Ok(Connection {
            command: args.command(),
            given: Given::parse(args, server.url().is_none(), key.is_some()),
            key,
            server,
            model: model(args, "--model")?,
            api,
            timeouts,
            headers,
            extra_body: extra_body.unwrap_or_default(),
            trust: trust(args)?,
            plain_http: args.has("--plain-http"),
            proxy: proxy.is_some(),
        })
    }

    /// Parses the options of the other server of a comparison: those of the endpoint, except where it has its own.
    pub fn against(args: &Args, server: Server) -> Result<Connection> {
        let mut connection = Connection::parse(args, server)?;
        let flag = "--against-header";
        for (name, value) in &headers(flag, args.texts(flag))? {
            connection.headers.insert(name, value.clone());
        }
        if let Some(key) = key_in_file(args, "--against-api-key-file")? {
            let name = header::AUTHORIZATION;
            connection.headers.insert(name, key.authorization());
            connection.key = Some(key);
        }
        let model = model(args, "--against-model")?;
        connection.model = model.or(connection.model);
        Ok(connection)
    }

    /// Returns whether the server is a mock in this process.
    pub fn is_mock(&self) -> bool {
        matches!(self.server, Server::Mock(_))
    }

    /// Warns that secrets are sent over plain http.
    fn warn_unencrypted(&self, endpoint: &Endpoint) {
        let what = match self.headers.contains_key(header::AUTHORIZATION) {
            true => "the API key is",
            false => "secrets in headers or in the URL are",
        };
        let shown = endpoint.shown();
        eprintln!("warning: {shown} is plain http: {what} sent unencrypted");
    }

    /// Starts the mock if it is asked for, resolves the host and finds the address that answers.
    pub fn open(self) -> Result<Opened> {
        let (typed, mock) = match &self.server {
            Server::Url(url) => (url.clone(), None),
            Server::Mock(options) => {
                make_room(options.truth_log.as_deref())?;
                let mock = Mock::start((**options).clone())?;
                (mock.url(), Some(mock))
            }
        };
        let mut endpoint = Endpoint::parse(&typed)?;
        endpoint.api = self.api.or(endpoint.api);
        if self.plain_http && endpoint.is_https {
            endpoint = endpoint.into_plain();
        }
        let proxy = match self.proxy {
            true => {
                let uri = endpoint.route(self.api.unwrap_or(Api::Completions))?;
                proxy::from_environment(&uri).map_err(|why| Error::input("--proxy env", why))?
            }
            false => None,
        };
        let mut secrets = Secrets::of(&self.headers);
        let in_query = endpoint.secrets();
        in_query.iter().for_each(|secret| secrets.add(secret));
        let stays_here = proxy.is_none() && endpoint.is_loopback();
        if !(secrets.is_empty() || endpoint.is_https || stays_here) {
            self.warn_unencrypted(&endpoint);
        }
        if let Some(password) = proxy.as_ref().and_then(Proxy::password) {
            secrets.add(password);
        }
        let addrs = match &proxy {
            Some(proxy) => resolve(proxy::host(proxy), proxy.port(), self.timeouts.connect)
                .map_err(|failure| Error::input(format!("proxy {}", proxy::shown(proxy)), failure)),
            None => resolve(
                &endpoint.host_and_zone(),
                endpoint.port,
                self.timeouts.connect,
            )
            .map_err(|failure| unreachable(&endpoint, &failure)),
        }?;
        let link = Link {
            addrs,
            timeouts: self.timeouts,
            tls: Arc::new(TlsSettings::new(self.trust.clone())),
            proxy,
            secrets,
            headers: self.headers.clone(),
            ..Link::bare(Vec::new(), self.timeouts, Epoch::start())
        };
        Ok(Opened {
            typed,
            endpoint,
            small: Small::new(link.clone()),
            link,
            mock,
            connection: self,
        })
    }
}

/// Returns the model that an option names.
fn model(args: &Args, flag: &str) -> Result<Option<String>> {
    let name = args.text(flag);
    match name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        true => {
            let error = Error::input(flag, "empty; want the name of a model");
            Err(error.next(format!(
                "Leave {flag} out to ask for the first model of the server."
            )))
        }
        false => Ok(name),
    }
}

/// Returns the API of the option, else of the path; only some commands speak all of them.
fn api(args: &Args, typed: Option<&str>) -> Result<Option<Api>> {
    let takes_all = TAKES_ALL.contains(&args.command());
    let named = args.value("--api", |name| match Api::parse(name) {
        Some(Api::Generate) if !takes_all => Err("only load, compare and find-rate speak it"),
        Some(api) => Ok(api),
        None if takes_all => Err("no such API; want completions, chat or generate"),
        None => Err("no such API; want completions or chat"),
    })?;
    // `open` reports what is wrong with a URL.
    let by_path = typed.and_then(|typed| Endpoint::parse(typed).ok()?.api);
    let api = named.or(by_path);
    if api == Some(Api::Generate) && !takes_all {
        let typed = without_secrets(typed.unwrap_or_default());
        let error = Error::input(
            format!("--endpoint {typed}"),
            "only load, compare and find-rate speak /generate",
        );
        return Err(error.next(format!("Try: tmesh-cli load --endpoint {}", quoted(&typed))));
    }
    Ok(api)
}

/// Returns the guide's three lines, with the reason.
pub fn unreachable(endpoint: &Endpoint, failure: &Failure) -> Error {
    let shown = endpoint.shown();
    let curl = match endpoint.api {
        Some(Api::Generate) => {
            let body = r#"{"prompt": "Hi", "max_tokens": 1}"#;
            format!(
                "curl {} -H 'Content-Type: application/json' -d '{body}'",
                quoted(&shown)
            )
        }
        Some(Api::Completions | Api::Chat) | None => {
            format!("curl {}", quoted(&endpoint.shown_url("models")))
        }
    };
    let error = Error::fixed(format!("Could not connect to endpoint: {shown}"))
        .next("Make sure a model server is running and accessible.")
        .next(format!("Try: {curl}"))
        .next(format!("Reason: {failure}"));
    if failure.kind != FailKind::Tls {
        return error;
    }
    error.next(if failure.reason.contains("UnknownIssuer") {
        "Trust its issuer with --cacert FILE, or accept any certificate with --insecure."
    } else if failure.reason.contains("certificate") {
        "Renew the certificate, correct the host name, or accept any certificate with --insecure."
    } else {
        "If the port speaks plain http: --plain-http"
    })
}

/// Parses an object that has none of the `taken` keys.
fn object(text: &str, taken: &[&str]) -> std::result::Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(map) = value else {
        return Err("not a JSON object; want one such as '{\"top_k\": 1}'".into());
    };
    match taken.iter().find(|key| map.contains_key(**key)) {
        Some(key) => Err(format!("{key} is set by tmesh-cli")),
        None => Ok(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        for (word, shown) in [
            ("http://h:8000/v1", "http://h:8000/v1"),
            ("org/model-7b", "org/model-7b"),
            ("a b", "'a b'"),
            ("x;$(y)", "'x;$(y)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
