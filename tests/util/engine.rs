//! Shell scripts that play engines, and the process groups in which they are started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Cmd, Dir};

/// The folder that comes first on PATH.
const BIN: &str = "bin";

/// Puts a shell script on PATH under this name; it runs in the directory of the command.
pub fn engine(dir: &Dir, name: &str, script: &str) {
    let path = dir.write(&format!("{BIN}/{name}"), format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its own file");
}

/// Shell lines that find `$port` and `$model`, a file or a name, in any engine's arguments.
const ARGUMENTS: &str = r#"for word; do
  case "$last" in --port|--server-port) port=$word;; serve|api_server|-m|--model-path) model=$word;; esac
  last=$word
done"#;

/// Returns shell lines that define `serve`, which serves the mock instead of an engine.
pub fn serving(options: &str) -> String {
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    format!(
        "{ARGUMENTS}\nserve() {{ exec {bin} mock --port \"$port\" --model \"${{model:-m}}\" {options}; }}"
    )
}

/// Returns a command for `tmesh-cli` with the scripts on PATH.
pub fn with_engines(dir: &Dir) -> Cmd {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = dir.path().join(BIN);
    Cmd::new(dir).env("PATH", format!("{}:{path}", own.display()))
}

/// Returns the processes of a group, without zombies.
fn members(group: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_member = |pid: &u32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let Some((_, fields)) = stat.rsplit_once(')') else {
            return false;
        };
        // The fields are state, parent and group.
        let fields: Vec<&str> = fields.split_whitespace().take(3).collect();
        matches!(fields[..], [state, _, of] if state != "Z" && state != "X" && of == group.to_string())
    };
    pids.filter(is_member).collect()
}

/// Returns what is left of a group, and kills it, so that a failed test leaves nothing behind.
pub fn left(group: u32) -> Vec<u32> {
    let left = members(group);
    if !left.is_empty() {
        // This fails if they have just ended.
        let kill = format!("kill -KILL -- -{group}");
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
    left
}

/// Returns what is left of a group that is being killed, after the time that this may take.
pub fn left_soon(group: u32) -> Vec<u32> {
    let start = Instant::now();
    while !members(group).is_empty() && start.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(2));
    }
    left(group)
}

/// Returns the number that a script has written into this file.
pub fn pid_in(dir: &Dir, name: &str) -> u32 {
    let text = dir.read(name);
    let pid = text.trim().parse();
    pid.unwrap_or_else(|error| panic!("{name}: {text:?}: {error}"))
}

/// Waits for something that happens soon.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "no {what}");
        sleep(Duration::from_millis(2));
    }
}
