//! Traces in columns, such as Azure's and BurstGPT's: when requests came and how long they were.
//!
//! In: comma-separated lines, the first of which names the columns. Out: the values of the columns with known names;
//! others are ignored.

use super::reader::{BLOCK_TOKENS, Record, Request, Turn};
use super::unit::Unit;
use crate::plan::json::shortened;
use crate::units::date_ms;

/// Most tokens of a prompt. More must be a mistake: no engine has such a context.
const MOST_TOKENS: u64 = 1 << 24;
/// Most blocks of a prompt.
const MOST_BLOCKS: u64 = MOST_TOKENS / BLOCK_TOKENS;
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
#[derive(Debug)]
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
    pub fn find(header: &str, unit: Option<Unit>) -> Result<Columns, String> {
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
            unit: unit.unwrap_or(Unit::Seconds),
        })
    }
}

/// Parses a line after the header, which is the record at place `at` of those with tokens. `None`: it has no tokens,
/// so it belongs to a failed request.
///
/// # Errors
/// Fails with the reason on a wrong line.
pub(super) fn parse(columns: &Columns, at: usize, line: &str) -> Result<Option<Record>, String> {
    let values = &fields(line);
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
    let timestamp = milliseconds(value(columns.timestamp, "timestamp")?, columns.unit)?;
    let input_tokens = tokens(columns.input, "tokens of the prompt")?;
    let output_tokens = tokens(columns.output, "tokens of the answer")?;
    if input_tokens == 0 || output_tokens == 0 {
        return Ok(None);
    }
    if input_tokens > MOST_TOKENS {
        return Err(format!(
            "tokens of the prompt: {input_tokens}; want at most {MOST_TOKENS}"
        ));
    }
    let session = columns.session.and_then(|column| values.get(column));
    let session = session.filter(|session| !session.is_empty());
    // Prompts share nothing, so each block has a name of its own.
    let first = at as u64 * MOST_BLOCKS;
    Ok(Some(Record {
        timestamp,
        request: Request {
            input_tokens,
            output_tokens,
            hash_ids: (first..first + input_tokens.div_ceil(BLOCK_TOKENS)).collect(),
        },
        turn: session.map(|session| Turn::of_session(session)),
    }))
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
