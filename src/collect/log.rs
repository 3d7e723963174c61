//! The samples file of a run, and the outputs that it gave up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::samples_file;

/// The samples file, and the outputs that could not be written.
pub struct Log {
    /// The file's name in warnings.
    pub name: &'static str,
    /// `None`: no samples file was asked for, or it could not be written.
    pub file: Option<samples_file::Writer>,
    /// Set once the samples went to a stdout that nobody reads any more.
    pub is_unread: Arc<AtomicBool>,
    /// Outputs that were given up, each with its reason.
    pub lost: Vec<Lost>,
}

/// An output that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The option or file, such as `--output`.
    pub name: String,
    pub why: String,
}

impl Log {
    /// Makes the log of a run that has no samples file yet.
    pub fn new(name: &'static str) -> Log {
        Log {
            name,
            file: None,
            is_unread: Arc::default(),
            lost: Vec::new(),
        }
    }

    /// Writes to the samples file. When that fails, the run continues without the file; a reader of stdout that is gone
    /// has read enough.
    pub fn write(&mut self, write: impl FnOnce(&mut samples_file::Writer) -> io::Result<()>) {
        let Some(file) = &mut self.file else {
            return;
        };
        let Err(error) = write(file) else {
            return;
        };
        let is_unread = file.is_stdout && error.kind() == io::ErrorKind::BrokenPipe;
        self.file = None;
        match is_unread {
            true => self.is_unread.store(true, Relaxed),
            false => self.lose(self.name, format!("{}: {error}", self.name)),
        }
    }

    /// Reports once that an output is given up.
    pub fn lose(&mut self, name: &str, why: String) {
        let name = name.to_string();
        let lost = Lost { name, why };
        if !self.lost.contains(&lost) {
            eprintln!("warning: {}; the run goes on without it", lost.why);
            self.lost.push(lost);
        }
    }

    pub fn has_lost(&self, name: &str) -> bool {
        self.lost.iter().any(|lost| lost.name == name)
    }
}
