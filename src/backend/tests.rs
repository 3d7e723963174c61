//! Shell scripts as engines: how they start, and that nothing of them remains.

use std::fs;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never};
use rustix::process::{Pid, Signal, kill_process};

use super::process::{Server, Start, Waited};
use super::testing::{Folder, until};
use super::{ProcessGroup, Started, orphan::orphan};
use crate::error::{Error, Result};
use crate::lock::lock;

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_millis(300);

fn wait(
    server: &mut Server,
    timeout: Duration,
    is_healthy: impl Fn() -> bool,
    stopped: &Receiver<()>,
) -> Result<Waited> {
    server.wait_healthy(timeout, &mut || is_healthy(), stopped, &mut |_, _| ())
}

fn error_of(start: &Start, timeout: Duration) -> Error {
    let mut server = Server::start(start).expect("it starts");
    wait(&mut server, timeout, || false, &never()).expect_err("an error")
}

/// Starts the engine and waits for the number that it writes into its log.
fn started(start: &Start) -> (Server, String) {
    let server = Server::start(start).expect("it starts");
    let said = || fs::read_to_string(&start.log).expect("a log");
    until("line in its log", || said().ends_with('\n'));
    (server, said().trim().to_string())
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn is_empty(group: ProcessGroup) -> bool {
    group.members().is_empty()
}

#[test]
fn a_server_that_dies_at_start_is_reported_with_its_status_and_the_end_of_its_log() {
    let folder = Folder::new();
    let script = "i=1; while [ $i -le 30 ]; do echo line $i; i=$((i+1)); done >&2; exit 3";
    let engine = folder.engine(script);
    let lines: String = (11..=30).map(|i| format!("\n  line {i}")).collect();
    let wanted = format!(
        "[ERROR] --backend command: the server ended with exit status 3 before it was healthy\n\
         Its log, {}, ends with:{lines}",
        engine.log.display()
    );
    assert_eq!(error_of(&engine, SECOND * 5).to_string(), wanted);

    let engine = folder.engine("kill -9 $$");
    let wanted = format!(
        "[ERROR] --backend command: the server ended with signal 9 (SIGKILL) before it was healthy\n\
         Its log, {}, is empty.",
        engine.log.display()
    );
    assert_eq!(error_of(&engine, SECOND * 5).to_string(), wanted);
}

#[test]
fn an_answer_on_the_port_of_a_dead_server_is_not_its_own() {
    let folder = Folder::new();
    let mut server = Server::start(&folder.engine("exit 1")).expect("it starts");
    until("end", || server.has_died().is_some());
    let error = wait(&mut server, SECOND, || true, &never()).expect_err("it is dead");
    assert!(error.to_string().contains("exit status 1"), "{error}");
}

#[test]
fn a_module_that_python_has_not_got_is_not_installed() {
    let folder = Folder::new();
    let mut engine = folder.engine("echo \"No module named 'sglang'\"; exit 1");
    engine.preset = super::presets::Preset::find("sglang").expect("it is in the table");
    let wanted = "[ERROR] --backend sglang: sglang is not installed (no such Python module)\n\
                  Install it: pip install sglang";
    assert_eq!(error_of(&engine, SECOND * 5).to_string(), wanted);
}

#[test]
fn a_server_that_is_never_healthy_is_given_up_in_time() {
    let folder = Folder::new();
    let engine = folder.engine("echo loading; exec sleep 30");
    let start = Instant::now();
    let error = error_of(&engine, Duration::from_millis(500));
    assert!(start.elapsed() < SECOND * 2, "{:?}", start.elapsed());
    let wanted = format!(
        "[ERROR] --start-timeout 0.5s: the server was not healthy on port 8123 by then\n\
         Its log, {}, ends with:\n  loading",
        engine.log.display()
    );
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn waiting_tells_how_long_and_the_last_line_and_ends_when_it_is_healthy() {
    let folder = Folder::new();
    let (mut server, _) = started(&folder.engine("echo loading; exec sleep 30"));
    let mut looks = 0;
    let mut ticks = Vec::new();
    let waited = server.wait_healthy(
        SECOND * 5,
        &mut || {
            looks += 1;
            looks == 3
        },
        &never(),
        &mut |waited, line| ticks.push((waited, line.to_string())),
    );
    assert_eq!(waited, Ok(Waited::Healthy));
    assert_eq!(ticks.len(), 2, "one for each look that was in vain");
    assert!(ticks[0].0 < ticks[1].0 && ticks[1].0 >= Duration::from_millis(200));
    assert!(ticks.iter().all(|(_, line)| line == "loading"));
}

#[test]
fn waiting_ends_when_the_run_is_to_stop() {
    let folder = Folder::new();
    let mut server = Server::start(&folder.engine("exec sleep 30")).expect("it starts");
    let (sender, stopped) = bounded(0);
    drop(sender);
    assert_eq!(
        wait(&mut server, SECOND * 5, || false, &stopped),
        Ok(Waited::Stopped)
    );
}

#[test]
fn start_and_stop_write_the_pid_and_leave_only_the_log() {
    let folder = Folder::new();
    let engine = folder.engine("echo $$; exec sleep 30");
    let (mut server, pid) = started(&engine);
    let written = fs::read_to_string(&engine.pid_file).expect("a pid file");
    assert_eq!(written, format!("{pid}\n"));
    assert_eq!(server.group().id().to_string(), pid);
    assert_eq!(server.has_died(), None);
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < SECOND, "it ends at SIGTERM");
    assert!(!engine.pid_file.exists() && engine.log.exists());
    assert!(!is_alive(&pid) && is_empty(server.group()));
    // The process was reaped: not even a zombie remains.
    assert!(!fs::exists(format!("/proc/{pid}")).expect("a look"));
    server.stop();
}

#[test]
fn a_server_that_ignores_sigterm_is_killed_after_the_grace_time() {
    let folder = Folder::new();
    let (mut server, pid) = started(&folder.engine("trap '' TERM; echo $$; exec sleep 30"));
    let start = Instant::now();
    server.stop_within(GRACE);
    assert!(start.elapsed() >= GRACE && start.elapsed() < SECOND * 2);
    assert!(!is_alive(&pid) && is_empty(server.group()));
}

#[test]
fn a_wait_for_a_group_that_does_not_end_is_no_longer_than_its_time() {
    let folder = Folder::new();
    let (mut server, _) = started(&folder.engine("echo $$; exec sleep 30"));
    let start = Instant::now();
    assert!(!server.is_gone_within(GRACE));
    assert!(start.elapsed() >= GRACE && start.elapsed() < SECOND);
    server.group().signal(Signal::KILL);
    assert!(server.is_gone_within(SECOND * 5));
}

#[test]
fn a_grandchild_whose_parent_has_ended_is_stopped_too() {
    // One script ignores SIGTERM, the other does not.
    for (trap, lasts) in [("trap '' TERM;", GRACE), ("", Duration::ZERO)] {
        let folder = Folder::new();
        let script = format!("{trap} sh -c 'echo $$; exec sleep 30' & exit 0");
        let (mut server, pid) = started(&folder.engine(&script));
        until("end of its parent", || server.has_died().is_some());
        assert_eq!(server.has_died().as_deref(), Some("exit status 0"));
        assert!(is_alive(&pid));
        let start = Instant::now();
        server.stop_within(GRACE);
        assert!(start.elapsed() >= lasts && start.elapsed() < SECOND * 2);
        assert!(!is_alive(&pid) && is_empty(server.group()));
    }
}

#[test]
fn a_server_that_is_dropped_is_stopped() {
    let folder = Folder::new();
    let (server, pid) = started(&folder.engine("echo $$; exec sleep 30"));
    drop(server);
    assert!(!is_alive(&pid));
}

#[test]
fn a_server_that_was_left_behind_is_an_orphan_until_it_ends() {
    let folder = Folder::new();
    let engine = folder.engine("sleep 30 & echo $$; wait");
    let (server, pid) = started(&engine);
    let group = server.group();
    std::mem::forget(server);
    let found = orphan(&engine.pid_file).expect("it runs");
    assert_eq!(found.pid.to_string(), pid);
    assert_eq!(found.program, "sh");
    // Only its first process is killed: the other one keeps the group.
    let first = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    kill_process(first, Signal::KILL).expect("it runs");
    until("end of its first process", || !is_alive(&pid));
    let found = orphan(&engine.pid_file).expect("the group still runs");
    assert_eq!(
        found.to_string(),
        format!("pid {pid} (sleep); stop it with: kill -- -{pid}")
    );
    group.signal(Signal::KILL);
    until("end", || is_empty(group));
    assert_eq!(orphan(&engine.pid_file), None);
}

#[test]
fn a_missing_program_is_reported() {
    let folder = Folder::new();
    let mut engine = folder.engine("");
    for (word, wanted) in [
        (
            "no-such-engine",
            "[ERROR] --backend command: no-such-engine is not installed (not found on PATH)",
        ),
        (
            "/no/such/engine",
            "[ERROR] --backend command: cannot start /no/such/engine: No such file or directory (os error 2)",
        ),
    ] {
        engine.words = vec![word.to_string()];
        let error = Server::start(&engine).err().expect("no program");
        assert_eq!(error.to_string(), wanted);
        assert!(!engine.pid_file.exists());
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_leaves_no_server() {
    let folder = Folder::new();
    let list: &'static Started = Box::leak(Box::new(Started::new()));
    let mut engine = folder.engine("exec sleep 30");
    engine.pid_file = folder.path("no folder/server.pid");
    assert!(Server::start_in(list, &engine).is_err());
    assert!(lock(&list.0).listed.is_empty());
}

#[test]
fn killing_all_leaves_no_pid_file() {
    let list: &'static Started = Box::leak(Box::new(Started::new()));
    let folder = Folder::new();
    let engine = folder.engine("exec sleep 30");
    let mut server = Server::start_in(list, &engine).expect("a shell");
    assert!(engine.pid_file.exists());
    list.kill_all();
    assert!(!engine.pid_file.exists());
    server.stop();
}

#[test]
fn killing_all_races_with_starting_and_leaves_none() {
    let list: &'static Started = Box::leak(Box::new(Started::new()));
    let starters: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let folder = Folder::new();
                let engine = folder.engine("trap '' TERM; sleep 30 & wait");
                let mut groups = Vec::new();
                // The loop ends when no server can be started any more.
                while let Ok(server) = Server::start_in(list, &engine) {
                    groups.push(server.group());
                    // As when the program exits, the server is not dropped.
                    std::mem::forget(server);
                }
                groups
            })
        })
        .collect();
    until("ten servers", || lock(&list.0).listed.len() >= 10);
    list.kill_all();
    let threads = starters.into_iter();
    let groups = threads.flat_map(|thread| thread.join().expect("it ends"));
    let groups: Vec<ProcessGroup> = groups.collect();
    assert!(groups.len() >= 10);
    for group in groups {
        until("end", || is_empty(group));
    }
    let folder = Folder::new();
    assert_eq!(
        Server::start_in(list, &folder.engine("exit 0"))
            .err()
            .expect("it is over")
            .to_string(),
        "[ERROR] --backend command: cannot start sh: the program is about to leave"
    );
}
