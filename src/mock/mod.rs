//! A server that looks like vLLM and simulates its engine, for tests and for trying things out.
//!
//! ```text
//! server: accept -> connection thread: request -> routes -> answer: generation -> schedule (Plan) -> pacer (one thread)
//!                                                          response_cache   kv_cache         stream
//!                                                                                            script, events
//! ```
//!
//! What an answer will be and when each token is due is computed when a request has been read
//! (`schedule`); then it is only waited and written. Shares no parser and no type with the client, so that the
//! two do not share mistakes.

mod answer;
mod body;
mod events;
mod faults;
mod freeze;
mod generation;
mod hang_up;
mod http;
mod kv_cache;
mod metrics;
mod options;
mod pacer;
mod prompt;
mod request;
mod response_cache;
mod routes;
mod schedule;
mod script;
mod server;
mod shared;
mod stream;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod truth;

pub use options::{OPTIONS, Options};
pub use server::Mock;
