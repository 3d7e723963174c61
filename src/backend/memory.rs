//! Reads the resident memory of a process group or of this process, ten times a second in a thread.
//!
//! Pages that processes share count once for each process; GPU memory does not count.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::group::ProcessGroup;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::units::Epoch;

const READ_EVERY_NS: u64 = 100_000_000;
/// Readings between two searches for members, since a search reads a file of every process on the machine.
const READINGS_A_LOOK: u64 = 10;

/// The processes whose memory is read.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    Group(ProcessGroup),
    ThisProcess,
}

/// The sum over all processes at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The time of the reading, from the epoch.
    pub t_ns: u64,
    pub bytes: u64,
}

/// A thread that reads memory until this is dropped.
pub struct Memory {
    readings: Arc<Mutex<Vec<Reading>>>,
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// Starts the thread; the first reading is taken before this returns.
    ///
    /// # Errors
    /// Fails when the system refuses a thread.
    pub fn start(what: Of, epoch: Epoch) -> Result<Memory> {
        let readings = Arc::default();
        let (end, ended) = bounded(0);
        let mut reader = Reader {
            what,
            epoch,
            readings: Arc::clone(&readings),
            count: 0,
            pids: Vec::new(),
        };
        reader.read();
        let thread = thread::Builder::new()
            .name("memory".to_string())
            .spawn(move || reader.run(&ended))
            .map_err(|e| Error::input("memory thread", e))?;
        Ok(Memory {
            readings,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Returns the readings since the last call, in order. If no process was found at some time, there is no reading of
    /// it.
    pub fn take(&self) -> Vec<Reading> {
        std::mem::take(&mut lock(&self.readings))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // This fails only if the thread has panicked.
            let _ = thread.join();
        }
    }
}

/// Returns the readings within a span; if there is none, the last one before it.
pub fn during(readings: &[Reading], t_start_ns: u64, t_end_ns: u64) -> &[Reading] {
    let begun = readings.partition_point(|seen| seen.t_ns < t_start_ns);
    let ended = readings.partition_point(|seen| seen.t_ns <= t_end_ns);
    let first = begun.min(ended.saturating_sub(1));
    readings.get(first..ended).unwrap_or_default()
}

struct Reader {
    what: Of,
    epoch: Epoch,
    readings: Arc<Mutex<Vec<Reading>>>,
    /// The number of readings so far.
    count: u64,
    /// The processes, by the names of their folders in /proc.
    pids: Vec<String>,
}

impl Reader {
    fn read(&mut self) {
        if self.count.is_multiple_of(READINGS_A_LOOK) {
            self.pids = members(self.what);
        }
        self.count += 1;
        let t_ns = self.epoch.now_ns();
        let pids = self.pids.iter();
        let bytes = pids.filter_map(|pid| resident_bytes(pid)).sum();
        // Only a process that has ended has no memory.
        if bytes > 0 {
            lock(&self.readings).push(Reading { t_ns, bytes });
        }
    }

    fn run(mut self, ended: &Receiver<()>) {
        let mut due_ns = self.epoch.now_ns();
        loop {
            // Readings missed while the machine was busy are skipped.
            while due_ns <= self.epoch.now_ns() {
                due_ns += READ_EVERY_NS;
            }
            let pause = ended.recv_deadline(self.epoch.instant(due_ns));
            if pause != Err(RecvTimeoutError::Timeout) {
                return;
            }
            self.read();
        }
    }
}

/// Returns the names of the processes' folders in /proc.
fn members(what: Of) -> Vec<String> {
    match what {
        Of::ThisProcess => vec!["self".to_string()],
        Of::Group(group) => {
            let members = group.members();
            members
                .iter()
                .map(|member| member.pid.to_string())
                .collect()
        }
    }
}

/// Returns `None` when the process has ended.
fn resident_bytes(pid: &str) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(resident_pages(&statm)? * rustix::param::page_size() as u64)
}

/// Returns the second number of `/proc/PID/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::process::Server;
    use super::super::testing::{Folder, until};
    use super::*;

    /// Returns the kernel's own figure in bytes.
    fn vm_rss(pid: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        kib.expect("a figure").parse::<u64>().expect("a number") * 1024
    }

    #[test]
    fn the_memory_of_a_group_is_what_the_kernel_says_of_its_processes() {
        let folder = Folder::new();
        // A shell and its child, each with at least 20 MB of text.
        let hold = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo $$; exec 3>&1; read y <held";
        let script = format!(
            "mkfifo held; sh -c '{}' & {hold}",
            hold.replace('\'', "'\\''")
        );
        let script = format!("cd {}; {script}", folder.path("").display());
        let mut server = Server::start(&folder.engine(&script)).expect("a shell");
        let log = folder.path("server.log");
        let mut pids = Vec::new();
        until("two processes", || {
            let text = fs::read_to_string(&log).expect("a log");
            pids = text.lines().map(str::to_string).collect();
            pids.len() == 2
        });

        let epoch = Epoch::start();
        let memory = Memory::start(Of::Group(server.group()), epoch).expect("a thread");
        let mut readings = Vec::new();
        until("three readings", || {
            readings.extend(memory.take());
            readings.len() >= 3
        });
        let wanted: u64 = pids.iter().map(|pid| vm_rss(pid)).sum();
        assert!(wanted > 40_000_000, "{wanted}");
        let share = readings[2].bytes as f64 / wanted as f64;
        assert!((0.9..1.1).contains(&share), "{readings:?} beside {wanted}");
        assert!(
            readings[0].t_ns < 90_000_000,
            "the first one is taken at once"
        );
        for (reading, next) in readings.iter().zip(&readings[1..]) {
            assert!(reading.t_ns < next.t_ns && next.t_ns <= epoch.now_ns());
        }

        server.stop();
        memory.take();
        thread::sleep(Duration::from_millis(250));
        assert_eq!(memory.take(), [], "nobody has memory");
    }

    #[test]
    fn a_time_without_a_reading_has_the_one_before_it() {
        let at = |t_ns| Reading { t_ns, bytes: t_ns };
        let readings = [at(100), at(200), at(300)];
        for (start, end, wanted) in [
            (150, 160, 0..1),
            (150, 250, 1..2),
            (200, 200, 1..2),
            (50, 100, 0..1),
            (50, 90, 0..0),
            (350, 400, 2..3),
            (0, 1000, 0..3),
        ] {
            assert_eq!(during(&readings, start, end), &readings[wanted]);
        }
        assert_eq!(during(&[], 0, 1), []);
    }

    #[test]
    fn this_process_is_read_as_well() {
        let memory = Memory::start(Of::ThisProcess, Epoch::start()).expect("a thread");
        let first = memory.take().first().copied();
        // Other tests allocate and free memory in the meantime.
        let share = first.expect("a reading").bytes as f64 / vm_rss("self") as f64;
        assert!((0.5..2.0).contains(&share), "{first:?}");
    }

    #[test]
    fn the_second_number_of_statm_is_the_resident_set() {
        assert_eq!(resident_pages("765 96 81 5 0 105 0\n"), Some(96));
        assert_eq!(resident_pages(""), None);
    }
}
