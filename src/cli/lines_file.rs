//! A file of lines that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Written under a name of its own, renamed at the end, and removed when dropped before.
pub struct LinesFile {
    /// The option with its value, as typed.
    what: String,
    path: PathBuf,
    /// `None` where `path` itself is written: a device, a pipe or a link.
    beside: Option<PathBuf>,
    file: BufWriter<File>,
    /// The first failure; nothing is written after it.
    failed: Option<io::Error>,
}

impl LinesFile {
    /// Creates the folders on the way, and the file.
    ///
    /// # Errors
    /// When one of them cannot be created.
    pub fn create(option: &str, path: &str) -> Result<LinesFile> {
        let what = format!("{option} {path}");
        let path = PathBuf::from(path);
        let cannot = |error: io::Error| Error::input(&what, format!("cannot write: {error}"));
        if path.is_dir() {
            return Err(Error::input(what, "a folder; want a file"));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(cannot)?;
        }
        let is_special = fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file());
        let beside = (!is_special).then(|| beside(&path));
        let file = File::create(beside.as_ref().unwrap_or(&path)).map_err(cannot)?;
        Ok(LinesFile {
            what,
            path,
            beside,
            file: BufWriter::new(file),
            failed: None,
        })
    }

    /// Adds a line; a failure comes out at the end.
    pub fn add(&mut self, line: &str) {
        if self.failed.is_none() {
            let written = self.file.write_all(line.as_bytes());
            self.failed = written.and_then(|()| self.file.write_all(b"\n")).err();
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When not all could be written.
    pub fn finish(mut self) -> Result<()> {
        let mut ended = self.failed.take().map_or_else(|| self.file.flush(), Err);
        if let Some(beside) = &self.beside {
            ended = ended.and_then(|()| fs::rename(beside, &self.path));
        }
        if ended.is_ok() {
            self.beside = None;
        }
        ended.map_err(|error| Error::missed(&self.what, format!("cannot write: {error}")))
    }
}

impl Drop for LinesFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // What is left of a conversion that failed; its error says so.
            let _ = fs::remove_file(beside);
        }
    }
}

/// With the number of this process, so that it is nobody else's file, such as one that is read.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}
