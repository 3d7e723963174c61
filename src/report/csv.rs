//! A document as CSV: title, answer and remarks, then section after section, each with its tables and its pairs.

use std::borrow::Cow;

use super::document::{Cell, Document, Table};
use super::page::{self, PageBlock};
use crate::units::steers;

/// Writes the whole document. A blank line separates the parts; an absent figure is an empty field.
pub fn render(document: &Document) -> String {
    let environment = ("Environment", page::environment(document));
    let environment = Some(environment).filter(|(_, blocks)| !blocks.is_empty());
    let sections = page::sections(document).chain(environment);
    let sections = sections.map(|(title, blocks)| {
        let blocks: Vec<String> = blocks.iter().map(block).collect();
        heading(title) + &blocks.join("\n")
    });
    let parts = std::iter::once(head(document)).chain(sections);
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// Writes what stands above the sections, in one column.
fn head(document: &Document) -> String {
    let mut out = heading(&document.title);
    if let Some(answer) = &document.answer {
        out += &line(&[answer.sentence.as_str().into()]);
    }
    out.extend(page::remarks(document).map(|remark| line(&[remark.into()])));
    out
}

/// Writes a title on a line of its own, unless it is empty.
fn heading(title: &str) -> String {
    match title {
        "" => String::new(),
        title => line(&[title.into()]),
    }
}

fn block(block: &PageBlock<'_>) -> String {
    match block {
        PageBlock::Table(of) => table(of),
        PageBlock::List(items) => {
            let items = items.iter().map(String::as_str);
            items.map(|item| line(&[item.into()])).collect()
        }
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
        cell => quoted(&cell.to_string().replace(steers, " ")).into_owned(),
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
    use crate::report::document::{Answer, Section, Style};

    #[test]
    fn a_document_is_its_head_then_its_sections() {
        let mut figures = Section::new("Figures, all");
        let rows = [
            vec!["pass 1".into(), Cell::exact(1.5, 2), Cell::NONE],
            vec!["pass 2".into(), Cell::exact(20.0, 2), 3_u64.into()],
        ];
        let columns = [("TTFT", 8), ("n", 4)];
        figures.table(Table::new(Style::Plain, ("Pass", 8), columns, rows));
        figures.pair("Hit Rate", Cell::percent(0.5));
        let mut environment = Section::default();
        environment.pair("model", "a\u{1b}[31m");
        let answer = Answer {
            sentence: "All is well".to_string(),
            next: Default::default(),
            data: Default::default(),
        };
        let document = Document {
            title: "A report".to_string(),
            warning: Some("Not real"),
            answer: Some(answer),
            sections: vec![figures],
            environment,
            ..Document::default()
        };
        let wanted = [
            "A report",
            "All is well",
            "Not real",
            "",
            "\"Figures, all\"",
            "Pass,TTFT,n",
            "pass 1,1.50,",
            "pass 2,20.00,3",
            "",
            "Figure,Value",
            "Hit Rate,50.0 %",
            "",
            "Environment",
            "Figure,Value",
            "model,a [31m",
            "",
        ];
        assert_eq!(render(&document), wanted.join("\n"));
    }

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
