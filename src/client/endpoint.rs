//! The server's address: the URL as users type it.

use std::borrow::Cow;
use std::fmt;

use ureq::http::Uri;

use crate::error::{Error, Result};

use super::api::Api;
use super::query;

#[cfg(test)]
mod fuzz;

/// Azure's folder of served models, each with its own API routes below.
const DEPLOYMENTS: &str = "/deployments";

/// The parts of an endpoint URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub is_https: bool,
    /// The host without the brackets and the zone of an IPv6 address.
    pub host: String,
    /// The zone of a link-local address, such as `%eth0`, or empty.
    zone: String,
    pub port: u16,
    /// The path of the API's routes, such as `/v1/` or `/inference/v1/`; it ends in `/`.
    base_path: String,
    /// The query, such as `?api-version=1`, or empty. It is sent with every request; its values may be secrets.
    query: String,
    /// The API named by a path such as `/v1/chat/completions`.
    pub api: Option<Api>,
}

impl Endpoint {
    /// Parses `localhost:8000`, `http://host/`, `…/v1`, `…/v1/chat/completions`, `…/inference/v1`, `http://[::1]:8000`,
    /// `http://[fe80::1%25eth0]:8000`, `…/openai/deployments/NAME/chat/completions?api-version=1`.
    pub fn parse(typed: &str) -> Result<Endpoint> {
        Endpoint::parse_behind("--endpoint", typed)
    }

    /// Parses a URL that follows other words, which an error repeats.
    pub fn parse_behind(words: &str, typed: &str) -> Result<Endpoint> {
        let wrong = |why: &str| Error::input(format!("{words} {}", without_secrets(typed)), why);
        let (is_https, rest) = match typed.split_once("://") {
            None => (false, typed),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err(wrong("the scheme is neither http nor https")),
        };
        if without_userinfo(typed) != typed {
            return Err(wrong("a user name or password in the URL is not accepted")
                .next("Give the key with --api-key-file FILE or TMESH_API_KEY, other schemes with --header"));
        }
        if rest.contains('#') {
            return Err(wrong(
                "a fragment (#…) is not accepted; want a URL such as http://localhost:8000/v1",
            ));
        }
        if typed.contains(|c: char| c.is_whitespace() || c.is_control()) || !typed.is_ascii() {
            return Err(wrong("not a URL; want one such as http://localhost:8000"));
        }
        let (rest, query) = rest.find('?').map_or((rest, ""), |at| rest.split_at(at));
        let (rest, zone) = split_zone(rest);
        let (authority, path) = rest.find('/').map_or((&*rest, ""), |at| rest.split_at(at));
        let (host, port) = split_port(authority).map_err(|why| wrong(&why))?;
        let (base_path, api) = split_path(path);
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        Ok(Endpoint {
            is_https,
            host: host.to_string(),
            zone,
            port,
            base_path,
            query: if query == "?" { "" } else { query }.to_string(),
            api,
        })
    }

    /// Returns the host with its zone, for looking up its address.
    pub fn host_and_zone(&self) -> String {
        format!("{}{}", self.host, self.zone)
    }

    /// Returns the secrets in the query of its URLs.
    pub fn secrets(&self) -> Vec<String> {
        secrets_of(&self.query)
    }

    /// Returns the model in a path such as `/openai/deployments/NAME/`.
    pub fn deployment(&self) -> Option<&str> {
        let (before, name) = self.base_path.trim_end_matches('/').rsplit_once('/')?;
        // `…/deployments` alone names no deployment: its base then ends in `v1`.
        Some(name).filter(|name| before.ends_with(DEPLOYMENTS) && *name != "v1")
    }

