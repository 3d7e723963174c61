//! A model that the server does not have, or has under a name that it does not list, and a key that it refuses.

use std::io::Write;

use crate::util::{Cmd, Dir, RawServer};

const COMMANDS: [&str; 5] = [
    "load --requests 2 --endpoint URL/v1/completions",
    "replay --synthetic 2 --max-output-tokens 2 --endpoint URL",
    "run --workload short --requests 2 --endpoint URL",
    "benchmark --contexts 2 --input-length 50 --output-length 2 --requests 2 --endpoint URL",
    "benchmark --endpoint URL",
];

/// Lists two models; answers prompts with this status and body.
fn serve(status: &'static str, body: &'static str) -> RawServer {
    RawServer::start(move |request, stream| {
        let (status, body) = match request.path.as_str() {
            "/v1/models" => (
                "200 OK",
                r#"{"data": [{"id": "org/alpha-7b"}, {"id": "beta"}]}"#,
            ),
            path if path.ends_with("completions") => (status, body),
            _ => ("404 No", ""),
        };
        let length = body.len();
        // The client may have hung up.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    })
}

#[test]
fn a_model_that_the_server_does_not_list_is_blamed_with_the_nearest_name() {
    let body = r#"{"error": {"message": "The model `org/alpha-7c` does not exist."}}"#;
    let server = serve("404 Not Found", body);
    let url = format!("http://{}", server.addr());
    for words in COMMANDS {
        let words = words.replace("URL", &url);
        let output = Cmd::new(&Dir::new())
            .args(words.split(' '))
            .args(["--model", "org/alpha-7c"])
            .fails(2);
        let error = "[ERROR] --model org/alpha-7c: the server lists no such model; it lists org/alpha-7b, beta\nDid you mean --model org/alpha-7b?\n";
        assert!(output.stderr.contains(error), "{output}");
        assert!(!output.stderr.contains("Supported models"), "{output}");
    }
}

#[test]
fn a_model_under_a_name_that_is_not_listed_is_measured() {
    const BODY: &str = "data: {\"choices\": [{\"index\": 0, \"text\": \"a\", \"delta\": {\"content\": \"a\"}, \"finish_reason\": \"length\"}], \"usage\": {\"prompt_tokens\": 50, \"completion_tokens\": 1}}\n\ndata: [DONE]\n\n";
    let server = serve("200 OK", BODY);
    let url = format!("http://{}", server.addr());
    for words in &COMMANDS[..4] {
        let words = words.replace("URL", &url);
        Cmd::new(&Dir::new())
            .args(words.split(' '))
            .args(["--model", "alias"])
            .ok();
    }
}

#[test]
fn the_hint_about_a_refused_key_is_the_same_for_every_command_and_route() {
    let server = RawServer::start(|_, stream| {
        let body = r#"{"error": {"message": "who are you"}}"#;
        let length = body.len();
        // The client may have hung up.
        let _ = write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    });
    let url = format!("http://{}", server.addr());
    let more = [
        "load --requests 2 --endpoint URL/generate",
        "load --requests 2 --model m --endpoint URL/v1/completions",
        "check endpoint URL",
        "check endpoint URL --model m",
    ];
    for words in COMMANDS.iter().chain(&more) {
        let words = words.replace("URL", &url);
        let output = Cmd::new(&Dir::new()).args(words.split(' ')).fails(2);
        let next = "\nGive the right key with --api-key, --api-key-file or TMESH_API_KEY.\n";
        assert!(output.stderr.contains(next), "{output}");
        assert!(!output.stderr.contains("--api chat"), "{output}");
    }
}
