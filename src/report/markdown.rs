//! A document as Markdown, fit for a pull request.

use std::fmt::Write;

use super::document::{Document, Table};
use super::page::{self, PageBlock};
use crate::units::steers;

/// Writes the whole document.
pub fn render(document: &Document) -> String {
    let mut out = format!("# {}\n", escaped(&document.title));
    if let Some(answer) = &document.answer {
        let _ = writeln!(out, "\n**{}**", escaped(&answer.sentence));
        let _ = writeln!(out, "\nNext: `{}`", answer.next);
    }
    for remark in page::remarks(document) {
        let _ = writeln!(out, "\n> {}", escaped(remark));
    }
    for (title, blocks) in page::sections(document) {
        let _ = writeln!(out, "\n## {}", escaped(title));
        for block in blocks {
            out.push('\n');
            match block {
                PageBlock::Table(of) => table(&mut out, &of),
                PageBlock::List(items) => {
                    out.extend(items.iter().map(|item| format!("- {}\n", escaped(item))));
                }
            }
        }
    }
    out
}

fn table(out: &mut String, table: &Table) {
    let columns = &table.columns;
    line(out, columns.iter().map(|(name, _)| name));
    let rule = match table.is_numeric() {
        true => " ---: |",
        false => " --- |",
    };
    let _ = writeln!(out, "| --- |{}", rule.repeat(columns.len() - 1));
    table.rows.iter().for_each(|row| line(out, row));
}

fn line(out: &mut String, cells: impl IntoIterator<Item = impl ToString>) {
    let cells = cells.into_iter();
    let cells = cells.map(|cell| format!(" {} |", escaped(&cell.to_string())));
    let _ = writeln!(out, "|{}", cells.collect::<String>());
}

/// Escapes text: it becomes one line, with nothing that Markdown or HTML would take for markup.
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
