//! A server that an earlier run left behind because it was killed.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::group::{Member, ProcessGroup};
use crate::units::steers;

/// Longest time from a server's start to the writing of its pid file on a busy machine.
const WRITTEN_AFTER: Duration = Duration::from_secs(60);
/// The kernel gives the boot time in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// A process group that still runs; its `Display` says how to stop it.
#[derive(Debug, PartialEq)]
pub struct Orphan {
    /// The id of the group.
    pub pid: u32,
    /// The program's name without its arguments, which may contain a key.
    pub program: String,
}

/// Returns the server that this pid file names, if it still runs.
///
/// A process that started after the file was written, or long before it, only has the same number, and is not returned.
/// After the clock was set, no process is.
pub fn orphan(pid_file: &Path) -> Option<Orphan> {
    let pid = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let written = fs::metadata(pid_file).ok()?.modified().ok()?;
    let members = ProcessGroup::from_id(pid)?.members();
    let first = members.iter().find(|member| member.pid == pid);
    let first = first.or_else(|| members.iter().min_by_key(|member| member.start_ticks))?;
    let started = started(first)?;
    let is_its = started <= written + ROUNDING && written <= started + WRITTEN_AFTER + ROUNDING;
    is_its.then(|| Orphan {
        pid,
        program: program(first.pid),
    })
}

/// Returns its start by the wall clock, up to a second too early.
fn started(member: &Member) -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot = Duration::from_secs(boot.trim().parse().ok()?);
    Some(SystemTime::UNIX_EPOCH + boot + Duration::from_millis(member.start_ticks * 10))
}

/// Returns the program's name, for a script the script's, at most 15 bytes; empty if it has just ended.
fn program(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&bytes);
    name.trim_end().replace(steers, " ")
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Orphan { pid, program } = self;
        write!(f, "pid {pid} ({program}); stop it with: kill -- -{pid}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::Signal;

    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn only_a_process_that_started_just_before_the_pid_file_is_an_orphan() {
        let folder = Folder::new();
        let pid_file = folder.path("server.pid");
        let mut child = Command::new("sleep")
            .arg("30")
            .process_group(0)
            .spawn()
            .expect("sleep");
        let pid = child.id();
        fs::write(&pid_file, format!("{pid}\n")).expect("a file");
        let found = |age_s: i64| {
            let age = Duration::from_secs(age_s.unsigned_abs());
            let now = SystemTime::now();
            let written = if age_s < 0 { now + age } else { now - age };
            let file = fs::File::options().write(true).open(&pid_file);
            file.and_then(|file| file.set_modified(written))
                .expect("a time");
            orphan(&pid_file)
        };
        let its = found(0).expect("it runs");
        let wanted = format!("pid {pid} (sleep); stop it with: kill -- -{pid}");
        assert_eq!(its.to_string(), wanted);
        assert_eq!(found(3600), None, "an old file: the number is used again");
        assert_eq!(found(-3600), None, "a process of long ago on its number");

        ProcessGroup::of(&child).signal(Signal::KILL);
        child.wait().expect("a child");
        assert_eq!(found(0), None, "it has ended");
        for text in ["", "x", "0", "1", "-5", "99999999999"] {
            fs::write(&pid_file, text).expect("a file");
            assert_eq!(orphan(&pid_file), None, "{text:?}");
        }
        assert_eq!(orphan(&folder.path("no file")), None);
    }
}
