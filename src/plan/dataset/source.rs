//! A file of records as pieces of text: JSON lines, an array, an object with a `data` array, or one object.
//!
//! JSON lines are read one by one, so that a pipe does as well as a file; the rest is read whole. What is in a
//! record is for the caller, who also finds out whether a line is JSON at all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::file;

const BUFFER_BYTES: usize = 1 << 20;

/// The text of one record.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// Of its first byte, from 1.
    pub line: u64,
    /// Without white space around it.
    pub json: &'a str,
}

impl<'a> Raw<'a> {
    /// Parses a record that must be an object.
    pub fn object<T: Deserialize<'a>>(self) -> std::result::Result<T, Problem> {
        let not_json = |error: serde_json::Error| Problem::from_json(self.line, &error);
        // serde would read a struct from an array as well.
        if !self.json.starts_with('{') {
            let value: &RawValue = serde_json::from_str(self.json).map_err(not_json)?;
            let why = format!("{}; want an object", kind(value.get()));
            return Err(Problem {
                line: self.line,
                why,
            });
        }
        serde_json::from_str(self.json).map_err(not_json)
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: u64,
    /// One line.
    pub why: String,
}

impl Problem {
    /// `line` is where the text that was parsed begins.
    pub fn from_json(line: u64, error: &serde_json::Error) -> Problem {
        let why = without_place(error);
        let why = if error.is_data() {
            why
        } else {
            format!("not JSON at column {}: {why}", error.column().max(1))
        };
        Problem {
            line: line + (error.line() as u64).saturating_sub(1),
            why,
        }
    }
}

/// What is wrong with a piece of a record; line and column in the piece would mislead.
pub fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = message.rsplit_once(" at line ");
    shortened(place.map_or(message.as_str(), |(why, _)| why))
}

/// Text from the file on one line of bounded length.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let mut short: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// What a JSON value is called in an error; `json` begins with it.
pub fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Takes each record as it is read; breaks to end the reading.
pub type Visit<'a> = dyn FnMut(std::result::Result<Raw<'_>, Problem>) -> ControlFlow<()> + 'a;

/// Opens a file or a pipe.
pub fn open(what: &str, path: &Path) -> Result<File> {
    if path.is_dir() {
        return Err(Error::input(what, "a folder; want a file"));
    }
    file::open(path).map_err(|error| unreadable(what, &error))
}

/// Hands over each record to the first that is wrong; `what` begins every error.
///
/// # Errors
/// That record's, and those of `read`.
pub fn until_wrong(
    what: &str,
    input: impl Read,
    mut on_record: impl FnMut(Raw<'_>) -> std::result::Result<(), Problem>,
) -> Result<()> {
    let mut wrong = None;
    read(what, input, &mut |raw| match raw.and_then(&mut on_record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(problem) => {
            wrong = Some(problem);
            ControlFlow::Break(())
        }
    })?;
    match wrong {
        Some(Problem { line, why }) => Err(Error::input(format!("{what}, line {line}"), why)),
        None => Ok(()),
    }
}

/// Reads to the end, unless `visit` breaks; `what` begins every error.
///
/// # Errors
/// No record in it, not text, or it cannot be read.
pub fn read(what: &str, input: impl Read, visit: &mut Visit) -> Result<()> {
    let mut lines = Lines {
        input: BufReader::with_capacity(BUFFER_BYTES, input),
        line: Vec::new(),
        number: 0,
    };
    let failed = |error: io::Error| unreadable(what, &error);
    if !lines.next().map_err(failed)? {
        return Err(Error::input(what, "no record in it"));
    }
    if let Some(found) = not_text(&lines.line) {
        return Err(Error::input(what, found));
    }
    match form(&lines.line) {
        Form::Lines => {}
        Form::Whole => {
            let mut text = std::mem::take(&mut lines.line);
            lines.input.read_to_end(&mut text).map_err(failed)?;
            return whole(what, lines.number, text.trim_ascii_end(), visit);
        }
        Form::WholeIfAlone => {
            let (first, number) = (std::mem::take(&mut lines.line), lines.number);
            if !lines.next().map_err(failed)? {
                return whole(what, number, &first, visit);
            }
            if visit(text_of(number, &first)).is_break() {
                return Ok(());
            }
        }
    }
    loop {
        if visit(text_of(lines.number, &lines.line)).is_break() || !lines.next().map_err(failed)? {
            return Ok(());
        }
    }
}

fn unreadable(what: &str, error: &io::Error) -> Error {
    Error::input(what, format!("cannot read: {error}"))
}

struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// Of `line`, from 1.
    number: u64,
}

