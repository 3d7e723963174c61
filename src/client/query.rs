//! The query of a URL: which values may be secrets, and the URL as it may be shown.

use super::secret::{MIN_SECRET, is_secret_name, masked};

/// Names of parameters with secret values, in addition to header names.
const SECRET_NAMES: [&str; 8] = [
    "sig",
    "code",
    "pwd",
    "pass",
    "passphrase",
    "sas",
    "hmac",
    "ticket",
];
/// Parameters whose values are names of any length.
const OPEN_NAMES: [&str; 6] = [
    "api-version",
    "version",
    "model",
    "deployment",
    "region",
    "provider",
];
/// Least length of a value that may be a secret under any name.
const MIN_LONG: usize = 20;

/// Returns the URL with possible secrets masked. It accepts texts that are not URLs, too.
pub fn masked_url(url: &str) -> String {
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let mut shown = match before.split_once('?') {
        None => before.to_string(),
        Some((before, query)) => {
            let pairs: Vec<String> = query.split('&').map(masked_pair).collect();
            format!("{before}?{}", pairs.join("&"))
        }
    };
    if !fragment.is_empty() {
        shown.push_str("#****");
    }
    shown
}

fn masked_pair(pair: &str) -> String {
    match secret_value(pair) {
        Some(value) => format!("{}{}", &pair[..pair.len() - value.len()], masked(value)),
        None => pair.to_string(),
    }
}

/// Returns the secrets of a query that are long enough to be recognised in a text: each as sent and as decoded.
pub fn secrets(query: &str) -> Vec<String> {
    let values = query.split('&').filter_map(secret_value);
    let telling = values.filter(|value| value.len() >= MIN_SECRET);
    telling
        .flat_map(|value| [value.to_string(), decoded(value)])
        .collect()
}

/// Returns the value of a parameter that may be a secret; a parameter without a name is its value.
fn secret_value(pair: &str) -> Option<&str> {
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let name = decoded(name).to_lowercase();
    let is_named = is_secret_name(&name)
        || name
            .split(['-', '_', '.'])
            .any(|word| SECRET_NAMES.contains(&word));
    let is_long = value.len() >= MIN_LONG && !OPEN_NAMES.contains(&name.as_str());
    (!value.is_empty() && (is_named || is_long)).then_some(value)
}

/// Returns the text with escapes such as `%2B` decoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match code.filter(|_| first == b'%') {
            Some(code) => (&after[2..], bytes.push(code)),
            None => (after, bytes.push(first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_may_be_secrets_are_masked_and_the_others_are_shown() {
        for (url, shown) in [
            ("http://h/v1", "http://h/v1"),
            (
                "http://h/v1?api-version=2024-10-01-preview",
                "http://h/v1?api-version=2024-10-01-preview",
            ),
            ("h?key=abc&a=b", "h?key=****&a=b"),
            (
                "h?a=b&access_token=0123456789abcdef",
                "h?a=b&access_token=****cdef",
            ),
            ("h?sig=a%2Bb%3D&se=2026", "h?sig=****&se=2026"),
            (
                "h?Code=x&API-KEY=y&apiKey=z",
                "h?Code=****&API-KEY=****&apiKey=****",
            ),
            ("h?%6Bey=abc", "h?%6Bey=****"),
            (
                "h?X-Amz-Signature=77&x.secret=8",
                "h?X-Amz-Signature=****&x.secret=****",
            ),
            // The name is missing or meaningless, but the value is long.
            ("h?sk-0123456789abcdefgh", "h?****efgh"),
            ("h?t=0123456789abcdefghij", "h?t=****ghij"),
            (
                "h?model=meta/a-model-of-a-long-name",
                "h?model=meta/a-model-of-a-long-name",
            ),
            // After an unescaped = or ? the value continues.
            ("h?token=a=b?c", "h?token=****"),
            ("h?key=&max_tokens=5&stream", "h?key=&max_tokens=5&stream"),
            ("h#access_token=abc", "h#****"),
            ("h?key=ab#cd?e=f", "h?key=****#****"),
        ] {
            assert_eq!(masked_url(url), shown, "{url}");
        }
    }

    #[test]
    fn a_secret_is_known_as_sent_and_as_decoded() {
        for (query, wanted) in [
            ("", &[][..]),
            ("a=b&api-version=1", &[]),
            ("sig=a%2Bb%3d%", &["a%2Bb%3d%", "a+b=%"]),
            ("key=abc&token=abcd", &["abcd", "abcd"]),
        ] {
            assert_eq!(secrets(query), wanted, "{query}");
        }
    }
}
