//! The proxy that the environment names, for who asks for it.

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// Of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` the first that holds a URL, in capitals or not; `None` where `NO_PROXY`
/// has the host.
///
/// # Errors
/// Why there is none that can be used.
pub fn from_environment(uri: &Uri) -> Result<Option<Proxy>, String> {
    let proxy = Proxy::try_from_env();
    let proxy = proxy
        .ok_or("ALL_PROXY, HTTPS_PROXY and HTTP_PROXY name none; want such as http://proxy:3128")?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => {
            Ok(Some(proxy).filter(|proxy| !proxy.is_no_proxy(uri)))
        }
        _ => Err("a SOCKS proxy; want one that speaks http".to_string()),
    }
}

/// Its host, without the brackets of an IPv6 address.
pub fn host(proxy: &Proxy) -> &str {
    proxy.host().trim_matches(['[', ']'])
}

/// Where it is, without name and password.
pub fn shown(proxy: &Proxy) -> String {
    let scheme = proxy.uri().scheme_str().unwrap_or("http");
    format!("{scheme}://{}:{}", proxy.host(), proxy.port())
}
