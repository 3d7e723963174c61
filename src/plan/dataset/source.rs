//! Splits a file into the text of its records: JSON lines, an array, an object with a `data` array, or one object.
//!
//! JSON lines are read one by one, so that a pipe works too; other formats are read whole. The caller parses the
//! records and finds out whether a line is JSON at all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::file;
use crate::plan::json;

const BUFFER_BYTES: usize = 1 << 20;

/// The text of one record.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// The line of the record's first byte, from 1.
    pub line: u64,
    /// The place of the record's first byte in the file, from 0.
    pub at: u64,
    /// The record without surrounding white space.
    pub json: &'a str,
}

impl<'a> Raw<'a> {
    /// Returns the problem of this record.
    pub fn problem(self, why: String) -> Problem {
        Problem {
            line: self.line,
            why,
        }
    }

    /// Parses a record that must be an object; serde would accept an array too.
    pub fn object<T>(
        self,
        parse: impl FnOnce(&'a str) -> serde_json::Result<T>,
    ) -> std::result::Result<T, Problem> {
        let not_json = |error: serde_json::Error| Problem::from_json(self.line, &error);
        if !self.json.starts_with('{') {
            let value: &RawValue = serde_json::from_str(self.json).map_err(not_json)?;
            let found = json::kind(value.get());
            return Err(self.problem(format!("{found}; want an object")));
        }
        parse(self.json).map_err(not_json)
    }
}

/// A record that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: u64,
    /// The reason, in one line.
    pub why: String,
}

impl Problem {
    /// Makes a problem of a JSON error; `line` is the line at which the parsed text begins.
    fn from_json(line: u64, error: &serde_json::Error) -> Problem {
        let mut why = json::without_place(error);
        if !error.is_data() {
            why = format!("not JSON at column {}: {why}", error.column().max(1));
        }
        Problem {
            line: line + (error.line() as u64).saturating_sub(1),
            why,
        }
    }
}

/// A record, or the problem of a wrong one.
type Record<'a> = std::result::Result<Raw<'a>, Problem>;

/// Opens a file or a pipe.
pub fn open(what: &str, path: &Path) -> Result<File> {
    if path.is_dir() {
        return Err(Error::input(what, "a folder; want a file"));
    }
    file::open(path).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &str, error: &io::Error) -> Error {
    Error::input(what, format!("cannot read: {error}"))
}

/// Passes on each record, or the problem of a wrong one, until `visit` refuses one; `what` begins every error.
///
/// # Errors
/// Fails when `visit` refuses a record, when there is none, and when the file is not text or cannot be read.
pub fn read(
    what: &str,
    input: &mut dyn Read,
    visit: &mut dyn FnMut(Record<'_>) -> std::result::Result<(), Problem>,
) -> Result<()> {
    let failed = |error: io::Error| unreadable(what, &error);
    let mut visit = |raw: Record<'_>| {
        let refused = |problem: Problem| {
            let place = format!("{what}, line {}", problem.line);
            Error::input(place, problem.why)
        };
        visit(raw).map_err(refused)
    };
    let mut lines = Lines {
        input: BufReader::with_capacity(BUFFER_BYTES, input),
        line: Vec::new(),
        number: 0,
        start: 0,
        end: 0,
    };
    if !lines.next().map_err(failed)? {
        return Err(Error::input(what, "no record in it"));
    }
    if let Some(found) = json::not_text(&lines.line) {
        return Err(Error::input(what, found));
    }
    let form = form(&lines.line);
    let (mut first, number) = (std::mem::take(&mut lines.line), lines.number);
    let start = lines.start;
    let is_whole = match form {
        Form::Lines => false,
        Form::Whole => {
            lines.input.read_to_end(&mut first).map_err(failed)?;
            true
        }
        Form::WholeIfAlone => !lines.next().map_err(failed)?,
    };
    if is_whole {
        return match elements(number, start, first.trim_ascii_end()) {
            Err(problem) => visit(Err(problem)),
            Ok(records) if records.is_empty() => Err(Error::input(what, "no record in it")),
            Ok(records) => records.into_iter().try_for_each(|raw| visit(Ok(raw))),
        };
    }
    visit(text_of(number, start, &first))?;
    if matches!(form, Form::WholeIfAlone) {
        visit(text_of(lines.number, lines.start, &lines.line))?;
    }
    while lines.next().map_err(failed)? {
        visit(text_of(lines.number, lines.start, &lines.line))?;
    }
    Ok(())
}

struct Lines<'a> {
    input: BufReader<&'a mut dyn Read>,
    line: Vec<u8>,
    /// The number of `line`, from 1.
    number: u64,
    /// The places of its first byte and of the byte behind it in the file.
    start: u64,
    end: u64,
}

impl Lines<'_> {
    /// Moves to the next line that is not blank; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            self.line.clear();
            let bytes = self.input.read_until(b'\n', &mut self.line)?;
            if bytes == 0 {
                return Ok(false);
            }
            self.number += 1;
            self.start = self.end;
            self.end += bytes as u64;
            if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
                self.start += 3;
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

enum Form {
    Lines,
    /// One JSON value over several lines.
    Whole,
    /// One JSON value with several records, unless more lines follow.
    WholeIfAlone,
}

fn form(first: &[u8]) -> Form {
    match serde_json::from_slice::<&RawValue>(first) {
        Ok(value) if value.get().starts_with('[') || data(value.get()).is_some() => {
            Form::WholeIfAlone
        }
        // JSON strings cannot span lines, so this is a broken line.
        Err(error) if error.is_eof() && !error.to_string().contains("a string") => Form::Whole,
        _ => Form::Lines,
    }
}

/// Returns the `data` array of an object; `None` if it has none.
fn data(object: &str) -> Option<&RawValue> {
    let [data] = json::values(object, ["data"]).ok()?;
    data.filter(|data| data.get().starts_with('['))
}

/// Returns the records of one JSON value that begins in line `line`, at byte `at` of the file.
fn elements(mut line: u64, at: u64, bytes: &[u8]) -> std::result::Result<Vec<Raw<'_>>, Problem> {
    let not_json = |error: serde_json::Error| Problem::from_json(line, &error);
    let value: &RawValue = serde_json::from_slice(bytes).map_err(not_json)?;
    let records: Vec<&RawValue> = match data(value.get()).unwrap_or(value).get() {
        array if array.starts_with('[') => serde_json::from_str(array).map_err(not_json)?,
        _ => vec![value],
    };
    let mut seen = 0;
    let raw = records.into_iter().map(|record| {
        let json = record.get();
        let start = json.as_ptr() as usize - bytes.as_ptr() as usize;
        line += memchr::memchr_iter(b'\n', &bytes[seen..start]).count() as u64;
        seen = start;
        let at = at + start as u64;
        Raw { line, at, json }
    });
    Ok(raw.collect())
}

fn text_of(line: u64, at: u64, bytes: &[u8]) -> std::result::Result<Raw<'_>, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Raw {
            line,
            at: at + (text.len() - text.trim_ascii_start().len()) as u64,
            json: text.trim_ascii(),
        }),
        Err(error) => {
            let at = error.valid_up_to();
            let why = format!("not UTF-8: byte 0x{:02x} in column {}", bytes[at], at + 1);
            Err(Problem { line, why })
        }
    }
}
