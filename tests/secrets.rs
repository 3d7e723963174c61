//! No command prints or writes the key or the values of secret headers, even at its most talkative and against servers
//! that repeat everything they receive.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, RawServer, Request};

/// A text in every secret, and in nothing else.
const MARK: &str = "telltale";
const KEY: &str = "sk-telltale-0123456789";
/// The query after the URL of every command; a server decodes its value.
const QUERY: &str = "api-version=1&sig=telltale-55%2B66";
const DECODED: &str = "telltale-55+66";
const HEADERS: [&str; 4] = [
    "X-Api-Key: telltale-77",
    "Cookie: sid=telltale-88; lang=de",
    "X-Auth-Token: Custom telltale-99",
    "Proxy-Authorization: Basic telltale-00",
];

/// How the server repeats what it received.
#[derive(Clone, Copy, Debug)]
enum Echo {
    /// In a right answer: its text, its finish reason, names of models, a page of metrics.
    Answer,
    /// In a 500 with a JSON body.
    Status,
    /// In a 401 with a plain body.
    Refusal,
    /// In an error inside the stream.
    StreamError,
    /// In HTML instead of a stream.
    Html,
    /// In an event that is not JSON.
    BadEvent,
    /// In bytes that are not HTTP.
    NoHttp,
}

const ECHOES: [Echo; 7] = [
    Echo::Answer,
    Echo::Status,
    Echo::Refusal,
    Echo::StreamError,
    Echo::Html,
    Echo::BadEvent,
    Echo::NoHttp,
];

fn serve(echo: Echo) -> RawServer {
    RawServer::start(move |request, stream| {
        // The client may have hung up.
        let _ = answer(echo, request, stream);
    })
}

