//! Connections, and how the server starts and stops.

use std::io::{Read, Write};
use std::net::TcpStream;

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
    let mut client = TcpStream::connect(mock.addr()).expect("it listens");
    client.write_all(b"nonsense\r\n\r\n").expect("it reads");
    let mut text = String::new();
    client
        .read_to_string(&mut text)
        .expect("it answers and closes");
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
