//! Keys, headers and certificates: the options that say who asks and which server is trusted.

use std::path::Path;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::args::Args;
use crate::client::endpoint::Endpoint;
use crate::client::secret::{ApiKey, is_secret, is_secret_name};
use crate::client::trust::Trust;
use crate::error::{Error, Result};
use crate::file;

/// The variable of the key, and that of other programs.
pub const VARIABLE: &str = "TMESH_API_KEY";
pub const OTHERS_VARIABLE: &str = "OPENAI_API_KEY";

/// Finds the key: option, file, TMESH_API_KEY, or OPENAI_API_KEY. The last is only used where no stranger, such as a
/// proxy, can read it in plain text. Notes what was stripped off the key.
pub fn key(args: &Args, typed: Option<&str>, is_direct: bool) -> Result<Option<ApiKey>> {
    args.apart(&[("--api-key-file", "--api-key", "")])?;
    let given = args.value("--api-key", |text| GivenKey::new("--api-key", text))?;
    if let Some(key) = given {
        return Ok(Some(key.say()));
    }
    if let Some(key) = key_in_file(args, "--api-key-file")? {
        return Ok(Some(key));
    }
    let variable = |name: &str| match std::env::var(name) {
        Ok(text) if !text.is_empty() => GivenKey::new(name, &text)
            .map(Some)
            .map_err(|why| Error::input(name, why)),
        _ => Ok(None),
    };
    if let Some(key) = variable(VARIABLE)? {
        return Ok(Some(key.say()));
    }
    let Some(endpoint) = typed.map(Endpoint::parse).transpose()? else {
        return Ok(None);
    };
    let key = variable(OTHERS_VARIABLE)?
        .filter(|_| endpoint.is_https || is_direct && endpoint.is_loopback());
    Ok(key.map(|key| {
        note!("note: the API key is taken from {OTHERS_VARIABLE}");
        key.say()
    }))
}

/// Reads the key in the file that an option names, and notes what was stripped off it; `None`: the option is not given.
///
/// # Errors
/// Fails when the file cannot be read, or holds no key.
pub fn key_in_file(args: &Args, flag: &str) -> Result<Option<ApiKey>> {
    let key = args.value(flag, |path| {
        let bytes = file::read(Path::new(path)).map_err(|e| format!("cannot read: {e}"))?;
        let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
        GivenKey::new(&format!("{flag} {path}"), &text)
    })?;
    Ok(key.map(GivenKey::say))
}

/// A key as it was found, with the text around it.
struct GivenKey {
    key: ApiKey,
    /// The option or variable of the key.
    source: String,
    stripped: Vec<&'static str>,
}

impl GivenKey {
    fn new(source: &str, text: &str) -> std::result::Result<GivenKey, String> {
        let (text, stripped) = strip(text);
        Ok(GivenKey {
            key: ApiKey::new(text)?,
            source: source.to_string(),
            stripped,
        })
    }

    /// Returns the key; a note names what was stripped off.
    fn say(self) -> ApiKey {
        if !self.stripped.is_empty() {
            let stripped = self.stripped.join(", ");
            let source = self.source;
            note!("note: {source}: stripped from around the key: {stripped}");
        }
        self.key
    }
}

/// Returns the key inside a line that people copy it with, such as `export NAME="sk-…"` or `Authorization: Bearer
/// sk-…`, and what was taken off.
fn strip(text: &str) -> (&str, Vec<&'static str>) {
    let mut key = text.trim_start_matches('\u{feff}').trim();
    let mut stripped = Vec::new();
    while let Some((what, inside)) = strip_once(key) {
        key = inside.trim();
        if !stripped.contains(&what) {
            stripped.push(what);
        }
    }
    (key, stripped)
}

