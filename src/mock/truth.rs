//! The truth log: one JSON line a generating request, with what was due and what was written when.
//!
//! A line is in the file before the last byte of its answer is sent, so a client that has its answer
//! finds its line. Where a client hangs up, the line follows when a write of its stream shows it, or at once if it
//! waits for a reply that is not streamed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use serde::Serialize;

use super::generation::Generation;
use super::schedule::Plan;
use crate::error::{Error, Result};

/// One line. Times are monotonic nanoseconds since the mock's start.
#[derive(Default, Serialize)]
pub struct Truth {
    /// The client's `X-Request-Id`.
    pub id: Option<String>,
    pub path: String,
    /// `None`: the connection was closed without an answer.
    pub status: Option<u16>,
    /// The time at which the last byte of the request had been read.
    pub t_read_ns: u64,
    /// The due time of each token of the answer; empty if there was none.
    pub t_due_ns: Vec<u64>,
    /// The time just before the write of each token that was written. Tokens that shared an event share a time. It is
    /// before the write, because a write wakes its reader, which may run first.
    pub t_written_ns: Vec<u64>,
    pub prompt_tokens: Option<usize>,
    /// Tokens found in the prefix cache; `None` where it was not asked, as for an answer of the response cache.
    pub hit_tier1_tokens: Option<usize>,
    pub hit_tier2_tokens: Option<usize>,
    /// Whether an answer of `/generate` came from the response cache; `None` on other routes and without an answer.
    pub response_cached: Option<bool>,
    /// Whether `corrupt_hits` has changed the words of the answer; `None`, and not in the line: it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<bool>,
    /// The number of tokens that were planned, as in `t_due_ns`.
    pub output_tokens: usize,
    /// The first word of the prompt; at most 100 characters.
    pub first_word: Option<String>,
    /// FNV-1a 64 over role, NUL, content, NUL of every message of a chat, in hex.
    pub messages_hash: Option<String>,
    /// The names of the request's faults, joined by `+`.
    pub fault: Option<String>,
    /// Whether the client hung up.
    pub aborted: bool,
}

impl Truth {
    pub fn add_plan(&mut self, plan: &Plan, generation: &Generation) {
        self.t_due_ns.clone_from(&plan.due_ns);
        self.prompt_tokens = Some(plan.prompt_tokens);
        if !generation.is_cached {
            self.hit_tier1_tokens = Some(plan.hit_tier1_tokens);
            self.hit_tier2_tokens = Some(plan.hit_tier2_tokens);
        }
        self.response_cached = generation.response_key.map(|_| generation.is_cached);
        self.corrupt = generation.is_corrupt.then_some(true);
        self.output_tokens = plan.due_ns.len();
    }
}

/// The file to which the lines go; without one they go nowhere.
pub struct TruthLog(Option<Mutex<File>>);

impl TruthLog {
    /// Creates or empties the file.
    pub fn create(path: Option<&Path>) -> Result<TruthLog> {
        let create = |path: &Path| {
            File::create(path)
                .map_err(|error| Error::input(format!("--truth-log {}", path.display()), error))
        };
        Ok(TruthLog(path.map(create).transpose()?.map(Mutex::new)))
    }

    /// Appends a line with one write.
    pub fn record(&self, truth: &Truth) {
        let Some(file) = &self.0 else { return };
        let mut line = serde_json::to_vec(truth).expect("numbers and texts are JSON");
        line.push(b'\n');
        let mut file = file.lock().expect("no holder panics");
        if let Err(error) = file.write_all(&line) {
            eprintln!("warning: truth log: {error}");
        }
    }
}
