//! The table of faults: every wrong reply, and the kind of failure that it must be.

use serde_json::Value;

use super::server::{Act, DONE, HEAD, LAST, TOKEN, chunk, open_stream, plain, stream, with_usage};

pub struct Case {
    pub name: &'static str,
    pub act: Act,
    /// The expected kind of failure; `None`: the reply is right.
    pub kind: Option<&'static str>,
    pub status: Option<u16>,
}

impl Case {
    /// Checks the sample of a request with this answer: its kind of failure and its status.
    pub fn check(&self, sample: &Value, shown: &str) {
        let name = self.name;
        assert_eq!(
            sample["error_kind"].as_str(),
            self.kind,
            "{name} {sample} {shown}"
        );
        let status = self.status.map(u64::from);
        assert_eq!(sample["status"].as_u64(), status, "{name} {sample} {shown}");
    }

    /// Returns the client's timeouts: stalls must end soon, megabytes need time.
    pub fn timeouts(&self) -> [&'static str; 6] {
        let [total, first, idle] = match self.kind {
            Some("oversized") => ["10s", "10s", "10s"],
            _ => ["1s", "300ms", "300ms"],
        };
        [
            "--timeout",
            total,
            "--first-token-timeout",
            first,
            "--idle-timeout",
            idle,
        ]
    }
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
pub fn transport_cases() -> Vec<Case> {
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
            None,
            ok,
        ),
        case(
            "Content-Length too large, and no [DONE]",
            close(
                plain("200 OK", "text/event-stream", &format!("{TOKEN}{LAST}"))
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
pub fn content_cases() -> Vec<Case> {
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
            None,
            ok,
        ),
        case(
            "an event that is no JSON, and no end",
            keep(stream(&[TOKEN, &event("{oops")])),
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
    let invalid = "data: {\"choices\":[{\"text\":\"?\",\"finish_reason\":\"stop\"}]}\n\n";
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
        for (name, media_type, body) in [
            (
                "a status with JSON",
                "application/json",
                "{\"error\":{\"message\":\"no\"}}",
            ),
            ("a status with HTML", "text/html", html),
            ("a status alone", "text/plain", ""),
        ] {
            cases.push(case(
                name,
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

/// Returns faults of many megabytes, which take a moment.
pub fn oversized_cases() -> Vec<Case> {
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

/// Statuses that end a run in which nothing has succeeded.
pub fn refusal_cases() -> Vec<Case> {
    [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
    ]
    .map(|(status, words)| {
        let body = "{\"detail\":\"no\"}";
        let reply = plain(&format!("{status} {words}"), "application/json", body);
        case(
            words,
            Act::Keep(reply.into_bytes()),
            Some("http"),
            Some(status),
        )
    })
    .into()
}
