//! The one receiver of samples, and of what the watchdog saw: appends them to the file, keeps or adds up
//! what the figures need. Only it writes to the terminal while requests are in flight.

pub mod live;
pub mod round;

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::sample::{Gauge, Sample};
use crate::samples_file;
use crate::units::Epoch;
use crate::vitals::Vitals;

/// How long requests that were cut may take to come back.
const CUT_WAIT: Duration = Duration::from_millis(700);

/// What comes in while requests are in flight.
pub struct Feed {
    /// Disconnects when the last worker is gone.
    pub samples: Receiver<Sample>,
    pub vitals: Receiver<Vitals>,
    /// Ends the watchdog, which then sends its last vitals and disconnects.
    pub end_watch: Sender<()>,
    /// Disconnects when the run is to end.
    pub stopped: Receiver<()>,
    pub gauge: Arc<Gauge>,
    pub epoch: Epoch,
}

impl Feed {
    /// Cut requests and the watchdog come back at once; one that hangs in connect(2) is not waited for.
    fn last_reports(&self) -> (Vec<Sample>, Vec<Vitals>) {
        // It has room for the one message; a watchdog that has gone needs none.
        let _ = self.end_watch.try_send(());
        let deadline = Instant::now() + CUT_WAIT;
        let samples = std::iter::from_fn(|| self.samples.recv_deadline(deadline).ok()).collect();
        let vitals = std::iter::from_fn(|| self.vitals.recv_deadline(deadline).ok()).collect();
        (samples, vitals)
    }
}

/// The samples file, and what could not be written.
pub struct Log {
    /// What the file is called in a warning.
    pub name: &'static str,
    pub file: Option<samples_file::Writer>,
    /// Outputs that were given up, each with its reason.
    pub lost: Vec<String>,
}

impl Log {
    /// Writes to the samples file, and goes on without it when that fails.
    pub fn write(&mut self, write: impl FnOnce(&mut samples_file::Writer) -> io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(error) = write(file)
        {
            self.file = None;
            self.lose(format!("{}: {error}", self.name));
        }
    }

    pub fn lose(&mut self, what: String) {
        eprintln!("warning: {what}; the run goes on without it");
        self.lost.push(what);
    }
}

/// Shows a line of progress on a terminal of so many columns, over the one before; cut, since a line that wraps
/// would not be written over. Nobody is hurt by one that does not come.
pub fn show_progress(line: &str, width: usize) {
    let line: String = line.chars().take(width.saturating_sub(1)).collect();
    let _ = write!(io::stderr(), "\r{line}\x1b[K");
}

/// Takes the line away.
pub fn clear_progress() {
    let _ = write!(io::stderr(), "\r\x1b[K");
}

/// Writes beside a plain file and renames, so that a reader never sees half of it. A link or a device is
/// written through, as is a file that nothing can be made beside or renamed over. On a full disk what was
/// there stays.
pub fn replace(path: &str, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    let beside = format!("{path}.part");
    let Ok(mut file) = fs::File::create(&beside) else {
        return fs::write(path, bytes);
    };
    let written = file.write_all(bytes);
    if written.is_ok() && fs::rename(&beside, path).is_ok() {
        return Ok(());
    }
    let _ = fs::remove_file(&beside);
    written.and_then(|()| fs::write(path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_leaves_the_file_that_was_there() {
        let path = std::env::temp_dir().join(format!("tmesh-replace-{}", std::process::id()));
        let path = path.to_string_lossy().into_owned();
        let beside = format!("{path}.part");
        fs::write(&path, "old").expect("a file");
        std::os::unix::fs::symlink("/dev/full", &beside).expect("a link");
        let error = replace(&path, b"new").expect_err("no space");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "old");
        replace(&path, b"new").expect("the link is gone");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "new");
        fs::remove_file(&path).expect("it was there");
    }
}
