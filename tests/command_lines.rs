//! Runs the command lines of README and of the help topics, so that they work as written: each ends well and prints a
//! word that shows its purpose.
//!
//! A command is a line of a `sh` or `bash` block that calls tmesh-cli. The host and port of `--endpoint` are replaced
//! by a mock's, `<…>` by a word. Redirections, pipes and `&` are left out, so that the output is visible here. An
//! endless benchmark gets a block every second, and SIGINT once a block counts a request. A block under `<!-- not run:
//! REASON -->` is not run. Files that a command reads are in tests/data/readme.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::util::{Cmd, Dir, Output, Server};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

#[test]
fn every_command_line_of_readme_works() {
    assert!(run_commands(&[PathBuf::from(format!("{TESTS}/../README.md"))]) > 20);
}

#[test]
fn every_command_line_of_the_help_topics_works() {
    let topics = fs::read_dir(format!("{TESTS}/../src/help")).expect("a folder of topics");
    let topics: Vec<PathBuf> = topics.flatten().map(|topic| topic.path()).collect();
    assert!(run_commands(&topics) > 20);
}

/// The expected word in a command's output, beside the part of the line that selects it (the first that occurs).
const PRINTED: [(&str, &str); 24] = [
    ("--version", "commit"),
    (" help", "tmesh-cli"),
    ("explain", "Formula: "),
    ("convert longbench", "records"),
    ("convert sharegpt", "conversations"),
    ("check endpoint", "round trip"),
    ("check dataset", "records"),
    ("check prometheus", "vllm:"),
    ("check client", "added by the client"),
    ("report -i samples.jsonl --format html", "report.html"),
    ("--format markdown -o", "REPORT.md"),
    ("--format markdown", "| "),
    ("--format json", "\"schema\""),
    ("merge", "Merge: WHOLE."),
    ("compare", "Verdict"),
    ("report", "TTFT"),
    ("probe", "Prefix cache: "),
    ("benchmark", "Final Report ("),
    ("replay", "Round 2 Performance Metrics"),
    ("run ", "short_input"),
    ("/generate", "not streamed"),
    ("--export vllm", "vllm.json"),
    ("load", "Request Throughput: "),
    ("mock", "mock on "),
];

/// Returns the expected word of a command line; a line without one is an error in this table.
fn printed(line: &str) -> &'static str {
    let found = PRINTED.iter().find(|(part, _)| line.contains(part));
    found.map_or_else(
        || panic!("{line}: not in the table of words"),
        |(_, word)| word,
    )
}

#[test]
fn command_lines_are_found_and_made_runnable() {
    let markdown = "```sh\nmake demo\ntmesh-cli --help  # all options\n```\ntmesh-cli none\n```text\ntmesh-cli none\n```\n\
                    <!-- not run: needs a GPU -->\n\n```bash\ntmesh-cli none\n```\n\
                    ```bash\n# tmesh-cli none\nnohup tmesh-cli benchmark \\\n  --endpoint \"https://h:1/v1/\" \\\n  \
                    --api-key <key> > log 2>&1 &\nKEY=1 tmesh-cli benchmark --endpoint [::1]:8000 --requests 9\n```\n";
    let lines: Vec<String> = blocks(markdown)
        .iter()
        .flatten()
        .map(|line| runnable(line, "127.0.0.1:9"))
        .collect();
    assert_eq!(
        lines,
        [
            "tmesh-cli --help",
            "nohup tmesh-cli benchmark --endpoint \"https://127.0.0.1:9/v1/\" --api-key placeholder",
            "KEY=1 tmesh-cli benchmark --endpoint 127.0.0.1:9 --requests 9",
        ]
    );
    assert_eq!(
        lines
            .iter()
            .map(|line| is_endless(line))
            .collect::<Vec<_>>(),
        [false, true, false]
    );
}

/// Runs the blocks of documents in parallel, each against a mock and in a directory of its own, and the commands of a
/// block in order, since a later one may read what an earlier one wrote. Returns the number of commands.
fn run_commands(documents: &[PathBuf]) -> usize {
    let blocks = documents.iter().flat_map(|document| {
        let markdown = fs::read_to_string(document);
        blocks(&markdown.unwrap_or_else(|error| panic!("{}: {error}", document.display())))
    });
    let blocks: Vec<Vec<String>> = blocks.collect();
    // Two at a time would wait for each other's 20 simulated seconds; more than six overload two cores.
    for side_by_side in blocks.chunks(6) {
        thread::scope(|scope| {
            for block in side_by_side {
                scope.spawn(|| run_block(block));
            }
        });
    }
    blocks.iter().map(Vec::len).sum()
}

fn run_block(commands: &[String]) {
    let server = Server::start(&[]);
    let dir = Dir::new();
    copy(&format!("{TESTS}/data/readme"), dir.path());
    // The folder is laid out as in a checkout.
    let datasets = dir.path().join("tests/data/datasets");
    copy(&format!("{TESTS}/data/datasets"), &datasets);
    for command in commands {
        let output = run(&runnable(command, server.addr()), &dir);
        let word = printed(command);
        let said = [&output.stdout, &output.stderr];
        assert!(
            said.iter().any(|text| text.contains(word)),
            "{word}\n{output}"
        );
    }
}

