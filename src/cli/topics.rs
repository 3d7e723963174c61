//! Help topics in the binary: texts of src/help, two of which are made from the program's tables; and the overview of
//! commands and topics.

use std::fmt::Write;

use super::commands::{COMMANDS, Command};
use super::flow::{paragraph, row};
use super::help::{self, ending};
use super::usage::Usage;
use crate::stats::catalog::{Definition, FIGURES};
use crate::stats::terms::terms;

pub struct Topic {
    pub name: &'static str,
    pub about: &'static str,
    text: Text,
}

enum Text {
    Written(&'static str),
    /// A text made from a table. The file in src/help is a copy for readers of the repository, kept current by a test.
    Made(fn() -> String),
}

impl Topic {
    const fn written(name: &'static str, about: &'static str, text: &'static str) -> Topic {
        let text = Text::Written(text);
        Topic { name, about, text }
    }

    const fn made(name: &'static str, about: &'static str, make: fn() -> String) -> Topic {
        let text = Text::Made(make);
        Topic { name, about, text }
    }

    /// Returns the topic as Markdown, at most 80 columns wide.
    pub fn text(&self) -> String {
        match self.text {
            Text::Written(text) => text.to_string(),
            Text::Made(make) => make(),
        }
    }
}

pub static TOPICS: [Topic; 12] = [
    Topic::made(
        "metrics",
        "every figure: its definition, formula, source, and when it is absent",
        metrics,
    ),
    Topic::made("options", "every option of every command", options),
    Topic::written(
        "files",
        "datasets, traces, limits, samples and results: what is in them",
        include_str!("../help/files.md"),
    ),
    Topic::written(
        "errors",
        "messages, failures and exit codes, and what to do about them",
        include_str!("../help/errors.md"),
    ),
    Topic::written(
        "guides",
        "what differs from the guides of the five older tools",
        include_str!("../help/guides.md"),
    ),
    Topic::written(
        "mock",
        "the mock server: its clock, its caches, its faults, its truth log",
        include_str!("../help/mock.md"),
    ),
    Topic::written(
        "probe",
        "what probe finds out of a cache, what that costs, and how sure it is",
        include_str!("../help/probe.md"),
    ),
    Topic::written(
        "compare",
        "how two sides are compared, what the verdicts mean, how sure they are",
        include_str!("../help/compare.md"),
    ),
    Topic::written(
        "find-rate",
        "how the highest rate under an SLO is found, and how sure it is",
        include_str!("../help/find-rate.md"),
    ),
    Topic::written(
        "bench",
        "what the client itself adds, and how that is measured",
        include_str!("../help/bench.md"),
    ),
    Topic::written(
        "scale",
        "one load from several machines: Slurm, MPI, Kubernetes, SSH; the merge",
        include_str!("../help/scale.md"),
    ),
    Topic::written(
        "ci",
        "limits, exit codes and reports for a CI job",
        include_str!("../help/ci.md"),
    ),
];

pub fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// Returns the list of commands and help topics.
pub fn overview() -> String {
    let mut text =
        String::from("tmesh-cli: how fast an LLM endpoint is, and how much its KV cache helps\n\n");
    text.push_str("Usage: tmesh-cli COMMAND [OPTIONS]\n\nCommands\n");
    for Command { usage, .. } in &COMMANDS {
        row(&mut text, usage.name, usage.about);
    }
    text.push_str("\nHelp\n");
    row(&mut text, "COMMAND --help", "the options of a command");
    row(&mut text, "--version", "version, commit and target");
    for topic in &TOPICS {
        row(&mut text, &format!("help {}", topic.name), topic.about);
    }
    let firsts = COMMANDS.iter().map(|command| command.usage.examples[0]);
    help::examples(&mut text, firsts);
    ending(&mut text, true);
    text
}

const METRICS: &str = "\
# Metrics

This page is made of the table of figures in the program, which also names the
keys of JSON files and the figures of `--fail-if`. `tmesh-cli explain FIGURE`
prints one entry; it also takes the labels and keys of each report.

All stamps come from one monotonic clock. They are taken when bytes have been
read and before they are parsed, and are whole nanoseconds in samples files. A
figure that no source reports is absent: `n/a` in text, `null` in JSON, never 0.

A figure of times has the statistics avg, p50, p90, p95, p99, min and max; a key
names one of them, such as `ttft_p50_ms`.

`benchmark`, `replay`, `run` and `load` read the server's page of metrics before
the requests of a pass, once a second (`run`: four times) and after them: by
default `/metrics` beside the endpoint, if it answers; `--metrics-url URL` names
another one, `--metrics-url off` leaves it alone. Its counters are those of all
clients of the server: where the hit rate by counters differs from that of
`usage`, others may have used it, too.
";

fn metrics() -> String {
    let mut text = METRICS.to_string();
    text += "\n## Terms\n";
    for term in terms() {
        let _ = write!(text, "\n### {}\n\n", term.name);
        paragraph(&mut text, &term.definition);
    }
    text += "\n## Figures\n";
    for figure in FIGURES.iter() {
        let Definition {
            key, label, unit, ..
        } = figure;
        let _ = write!(text, "\n### {key}\n\n{label}, {unit}.\n");
        paragraph(&mut text, &figure.definition);
        text += "\n";
        for (name, value) in figure.facts() {
            paragraph(&mut text, &format!("- {name}: {value}"));
        }
    }
    text
}

const OPTIONS: &str = "\
# Options

This page is made of the table that parses the options; `tmesh-cli COMMAND -h`
prints the part of one command. Square brackets hold the default. An option is
given as `--name VALUE` or `--name=VALUE`.

Durations are `250us`, `10ms`, `2s`, `5m`, `1h`, or seconds without a unit.
Counts are `100`, `32k`, `2M` or `2_000_000`.
";

fn options() -> String {
    let mut text = OPTIONS.to_string();
    for command in &COMMANDS {
        let Usage { name, about, .. } = command.usage;
        let _ = write!(text, "\n## {name}\n\n{about}.\n");
        let table = help::options(command);
        if !table.is_empty() {
            let _ = write!(text, "\n```text\n{}```\n", table.trim_start_matches('\n'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden;

    #[test]
    fn pages_that_are_made_stand_in_the_repository_as_they_are_printed() {
        for topic in &TOPICS {
            if let Text::Made(make) = topic.text {
                golden::hold(
                    &format!("src/help/{}.md", topic.name),
                    &make(),
                    "UPDATE_DOCS",
                );
            }
        }
    }

    #[test]
    fn topics_fit_a_terminal_and_all_together_the_binary() {
        assert!(overview().lines().all(|line| line.chars().count() <= 80));
        let mut bytes = 0;
        for topic in &TOPICS {
            let text = topic.text();
            if let Text::Written(text) = topic.text {
                bytes += text.len();
            }
            let heading = text.lines().next().expect("a line");
            assert!(heading.starts_with("# "), "{}: {heading}", topic.name);
            assert!(
                text.ends_with('\n') && !text.ends_with("\n\n"),
                "{}",
                topic.name
            );
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", topic.name);
                assert_eq!(line.trim_end(), line, "{}", topic.name);
            }
        }
        assert!(bytes <= 88 * 1024, "{bytes} bytes of help");
    }
}
