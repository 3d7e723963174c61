//! The proxy of the environment, used only on request.

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// Returns the first URL of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, in upper or lower case; `None` if `NO_PROXY` has
/// the host.
///
/// # Errors
/// Fails when no proxy can be used, with the reason.
pub fn from_environment(uri: &Uri) -> Result<Option<Proxy>, String> {
    let proxy = Proxy::try_from_env();
    let proxy = proxy
        .ok_or("none of ALL_PROXY, HTTPS_PROXY and HTTP_PROXY names a proxy; want one such as http://proxy:3128")?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => {
            Ok(Some(proxy).filter(|proxy| !proxy.is_no_proxy(uri)))
        }
        _ => Err("a SOCKS proxy; want one that speaks http".to_string()),
    }
}

/// Returns the proxy's host, without the brackets of an IPv6 address.
pub fn host(proxy: &Proxy) -> &str {
    proxy.host().trim_matches(['[', ']'])
}

/// Returns the proxy's address without user name and password.
pub fn shown(proxy: &Proxy) -> String {
    let scheme = proxy.uri().scheme_str().unwrap_or("http");
    format!("{scheme}://{}:{}", proxy.host(), proxy.port())
}
