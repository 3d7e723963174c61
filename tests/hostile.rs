//! A server that does everything wrong, and what `load` makes of it: the kind of failure, the counts, the memory,
//! the exit code, and that nothing outlives its timeout.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::util::{Cmd, Dir, Output};

/// What the server does once it has a request's head.
#[derive(Clone)]
enum Act {
    /// Reads the body, writes these bytes, goes on with the connection.
    Keep(Vec<u8>),
    /// The same, and closes it.
    Close(Vec<u8>),
    /// Leaves the body unread, writes, and closes: the kernel resets the connection.
    Reset(Vec<u8>),
    /// Answers one request of each connection, and resets at the next.
    ResetReused(Vec<u8>),
    /// Writes, then neither writes nor closes.
    Hang(Vec<u8>),
    /// Writes a byte at a time.
    Drip(Vec<u8>),
    /// Writes the first, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

struct Case {
    name: &'static str,
    act: Act,
    /// `None`: the reply is right.
    kind: Option<&'static str>,
    status: Option<u16>,
}

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const TOKEN: &str =
    "data: {\"choices\":[{\"text\":\" a\",\"index\":0,\"finish_reason\":null}]}\n\n";
const LAST: &str =
    "data: {\"choices\":[{\"text\":\" b\",\"index\":0,\"finish_reason\":\"length\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A stream of these events without its last chunk.
fn open_stream(events: &[&str]) -> String {
    let chunks: String = events.iter().map(|event| chunk(event)).collect();
    format!("{HEAD}{chunks}")
}

fn stream(events: &[&str]) -> String {
    open_stream(events) + "0\r\n\r\n"
}

/// A right stream with this usage in its last event but one.
fn with_usage(usage: &str) -> String {
    let event = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    stream(&[TOKEN, LAST, &event, DONE])
}

fn plain(status: &str, media_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn case(name: &'static str, act: Act, kind: Option<&'static str>, status: Option<u16>) -> Case {
    Case {
        name,
        act,
        kind,
        status,
    }
}

/// Replies whose connection or HTTP is broken.
#[expect(clippy::too_many_lines, reason = "a table")]
fn transport_cases() -> Vec<Case> {
    let close = |text: String| Act::Close(text.into_bytes());
    let keep = |text: String| Act::Keep(text.into_bytes());
    let reset = |text: &str| Act::Reset(text.as_bytes().to_vec());
    let right = || stream(&[TOKEN, LAST, DONE]);
    let half = &TOKEN[..TOKEN.len() / 2];
    let ok = Some(200);
    vec![
        case(
            "accepted, then closed",
            close(String::new()),
            Some("truncated"),
            None,
        ),
        case(
            "accepted and silent",
            Act::Hang(Vec::new()),
            Some("timeout_first_token"),
            None,
        ),
        case(
            "headers byte by byte",
            Act::Drip(right().into_bytes()),
            Some("timeout_first_token"),
            None,
        ),
        case("reset before headers", reset(""), Some("truncated"), None),
        case(
            "reset mid-header",
            reset("HTTP/1.1 200 OK\r\ncontent-ty"),
            Some("truncated"),
            None,
        ),
        case(
            "reset mid-event",
            reset(&open_stream(&[TOKEN, half])),
            Some("truncated"),
            ok,
        ),
        case(
            "reset after the last token",
            reset(&open_stream(&[TOKEN, LAST])),
            Some("truncated"),
            ok,
        ),
        case(
            "closed mid-event",
            close(open_stream(&[TOKEN, half])),
            Some("truncated"),
            ok,
        ),
        case(
            "stalled mid-stream",
            Act::Hang(open_stream(&[TOKEN]).into_bytes()),
            Some("timeout_idle"),
            ok,
        ),
        case(
            "first token never",
            Act::Endless(HEAD.into(), chunk(": wait\n\n").into()),
            Some("timeout_first_token"),
            ok,
        ),
        case(
            "a stream without end",
            Act::Endless(open_stream(&[TOKEN]).into(), chunk(TOKEN).into()),
            Some("timeout_total"),
            ok,
        ),
        case(
            "Content-Length too large",
            close(
                plain(
                    "200 OK",
                    "text/event-stream",
                    &format!("{TOKEN}{LAST}{DONE}"),
                )
                .replace("content-length: ", "content-length: 9"),
            ),
            Some("truncated"),
            ok,
        ),
        case(
            "Content-Length too small",
            close(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{TOKEN}{LAST}{DONE}",
                TOKEN.len()
            )),
            Some("truncated"),
            ok,
        ),
        case(
            "Content-Length no number",
            close(
                plain("200 OK", "text/event-stream", "x")
                    .replace("content-length: 1", "content-length: x"),
            ),
            Some("malformed"),
            None,
        ),
        case(
            "bad chunk size",
            close(format!("{HEAD}zz\r\n{TOKEN}\r\n0\r\n\r\n")),
            Some("malformed"),
            ok,
        ),
        case(
            "chunk size beyond 64 bits",
            close(format!("{HEAD}{}\r\n{TOKEN}\r\n", "f".repeat(40))),
            Some("malformed"),
            ok,
        ),
        case(
            "chunk extensions",
            keep(format!(
                "{HEAD}{:x};a=b;c=\"d\"\r\n{TOKEN}{LAST}\r\n0;x\r\n\r\n",
                TOKEN.len() + LAST.len()
            )),
            None,
            ok,
        ),
        case(
            "trailers",
            keep(format!(
                "{}0\r\nx-a: b\r\nx-c: d\r\n\r\n",
                open_stream(&[TOKEN, LAST])
            )),
            None,
            ok,
        ),
        case(
            "100 first",
            keep(format!("HTTP/1.1 100 Continue\r\n\r\n{}", right())),
            None,
            ok,
        ),
        case(
            "no HTTP",
            close("SSH-2.0-OpenSSH_9.6\r\n".to_string()),
            Some("malformed"),
            None,
        ),
        case(
            "binary",
            Act::Close(vec![0x16, 0x03, 0x01, 0x00, 0xff, 0xfe, 0x0a, 0x0d, 0x0a]),
            Some("malformed"),
            None,
        ),
        case(
            "a header of 1 MB",
            close(format!(
                "HTTP/1.1 200 OK\r\nx: {}\r\n\r\n",
                "y".repeat(1 << 20)
            )),
            Some("malformed"),
            None,
        ),
        case(
            "gzip unasked",
            keep(
                stream(&[TOKEN, LAST, DONE])
                    .replace("\r\ntransfer", "\r\ncontent-encoding: gzip\r\ntransfer"),
            ),
            Some("malformed"),
            ok,
        ),
        case(
            "reset on a reused connection",
            Act::ResetReused(right().into_bytes()),
            None,
            ok,
        ),
    ]
}

/// Replies whose status or content is wrong.
#[expect(clippy::too_many_lines, reason = "a table")]
fn content_cases() -> Vec<Case> {
    let close = |text: String| Act::Close(text.into_bytes());
    let keep = |text: String| Act::Keep(text.into_bytes());
    let ok = Some(200);
    let html = "<html><body>Bad Gateway</body></html>";
    let error = "data: {\"error\":{\"message\":\"engine died\",\"code\":500}}\n\n";
    let event = |json: &str| format!("data: {json}\n\n");
    let mut cases = vec![
        case(
            "200 with HTML",
            keep(plain("200 OK", "text/html", html)),
            Some("malformed"),
            ok,
        ),
        case(
            "200 and nothing",
            keep(plain("200 OK", "text/event-stream", "")),
            Some("empty"),
            ok,
        ),
        case(
            "204",
            keep("HTTP/1.1 204 No Content\r\n\r\n".to_string()),
            Some("empty"),
            Some(204),
        ),
        case(
            "error mid-stream, then [DONE]",
            keep(stream(&[TOKEN, error, DONE])),
            Some("stream_error"),
            ok,
        ),
        case(
            "no finish reason, no [DONE]",
            keep(stream(&[TOKEN])),
            Some("truncated"),
            ok,
        ),
        case("[DONE] alone", keep(stream(&[DONE])), Some("empty"), ok),
        case(
            "more tokens than asked",
            keep(stream(&[&[TOKEN; 300].concat(), LAST, DONE])),
            None,
            ok,
        ),
        case(
            "usage contradicts the stream",
            keep(with_usage(r#"{"prompt_tokens":5,"completion_tokens":77}"#)),
            None,
            ok,
        ),
        case(
            "usage all zero",
            keep(with_usage(r#"{"prompt_tokens":0,"completion_tokens":0}"#)),
            None,
            ok,
        ),
        case(
            "usage negative",
            keep(with_usage(r#"{"prompt_tokens":-1,"completion_tokens":-5}"#)),
            None,
            ok,
        ),
        case(
            "usage huge",
            keep(with_usage(
                r#"{"prompt_tokens":99999999999999999999,"completion_tokens":1e308}"#,
            )),
            None,
            ok,
        ),
        case(
            "usage fractional",
            keep(with_usage(
                r#"{"prompt_tokens":1.5,"completion_tokens":2.5}"#,
            )),
            None,
            ok,
        ),
        case("usage null", keep(with_usage("null")), None, ok),
        case(
            "an event that is no JSON",
            keep(stream(&[TOKEN, &event("{oops"), LAST, DONE])),
            Some("malformed"),
            ok,
        ),
        case(
            "JSON 100,000 levels deep",
            keep(stream(&[&event(&"[".repeat(100_000)), DONE])),
            Some("malformed"),
            ok,
        ),
        case(
            "objects 100,000 levels deep",
            keep(plain(
                "200 OK",
                "application/json",
                &"{\"a\":".repeat(100_000),
            )),
            Some("malformed"),
            ok,
        ),
        case(
            "a list in place of an object",
            keep(stream(&[&event("[1]"), DONE])),
            Some("malformed"),
            ok,
        ),
        case(
            "plain JSON without text",
            keep(plain("200 OK", "application/json", "{\"choices\":[]}")),
            Some("empty"),
            ok,
        ),
    ];
    let invalid =
        format!("data: {{\"choices\":[{{\"text\":\"?\",\"finish_reason\":null}}]}}\n\n{LAST}");
    let mut bytes = HEAD
        .replace("transfer-encoding: chunked", "connection: close")
        .into_bytes();
    bytes.extend(
        invalid
            .bytes()
            .map(|byte| if byte == b'?' { 0xff } else { byte }),
    );
    cases.push(case(
        "invalid UTF-8",
        Act::Close(bytes),
        Some("malformed"),
        ok,
    ));
    for (status, words) in [
        (301, "Moved"),
        (302, "Found"),
        (307, "Temporary"),
        (400, "Bad"),
        (408, "Timeout"),
        (413, "Large"),
        (422, "Unprocessable"),
        (429, "Many"),
        (500, "Error"),
        (502, "Gateway"),
        (503, "Unavailable"),
        (504, "Timeout"),
    ] {
        let head = format!("{status} {words}\r\nlocation: http://127.0.0.1:9/");
        for (media_type, body) in [
            ("application/json", "{\"error\":{\"message\":\"no\"}}"),
            ("text/html", html),
            ("text/plain", ""),
        ] {
            cases.push(case(
                "a status",
                keep(plain(&head, media_type, body)),
                Some("http"),
                Some(status),
            ));
        }
    }
    let big = "x".repeat(10 << 20);
    cases.push(case(
        "500 with 10 MB",
        close(plain("500 Error", "text/plain", &big)),
        Some("http"),
        Some(500),
    ));
    cases
}

/// What takes megabytes, and so a moment.
fn oversized_cases() -> Vec<Case> {
    let ok = Some(200);
    let megabyte = "x".repeat(1 << 20);
    let head = HEAD.replace("transfer-encoding: chunked", "connection: close");
    let endless =
        |start: &str, piece: String| Act::Endless(format!("{head}{start}").into(), piece.into());
    vec![
        case(
            "a line of 100 MB",
            endless("data: ", megabyte.clone()),
            Some("oversized"),
            ok,
        ),
        case(
            "an event of 100 MB in lines",
            endless("", format!("data: {megabyte}\n")),
            Some("oversized"),
            ok,
        ),
        case(
            "a comment of 100 MB",
            endless(": ", megabyte.clone()),
            Some("oversized"),
            ok,
        ),
        case(
            "a plain body without end",
            Act::Endless(
                plain("200 OK", "application/json", "")
                    .replace("content-length: 0", "connection: close")
                    .into(),
                megabyte.into(),
            ),
            Some("oversized"),
            ok,
        ),
    ]
}

/// Reads a head; its request line and the length of its body.
fn read_head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    Some((head.lines().next()?.to_string(), length.unwrap_or(0)))
}

/// Serves until the test ends. Lists a model; a request for one token, as the set-up sends, is answered right.
fn serve(act: Act) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let act = act.clone();
            thread::spawn(move || connection(stream, &act));
        }
    });
    addr
}

/// `None` when the connection has ended.
fn connection(mut stream: TcpStream, act: &Act) -> Option<()> {
    let mut served = 0;
    loop {
        let (line, length) = read_head(&mut stream)?;
        if !line.starts_with("post /v1/completions") {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            let reply = if line.starts_with("get /v1/models") {
                plain("200 OK", "application/json", r#"{"data":[{"id":"m"}]}"#)
            } else {
                plain("404 Not Found", "application/json", "{}")
            };
            stream.write_all(reply.as_bytes()).ok()?;
            continue;
        }
        let leaves_body =
            matches!(act, Act::Reset(_)) || matches!(act, Act::ResetReused(_)) && served > 0;
        let mut body = vec![0; if leaves_body { length.min(40) } else { length }];
        stream.read_exact(&mut body).ok()?;
        if !leaves_body && String::from_utf8_lossy(&body).contains("\"max_tokens\":1,") {
            stream.write_all(stream_of_one().as_bytes()).ok()?;
            continue;
        }
        served += 1;
        perform(&mut stream, act, served).ok()?;
        if !matches!(act, Act::Keep(_) | Act::ResetReused(_)) {
            return None;
        }
    }
}

fn stream_of_one() -> String {
    stream(&[
        LAST,
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":97,\"completion_tokens\":1}}\n\n",
        DONE,
    ])
}

fn perform(stream: &mut TcpStream, act: &Act, served: u32) -> io::Result<()> {
    match act {
        Act::Keep(bytes) | Act::Close(bytes) => stream.write_all(bytes),
        Act::ResetReused(bytes) if served == 1 => stream.write_all(bytes),
        Act::ResetReused(_) => Err(io::ErrorKind::ConnectionReset.into()),
        Act::Reset(bytes) => {
            stream.write_all(bytes)?;
            // A reset at once would take what was written with it.
            thread::sleep(Duration::from_millis(60));
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Act::Hang(bytes) => {
            stream.write_all(bytes)?;
            // Until the client goes.
            let mut rest = [0];
            stream.read(&mut rest).map(|_| ())
        }
        Act::Drip(bytes) => bytes.iter().try_for_each(|byte| {
            thread::sleep(Duration::from_millis(10));
            stream.write_all(&[*byte])
        }),
        Act::Endless(first, again) => {
            stream.write_all(first)?;
            loop {
                stream.write_all(again)?;
                if again.len() < 1 << 16 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

const REQUESTS: usize = 4;

/// `load` against the server; what it printed, its samples and its peak memory in MiB.
fn attack(addr: SocketAddr, dir: &Dir) -> (Output, f64) {
    let timeouts = [
        "--timeout",
        "1s",
        "--first-token-timeout",
        "300ms",
        "--idle-timeout",
        "300ms",
    ];
    let running = Cmd::new(dir)
        .args(["load", "--endpoint", &addr.to_string(), "--model", "m"])
        .args([
            "--requests",
            &REQUESTS.to_string(),
            "--concurrency",
            "2",
            "--warmup",
            "0",
            "--max-tokens",
            "20",
        ])
        .args([
            "--repeat-ratio",
            "0",
            "--samples",
            "s.jsonl",
            "--output",
            "r.json",
        ])
        .args(timeouts)
        .deadline(Duration::from_secs(30))
        .start();
    let mib = running.peak_mib();
    (running.wait(), mib)
}

fn check(case: &Case) {
    let dir = Dir::new();
    let begun = Instant::now();
    let (output, mib) = attack(serve(case.act.clone()), &dir);
    let name = format!("{} {:?}\n{output}", case.name, case.status);
    // Two requests of a second each one after the other, waits between them, and the set-up.
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?} {name}",
        begun.elapsed()
    );
    assert!(mib < 80.0, "{mib} MiB {name}");
    let code = i32::from(case.kind.is_some());
    assert_eq!(output.status.code(), Some(code), "{name}");
    let result: Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    let count = |key: &str| result[key].as_u64().expect(key);
    let (succeeded, failed) = (count("successful_requests"), count("failed_requests"));
    assert_eq!(
        (count("sent_requests"), count("cut_requests")),
        (succeeded + failed, 0),
        "{name}"
    );
    assert_eq!(succeeded + failed, REQUESTS as u64, "{name}");
    let samples = dir.read("s.jsonl");
    let samples = samples
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let samples: Vec<Value> = samples.filter(|line| line["phase"] == "measured").collect();
    assert_eq!(samples.len(), REQUESTS, "{name}");
    for sample in samples {
        assert_eq!(sample["error_kind"].as_str(), case.kind, "{sample} {name}");
        assert_eq!(
            sample["status"].as_u64(),
            case.status.map(u64::from),
            "{sample} {name}"
        );
        let reason = sample["error"].as_str().unwrap_or_default();
        assert!(
            reason.chars().count() <= 200 && !reason.contains(char::is_control),
            "{name}"
        );
    }
}

/// Some at a time: most of them wait.
fn check_all(cases: &[Case]) {
    for side_by_side in cases.chunks(8) {
        thread::scope(|scope| {
            for case in side_by_side {
                scope.spawn(|| check(case));
            }
        });
    }
}

#[test]
fn every_fault_of_connection_and_http_has_its_kind() {
    check_all(&transport_cases());
}

#[test]
fn every_fault_of_status_and_content_has_its_kind() {
    check_all(&content_cases());
}

#[test]
fn what_is_oversized_fails_before_it_fills_the_memory() {
    check_all(&oversized_cases());
}

#[test]
fn a_server_that_refuses_every_request_ends_the_run() {
    for (status, words) in [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
    ] {
        let act = Act::Keep(
            plain(
                &format!("{status} {words}"),
                "application/json",
                "{\"detail\":\"no\"}",
            )
            .into_bytes(),
        );
        let (output, _) = attack(serve(act), &Dir::new());
        assert_eq!(output.status.code(), Some(2), "{output}");
        let wanted = format!("[ERROR] HTTP {status} from http://127.0.0.1:");
        assert!(output.stderr.contains(&wanted), "{output}");
    }
}

#[test]
fn nothing_listens_and_that_is_said_before_any_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    drop(listener);
    let (output, _) = attack(addr, &Dir::new());
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stderr.contains("Reason: connect: "), "{output}");
}
