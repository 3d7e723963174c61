//! The command at the end of an error or of a report works as it stands there.

use serde_json::Value;

use crate::util::{Cmd, Dir, Output, Samples, Server};

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

const KEY: &str = "sk-telltale-0123456789";

/// Returns the command that the last line of a report names.
fn next_of(output: &Output) -> &str {
    let last = output.stdout.lines().last().unwrap_or_default();
    last.strip_prefix("Next: ")
        .unwrap_or_else(|| panic!("{output}"))
}

/// Returns what tells in a file of samples which server was asked, and how.
fn asked(dir: &Dir, name: &str) -> Vec<Value> {
    let header = Samples::read(dir, name).header;
    let places = ["/endpoint", "/model", "/options/api", "/connection"];
    let values = places.map(|place| header.pointer(place).cloned().unwrap_or_default());
    values.to_vec()
}

/// Runs a command, which writes its samples to `samples`, and then the command that it names.
fn follow(dir: &Dir, words: &str, samples: &str) -> String {
    let output = shell(dir, &format!("tmesh-cli {words}")).ok();
    let next = next_of(&output).to_string();
    let report = Cmd::new(dir).args(["report", "-i", samples]).ok();
    assert_eq!(next_of(&report), next, "{output}");
    shell(dir, &format!("{next} --samples next.jsonl")).ok();
    let mut wanted = asked(dir, samples);
    let mut got = asked(dir, "next.jsonl");
    // A mock in the process has a port of its own in each run.
    if next.contains("--backend mock") {
        wanted.remove(0);
        got.remove(0);
    }
    assert_eq!(got, wanted, "{next}");
    next
}

#[test]
fn the_next_command_of_a_report_asks_the_same_server_in_the_same_way() {
    let server = Server::start(&[
        "--itl",
        "0s",
        "--base",
        "0s",
        "--model",
        "acme/llm-7b",
        "--max-model-len",
        "4096",
        "--api-key",
        KEY,
    ]);
    let dir = Dir::new();
    dir.write("my key", KEY);
    let url = server.url();
    let at = format!("--endpoint {url} --api-key-file 'my key'");
    for (words, samples, next) in [
        (
            format!(
                "load {at} --api chat --concurrency 1 --requests 20 --max-tokens 2 --samples s.jsonl"
            ),
            "s.jsonl",
            " --api chat --api-key-file 'my key' --concurrency 1,4,16 --requests 100",
        ),
        (
            format!(
                "benchmark {at} --api chat --contexts 4 --input-length 50 --output-length 2 \
                     --rotations 1 --samples s.jsonl"
            ),
            "s.jsonl",
            " --api chat --api-key-file 'my key' --contexts 4 --input-length 50 --output-length 2 \
             --rotations 3",
        ),
        (
            format!("replay {at} --synthetic 10 --max-output-tokens 2 --output-dir replayed"),
            "replayed/samples.jsonl",
            " --api chat --api-key-file 'my key' --concurrency 1,4,16 --requests 100",
        ),
        (
            format!("run {at} --workload short --requests 2 --output run"),
            "run/samples.jsonl",
            " --api-key-file 'my key' --contexts 20 --input-length 3096 --rotations 3",
        ),
        (
            format!(
                "load --endpoint {url}/generate --api-key-file 'my key' --requests 1 \
                     --max-tokens 2 --samples s.jsonl"
            ),
            "s.jsonl",
            "/v1 --api generate --api-key-file 'my key' --input-tokens 2000 --repeat-ratio 0.5 \
             --requests 200",
        ),
    ] {
        let got = follow(&dir, &words, samples);
        assert!(got.ends_with(next), "{got}");
    }
}

#[test]
fn the_next_command_of_a_report_on_a_mock_keeps_its_options() {
    let dir = Dir::new();
    let small = "tier1_tokens=10k,tier2_tokens=0,itl=0s,base=0s";
    let words = format!(
        "benchmark --backend mock --mock {small} --contexts 10 --input-length 2000 \
         --output-length 5 --rotations 3 --samples s.jsonl"
    );
    // Half as many contexts: 10,000 tokens do not fit, either.
    let next = follow(&dir, &words, "s.jsonl");
    let begin = format!("tmesh-cli benchmark --backend mock --mock {small} --contexts 5 ");
    assert!(next.starts_with(&begin), "{next}");
    let words = "run --mock itl=0s --workload short --requests 2 --output run";
    let next = follow(&dir, words, "run/samples.jsonl");
    let own = "--mock itl=0s,base=10ms,prefill_rate=1000000000 ";
    assert!(next.contains(own), "{next}");
}

#[test]
fn what_the_next_command_cannot_repeat_is_named_and_a_key_is_nowhere() {
    let server = Server::start(&["--itl", "0s", "--base", "0s", "--api-key", KEY]);
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args([
            "load",
            "--requests",
            "20",
            "--concurrency",
            "1",
            "--max-tokens",
            "2",
            "--api-key",
            KEY,
        ])
        .args(["--header", "X-Team: telltale", "--samples", "s.jsonl"])
        .args(["--endpoint", &server.url()])
        .ok();
    let advice = "\nGive the next command this run's own --api-key and --header, too.\nNext: ";
    assert!(output.stdout.contains(advice), "{output}");
    for text in [&output.stdout, &output.stderr, &dir.read("s.jsonl")] {
        assert!(!text.contains("telltale"), "{text}");
    }
    shell(&dir, &format!("{} --api-key {KEY}", next_of(&output))).ok();
}

#[test]
fn after_a_run_without_an_answer_the_server_is_checked() {
    let server = Server::start(&["--faults", "http:503"]);
    let dir = Dir::new();
    let url = server.url();
    let words = [
        "load",
        "--model",
        "m",
        "--requests",
        "5",
        "--endpoint",
        &url,
    ];
    let output = Cmd::new(&dir).args(words).fails(1);
    let wanted = format!("tmesh-cli check endpoint {url}/v1 --model m");
    assert_eq!(next_of(&output), wanted);
    // A mock in the process cannot be checked.
    let mock = [
        "load",
        "--requests",
        "5",
        "--backend",
        "mock",
        "--mock",
        "faults=http:503",
    ];
    let output = Cmd::new(&dir).args(mock).fails(1);
    assert!(!output.stdout.contains("Next:"), "{output}");
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
