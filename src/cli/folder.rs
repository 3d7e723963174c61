//! The folder that a command leaves its results in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::samples_file::Writer;

use super::output;

/// What the samples are called in it.
pub const SAMPLES: &str = "samples.jsonl";

/// A folder of results, found to be writable.
pub struct Folder {
    /// The option that named it.
    flag: &'static str,
    dir: PathBuf,
}

impl Folder {
    /// Makes the folder and tries it.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn open(flag: &'static str, dir: &Path) -> Result<Folder> {
        if dir.as_os_str().is_empty() {
            return Err(Error::input(flag, "no folder given"));
        }
        let what = format!("{flag} {}", dir.display());
        if dir.exists() && !dir.is_dir() {
            return Err(Error::input(what, "not a folder"));
        }
        let beside = dir.join(".tmesh-cli.part");
        let tried = fs::create_dir_all(dir)
            .and_then(|()| File::create(&beside))
            .and_then(|_| fs::remove_file(&beside));
        tried.map_err(|e| Error::input(what, e))?;
        Ok(Folder {
            flag,
            dir: dir.to_path_buf(),
        })
    }

    /// Says that results of an earlier run are there, if this one of them is.
    pub fn note_earlier(&self, name: &str) {
        if self.dir.join(name).exists() {
            let dir = self.dir.display();
            eprintln!(
                "note: {dir} has results of an earlier run: files of the same name are replaced, others stay"
            );
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the file of samples.
    pub fn samples(&self, about: &Value, keep_gaps: bool) -> Result<Writer> {
        let path = self.dir.join(SAMPLES);
        let what = format!("{} {}", self.flag, path.display());
        Writer::create(&path.to_string_lossy(), about, keep_gaps).map_err(|e| Error::input(what, e))
    }

    /// Writes a result file whole; one that cannot be written is said at once and added to `lost`.
    pub fn write(&self, name: &str, text: &str, lost: &mut Vec<String>) {
        let path = self.dir.join(name);
        let path = path.to_string_lossy();
        output::write(&path, &path, Ok(text), lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_a_file_are_no_folders() {
        for (dir, wanted) in [
            ("", "[ERROR] --output: no folder given"),
            ("/dev/full", "[ERROR] --output /dev/full: not a folder"),
        ] {
            let error = Folder::open("--output", Path::new(dir)).err();
            assert_eq!(error.expect("no folder").to_string(), wanted);
        }
    }
}
