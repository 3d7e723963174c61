//! Tests that drive the finished binary from outside. One crate, so that it links once.

mod accuracy;
mod bad_files;
mod benchmark;
mod check;
mod check_endpoint;
mod check_prometheus;
mod convert;
mod guides;
mod harness;
mod hostile;
mod load;
mod load_guide;
mod load_open;
mod packaging;
mod readme;
mod replay;
mod replay_guide;
mod replay_truth;
mod report;
mod run;
mod run_backends;
mod run_guide;
mod run_signals;
mod tls;
mod util;
mod watchdog;
