//! Turns passes into documents, and documents into bytes. This module computes no figure.

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