/// Copies a folder with its contents.
fn copy(from: &str, to: &Path) {
    fs::create_dir_all(to).expect("a folder in a fresh directory");
    for file in fs::read_dir(from).expect(from).flatten() {
        let (path, to) = (file.path(), to.join(file.file_name()));
        if path.is_dir() {
            copy(&path.display().to_string(), &to);
        } else {
            fs::copy(path, to).expect("a file of the tests");
        }
    }
}

/// Runs one line prepared by `runnable`, and returns its output.
pub fn run(line: &str, dir: &Dir) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_tmesh-cli"))
        .parent()
        .expect("the binary is in a folder");
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    // exec, so that a signal reaches tmesh-cli itself; env takes NAME=VALUE and nohup alike.
    let interval = if is_endless(line) && !line.contains("--interval") {
        " --interval 1s"
    } else {
        ""
    };
    let script = format!("exec env {line}{interval}");
    let command = Cmd::program("sh", dir)
        .args(["-c", &script])
        .env("PATH", path)
        .deadline(Duration::from_secs(60));
    let output = if is_endless(line) {
        let mut running = command.start();
        running.wait_for_line(|line| {
            let count = line.strip_prefix("Total Number of Requests Processed: ");
            count.is_some_and(|count| count != "0")
        });
        running.signal("INT");
        running.wait()
    } else {
        command.run()
    };
    assert!(output.status.success(), "{output}");
    // Results in files are mentioned on stderr.
    let said = [&output.stdout, &output.stderr];
    assert!(
        said.iter().any(|text| !text.trim().is_empty()),
        "nothing said\n{output}"
    );
    output
}

/// Returns whether only a signal ends it.
fn is_endless(line: &str) -> bool {
    let ends = ["--duration", "--requests", "--rotations", "--help", "-h"];
    let mut words = line.split([' ', '=']);
    words.any(|word| word == "benchmark") && !words.any(|word| ends.contains(&word))
}

/// Returns the commands of a Markdown text block by block, with continued lines joined.
fn blocks(markdown: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let (mut in_block, mut is_run, mut skip_next) = (false, false, false);
    let joined = markdown.replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            in_block = !in_block;
            is_run = in_block && !skip_next && ["sh", "bash"].contains(&language);
            if is_run {
                found.push(Vec::new());
            }
            skip_next = false;
        } else if in_block {
            if let Some(block) = found.last_mut().filter(|_| is_run && calls_tmesh(line)) {
                block.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        } else if !line.is_empty() {
            skip_next = line.starts_with("<!-- not run: ");
        }
    }
    found.retain(|block| !block.is_empty());
    found
}

/// Returns whether tmesh-cli is the program of a line, after any `nohup` and `NAME=VALUE`.
fn calls_tmesh(line: &str) -> bool {
    let program = line
        .split(' ')
        .find(|word| *word != "nohup" && !word.contains('='));
    program == Some("tmesh-cli")
}

/// Returns the command with a mock's address, without placeholders, and cut before the first redirection, pipe, `&` or
/// comment.
pub fn runnable(command: &str, addr: &str) -> String {
    let mut line = without_placeholders(command);
    let mut quote = None;
    let end = line.char_indices().find(|&(at, c)| {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        let rest = &line[at..];
        quote.is_none()
            && [" >", " 2>", " |", " &", " #"]
                .iter()
                .any(|tail| rest.starts_with(tail))
    });
    if let Some((at, _)) = end {
        line.truncate(at);
    }
    for url in URLS {
        if let Some(host) = host_behind(&line, url) {
            line.replace_range(host, addr);
        }
    }
    line
}

/// The words before the URL of a server.
const URLS: [&str; 6] = [
    "--endpoint",
    "--metrics-url",
    "--prometheus-url",
    "--reset-cache-url",
    "check endpoint",
    "check prometheus",
];

/// Returns where the host and port of the URL after a word are; its scheme and quotes may be missing.
fn host_behind(line: &str, word: &str) -> Option<Range<usize>> {
    let option = line.find(word)? + word.len();
    let value = option + line[option..].find(|c| !['=', ' ', '"', '\''].contains(&c))?;
    let end =
        |from: usize, stops: &[char]| line[from..].find(stops).map_or(line.len(), |at| from + at);
    let value_end = end(value, &[' ', '"', '\'']);
    let host = line[value..value_end]
        .find("://")
        .map_or(value, |at| value + at + "://".len());
    Some(host..end(host, &['/', ' ', '"', '\'']))
}

fn without_placeholders(line: &str) -> String {
    let mut parts = line.split('<');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.split_once('>') {
            Some((name, rest)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                out += "placeholder";
                out += rest;
            }
            _ => out = out + "<" + part,
        }
    }
    out
}
