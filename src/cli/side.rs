//! URLs beside the endpoint, such as a page of metrics or a route that resets a cache: parses them, and finds a host
//! address that answers.

use std::fmt;
use std::net::SocketAddr;

use serde_json::Value;
use ureq::http::{HeaderMap, Uri};

use super::args::Args;
use super::connect::{CONNECT_TIMEOUT, Opened};
use crate::client::api::error_words;
use crate::client::endpoint::{Endpoint, is_this_machine, secrets_of, split_zone, without_secrets};
use crate::client::http::{Link, Page, SMALL_TIMEOUT, Small, resolve};
use crate::client::secret::Secrets;
use crate::client::wire::Timeouts;
use crate::error::Error;
use crate::sample::Failure;
use crate::units::Epoch;

/// A whole URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SideUrl {
    /// The URL as it is requested; it may hold a secret.
    pub text: String,
    /// The URL as it may be shown.
    pub shown: String,
    /// The host without the brackets and the zone of an IPv6 address.
    host: String,
    /// The zone of an address, such as `%eth0`, or empty.
    zone: String,
    port: u16,
}

impl fmt::Debug for SideUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideUrl({})", self.shown)
    }
}

impl SideUrl {
    /// Parses `localhost:8000`, `http://host:3001/metrics`, `https://host/prometheus/metrics?a=b`. The default scheme
    /// is http, the default path is `path`.
    ///
    /// # Errors
    /// Fails with the reason; the caller adds the URL as typed, but never a password: see `endpoint::without_secrets`.
    pub fn parse(typed: &str, path: &str) -> Result<SideUrl, String> {
        let wrong = "not a URL; want one such as http://localhost:8000/metrics";
        let (scheme, rest) = typed.split_once("://").unwrap_or(("http", typed));
        let (rest, zone) = split_zone(rest);
        let whole = format!("{scheme}://{rest}");
        let uri: Uri = whole.parse().map_err(|_| wrong)?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err("the scheme is neither http nor https".to_string()),
        };
        let authority = uri.authority().ok_or(wrong)?;
        if authority.as_str().contains('@') {
            return Err("a user name or password in the URL is not accepted".to_string());
        }
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.as_str()[authority.host().len()..].trim_start_matches(':');
        let port = match port {
            "" => default_port,
            port => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("{port} is not a port; want 1 to 65535")),
            },
        };
        if host.is_empty() {
            return Err(wrong.to_string());
        }
        let path = match uri.path() {
            "" | "/" => path,
            own => own,
        };
        let query = uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let text = format!("{scheme}://{authority}{path}{query}");
        let zoned = zone.replacen('%', "%25", 1) + "]";
        Ok(SideUrl {
            shown: without_secrets(&match zone.is_empty() {
                true => text.clone(),
                false => text.replacen(']', &zoned, 1),
            }),
            text,
            host: host.to_string(),
            zone,
            port,
        })
    }

    /// Parses the URL of an option; `None`: the option is not given.
    ///
    /// # Errors
    /// Fails when the value is not a URL.
    pub fn of_flag(args: &Args, flag: &str, path: &str) -> Result<Option<SideUrl>, Error> {
        let Some(typed) = args.text(flag) else {
            return Ok(None);
        };
        let url = SideUrl::parse(&typed, path);
        let what = || format!("{flag} {}", without_secrets(&typed));
        url.map(Some).map_err(|why| Error::input(what(), why))
    }

    /// Warns that the secrets in the URL are sent over plain http.
    pub fn warn_unencrypted(&self) {
        let is_https = self.text.starts_with("https:");
        if !(secrets_of(&self.text).is_empty() || is_https || is_this_machine(&self.host)) {
            let shown = &self.shown;
            eprintln!("warning: {shown} is plain http: secrets in the URL are sent unencrypted");
        }
    }

    /// Resolves the host and finds the address that answers. https trusts the built-in roots; no key is sent.
    pub fn open(&self, epoch: Epoch) -> Result<Small, Failure> {
        let addrs = self.resolve()?;
        let timeouts = Timeouts {
            connect: CONNECT_TIMEOUT,
            ..Timeouts::all(SMALL_TIMEOUT)
        };
        let bare = Link::bare(addrs, timeouts, epoch);
        Ok(Small::new(Link {
            secrets: self.secrets(bare.secrets.clone()),
            ..bare
        }))
    }

    fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        resolve(
            &format!("{}{}", self.host, self.zone),
            self.port,
            CONNECT_TIMEOUT,
        )
    }

    /// Adds the secrets of the URL to the given ones.
    fn secrets(&self, mut secrets: Secrets) -> Secrets {
        let in_query = secrets_of(&self.text);
        in_query.iter().for_each(|secret| secrets.add(secret));
        secrets
    }

    /// Opens the URL with the trust and clock of an endpoint. Key and headers are only sent to the endpoint's own
    /// scheme, host and port.
    pub fn open_beside(&self, opened: &Opened) -> Result<Small, Failure> {
        let endpoint = &opened.endpoint;
        let headers = match self.is_at(endpoint) {
            true => opened.link.headers.clone(),
            false => HeaderMap::new(),
        };
        Ok(Small::new(Link {
            addrs: self.resolve()?,
            headers,
            proxy: None,
            secrets: self.secrets(opened.link.secrets.clone()),
            ..opened.link.clone()
        }))
    }

    fn is_at(&self, endpoint: &Endpoint) -> bool {
        let is_https = self.text.starts_with("https:");
        (endpoint.is_https, endpoint.port) == (is_https, self.port)
            && endpoint.host.eq_ignore_ascii_case(&self.host)
    }
}

