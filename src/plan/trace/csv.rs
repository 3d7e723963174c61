//! Traces in columns, such as Azure's and BurstGPT's: when requests came and how long they were.
//!
//! In: comma-separated lines, the first of which names the columns. Out: the values of the columns with known names;
//! others are ignored.

use std::io::BufRead;

use super::reader::Reader;
use super::unit::Unit;
use crate::plan::dataset::Problem;
use crate::plan::json::shortened;
use crate::units::date_ms;

/// Most tokens of a prompt. More must be a mistake: no engine has such a context.
const MOST_TOKENS: u64 = 1 << 24;
/// Names of the columns, in lower case, without blanks and underscores.
const TIMESTAMP: &[&str] = &["timestamp"];
const INPUT: &[&str] = &[
    "contexttokens",
    "requesttokens",
    "prompttokens",
    "inputtokens",
    "inputlength",
];
const OUTPUT: &[&str] = &[
    "generatedtokens",
    "responsetokens",
    "completiontokens",
    "outputtokens",
    "outputlength",
];
const SESSION: &[&str] = &["sessionid"];

/// The places of the columns, and the form of their times.
pub(super) struct Columns {
    timestamp: usize,
    input: usize,
    output: usize,
    session: Option<usize>,
    /// The unit of timestamps that are not dates.
    unit: Unit,
}

impl Columns {
    /// Finds the columns by their names.
    ///
    /// # Errors
    /// Fails with the name of a missing column.
    fn find(header: &str) -> Result<Columns, String> {
        let header = fields(header);
        let plain = |name: &String| name.to_ascii_lowercase().replace([' ', '_'], "");
        let names: Vec<String> = header.iter().map(plain).collect();
        let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        let wanted = |known: &[&str]| {
            find(known).ok_or_else(|| {
                let have = shortened(&header.join(", "));
                format!(
                    "no column of {}; have: {have}; want Timestamp, ContextTokens or Request tokens, and GeneratedTokens or Response tokens",
                    known[0]
                )
            })
        };
        Ok(Columns {
            timestamp: wanted(TIMESTAMP)?,
            input: wanted(INPUT)?,
            output: wanted(OUTPUT)?,
            session: find(SESSION),
            unit: Unit::Seconds,
        })
    }
}

/// Reads the lines after the header. A record without tokens belongs to a failed request; it is counted and left out.
///
/// # Errors
/// Fails on the first wrong line.
pub(super) fn read(
    reader: &mut Reader,
    header: &str,
    input: impl BufRead,
    unit: Option<Unit>,
) -> Result<(), Problem> {
    let at = |line, why| Problem { line, why };
    let mut columns = Columns::find(header).map_err(|why| at(1, why))?;
    columns.unit = unit.unwrap_or(Unit::Seconds);
    for (number, line) in (2..).zip(input.lines()) {
        let line = line.map_err(|error| at(number, format!("cannot read: {error}")))?;
        if !line.trim().is_empty() {
            push(reader, number, &columns, &fields(&line)).map_err(|why| at(number, why))?;
        }
    }
    Ok(())
}

fn push(
    reader: &mut Reader,
    line: u64,
    columns: &Columns,
    values: &[String],
) -> Result<(), String> {
    let value = |column: usize, name: &str| {
        values
            .get(column)
            .ok_or_else(|| format!("no {name} in it; it has {} columns", values.len()))
    };
    let tokens = |column, name| {
        let text = value(column, name)?;
        text.parse::<u64>().map_err(|_| {
            let have = shortened(text);
            format!("{name}: want a whole number of tokens, have {have}")
        })
    };
    let timestamp_ms = milliseconds(value(columns.timestamp, "timestamp")?, columns.unit)?;
    let input = tokens(columns.input, "tokens of the prompt")?;
    let output = tokens(columns.output, "tokens of the answer")?;
    if input == 0 || output == 0 {
        reader.skipped += 1;
        return Ok(());
    }
    if input > MOST_TOKENS {
        return Err(format!(
            "tokens of the prompt: {input}; want at most {MOST_TOKENS}"
        ));
    }
    let session = columns.session.and_then(|column| values.get(column));
    let session = session.filter(|session| !session.is_empty());
    let own = session.map(|session| reader.name('s', session));
    reader.push_unnamed(line, timestamp_ms, input, output, own);
    Ok(())
}

/// Returns the milliseconds of a number in the unit, or of a date.
fn milliseconds(text: &str, unit: Unit) -> Result<f64, String> {
    let number = text.parse().ok().map(|number: f64| number * unit.in_ms());
    let number = number.filter(|ms| ms.is_finite() && *ms >= 0.0);
    number.or_else(|| date_ms(text)).ok_or_else(|| {
        let have = shortened(text);
        format!("timestamp: want a number from 0 on or a date such as 2023-11-16 18:15:46.68, have {have}")
    })
}

/// Splits a line into its values; a value that contains commas is in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for character in line.trim_end_matches(['\r', '\n']).chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
        .iter()
        .map(|field| field.trim().to_string())
        .collect()
}
