//! Tests that drive the finished binary from outside. One crate, so that it links once; those of times
//! are in timing.rs.

mod bad_files;
mod benchmark;
mod check;
mod check_endpoint;
mod check_prometheus;
mod convert;
mod exit_codes;
mod guides;
mod harness;
mod headers;
mod hostile;
mod kills;
mod load;
mod load_guide;
mod load_trace;
mod lost;
mod manners;
mod memory;
mod mock_mark;
mod odd_counts;
mod packaging;
mod proxy;
mod readme;
mod replay;
mod replay_guide;
mod replay_truth;
mod report;
mod report_equals_run;
mod run;
mod run_backends;
mod run_guide;
mod run_signals;
mod secrets;
mod tls;
mod util;
