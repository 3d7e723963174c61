//! Tests of times and CPU shares, which run after the other tests, one at a time.
//!
//! On two cores shared with other tests, the errors of the mock's stamps exceed the checked limits.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod accuracy;
mod benchmark_truth;
mod find_rate_truth;
mod load_open;
#[allow(dead_code, unused_imports)] // Some of it serves the other crate only.
mod util;
mod verdict_times;
mod watchdog;

/// Keeps other tests off the machine while the guard lives.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
