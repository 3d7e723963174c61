//! The common part of the pages (Markdown, HTML, CSV): which parts of a document they show, and in which order.

use std::borrow::Cow;

use super::document::{Block, Document, Medium, Section, Style, Table, row};

/// A block of a page.
pub enum PageBlock<'a> {
    Table(Cow<'a, Table>),
    List(&'a [String]),
}

/// Returns the remarks with the warning first.
pub fn remarks(document: &Document) -> impl Iterator<Item = &str> {
    let remarks = document.remarks.iter().map(String::as_str);
    document.warning.into_iter().chain(remarks)
}

/// Returns the sections that have something for a page, each with its title.
pub fn sections(document: &Document) -> impl Iterator<Item = (&str, Vec<PageBlock<'_>>)> {
    let sections = document.sections.iter();
    let sections = sections.map(|section| (section.title.as_str(), blocks(section)));
    sections.filter(|(_, blocks)| !blocks.is_empty())
}

/// Returns the blocks of the settings of the run; empty if there are none.
pub fn environment(document: &Document) -> Vec<PageBlock<'_>> {
    blocks(&document.environment)
}

/// Returns tables and lists, then all pairs as one table.
fn blocks(section: &Section) -> Vec<PageBlock<'_>> {
    let mut blocks = Vec::new();
    let mut pairs = Vec::new();
    let is_shown = |(on, _): &&(Medium, Block)| *on != Medium::Screen;
    for (_, block) in section.blocks.iter().filter(is_shown) {
        match block {
            Block::Table(table) => blocks.push(PageBlock::Table(Cow::Borrowed(table))),
            Block::List(items) => blocks.push(PageBlock::List(items)),
            Block::Pairs(of) => pairs.extend(of),
            Block::Line(_) | Block::Rule(_) => {}
        }
    }
    if !pairs.is_empty() {
        let rows = pairs.into_iter();
        let rows = rows.map(|pair| row(pair.name.trim_start(), [pair.value.clone()]));
        let table = Table::new(Style::Words, ("Figure", 0), [("Value", 0)], rows);
        blocks.push(PageBlock::Table(Cow::Owned(table)));
    }
    blocks
}
