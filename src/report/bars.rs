//! Distributions drawn as bars of text, with one line for each group.

use std::fmt::Write;

use super::charts::{Charts, Series};
use crate::units::fixed;

/// The number of columns of bars, where the screen has room for them.
const COLUMNS: usize = 40;
/// The columns of a line besides its name and its bars: indentation, two strokes, and the number of requests.
const BESIDE: usize = 16;
const BLOCKS: [char; 6] = [' ', '▁', '▂', '▃', '▅', '▇'];
const ASCII: [char; 6] = [' ', '.', ':', '-', '=', '#'];

/// Writes every distribution that has values, each after a blank line, in lines of at most `width` columns.
pub fn render(charts: &[Charts], is_utf8: bool, width: usize) -> String {
    let glyphs = if is_utf8 { BLOCKS } else { ASCII };
    let mut out = String::new();
    for of in charts {
        distribution(&mut out, "TTFT", &of.ttft, glyphs, width);
        distribution(&mut out, of.gap_name, &of.gaps, glyphs, width);
        for remark in &of.gap_remarks {
            let _ = writeln!(out, "  {remark}");
        }
    }
    out
}

/// Writes one distribution. All groups share its range, from the smallest value to the largest p99.
fn distribution(out: &mut String, title: &str, groups: &[Series], glyphs: [char; 6], room: usize) {
    let of_all = |q| groups.iter().filter_map(move |group| group.quantile(q));
    let least = of_all(0.0).reduce(f64::min);
    let most = of_all(0.99).reduce(f64::max);
    let (Some(least), Some(most)) = (least, most) else {
        return;
    };
    let groups: Vec<&Series> = groups.iter().filter(|group| group.n() > 0).collect();
    let widths = groups.iter().map(|group| group.name.chars().count());
    let width = widths.max().unwrap_or(0);
    let columns = COLUMNS.min(room.saturating_sub(width + BESIDE).max(10));
    let (from, to) = (fixed(least, 2), fixed(most, 2));
    let _ = writeln!(
        out,
        "\n{title}: {from} to {to} ms in {columns} columns; the last holds everything above p99"
    );
    for group in groups {
        let mut counts = vec![0; columns];
        for (value, count) in group.counted() {
            let share = (value - least) / (most - least).max(f64::MIN_POSITIVE);
            counts[((share * columns as f64) as usize).min(columns - 1)] += count;
        }
        let highest = counts.iter().max().copied().unwrap_or(0).max(1);
        let height = |count: u64| (count * (glyphs.len() as u64 - 1)).div_ceil(highest) as usize;
        let bars: String = counts.iter().map(|&count| glyphs[height(count)]).collect();
        let n = group.known().map_or(String::new(), |n| format!(" n {n}"));
        let _ = writeln!(out, "  {:<width$} |{bars}|{n}", group.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: Vec<f64>) -> Series {
        Series::new("a", values.into_iter().map(|value| (value, 1)))
    }

    #[test]
    fn a_column_is_as_high_as_its_share_of_the_highest_column() {
        // The range is 0 to 40 ms, so a column is a millisecond: column 0 has five values, column 20 has one, and p99
        // is in the last.
        let mut values = vec![0.0, 0.1, 0.2, 0.3, 0.4, 20.0];
        values.extend([40.0; 3]);
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[series(values)], BLOCKS, 80);
        let bars = format!("▇{}▁{}▃", " ".repeat(19), " ".repeat(18));
        assert!(out.ends_with(&format!("\n  a |{bars}| n 9\n")), "{out}");
        let head = "\nTTFT: 0.00 to 40.00 ms in 40 columns; ";
        assert!(out.starts_with(head), "{out}");
    }

    #[test]
    fn equal_values_fill_one_column_and_no_values_write_nothing() {
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[series(vec![7.0; 3])], ASCII, 80);
        assert!(out.contains(&format!("|#{}| n 3", " ".repeat(39))), "{out}");
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[], ASCII, 80);
        assert_eq!(out, "");
    }
}
