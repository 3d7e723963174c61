//! Passes as documents, and documents as bytes. Computes no figure.

mod bars;
mod charts;
pub mod client;
pub mod csv;
pub mod document;
#[cfg(test)]
pub mod golden;
mod grid;
pub mod html;
pub mod json;
pub mod layout;
pub mod markdown;
mod page;
pub mod summary_file;
pub mod text;
pub mod vllm;

/// Whether it would steer a terminal or turn the text around it: files hold what servers and users wrote.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