    /// Returns a URL below the base, such as `models`. It may hold a secret: see `shown_url`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}{}", self.base(), self.query)
    }

    fn base(&self) -> String {
        format!("{}{}", self.origin(), self.base_path)
    }

    /// Returns the URL below the base as it may be shown.
    pub fn shown_url(&self, path: &str) -> String {
        self.as_shown(&self.url(path))
    }

    /// Returns the endpoint as it may be shown: the API's route if that is known to be outside the base.
    pub fn shown(&self) -> String {
        match self.api {
            Some(Api::Generate) => self.shown_root(Api::Generate.path()),
            Some(Api::Completions | Api::Chat) | None => self.shown_url(""),
        }
    }

    /// Returns the URI for requests to the API.
    pub fn route(&self, api: Api) -> Result<Uri> {
        match api {
            Api::Generate => uri(&self.root(api.path())),
            Api::Completions | Api::Chat => uri(&self.url(api.path())),
        }
    }

    /// Returns a URI where a GET only opens a connection.
    pub fn idle_uri(&self, api: Api) -> Result<Uri> {
        match api {
            Api::Generate => uri(&self.root("health")),
            Api::Completions | Api::Chat => uri(&self.url("models")),
        }
    }

    /// Returns a URL outside `/v1/`, such as `tokenize`. It may hold a secret: see `shown_root`.
    pub fn root(&self, path: &str) -> String {
        let above = self
            .base_path
            .trim_end_matches('/')
            .rsplit_once('/')
            .map_or("", |(above, _)| above);
        format!("{}{above}/{path}{}", self.origin(), self.query)
    }

    /// Returns the URL outside `/v1/` as it may be shown.
    pub fn shown_root(&self, path: &str) -> String {
        self.as_shown(&self.root(path))
    }

    /// Returns one of its URLs with the zone, which requests leave out, and without secrets.
    fn as_shown(&self, url: &str) -> String {
        let shown = query::masked_url(url);
        match self.zone.strip_prefix('%') {
            Some(zone) => shown.replacen(']', &format!("%25{zone}]"), 1),
            None => shown,
        }
    }

    /// Returns the same endpoint over http; the default port becomes 80.
    pub fn into_plain(self) -> Endpoint {
        let port = if self.port == 443 { 80 } else { self.port };
        Endpoint {
            is_https: false,
            port,
            ..self
        }
    }

    pub fn is_loopback(&self) -> bool {
        is_this_machine(&self.host)
    }

    fn origin(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let default = if self.is_https { 443 } else { 80 };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.shown())
    }
}

fn uri(text: &str) -> Result<Uri> {
    let parsed = text.parse();
    parsed.map_err(|e| Error::input(format!("--endpoint {}", without_secrets(text)), e))
}

/// Splits the zone of an IPv6 address off a text that begins with a host; the zone follows a `%`. URLs write the `%` as
/// `%25`; both are accepted.
pub fn split_zone(text: &str) -> (Cow<'_, str>, String) {
    let zoned = || {
        let (inside, after) = text.strip_prefix('[')?.split_once(']')?;
        let (address, zone) = inside.split_once('%')?;
        let zone = zone
            .strip_prefix("25")
            .filter(|zone| !zone.is_empty())
            .unwrap_or(zone);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        let is_zone = !zone.is_empty() && zone.chars().all(is_plain);
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        (is_zone && is_address).then(|| (format!("[{address}]{after}"), format!("%{zone}")))
    };
    match zoned() {
        Some((rest, zone)) => (Cow::Owned(rest), zone),
        None => (Cow::Borrowed(text), String::new()),
    }
}

/// Returns host (without brackets) and port of an authority.
fn split_port(authority: &str) -> std::result::Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or("an IPv6 address without its closing bracket")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("[{host}] is not an IPv6 address"));
        }
        match after.strip_prefix(':') {
            None if after.is_empty() => (host, None),
            Some(port) => (host, Some(port)),
            None => {
                return Err(
                    "text after the IPv6 address; want one such as http://[::1]:8000".into(),
                );
            }
        }
    } else if authority.matches(':').count() > 1 {
        return Err("an IPv6 address needs brackets, such as http://[::1]:8000".into());
    } else {
        authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(name) {
        return Err("no host name in it; want one such as http://localhost:8000".into());
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(format!("{port} is not a port; want 1 to 65535")),
        },
    };
    Ok((host, port))
}

