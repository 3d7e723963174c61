//! Traces: when requests came, how long they were, and which parts their prompts shared.
//!
//! In: JSON records in Mooncake's format, where `hash_ids` names the prompt's blocks of 512 tokens, or in Bailian's,
//! with blocks of 16 and `chat_id`; or columns without names of blocks (`csv`). Out: due times, lengths, names, and
//! which request follows which reply; `text` makes the prompts, one at a time. Unknown keys are ignored; known keys
//! that would change what is sent are refused.
//!
//! A file is read twice: all of it before the run, to check every record and to find the order of the requests, and
//! each record again when its request is due, since names take more memory than all else. A record that has changed
//! in between ends the plan.

mod csv;
#[cfg(test)]
mod fuzz;
mod reader;
mod record;
mod text;
mod unit;

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use self::csv::Columns;
pub use self::reader::Request;
use self::reader::{Format, Index, later_parent};
use self::record::{Text, Window};
pub use self::text::Texts;
pub use self::unit::Unit;
use super::dataset::source::Raw;
use super::dataset::{Problem, source};
use super::json;
use crate::error::{Error, Result};
use crate::lock::lock;

/// The requests of a trace by time; they take 24 to 32 bytes a request, and those of a pipe its text too.
#[derive(Debug)]
pub struct Trace {
    /// Begins every error.
    what: String,
    text: Text,
    form: Form,
    index: Index,
    skipped: u64,
    last: Mutex<Last>,
}

/// The form of a trace's records.
#[derive(Debug)]
enum Form {
    Json { block_tokens: u64 },
    Columns(Columns),
}

impl Form {
    fn block_tokens(&self) -> u64 {
        match self {
            Form::Json { block_tokens } => *block_tokens,
            Form::Columns(_) => reader::BLOCK_TOKENS,
        }
    }
}

/// The request that was read last, since its lengths are wanted before its prompt.
#[derive(Debug, Default)]
struct Last {
    window: Window,
    request: Option<(usize, Arc<Request>)>,
    /// A record was no longer what it had been.
    has_changed: bool,
}

impl Trace {
    /// Reads and checks a file; `what` begins every error. Requests with the same timestamp keep the file's order.
    ///
    /// Without a unit, timestamps are milliseconds in Mooncake's format, seconds in Bailian's, and seconds or dates in
    /// columns.
    ///
    /// # Errors
    /// Fails on the first wrong record, with its line; if timestamps of Mooncake's format look like seconds and no unit
    /// was given; and on a file without records, or one that cannot be read.
    pub fn load(what: &str, path: &Path, unit: Option<Unit>) -> Result<Trace> {
        let text = Text::of(source::open(what, path)?);
        let failed = |error| Error::input(what, format!("cannot read: {error}"));
        Trace::read(what, text.map_err(failed)?, unit)
    }

    fn read(what: &str, text: Text, unit: Option<Unit>) -> Result<Trace> {
        let in_line =
            |problem: Problem| Error::input(format!("{what}, line {}", problem.line), problem.why);
        let failed = |error| Error::input(what, format!("cannot read: {error}"));
        let mut input = BufReader::new(text.reader());
        let is_json = matches!(input.fill_buf().map_err(failed)?.first(), Some(b'{' | b'['));
        let mut first = Vec::new();
        if !is_json {
            input.read_until(b'\n', &mut first).map_err(failed)?;
        }
        let mut index = Index::default();
        let (form, skipped) = if let Some(header) = header(&first) {
            let columns = Columns::find(header, unit);
            let columns = columns.map_err(|why| in_line(Problem { line: 1, why }))?;
            let start = first.len() as u64;
            let skipped = lines(&mut index, &columns, start, input).map_err(in_line)?;
            if index.len() == 0 {
                return Err(Error::input(what, "no record with tokens in it"));
            }
            (Form::Columns(columns), skipped)
        } else {
            let mut input = Cursor::new(first).chain(input);
            let Format {
                block_tokens,
                unit: own,
            } = records(what, &mut index, &mut input)?;
            index.scale(unit, own).map_err(|why| {
                let why = format!("timestamps look like seconds, not milliseconds: {why}");
                Error::input(what, why)
                    .next("Try: --trace-unit s; or --trace-unit ms if they really are milliseconds")
            })?;
            (Form::Json { block_tokens }, 0)
        };
        let ordered = index.put_in_order();
        ordered.map_err(|record| in_line(later_parent(&text, record)))?;
        Ok(Trace {
            what: what.to_string(),
            text,
            form,
            index,
            skipped,
            last: Mutex::default(),
        })
    }

