//! The server as its clients see it: each test starts one.
//!
//! They stand apart from the files that they test, because all of the server is below them.

mod answers;
mod freezing;
mod pacing;
mod response_cache;
mod routes;
mod server;
