//! Wraps words into lines of at most 80 columns: paragraphs, and rows of a name and its explanation.

use std::fmt::Write;

use crate::report::text::wrap;

const WIDTH: usize = 80;
/// Column at which the explanations start.
const LEFT: usize = 28;

/// Writes two columns; a long left side gets a line of its own, and a long right side is wrapped.
pub fn row(text: &mut String, left: &str, right: &str) {
    let mut name = format!("  {left}");
    if name.chars().count() >= LEFT {
        text.extend([name.as_str(), "\n"]);
        name.clear();
    }
    hang(text, &name, LEFT, right);
}

/// Writes a paragraph of at most 80 columns; continuation lines of a list item are indented to its text.
pub fn paragraph(text: &mut String, words: &str) {
    match words.strip_prefix("- ") {
        Some(item) => hang(text, "-", 2, item),
        None => hang(text, "", 0, words),
    }
}

/// Writes words in lines that are indented to the column `left`; `beside` stands in front of the first line.
fn hang(text: &mut String, beside: &str, left: usize, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let mut lines = String::new();
    wrap(&mut lines, &words, " ", WIDTH - left);
    for (at, line) in lines.lines().enumerate() {
        let beside = if at == 0 { beside } else { "" };
        let _ = writeln!(text, "{beside:<left$}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
