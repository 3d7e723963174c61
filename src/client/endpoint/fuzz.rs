//! URLs as nobody should type them: a clean error, or parts that make the same URL again.

use fastrand::Rng;

use super::{Api, Endpoint, without_userinfo};
use crate::fuzz;

const WORDS: &[&str] = &[
    "http://",
    "https://",
    "HTTP://",
    "ftp://",
    "://",
    "localhost",
    "[::1]",
    "[",
    "]",
    ":8000",
    ":0",
    ":65535",
    ":65536",
    "/v1",
    "/v1/",
    "/chat/completions",
    "/completions",
    "/generate",
    "/generate/",
    "?a=b",
    "#a",
    "user:pass@",
    "@",
    "//",
    "..",
    "%20",
    "%",
    "é",
    "xn--",
    "127.0.0.1",
    "0x7f.1",
];

/// A URL by the grammar, and its parts.
fn valid(rng: &mut Rng) -> (String, bool, String, u16) {
    let (scheme, is_https) = [
        ("", false),
        ("http://", false),
        ("https://", true),
        ("HtTp://", false),
    ][rng.usize(..4)];
    let (typed, host) = [
        ("localhost", "localhost"),
        ("10.0.0.7", "10.0.0.7"),
        ("[::1]", "::1"),
        ("[fe80::1:2]", "fe80::1:2"),
        ("a-b.example_c", "a-b.example_c"),
    ][rng.usize(..5)];
    let (port, colon) = match rng.u8(..3) {
        0 => (None, ""),
        1 => (None, ":"),
        _ => (Some(rng.u16(1..)), ":"),
    };
    let digits = port.map_or_else(String::new, |port: u16| port.to_string());
    let path = [
        "",
        "/",
        "/v1",
        "/v1/",
        "/a/v2/chat/completions",
        "/v1/completions",
        "/a//generate/",
    ][rng.usize(..7)];
    let port = port.unwrap_or(if is_https { 443 } else { 80 });
    let url = format!("{scheme}{typed}{colon}{digits}{path}");
    (url, is_https, host.to_string(), port)
}

fn routes(endpoint: &Endpoint) {
    for api in [Api::Chat, Api::Completions, Api::Generate] {
        for uri in [endpoint.route(api), endpoint.idle_uri(api)] {
            match uri {
                Ok(uri) => assert_eq!(
                    uri.host().map(|host| host.trim_matches(['[', ']'])),
                    Some(&endpoint.host[..])
                ),
                Err(error) => fuzz::assert_shown(&error.to_string()),
            }
        }
    }
}

#[test]
fn a_url_by_the_grammar_has_the_parts_it_was_made_of() {
    fuzz::run("url (grammar)", 5000, |rng| {
        let (url, is_https, host, port) = valid(rng);
        let endpoint = Endpoint::parse(&url).expect(&url);
        assert_eq!(
            (endpoint.is_https, &endpoint.host, endpoint.port),
            (is_https, &host, port),
            "{url}"
        );
        for api in [Api::Chat, Api::Completions, Api::Generate] {
            endpoint.route(api).expect(&url);
            endpoint.idle_uri(api).expect(&url);
        }
        routes(&endpoint);
    });
}

#[test]
fn a_password_is_refused_and_not_repeated_whatever_is_in_it() {
    fuzz::run("url (password)", 3000, |rng| {
        const CHARS: &[u8] = b"a1/@:?#[]%. \\\"";
        let more = (0..rng.usize(..12)).map(|_| char::from(CHARS[rng.usize(..CHARS.len())]));
        // With a digit in front it may be a port, and the rest a path.
        let password: String = "s3cret".chars().chain(more).collect();
        let (url, ..) = valid(rng);
        let start = url.find("://").map_or(0, |end| end + 3);
        let typed = format!("{}user:{password}@{}", &url[..start], &url[start..]);
        let shown = Endpoint::parse(&typed).expect_err(&typed).to_string();
        assert!(!shown.contains("s3cret"), "{typed}: {shown}");
        assert!(!without_userinfo(&typed).contains(&password), "{typed}");
    });
}

#[test]
fn any_text_is_a_clean_error_or_a_url_that_reads_back() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("url", 20_000, |rng| {
        let url = fuzz::text(&fuzz::input(rng, WORDS, |rng| valid(rng).0.into_bytes()));
        match Endpoint::parse(&url) {
            Ok(endpoint) => {
                read += 1;
                let again = Endpoint::parse(&endpoint.base()).expect(&url);
                assert_eq!(
                    (again.is_https, &again.host, again.port),
                    (endpoint.is_https, &endpoint.host, endpoint.port)
                );
                routes(&endpoint);
                routes(&endpoint.into_plain());
            }
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn time_is_linear_in_the_url() {
    for (head, piece) in [
        ("http://h/", "a/"),
        ("http://", "a"),
        ("http://", "@"),
        ("", "://"),
        ("http://", ":"),
        ("http://h/", "/"),
        ("[", ":"),
    ] {
        let make = |bytes| {
            [head, &piece.repeat(bytes / piece.len())]
                .concat()
                .into_bytes()
        };
        fuzz::assert_linear(piece, make, |url| {
            let url = std::str::from_utf8(url).expect("ASCII");
            if let Ok(endpoint) = Endpoint::parse(url) {
                let _ = endpoint.route(Api::Chat);
            }
            without_userinfo(url);
        });
    }
}
