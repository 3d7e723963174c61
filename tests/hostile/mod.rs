//! A server that does everything wrong, and what the commands make of it: the kind of failure, the counts, the memory,
//! the exit code, and that nothing outlives its timeout.

mod cases;
mod load;
mod mix;
mod others;
mod server;
