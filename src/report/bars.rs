//! Distributions as bars of text, a line a group.

use std::fmt::{self, Write};

use super::saved::Report;
use crate::stats::exact_quantile;
use crate::units::fixed;

const COLUMNS: usize = 40;
const BLOCKS: [char; 6] = [' ', '▁', '▂', '▃', '▅', '▇'];
const ASCII: [char; 6] = [' ', '.', ':', '-', '=', '#'];

/// Writes the distributions of TTFT and of gaps, where there are any.
pub fn write(out: &mut String, report: &Report, is_utf8: bool) -> fmt::Result {
    let of = |values: fn(&super::saved::Group) -> Vec<f64>| {
        let groups = report.groups.iter();
        let named = groups.map(|group| (group.name.as_str(), values(group)));
        named
            .filter(|(_, values)| !values.is_empty())
            .collect::<Vec<_>>()
    };
    let glyphs = if is_utf8 { BLOCKS } else { ASCII };
    distribution(out, "TTFT", &of(|group| group.ttft_ms()), glyphs)?;
    distribution(out, "Gaps", &of(|group| group.gaps_ms()), glyphs)
}

/// Values are sorted; all groups share the range, from the least value to the largest p99.
fn distribution(
    out: &mut String,
    title: &str,
    groups: &[(&str, Vec<f64>)],
    glyphs: [char; 6],
) -> fmt::Result {
    let least = groups.iter().filter_map(|(_, values)| values.first());
    let most = groups
        .iter()
        .filter_map(|(_, values)| exact_quantile(values, 0.99));
    let (Some(least), Some(most)) = (least.copied().reduce(f64::min), most.reduce(f64::max)) else {
        return Ok(());
    };
    let width = groups.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let (from, to) = (fixed(least, 2), fixed(most, 2));
    writeln!(
        out,
        "\n{title}: {from} to {to} ms in {COLUMNS} columns; what is slower than p99 is in the last"
    )?;
    for (name, values) in groups {
        let mut counts = [0_usize; COLUMNS];
        for value in values {
            let share = (value - least) / (most - least).max(f64::MIN_POSITIVE);
            counts[((share * COLUMNS as f64) as usize).min(COLUMNS - 1)] += 1;
        }
        let highest = counts.iter().max().copied().unwrap_or(0).max(1);
        let bars: String = counts
            .iter()
            .map(|count| glyphs[(count * (glyphs.len() - 1)).div_ceil(highest)])
            .collect();
        writeln!(out, "  {name:<width$} |{bars}| n {}", values.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_high_as_its_share_of_the_highest() {
        // 0 to 40 ms, so a column a millisecond: five values in column 0, one in 20, p99 is in the last.
        let mut values = vec![0.0, 0.1, 0.2, 0.3, 0.4, 20.0];
        values.extend([40.0; 3]);
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[("a", values)], BLOCKS).expect("a String takes all");
        let bars = format!("▇{}▁{}▃", " ".repeat(19), " ".repeat(18));
        assert!(out.ends_with(&format!("\n  a |{bars}| n 9\n")), "{out}");
        let head = "\nTTFT: 0.00 to 40.00 ms in 40 columns; ";
        assert!(out.starts_with(head), "{out}");
    }

    #[test]
    fn values_that_are_all_the_same_fill_one_column_and_none_write_nothing() {
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[("a", vec![7.0; 3])], ASCII).expect("a String takes all");
        assert!(out.contains(&format!("|#{}| n 3", " ".repeat(39))), "{out}");
        let mut out = String::new();
        distribution(&mut out, "TTFT", &[], ASCII).expect("a String takes all");
        assert_eq!(out, "");
    }
}
