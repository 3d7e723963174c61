//! Terminals: their width, lines that fit it, and what stderr shows beside warnings and errors: notes, and the status
//! line of work that takes long. `--quiet` turns both off.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::units::steers;

/// Without a terminal the line is printed this often, so that a log does not look as if the program hung.
const TOLD_EVERY: Duration = Duration::from_secs(30);

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Turns notes and status lines off for the rest of the process.
pub fn be_quiet() {
    IS_QUIET.store(true, Relaxed);
}

pub fn is_quiet() -> bool {
    IS_QUIET.load(Relaxed)
}

/// The columns of a terminal, 80 where it does not say; `None`: the stream is not a terminal.
pub fn columns(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

/// Writes lines to stderr; a line that cannot be written is no loss.
pub fn say(lines: &str) {
    // They may repeat what a server or a file says.
    let clean = lines.replace(|c| steers(c) && c != '\n', " ");
    let text = format!("{}\n", fitting(&clean, columns(io::stderr())));
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A text for a screen: on a terminal its lines are broken between words.
pub fn fitting(text: &str, width: Option<usize>) -> Cow<'_, str> {
    let is_longer = |width: &usize| text.lines().any(|line| line.chars().count() > *width);
    match width.map(|width| width.max(20)).filter(is_longer) {
        Some(width) => folded(text, width).into(),
        None => text.into(),
    }
}

/// Breaks lines of more than `width` columns between words. What follows keeps the indentation, up to half the width. A
/// command is broken before its options, with the backslash that lets it be copied whole.
fn folded(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        fold(&mut out, line, width);
        out.push_str(end);
    }
    out
}

fn fold(out: &mut String, line: &str, width: usize) {
    if line.chars().count() <= width {
        out.push_str(line);
        return;
    }
    let blanks = line.chars().take_while(|c| *c == ' ').count();
    let indent = " ".repeat(blanks.min(width / 2));
    let command = line.find("tmesh-cli ");
    let (mut column, mut read, mut is_first) = (0, 0, true);
    for word in line.split_inclusive(' ') {
        let is_command = command.is_some_and(|at| at < read);
        // An option keeps its values.
        let rest = &line[read..];
        let unit = match is_command {
            true => rest.find(" -").map_or(rest, |end| &rest[..end]),
            false => word.trim_end(),
        };
        let length = unit.chars().count();
        let room = width - if is_command { 2 } else { 0 };
        let may_break = !is_command || word.starts_with('-');
        if !is_first && may_break && length > 0 && column + length > room {
            out.truncate(out.trim_end_matches(' ').len());
            out.push_str(if is_command { " \\\n  " } else { "\n" });
            out.push_str(&indent);
            column = indent.len() + if is_command { 2 } else { 0 };
        }
        out.push_str(word);
        column += word.chars().count();
        read += word.len();
        is_first = is_first && length == 0;
    }
}

/// A line on stderr that tells how far the work is. On a terminal it is written over itself; elsewhere it is a plain
/// line every 30 seconds.
pub struct StatusLine {
    /// Columns of the line that stands on the terminal.
    shown: usize,
    /// When the last plain line was due.
    told: Instant,
}

impl StatusLine {
    /// A line that shows nothing yet.
    pub fn new() -> StatusLine {
        StatusLine {
            shown: 0,
            told: Instant::now(),
        }
    }

    /// Shows how far the work is; a line that cannot be written is no loss.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if is_quiet() {
            return;
        }
        match columns(io::stderr()) {
            Some(width) => {
                let text = self.over(&line(), width);
                let _ = io::stderr().write_all(text.as_bytes());
            }
            None if self.told.elapsed() >= TOLD_EVERY => {
                self.told += TOLD_EVERY;
                eprintln!("{}", line());
            }
            None => {}
        }
    }

    /// Takes the line away from a terminal.
    pub fn clear(&mut self) {
        if self.shown > 0
            && let Some(width) = columns(io::stderr())
        {
            let text = self.over("", width);
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Returns the text that writes `line` over the shown one, cut to fit: a line that wraps could not be written over.
    /// If the terminal has become narrower, the old line stands on several rows, and all of them are cleared.
    fn over(&mut self, line: &str, width: usize) -> String {
        let width = width.max(2);
        let rows_above = self.shown.saturating_sub(1) / width;
        let up = match rows_above {
            0 => String::new(),
            rows => format!("\x1b[{rows}A"),
        };
        let line: String = line.chars().take(width - 1).collect();
        self.shown = line.chars().count();
        format!("\r{up}{line}\x1b[J")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_between_words_and_keep_their_indentation() {
        for (text, wanted) in [
            ("short\n", "short\n"),
            (
                "  --an-option  a longer text here",
                "  --an-option  a\n  longer text here",
            ),
            (
                "an-unbreakable-word-of-31-letters",
                "an-unbreakable-word-of-31-letters",
            ),
            (
                "Try: tmesh-cli load --rate 2 --requests 9\n",
                "Try: tmesh-cli load \\\n  --rate 2 \\\n  --requests 9\n",
            ),
            // `tmesh-cli load -x` fits, with its value it does not.
            (
                "tmesh-cli load -x 12345 -y\n",
                "tmesh-cli load \\\n  -x 12345 -y\n",
            ),
        ] {
            assert_eq!(fitting(text, Some(20)), wanted);
            assert_eq!(fitting(text, None), text);
        }
    }

    #[test]
    fn a_line_is_cut_to_the_terminal_and_covers_the_rows_of_the_one_before() {
        let mut line = StatusLine::new();
        assert_eq!(line.over("0123456789", 80), "\r0123456789\x1b[J");
        // Ten columns on a terminal of four stand on three rows.
        assert_eq!(line.over("abcdef", 4), "\r\x1b[2Aabc\x1b[J");
        assert_eq!(line.over("", 4), "\r\x1b[J");
        assert_eq!(line.shown, 0);
    }
}
