//! Experiments: state machines that decide what to send next by what came back. They do no I/O and own no clock, so they
//! are tested against exact simulators.

pub mod compare;
pub mod find_rate;
pub mod probe;
