//! The error that stops the program: its wording and its exit code.
//!
//! A failed request is not an `Error`: it is a measurement (`sample::FailKind`).

use std::fmt;

use crate::units::steers;

/// Longest line of an error. Longer lines are shortened: files and servers can put anything into an error.
const MOST_CHARS: usize = 1000;

pub type Result<T> = std::result::Result<T, Error>;

/// Why the program stops; its `Display` is everything that the user sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    exit_code: u8,
    message: String,
    next: Vec<String>,
}

impl Error {
    /// Nothing was measured (exit code 2): a bad option, a bad file, an endpoint out of reach.
    ///
    /// `what` names the thing as the user typed it, `why` says what is wrong with it.
    pub fn input(what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::text(2, &format!("{what}: {why}"))
    }

    /// The run ended, but something that the user asked for was missed (exit code 1).
    pub fn missed(what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::text(1, &format!("{what}: {why}"))
    }

    /// A message whose wording a guide fixes (exit code 2).
    pub fn fixed(message: impl Into<String>) -> Error {
        Error::text(2, &message.into())
    }

    fn text(exit_code: u8, message: &str) -> Error {
        Error {
            exit_code,
            message: plain(message),
            next: Vec::new(),
        }
    }

    /// Adds a line that says what to do.
    pub fn next(mut self, line: impl Into<String>) -> Error {
        let line = line.into();
        let lines = line.split('\n').map(plain);
        self.next.push(lines.collect::<Vec<_>>().join("\n"));
        self
    }

    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[ERROR] {}", self.message)?;
        for line in &self.next {
            write!(f, "\n{line}")?;
        }
        Ok(())
    }
}

/// Returns one line of bounded length that is safe to print on a terminal. The middle of a long line is left out, since
/// a line begins with the thing and ends with the reason.
fn plain(text: &str) -> String {
    let clean = text.replace(steers, " ");
    let chars = clean.chars().count();
    if chars <= MOST_CHARS {
        return clean;
    }
    let head = clean.chars().take(MOST_CHARS / 2);
    let tail = clean.chars().skip(chars - MOST_CHARS / 2 + 1);
    head.chain(['…']).chain(tail).collect()
}

/// Levenshtein's distance of two texts, in bytes.
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut above_left = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = above_left + usize::from(x != y);
            above_left = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(above_left + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_what_why_and_the_next_step() {
        let error = Error::input(
            "--rate 10x",
            "not a number; want requests per second, such as 0.5 or 20",
        )
        .next("Try: tmesh-cli load --rate 20");
        assert_eq!(
            error.to_string(),
            "[ERROR] --rate 10x: not a number; want requests per second, such as 0.5 or 20\nTry: tmesh-cli load --rate 20"
        );
        assert_eq!(error.exit_code(), 2);
        assert_eq!(Error::missed("--samples x", "disk full").exit_code(), 1);
    }

    #[test]
    fn text_in_an_error_neither_moves_the_terminal_nor_fills_it() {
        let error = Error::input("--x a\u{1b}[31m\nb", "c\0\u{202e}d").next("e\tf\ng\u{7f}");
        assert_eq!(error.to_string(), "[ERROR] --x a [31m b: c  d\ne f\ng ");
        let long = Error::input(format!("--x {}", "é".repeat(5000)), "no such file").to_string();
        let line = long.strip_prefix("[ERROR] ").expect("an error");
        assert_eq!(line.chars().count(), 1000);
        assert!(
            line.starts_with("--x éé") && line.ends_with("é: no such file"),
            "{line}"
        );
        let fits = Error::input("é".repeat(990), "12345678").to_string();
        assert!(!fits.contains('…'), "{fits}");
    }

    #[test]
    fn a_distance_counts_what_is_put_in_left_out_and_replaced() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }
}
