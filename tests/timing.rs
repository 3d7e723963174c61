//! Tests whose figures are times or shares of a processor: behind the other tests, and one by one.
//!
//! Beside others, on two cores, the errors of the mock's stamps are larger than what is checked.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod accuracy;
mod benchmark_truth;
mod load_open;
#[allow(dead_code, unused_imports)] // Some of it serves the other crate only.
mod util;
mod watchdog;

/// The machine without another test, for as long as the guard lives.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
