//! Chat completions: a choice has its text in a delta, or in a message if it is whole.

use crate::client::chunk::{Chunk, TEXTS};
use crate::client::json::{Raw, pick};

/// Reads the texts of a delta or a message.
pub fn read<'a>(chunk: &mut Chunk<'a>, delta: Option<Raw<'a>>, is_first: bool) {
    let found = pick(delta, &TEXTS.map(|(name, _)| name));
    let mut reasoning_bytes = 0;
    for ((name, kind), value) in TEXTS.into_iter().zip(found) {
        if name == "content" {
            chunk.add_content(value, is_first);
        } else {
            let [answer, reasoning] = chunk.measured(value, kind);
            chunk.answer_bytes += answer;
            // Some servers send the same text under several keys.
            reasoning_bytes = reasoning_bytes.max(reasoning);
        }
    }
    chunk.reasoning_bytes += reasoning_bytes;
}
