//! Shared by the tests of engines: shell scripts that play them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::presets::Preset;
use super::process::Start;

/// A fresh folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tmesh-backend-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder for a test");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns an engine that is a shell script, with its log and its pid file in this folder.
    pub fn engine(&self, script: &str) -> Start {
        Start {
            words: ["sh", "-c", script].map(str::to_string).to_vec(),
            port: 8123,
            log: self.path("server.log"),
            pid_file: self.path("server.pid"),
            preset: Preset::find("command").expect("it is in the table"),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Leftover files do no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for something that happens within a second or two.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "no {what}");
        sleep(Duration::from_millis(5));
    }
}
