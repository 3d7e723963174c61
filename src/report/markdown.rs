//! The Markdown report, fit for a pull request.

use std::fmt::{self, Write};

use super::saved::Report;
use super::sections::{self, Block};
use super::steers;

/// Writes the whole report.
pub fn report(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "# {}", escaped(&sections::title(report)))?;
    for remark in sections::remarks(report) {
        writeln!(out, "\n> {}", escaped(&remark))?;
    }
    for section in sections::all(report)? {
        writeln!(out, "\n## {}", escaped(&section.title))?;
        for block in section.blocks {
            writeln!(out)?;
            match block {
                Block::Table {
                    head,
                    rows,
                    has_numbers,
                } => {
                    line(out, &head)?;
                    let rule = if has_numbers { "---:" } else { "---" };
                    writeln!(
                        out,
                        "| --- |{}",
                        format!(" {rule} |").repeat(head.len() - 1)
                    )?;
                    rows.iter().try_for_each(|row| line(out, row))?;
                }
                Block::List(items) => {
                    for item in items {
                        writeln!(out, "- {}", escaped(&item))?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn line(out: &mut String, cells: &[String]) -> fmt::Result {
    write!(out, "|")?;
    for cell in cells {
        write!(out, " {} |", escaped(cell))?;
    }
    writeln!(out)
}

/// On one line, with nothing that Markdown or HTML would take for markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' => out.extend(['\\', c]),
            c if steers(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_is_markup() {
        for (text, wanted) in [
            ("<script>&", "&lt;script&gt;&amp;"),
            ("a|b\nc\u{202e}d", "a\\|b c d"),
            ("[x](y) `z` *", "\\[x\\](y) \\`z\\` \\*"),
        ] {
            assert_eq!(escaped(text), wanted);
        }
    }
}
