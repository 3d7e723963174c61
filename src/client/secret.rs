//! Texts that are never shown: the API key, and the values of headers with secret names.

use std::fmt;
use std::sync::Mutex;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::encoded::{base64, replace};
use crate::lock::lock;

/// Words in the names of headers whose values are secret, and ends of such words.
const SECRET_WORDS: [&str; 11] = [
    "auth",
    "authorization",
    "authentication",
    "bearer",
    "jwt",
    "session",
    "sessionid",
    "signature",
    "credential",
    "credentials",
    "passwd",
];
const SECRET_ENDS: [&str; 5] = ["key", "token", "secret", "cookie", "password"];
/// Least length of a header's value that is a secret: shorter ones occur in any text by chance.
pub const MIN_SECRET: usize = 4;
/// Least length of a part of a cookie that counts as a secret; no page contains one by chance.
const MIN_TELLING: usize = 6;
/// Largest secret; servers accept no longer headers.
const MAX_SECRET: usize = 8 << 10;

/// Characters at the beginning of a key that tell it from other text.
const TELLING_BEGINNING: usize = 16;

/// The keys that this process was given, for errors whose text comes from a file.
static KEYS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Masks the keys that this process was given in an error: a file that it quotes may be the file of a key. A key that
/// the error cuts is masked as far as it stands there.
pub fn mask_keys(mut text: String) -> String {
    for key in lock(&KEYS).iter().filter(|key| key.len() >= MIN_TELLING) {
        text = text.replace(key, &masked(key));
        let Some(beginning) = key.get(..TELLING_BEGINNING) else {
            continue;
        };
        while let Some(at) = text.find(beginning) {
            let same = text[at..].bytes().zip(key.bytes());
            let length = same.take_while(|(one, other)| one == other).count();
            text.replace_range(at..at + length, "****");
        }
    }
    text
}

/// An API key; printing it in any way shows at most its last four characters.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// # Errors
    /// Fails when the text cannot be sent in a header, with the reason.
    pub fn new(key: &str) -> Result<ApiKey, String> {
        let key = key.trim();
        if key.is_empty() {
            return Err("the key is empty".into());
        }
        if key.len() > MAX_SECRET {
            return Err(format!("the key has more than {MAX_SECRET} characters"));
        }
        if !key.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err("the key has characters that no header can carry".into());
        }
        lock(&KEYS).push(key.to_string());
        Ok(ApiKey(key.to_string()))
    }

    /// Adds the key to the secrets of a link.
    pub fn hide_in(&self, secrets: &mut Secrets) {
        secrets.add(&self.0);
    }

    /// Returns the value of the Authorization header, which debug output hides.
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

/// Returns whether the value of a header of this name is a secret.
pub fn is_secret(name: &HeaderName) -> bool {
    is_secret_name(name.as_str())
}

/// Returns whether a header, parameter or variable of this name, in lower case, has a secret value.
pub fn is_secret_name(name: &str) -> bool {
    let mut words = name.split(['-', '_', '.']);
    words.any(|word| {
        SECRET_WORDS.contains(&word) || SECRET_ENDS.iter().any(|end| word.ends_with(end))
    })
}

/// Returns the beginning of a text from a server. The cut leaves no part of a secret, since a part would not be
/// recognised and masked.
pub fn beginning(bytes: &[u8], most: usize) -> &[u8] {
    match bytes.get(..most) {
        Some(cut) => &cut[..most.saturating_sub(MAX_SECRET)],
        None => bytes,
    }
}

/// The secrets in a request's headers; one that contains another comes before it.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Secret>);

#[derive(Clone)]
struct Secret {
    length: usize,
    /// The forms in which it may occur in a text; characters of each may be escaped there.
    forms: Vec<String>,
    /// The text that replaces it.
    mask: String,
}

