//! A table on a screen: in a box, in plain columns, or, where the box is too wide, in narrow ones.

use std::fmt::Write;

use super::document::{Style, Table};

/// Characters of a line that any screen has.
pub const NARROW: usize = 80;
/// The width of a figure in narrow columns, the blank before it included.
const NARROW_FIGURE: usize = 9;

/// Writes columns of the table's own widths.
pub fn plain(out: &mut String, table: &Table) {
    let columns = table.columns.iter().enumerate();
    let columns = columns.map(|(at, (_, width))| (*width, table.is_right(at)));
    let columns: Vec<_> = columns.collect();
    let lines = printed(table);
    if table.style != Style::Headless {
        write_line(out, &columns, &lines[0]);
    }
    if table.style == Style::Ruled {
        let width = columns.iter().map(|(width, _)| width).sum();
        let _ = writeln!(out, "{}", "-".repeat(width));
    }
    for row in &lines[1..] {
        if row.len() == 1 && columns.len() > 1 {
            out.push('\n');
        }
        write_line(out, &columns, row);
    }
}

/// Writes columns of at most 80 characters; figures too long for them stand below their name, none is cut.
pub fn narrow(out: &mut String, table: &Table) {
    let lines = printed(table);
    let name_width = NARROW.saturating_sub(NARROW_FIGURE * (table.columns.len() - 1));
    let mut columns = vec![(NARROW_FIGURE, true); table.columns.len()];
    columns[0] = (name_width, false);
    for line in &lines {
        let (name, cells) = (&line[0], &line[1..]);
        let is_short = |cell: &String| cell.chars().count() < NARROW_FIGURE;
        if cells.iter().all(is_short) {
            let name = shortened(name, name_width);
            write_line(out, &columns, &[&[name], cells].concat());
        } else {
            let _ = writeln!(out, "{}", shortened(name, NARROW));
            let named = lines[0][1..].iter().zip(cells);
            let named = named.map(|(head, cell)| format!("  {head} {cell}"));
            wrap(out, &named.collect::<Vec<_>>(), "", NARROW);
        }
    }
}

/// Writes the box.
pub fn boxed(out: &mut String, table: &Table) {
    let lines = printed(table);
    let widths = boxed_widths(table, &lines);
    let rule = |out: &mut String, [left, middle, right]: [&str; 3]| {
        let bars = widths.iter().map(|width| "─".repeat(width + 2));
        let bars = bars.collect::<Vec<_>>().join(middle);
        out.extend([left, &bars, right, "\n"]);
    };
    for (at, line) in lines.iter().enumerate() {
        for (at, width) in widths.iter().enumerate() {
            let cell = line.get(at).map_or("", String::as_str);
            let _ = write!(out, "│ {cell:<width$} ");
        }
        out.push_str("│\n");
        if at == 0 {
            rule(out, ["├", "┼", "┤"]);
        }
    }
    rule(out, ["└", "┴", "┘"]);
}

/// The width of a line of the box: every cell with two blanks and the bar before it, and the last bar.
pub fn boxed_width(table: &Table) -> usize {
    let widths = boxed_widths(table, &printed(table));
    widths.iter().map(|width| width + 3).sum::<usize>() + 1
}

/// A column is as wide as the table says, or as its longest cell.
fn boxed_widths(table: &Table, lines: &[Vec<String>]) -> Vec<usize> {
    let columns = table.columns.iter().enumerate();
    let widths = columns.map(|(at, (_, width))| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        let lengths = cells.map(|cell| cell.chars().count());
        lengths.fold(*width, usize::max)
    });
    widths.collect()
}

/// The names of the columns, then the rows, every cell printed.
fn printed(table: &Table) -> Vec<Vec<String>> {
    let heads = table.columns.iter().map(|(name, _)| name.to_string());
    let rows = table.rows.iter();
    let rows = rows.map(|row| row.iter().map(ToString::to_string).collect());
    std::iter::once(heads.collect()).chain(rows).collect()
}

/// Writes a line of columns, each with its width and whether its cells stand to the right.
fn write_line(out: &mut String, columns: &[(usize, bool)], cells: &[String]) {
    let mut line = String::new();
    for (at, (cell, &(width, is_right))) in cells.iter().zip(columns).enumerate() {
        let _ = match is_right {
            true => write!(line, "{cell:>width$}"),
            false if at == 0 => write!(line, "{cell:<width$}"),
            false => write!(line, "  {cell:<width$}"),
        };
    }
    out.extend([line.trim_end(), "\n"]);
}

/// A name of at most `width` characters: cut in its middle, since metrics differ at either end.
fn shortened(name: &str, width: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= width {
        return name.to_string();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let (head, tail) = (&chars[..head], &chars[chars.len() - tail..]);
    format!("{}…{}", String::from_iter(head), String::from_iter(tail))
}

/// Writes the parts on as few lines as `width` allows; a part is never broken.
pub fn wrap(out: &mut String, parts: &[String], between: &str, width: usize) {
    let mut used = 0;
    for part in parts {
        let length = part.chars().count();
        if used == 0 {
            used = length;
        } else if used + between.len() + length <= width {
            out.push_str(between);
            used += between.len() + length;
        } else {
            out.push('\n');
            used = length;
        }
        out.push_str(part);
    }
    out.push('\n');
}
