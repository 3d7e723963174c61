//! A report as data: sections of pairs, tables, lists and lines, with charts and the value that JSON prints.
//!
//! Layouts make documents from figures and know no format; the renderers `text`, `markdown`, `html`, `csv` and
//! `json` turn any document into bytes and know no command. A screen and a page (Markdown, HTML, CSV) show the same
//! figures; where they show them differently, a section has a block for each.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::charts::Charts;
use crate::units::fixed;

/// A whole report.
#[derive(Debug, Default)]
pub struct Document {
    pub title: String,
    /// The date, the model and the endpoint of the run: the line below the title of a page.
    pub lead: Vec<Pair>,
    /// The five to eight figures that a reader wants first: above the charts of a page.
    pub key_figures: Vec<Pair>,
    /// A warning about every figure, for example that a mock server gave them. A page shows it as the first remark, a
    /// screen as the last line below the sections.
    pub warning: Option<&'static str>,
    /// Remarks, for example on data that the input does not have: below the key figures of a page, `Note: …` at
    /// the end of a screen.
    pub remarks: Vec<String>,
    pub sections: Vec<Section>,
    /// The settings of the run: the last part of a page, folded.
    pub environment: Section,
    /// Charts, drawn as curves and dots in HTML and as bars on a screen.
    pub charts: Vec<Charts>,
    /// The answer that the figures give; `None`: nobody asked the question.
    pub answer: Option<Answer>,
    pub data: Node,
}

/// The answer of a report: the first lines of a page, the last lines of a screen.
#[derive(Debug, Clone)]
pub struct Answer {
    pub sentence: String,
    pub next: Next,
    pub data: Node,
}

/// The next step of the user.
#[derive(Debug, Clone, Default)]
pub struct Next {
    /// Sentences on what the command cannot say or do by itself.
    pub advice: Vec<String>,
    /// The command to run; it works as typed. `None`: there is none that would tell more.
    pub command: Option<String>,
}

impl Next {
    /// Makes a next step that is a command alone.
    pub fn of(command: impl Into<Option<String>>) -> Next {
        Next {
            advice: Vec::new(),
            command: command.into(),
        }
    }
}

/// A part of a report. A screen shows its blocks in their order and not the title. A page shows the title, then
/// tables and lists, then all pairs as one table; it leaves out a section that has no block for it.
#[derive(Debug, Default)]
pub struct Section {
    pub title: String,
    pub blocks: Vec<(Medium, Block)>,
}

/// Where a block is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Both,
    Screen,
    Page,
}

#[derive(Debug)]
pub enum Block {
    /// One line `name: value | name: value` on a screen, broken between pairs where it is too long.
    Pairs(Vec<Pair>),
    Table(Table),
    /// Bullets on a page, indented lines on a screen.
    List(Vec<String>),
    /// A line of a screen; empty: a blank line. A page never has it.
    Line(String),
    /// A line of this character across a screen. A page never has it.
    Rule(char),
}

impl Section {
    pub fn new(title: impl Into<String>) -> Section {
        Section {
            title: title.into(),
            blocks: Vec::new(),
        }
    }

    pub fn add(&mut self, on: Medium, block: Block) {
        self.blocks.push((on, block));
    }

    /// Adds a name and its value, on a line of their own.
    pub fn pair(&mut self, name: impl Into<String>, value: impl Into<Cell>) {
        self.add(Medium::Both, Block::Pairs(vec![Pair::new(name, value)]));
    }

    /// Adds a pair unless the count is 0.
    pub fn count(&mut self, name: &str, n: u64) {
        if n > 0 {
            self.pair(name, n);
        }
    }

    pub fn table(&mut self, table: Table) {
        self.add(Medium::Both, Block::Table(table));
    }

    /// Adds a table in two forms, one for a screen and one for a page.
    pub fn tables(&mut self, screen: Table, page: Table) {
        self.add(Medium::Screen, Block::Table(screen));
        self.add(Medium::Page, Block::Table(page));
    }

    /// Adds a line that only a screen has.
    pub fn line(&mut self, text: impl Into<String>) {
        self.add(Medium::Screen, Block::Line(text.into()));
    }
}

/// A named figure. Blanks before the name indent it on a screen only.
#[derive(Debug, Clone)]
pub struct Pair {
    pub name: String,
    pub value: Cell,
}

