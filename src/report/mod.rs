//! Figures as text and JSON. Reads summaries, computes nothing.

mod cells;
pub mod client;
pub mod csv;
pub mod finish;
pub mod json;
pub mod live;
mod notes;
pub mod round_json;
pub mod table;

use crate::units::fixed;

/// A number as the blocks print it, `n/a` where there is none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "n/a".to_string(), |value| fixed(value, decimals))
}

/// A share as per cent.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_round;
