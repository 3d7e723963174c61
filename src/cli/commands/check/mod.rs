//! `tmesh-cli check`: checks, before a long run, what it will need and the client itself.

pub mod client;
pub mod dataset;
pub mod endpoint;
pub mod prometheus;
