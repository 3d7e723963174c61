//! Datasets that the user brings: conversations and whole request bodies, one a record.
//!
//! In: a file in one of the forms of `source` with records of the kinds of `draft`. Out: the records that the seed
//! draws, or an error with the file's line. It sends nothing and cuts nothing to length.

mod draft;
mod draw;
#[cfg(test)]
mod fuzz;
pub(super) mod message;
pub(super) mod source;
#[cfg(test)]
mod tests;
mod text;

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub use self::draft::Draft;
pub(super) use self::draft::session_id;
use self::draw::Draw;
pub(super) use self::draw::mixed;
pub use self::source::Problem;
use crate::error::Result;

/// One record of a dataset: a session, or one request as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of the record's first byte, from 1.
    pub line: u64,
    pub session_id: Option<String>,
    pub content: Content,
}

/// What a record asks the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Texts are escaped for the inside of a JSON string (`plan::escape`). Messages without any text are left out.
    Conversation {
        system: Vec<Arc<str>>,
        /// One a turn, never empty.
        questions: Vec<Arc<str>>,
    },
    /// A line of an OpenAI batch file.
    Body {
        /// The body as it stands in the file.
        json: Arc<str>,
        /// Its last user message, or its prompt, unescaped, for reports; empty if it has none.
        prompt: String,
        /// The line's `url`, such as `/v1/chat/completions`.
        url: Option<String>,
        /// Whether the body asks for a stream.
        streamed: bool,
    },
}

/// The records that a seed has drawn from a file.
#[derive(Debug)]
pub struct Dataset {
    total: u64,
    /// In the file's order, each with the key that it was drawn by.
    drawn: Vec<(u64, Arc<Record>)>,
}

impl Dataset {
    /// Records in the file.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Puts another record in the place of each for which `change` gives one.
    pub fn change(&mut self, mut change: impl FnMut(&Record) -> Option<Record>) {
        for (_, record) in &mut self.drawn {
            if let Some(changed) = change(record) {
                *record = Arc::new(changed);
            }
        }
    }

    /// The first `n` of the seed's draw, in the file's order; all that were kept for `None`.
    ///
    /// A smaller `n` gives a subset of a larger one.
    pub fn sample(&self, n: Option<u64>) -> Vec<Arc<Record>> {
        let mut keys: Vec<(u64, usize)> = self
            .drawn
            .iter()
            .enumerate()
            .map(|(at, (key, _))| (*key, at))
            .collect();
        let wanted = n.map_or(keys.len(), |n| keys.len().min(n as usize));
        keys.sort_unstable();
        let mut chosen: Vec<usize> = keys[..wanted].iter().map(|&(_, at)| at).collect();
        chosen.sort_unstable();
        chosen.iter().map(|&at| self.drawn[at].1.clone()).collect()
    }
}

/// Reads the file once, checks every record and keeps the `most` that the seed draws; all for `None`.
///
/// # Errors
/// The first record that fits nothing or is not JSON, a file without records, one that cannot be read.
pub fn load(path: &Path, most: Option<u64>, seed: u64) -> Result<Dataset> {
    let what = format!("--dataset {}", path.display());
    load_from(&what, source::open(&what, path)?, most, seed)
}

fn load_from(what: &str, input: impl Read, most: Option<u64>, seed: u64) -> Result<Dataset> {
    let mut draw = Draw::new(most, seed);
    source::until_wrong(what, input, |raw| {
        draw.offer(&draft::parse(raw)?);
        Ok(())
    })?;
    Ok(draw.finish())
}

/// Reads the file once and hands over every record, and every one that is wrong.
///
/// It goes on after a wrong record; an array that is not JSON ends where it breaks.
///
/// # Errors
/// A file without records, or one that cannot be read.
pub fn scan(
    path: &Path,
    mut on_record: impl FnMut(std::result::Result<Draft<'_>, Problem>),
) -> Result<()> {
    let what = path.display().to_string();
    source::read(&what, source::open(&what, path)?, &mut |raw| {
        on_record(raw.and_then(draft::parse));
        ControlFlow::Continue(())
    })
}
