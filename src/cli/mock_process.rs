//! The mock as a separate process: this binary, started again, with its truth log on a pipe.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The fields of a truth log line that a check needs, in nanoseconds of the mock's clock.
#[derive(Debug, Deserialize)]
pub struct Truth {
    pub id: Option<String>,
    pub t_read_ns: u64,
    /// The moment just before the write of each token.
    pub t_written_ns: Vec<u64>,
}

/// A running mock, killed when dropped.
pub struct MockProcess {
    child: Child,
    /// The base URL, to which `/v1/…` is appended.
    pub url: String,
    log: Option<JoinHandle<Vec<u8>>>,
}

impl MockProcess {
    /// Starts a mock with these options on a free loopback port.
    pub fn start(options: &[String]) -> Result<MockProcess> {
        let fail = |why: String| Error::input("tmesh-cli mock", why);
        // This path starts the running binary, even if its file has been replaced since.
        let mut child = Command::new("/proc/self/exe")
            .args(["mock", "--truth-log", "/proc/self/fd/1"])
            .args(options)
            .env(super::commands::mock::OWNER, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| fail(e.to_string()))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout
            .read_line(&mut line)
            .map_err(|e| fail(e.to_string()))?;
        let url = line
            .split_whitespace()
            .find_map(|word| word.strip_suffix("/v1/"));
        let Some(url) = url.map(str::to_string) else {
            // The mock has printed the reason to stderr.
            let _ = child.kill();
            let _ = child.wait();
            return Err(fail("it did not start".to_string()));
        };
        // The log is read while the mock runs, since a full pipe would block it; it is parsed later.
        let log = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            bytes
        });
        Ok(MockProcess {
            child,
            url,
            log: Some(log),
        })
    }

    /// Ends the mock and returns its log. The line of an answer is written before its last byte is sent.
    pub fn truth(mut self) -> Vec<Truth> {
        let _ = self.child.kill();
        let log = self.log.take().and_then(|log| log.join().ok());
        let log = log.unwrap_or_default();
        let lines = log.split(|&byte| byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

impl Drop for MockProcess {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
