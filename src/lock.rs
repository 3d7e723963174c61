//! The lock function that every layer uses.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex even if a thread panicked while it held the lock. In the release binary a panic ends the process;
/// elsewhere the values behind our locks are consistent after every statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
