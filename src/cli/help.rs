//! Help texts, from the flag table; at most 80 columns.

use super::commands::{COMMANDS, Command, Run};
use super::usage::Line;
use crate::mock;

const WIDTH: usize = 80;
/// Column at which the explanations start.
const LEFT: usize = 28;

/// What `--version` prints: version, commit, target.
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

/// The list of commands.
pub fn overview() -> String {
    let mut text = String::from(
        "tmesh-cli: how fast an LLM endpoint is, and what its KV cache does for it\n\n",
    );
    text.push_str("Usage: tmesh-cli COMMAND [OPTIONS]\n\nCommands\n");
    for Command { usage, .. } in &COMMANDS {
        row(&mut text, usage.name, usage.about);
    }
    text.push_str("\ntmesh-cli COMMAND --help shows its options, tmesh-cli --version the version.\n\nExample\n");
    for command in &COMMANDS {
        text += &format!("  {}\n", command.usage.examples[0]);
    }
    text
}

/// The options of a command.
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
    for line in usage.lines() {
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
    text.push_str("\nExamples\n");
    for example in usage.examples {
        text += &format!("  {example}\n");
    }
    text
}

/// The mock's own table.
fn mock_options(text: &mut String) {
    text.push_str("\nOptions (with _ in place of - for --mock NAME=VALUE,…)\n");
    for spec in mock::OPTIONS {
        let left = format!("--{} {}", spec.name.replace('_', "-"), spec.value);
        let default = match spec.default {
            "" => String::new(),
            default => format!(" [{default}]"),
        };
        row(text, &left, &format!("{}{default}", spec.help));
    }
}

/// Two columns; a long left side gets a line of its own, a long right side is wrapped.
fn row(text: &mut String, left: &str, right: &str) {
    let mut line = format!("  {left}");
    if line.chars().count() + 1 > LEFT {
        text.push_str(&line);
        text.push('\n');
        line = String::new();
    }
    let mut column = line.chars().count();
    text.push_str(&line);
    for word in right.split(' ') {
        let width = word.chars().count();
        let is_first = column < LEFT;
        if !is_first && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        let gap = LEFT.saturating_sub(column).max(usize::from(column >= LEFT));
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(word);
        column += gap + width;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let texts = COMMANDS.iter().map(command).chain([overview()]);
        for line in texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn long_explanations_wrap_at_their_column() {
        let mut text = String::new();
        row(&mut text, "--a", "word ".repeat(15).trim_end());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("  --a                       word"),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].starts_with(&format!("{}word", " ".repeat(LEFT))),
            "{}",
            lines[1]
        );
    }
}
