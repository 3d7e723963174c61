//! `metrics_summary.csv`: a column a round, a section a figure, in the guide's wide layout.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::cells::{self, LONG_NAMES, Row};
use crate::stats::round::RoundSummary;

/// Writes the whole file. The printed figures are those of the table; absent is an empty field.
pub fn metrics_summary(out: &mut String, rounds: &[RoundSummary]) -> fmt::Result {
    let names = rounds.iter().map(|round| {
        let (concurrency, round) = (round.concurrency, round.round);
        Some(format!("Concurrency{concurrency}-Round{round}"))
    });
    line(out, "Metric/Round", names)?;
    let rows: Vec<Vec<Row>> = rounds.iter().map(cells::rows).collect();
    for name in section_names(&rows) {
        writeln!(out, "\n{}", quoted(name))?;
        for (k, statistic) in LONG_NAMES.into_iter().enumerate() {
            let of_round = |rows: &Vec<Row>| {
                let row = rows.iter().find(|row| row.name == name)?;
                row.cells[k].clone()
            };
            line(out, statistic, rows.iter().map(of_round))?;
        }
    }
    throughput(out, rounds)?;
    if rounds.iter().any(|round| round.goodput.is_some()) {
        goodput(out, rounds)?;
    }
    requests(out, rounds)
}

/// Every figure of any round, in the order of their first appearance.
pub(super) fn section_names(rows: &[Vec<Row>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().flatten() {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    names
}

fn throughput(out: &mut String, rounds: &[RoundSummary]) -> fmt::Result {
    writeln!(out, "\nThroughput")?;
    let names = [
        "Token Throughput (tokens/sec)",
        "Request Throughput (requests/sec)",
    ];
    for (k, name) in names.into_iter().enumerate() {
        let of_round = |round| cells::throughput(round)[k].clone();
        line(out, name, rounds.iter().map(of_round))?;
    }
    Ok(())
}

fn goodput(out: &mut String, rounds: &[RoundSummary]) -> fmt::Result {
    writeln!(out, "\nGoodput (SLO)")?;
    let figures: Vec<[Option<String>; 4]> = rounds
        .iter()
        .map(|round| {
            let Some(goodput) = &round.goodput else {
                return [const { None }; 4];
            };
            let [requests_percent, tokens_percent] = cells::goodput_percent(goodput);
            let requests = Some(goodput.requests.to_string());
            let tokens = goodput.tokens.map(|n| n.to_string());
            [requests, requests_percent, tokens, tokens_percent]
        })
        .collect();
    let names = [
        "Requests Meeting SLO",
        "Requests Meeting SLO (%)",
        "Tokens Meeting SLO",
        "Tokens Meeting SLO (%)",
    ];
    for (k, name) in names.into_iter().enumerate() {
        line(
            out,
            name,
            figures.iter().map(|of_round| of_round[k].clone()),
        )?;
    }
    Ok(())
}

fn requests(out: &mut String, rounds: &[RoundSummary]) -> fmt::Result {
    writeln!(out, "\nRequests")?;
    let count = |of: fn(&RoundSummary) -> u64| rounds.iter().map(move |r| Some(of(r).to_string()));
    line(out, "Total", count(|round| round.total_requests))?;
    line(out, "Success", count(|round| round.successful))?;
    line(out, "Failed", count(|round| round.failed))
}

fn line(out: &mut String, name: &str, cells: impl Iterator<Item = Option<String>>) -> fmt::Result {
    write!(out, "{}", quoted(name))?;
    for cell in cells {
        write!(out, ",{}", quoted(&cell.unwrap_or_default()))?;
    }
    writeln!(out)
}

/// A field by RFC 4180: in quotes, and quotes doubled, where it holds a comma, a quote or a line break.
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
