//! Runs one program to its end and measures its cost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

/// The resources that a process used from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Its peak memory, as last read while it ran.
    pub rss_bytes: u64,
}

/// Runs the command to its end on one processor; it must succeed.
pub fn run(command: &mut Command, cpu: usize) -> Cost {
    let before = children_cpu();
    pin(cpu);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut rss_bytes = 0;
    let status = loop {
        // The peak is lost with the process, so it is read until the process ends.
        rss_bytes = peak_rss(child.id()).unwrap_or(rss_bytes);
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?}: {status}");
    Cost {
        cpu: children_cpu() - before,
        rss_bytes,
    }
}

/// A server as a process of its own on one processor; it ends when its stdin does, or at SIGTERM.
pub struct Served {
    child: Child,
    stdin: Option<ChildStdin>,
    /// The first line that it printed.
    pub first_line: String,
}

impl Served {
    pub fn start(command: &mut Command, cpu: usize) -> Served {
        pin(cpu);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let mut first_line = String::new();
        BufReader::new(stdout)
            .read_line(&mut first_line)
            .expect("it says where it listens");
        Served {
            child,
            stdin,
            first_line: first_line.trim().to_string(),
        }
    }

    /// Ends the server, waits for it, and returns the processor time that it took.
    pub fn end(mut self) -> Duration {
        let before = children_cpu();
        drop(self.stdin.take());
        // This server does not watch its stdin.
        if self.first_line.contains("http://") {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
            nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("our own child");
        }
        self.child.wait().expect("our own child");
        children_cpu() - before
    }
}

/// Returns the processors that this process may use.
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("our own affinity");
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu) == Ok(true))
        .collect()
}

/// Restricts processes started from now on to this processor.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a processor of this machine");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a processor that is allowed");
}

fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("always there");
    let duration = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

fn peak_rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