    /// Returns the number of records that were left out because they have no tokens.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the request whose reply request `k` waits for: the previous turn of its session, or its parent.
    /// `Some(None)` for a session's first, `None` for a request without a session.
    pub fn after(&self, k: usize) -> Option<Option<u64>> {
        self.index.after(k)
    }

    /// Returns the number of requests, at least 1.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the due time of request `k`, from the first one's, at `speed` times the trace's own.
    pub fn due_ns(&self, k: usize, speed: f64) -> u64 {
        let after_ms = self.index.record(k).timestamp_ms - self.index.record(0).timestamp_ms;
        (after_ms * 1e6 / speed).round() as u64
    }

    /// Returns the tokens of a block that one of `hash_ids` names.
    pub fn block_tokens(&self) -> u64 {
        self.form.block_tokens()
    }

    /// Reads the lengths and names of request `k`; `None`: its record has changed. O(blocks).
    pub fn request(&self, k: usize) -> Option<Arc<Request>> {
        let mut last = lock(&self.last);
        if let Some((_, request)) = last.request.as_ref().filter(|(of, _)| *of == k) {
            return Some(Arc::clone(request));
        }
        let record = last.window.record(&self.text, self.index.record(k).place);
        let request = record.and_then(|record| self.parse(k, record));
        let Some(request) = request.map(Arc::new) else {
            last.has_changed = true;
            return None;
        };
        last.request = Some((k, Arc::clone(&request)));
        Some(request)
    }

    fn parse(&self, k: usize, record: &str) -> Option<Request> {
        let record = match &self.form {
            Form::Json { block_tokens } => {
                let (line, at, json) = (0, 0, record);
                reader::parse(Raw { line, at, json }, *block_tokens).ok()
            }
            Form::Columns(columns) => csv::parse(columns, self.index.at(k), record).ok()?,
        };
        Some(record?.request)
    }

    /// # Errors
    /// Fails if a record has changed since the file was checked: the requests from there on were not sent.
    pub fn check(&self) -> Result<()> {
        let why = "the file was changed during the run; its requests are read when they are due";
        match lock(&self.last).has_changed {
            true => Err(Error::input(&self.what, why)),
            false => Ok(()),
        }
    }
}

impl Request {
    /// Returns the tokens to ask for, at least 1: some traces have answers without tokens, which cannot be requested.
    pub fn output_tokens(&self) -> u64 {
        self.output_tokens.max(1)
    }

    /// Returns the blocks of its prompt as parts for `Perfect`.
    pub fn parts(&self, block_tokens: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..).zip(&self.hash_ids).map(move |(place, &id)| {
            let rest = self.input_tokens - block_tokens * place;
            (id, rest.min(block_tokens))
        })
    }
}

/// Checks JSON records; returns their format.
fn records(what: &str, index: &mut Index, input: &mut dyn Read) -> Result<Format> {
    let mut format: Option<Format> = None;
    source::read(what, input, &mut |raw| {
        let raw = raw?;
        let of_first = match format {
            Some(format) => format,
            None => *format.insert(reader::format(raw)?),
        };
        let record = reader::parse(raw, of_first.block_tokens)?;
        let pushed = index.push(record.timestamp, raw, record.turn);
        pushed.map_err(|why| raw.problem(why))
    })?;
    Ok(format.unwrap_or(reader::MOONCAKE))
}

/// Checks the lines behind the header of a file in columns, which begin at byte `at`; returns the number of those that
/// have no tokens.
fn lines(
    index: &mut Index,
    columns: &Columns,
    mut at: u64,
    mut input: impl BufRead,
) -> std::result::Result<u64, Problem> {
    let (mut text, mut skipped) = (String::new(), 0);
    for line in 2.. {
        let problem = |why| Problem { line, why };
        text.clear();
        let read = input.read_line(&mut text);
        let bytes = read.map_err(|error| problem(format!("cannot read: {error}")))?;
        if bytes == 0 {
            break;
        }
        let json = text.trim_end_matches(['\r', '\n']);
        if !json.trim().is_empty() {
            match csv::parse(columns, index.len(), json).map_err(problem)? {
                None => skipped += 1,
                Some(record) => {
                    let raw = Raw { line, at, json };
                    let pushed = index.push(record.timestamp, raw, record.turn);
                    pushed.map_err(problem)?;
                }
            }
        }
        at += bytes as u64;
    }
    Ok(skipped)
}

/// Returns the first line, if it is comma-separated text and not JSON.
fn header(first: &[u8]) -> Option<&str> {
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let text = std::str::from_utf8(first)
        .ok()
        .filter(|_| json::not_text(first).is_none())?;
    let is_json = text.trim_start().starts_with(['{', '[']);
    (!is_json && text.contains(',')).then_some(text)
}

#[cfg(test)]
mod tests;
