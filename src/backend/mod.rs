//! Engines that this program starts and stops: their command lines, process groups and memory. A group is listed here
//! from its start until it has ended, so that none outlives the program. The module tells the user nothing and sends no
//! request: the caller checks whether a server is healthy.

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

/// Kills every started group at once without waiting, and removes the pid files; no server can be started afterwards.
///
/// Used by a second signal, a panic hook, and other exits that do not drop their servers.
pub fn kill_all() {
    STARTED.kill_all();
}

/// The groups that may have members.
struct Started(Mutex<Groups>);

struct Groups {
    /// Each group with its pid file.
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

    /// Starts a command as a process group of its own.
    ///
    /// The lock is held until the group is listed, so that `kill_all` comes either before or after it.
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

    /// Removes a group from the list. Must be called before its first process is reaped: then its id may be reused.
    fn forget(&self, group: ProcessGroup) {
        lock(&self.0).listed.retain(|(listed, _)| *listed != group);
    }

    fn kill_all(&self) {
        let mut groups = lock(&self.0);
        groups.is_over = true;
        for (group, pid_file) in &groups.listed {
            group.signal(Signal::KILL);
            // The file may not exist yet, or this program may not remove it: the next run sees that nothing runs.
            let _ = fs::remove_file(pid_file);
        }
    }
}
