//! Connections, and how the server starts and stops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mock::{Mock, Options, testing};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\n\r\n";

#[test]
fn a_connection_serves_one_request_after_another() {
    let mock = testing::start(&[]);
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    let ask = r#"{"prompt":"a","max_tokens":2,"stream":true}"#;
    let post = format!(
        "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{ask}",
        ask.len()
    );
    let last = "GET /health HTTP/1.1\r\nconnection: close\r\n\r\n";
    client
        .write_all(format!("{post}{post}{last}").as_bytes())
        .expect("it reads");
    let mut text = String::new();
    client
        .read_to_string(&mut text)
        .expect("it answers and closes");
    assert_eq!(
        (
            text.matches("HTTP/1.1 200 OK").count(),
            text.matches("[DONE]").count()
        ),
        (3, 2)
    );
}

/// All that comes back for these bytes until the mock closes the connection.
fn exchange(mock: &Mock, bytes: &str) -> String {
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    client.write_all(bytes.as_bytes()).expect("it reads");
    // A mock that does not close fails the test.
    let most = Some(Duration::from_secs(5));
    client.set_read_timeout(most).expect("it is not zero");
    let mut text = String::new();
    client
        .read_to_string(&mut text)
        .expect("it answers and closes");
    text
}

#[test]
fn an_http_1_0_client_gets_a_stream_without_chunks_that_ends_at_the_close() {
    let mock = testing::start(&[]);
    for headers in ["", "Connection: keep-alive\r\n"] {
        let ask = r#"{"prompt":"a","max_tokens":2,"stream":true}"#;
        let length = ask.len();
        let text = exchange(
            &mock,
            &format!(
                "POST /v1/completions HTTP/1.0\r\n{headers}content-length: {length}\r\n\r\n{ask}"
            ),
        );
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        assert!(head.ends_with("\r\nconnection: close"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        let events: Vec<&str> = body.split("\n\n").collect();
        let [first, second, "data: [DONE]", ""] = events[..] else {
            panic!("{body:?}");
        };
        for event in [first, second] {
            let json = event.strip_prefix("data: ").map(serde_json::from_str);
            let json: Value = json.expect("it has data").expect("it is JSON");
            assert_eq!(json["object"], "text_completion");
        }
    }
}

#[test]
fn an_http_1_0_client_gets_plain_replies_with_their_length_and_no_interim_reply() {
    let mock = testing::start(&[]);
    let ask = r#"{"prompt":"a","max_tokens":2}"#;
    let length = ask.len();
    for head in ["GET /v1/models HTTP/1.0", "POST /v1/completions HTTP/1.0"] {
        let text = exchange(
            &mock,
            &format!(
                "{head}\r\nconnection: keep-alive\r\nexpect: 100-continue\r\n\
                 content-length: {length}\r\n\r\n{ask}"
            ),
        );
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = format!("\r\ncontent-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        assert!(head.ends_with("\r\nconnection: close"), "{head}");
    }
}

#[test]
fn a_connection_on_which_no_request_comes_is_closed() {
    let idle_timeout = Duration::from_millis(20);
    let mock = Mock::start_within(Options::default(), idle_timeout).expect("there is a free port");
    for (bytes, answers) in [
        ("", 0),
        ("GET /health HTTP/1.1\r\n\r\n", 1),
        ("GET /health HT", 0),
        ("POST /generate HTTP/1.1\r\ncontent-length: 10\r\n\r\n{", 0),
    ] {
        let begun = Instant::now();
        let text = exchange(&mock, bytes);
        assert_eq!(text.matches("HTTP/1.1").count(), answers, "{bytes:?}");
        assert!(begun.elapsed() >= idle_timeout, "{bytes:?}");
    }
}

#[test]
fn an_answer_may_take_longer_than_an_idle_connection_lives() {
    let mut options = Options::default();
    for (name, value) in [("base", "60ms"), ("faults", "stall:1@2")] {
        options.set(name, value).expect("it is well formed");
    }
    let mock =
        Mock::start_within(options, Duration::from_millis(20)).expect("there is a free port");
    let ask = r#"{"prompt":"a","max_tokens":2,"stream":true}"#;
    let post = format!(
        "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{ask}",
        ask.len()
    );
    assert!(exchange(&mock, &post).contains("[DONE]"));
    // The second answer stalls after a token.
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    client.write_all(post.as_bytes()).expect("it reads");
    let mut text = Vec::new();
    while !text.ends_with(b"}\n\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an event comes");
        text.extend(byte);
    }
    let most = Some(Duration::from_millis(80));
    client.set_read_timeout(most).expect("it is not zero");
    let error = client.read_exact(&mut [0]).expect_err("nothing more comes");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_dropped_mock_closes_its_connections_and_takes_no_more() {
    let mock = testing::start(&[("base", "1h")]);
    let address = mock.addr();
    let mut idle = TcpStream::connect(address).expect("it listens");
    idle.write_all(HEALTH).expect("it reads");
    idle.read_exact(&mut [0; 15]).expect("it answers");
    let mut waiting = TcpStream::connect(address).expect("it listens");
    let ask = b"POST /generate HTTP/1.1\r\ncontent-length: 30\r\n\r\n{\"prompt\":\"a\",\"stream\":true   }";
    waiting.write_all(ask).expect("it reads");
    waiting
        .read_exact(&mut [0; 15])
        .expect("the head comes at once");
    drop(mock);
    for mut connection in [idle, waiting] {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).expect("it is closed");
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_is_no_http_gets_a_400_and_is_closed() {
    let mock = testing::start(&[]);
    let text = exchange(&mock, "nonsense\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
}

#[test]
fn a_freeze_without_a_length_is_refused() {
    let mut options = Options::default();
    options.set("freeze_at", "2s").expect("it is a duration");
    let error = Mock::start(options).err().map(|error| error.to_string());
    let expected =
        "[ERROR] --freeze-at: says when to freeze, not for how long; want --freeze-for too";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn units_that_are_not_whole_blocks_are_refused() {
    let mut options = Options::default();
    options
        .set("reuse", "units:100")
        .expect("it is well formed");
    let error = Mock::start(options).err().map(|error| error.to_string());
    let expected =
        "[ERROR] --reuse units:100: not whole blocks; want a multiple of --block-tokens, here 16";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn a_mock_that_cannot_start_says_why() {
    let mut options = Options::default();
    options
        .set("truth_log", "/no/such/directory/truth")
        .expect("it is a path");
    let error = Mock::start(options).err().map(|error| error.to_string());
    let expected =
        "[ERROR] --truth-log /no/such/directory/truth: No such file or directory (os error 2)";
    assert_eq!(error.as_deref(), Some(expected));
}
