//! The end of a server's log, made safe for a terminal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::units::steers;

/// Bytes read at the end of the file to find the last lines.
const TAIL_BYTES: u64 = 64 * 1024;
const LAST_LINE_BYTES: u64 = 4 * 1024;
/// Longest line that is shown.
const MAX_CHARS: usize = 400;

/// Returns the last lines, at most `lines`; none if the file cannot be read.
pub fn tail(log: &Path, lines: usize) -> Vec<String> {
    let text = read_end(log, TAIL_BYTES).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let first = all.len().saturating_sub(lines);
    all[first..].iter().map(|line| shown(line)).collect()
}

/// Returns the last line that is not blank; empty if there is none.
pub fn last_line(log: &Path) -> String {
    let text = read_end(log, LAST_LINE_BYTES).unwrap_or_default();
    let lines = text.lines().rev().map(shown);
    let mut written = lines.filter(|line| !line.trim().is_empty());
    written.next().unwrap_or_default()
}

fn read_end(log: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// Returns what a terminal would show at the end: the last state of a progress bar, without colours and control codes.
fn shown(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next();
    let mut text = String::new();
    let mut chars = last.unwrap_or_default().chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' && chars.next_if_eq(&'[').is_some() {
            // The code of a colour ends with a letter.
            let _ = chars.find(|c| ('@'..='~').contains(c));
        } else {
            text.push(if steers(c) { ' ' } else { c });
        }
    }
    match text.char_indices().nth(MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn a_line_is_what_a_terminal_would_be_left_with() {
        for (line, wanted) in [
            ("plain", "plain"),
            ("  0%|\r 50%|\r100%| done\r", "100%| done"),
            (
                "\x1b[90mHint:\x1b[0m a\tnew \x07version",
                "Hint: a new  version",
            ),
            ("cut \x1b[3", "cut "),
        ] {
            assert_eq!(shown(line), wanted, "{line:?}");
        }
        let long = shown(&"é".repeat(500));
        assert_eq!(long, format!("{}…", "é".repeat(400)));
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let folder = Folder::new();
        let log = folder.path("server.log");
        assert_eq!(last_line(&log), "", "no file");
        assert_eq!(tail(&log, 20), [""; 0], "no file");
        // Of 200,000 bytes only the end is read.
        let text = format!("{}first\n\nsecond\n \n", "x".repeat(99).repeat(2_020));
        fs::write(&log, text).expect("a file");
        assert_eq!(last_line(&log), "second");
        assert_eq!(tail(&log, 3), ["", "second", " "]);
        assert_eq!(tail(&log, 20).len(), 4);
    }
}
