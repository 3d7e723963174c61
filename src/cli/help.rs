//! Help texts, from the flag table; at most 80 columns.

use super::commands::{COMMANDS, Command, Run};
use super::flow::row;
use super::usage::{Line, Usage};
use crate::mock;

/// Returns the text of `--version`: version, commit, target.
pub fn version() -> String {
    let commit = option_env!("TMESH_COMMIT")
        .filter(|commit| !commit.is_empty())
        .unwrap_or("unknown");
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!(
        "tmesh-cli {} (commit {commit}, {arch}-{os}-{libc})\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Returns help on the two-word commands that begin with `first`, such as `check`.
pub fn group(first: &str) -> String {
    let prefix = format!("{first} ");
    let commands = COMMANDS.iter().map(|command| command.usage);
    let commands: Vec<_> = commands
        .filter(|usage| usage.name.starts_with(&prefix))
        .collect();
    let mut text = format!("Usage: tmesh-cli {first} SUBCOMMAND [OPTIONS]\n\nSubcommands\n");
    for usage in &commands {
        row(&mut text, usage.name, usage.about);
    }
    text += &format!("\ntmesh-cli {first} SUBCOMMAND --help shows its options.\n");
    examples(&mut text, commands.iter().map(|usage| usage.examples[0]));
    let sends = commands.iter().any(|usage| connects(usage));
    ending(&mut text, sends);
    text
}

/// Returns the page of a command: what it does, its options, examples, exit codes and environment variables.
pub fn command(command: &Command) -> String {
    let usage = command.usage;
    let operand = match usage.operand {
        "" => String::new(),
        operand => format!(" {operand}"),
    };
    let mut text = format!(
        "{}\n\nUsage: tmesh-cli {}{operand} [OPTIONS]\n",
        usage.about, usage.name
    );
    text += &options(command);
    examples(&mut text, usage.examples.iter().copied());
    ending(&mut text, connects(usage));
    text
}

/// Returns the options of a command under their headings, each after an empty line.
pub fn options(command: &Command) -> String {
    let mut text = String::new();
    for line in command.usage.lines() {
        match line {
            Line::Heading(title) => text += &format!("\n{title}\n"),
            Line::Flag(flag) => {
                let comma = if flag.short.is_empty() { "" } else { ", " };
                let left = format!("{}{comma}{} {}", flag.short, flag.name, flag.value);
                row(&mut text, left.trim_end(), flag.help);
            }
        }
    }
    if let Run::Mock(_) = command.run {
        mock_options(&mut text);
    }
    text
}

/// Writes examples under their heading.
pub fn examples(text: &mut String, examples: impl Iterator<Item = &'static str>) {
    text.push_str("\nExamples\n");
    text.extend(examples.map(|example| format!("  {example}\n")));
}

/// Returns whether a command sends requests with a key.
fn connects(usage: &Usage) -> bool {
    usage.flags().any(|flag| flag.name == "--api-key")
}

/// Writes exit codes and environment variables, which end every page.
pub fn ending(text: &mut String, connects: bool) {
    let codes: &[(&str, &str)] = match connects {
        true => &[
            ("0", "done; also an endless benchmark that a signal ended"),
            (
                "1",
                "a limit was missed, an output is incomplete, a check failed, or no request succeeded",
            ),
            (
                "2",
                "nothing was measured: a wrong option or file, or a server that cannot be reached",
            ),
            ("3", "it ran and cannot tell: probe, compare or find-rate"),
            ("130", "a signal ended the run early, after its report"),
        ],
        false => &[
            ("0", "done"),
            ("1", "a check failed, or an output could not be written"),
            ("2", "a wrong option, file or address"),
        ],
    };
    text.push_str("\nExit codes\n");
    for (code, meaning) in codes {
        row(text, code, meaning);
    }
    text.push_str("\nEnvironment\n");
    if connects {
        row(
            text,
            "TMESH_API_KEY",
            "the API key, where no option gives one",
        );
        row(
            text,
            "OPENAI_API_KEY",
            "the same, only for https and for servers on this machine",
        );
        row(
            text,
            "ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
            "read only with --proxy env",
        );
    }
    row(
        text,
        "LC_ALL, LC_CTYPE, LANG",
        "character set of the tables on a terminal",
    );
    row(text, "PAGER", "shows help topics on a terminal");
}

/// Writes the mock's own table.
fn mock_options(text: &mut String) {
    text.push_str("\nOptions (with _ instead of - for --mock NAME=VALUE,…)\n");
    for spec in mock::OPTIONS {
        let left = format!("--{} {}", spec.name.replace('_', "-"), spec.value);
        let default = match spec.default {
            "" => String::new(),
            default => format!(" [{default}]"),
        };
        row(text, &left, &format!("{}{default}", spec.help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let texts = COMMANDS.iter().map(command);
        let texts = texts.chain([group("check"), group("convert")]);
        for line in texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
