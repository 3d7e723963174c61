//! A process group: finds its members in /proc, and sends signals to all of them.

use std::fs;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process_group};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessGroup(Pid);

/// A running process.
#[derive(Debug, PartialEq)]
pub struct Member {
    pub pid: u32,
    /// Its start, in hundredths of a second since the machine's boot.
    pub start_ticks: u64,
}

impl ProcessGroup {
    /// Returns the group of a child that was started with `process_group(0)`.
    pub fn of(child: &Child) -> ProcessGroup {
        ProcessGroup(Pid::from_child(child))
    }

    /// Returns `None` for a number that is not a group's id, or that kill(2) takes for something else.
    pub fn from_id(id: u32) -> Option<ProcessGroup> {
        let id = i32::try_from(id).ok().filter(|id| *id > 1)?;
        Pid::from_raw(id).map(ProcessGroup)
    }

    pub fn id(self) -> u32 {
        self.0.as_raw_pid().unsigned_abs()
    }

    /// Returns its processes, without zombies: if nobody reaps them, those stay forever.
    ///
    /// This reads a file for every process of the machine.
    pub fn members(self) -> Vec<Member> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| self.member(pid)).collect()
    }

    fn member(self, pid: u32) -> Option<Member> {
        // A program's name may not be UTF-8.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = Stat::parse(&String::from_utf8_lossy(&stat))?;
        let is_member = stat.group == self.id() && !matches!(stat.state, 'Z' | 'X' | 'x');
        is_member.then_some(Member {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// Sends a signal to all members at once, including a process that is being forked.
    pub fn signal(self, signal: Signal) {
        // This fails if there is no member, or none that may be signalled: nothing is left to do.
        let _ = kill_process_group(self.0, signal);
    }
}

/// Fields of `/proc/PID/stat`, see proc(5).
#[derive(Debug, PartialEq)]
struct Stat {
    state: char,
    group: u32,
    start_ticks: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Stat> {
        // The second field, the program's name in parentheses, may contain anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        // These are the 3rd, the 5th and the 22nd field.
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(16)?.parse().ok()?;
        Some(Stat {
            state,
            group,
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::kill_process;

    use super::super::testing::until;
    use super::*;

    #[test]
    fn the_name_of_a_program_may_hold_blanks_and_parentheses() {
        // Fields by number: 3 state, 4 parent, 5 group, then 6 to 21, and 22 the start.
        let stat =
            "4711 (a) b (c) S 1 4700 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 81200 23 24\n";
        let wanted = Stat {
            state: 'S',
            group: 4700,
            start_ticks: 81_200,
        };
        assert_eq!(Stat::parse(stat), Some(wanted));
        for broken in ["", "4711 (a", "4711 (a) S 1", "4711 (a) S 1 4700 6 7 8"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_zombie_is_no_member() {
        let mut first = Command::new("sh")
            // The program that replaces the shell does not know the child, so it does not reap it.
            .args(["-c", "sleep 30 & echo $!; exec sleep 30"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let stdout = first.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pid");
        let child: u32 = line.trim().parse().expect("a pid");
        let read = |pid: u32, name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        // The shell would reap a child that ends before it is replaced.
        let is_replaced = || read(first.id(), "comm").is_ok_and(|name| name == "sleep\n");
        until("replaced shell", is_replaced);
        let pid = Pid::from_raw(child.cast_signed()).expect("a pid");
        kill_process(pid, Signal::KILL).expect("a child of a child");
        let state = || Stat::parse(&read(child, "stat").ok()?).map(|stat| stat.state);
        until("a zombie", || state() == Some('Z'));

        let group = ProcessGroup::of(&first);
        let pids: Vec<u32> = group.members().iter().map(|member| member.pid).collect();
        assert_eq!(pids, [first.id()]);
        group.signal(Signal::KILL);
        first.wait().expect("a child");
        assert_eq!(group.members(), []);
    }

    #[test]
    fn no_number_means_every_process() {
        for id in [0, 1, u32::MAX] {
            assert_eq!(ProcessGroup::from_id(id), None, "{id}");
        }
        assert_eq!(
            ProcessGroup::from_id(4711).map(ProcessGroup::id),
            Some(4711)
        );
    }
}
