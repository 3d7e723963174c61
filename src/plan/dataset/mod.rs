//! Datasets of the user: conversations and whole request bodies, one a record.
//!
//! In: a file in one of the formats of `source` with records of the kinds of `draft`. Out: the records that the seed
//! draws, or an error with the file's line. It sends nothing and shortens nothing.

pub(super) mod beside;
mod draft;
mod draw;
#[cfg(test)]
mod fuzz;
pub(super) mod message;
mod record;
pub(super) mod source;
#[cfg(test)]
mod tests;
pub(super) mod text;

use std::io::Read;
use std::path::Path;

use serde_json::json;

pub use self::draft::Draft;
pub(super) use self::draft::session_id;
pub use self::draw::Dataset;
use self::draw::Draw;
pub use self::record::{Content, Record};
pub use self::source::Problem;
use super::prompt::Writer;
use crate::error::Result;

/// The words of a made prompt without its question: enough to show what a cache does for it.
const MADE_WORDS: u64 = 480;

/// Reads the file once, checks every record and keeps the `most` that the seed draws; `None` for all.
///
/// # Errors
/// Fails on the first record that fits no kind or is not JSON, on a file without records, and on one that cannot be
/// read.
pub fn load(path: &Path, most: Option<u64>, seed: u64) -> Result<Dataset> {
    let what = format!("--dataset {}", path.display());
    load_from(&what, source::open(&what, path)?, most, seed)
}

/// Makes `records` prompts of `MADE_WORDS` words that share nothing.
pub fn made(records: u64, most: Option<u64>, seed: u64) -> Result<Dataset> {
    let writer = Writer::new(seed, "synthetic");
    let lines = (0..records).map(|number| {
        let text = writer.context(number, MADE_WORDS) + &writer.question(number);
        json!({ "prompt": text }).to_string() + "\n"
    });
    let text: String = lines.collect();
    load_from("--synthetic", text.as_bytes(), most, seed)
}

fn load_from(what: &str, mut input: impl Read, most: Option<u64>, seed: u64) -> Result<Dataset> {
    let mut draw = Draw::new(most, seed);
    source::read(what, &mut input, &mut |raw| {
        draw.offer(&draft::parse(raw?)?);
        Ok(())
    })?;
    Ok(draw.finish())
}

/// Reads the file once and passes on every record, or the problem of a wrong one.
///
/// It continues after a wrong record; an array that is not JSON ends where it breaks.
///
/// # Errors
/// Fails on a file without records, or one that cannot be read.
pub fn scan(
    path: &Path,
    mut on_record: impl FnMut(std::result::Result<Draft<'_>, Problem>),
) -> Result<()> {
    let what = path.display().to_string();
    source::read(&what, &mut source::open(&what, path)?, &mut |raw| {
        on_record(raw.and_then(draft::parse));
        Ok(())
    })
}
