//! Random URLs: they yield a clean error, or parts that make the same URL again.

use fastrand::Rng;

use super::{Api, Endpoint, without_secrets};
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
    "?key=s3cret",
    "&token=",
    "[fe80::1%25eth0]",
    "%eth0",
    "/deployments/m",
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

/// Makes a URL by the grammar, and its parts.
fn valid(rng: &mut Rng) -> (String, bool, String, u16) {
    let (scheme, is_https) = [
        ("", false),
        ("http://", false),
        ("https://", true),
        ("HtTp://", false),
    ][rng.usize(..4)];
    let (typed, host) = [
        ("[fe80::2%25eth0]", "fe80::2"),
        ("localhost", "localhost"),
        ("10.0.0.7", "10.0.0.7"),
        ("[::1]", "::1"),
        ("[fe80::1:2]", "fe80::1:2"),
        ("a-b.example_c", "a-b.example_c"),
    ][rng.usize(..6)];
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
        "?api-version=1",
        "/openai/deployments/m/chat/completions?api-version=1&key=s3cret",
    ][rng.usize(..9)];
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
        // A password that begins with a digit could be a port, and the rest a path.
        let password: String = "s3cret".chars().chain(more).collect();
        let (url, ..) = valid(rng);
        let start = url.find("://").map_or(0, |end| end + 3);
        let typed = format!("{}user:{password}@{}", &url[..start], &url[start..]);
        let shown = Endpoint::parse(&typed).expect_err(&typed).to_string();
        assert!(!shown.contains("s3cret"), "{typed}: {shown}");
        assert!(!without_secrets(&typed).contains(&password), "{typed}");
    });
}

#[test]
fn a_token_in_the_query_is_sent_and_never_shown() {
    fuzz::run("url (query)", 3000, |rng| {
        const CHARS: &[u8] = b"a1/?:@[]%.=+-_~;,!$'()*";
        let more = (0..rng.usize(..12)).map(|_| char::from(CHARS[rng.usize(..CHARS.len())]));
        let secret: String = "s3cr3t".chars().chain(more).collect();
        let name = ["key", "api-key", "access_token", "Sig", "code", "k%65y"][rng.usize(..6)];
        let (url, ..) = valid(rng);
        let sep = if url.contains('?') { '&' } else { '?' };
        // A path keeps an @ in the query from looking like a password's end.
        let sep = if url.contains('?') || url.ends_with('/') {
            sep.to_string()
        } else {
            format!("/{sep}")
        };
        let typed = format!("{url}{sep}{name}={secret}");
        let shown = without_secrets(&typed);
        assert!(!shown.contains("s3cr3t"), "{typed}: {shown}");
        match Endpoint::parse(&typed) {
            Ok(endpoint) => {
                assert!(endpoint.url("models").ends_with(&secret), "{typed}");
                assert!(endpoint.secrets().contains(&secret), "{typed}");
                for shown in [
                    endpoint.shown(),
                    endpoint.shown_root("x"),
                    endpoint.shown_url("x"),
                ] {
                    assert!(!shown.contains("s3cr3t"), "{typed}: {shown}");
                }
            }
            Err(error) => assert!(!error.to_string().contains("s3cr3t"), "{typed}: {error}"),
        }
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
        ("http://h?", "key=v&"),
        ("http://h?key=", "%"),
        ("[fe80::1%", "25"),
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
                endpoint.shown();
                endpoint.secrets();
            }
            without_secrets(url);
        });
    }
}
