//! What stops the program: its wording and its exit code.
//!
//! A failed request is not an `Error`: it is a measurement (`sample::FailKind`).

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// Why the program stops; its `Display` is everything the user gets to read.
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
        Error::text(2, format!("{what}: {why}"))
    }

    /// It ran, but something the user asked for was missed (exit code 1).
    pub fn missed(what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::text(1, format!("{what}: {why}"))
    }

    /// A message whose wording is fixed from outside (exit code 2).
    pub fn fixed(message: impl Into<String>) -> Error {
        Error::text(2, message.into())
    }

    fn text(exit_code: u8, message: String) -> Error {
        Error {
            exit_code,
            message,
            next: Vec::new(),
        }
    }

    /// Adds a line that says what to do.
    pub fn next(mut self, line: impl Into<String>) -> Error {
        self.next.push(line.into());
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

/// How far a name is from what was typed: Levenshtein's distance in bytes.
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
    fn a_distance_counts_what_is_put_in_left_out_and_replaced() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }
}
