//! The terminal: results written to stdout, and how wide a line may be.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use crate::backend;
use crate::error::{Error, Result};
use crate::report::text::Screen;

/// Writes to stdout at once. When nobody reads it any more the program ends with 0, as `| head` wants it.
pub fn print(text: &str) -> Result<()> {
    if !is_read(std::io::stdout().lock(), text)? {
        backend::kill_all();
        std::process::exit(0)
    }
    Ok(())
}

/// Writes to stdout at once, where the exit code is still to be decided: a reader that is gone does not change it.
pub fn print_last(text: &str) -> Result<()> {
    is_read(std::io::stdout().lock(), text).map(|_| ())
}

/// Writes at once; whether somebody reads it.
fn is_read(mut out: impl Write, text: &str) -> Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::missed("stdout", e)),
        Ok(()) => Ok(true),
    }
}

/// The columns of a terminal, 80 where it does not say; `None`: the stream is not a terminal.
pub fn terminal_width(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

/// What a table on stdout goes to.
pub fn stdout_screen() -> Screen {
    Screen {
        width: terminal_width(std::io::stdout()),
        is_utf8: is_utf8(|name| std::env::var(name).ok()),
    }
}

/// Whether the locale is one of UTF-8: the first variable that is set and not empty decides.
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
    fn nobody_reading_is_told_from_a_text_that_cannot_be_written() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
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
