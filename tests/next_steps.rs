//! The command at the end of an error works as it stands there.

use crate::util::{Cmd, Dir, Server};

/// Returns the command that the last line of stderr names.
fn named(stderr: &str) -> Option<&str> {
    let line = stderr.trim_end().lines().last()?;
    Some(&line[line.find("tmesh-cli ")?..])
}

/// Runs a line of a shell, in which `tmesh-cli` is this build.
fn shell(dir: &Dir, line: &str) -> Cmd {
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let line = line.replacen("tmesh-cli", bin, 1);
    Cmd::program("sh", dir).args(["-c", &line])
}

#[test]
fn the_command_at_the_end_of_an_error_works_as_typed() {
    let mock = ["--itl", "0s", "--base", "0s", "--model", "acme/llm-7b"];
    let server = Server::start(&mock);
    let url = server.url();
    for (words, more) in [
        ("replay".to_string(), ""),
        ("replay --dataset 'd e.jsonl'".to_string(), ""),
        (format!("replay --endpoint {url}"), ""),
        (
            "benchmark".to_string(),
            "--requests 2 --output-length 2 --input-length 50 --contexts 2",
        ),
        (
            format!("benchmark --endpoint {url}"),
            "--requests 2 --output-length 2 --input-length 50",
        ),
        (
            format!("benchmark --endpoint {url} --model acme/llm-7b"),
            "--requests 2 --output-length 2 --input-length 50",
        ),
        (
            format!("replay --synthetic 2 --endpoint '{url}/generate?a=b&c=d'"),
            "--requests 2",
        ),
        ("explain xyzzy".to_string(), ""),
        ("xyzzy".to_string(), ""),
        ("load --nonsense-of-mine".to_string(), ""),
        ("check endpoint".to_string(), ""),
        ("check xyzzy".to_string(), ""),
        ("mock nonsense".to_string(), ""),
        ("run --port 1 --endpoint localhost:1".to_string(), ""),
    ] {
        let dir = Dir::new();
        dir.write("d e.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
        let output = shell(&dir, &format!("tmesh-cli {words}")).fails(2);
        let next = named(&output.stderr).unwrap_or_else(|| panic!("{output}"));
        shell(&dir, &format!("{next} {more}")).ok();
    }
}

#[test]
fn an_empty_model_is_refused_before_the_first_request() {
    let dir = Dir::new();
    for command in ["load", "benchmark", "run", "probe"] {
        let output = Cmd::new(&dir)
            .args([command, "--endpoint", "localhost:1", "--model", ""])
            .fails(2);
        let wanted = "[ERROR] --model: empty; want the name of a model\n";
        assert!(output.stderr.starts_with(wanted), "{output}");
    }
}
