//! Wraps words into lines of at most 80 columns: paragraphs, and rows of a name and its explanation.

const WIDTH: usize = 80;
/// Column at which the explanations start.
const LEFT: usize = 28;

/// Writes two columns; a long left side gets a line of its own, and a long right side is wrapped.
pub fn row(text: &mut String, left: &str, right: &str) {
    let line = format!("  {left}");
    let column = line.chars().count();
    text.push_str(&line);
    if column + 1 > LEFT {
        text.push('\n');
        flow(text, 0, LEFT, right);
    } else {
        flow(text, column, LEFT, right);
    }
}

/// Writes a paragraph of at most 80 columns; continuation lines of a list item are indented to its text.
pub fn paragraph(text: &mut String, words: &str) {
    match words.strip_prefix("- ") {
        Some(item) => {
            text.push('-');
            flow(text, 1, 2, item);
        }
        None => flow(text, 0, 0, words),
    }
}

/// Writes words from `column` on, with all lines indented to the column `left`, and ends the line.
fn flow(text: &mut String, mut column: usize, left: usize, words: &str) {
    let mut is_first = true;
    for word in words.split(' ') {
        let width = word.chars().count();
        if !is_first && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
            is_first = true;
        }
        let gap = match is_first {
            true => left.saturating_sub(column),
            false => 1,
        };
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(word);
        column += gap + width;
        is_first = false;
    }
    text.push('\n');
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
