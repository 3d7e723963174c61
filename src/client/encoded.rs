//! Finds a secret in a text that writes it in another way: escaped for JSON, HTML or a URL, or in base64.

use std::str::from_utf8;

/// Most backslashes before an escaped character: JSON inside a JSON string doubles them.
const MOST_BACKSLASHES: usize = 8;
/// Most digits of a character's number in HTML, such as `&#x1F511;`.
const MOST_DIGITS: usize = 7;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns the text with every occurrence of the secret replaced, whichever of its characters are escaped.
pub fn replace(text: String, secret: &str, mask: &str) -> String {
    let text = match text.contains(secret) {
        true => text.replace(secret, mask),
        false => text,
    };
    if !text.contains(['\\', '%', '&']) {
        return text;
    }
    let (mut shown, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(first) = text[at..].chars().next() {
        match length_of(&text.as_bytes()[at..], secret) {
            Some(length) => {
                shown.push_str(&text[copied..at]);
                shown.push_str(mask);
                at += length;
                copied = at;
            }
            None => at += first.len_utf8(),
        }
    }
    shown.push_str(&text[copied..]);
    shown
}

/// Returns how many bytes of the text write the secret, if the text begins with it.
fn length_of(text: &[u8], secret: &str) -> Option<usize> {
    let (mut read, mut left) = (0, secret.as_bytes());
    while !left.is_empty() {
        let text = &text[read..];
        let (length, rest) = match unescape(text) {
            Some((length, bytes)) if left.starts_with(&bytes) => (length, &left[bytes.len()..]),
            _ if text.first() == left.first() => (1, &left[1..]),
            _ => return None,
        };
        (read, left) = (read + length, rest);
    }
    Some(read)
}

/// Returns the length of the escaped character at the beginning of a text, and the bytes that it stands for.
fn unescape(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let number = |digits: &[u8], radix| u32::from_str_radix(from_utf8(digits).ok()?, radix).ok();
    let utf8 = |code| Some(char::from_u32(code)?.to_string().into_bytes());
    match text.first()? {
        b'%' => {
            let byte = u8::try_from(number(text.get(1..3)?, 16)?).ok()?;
            Some((3, vec![byte]))
        }
        b'\\' => {
            let is_other = |byte: &u8| *byte != b'\\';
            let most = text.len().min(MOST_BACKSLASHES + 1);
            let slashes = text[..most].iter().position(is_other).unwrap_or(most);
            match text.get(slashes) {
                Some(b'u') => {
                    let digits = text.get(slashes + 1..slashes + 5)?;
                    Some((slashes + 5, utf8(number(digits, 16)?)?))
                }
                Some(byte @ (b'/' | b'"')) => Some((slashes + 1, vec![*byte])),
                _ if slashes > 1 => Some((2, vec![b'\\'])),
                _ => None,
            }
        }
        b'&' => {
            let (start, radix) = match text.get(1..3)? {
                [b'#', b'x' | b'X'] => (3, 16),
                [b'#', _] => (2, 10),
                _ => return None,
            };
            let digits = &text[start..text.len().min(start + MOST_DIGITS + 1)];
            let end = digits.iter().position(|byte| *byte == b';')?;
            Some((start + end + 1, utf8(number(&digits[..end], radix)?)?))
        }
        _ => None,
    }
}

/// Returns the texts of which one is in every base64 text whose original contains the secret. There is one for each place
/// of the secret in a group of three bytes. Both alphabets are written.
pub fn base64(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        // Neighbours of the secret share its first and last characters, which are left out.
        let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let chars = (start..end).map(|at| char::from(BASE64[sextet(&bytes, at)]));
        let form: String = chars.collect();
        let in_urls = form.replace('+', "-").replace('/', "_");
        if in_urls != form {
            forms.push(in_urls);
        }
        forms.push(form);
    }
    forms
}

/// Returns six bits of the bytes: group `at`.
fn sextet(bytes: &[u8], at: usize) -> usize {
    let (byte, bit) = (at * 6 / 8, at * 6 % 8);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    let both = usize::from(bytes[byte]) << 8 | usize::from(next);
    both >> (10 - bit) & 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_replaced_whichever_of_its_characters_are_escaped() {
        let all: String = "a+b/c=".bytes().map(|b| format!("\\u{b:04x}")).collect();
        for text in [
            "a+b/c=",
            r"a\u002bb/c=",
            r"a\u002Bb\/c\u003d",
            r"a\\u002Bb\\/c\\u003D",
            r"a\\\\u002bb/c=",
            "a%2Bb%2Fc%3D",
            "a%2bb/c=",
            "a&#43;b&#x2F;c&#x3d;",
            all.as_str(),
        ] {
            let text = format!("({text}) a+b");
            assert_eq!(
                replace(text.clone(), "a+b/c=", "****"),
                "(****) a+b",
                "{text}"
            );
        }
    }

    #[test]
    fn backslashes_and_quotes_of_a_secret_are_found_plain_and_escaped() {
        for text in [r#"a"b\c"#, r#"a\"b\\c"#, r"a\u0022b\u005Cc", "a%22b%5Cc"] {
            assert_eq!(replace(text.to_string(), r#"a"b\c"#, "*"), "*", "{text}");
        }
        assert_eq!(replace("%C3%BC \\u00fc".to_string(), "\u{fc}", "*"), "* *");
    }

    #[test]
    fn what_only_resembles_a_secret_stays() {
        for text in [
            r"a\u002",
            "a%2",
            "a%zzb",
            "&#",
            "&#;",
            "\\",
            "a&#xffffffff;",
            "%",
        ] {
            assert_eq!(replace(text.to_string(), "a+b", "*"), text);
        }
        let slashes = "\\".repeat(50_000);
        assert_eq!(replace(slashes.clone(), "a+b", "*"), slashes);
    }

    #[test]
    fn every_base64_text_of_a_secret_has_one_of_its_forms() {
        // By `printf … | base64`.
        for (of, text) in [
            ("sk-abc>?~", "c2stYWJjPj9+"),
            ("sk-abc>?~ in URLs", "c2stYWJjPj9-"),
            ("Bearer sk-abc>?~", "QmVhcmVyIHNrLWFiYz4/fg=="),
            ("u:sk-abc>?~", "dTpzay1hYmM+P34="),
        ] {
            let forms = base64("sk-abc>?~");
            assert!(
                forms.iter().any(|form| text.contains(form)),
                "{of}: {forms:?}"
            );
        }
        // In front of and behind these are the bits of other bytes.
        assert_eq!(base64("abcdef"), ["YWJjZGVm", "FiY2RlZ", "hYmNkZW"]);
    }
}