/// Returns the base path of an endpoint's path, and the API that it names.
fn split_path(path: &str) -> (String, Option<Api>) {
    let path = path.trim_end_matches('/');
    for api in [Api::Chat, Api::Completions] {
        if let Some(base) = path
            .strip_suffix(api.path())
            .filter(|base| base.ends_with('/'))
        {
            // A route without any prefix has no version either.
            let base = if base == "/" { "/v1/" } else { base };
            return (base.to_string(), Some(api));
        }
    }
    let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
    if last == Api::Generate.path() {
        // The OpenAI routes are assumed beside it.
        let beside = path.strip_suffix(last).unwrap_or_default();
        return (format!("{beside}v1/"), Some(Api::Generate));
    }
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if is_version || before.ends_with(DEPLOYMENTS) {
        (format!("{path}/"), None)
    } else {
        (format!("{path}/v1/"), None)
    }
}

/// Returns the secrets in the query of a URL.
pub fn secrets_of(url: &str) -> Vec<String> {
    url.split_once('?')
        .map_or(Vec::new(), |(_, query)| query::secrets(query))
}

/// Returns the URL as it may be shown: without a password, and without secrets in its query.
pub fn without_secrets(typed: &str) -> String {
    query::masked_url(&without_userinfo(typed))
}

/// Returns the URL without a possible password: if no host with a port is at its start, everything up to the last `@`
/// is removed.
fn without_userinfo(typed: &str) -> String {
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let scheme = typed.find("://").filter(|&end| is_scheme(&typed[..end]));
    let start = scheme.map_or(0, |end| end + 3);
    let authority = typed[start..].split('/').next().unwrap_or_default();
    match typed[start..].rfind('@') {
        // A password may contain a slash, so the text before it is not an address.
        Some(at) if split_port(authority).is_err() => {
            format!("{}****{}", &typed[..start], &typed[start + at..])
        }
        _ => typed.to_string(),
    }
}

