//! One file or folder a command: its options, its plan, what it adds to the run that all share.

pub mod benchmark;
pub mod check;
pub mod convert;
pub mod load;
pub mod mock;
pub mod replay;
pub mod report;
pub mod run;
