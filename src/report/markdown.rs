//! A document as Markdown, fit for a pull request.

use std::fmt::Write;

use super::document::{Document, Pair, Style, Table, row};
use super::page::{self, PageBlock};
use crate::units::steers;

/// Writes the whole document.
pub fn render(document: &Document) -> String {
    let mut out = format!("# {}\n", escaped(&document.title));
    if !document.lead.is_empty() {
        let lead: Vec<String> = document.lead.iter().map(Pair::to_string).collect();
        let _ = writeln!(out, "\n{}", escaped(&lead.join(" · ")));
    }
    if let Some(answer) = &document.answer {
        let _ = writeln!(out, "\n**{}**", escaped(&answer.sentence));
        for advice in &answer.next.advice {
            let _ = writeln!(out, "\n{}", escaped(advice));
        }
        if let Some(command) = &answer.next.command {
            let _ = writeln!(out, "\nNext: {}", code(command));
        }
    }
    if !document.key_figures.is_empty() {
        out.push('\n');
        table(&mut out, &key_figures(&document.key_figures));
    }
    for remark in page::remarks(document) {
        let _ = writeln!(out, "\n> {}", escaped(remark));
    }
    for (title, blocks) in page::sections(document) {
        let _ = writeln!(out, "\n## {}", escaped(title));
        write(&mut out, blocks);
    }
    let environment = page::environment(document);
    if !environment.is_empty() {
        out.push_str("\n<details>\n<summary>Environment</summary>\n");
        write(&mut out, environment);
        out.push_str("\n</details>\n");
    }
    out
}

fn key_figures(pairs: &[Pair]) -> Table {
    let rows = pairs.iter();
    let rows = rows.map(|pair| row(pair.name.as_str(), [pair.value.clone()]));
    Table::new(Style::Words, ("Key figure", 0), [("Value", 0)], rows)
}

/// Writes blocks, each after a blank line.
fn write(out: &mut String, blocks: Vec<PageBlock<'_>>) {
    for block in blocks {
        out.push('\n');
        match block {
            PageBlock::Table(of) => table(out, &of),
            PageBlock::List(items) => {
                out.extend(items.iter().map(|item| format!("- {}\n", escaped(item))));
            }
        }
    }
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

/// Writes text as code on one line, between more backticks than the text has in a row.
fn code(text: &str) -> String {
    let text = text.replace(steers, " ");
    let runs = text.split(|c| c != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or(0) + 1);
    // A blank is taken off at each end; with backticks at an end the code would not end where it should.
    match fence.len() {
        1 => format!("`{text}`"),
        _ => format!("{fence} {text} {fence}"),
    }
}

/// Escapes text: it becomes one line, with nothing that Markdown or HTML would take for markup.
pub fn escaped(text: &str) -> String {
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

    #[test]
    fn code_ends_where_the_text_ends() {
        for (text, wanted) in [
            ("load 'a b'", "`load 'a b'`"),
            ("a`b``c", "``` a`b``c ```"),
            ("`\n", "`` `  ``"),
        ] {
            assert_eq!(code(text), wanted);
        }
    }
}
