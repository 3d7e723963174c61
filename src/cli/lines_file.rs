//! A file of lines that appears whole or not at all.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::file::Replacement;

/// Takes its place at the end; what is dropped before leaves nothing.
pub struct LinesFile {
    /// The option with its value, as typed.
    what: String,
    file: BufWriter<Replacement>,
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
        let path = Path::new(path);
        let cannot = |error: io::Error| Error::input(&what, format!("cannot write: {error}"));
        if path.is_dir() {
            return Err(Error::input(what, "a folder; want a file"));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(cannot)?;
        }
        let file = Replacement::create(path).map_err(cannot)?;
        Ok(LinesFile {
            what,
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
    pub fn finish(self) -> Result<()> {
        let written = match self.failed {
            Some(error) => Err(error),
            None => self.file.into_inner().map_err(|error| error.into_error()),
        };
        written
            .and_then(Replacement::finish)
            .map_err(|error| Error::missed(&self.what, format!("cannot write: {error}")))
    }
}
