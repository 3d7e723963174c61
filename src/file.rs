//! Opens the files that the user named: none of them makes the program wait or grow without end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// What a FIFO is given to find a writer, from its opening on: one that a shell starts beside it comes at once.
const WRITER_WAIT: Duration = Duration::from_secs(3);
/// Settings, keys and certificates are far below it.
const MOST_BYTES: u64 = 64 << 20;

/// Opens a file, a pipe or a device.
///
/// # Errors
/// Those of std, and a FIFO without a writer.
pub fn open(path: &Path) -> io::Result<File> {
    let is_fifo = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    if !is_fifo {
        return File::open(path);
    }
    let (sender, opened) = channel();
    let path = path.to_owned();
    // It blocks until there is a writer, and ends with the program where none comes.
    thread::spawn(move || sender.send(File::open(path)));
    let nobody = |_| Err(io::Error::other("a FIFO that nobody writes to"));
    opened.recv_timeout(WRITER_WAIT).unwrap_or_else(nobody)
}

/// Reads a whole file of settings.
///
/// # Errors
/// Those of `open`, and more than 64 MB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("above 64 MB"));
    }
    Ok(bytes)
}
