//! What is shown nowhere: the API key, and what headers with such names carry.

use std::fmt;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Parts of the names of headers whose values are secret.
const SECRET_NAMES: [&str; 9] = [
    "auth",
    "key",
    "token",
    "secret",
    "cookie",
    "password",
    "credential",
    "session",
    "signature",
];
/// From this length on, a part of a cookie is taken for a secret, and no text has one by chance.
const MIN_TELLING: usize = 8;

/// An API key; no way of printing it shows more than its last four characters.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// # Errors
    /// Why the text cannot be sent in a header.
    pub fn new(key: &str) -> Result<ApiKey, String> {
        let key = key.trim();
        if key.is_empty() {
            return Err("the key is empty".into());
        }
        if !key.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err("the key has characters that no header can carry".into());
        }
        Ok(ApiKey(key.to_string()))
    }

    /// The value of the Authorization header, kept out of debug output.
    pub fn authorization(&self) -> HeaderValue {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0));
        let mut value = value.expect("`new` took visible ASCII only");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({self})")
    }
}

/// Whether the value of a header of this name is a secret.
pub fn is_secret(name: &HeaderName) -> bool {
    // Names are in lower case.
    SECRET_NAMES.iter().any(|part| name.as_str().contains(part))
}

/// The secrets among the headers of a request.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    pub fn of(headers: &HeaderMap) -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in headers {
            let (true, Ok(value)) = (is_secret(name), value.to_str()) else {
                continue;
            };
            // The scheme, such as Bearer, is none.
            let scheme = value
                .split_once(' ')
                .filter(|_| name.as_str().contains("auth"));
            secrets.add(scheme.map_or(value, |(_, rest)| rest));
            if name == header::COOKIE {
                let values = value
                    .split(';')
                    .filter_map(|pair| Some(pair.split_once('=')?.1));
                let telling = values
                    .map(str::trim)
                    .filter(|value| value.len() >= MIN_TELLING);
                telling.for_each(|value| secrets.add(value));
            }
        }
        secrets
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim().to_string();
        if !secret.is_empty() {
            self.0.push(secret);
            // One that holds another is masked first.
            self.0.sort_by_key(|secret| usize::MAX - secret.len());
        }
    }

    /// `text` with every occurrence of a secret masked; servers repeat them in their errors.
    pub fn redact(&self, text: String) -> String {
        self.masked_from(0, text)
    }

    /// The same for a text that is still to be read, where a short secret may stand by chance.
    pub fn redact_page(&self, text: String) -> String {
        self.masked_from(MIN_TELLING, text)
    }

    fn masked_from(&self, min_length: usize, mut text: String) -> String {
        for secret in self.0.iter().filter(|secret| secret.len() >= min_length) {
            // As it is, and as it stands inside of a JSON string.
            let escaped = secret.replace('\\', r"\\").replace('"', r#"\""#);
            for form in [secret, &escaped] {
                if text.contains(form) {
                    text = text.replace(form, &masked(secret));
                }
            }
        }
        text
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

fn masked(secret: &str) -> String {
    match secret.len() {
        16.. => format!("****{}", &secret[secret.len() - 4..]),
        _ => "****".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(lines: &[(&'static str, &str)]) -> Secrets {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        Secrets::of(&headers)
    }

    #[test]
    fn a_secret_is_masked_whole_behind_its_scheme_or_name_and_inside_of_json() {
        for (name, value, text, wanted) in [
            (
                "authorization",
                "Bearer abcdef",
                "no abcdef, no Bearer abcdef",
                "no ****, no Bearer ****",
            ),
            (
                "x-api-key",
                "0123456789abcdefghij",
                "(0123456789abcdefghij)",
                "(****ghij)",
            ),
            (
                "api-key",
                r#"a"b\c"#,
                r#"{"k": "a\"b\\c"} a"b\c"#,
                r#"{"k": "****"} ****"#,
            ),
            (
                "cookie",
                "sid=s3cr3t012; lang=de",
                "s3cr3t012 de",
                "**** de",
            ),
            ("proxy-authorization", "Basic dXNlcg==", "dXNlcg==", "****"),
            ("x-session-id", "4711", "session 4711", "session ****"),
            ("x-route", "canary", "canary", "canary"),
            ("accept", "text/plain", "text/plain", "text/plain"),
        ] {
            assert_eq!(
                secrets(&[(name, value)]).redact(text.to_string()),
                wanted,
                "{name}"
            );
        }
    }

    #[test]
    fn one_secret_inside_of_another_leaves_nothing_of_it() {
        let both = secrets(&[("x-token", "abc"), ("x-key", "abcabcdef")]);
        assert_eq!(both.redact("abcabcdef abc".into()), "**** ****");
    }

    #[test]
    fn a_page_may_have_a_short_secret_by_chance() {
        let both = secrets(&[("x-key", "abcdefgh"), ("x-token", "7b")]);
        assert_eq!(both.redact_page("abcdefgh-7b".into()), "****-7b");
    }

    #[test]
    fn a_key_shows_four_characters_at_the_most() {
        let shown = |key: &str| ApiKey::new(key).expect(key).to_string();
        assert_eq!(shown("vllm_sk_555a1b7ff3e0f617"), "****f617");
        assert_eq!(shown("sk-123"), "****");
        assert!(ApiKey::new("a\nb").is_err() && ApiKey::new(" ").is_err());
        let key = ApiKey::new("vllm_sk_555a1b7ff3e0f617").expect("a key");
        let secrets = secrets(&[("x-key", "vllm_sk_555a1b7ff3e0f617")]);
        let debug = format!("{key:?} {:?} {secrets:?}", key.authorization());
        assert_eq!(debug, "ApiKey(****f617) Sensitive Secrets(1)");
    }
}
