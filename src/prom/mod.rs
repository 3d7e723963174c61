//! Server metrics: a Prometheus page read, the asked-for names found on it, and what changed between two
//! scrapes. This module judges nothing and prints nothing.
//!
//! Url -> `scrape` -> `parse` -> `series` (readings of one scrape) -> `change` (figures from several).
//! `course` folds the scrapes of a pass, and `kv` makes its KV figures of them, by the table in `engine`.
pub mod catalog;
pub mod change;
pub mod course;
pub mod engine;
pub mod figure;
pub mod kv;
mod nearest;
pub mod parse;
pub mod scrape;
pub mod selector;
pub mod series;
mod size;
#[cfg(test)]
mod tests;
