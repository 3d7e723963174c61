//! The terminal: results written to stdout, and how wide a line may be.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::backend;
use crate::error::{Error, Result};
use crate::file::goes_to_stdout;
use crate::report::text::Screen;
use crate::tty::{columns, fitting};

/// Whether stdout belongs to a result file (`--output -`), and to nothing else.
static IS_STDOUT_GIVEN: AtomicBool = AtomicBool::new(false);

/// Leaves stdout to a result file for the rest of the process: nothing is printed there any more.
pub fn give_stdout_away() {
    IS_STDOUT_GIVEN.store(true, Relaxed);
}

/// Writes to stdout at once. If its reader is gone, the program ends with 0, as `| head` expects.
pub fn print(text: &str) -> Result<()> {
    match is_printed(text)? {
        true => Ok(()),
        false => end_unread(),
    }
}

/// Ends the program with 0, since nobody reads its results any more.
fn end_unread() -> ! {
    backend::kill_all();
    std::process::exit(0)
}

/// Returns whether writing to a path failed because it is stdout, which nobody reads any more. That is no lost output.
pub fn is_unread(path: &Path, error: &io::Error) -> bool {
    goes_to_stdout(path) && error.kind() == io::ErrorKind::BrokenPipe
}

/// Passes on what writing to a path returned; if nobody reads stdout any more, the program ends as `print` ends it.
pub fn unless_unread<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if is_unread(path, &error) => end_unread(),
        result => result,
    }
}

/// Shows a long text in the user's pager, if stdout is a terminal and PAGER is set; otherwise writes it.
pub fn page(text: &str) -> Result<()> {
    let pager = std::env::var("PAGER").ok();
    let pager = pager.filter(|pager| !pager.is_empty() && io::stdout().is_terminal());
    if let Some(pager) = pager {
        let words = Command::new("sh")
            .args(["-c", &pager])
            .stdin(Stdio::piped())
            .spawn();
        if let Ok(mut shown) = words {
            if let Some(mut to) = shown.stdin.take() {
                // A reader who quits early has read enough.
                let _ = to.write_all(fitting(text, columns(io::stdout())).as_bytes());
            }
            // The shell's codes for a command that it cannot run.
            let code = shown.wait().ok().and_then(|status| status.code());
            if !matches!(code, Some(126 | 127)) {
                return Ok(());
            }
        }
    }
    print(text)
}

/// Writes to stdout at once, like `print`; but if its reader is gone, the caller still decides the exit code.
pub fn print_last(text: &str) -> Result<()> {
    is_printed(text).map(|_| ())
}

/// Writes to stdout at once, with lines that fit a terminal; whether somebody reads it.
pub fn is_printed(text: &str) -> Result<bool> {
    match IS_STDOUT_GIVEN.load(Relaxed) {
        true => Ok(true),
        false => {
            let width = columns(io::stdout());
            is_read(io::stdout().lock(), &fitting(text, width))
        }
    }
}

/// Writes at once; returns whether the reader is still there.
fn is_read(mut out: impl Write, text: &str) -> Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::missed("stdout", e)),
        Ok(()) => Ok(true),
    }
}

/// Returns the width and character set for a table on stdout.
pub fn stdout_screen() -> Screen {
    Screen {
        width: columns(io::stdout()),
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
        let (reader, writer) = io::pipe().expect("a pipe");
        assert_eq!(is_read(&writer, "text"), Ok(true));
        drop(reader);
        assert_eq!(is_read(&writer, "text"), Ok(false));
        let full = std::fs::File::options().write(true).open("/dev/full");
        let error = is_read(full.expect("a device"), "text").expect_err("no space");
        assert!(error.to_string().starts_with("[ERROR] stdout: "), "{error}");
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