/// Returns whether what is sent to a host stays on this machine.
pub fn is_this_machine(host: &str) -> bool {
    let ip = host.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_guides_gives_the_same_base() {
        for (typed, base, api) in [
            ("http://localhost:8000", "http://localhost:8000/v1/", None),
            ("http://localhost:8000/", "http://localhost:8000/v1/", None),
            (
                "http://localhost:8000/v1",
                "http://localhost:8000/v1/",
                None,
            ),
            (
                "http://localhost:8000/v1/",
                "http://localhost:8000/v1/",
                None,
            ),
            ("localhost:8000", "http://localhost:8000/v1/", None),
            (
                "HTTP://h/v1/chat/completions",
                "http://h/v1/",
                Some(Api::Chat),
            ),
            (
                "http://h:80/v1/completions/",
                "http://h/v1/",
                Some(Api::Completions),
            ),
            ("http://h/inference/v1", "http://h/inference/v1/", None),
            ("http://h/inference", "http://h/inference/v1/", None),
            (
                "http://h/api/v3/chat/completions",
                "http://h/api/v3/",
                Some(Api::Chat),
            ),
            (
                "localhost:8000/chat/completions",
                "http://localhost:8000/v1/",
                Some(Api::Chat),
            ),
            ("h/completions/", "http://h/v1/", Some(Api::Completions)),
            ("h/api/chat/completions", "http://h/api/", Some(Api::Chat)),
            (
                "h/openai/v1/chat/completions",
                "http://h/openai/v1/",
                Some(Api::Chat),
            ),
            ("https://h.example.com", "https://h.example.com/v1/", None),
            ("https://h:8443/v1", "https://h:8443/v1/", None),
            ("http://[::1]:8000", "http://[::1]:8000/v1/", None),
            ("[fe80::1]/v1", "http://[fe80::1]/v1/", None),
            ("10.0.0.7:30080/", "http://10.0.0.7:30080/v1/", None),
            ("h:8000/generate", "http://h:8000/v1/", Some(Api::Generate)),
            ("h/v1/generate/", "http://h/v1/v1/", Some(Api::Generate)),
            ("h/regenerate", "http://h/regenerate/v1/", None),
        ] {
            let endpoint = Endpoint::parse(typed).expect(typed);
            assert_eq!(
                (endpoint.base().as_str(), endpoint.api),
                (base, api),
                "{typed}"
            );
        }
    }

    #[test]
    fn generate_is_asked_for_where_it_was_typed_or_beside_v1() {
        for (typed, route) in [
            ("http://h:8000/generate", "http://h:8000/generate"),
            ("h/generate/", "http://h/generate"),
            ("h/v1/generate", "http://h/v1/generate"),
            ("https://h/a/b/generate", "https://h/a/b/generate"),
            ("h", "http://h/generate"),
            ("h/a/v1", "http://h/a/generate"),
        ] {
            let endpoint = Endpoint::parse(typed).expect(typed);
            let uri = endpoint.route(Api::Generate).expect(typed);
            assert_eq!(uri.to_string(), route, "{typed}");
        }
    }

    #[test]
    fn paths_beside_v1_keep_the_prefix() {
        let root = |typed| Endpoint::parse(typed).expect(typed).root("tokenize");
        assert_eq!(root("h:1"), "http://h:1/tokenize");
        assert_eq!(root("h:1/inference/v1"), "http://h:1/inference/tokenize");
    }

    #[test]
    fn a_query_is_sent_everywhere_and_shown_without_its_secrets() {
        for (typed, route, shown) in [
            (
                "https://r.example/openai/deployments/gpt/chat/completions?api-version=2024-10-01-preview",
                "https://r.example/openai/deployments/gpt/chat/completions?api-version=2024-10-01-preview",
                "https://r.example/openai/deployments/gpt/?api-version=2024-10-01-preview",
            ),
            (
                "https://r.example/openai/deployments/gpt/?api-version=1",
                "https://r.example/openai/deployments/gpt/chat/completions?api-version=1",
                "https://r.example/openai/deployments/gpt/?api-version=1",
            ),
            (
                "h:8000?key=0123456789abcdef&a=/b",
                "http://h:8000/v1/chat/completions?key=0123456789abcdef&a=/b",
                "http://h:8000/v1/?key=****cdef&a=/b",
            ),
            (
                "h/v1?user=a@b&code=x",
                "http://h/v1/chat/completions?user=a@b&code=x",
                "http://h/v1/?user=a@b&code=****",
            ),
            ("h/v1?", "http://h/v1/chat/completions", "http://h/v1/"),
            (
                "http://[fe80::1%25eth0]:8000/v1?t=1",
                "http://[fe80::1]:8000/v1/chat/completions?t=1",
                "http://[fe80::1%25eth0]:8000/v1/?t=1",
            ),
        ] {
            let endpoint = Endpoint::parse(typed).expect(typed);
            let uri = endpoint.route(Api::Chat).expect(typed).to_string();
            assert_eq!((uri.as_str(), endpoint.shown().as_str()), (route, shown));
        }
        let endpoint = Endpoint::parse("h/a/v1?token=s3cret&x=1").expect("an endpoint");
        assert_eq!(
            endpoint.url("models"),
            "http://h/a/v1/models?token=s3cret&x=1"
        );
        assert_eq!(
            endpoint.root("metrics"),
            "http://h/a/metrics?token=s3cret&x=1"
        );
        assert_eq!(
            endpoint.shown_root("metrics"),
            "http://h/a/metrics?token=****&x=1"
        );
        assert_eq!(endpoint.secrets(), ["s3cret", "s3cret"]);
        let generate = Endpoint::parse("h/generate?token=s3cret").expect("an endpoint");
        let uri = generate.route(Api::Generate).expect("a URI");
        assert_eq!(uri, "http://h/generate?token=s3cret");
        assert_eq!(generate.shown(), "http://h/generate?token=****");
    }

    #[test]
    fn a_zone_is_looked_up_with_the_host_and_left_out_of_requests() {
        for (typed, looked_up, base) in [
            (
                "http://[fe80::1%25eth0]:8000",
                "fe80::1%eth0",
                "http://[fe80::1]:8000/v1/",
            ),
            (
                "[fe80::1%eth0.100]/v1",
                "fe80::1%eth0.100",
                "http://[fe80::1]/v1/",
            ),
            (
                "https://[fe80::a:b%251]:8443",
                "fe80::a:b%1",
                "https://[fe80::a:b]:8443/v1/",
            ),
            ("[fe80::1%25]", "fe80::1%25", "http://[fe80::1]/v1/"),
            ("[::1]:8000", "::1", "http://[::1]:8000/v1/"),
        ] {
            let endpoint = Endpoint::parse(typed).expect(typed);
            assert_eq!(endpoint.host_and_zone(), looked_up);
            assert_eq!(endpoint.url(""), base, "{typed}");
        }
        let here = Endpoint::parse("[::1%25lo]:8000").expect("an endpoint");
        assert!(here.is_loopback());
    }

    #[test]
    fn a_deployment_names_its_model() {
        for (typed, name) in [
            (
                "h/openai/deployments/gpt-4o/chat/completions?a=b",
                Some("gpt-4o"),
            ),
            ("h/openai/deployments/gpt-4o", Some("gpt-4o")),
            ("h/x/deployments/m/completions", Some("m")),
            ("h/openai/deployments", None),
            ("h/v1", None),
            ("h", None),
        ] {
            assert_eq!(
                Endpoint::parse(typed).expect(typed).deployment(),
                name,
                "{typed}"
            );
        }
    }

    #[test]
    fn a_url_that_is_refused_is_shown_without_its_secrets() {
        for typed in [
            "ftp://h?key=s3cret",
            "http://h:0?token=s3cret",
            "http://h/v1?sig=s3cret#x",
            "http://h/v1?a=b#access_token=s3cret",
            "http://h h?code=s3cret",
            "http://u:p@h?key=s3cret",
        ] {
            let text = Endpoint::parse(typed).expect_err(typed).to_string();
            assert!(text.contains("****") && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn a_malformed_endpoint_is_refused_with_its_reason() {
        for (typed, why) in [
            ("", "no host name"),
            ("http://", "no host name"),
            ("ftp://h", "neither http nor https"),
            ("http://h:0", "not a port"),
            ("http://h:99999", "not a port"),
            ("http://h:8a", "not a port"),
            ("::1", "needs brackets"),
            ("http://[::1", "closing bracket"),
            ("http://[zz]", "not an IPv6 address"),
            ("http://h/v1#x", "a fragment"),
            ("http://h/v1?x=1#y", "a fragment"),
            ("http://h/v1?x=é", "not a URL"),
            ("http://[fe80::1%]", "not an IPv6 address"),
            ("http://[fe80::1%25a/b]", "closing bracket"),
            ("http://[fe80::1%25a%b]", "not an IPv6 address"),
            ("http://h h", "not a URL"),
            ("http://h/é", "not a URL"),
        ] {
            let text = Endpoint::parse(typed).expect_err(typed).to_string();
            assert!(text.contains(why), "{typed}: {text}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for typed in [
            "http://user:s3cret@h:1/v1",
            // Other parsers end the host at an unescaped slash.
            "http://user:p/s3cret@h:1/v1",
            "http://user:s3cret@h:x/v1@2",
            "user:s3cret@h:1/v1",
            "user:s3cret://@h:1/v1",
        ] {
            let text = Endpoint::parse(typed).expect_err(typed).to_string();
            assert!(text.contains("****@"), "{text}");
            assert!(
                !text.contains("s3cret") && !text.contains("user:"),
                "{text}"
            );
        }
        let error = Endpoint::parse("http://user:s3cret@h:1/v1").expect_err("userinfo");
        let text = error.to_string();
        assert!(
            text.contains("http://****@h:1/v1") && text.contains("--api-key-file"),
            "{text}"
        );
    }
}
