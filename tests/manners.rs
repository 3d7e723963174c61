//! How the program behaves beside its figures: what goes to which stream, and next steps that work as typed.

use serde_json::Value;

use crate::util::{Cmd, Dir, Server};

fn cmd(dir: &Dir, line: &str) -> Cmd {
    Cmd::new(dir).args(line.split_whitespace())
}

/// The names of the files that a command has left.
fn files(dir: &Dir) -> Vec<String> {
    let files = std::fs::read_dir(dir.path()).expect("a folder").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.collect()
}

#[test]
fn a_result_that_goes_to_stdout_stands_there_alone() {
    let (dir, server) = (Dir::new(), Server::start(&[]));
    let endpoint = server.addr();
    let load = format!("load --endpoint {endpoint} --api completions --max-tokens 4 --warmup 0");
    for line in [
        format!("{load} --requests 4 --output -"),
        format!("{load} --requests 4 --concurrency 1 2 --output -"),
        format!("{load} --requests 4 --export vllm -"),
        format!(
            "benchmark --endpoint {endpoint} --contexts 2 --input-length 100 --requests 4 --output -"
        ),
    ] {
        let output = cmd(&dir, &line).ok();
        let result: Value = serde_json::from_str(&output.stdout).expect(&line);
        assert!(result.is_object(), "{output}");
        assert_eq!(files(&dir), [""; 0]);
    }
    let output = cmd(&dir, &format!("{load} --requests 4 --samples -")).ok();
    let lines: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines[0]["schema"], "tmesh-cli/samples/2", "{output}");
    let requests = lines.iter().filter(|line| line["id"].is_u64()).count();
    assert_eq!(requests, 4, "{output}");
    assert_eq!(files(&dir), [""; 0]);
}

#[test]
fn a_timeout_that_signals_twice_at_once_still_gets_the_report() {
    // Of four without the rule that these are one signal, one shows its report by chance.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let dir = Dir::new();
                let output = Cmd::program("timeout", &dir)
                    .args(["1", env!("CARGO_BIN_EXE_tmesh-cli"), "benchmark"])
                    .args([
                        "--backend",
                        "mock",
                        "--contexts",
                        "2",
                        "--input-length",
                        "100",
                    ])
                    .args(["--output", "r.json"])
                    .run();
                assert_eq!(output.status.code(), Some(124), "timeout's own\n{output}");
                assert!(output.stdout.contains("\nFinal Report ("), "{output}");
                assert_eq!(files(&dir), ["r.json"]);
            });
        }
    });
}

#[test]
fn stdout_is_given_to_one_result_and_to_no_folder() {
    let dir = Dir::new();
    for (line, wanted) in [
        (
            "load --backend mock --output - --samples -",
            "[ERROR] --output -: the same file as --samples",
        ),
        (
            "load --backend mock --rate 1 2 --export vllm -",
            "[ERROR] --export vllm -: a sweep writes a file for each point; want a file name",
        ),
        (
            "run --backend mock --output -",
            "[ERROR] --output: - is stdout; want a folder",
        ),
    ] {
        let output = cmd(&dir, line).fails(2);
        assert!(output.stderr.starts_with(wanted), "{output}");
    }
}

#[test]
fn quiet_leaves_stderr_to_warnings_and_errors() {
    let (dir, server) = (Dir::new(), Server::start(&[]));
    let line = format!(
        "load --endpoint {} --api completions --requests 4 --max-tokens 4",
        server.addr()
    );
    let with_key = |line: &str| {
        let cmd = cmd(&dir, line);
        cmd.env("OPENAI_API_KEY", "sk-of-the-test-0123456789").ok()
    };
    let said = with_key(&line);
    assert!(
        said.stderr
            .contains("note: the API key is taken from OPENAI_API_KEY")
    );
    let quiet = with_key(&format!("{line} --quiet"));
    assert_eq!(quiet.stderr, "", "{quiet}");
    assert!(quiet.stdout.contains("Request Throughput: "), "{quiet}");
}

#[test]
fn the_commands_that_a_check_ends_with_work_as_typed() {
    let (dir, server) = (Dir::new(), Server::start(&[]));
    let check = cmd(&dir, &format!("check endpoint {}", server.addr())).ok();
    let (_, start) = check.stdout.split_once("\nStart from\n").expect("commands");
    let commands: Vec<&str> = start.split("\n\n").collect();
    for (command, word) in commands
        .iter()
        .zip(["Later rotations (warm)", "Round 2 against round 1"])
    {
        let line = command.replace("\\\n", " ");
        let line = line.trim().strip_prefix("tmesh-cli ").expect("a command");
        let output = cmd(&dir, line).ok();
        assert!(output.stdout.contains(word), "{output}");
    }
}

#[test]
fn the_step_that_an_error_ends_with_works_as_typed() {
    let (dir, server) = (Dir::new(), Server::start(&["--model", "foo/bar"]));
    let endpoint = server.addr();
    for (line, more, word) in [
        (
            format!("benchmark --endpoint {endpoint}"),
            "--rotations 1 --input-length 100",
            "Final Report",
        ),
        (
            format!("replay --endpoint {endpoint}"),
            "--max-output-tokens 8",
            "Dataset: made prompts, 20 records",
        ),
    ] {
        let refused = cmd(&dir, &line).fails(2);
        let (_, step) = refused.stderr.rsplit_once("tmesh-cli ").expect("a command");
        let output = cmd(&dir, &format!("{} {more}", step.trim())).ok();
        assert!(output.stdout.contains(word), "{output}");
    }
}
