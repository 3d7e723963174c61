//! Completions: a choice has its text beside its number.

use crate::client::chunk::Chunk;
use crate::client::json::Raw;

/// Reads the text of a choice.
pub fn read<'a>(chunk: &mut Chunk<'a>, text: Option<Raw<'a>>, is_first: bool) {
    chunk.add_content(text, is_first);
}