/// The answer of a route that empties a cache.
pub enum ResetAnswer {
    Done,
    /// The reply says that it failed, with this text.
    Failed(String),
    /// The status is not a success; with the server's text.
    Refused(u16, String),
}

/// Reads the reply to a POST that should empty a cache.
pub fn reset_answer(page: &Page) -> ResetAnswer {
    let reply: Value = serde_json::from_str(&page.text).unwrap_or_default();
    match page.status {
        200..300 if reply["success"] != false => ResetAnswer::Done,
        200..300 => ResetAnswer::Failed(error_words(&page.text)),
        status => ResetAnswer::Refused(status, error_words(&page.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_path_have_defaults() {
        for (typed, text, host, port) in [
            (
                "localhost:8000",
                "http://localhost:8000/metrics",
                "localhost",
                8000,
            ),
            ("http://h/", "http://h/metrics", "h", 80),
            ("http://h:3001/metrics", "http://h:3001/metrics", "h", 3001),
            ("https://h", "https://h/metrics", "h", 443),
            ("HTTPS://h/a/b?c=d", "https://h/a/b?c=d", "h", 443),
            ("[::1]:9/", "http://[::1]:9/metrics", "::1", 9),
            ("h:/x", "http://h:/x", "h", 80),
        ] {
            let url = SideUrl::parse(typed, "/metrics").expect(typed);
            let parts = (url.text.as_str(), url.host.as_str(), url.port);
            assert_eq!(parts, (text, host, port), "{typed}");
        }
    }

    #[test]
    fn a_secret_and_a_zone_are_kept_and_shown_as_they_may_be() {
        for (typed, text, shown) in [
            (
                "h?token=s3cret",
                "http://h/metrics?token=s3cret",
                "http://h/metrics?token=****",
            ),
            (
                "https://h/m?sig=0123456789abcdef&a=b",
                "https://h/m?sig=0123456789abcdef&a=b",
                "https://h/m?sig=****cdef&a=b",
            ),
            (
                "[fe80::1%25eth0]:9?key=k",
                "http://[fe80::1]:9/metrics?key=k",
                "http://[fe80::1%25eth0]:9/metrics?key=****",
            ),
        ] {
            let url = SideUrl::parse(typed, "/metrics").expect(typed);
            assert_eq!((url.text.as_str(), url.shown.as_str()), (text, shown));
        }
    }

    #[test]
    fn only_the_endpoints_own_scheme_host_and_port_are_its_place() {
        let endpoint = Endpoint::parse("https://Host:8443/v1").expect("an endpoint");
        for (typed, wanted) in [
            ("https://host:8443/metrics", true),
            // The key would be sent unencrypted.
            ("http://host:8443/metrics", false),
            ("https://host/metrics", false),
            ("https://other:8443/metrics", false),
        ] {
            let url = SideUrl::parse(typed, "/metrics").expect(typed);
            assert_eq!(url.is_at(&endpoint), wanted, "{typed}");
        }
    }

    #[test]
    fn a_malformed_url_says_why_without_its_password() {
        let wrong = "not a URL; want one such as http://localhost:8000/metrics";
        for (typed, why) in [
            ("", wrong),
            ("http://", wrong),
            ("a b", wrong),
            (":8000", wrong),
            ("ftp://h", "the scheme is neither http nor https"),
            (
                "u:p@h",
                "a user name or password in the URL is not accepted",
            ),
            ("h:0", "0 is not a port; want 1 to 65535"),
            ("h:70000", "70000 is not a port; want 1 to 65535"),
        ] {
            assert_eq!(
                SideUrl::parse(typed, "/metrics"),
                Err(why.to_string()),
                "{typed}"
            );
        }
        assert_eq!(without_secrets("http://u:p@h/@"), "http://****@");
        assert_eq!(without_secrets("h/a@b"), "h/a@b");
    }
}
