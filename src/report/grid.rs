//! A table on a screen: in a box, in plain columns, or in narrow columns where the box is too wide.

use std::fmt::Write;

use super::document::{Style, Table};

/// The number of characters in a line that every screen has room for.
pub const NARROW: usize = 80;
/// The width of a figure in narrow columns, including the blank before it.
const NARROW_FIGURE: usize = 9;

/// The smallest width of a name in narrow columns.
const NARROW_NAME: usize = 16;

/// Writes columns in the table's own widths. If they are wider than the screen, they become as narrow as their cells;
/// columns that still have no room follow below, each part with the names of the rows.
pub fn plain(out: &mut String, table: &Table, most: usize) {
    let columns = table.columns.iter().enumerate();
    let columns = columns.map(|(at, (_, width))| (*width, table.is_right(at)));
    let mut columns: Vec<_> = columns.collect();
    let lines = printed(table);
    let is_wide =
        |columns: &[(usize, bool)]| columns.iter().map(|(width, _)| width).sum::<usize>() > most;
    if table.style == Style::Headless || !is_wide(&columns) {
        return part(out, table, &columns, &lines);
    }
    for (at, (width, _)) in columns.iter_mut().enumerate() {
        let cells = lines.iter().filter_map(|line| line.get(at));
        let longest = cells.map(|cell| cell.chars().count()).max();
        *width = longest.unwrap_or(0) + if at == 0 { 0 } else { 2 };
    }
    let has_cells = |at: usize| lines[1..].iter().any(|line| line.len() > at);
    let mut from = 1;
    while from < columns.len() {
        if from > 1 {
            out.push('\n');
        }
        if from > 1 && !(from..columns.len()).any(has_cells) {
            out.extend([&lines[0][from..].join("  "), "\n"]);
            break;
        }
        let mut to = from + 1;
        let chosen = |to: usize| [&columns[..1], &columns[from..to]].concat();
        while to < columns.len() && !is_wide(&chosen(to + 1)) {
            to += 1;
        }
        let of = |line: &Vec<String>| match line.get(from..to.min(line.len())) {
            Some(cells) => [&line[..1], cells].concat(),
            None => line[..1].to_vec(),
        };
        let lines: Vec<Vec<String>> = lines.iter().map(of).collect();
        part(out, table, &chosen(to), &lines);
        from = to;
    }
}

/// Writes the names of columns and the rows below them.
fn part(out: &mut String, table: &Table, columns: &[(usize, bool)], lines: &[Vec<String>]) {
    if table.style != Style::Headless {
        write_line(out, columns, &lines[0]);
    }
    if table.style == Style::Ruled {
        let width = columns.iter().map(|(width, _)| width).sum();
        let _ = writeln!(out, "{}", "-".repeat(width));
    }
    for row in &lines[1..] {
        if row.len() == 1 && columns.len() > 1 {
            out.push('\n');
        }
        write_line(out, columns, row);
    }
}

/// Writes columns in lines of `most` characters, at most 80. Figures too long for their column stand below the name of
/// their row, and are never cut.
pub fn narrow(out: &mut String, table: &Table, most: usize) {
    let most = most.min(NARROW);
    let lines = printed(table);
    let name_width = most.saturating_sub(NARROW_FIGURE * (table.columns.len() - 1));
    let mut columns = vec![(NARROW_FIGURE, true); table.columns.len()];
    columns[0] = (name_width, false);
    // Where all figures stand below the name of their row, each has its column's name beside it, so no head is written.
    let head = usize::from(name_width < NARROW_NAME);
    for line in &lines[head..] {
        let (name, cells) = (&line[0], &line[1..]);
        let is_short = |cell: &String| cell.chars().count() < NARROW_FIGURE;
        let is_row = name_width >= NARROW_NAME && cells.iter().all(is_short);
        if is_row && name.chars().count() <= name_width {
            write_line(out, &columns, line);
        } else if is_row {
            let _ = writeln!(out, "{}", shortened(name, most));
            write_line(out, &columns, &[&[String::new()], cells].concat());
        } else {
            let _ = writeln!(out, "{}", shortened(name, most));
            let named = lines[0][1..].iter().zip(cells);
            let named = named.map(|(head, cell)| format!("  {head} {cell}"));
            wrap(out, &named.collect::<Vec<_>>(), "", most);
        }
    }
}

