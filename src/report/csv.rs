//! A document as CSV: section after section, each with its title, its tables and its pairs.

use std::borrow::Cow;

use super::document::{Cell, Document, Table};
use super::page::{self, PageBlock};

/// Writes the whole document. A blank line separates the parts; an absent figure is an empty field.
pub fn render(document: &Document) -> String {
    let parts = page::sections(document).map(|(title, blocks)| {
        let blocks: Vec<String> = blocks.iter().map(block).collect();
        match title {
            "" => blocks.join("\n"),
            title => line(&[title.into()]) + &blocks.join("\n"),
        }
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn block(block: &PageBlock<'_>) -> String {
    match block {
        PageBlock::Table(of) => table(of),
        PageBlock::List(items) => items.iter().map(|item| quoted(item) + "\n").collect(),
    }
}

fn table(table: &Table) -> String {
    let heads = table.columns.iter();
    let heads: Vec<Cell> = heads.map(|(name, _)| name.as_ref().into()).collect();
    let rows = table.rows.iter().map(|row| match row.len() {
        1 if heads.len() > 1 => format!("\n{}", line(row)),
        _ => line(row),
    });
    line(&heads) + &rows.collect::<String>()
}

fn line(cells: &[Cell]) -> String {
    let fields = cells.iter().map(|cell| match cell {
        Cell::Absent(_) => String::new(),
        cell => quoted(&cell.to_string()).into_owned(),
    });
    fields.collect::<Vec<_>>().join(",") + "\n"
}

/// Quotes a field by RFC 4180, with doubled quotes inside, if it holds a comma, a quote or a line break.
fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_csv_needs_it() {
        for (field, wanted) in [
            ("TTFT (ms)", "TTFT (ms)"),
            ("", ""),
            ("m{a=\"x\",b=\"y\"}", "\"m{a=\"\"x\"\",b=\"\"y\"\"}\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(quoted(field), wanted);
        }
    }
}
