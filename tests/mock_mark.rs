//! Results of a mock in another process: every command says that they are no measurement.

use std::io::Write;

use serde_json::Value;

use crate::util::{Cmd, Dir, RawServer, Samples, Server, json_file};

const WARNING: &str = "Mock server: not a measurement of an engine";

/// Each command without its endpoint, and its file of samples.
const COMMANDS: [(&str, &str); 5] = [
    (
        "benchmark --contexts 2 --max-inflight 1 --input-length 50 --output-length 2 --requests 1 --samples s.jsonl",
        "s.jsonl",
    ),
    (LOAD, "s.jsonl"),
    (
        "load --api generate --requests 1 --concurrency 1 --warmup 0 --input-tokens 20 --max-tokens 2 --samples s.jsonl",
        "s.jsonl",
    ),
    (
        "replay --dataset d.jsonl --rounds 1 --max-output-tokens 2 --output-dir d",
        "d/samples.jsonl",
    ),
    (
        "run --workload short --requests 1 --output d",
        "d/samples.jsonl",
    ),
];

const LOAD: &str = "load --requests 1 --concurrency 1 --warmup 0 --input-tokens 20 --max-tokens 2 --samples s.jsonl";

#[test]
fn every_command_and_its_report_say_that_a_mock_in_another_process_answered() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    for (words, samples) in COMMANDS {
        let dir = Dir::new();
        dir.write("d.jsonl", "{\"text\": \"a b\"}\n");
        let command = Cmd::new(&dir).args(words.split(' '));
        let output = command.args(["--endpoint", &server.url()]).ok();
        assert!(output.stdout.contains(WARNING), "{output}");
        let header = Samples::read(&dir, samples).header;
        assert_eq!(header["mock"], true, "{words}");
        assert_eq!(header["backend"], "attached", "{words}");
        let report = |format: &str| {
            let command = Cmd::new(&dir).args(["report", "-i", samples, "--format", format]);
            command.ok().stdout
        };
        for format in ["table", "csv", "markdown", "html"] {
            assert!(report(format).contains(WARNING), "{words}: {format}");
        }
        // Its CPU time is not the client's.
        let json = report("json");
        assert!(
            json.contains(r#""mock_in_process": false"#),
            "{words}: {json}"
        );
        assert!(
            !json.contains(r#""mock_in_process": true"#),
            "{words}: {json}"
        );
    }
}

#[test]
fn a_result_in_the_format_of_vllm_says_that_a_mock_answered() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    let dir = Dir::new();
    let command = Cmd::new(&dir).args(LOAD.split(' '));
    command
        .args(["--endpoint", &server.url(), "--export", "vllm", "v.json"])
        .ok();
    assert_eq!(json_file(&dir, "v.json")["mock"], WARNING);
}

#[test]
fn a_check_of_an_endpoint_says_that_it_is_a_mock() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    let dir = Dir::new();
    let line = format!("\nserver                {WARNING}\n");
    for url in [&[server.addr()][..], &["--endpoint", server.addr()]] {
        let output = Cmd::new(&dir).args(["check", "endpoint"]).args(url).ok();
        assert!(output.stdout.contains(&line), "{output}");
    }
}

#[test]
fn a_server_without_the_mark_is_not_called_a_mock() {
    let server = RawServer::start(|request, stream| {
        let (status, body) = match request.path.as_str() {
            "/v1/models" => ("200 OK", r#"{"data":[{"id":"tmesh-mock"}]}"#),
            "/v1/completions" => ("200 OK", STREAM),
            _ => ("404 Not Found", ""),
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nserver: tmesh\r\ncontent-length: {length}\r\n\r\n");
        // A client that has gone shows in its own output.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body.as_bytes());
    });
    let dir = Dir::new();
    let url = format!("http://{}", server.addr());
    let output = Cmd::new(&dir)
        .args(LOAD.split(' '))
        .args(["--endpoint", &url])
        .ok();
    assert!(!output.stdout.contains(WARNING), "{output}");
    assert_eq!(
        Samples::read(&dir, "s.jsonl").header["mock"],
        Value::Bool(false)
    );
}

const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"text\":\" a\",\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"text\":\" b\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":2}}\n\n\
    data: [DONE]\n\n";
