//! HTTPS: which certificates are accepted, and that it is never downgraded.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::util::{Cmd, Dir, Output, RawServer, Request, read_request, serve};

pub const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/ca.pem");

#[test]
fn a_ca_of_our_own_is_trusted_with_cacert() {
    let port = serve_tls();
    benchmark(&format!("https://localhost:{port}"), &["--cacert", CA], 0);
}

#[test]
fn the_ip_address_of_a_certificate_is_accepted_too() {
    let port = serve_tls();
    benchmark(&format!("https://127.0.0.1:{port}"), &["--cacert", CA], 0);
}

#[test]
fn insecure_takes_any_certificate() {
    let port = serve_tls();
    benchmark(&format!("https://localhost:{port}"), &["--insecure"], 0);
}

#[test]
fn an_unknown_certificate_is_an_error_that_says_so() {
    let port = serve_tls();
    let output = benchmark(&format!("https://localhost:{port}"), &[], 2);
    assert!(
        output.stderr.contains("certificate"),
        "want the reason on stderr\n{output}"
    );
}

#[test]
fn every_fault_of_tls_is_said_before_the_first_request() {
    let (plain_port, _received) = serve_plain_refusals();
    let cases = [
        (
            serve_tls_as("expired.pem"),
            "certificate expired",
            "--insecure",
        ),
        (
            serve_tls_as("other.pem"),
            "certificate not valid for name",
            "--insecure",
        ),
        (
            serve_tls_as("self-signed.pem"),
            "UnknownIssuer",
            "--cacert FILE",
        ),
        (plain_port, "corrupt message", "--plain-http"),
    ];
    for (port, reason, advice) in cases {
        let url = format!("https://localhost:{port}/v1/completions");
        let output = Cmd::new(&Dir::new())
            .args(["load", "--endpoint", &url, "--cacert", CA, "--model", "m"])
            .fails(2);
        let lines: Vec<&str> = output.stderr.lines().collect();
        let [.., said, next] = lines[..] else {
            panic!("{output}");
        };
        assert!(
            said.starts_with("Reason: tls: ") && said.contains(reason),
            "{output}"
        );
        assert!(next.contains(advice), "{output}");
    }
}

#[test]
fn https_is_never_downgraded_to_a_plain_server() {
    let (port, received) = serve_plain_refusals();
    let output = benchmark(&format!("https://localhost:{port}"), &["--insecure"], 2);
    assert!(output.stderr.contains("[ERROR]"), "{output}");
    // The check whether the address answers sends nothing.
    let received: Vec<Vec<u8>> = received
        .try_iter()
        .filter(|bytes| !bytes.is_empty())
        .collect();
    assert!(!received.is_empty(), "no connection came\n{output}");
    for bytes in received {
        // 22 is the record type of a TLS handshake.
        assert_eq!(
            bytes.first(),
            Some(&22),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        for method in [&b"GET "[..], b"POST "] {
            assert!(
                !bytes.windows(method.len()).any(|window| window == method),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

#[test]
fn plain_http_turns_an_https_url_into_http() {
    let server = RawServer::start(|request, stream| answer(request, stream).unwrap_or_default());
    benchmark(&format!("https://{}", server.addr()), &["--plain-http"], 0);
    let completions = server
        .requests()
        .iter()
        .filter(|request| request.path == "/v1/completions")
        .count();
    assert!(
        completions >= 4,
        "{completions} completions came, 4 were ordered"
    );
}

/// Runs a benchmark of four small requests, which must end with this exit code.
fn benchmark(endpoint: &str, options: &[&str], code: i32) -> Output {
    let dir = Dir::new();
    Cmd::new(&dir)
        .args([
            "benchmark",
            "--endpoint",
            endpoint,
            "--contexts",
            "2",
            "--input-length",
            "100",
        ])
        .args(["--output-length", "5", "--requests", "4"])
        .args(options)
        .fails(code)
}

/// Serves the API over TLS on a free port of 127.0.0.1, with the certificate for localhost; returns the port.
pub fn serve_tls() -> u16 {
    serve_tls_as("localhost.pem")
}

/// Serves the API with another certificate of tests/data/tls.
fn serve_tls_as(certificate: &str) -> u16 {
    let pem = |name: &str| format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate =
        CertificateDer::from_pem_file(pem(certificate)).expect("a certificate in tests/data/tls");
    let key = PrivateKeyDer::from_pem_file(pem("localhost.key")).expect("a key in tests/data/tls");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key is the certificate's");
    let config = Arc::new(config);
    serve(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while let Some(request) = read_request(&mut stream)? {
            answer(&request, &mut stream)?;
        }
        Ok(())
    })
    .port()
}

/// Answers every connection like an HTTP server that cannot read it; passes on the first bytes.
fn serve_plain_refusals() -> (u16, Receiver<Vec<u8>>) {
    let (sender, received) = channel();
    let addr = serve(move |mut stream| {
        let mut bytes = vec![0; 16_384];
        let length = stream.read(&mut bytes)?;
        bytes.truncate(length);
        sender.send(bytes).map_err(io::Error::other)?;
        stream.write_all(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
    });
    (addr.port(), received)
}

/// Answers as a server of one model: `/v1/models`, and `/v1/completions`, streamed if requested.
fn answer(request: &Request, stream: &mut impl Write) -> io::Result<()> {
    match request.path.as_str() {
        "/v1/models" => {
            let models =
                r#"{"object":"list","data":[{"id":"tiny","object":"model","owned_by":"test"}]}"#;
            reply(stream, "200 OK", "application/json", models)
        }
        "/v1/completions" => complete(&request.body, stream),
        _ => reply(
            stream,
            "404 Not Found",
            "application/json",
            r#"{"error":{"message":"no such route"}}"#,
        ),
    }
}

/// Answers with `max_tokens` words; a prompt token is a word.
fn complete(body: &[u8], stream: &mut impl Write) -> io::Result<()> {
    let body: serde_json::Value = serde_json::from_slice(body)?;
    let output = body["max_tokens"].as_u64().unwrap_or(16);
    let prompt = body["prompt"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .count();
    let usage = format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{}}}"#,
        output + prompt as u64
    );
    let chunk = |choices: &str, usage: &str| {
        format!(
            r#"{{"id":"1","object":"text_completion","model":"tiny","choices":[{choices}],"usage":{usage}}}"#
        )
    };
    if body["stream"] != true {
        let choice = format!(
            r#"{{"index":0,"text":"{}","finish_reason":"length"}}"#,
            " word".repeat(output as usize)
        );
        return reply(
            stream,
            "200 OK",
            "application/json",
            &chunk(&choice, &usage),
        );
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    for k in 1..=output {
        let reason = if k == output { r#""length""# } else { "null" };
        let choice = format!(r#"{{"index":0,"text":" word","finish_reason":{reason}}}"#);
        send_event(stream, &chunk(&choice, "null"))?;
    }
    send_event(stream, &chunk("", &usage))?;
    send_event(stream, "[DONE]")?;
    stream.write_all(b"0\r\n\r\n")?;
    stream.flush()
}

/// Writes one event as an HTTP chunk, in one write.
fn send_event(stream: &mut impl Write, data: &str) -> io::Result<()> {
    let event = format!("data: {data}\n\n");
    write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
    stream.flush()
}

/// Writes a whole response of known length, and keeps the connection.
fn reply(stream: &mut impl Write, status: &str, content_type: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.flush()
}