/// Writes the table in its box.
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

/// Returns the width of a line of the box: two blanks and a bar for every cell, and the last bar.
pub fn boxed_width(table: &Table) -> usize {
    let widths = boxed_widths(table, &printed(table));
    widths.iter().map(|width| width + 3).sum::<usize>() + 1
}

/// Returns the widths of the columns in the box: those of the table, or of the longest cells.
fn boxed_widths(table: &Table, lines: &[Vec<String>]) -> Vec<usize> {
    let columns = table.columns.iter().enumerate();
    let widths = columns.map(|(at, (_, width))| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        let lengths = cells.map(|cell| cell.chars().count());
        lengths.fold(*width, usize::max)
    });
    widths.collect()
}

/// Returns the names of the columns, then the rows, with every cell printed.
fn printed(table: &Table) -> Vec<Vec<String>> {
    let heads = table.columns.iter().map(|(name, _)| name.to_string());
    let rows = table.rows.iter();
    let rows = rows.map(|row| row.iter().map(ToString::to_string).collect());
    std::iter::once(heads.collect()).chain(rows).collect()
}

/// Writes a line of cells; each column has its width and whether its cells are right-aligned.
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

/// Returns a name of at most `width` characters, cut in its middle because names of metrics differ at their ends.
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
pub fn wrap(out: &mut String, parts: &[impl AsRef<str>], between: &str, width: usize) {
    let mut used = 0;
    for part in parts {
        let part = part.as_ref();
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

#[cfg(test)]
mod tests {
    use super::super::document::row;
    use super::*;

    #[test]
    fn a_table_wider_than_the_screen_goes_on_below_with_the_names_of_its_rows() {
        let columns = ["Avg", "P50", "n"].map(|name| (name, 9));
        let rows = [row("TTFT", ["1.25", "1.00", "30"].map(Into::into))];
        let table = Table::new(Style::Plain, ("Milliseconds", 16), columns, rows);
        let shown = |most| {
            let mut out = String::new();
            plain(&mut out, &table, most);
            out
        };
        let wide = "Milliseconds          Avg      P50        n\nTTFT                 1.25     1.00       30\n";
        assert_eq!(shown(43), wide);
        // The columns become as narrow as their cells: 12 + 6 + 6 + 4.
        let narrow = "Milliseconds   Avg   P50   n\nTTFT          1.25  1.00  30\n";
        assert_eq!(shown(28), narrow);
        let parts = "Milliseconds   Avg   P50\nTTFT          1.25  1.00\n\nMilliseconds   n\nTTFT          30\n";
        assert_eq!(shown(27), parts);
    }

    #[test]
    fn a_column_that_is_only_a_name_gets_no_rows_of_its_own() {
        let columns = [("C1-R1", 12), ("C1-R2", 12), ("(R round)", 0)];
        let rows = [row("P50", ["1.5", "2.5"].map(Into::into))];
        let table = Table::new(Style::Words, ("Columns", 7), columns, rows);
        let mut out = String::new();
        plain(&mut out, &table, 28);
        assert_eq!(
            out,
            "Columns  C1-R1    C1-R2\nP50      1.5      2.5\n\n(R round)\n"
        );
    }

    #[test]
    fn names_too_long_for_their_column_stand_above_their_figures() {
        let columns = ["Avg", "P50", "P90", "P99", "Min", "Max"].map(|name| (name, 9));
        let cells = ["1", "2", "3", "4", "5", "6"];
        let names = [
            "lmcache:local_cpu_cache_usage",
            "lmcache:remote_disk_cache_usage",
            "TTFT (ms)",
        ];
        let rows = names.map(|name| row(name, cells.map(Into::into)));
        let table = Table::new(Style::Boxed, ("Metric", 30), columns, rows);
        let mut out = String::new();
        narrow(&mut out, &table, 80);
        let figures = format!(
            "{:>35}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "1", "2", "3", "4", "5", "6"
        );
        let wanted = [names[0], &figures, names[1], &figures].join("\n");
        assert!(out.contains(&wanted), "{out}");
    }
}