impl Pair {
    pub fn new(name: impl Into<String>, value: impl Into<Cell>) -> Pair {
        let (name, value) = (name.into(), value.into());
        Pair { name, value }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

/// Figures under named columns. The first column holds the names of the rows. A row may be shorter than the others; a
/// row that is only a name is a heading for the rows below it.
#[derive(Debug, Clone)]
pub struct Table {
    pub style: Style,
    /// Names of columns with their widths on a screen. A longer cell widens the box; in other styles it moves the cells
    /// behind it.
    pub columns: Vec<(Cow<'static, str>, usize)>,
    pub rows: Vec<Vec<Cell>>,
}

/// The way a table is drawn. On a screen a left-aligned cell has two blanks before it; the width of a right-aligned one
/// includes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The guide's box, widened for long cells; narrow columns where the screen has no room for the box.
    Boxed,
    /// Right-aligned figures below the names of their columns.
    Plain,
    /// Columns as in `Plain`, on a screen with a rule below the names of the columns.
    Ruled,
    /// Left-aligned words below the names of their columns.
    Words,
    /// A column of right-aligned figures, then words; on a screen without the names of the columns.
    Headless,
}

impl Table {
    /// Makes a table; the first column holds the names of the rows.
    pub fn new<C: Into<Cow<'static, str>>>(
        style: Style,
        (name, width): (&'static str, usize),
        columns: impl IntoIterator<Item = (C, usize)>,
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> Table {
        let columns = columns.into_iter();
        let columns = columns.map(|(name, width)| (name.into(), width));
        Table {
            style,
            columns: std::iter::once((name.into(), width))
                .chain(columns)
                .collect(),
            rows: rows.into_iter().collect(),
        }
    }

    /// Returns the table with another name for its first column.
    pub fn named(mut self, name: &'static str) -> Table {
        self.columns[0].0 = name.into();
        self
    }

    /// Returns the table without the column of this name.
    pub fn without(mut self, name: &str) -> Table {
        if let Some(at) = self.columns.iter().position(|(known, _)| known == name) {
            self.columns.remove(at);
            let rows = self.rows.iter_mut().filter(|row| row.len() > at);
            rows.for_each(|row| drop(row.remove(at)));
        }
        self
    }

    /// Whether all cells except the names of rows are figures.
    pub fn is_numeric(&self) -> bool {
        !matches!(self.style, Style::Words | Style::Headless)
    }

    /// Whether the cells of a column are right-aligned.
    pub fn is_right(&self, at: usize) -> bool {
        at > 0 && (self.is_numeric() || (self.style == Style::Headless && at == 1))
    }
}

/// Makes a row of a table.
pub fn row(name: impl Into<String>, cells: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
    let name = Cell::Text(name.into());
    std::iter::once(name).chain(cells).collect()
}

/// A figure, ready to be printed.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A value, its decimals, and the unit that is printed after a blank; an empty unit is not printed.
    Number(f64, Digits, &'static str),
    Count(u64),
    Text(String),
    /// No figure: the words that say so, such as `n/a` or `not reported`. In CSV it is an empty field.
    Absent(&'static str),
}

/// How many decimals a number is printed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    Exactly(usize),
    /// At least this many, and more where they leave fewer than three significant digits: `units::fixed`.
    AtLeast(usize),
}

impl Cell {
    pub const NONE: Cell = Cell::Absent("n/a");

    /// Makes a number with exactly `decimals` decimals, or `n/a`.
    pub fn exact(value: impl Into<Option<f64>>, decimals: usize) -> Cell {
        let number = |value| Cell::Number(value, Digits::Exactly(decimals), "");
        value.into().map_or(Cell::NONE, number)
    }

    /// Makes a number with at least `decimals` decimals and three significant digits, or `n/a`.
    pub fn fixed(value: impl Into<Option<f64>>, decimals: usize) -> Cell {
        let number = |value| Cell::Number(value, Digits::AtLeast(decimals), "");
        value.into().map_or(Cell::NONE, number)
    }

    /// Makes a cell such as `12.5 %` from a share of 0..=1, or `n/a`.
    pub fn percent(share: impl Into<Option<f64>>) -> Cell {
        Cell::exact(share.into().map(|share| share * 100.0), 1).unit("%")
    }

    /// Gives a number its unit.
    pub fn unit(self, unit: &'static str) -> Cell {
        match self {
            Cell::Number(value, digits, _) => Cell::Number(value, digits, unit),
            other => other,
        }
    }

    /// Replaces the words that stand in place of an absent figure.
    pub fn or(self, why: &'static str) -> Cell {
        match self {
            Cell::Absent(_) => Cell::Absent(why),
            there => there,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Number(value, digits, unit) => {
                match digits {
                    Digits::Exactly(decimals) => write!(f, "{value:.decimals$}")?,
                    Digits::AtLeast(decimals) => f.write_str(&fixed(*value, *decimals))?,
                }
                let blank = if unit.is_empty() { "" } else { " " };
                write!(f, "{blank}{unit}")
            }
            Cell::Count(n) => write!(f, "{n}"),
            Cell::Text(text) => f.write_str(text),
            Cell::Absent(why) => f.write_str(why),
        }
    }
}

impl From<u64> for Cell {
    fn from(n: u64) -> Cell {
        Cell::Count(n)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

/// The value that JSON prints. Keys keep their order, which `Value` would sort.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Object(Vec<(Cow<'static, str>, Node)>),
    List(Vec<Node>),
    Value(Value),
}

impl Default for Node {
    fn default() -> Node {
        Node::Value(Value::Null)
    }
}

/// Makes a node of a number, a text, an `Option` of these or a whole value; a number that is not finite becomes null.
impl<T: Into<Value>> From<T> for Node {
    fn from(value: T) -> Node {
        Node::Value(value.into())
    }
}

impl Node {
    /// Makes an object with these entries in their order.
    pub fn object<K: Into<Cow<'static, str>>>(
        entries: impl IntoIterator<Item = (K, Node)>,
    ) -> Node {
        let entries = entries.into_iter();
        Node::Object(entries.map(|(key, node)| (key.into(), node)).collect())
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, node) in entries {
                    map.serialize_entry(key, node)?;
                }
                map.end()
            }
            Node::List(nodes) => serializer.collect_seq(nodes),
            Node::Value(value) => value.serialize(serializer),
        }
    }
}
