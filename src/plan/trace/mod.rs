//! Traces in Mooncake's format: when requests came, how long they were, and what their prompts had in common.
//!
//! In: a file with a record a request, of which `hash_ids` names the prompt block by block of 512 tokens. Out:
//! due times, lengths and names; `text` makes the prompts, one at a time. Keys that it does not know are ignored,
//! those that would send something else are refused.

#[cfg(test)]
mod fuzz;
mod text;

use std::io::Read;
use std::path::Path;

use serde_json::value::RawValue;

use self::text::BLOCK_TOKENS;
pub use self::text::Texts;
use super::Prompt;
use super::dataset::Problem;
use super::dataset::source::{self, Raw};
use super::json::{self, kind, shortened};
use crate::error::Result;

/// The requests of a trace by time; 32 bytes a request and 8 a block.
#[derive(Debug)]
pub struct Trace {
    requests: Vec<Request>,
    /// The names of all requests' blocks, one request after the other.
    hash_ids: Vec<u64>,
}

#[derive(Debug)]
struct Request {
    timestamp_ms: f64,
    input_tokens: u64,
    output_tokens: u64,
    /// Place in `hash_ids`.
    first_hash: usize,
}

/// The keys that are read, and those of AIPerf's own, each of which asks for other requests than the first four.
const KEYS: [&str; 10] = [
    "timestamp",
    "input_length",
    "output_length",
    "hash_ids",
    "delay",
    "text_input",
    "messages",
    "payload",
    "tools",
    "extra",
];

impl Trace {
    /// Reads and checks a file; `what` begins every error. Requests of one timestamp stay in the file's order.
    ///
    /// # Errors
    /// The first record that is wrong, with its line; a file without records, one that cannot be read.
    pub fn load(what: &str, path: &Path) -> Result<Trace> {
        Trace::read(what, source::open(what, path)?)
    }

    fn read(what: &str, input: impl Read) -> Result<Trace> {
        let mut trace = Trace {
            requests: Vec::new(),
            hash_ids: Vec::new(),
        };
        source::read(what, input, |raw| trace.push(raw?))?;
        let time = |request: &Request| request.timestamp_ms;
        trace.requests.sort_by(|a, b| time(a).total_cmp(&time(b)));
        Ok(trace)
    }

    fn push(&mut self, raw: Raw<'_>) -> std::result::Result<(), Problem> {
        let values = raw.object(|json| json::values(json, KEYS))?;
        let first_hash = self.hash_ids.len();
        let request = request(values, first_hash, &mut self.hash_ids);
        self.requests.push(request.map_err(|why| raw.problem(why))?);
        Ok(())
    }

    /// Requests; at least 1.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// When request `k` is due, from the first one's time on, at `speed` times the trace's own.
    pub fn due_ns(&self, k: usize, speed: f64) -> u64 {
        let after_ms = self.requests[k].timestamp_ms - self.requests[0].timestamp_ms;
        (after_ms * 1e6 / speed).round() as u64
    }

    pub fn input_tokens(&self, k: usize) -> u64 {
        self.requests[k].input_tokens
    }

    /// At least 1: an answer of no token, which some traces have, cannot be asked for.
    pub fn output_tokens(&self, k: usize) -> u64 {
        self.requests[k].output_tokens.max(1)
    }

    /// The prompt of request `k`. O(blocks).
    pub fn prompt(&self, k: usize, texts: &Texts) -> Prompt {
        texts.prompt(self.hash_ids(k), self.input_tokens(k))
    }

    /// The blocks of its prompt as parts for `Perfect`.
    pub fn parts(&self, k: usize) -> impl Iterator<Item = (u64, u64)> {
        let tokens = self.input_tokens(k);
        (0..).zip(self.hash_ids(k)).map(move |(place, &id)| {
            let rest = tokens - BLOCK_TOKENS * place;
            (id, rest.min(BLOCK_TOKENS))
        })
    }

    fn hash_ids(&self, k: usize) -> &[u64] {
        let request = &self.requests[k];
        let blocks = request.input_tokens.div_ceil(BLOCK_TOKENS) as usize;
        &self.hash_ids[request.first_hash..][..blocks]
    }
}

/// Reads one record and puts its names behind `hash_ids`; an error says what is wrong with it.
fn request(
    values: [Option<&RawValue>; KEYS.len()],
    first_hash: usize,
    hash_ids: &mut Vec<u64>,
) -> std::result::Result<Request, String> {
    let [timestamp, input, output, ids, others @ ..] = values;
    if let Some(at) = others.iter().position(Option::is_some) {
        let key = KEYS[KEYS.len() - others.len() + at];
        return Err(format!(
            "{key}: not supported; prompts are made from hash_ids and sent at timestamp"
        ));
    }
    let input_tokens = number("input_length", input)?;
    if input_tokens == 0 {
        return Err("input_length: 0; want at least one token".to_string());
    }
    let ids = wanted("hash_ids", ids)?.get();
    if !ids.starts_with('[') {
        return Err(format!("hash_ids: {}, not an array", kind(ids)));
    }
    let ids = json::elements(ids)?;
    let blocks = input_tokens.div_ceil(BLOCK_TOKENS);
    if ids.len() as u64 != blocks {
        return Err(format!(
            "{} hash_ids for an input_length of {input_tokens}; want {blocks}, one for every {BLOCK_TOKENS} tokens",
            ids.len()
        ));
    }
    for id in ids {
        hash_ids.push(number("hash_ids", Some(id))?);
    }
    Ok(Request {
        timestamp_ms: milliseconds(wanted("timestamp", timestamp)?.get())?,
        input_tokens,
        output_tokens: number("output_length", output)?,
        first_hash,
    })
}

fn wanted<'a>(key: &str, value: Option<&'a RawValue>) -> std::result::Result<&'a RawValue, String> {
    value.ok_or_else(|| {
        format!("no {key} in it; want timestamp, input_length, output_length and hash_ids")
    })
}

fn number(key: &str, value: Option<&RawValue>) -> std::result::Result<u64, String> {
    let json = wanted(key, value)?.get();
    json.parse().map_err(|_| {
        let have = shortened(json);
        format!("{key}: want a whole number from 0 to 2^64 - 1, have {have}")
    })
}

fn milliseconds(json: &str) -> std::result::Result<f64, String> {
    let number = serde_json::from_str(json).ok();
    number.filter(|ms| *ms >= 0.0).ok_or_else(|| {
        let have = shortened(json);
        format!("timestamp: want milliseconds from 0 on, have {have}")
    })
}

#[cfg(test)]
mod tests;
