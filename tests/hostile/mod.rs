//! A server that does everything wrong, and how the commands react: the kind of failure, the counts, the memory, the
//! exit code, and that nothing exceeds its timeout.

mod cases;
mod load;
mod mix;
mod others;
mod server;
