//! Who asks and who answers: the options of key, headers and certificates.

use std::path::Path;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::args::Args;
use crate::client::endpoint::Endpoint;
use crate::client::http::Trust;
use crate::client::secret::{ApiKey, is_secret};
use crate::error::{Error, Result};
use crate::file;

/// The key in order of nearness: option, file, TMESH_API_KEY, and OPENAI_API_KEY where it cannot
/// leak to a stranger in plain text, which a proxy is.
pub fn key(args: &Args, typed: Option<&str>, is_direct: bool) -> Result<Option<ApiKey>> {
    args.apart(&[("--api-key-file", "--api-key", "")])?;
    let given = args.value("--api-key", ApiKey::new)?;
    let from_file = args.value("--api-key-file", |path| {
        let bytes = file::read(Path::new(path)).map_err(|e| format!("cannot read: {e}"))?;
        let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
        ApiKey::new(text.trim_start_matches('\u{feff}'))
    })?;
    if let Some(key) = given.or(from_file) {
        return Ok(Some(key));
    }
    let variable = |name: &str| match std::env::var(name) {
        Ok(text) if !text.is_empty() => ApiKey::new(&text)
            .map(Some)
            .map_err(|why| Error::input(name, why)),
        _ => Ok(None),
    };
    if let Some(key) = variable("TMESH_API_KEY")? {
        return Ok(Some(key));
    }
    let Some(endpoint) = typed.map(Endpoint::parse).transpose()? else {
        return Ok(None);
    };
    let key = variable("OPENAI_API_KEY")?
        .filter(|_| endpoint.is_https || is_direct && endpoint.is_loopback());
    if key.is_some() {
        eprintln!("note: the API key is taken from OPENAI_API_KEY");
    }
    Ok(key)
}

/// Those of `--header`, each a line `NAME: VALUE`.
pub fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        // The value may be a secret: an error shows the name only.
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Error::input("--header", "no colon in it; want 'NAME: VALUE'"))?;
        let parsed = HeaderName::from_bytes(name.trim().as_bytes());
        // It may be one with a value: 'Authorization Bearer KEY:'.
        let why = "no header name before the colon; want 'NAME: VALUE'";
        let name = parsed.map_err(|_| Error::input("--header", why))?;
        let what = format!("--header '{name}: …'");
        let ours = [
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::TRANSFER_ENCODING,
        ];
        if ours.contains(&name) {
            return Err(Error::input(what, "this header is set by tmesh-cli"));
        }
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_| Error::input(&what, "not a header value"))?;
        value.set_sensitive(is_secret(&name));
        headers.append(name, value);
    }
    Ok(headers)
}

/// Whom an https server must be known to.
pub fn trust(args: &Args) -> Result<Trust> {
    args.apart(&[("--insecure", "--cacert", "")])?;
    match args.text("--cacert") {
        Some(path) => Trust::from_file(&path),
        None if args.has("--insecure") => Ok(Trust::Anyone),
        None => Ok(Trust::Bundled),
    }
}
