//! Figures as text and JSON. Reads summaries, computes nothing.

mod bars;
mod cells;
mod charts;
pub mod client;
pub mod csv;
pub mod finish;
mod html;
pub mod json;
pub mod live;
pub mod load;
pub mod load_json;
mod markdown;
pub mod metrics;
mod notes;
mod read_back;
pub mod render;
pub mod round_json;
pub mod saved;
mod saved_load;
mod saved_replay;
mod saved_run;
mod sections;
pub mod table;
pub mod vllm;
pub mod workload_json;
mod workloads;

use crate::units::fixed;

/// Said of every result that the built-in server gave.
pub const MOCK: &str = "Mock server: not a measurement of an engine";

/// A number as the blocks print it, `n/a` where there is none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "n/a".to_string(), |value| fixed(value, decimals))
}

/// A share as per cent.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Whether it would steer a terminal or turn the text around it: files hold what servers and users wrote.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
pub mod golden;
#[cfg(test)]
mod golden_round;
