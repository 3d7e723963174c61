//! A document on a screen: its sections, bars of its distributions, its remarks.

use super::bars;
use super::document::{Answer, Block, Document, Medium, Section, Style, Table};
pub use super::grid::wrap;
use super::grid::{self, NARROW};
use crate::units::steers;

/// The width of rules and lines of pairs where the guide's box is drawn; elsewhere it is `NARROW`.
const WIDE: usize = 120;

/// The smallest width of lines; a narrower screen wraps them.
const LEAST: usize = 40;

/// The place where a text is shown.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// The width of a terminal in columns; `None` if the text goes elsewhere.
    pub width: Option<usize>,
    pub is_utf8: bool,
}

impl Screen {
    /// A file, or a pipe whose reader wants the same text as in a file.
    pub const FILE: Screen = Screen {
        width: None,
        is_utf8: true,
    };
}

/// Writes the whole document. Without sections the blank line before the ending is left out, since sections were shown
/// before.
pub fn render(document: &Document, screen: Screen) -> String {
    let sections = document.sections.iter();
    let mut out: String = sections.map(|one| section(one, screen)).collect();
    out.extend(document.warning);
    let ending = ending(document, screen) + &answer(document.answer.as_ref());
    match out.trim_end() {
        "" => ending.trim_start().to_string(),
        sections => format!("{sections}\n{ending}"),
    }
}

/// Writes the answer of a report, which stands below everything else; it begins with a blank line.
pub fn answer(answer: Option<&Answer>) -> String {
    let Some(Answer { sentence, next, .. }) = answer else {
        return String::new();
    };
    let lines = std::iter::once(sentence).chain(&next.advice).cloned();
    let command = next
        .command
        .iter()
        .map(|command| format!("Next: {command}"));
    let lines: Vec<String> = lines.chain(command).collect();
    harmless(&format!("\n{}\n", lines.join("\n")))
}

/// Writes one section as the whole document has it, so that it can be shown before the rest is known.
pub fn section(section: &Section, screen: Screen) -> String {
    let blocks = section.blocks.iter();
    let blocks = blocks.filter(|(on, _)| *on != Medium::Page);
    let is_drawn = |block: &Block| matches!(block, Block::Table(table) if is_boxed(table, screen));
    let most = screen.width.unwrap_or(WIDE).max(LEAST);
    let width = match blocks.clone().any(|(_, block)| is_drawn(block)) {
        true => WIDE.min(most),
        false => NARROW.min(most),
    };
    let mut out = String::new();
    for (_, block) in blocks {
        match block {
            Block::Pairs(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
                wrap(&mut out, &pairs, " | ", width);
            }
            Block::Table(table) if is_boxed(table, screen) => grid::boxed(&mut out, table),
            Block::Table(table) if table.style == Style::Boxed => {
                grid::narrow(&mut out, table, width);
            }
            Block::Table(table) => grid::plain(&mut out, table, most),
            Block::List(items) => out.extend(items.iter().map(|item| format!("  {item}\n"))),
            Block::Line(text) => out.extend([text, "\n"]),
            Block::Rule(of) => out.extend([of.to_string().repeat(width).as_str(), "\n"]),
        }
    }
    printable(&out, screen)
}

/// Writes the parts that follow the sections, each after a blank line.
pub fn ending(document: &Document, screen: Screen) -> String {
    let width = screen
        .width
        .map_or(NARROW, |width| width.clamp(LEAST, NARROW));
    let mut out = bars::render(&document.charts, screen.is_utf8, width);
    if !document.remarks.is_empty() {
        out.push('\n');
    }
    let remarks = document.remarks.iter();
    out.extend(remarks.map(|remark| format!("Note: {remark}\n")));
    printable(&out, screen)
}

/// Returns a text that a screen can show: without characters that steer it, and on a terminal that knows ASCII only
/// with a word for the sign of a difference.
fn printable(text: &str, screen: Screen) -> String {
    let text = harmless(text);
    match screen.width.is_some() && !screen.is_utf8 {
        true => text.replace('Δ', "delta"),
        false => text,
    }
}

fn is_boxed(table: &Table, screen: Screen) -> bool {
    let fits = |width| width >= grid::boxed_width(table);
    table.style == Style::Boxed && screen.width.is_none_or(fits)
}

/// Replaces characters that would steer a terminal.
pub(super) fn harmless(text: &str) -> String {
    text.replace(|c: char| steers(c) && c != '\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_utf_8_gets_a_word_for_the_sign_of_a_difference() {
        for (width, is_utf8, wanted) in [
            (Some(80), false, "0.0 % (delta hits / delta queries)"),
            (Some(80), true, "0.0 % (Δ hits / Δ queries)"),
            // A file is read elsewhere.
            (None, false, "0.0 % (Δ hits / Δ queries)"),
        ] {
            let screen = Screen { width, is_utf8 };
            assert_eq!(printable("0.0 % (Δ hits / Δ queries)", screen), wanted);
        }
    }

    #[test]
    fn nothing_in_a_table_steers_the_terminal() {
        let text = "a\u{1b}[31m\r\u{7}\u{9b}2J é ▇ \u{202e}x\n";
        let wanted = "a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}2J é ▇ \u{fffd}x\n";
        assert_eq!(harmless(text), wanted);
    }
}