impl<R: Read> Lines<R> {
    /// Goes on to the next line that is not blank; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            self.number += 1;
            if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Says what a file is that begins with `first` and holds no text in UTF-8.
pub(in crate::plan) fn not_text(first: &[u8]) -> Option<&'static str> {
    match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some("UTF-16 or binary; want JSON in UTF-8, such as iconv -f UTF-16 -t UTF-8 writes")
        }
        [0x1f, 0x8b, ..] => Some("compressed; unpack it with gunzip first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("compressed; unpack it with unzstd first"),
        [b'P', b'K', 3 | 5, ..] => Some("a zip archive; unpack it with unzip first"),
        [b'P', b'A', b'R', b'1', ..] => Some("a Parquet file; want JSON lines or a JSON array"),
        _ if first.contains(&0) => Some("binary; want JSON in UTF-8"),
        _ => None,
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
        // No text in JSON runs over the end of a line: that is a broken line.
        Err(error) if error.is_eof() && !error.to_string().contains("a string") => Form::Whole,
        _ => Form::Lines,
    }
}

/// The `data` array of an object; `None` where the object has none.
fn data(object: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Wrapper<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    if !object.starts_with('{') {
        return None;
    }
    let data = serde_json::from_str::<Wrapper>(object).ok()?.data?;
    data.get().starts_with('[').then_some(data)
}

/// Hands over the records of one JSON value that begins in line `number`.
fn whole(what: &str, number: u64, bytes: &[u8], visit: &mut Visit) -> Result<()> {
    let visited = match elements(number, bytes) {
        Err(problem) => visit(Err(problem)),
        Ok(records) if records.is_empty() => return Err(Error::input(what, "no record in it")),
        Ok(records) => {
            let (mut line, mut seen) = (number, bytes.as_ptr() as usize);
            records.iter().try_for_each(|record| {
                let json = record.get();
                let from_start = seen - bytes.as_ptr() as usize;
                let to = json.as_ptr() as usize - bytes.as_ptr() as usize;
                line += memchr::memchr_iter(b'\n', &bytes[from_start..to]).count() as u64;
                seen = json.as_ptr() as usize;
                visit(Ok(Raw { line, json }))
            })
        }
    };
    // The caller, who broke off, knows why.
    let _ = visited;
    Ok(())
}

fn elements(number: u64, bytes: &[u8]) -> std::result::Result<Vec<&RawValue>, Problem> {
    let not_json = |error: serde_json::Error| Problem::from_json(number, &error);
    let value: &RawValue = serde_json::from_slice(bytes).map_err(not_json)?;
    match value.get() {
        array if array.starts_with('[') => serde_json::from_str(array).map_err(not_json),
        object => match data(object) {
            Some(array) => serde_json::from_str(array.get()).map_err(not_json),
            None => Ok(vec![value]),
        },
    }
}

fn text_of(line: u64, bytes: &[u8]) -> std::result::Result<Raw<'_>, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Raw {
            line,
            json: text.trim_ascii(),
        }),
        Err(error) => {
            let at = error.valid_up_to();
            let why = format!("not UTF-8: byte 0x{:02x} in column {}", bytes[at], at + 1);
            Err(Problem { line, why })
        }
    }
}