impl Secrets {
    pub fn of(headers: &HeaderMap) -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in headers.iter().filter(|(name, _)| is_secret(name)) {
            let value = String::from_utf8_lossy(value.as_bytes());
            // The scheme, such as Bearer, is not secret.
            let scheme = value
                .split_once(' ')
                .filter(|_| name.as_str().contains("auth"));
            let whole = scheme.map_or(&*value, |(_, rest)| rest);
            if whole.len() >= MIN_SECRET || *name == header::AUTHORIZATION {
                secrets.add(whole);
            }
            if *name == header::COOKIE {
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
        let secret = secret.trim();
        if !secret.is_empty() {
            self.0.push(Secret {
                length: secret.len(),
                forms: forms(secret),
                mask: masked(secret),
            });
            self.0
                .sort_by_cached_key(|secret| usize::MAX - secret.length);
        }
    }

    /// Returns `text` with every secret masked, since servers repeat them in errors.
    pub fn redact(&self, text: String) -> String {
        self.masked_from(0, text)
    }

    /// Masks secrets in a text that will be parsed, where a short secret may occur by chance.
    pub fn redact_page(&self, text: String) -> String {
        self.masked_from(MIN_TELLING, text)
    }

    fn masked_from(&self, min_length: usize, mut text: String) -> String {
        for secret in self.0.iter().filter(|secret| secret.length >= min_length) {
            for form in &secret.forms {
                text = replace(text, form, &secret.mask);
            }
        }
        text
    }
}

/// Returns the secret as it is and in base64.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_string()];
    // The base64 text of a short secret may occur by chance.
    if secret.len() >= MIN_TELLING {
        forms.extend(base64(secret));
    }
    forms
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Returns the masked form of a secret.
pub fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let shown = if length >= 16 { 4 } else { 0 };
    let tail: String = secret.chars().skip(length - shown).collect();
    format!("****{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_masked_in_an_error_also_where_it_is_cut() {
        for key in ["sk-of-this-test-0123456789", "tiny7", "short-key-7"] {
            ApiKey::new(key).expect("a key");
        }
        for (text, wanted) in [
            (
                "line 3: have \"sk-of-this-test-0123456789\"",
                "line 3: have \"****6789\"",
            ),
            // 18 characters of the key, of which 16 tell it.
            ("have sk-of-this-test-01…", "have ****…"),
            ("have sk-of-this-tes…", "have sk-of-this-tes…"),
            ("have short-key-7", "have ****"),
            // Five characters may stand in any text.
            ("have tiny7", "have tiny7"),
        ] {
            assert_eq!(mask_keys(text.to_string()), wanted);
        }
    }

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
            (
                "x-api-key",
                "sch\u{fc}ssel-0123456789-\u{f6}x\u{f6}",
                "sch\u{fc}ssel-0123456789-\u{f6}x\u{f6}!",
                "****-\u{f6}x\u{f6}!",
            ),
            (
                "x-auth-token",
                "Custom a/b+c==",
                r"a/b+c== a\/b+c== a/b\u002bc\u003d\u003d",
                "**** **** ****",
            ),
            // The value is too short to be a secret.
            ("x-session-id", "1", "11", "11"),
            ("x-tokenizer-mode", "true", "true", "true"),
            ("x-author", "somebody", "somebody", "somebody"),
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
        let both = secrets(&[("x-token", "abcd"), ("x-key", "abcdabcdef")]);
        assert_eq!(both.redact("abcdabcdef abcd".into()), "**** ****");
    }

    #[test]
    fn a_page_may_have_a_short_secret_by_chance() {
        let both = secrets(&[("x-key", "abcdefgh"), ("x-token", "qwen")]);
        assert_eq!(both.redact_page("abcdefgh-qwen".into()), "****-qwen");
    }

    #[test]
    fn a_cut_text_keeps_no_part_of_a_secret() {
        let text = [b' '; 20_000];
        assert_eq!(beginning(&text, 20_001).len(), 20_000);
        assert_eq!(beginning(&text, 16_384).len(), 16_384 - 8192);
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
