//! From requests to figures: one way for every command, whether the requests come from a run or from a file.
//!
//! Nothing here prints. Lists are sorted with `sort_by_cached_key`: all types share one compiled sort of their keys.

mod answers;
pub mod batches;
pub mod catalog;
mod ceiling;
pub mod client;
pub mod clock;
pub mod compare;
pub mod comparison;
pub mod counts;
mod edges;
pub mod evidence;
pub mod facts;
pub mod figures;
pub mod find_rate;
pub mod goodput;
pub mod kv_cache;
pub mod lengths;
mod overlap;
pub mod overload;
pub mod pass;
pub mod probe;
pub mod record;
pub mod records;
pub mod reuse;
pub mod separation;
pub mod shards;
pub mod speed_up;
pub mod spread;
mod steady;
mod tally;
pub mod terms;
#[cfg(test)]
mod tests;
pub mod time;
