//! Traces: when requests came, how long they were, and which parts their prompts shared.
//!
//! In: JSON records in Mooncake's format, where `hash_ids` names the prompt's blocks of 512 tokens, or in Bailian's,
//! with blocks of 16 and `chat_id`; or columns without names of blocks (`csv`). Out: due times, lengths, names, and
//! which request follows which reply; `text` makes the prompts, one at a time. Unknown keys are ignored; known keys
//! that would change what is sent are refused.

mod csv;
#[cfg(test)]
mod fuzz;
mod reader;
mod text;
mod unit;

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use self::reader::{Reader, Request};
pub use self::text::Texts;
pub use self::unit::Unit;
use super::Prompt;
use super::dataset::{Problem, source};
use super::json;
use crate::error::{Error, Result};

/// The requests of a trace by time; they take 56 bytes a request and 8 a block.
#[derive(Debug)]
pub struct Trace {
    requests: Vec<Request>,
    /// The names of all requests' blocks, one request after the other.
    hash_ids: Vec<u64>,
    block_tokens: u64,
    skipped: u64,
}

impl Trace {
    /// Reads and checks a file; `what` begins every error. Requests with the same timestamp keep the file's order.
    ///
    /// Without a unit, timestamps in JSON are milliseconds, those in columns seconds or dates.
    ///
    /// # Errors
    /// Fails on the first wrong record, with its line; if timestamps look like seconds and no unit was given; and on a
    /// file without records, or one that cannot be read.
    pub fn load(what: &str, path: &Path, unit: Option<Unit>) -> Result<Trace> {
        Trace::read(what, source::open(what, path)?, unit)
    }

    fn read(what: &str, input: impl Read, unit: Option<Unit>) -> Result<Trace> {
        let in_line =
            |problem: Problem| Error::input(format!("{what}, line {}", problem.line), problem.why);
        let failed = |error| Error::input(what, format!("cannot read: {error}"));
        let mut input = BufReader::new(input);
        let is_json = matches!(input.fill_buf().map_err(failed)?.first(), Some(b'{' | b'['));
        let mut first = Vec::new();
        if !is_json {
            input.read_until(b'\n', &mut first).map_err(failed)?;
        }
        let mut reader = Reader::new();
        if let Some(header) = header(&first) {
            csv::read(&mut reader, header, input, unit).map_err(in_line)?;
            if reader.requests.is_empty() {
                return Err(Error::input(what, "no record with tokens in it"));
            }
        } else {
            let mut input = Cursor::new(first).chain(input);
            source::read(what, &mut input, &mut |raw| reader.push(raw?))?;
            reader.scale(unit).map_err(|why| {
                let why = format!("timestamps look like seconds, not milliseconds: {why}");
                Error::input(what, why)
                    .next("Try: --trace-unit s; or --trace-unit ms if they really are milliseconds")
            })?;
        }
        reader.put_in_order().map_err(in_line)?;
        Ok(Trace {
            requests: reader.requests,
            hash_ids: reader.hash_ids,
            block_tokens: reader.block_tokens,
            skipped: reader.skipped,
        })
    }

    /// Returns the number of records that were left out because they have no tokens.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the request whose reply request `k` waits for: the previous turn of its session, or its parent.
    /// `Some(None)` for a session's first, `None` for a request without a session.
    pub fn after(&self, k: usize) -> Option<Option<u64>> {
        let turn = self.requests[k].turn?;
        Some(turn.after.map(u64::from))
    }

    /// Returns the number of requests, at least 1.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Returns the due time of request `k`, from the first one's, at `speed` times the trace's own.
    pub fn due_ns(&self, k: usize, speed: f64) -> u64 {
        let after_ms = self.requests[k].timestamp_ms - self.requests[0].timestamp_ms;
        (after_ms * 1e6 / speed).round() as u64
    }

    /// Returns the tokens of a block that one of `hash_ids` names.
    pub fn block_tokens(&self) -> u64 {
        self.block_tokens
    }

    pub fn input_tokens(&self, k: usize) -> u64 {
        self.requests[k].input_tokens
    }

    /// Returns at least 1: some traces have answers without tokens, which cannot be requested.
    pub fn output_tokens(&self, k: usize) -> u64 {
        self.requests[k].output_tokens.max(1)
    }

    /// Returns the prompt of request `k`. O(blocks).
    pub fn prompt(&self, k: usize, texts: &Texts) -> Prompt {
        texts.prompt(self.hash_ids(k), self.input_tokens(k))
    }

    /// Returns the blocks of its prompt as parts for `Perfect`.
    pub fn parts(&self, k: usize) -> impl Iterator<Item = (u64, u64)> {
        let tokens = self.input_tokens(k);
        let block_tokens = self.block_tokens;
        (0..).zip(self.hash_ids(k)).map(move |(place, &id)| {
            let rest = tokens - block_tokens * place;
            (id, rest.min(block_tokens))
        })
    }

    fn hash_ids(&self, k: usize) -> &[u64] {
        let request = &self.requests[k];
        let blocks = request.input_tokens.div_ceil(self.block_tokens) as usize;
        &self.hash_ids[request.first_hash..][..blocks]
    }
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
