//! A server as a process group: it is started, waited for until healthy, and stopped with all its members.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::group::ProcessGroup;
use super::log;
use super::presets::{Preset, is_on_path};
use super::{STARTED, Started};
use crate::error::{Error, Result};

/// Time from the end of one health check to the next while a server starts.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// Time from SIGKILL to giving up: a process that hangs in the kernel, in a driver or a lost file system, does not end.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Time between two looks at a group that is ending, since nothing signals the end of its last member.
const GONE_EVERY: Duration = Duration::from_millis(20);
/// Lines of the log in an error.
const TAIL_LINES: usize = 20;

/// The command to start, and the files for its output.
pub struct Start {
    pub words: Vec<String>,
    pub port: u16,
    /// The log file, which is truncated.
    pub log: PathBuf,
    /// The pid file, which exists while the server runs.
    pub pid_file: PathBuf,
    pub preset: &'static Preset,
}

/// A started server, which is stopped when dropped.
pub struct Server {
    child: Child,
    group: ProcessGroup,
    /// The list that has the group.
    started: &'static Started,
    port: u16,
    log: PathBuf,
    pid_file: PathBuf,
    preset: &'static Preset,
    is_stopped: bool,
}

/// The end of a wait for a server.
#[derive(Debug, PartialEq)]
pub enum Waited {
    Healthy,
    /// The caller was asked to stop.
    Stopped,
}

impl Server {
    /// Starts a server in a process group of its own, which Ctrl-C does not reach.
    ///
    /// # Errors
    /// Fails when its program is not installed or does not start, or when a file cannot be written.
    pub fn start(start: &Start) -> Result<Server> {
        Server::start_in(&STARTED, start)
    }

    pub(super) fn start_in(started: &'static Started, start: &Start) -> Result<Server> {
        let preset = start.preset;
        let Some((program, arguments)) = start.words.split_first() else {
            return Err(Error::input(preset.what(), "no command to start"));
        };
        if !program.contains('/') && !is_on_path(program) {
            return Err(preset.not_installed(program, "not found on PATH"));
        }
        let log_error = |e| Error::input(start.log.display(), e);
        let log = File::create(&start.log).map_err(log_error)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(log_error)?)
            .stderr(log);
        let child = started
            .spawn(&mut command, &start.pid_file)
            .map_err(|e| Error::input(preset.what(), format!("cannot start {program}: {e}")))?;
        let server = Server {
            group: ProcessGroup::of(&child),
            child,
            started,
            port: start.port,
            log: start.log.clone(),
            pid_file: start.pid_file.clone(),
            preset,
            is_stopped: false,
        };
        fs::write(&server.pid_file, format!("{}\n", server.group.id()))
            .map_err(|e| Error::input(server.pid_file.display(), e))?;
        Ok(server)
    }

    /// Calls `is_healthy` several times a second until it returns true, or something ends the wait.
    ///
    /// `timeout` is total, from this call. `stopped` ends the wait by a message or by disconnecting. `on_tick` gets the
    /// time waited and the last line of the log, which may be empty.
    ///
    /// # Errors
    /// Fails when the server has ended or the time is up, with the end of its log. The server is not stopped here.
    pub fn wait_healthy(
        &mut self,
        timeout: Duration,
        is_healthy: &mut dyn FnMut() -> bool,
        stopped: &Receiver<()>,
        on_tick: &mut dyn FnMut(Duration, &str),
    ) -> Result<Waited> {
        let start = Instant::now();
        loop {
            let is_healthy = is_healthy();
            // This is checked second, since another server on the port may have answered.
            if let Some(how) = self.has_died() {
                return Err(self.died(&how));
            }
            if is_healthy {
                return Ok(Waited::Healthy);
            }
            let waited = start.elapsed();
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(self.is_late(timeout));
            };
            on_tick(waited, &log::last_line(&self.log));
            let pause = stopped.recv_timeout(LOOK_EVERY.min(left));
            if pause != Err(RecvTimeoutError::Timeout) {
                return Ok(Waited::Stopped);
            }
        }
    }

    /// Returns the group whose memory is the server's.
    pub fn group(&self) -> ProcessGroup {
        self.group
    }

    /// Returns how its first process ended, such as `exit status 3` or `signal 9 (SIGKILL)`; `None` while it runs.
    ///
    /// The process is not reaped, so that its id, which is the group's, is not reused.
    pub fn has_died(&mut self) -> Option<String> {
        let wanted = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(Pid::from_child(&self.child)), wanted) {
            Ok(status) => {
                let status = status?;
                // std expects the code in the second byte and the signal in the first.
                let code = status.exit_status().map(|code| code << 8);
                let raw = code.or(status.terminating_signal())?;
                Some(ExitStatus::from_raw(raw).to_string().replace(": ", " "))
            }
            // The process was reaped by `stop`, or by the kernel if this program was started with SIGCHLD ignored.
            Err(_) => Some("an unknown exit status".to_string()),
        }
    }

    /// Asks all processes of the group to end, kills those left after ten seconds, and waits until all have ended.
    pub fn stop(&mut self) {
        self.stop_within(GRACE);
    }

    pub(super) fn stop_within(&mut self, grace: Duration) {
        if self.is_stopped {
            return;
        }
        self.is_stopped = true;
        self.group.signal(Signal::TERM);
        self.is_gone_within(grace);
        // The signal is also sent to a group that looks empty, since one look at /proc can miss a process that was just
        // forked.
        self.group.signal(Signal::KILL);
        if !self.is_gone_within(KILLED_WITHIN) {
            // Its pid file stays: the next run tells of it.
            let (id, waited_s) = (self.group.id(), KILLED_WITHIN.as_secs());
            eprintln!(
                "warning: the server (pid {id}) was killed and still runs after {waited_s} s"
            );
            return;
        }
        self.started.forget(self.group);
        // Both fail only if it is done already.
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.pid_file);
    }

    /// Waits until all processes of the group are gone, no longer than so long; whether they are.
    pub(super) fn is_gone_within(&mut self, most: Duration) -> bool {
        let start = Instant::now();
        while !self.is_gone() {
            if start.elapsed() >= most {
                return false;
            }
            sleep(GONE_EVERY);
        }
        true
    }

    /// Searches for members, which is expensive, only once the first process has ended.
    fn is_gone(&mut self) -> bool {
        self.has_died().is_some() && self.group.members().is_empty()
    }

    fn died(&self, how: &str) -> Error {
        let end = log::tail(&self.log, TAIL_LINES);
        if self.preset.is_module_missing(&end) {
            return self
                .preset
                .not_installed(self.preset.module, "no such Python module");
        }
        let why = format!("the server ended with {how} before it was healthy");
        with_log(Error::input(self.preset.what(), why), &self.log, &end)
    }

    fn is_late(&self, timeout: Duration) -> Error {
        let what = format!("--start-timeout {}s", timeout.as_secs_f64());
        let why = format!("the server was not healthy on port {} by then", self.port);
        let end = log::tail(&self.log, TAIL_LINES);
        with_log(Error::input(what, why), &self.log, &end)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn with_log(error: Error, log: &Path, end: &[String]) -> Error {
    let log = log.display();
    if end.is_empty() {
        return error.next(format!("Its log, {log}, is empty."));
    }
    let error = error.next(format!("Its log, {log}, ends with:"));
    end.iter()
        .fold(error, |error, line| error.next(format!("  {line}")))
}
