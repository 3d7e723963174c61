//! Engines that this program starts and stops: their command lines, their process groups, the memory of
//! these. A group is listed here from its start until it is gone, so that none outlives the program. Says
//! nothing to the user and sends no request: whether a server is healthy is the caller's to ask.

mod group;
mod log;
pub mod memory;
pub mod orphan;
pub mod presets;
pub mod process;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

use rustix::process::Signal;

use self::group::ProcessGroup;
use crate::lock::lock;

static STARTED: Started = Started::new();

/// Kills every group that was started, at once and without waiting, and removes the pid files; no server
/// starts after it.
///
/// For a second signal, a panic hook, and whatever else leaves without dropping its servers.
pub fn kill_all() {
    STARTED.kill_all();
}

/// The groups that may have members.
struct Started(Mutex<Groups>);

struct Groups {
    /// Each with its pid file.
    listed: Vec<(ProcessGroup, PathBuf)>,
    is_over: bool,
}

impl Started {
    const fn new() -> Started {
        Started(Mutex::new(Groups {
            listed: Vec::new(),
            is_over: false,
        }))
    }

    /// Starts a command that makes a group of its own.
    ///
    /// The lock is held until it is listed, so that `kill_all` comes either before it or after it.
    fn spawn(&self, command: &mut Command, pid_file: &Path) -> io::Result<Child> {
        let mut groups = lock(&self.0);
        if groups.is_over {
            return Err(io::Error::other("the program is about to leave"));
        }
        let child = command.spawn()?;
        let listed = (ProcessGroup::of(&child), pid_file.to_path_buf());
        groups.listed.push(listed);
        Ok(child)
    }

    /// To be called before the first process of the group is reaped: then its id may become another's.
    fn forget(&self, group: ProcessGroup) {
        lock(&self.0).listed.retain(|(listed, _)| *listed != group);
    }

    fn kill_all(&self) {
        let mut groups = lock(&self.0);
        groups.is_over = true;
        for (group, pid_file) in &groups.listed {
            group.signal(Signal::KILL);
            // Not there yet, or not for this program to remove: the next run sees that nothing runs.
            let _ = fs::remove_file(pid_file);
        }
    }
}
