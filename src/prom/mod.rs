//! Server metrics: a Prometheus page read, the asked-for names found on it, and what changed between two
//! scrapes. Judges nothing and prints nothing.
//!
//! Url -> `scrape` -> `parse` -> `series` (readings of one scrape) -> `change` (figures from several).
pub mod catalog;
pub mod change;
mod nearest;
pub mod parse;
pub mod scrape;
pub mod selector;
pub mod series;
#[cfg(test)]
mod tests;