/// Takes off the outermost part that does not belong to the key.
fn strip_once(text: &str) -> Option<(&'static str, &str)> {
    let quotes = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
    ];
    // Quotes that close before the end of the text belong to a name.
    let unquoted = |(open, close): &(char, char)| {
        let inside = text.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inside.contains([*open, *close])).then_some(inside)
    };
    if let Some(inside) = quotes.iter().find_map(unquoted) {
        return Some(("quotes", inside));
    }
    // A key has no blanks, so a word before one is not part of it.
    if let Some((word, rest)) = text.split_once([' ', '\t']) {
        match word.to_ascii_lowercase().as_str() {
            "export" | "set" => return Some(("export", rest)),
            "bearer" => return Some(("Bearer", rest)),
            _ => {}
        }
    }
    let is_name = |name: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
    };
    let bare = |name: &str| name.trim().trim_matches(['"', '\'']).to_string();
    let is_secret = |name: &str| is_secret_name(&name.to_ascii_lowercase());
    if let Some((name, value)) = text.split_once(':') {
        let name = bare(name);
        let is_apart =
            value.starts_with([' ', '\t', '"', '\'']) || name.eq_ignore_ascii_case("authorization");
        if is_apart && is_name(&name) && is_secret(&name) {
            return Some(("NAME:", value));
        }
    }
    let (name, value) = text.split_once('=')?;
    let name = bare(name);
    let is_variable = !name.contains(|c: char| c.is_ascii_lowercase() || c == '-');
    // Nothing follows the `=` padding of a base64 key.
    let has_value = !value.trim_matches('=').trim().is_empty();
    let is_variable = is_name(&name) && (is_variable || is_secret(&name));
    (has_value && is_variable).then(|| ("NAME=", value.trim_end_matches(';')))
}

/// Parses the values of `--header` or of a like option, each a line `NAME: VALUE`.
pub fn headers<'a>(flag: &str, lines: impl Iterator<Item = &'a str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        // The value may be a secret, so an error shows only the name.
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Error::input(flag, "no colon in it; want 'NAME: VALUE'"))?;
        let parsed = HeaderName::from_bytes(name.trim().as_bytes());
        // The part before the colon may hold a value: 'Authorization Bearer KEY:'.
        let why = "no header name before the colon; want 'NAME: VALUE'";
        let name = parsed.map_err(|_| Error::input(flag, why))?;
        let what = format!("{flag} '{name}: …'");
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

/// Returns which certificates are accepted of an https server.
pub fn trust(args: &Args) -> Result<Trust> {
    args.apart(&[("--insecure", "--cacert", "")])?;
    match args.text("--cacert") {
        Some(path) => Trust::from_file(&path),
        None if args.has("--insecure") => Ok(Trust::Anyone),
        None => Ok(Trust::Bundled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_inside_of_what_it_is_copied_with() {
        for (text, key, stripped) in [
            ("sk-abc", "sk-abc", &[][..]),
            ("\u{feff}sk-abc\r\n", "sk-abc", &[]),
            ("Bearer sk-abc", "sk-abc", &["Bearer"]),
            ("bearer  sk-abc\n", "sk-abc", &["Bearer"]),
            ("NAME=sk-abc", "sk-abc", &["NAME="]),
            ("OPENAI_API_KEY = sk-abc", "sk-abc", &["NAME="]),
            ("api_key=sk-abc", "sk-abc", &["NAME="]),
            (
                "export HF_TOKEN='sk-abc';",
                "sk-abc",
                &["export", "NAME=", "quotes"],
            ),
            ("set OPENAI_API_KEY=sk-abc", "sk-abc", &["export", "NAME="]),
            ("\"sk-abc\"", "sk-abc", &["quotes"]),
            ("'\"sk-abc\"'", "sk-abc", &["quotes"]),
            ("\u{201c}sk-abc\u{201d}", "sk-abc", &["quotes"]),
            (
                "Authorization: Bearer sk-abc",
                "sk-abc",
                &["NAME:", "Bearer"],
            ),
            (
                "\"authorization:bearer sk-abc\"",
                "sk-abc",
                &["quotes", "NAME:", "Bearer"],
            ),
            ("api_key: 'sk-abc'", "sk-abc", &["NAME:", "quotes"]),
            ("\"api_key\": \"sk-abc\"", "sk-abc", &["NAME:", "quotes"]),
            ("X-Api-Key: sk-abc", "sk-abc", &["NAME:"]),
            (
                "TOKEN=\"Bearer sk-abc\"",
                "sk-abc",
                &["NAME=", "quotes", "Bearer"],
            ),
            ("K=QUJDRA==", "QUJDRA==", &["NAME="]),
            // Keys that resemble such lines.
            ("QUJDRA==", "QUJDRA==", &[]),
            ("c2stYWJj=", "c2stYWJj=", &[]),
            ("sk-abc=def", "sk-abc=def", &[]),
            ("id:sk-abc", "id:sk-abc", &[]),
            ("my-key:sk-abc", "my-key:sk-abc", &[]),
            ("Bearersk-abc", "Bearersk-abc", &[]),
            ("\"sk-abc", "\"sk-abc", &[]),
            ("", "", &[]),
            ("Bearer", "Bearer", &[]),
        ] {
            assert_eq!(strip(text), (key, stripped.to_vec()), "{text}");
        }
    }
}
