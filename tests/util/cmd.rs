//! A program as a process: clean environment, deadline, and its whole output when a test fails.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Dir;

/// A program to run in a `Dir`: no environment but PATH, an empty stdin, killed at its deadline.
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: PathBuf,
    deadline: Duration,
}

impl Cmd {
    /// Returns a command for tmesh-cli, as built for this test run.
    pub fn new(dir: &Dir) -> Cmd {
        Cmd::program(env!("CARGO_BIN_EXE_tmesh-cli"), dir)
    }

    pub fn program(program: impl Into<OsString>, dir: &Dir) -> Cmd {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Cmd {
            program: program.into(),
            args: Vec::new(),
            envs: vec![("PATH".into(), path)],
            dir: dir.path().to_owned(),
            deadline: Duration::from_secs(30),
        }
    }

    /// Appends arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Cmd {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Appends one argument.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Cmd {
        self.args([arg])
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Cmd {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Sets the running time after which the process is killed and the test fails; 30 s unless set.
    pub fn deadline(mut self, deadline: Duration) -> Cmd {
        self.deadline = deadline;
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Runs to the end and checks exit code 0.
    pub fn ok(self) -> Output {
        self.fails(0)
    }

    /// Runs to the end and checks this exit code.
    pub fn fails(self, code: i32) -> Output {
        let output = self.run();
        assert_eq!(
            output.status.code(),
            Some(code),
            "want exit code {code}\n{output}"
        );
        output
    }

    /// Runs in the background.
    pub fn start(self) -> Running {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.envs.iter().cloned())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self}: {error}"));
        let (line_sender, lines) = channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        thread::spawn(move || send_lines(BufReader::new(stdout), &line_sender));
        let stderr = child.stderr.take().expect("stderr is piped");
        let stderr = thread::spawn(move || read_all(stderr));
        let expired = Arc::new(AtomicBool::new(false));
        let watchdog = watch(child.id(), self.deadline, Arc::clone(&expired));
        Running {
            command: self,
            child,
            lines,
            stdout: String::new(),
            stderr: Some(stderr),
            expired,
            watchdog: Some(watchdog),
        }
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cd {} &&", self.dir.display())?;
        // The first variable, PATH, is the test run's own.
        for (name, value) in &self.envs[1..] {
            write!(f, " {}={value:?}", name.display())?;
        }
        write!(f, " {}", self.program.display())?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
    }
}

/// A process that has been started; killed when dropped.
pub struct Running {
    command: Cmd,
    child: Child,
    /// Lines of stdout; disconnects when the process has closed it.
    lines: Receiver<String>,
    /// The text received from `lines`.
    stdout: String,
    stderr: Option<JoinHandle<String>>,
    expired: Arc<AtomicBool>,
    /// The watchdog ends when this is dropped.
    watchdog: Option<Sender<()>>,
}

impl Running {
    /// Reads stdout up to the first line, without its end, that `wanted` accepts; fails when there is none.
    pub fn wait_for_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        while let Ok(line) = self.lines.recv() {
            self.stdout.push_str(&line);
            let line = line.trim_end();
            if wanted(line) {
                return line.to_string();
            }
        }
        let output = self.finish();
        panic!("stdout ended without the wanted line\n{output}");
    }

    /// Sends a signal by its short name, such as `INT`.
    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Sends SIGKILL; does nothing to a process that has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Returns the peak resident set in MiB, read until the process has ended; its stdout must be short. It is 0 if the
    /// process ended before it could be read.
    pub fn peak_mib(&self) -> f64 {
        let status = |id: &str| fs::read_to_string(format!("/proc/{id}/status")).ok();
        let name = |status: &str| status.lines().next().map(str::to_string);
        // A child has the name of the thread that starts it until its exec.
        let own = status("thread-self").as_deref().and_then(name);
        let id = self.child.id().to_string();
        let mut peak_kib = 0.0;
        while let Some(status) = status(&id)
            && let Some(kib) = kib(&status, "VmHWM:")
        {
            // Until then the memory is that of this process.
            if name(&status) != own {
                peak_kib = kib;
            }
            thread::sleep(Duration::from_millis(10));
        }
        peak_kib / 1024.0
    }

    /// Returns the current resident set in MiB; `None` when the process has ended.
    pub fn resident_mib(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        kib(&status, "VmRSS:").map(|kib| kib / 1024.0)
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Output {
        let output = self.finish();
        assert!(
            !self.expired.load(Ordering::Relaxed),
            "killed after {:?}\n{output}",
            self.command.deadline
        );
        output
    }

    fn finish(&mut self) -> Output {
        self.stdout.extend(self.lines.iter());
        let status = self
            .child
            .wait()
            .expect("a child that nobody else waits for");
        self.watchdog = None;
        let stderr = self
            .stderr
            .take()
            .map(|reader| reader.join().expect("the reader does not panic"));
        Output {
            command: self.command.to_string(),
            status,
            stdout: std::mem::take(&mut self.stdout),
            stderr: stderr.unwrap_or_default(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended; `Display` shows all that a failed assertion needs.
pub struct Output {
    command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}\nstatus: {}", self.command, self.status)?;
        write!(
            f,
            "--- stdout\n{}\n--- stderr\n{}\n---",
            self.stdout, self.stderr
        )
    }
}

/// Kills the process at its deadline, unless the returned sender is dropped before.
fn watch(pid: u32, deadline: Duration, expired: Arc<AtomicBool>) -> Sender<()> {
    let (sender, ended) = channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            expired.store(true, Ordering::Relaxed);
            send_signal(pid, "KILL");
        }
    });
    sender
}

/// Sends a signal with the shell's own `kill`: std sends only SIGKILL, and a small machine may lack /bin/kill.
fn send_signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("sh");
    assert!(status.success(), "kill -{name} {pid}: {status}");
}

fn send_lines(mut stdout: impl BufRead, lines: &Sender<String>) {
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if lines
            .send(String::from_utf8_lossy(&line).into_owned())
            .is_err()
        {
            return;
        }
        line.clear();
    }
}

fn read_all(mut stderr: impl Read) -> String {
    let mut bytes = Vec::new();
    // A read error ends the text; the part before it is still worth showing.
    let _ = stderr.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a value of `/proc/PID/status`; `None` for a process that has ended.
fn kib(status: &str, label: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
