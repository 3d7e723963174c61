//! The terminal: results written to stdout, and how wide a line may be.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use crate::backend;
use crate::error::{Error, Result};
use crate::report::text::Screen;

/// Writes to stdout at once. If its reader is gone, the program ends with 0, as `| head` expects.
pub fn print(text: &str) -> Result<()> {
    if !is_read(std::io::stdout().lock(), text)? {
        backend::kill_all();
        std::process::exit(0)
    }
    Ok(())
}

/// Writes a text of 80 columns to stdout, with its lines broken between words where the terminal is narrower.
pub fn show(text: &str) -> Result<()> {
    print(&on_screen(text))
}

/// Shows a long text in the user's pager if stdout is a terminal and PAGER is set; otherwise like `show`.
pub fn page(text: &str) -> Result<()> {
    let pager = std::env::var("PAGER").ok();
    let pager = pager.filter(|pager| !pager.is_empty() && std::io::stdout().is_terminal());
    if let Some(pager) = pager {
        let words = Command::new("sh")
            .args(["-c", &pager])
            .stdin(Stdio::piped())
            .spawn();
        if let Ok(mut shown) = words {
            if let Some(mut to) = shown.stdin.take() {
                // A reader who quits early has read enough.
                let _ = to.write_all(on_screen(text).as_bytes());
            }
            // The shell's codes for a command that it cannot run.
            let code = shown.wait().ok().and_then(|status| status.code());
            if !matches!(code, Some(126 | 127)) {
                return Ok(());
            }
        }
    }
    show(text)
}

fn on_screen(text: &str) -> Cow<'_, str> {
    match terminal_width(std::io::stdout()) {
        Some(width) if width < 80 => folded(text, width.max(20)).into(),
        _ => text.into(),
    }
}

/// Breaks lines of more than `width` columns between words; continuation lines keep the indentation, up to half the
/// width.
fn folded(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let blanks = line.chars().take_while(|c| *c == ' ').count();
        let indent = " ".repeat(blanks.min(width / 2));
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > indent.len() && length > 0 && column + length > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(&indent);
                column = indent.len();
            }
            out.push_str(word);
            column += word.chars().count();
        }
        out.push('\n');
    }
    out
}

/// Writes to stdout at once, like `print`; but if its reader is gone, the caller still decides the exit code.
pub fn print_last(text: &str) -> Result<()> {
    is_read(std::io::stdout().lock(), text).map(|_| ())
}

/// Writes at once; returns whether the reader is still there.
fn is_read(mut out: impl Write, text: &str) -> Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::missed("stdout", e)),
        Ok(()) => Ok(true),
    }
}

/// Returns the columns of a terminal, 80 if it does not say; `None`: the stream is not a terminal.
pub fn terminal_width(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

/// Returns the width and character set for a table on stdout.
pub fn stdout_screen() -> Screen {
    Screen {
        width: terminal_width(std::io::stdout()),
        is_utf8: is_utf8(|name| std::env::var(name).ok()),
    }
}

/// Returns whether the locale is UTF-8; the first variable that is set and not empty decides.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut set = names.filter_map(variable).filter(|value| !value.is_empty());
    let locale = set.next().unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_stdout_is_told_from_a_write_error() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        assert_eq!(is_read(&writer, "text"), Ok(true));
        drop(reader);
        assert_eq!(is_read(&writer, "text"), Ok(false));
        let full = std::fs::File::options().write(true).open("/dev/full");
        let error = is_read(full.expect("a device"), "text").expect_err("no space");
        assert!(error.to_string().starts_with("[ERROR] stdout: "), "{error}");
    }

    #[test]
    fn long_lines_break_between_words_and_keep_their_indentation() {
        let text =
            "short\n  --an-option  a longer text here\n\nan-unbreakable-word-of-31-letters\n";
        let wanted =
            "short\n  --an-option  a\n  longer text here\n\nan-unbreakable-word-of-31-letters\n";
        assert_eq!(folded(text, 20), wanted);
    }

    #[test]
    fn the_first_variable_that_is_set_decides_the_locale() {
        for (set, wanted) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false),
            (
                &[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")],
                true,
            ),
            (&[], false),
        ] {
            let variable = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_string())
            };
            assert_eq!(is_utf8(variable), wanted, "{set:?}");
        }
    }
}
