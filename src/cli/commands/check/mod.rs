//! `tmesh-cli check`: what a long run will need, and the client itself, looked at beforehand.

pub mod client;
pub mod dataset;
pub mod endpoint;
pub mod prometheus;