fn answer(echo: Echo, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    let lines: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let lines = lines.join("; ");
    let said = match request.path.ends_with(QUERY) {
        true => format!("{}; {DECODED}; {lines}", request.path),
        false => lines,
    };
    let path = request.path.split('?').next().unwrap_or_default();
    let mut reply = |status: &str, media_type: &str, body: &str| {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nx-echo: {said}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let is_small = !path.ends_with("completions");
    if matches!(echo, Echo::Answer) || is_small && !matches!(echo, Echo::Refusal) {
        return match path {
            "/v1/models" => {
                let models = json!({"data": [{"id": "m"}, {"id": said}, {"id": KEY}]});
                reply("200 OK", "application/json", &models.to_string())
            }
            "/metrics" => {
                let label = said.replace('"', "'");
                let page = format!(
                    "# HELP c_total {label}\n# TYPE c_total counter\nc_total{{of=\"{label}\"}} 1\n{KEY} 2\n"
                );
                reply("200 OK", "text/plain", &page)
            }
            "/version" => reply(
                "200 OK",
                "application/json",
                &json!({"version": said}).to_string(),
            ),
            path if path.ends_with("completions") => {
                let key = "content";
                let event = |text: &str, reason: Value| {
                    let choice = json!({"index": 0, "text": text, "delta": {key: text}, "finish_reason": reason});
                    format!("data: {}\n\n", json!({"choices": [choice]}))
                };
                let body = format!(
                    "{}{}data: [DONE]\n\n",
                    event(&said, Value::Null),
                    event(&said, json!(said))
                );
                reply("200 OK", "text/event-stream", &body)
            }
            _ => reply(
                "404 Not Found",
                "application/json",
                &json!({"detail": said}).to_string(),
            ),
        };
    }
    match echo {
        Echo::Answer => Ok(()),
        Echo::Status => {
            let body = json!({"error": {"message": said}}).to_string();
            reply(&format!("500 {KEY}"), "application/json", &body)
        }
        Echo::Refusal => reply("401 Unauthorized", "text/plain", &said),
        Echo::StreamError => {
            let error = json!({"error": {"message": said, "code": 500}});
            reply(
                "200 OK",
                "text/event-stream",
                &format!("data: {error}\n\ndata: [DONE]\n\n"),
            )
        }
        Echo::Html => reply("200 OK", "text/html", &format!("<html>{said}</html>")),
        Echo::BadEvent => reply("200 OK", "text/event-stream", &format!("data: {said}\n\n")),
        Echo::NoHttp => write!(stream, "{said}\r\n\r\n"),
    }
}

#[test]
fn a_short_value_leaves_the_debug_log_as_it_is_and_one_beyond_ascii_is_masked() {
    let server = serve(Echo::Status);
    let dir = Dir::new();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n");
    let output = Cmd::new(&dir)
        .args([
            "replay",
            "--endpoint",
            &server.addr().to_string(),
            "--debug",
        ])
        .args(["--dataset", "d.jsonl", "--api-key", KEY])
        .args(["--header", "X-Session-Id: 1"])
        .args([
            "--header",
            "X-Api-Key: telltale-\u{e9}\u{e9}\u{e9}\u{e9}-0123",
        ])
        .fails(1);
    let mut written = Vec::new();
    files(dir.path(), &mut written);
    let log = written.iter().find(|(name, _)| name.contains("debug"));
    for line in log.expect("a debug log").1.lines() {
        serde_json::from_str::<Value>(line).expect(line);
    }
    let all: String = written.into_iter().map(|(_, text)| text).collect();
    assert!(
        !(all + &output.stdout + &output.stderr).contains(MARK),
        "{output}"
    );
}

const COMMANDS: [&str; 10] = [
    "benchmark --contexts 2 --input-length 50 --output-length 5 --max-inflight 2 --requests 4 --interval 100ms --samples s.jsonl --output r.json --endpoint URL",
    "load --requests 4 --warmup 1 --concurrency 1 2 --samples s.jsonl --output r.json --export vllm v.json --slo-file slo.yaml --endpoint URL/v1/completions",
    "load --requests 4 --concurrency 2 --samples s.jsonl --output r.json --endpoint URL/generate",
    "load --requests 4 --concurrency 2 --shard 0/1 --seed 1 --nonce n --samples s.jsonl --endpoint URL/v1/completions",
    "replay --dataset d.jsonl --concurrency 2 --live-history --max-output-tokens 5 --debug --prometheus-url URL/metrics --prometheus-metrics c_total --endpoint URL",
    "run --workload short --requests 2 -v --endpoint URL",
    "compare --pairs 1 --warmup 0 --against-header X-Api-Key:telltale-66 --samples s.jsonl --output r.json --summary pr.md --against URL/v1/completions --endpoint URL/v1/completions",
    "find-rate --slo-file slo.yaml --budget-requests 300 --budget-time 500ms --warmup 0 --samples s.jsonl --output r.json --endpoint URL/v1/completions",
    "probe --steps separability,usage,answer --max-context 1000 --samples s.jsonl --output r.json --endpoint URL/v1/completions",
    "check endpoint URL --try-reset",
];

/// Collects every file below the folder, by path.
fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let bytes = fs::read(&path).expect("a file");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

fn check(words: &str, echo: Echo) {
    let server = serve(echo);
    let url = format!("http://{}", server.addr());
    let dir = Dir::new();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file");
    write(
        "d.jsonl",
        "{\"user_messages\": [\"a b\", \"c d\"]}\n{\"user_messages\": [\"e f\"]}\n",
    );
    write("slo.yaml", "slo:\n  ttft_ms: 100000\n");
    let word = |word: &str| match word.contains("URL") {
        true => format!("{}?{QUERY}", word.replace("URL", &url)),
        false => word.to_string(),
    };
    let output = Cmd::new(&dir)
        .args(words.split(' ').map(word))
        .args(["--timeout", "5s", "--api-key", KEY])
        .args(HEADERS.iter().flat_map(|line| ["--header", line]))
        .run();
    let sent = server.requests();
    let has_sent = |wanted: &str| {
        let lines = sent.iter().flat_map(|request| &request.headers);
        lines
            .map(|(_, value)| value)
            .any(|value| value.contains(wanted))
    };
    assert!(
        has_sent(KEY) && has_sent("telltale-99"),
        "{echo:?}: {words}"
    );
    assert!(sent.iter().all(|request| request.path.ends_with(QUERY)));
    assert!(
        output.status.code().is_some_and(|code| code <= 3),
        "{output}"
    );

    let mut written = vec![
        ("stdout".to_string(), output.stdout),
        ("stderr".to_string(), output.stderr),
    ];
    files(dir.path(), &mut written);
    if dir.path().join("s.jsonl").exists() {
        let report = Cmd::new(&dir).args(["report", "--input", "s.jsonl"]).run();
        written.push(("report".to_string(), report.stdout + &report.stderr));
    }
    if words.contains("--shard") && dir.path().join("s.jsonl").exists() {
        let merge = "merge s.jsonl --allow-missing --output -".split(' ');
        let merge = Cmd::new(&dir).args(merge).ok();
        written.push(("merge".to_string(), merge.stdout + &merge.stderr));
    }
    for (name, text) in written {
        if let Some(at) = text.find(MARK) {
            let around = text.get(at.saturating_sub(200)..at + 40);
            panic!("{echo:?}: {words}: {name}: {:?}", around.unwrap_or(&text));
        }
    }
}

#[test]
fn a_secret_over_plain_http_is_warned_of_once_unless_the_way_is_short() {
    let server = serve(Echo::Answer);
    let port = server.addr().port();
    let key = ["--api-key", KEY];
    let header = ["--header", HEADERS[0]];
    let open = ["--header", "X-Route: canary"];
    for (host, words, warnings) in [
        // This is any address of the machine, which the program cannot know to be local.
        ("0.0.0.0", key, 1),
        ("0.0.0.0", header, 1),
        ("0.0.0.0", open, 0),
        ("127.0.0.1", key, 0),
        ("localhost", key, 0),
    ] {
        let output = Cmd::new(&Dir::new())
            .args([
                "load",
                "--endpoint",
                &format!("http://{host}:{port}/v1/completions"),
            ])
            .args(["--requests", "3", "--max-tokens", "2"])
            .args(words)
            .ok();
        let warned = output.stderr.matches("sent unencrypted").count();
        assert_eq!(warned, warnings, "{output}");
    }
}

#[test]
fn every_command_warns_once_of_a_key_over_plain_http() {
    let server = serve(Echo::Answer);
    let url = format!("http://0.0.0.0:{}", server.addr().port());
    let warning = format!("warning: {url}/v1/ is plain http: the API key is sent unencrypted\n");
    for words in [
        "benchmark --contexts 2 --input-length 50 --output-length 5 --max-inflight 2 --requests 2 --interval 100ms --endpoint URL",
        "load --requests 2 --endpoint URL/v1/completions",
        "replay --synthetic 2 --max-output-tokens 5 --prometheus-url URL/metrics --prometheus-metrics c_total --endpoint URL",
        "run --workload short --requests 2 --endpoint URL",
        "check endpoint URL --try-reset",
    ] {
        let words = words.replace("URL", &url);
        let output = Cmd::new(&Dir::new())
            .args(words.split(' '))
            .args(["--api-key", KEY])
            .run();
        assert_eq!(output.stderr.matches(&warning).count(), 1, "{output}");
        assert_eq!(output.stderr.matches("unencrypted").count(), 1, "{output}");
    }
}

#[test]
fn a_token_in_the_url_of_a_page_is_warned_of_over_plain_http() {
    let server = serve(Echo::Answer);
    let port = server.addr().port();
    for (host, warnings) in [("0.0.0.0", 1), ("127.0.0.1", 0)] {
        let page = format!("http://{host}:{port}/metrics?token=telltale-66");
        let output = Cmd::new(&Dir::new())
            .args(["replay", "--synthetic", "2", "--max-output-tokens", "5"])
            .args(["--endpoint", &format!("127.0.0.1:{port}")])
            .args(["--prometheus-url", &page, "--prometheus-metrics", "c_total"])
            .ok();
        let warning = format!(
            "warning: http://{host}:{port}/metrics?token=**** is plain http: secrets in the URL are sent unencrypted\n"
        );
        assert_eq!(
            output.stderr.matches(&warning).count(),
            warnings,
            "{output}"
        );
    }
}

#[test]
fn a_key_that_a_server_writes_in_another_way_is_shown_nowhere() {
    const KEY: &str = "sk-telltale+0123/4567&89";
    let code = |c: char| format!("\\u{:04X}", u32::from(c));
    let all: String = KEY.chars().map(code).collect();
    let net: String = KEY
        .chars()
        .map(|c| match "+&".contains(c) {
            true => code(c),
            false => c.to_string(),
        })
        .collect();
    // By `printf … | base64`, of the key and of "Bearer " and the key.
    let base64 = "c2stdGVsbHRhbGUrMDEyMy80NTY3Jjg5";
    let bearer = "QmVhcmVyIHNrLXRlbGx0YWxlKzAxMjMvNDU2NyY4OQ==";
    for (written, telling) in [
        (all, "telltale"),
        (net.replace('/', "\\/"), "telltale"),
        ("sk-telltale%2B0123%2f4567%2689".to_string(), "telltale"),
        (base64.to_string(), "stdGVsbHRhbGUr"),
        (bearer.to_string(), "LXRlbGx0YWxl"),
    ] {
        let body = format!("{{\"error\": {{\"message\": \"Incorrect key: {written}\"}}}}");
        let server = failing(r#"{"data": [{"id": "m"}]}"#, body);
        let url = format!("http://{}", server.addr());
        for words in [
            "check endpoint URL --try-reset",
            "load --endpoint URL/v1/completions --requests 2 --samples s.jsonl",
            "run --workload short --requests 2 -v --endpoint URL",
        ] {
            let dir = Dir::new();
            let words = words.replace("URL", &url);
            let output = Cmd::new(&dir)
                .args(words.split(' '))
                .args(["--api-key", KEY])
                .run();
            let mut written = Vec::new();
            files(dir.path(), &mut written);
            assert!(output.stdout.contains("****") || output.stderr.contains("****"));
            written.push((words, output.stdout + &output.stderr));
            for (name, text) in written {
                // The file may write the characters as the server did.
                let decoded = text.replace("\\\\", "\\").replace(&code('e'), "e");
                assert!(!decoded.contains(telling), "{name}: {text}");
                assert!(!decoded.contains(&code('k')), "{name}: {text}");
            }
        }
    }
}

#[test]
fn the_words_of_a_server_neither_steer_the_terminal_nor_turn_its_text() {
    let words = "a\\u001b]0;title\\u0007\\u001b[31mb\\u202ec\\u2067d\\u200fe\\u061cf";
    let body = format!("{{\"error\": {{\"message\": \"{words}\"}}}}");
    let models = "{\"data\": [{\"id\": \"m\"}, {\"id\": \"n\u{202e}\"}]}";
    let server = failing(models, body);
    let url = format!("http://{}", server.addr());
    for words in [
        "check endpoint URL --try-reset",
        "load --endpoint URL/v1/completions --requests 2 --samples s.jsonl",
        "load --endpoint URL/generate --requests 2",
        "replay --synthetic 1 --endpoint URL",
        "benchmark --contexts 2 --input-length 50 --output-length 5 --interval 100ms --max-inflight 2 --requests 2 --endpoint URL",
        "run --workload short --requests 2 -v --endpoint URL",
    ] {
        let words = words.replace("URL", &url);
        let output = Cmd::new(&Dir::new()).args(words.split(' ')).run();
        let steers = |c: char| {
            c.is_control() && c != '\n'
                || "\u{61c}\u{200e}\u{200f}".contains(c)
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(
            !(output.stdout.clone() + &output.stderr).contains(steers),
            "{output}"
        );
        assert!(
            output.stdout.contains("b c d") || output.stderr.contains("b c d"),
            "{output}"
        );
    }
}

#[test]
fn no_secret_is_in_anything_that_is_printed_or_written() {
    for words in COMMANDS {
        std::thread::scope(|scope| {
            for echo in ECHOES {
                scope.spawn(move || check(words, echo));
            }
        });
    }
}

#[test]
fn a_key_is_stripped_of_what_it_was_copied_with_and_the_note_does_not_repeat_it() {
    for (source, text, stripped) in [
        ("--api-key", "Bearer KEY", "Bearer"),
        ("TMESH_API_KEY", "\"KEY\"", "quotes"),
        (
            "OPENAI_API_KEY",
            "Authorization: Bearer KEY",
            "NAME:, Bearer",
        ),
        (
            "--api-key-file key.txt",
            "export OPENAI_API_KEY='KEY'\n",
            "export, NAME=, quotes",
        ),
    ] {
        let server = serve(Echo::Answer);
        let dir = Dir::new();
        let text = text
            .replace("KEY", KEY)
            .replace(&format!("_API_{KEY}"), "_API_KEY");
        dir.write("key.txt", &text);
        let url = format!("http://{}/v1/completions", server.addr());
        let mut command = Cmd::new(&dir).args(["load", "--endpoint", &url, "--requests", "1"]);
        command = match source {
            "--api-key" => command.args([source, &text]),
            "--api-key-file key.txt" => command.args(source.split(' ')),
            variable => command.env(variable, &text),
        };
        let output = command.ok();
        let note = format!("note: {source}: stripped from around the key: {stripped}\n");
        assert!(output.stderr.contains(&note), "{output}");
        assert!(!(output.stdout + &output.stderr).contains(MARK));
        let bearer = format!("Bearer {KEY}");
        for request in server.requests() {
            let mut headers = request.headers.iter();
            let sent = headers.find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
            assert_eq!(sent.map(|(_, value)| value.as_str()), Some(&*bearer));
        }
    }
}

/// Starts a server that lists models and answers everything else with status 500 and a body.
fn failing(models: &'static str, body: String) -> RawServer {
    RawServer::start(move |request, stream| {
        let (status, body) = match request.path.as_str() {
            "/v1/models" => ("200 OK", models),
            _ => ("500 Oh", body.as_str()),
        };
        let length = body.len();
        // The client may have hung up.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    })
}
