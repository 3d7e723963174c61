//! The files and folders of results that the user names: checks, before the first request, that they can be written and
//! that nothing which is read or was measured is lost by it.

use std::fs::{
    File, OpenOptions, canonicalize, create_dir_all, metadata, remove_dir, remove_file,
    symlink_metadata,
};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::terminal::{give_stdout_away, is_unread, unless_unread};
use crate::collect::Log;
use crate::error::{Error, Result};
use crate::file::{self, Replacement, aside, is_one_target, is_stdout, move_aside, read_as};
use crate::report::document::Node;
use crate::report::json;
use crate::samples_file::{Writer, holds_samples};

/// Checks each named file, given with its option. Where `-` is named, nothing else goes to stdout.
///
/// # Errors
/// Fails when two options name one file, one names a file that is read or the one that stdout goes to, or one cannot be
/// written. Inputs must have been opened before.
pub fn check(files: &[(&'static str, Option<&str>)]) -> Result<()> {
    let named = files
        .iter()
        .filter_map(|(flag, path)| Some((*flag, (*path)?)));
    let files: Vec<_> = named.collect();
    for (at, (flag, path)) in files.iter().enumerate() {
        let what = format!("{flag} {path}");
        let is_same = |other: &str| is_one_target(other.as_ref(), path.as_ref());
        if let Some((other, _)) = files[..at].iter().find(|(_, other)| is_same(other)) {
            return Err(Error::input(what, format!("the same file as {other}")));
        }
        if is_stdout(path.as_ref()) {
            give_stdout_away();
            continue;
        }
        check_file(&what, path, *flag == SAMPLES_OPTION)?;
    }
    Ok(())
}

/// Checks a named file of samples, whatever its option is called. Where it is `-`, nothing else goes to stdout.
///
/// # Errors
/// Fails as `check` does.
pub fn check_samples(flag: &str, path: &str) -> Result<()> {
    if is_stdout(path.as_ref()) {
        give_stdout_away();
        return Ok(());
    }
    check_file(&format!("{flag} {path}"), path, true)
}

/// Checks a file that is not stdout; an earlier one with samples will be moved aside, another one replaced.
fn check_file(what: &str, path: &str, is_samples: bool) -> Result<()> {
    refuse_input(what, path.as_ref())?;
    if is_redirected_stdout(path) {
        let why = "the file that stdout goes to; it would overwrite the report";
        return Err(Error::input(what, why));
    }
    let is_new = symlink_metadata(path).is_err();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|e| Error::input(what, e))?;
    if is_new {
        // A run that is killed should leave no empty file.
        let _ = remove_file(path);
    }
    note_earlier(what, path.as_ref(), is_samples);
    Ok(())
}

/// Checks a file that a command without samples of its own will write: it must not be an input. Notes what it holds.
///
/// # Errors
/// Fails when the file is read by this command.
pub fn check_earlier(what: &str, path: &Path) -> Result<()> {
    refuse_input(what, path)?;
    note_earlier(what, path, false);
    Ok(())
}

/// Refuses an output that is the same file as an input.
fn refuse_input(what: &str, path: &Path) -> Result<()> {
    let Some(input) = read_as(path) else {
        return Ok(());
    };
    let why = format!("the same file as {}, which is read", input.display());
    Err(Error::input(what, why).next("Give the output another name"))
}

/// Notes what a file holds that this run will move aside or replace. `is_samples`: it is moved, whatever it holds.
fn note_earlier(what: &str, path: &Path, is_samples: bool) {
    let samples = measured(path);
    let is_moved = is_samples || samples.is_some();
    let kept = samples.unwrap_or_else(|| path.to_owned());
    let Some(aside) = aside(&kept) else {
        return;
    };
    let held = held(&kept);
    match is_moved {
        true => note!(
            "note: {what} has {held}; this file is moved to {}",
            aside.display()
        ),
        false => note!("note: {what} has {held}; this file is replaced"),
    }
}

/// Returns the file of samples that a path leads to, also through a link; `None`: it leads to none.
fn measured(path: &Path) -> Option<PathBuf> {
    let is_file = !is_stdout(path) && metadata(path).is_ok_and(|found| found.is_file());
    if !is_file || !holds_samples(path).unwrap_or(false) {
        return None;
    }
    match path.is_symlink() {
        true => canonicalize(path).ok(),
        false => Some(path.to_owned()),
    }
}

/// Makes room for the truth log of a mock, which the mock creates.
///
/// # Errors
/// Fails when the file is read by this command, or samples in it cannot be moved aside.
pub fn make_room(truth_log: Option<&Path>) -> Result<()> {
    let Some(path) = truth_log else {
        return Ok(());
    };
    let what = format!("--truth-log {}", path.display());
    check_earlier(&what, path)?;
    keep_measured(path).map_err(|error| Error::input(what, error))
}

/// Moves the samples aside that writing to this path would destroy.
///
/// # Errors
/// Fails as std does; the samples then stay where they are.
pub fn keep_measured(path: &Path) -> io::Result<()> {
    measured(path).map_or(Ok(()), |samples| move_aside(&samples))
}

/// Replaces a file, but moves it aside if it holds samples.
///
/// # Errors
/// Fails as std does.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    keep_measured(path)?;
    file::replace(path, bytes)
}

/// Says which run a file of samples or figures is of.
fn held(path: &Path) -> String {
    let mut bytes = Vec::new();
    let opened = File::open(path).map(|file| file.take(MOST_HEAD));
    // A file that cannot be read is named as something else.
    let _ = opened.and_then(|mut file| file.read_to_end(&mut bytes));
    let first = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let header: Value = serde_json::from_slice(first)
        .or_else(|_| serde_json::from_slice(&bytes))
        .unwrap_or_default();
    let about = [&header, &header["environment"]];
    let text = |key: &str| about.into_iter().find_map(|of| of[key].as_str());
    match (text("command"), text("started_at")) {
        (Some(command), Some(at)) => format!("results of {command}, started at {at}"),
        _ if header["schema"].is_string() => "results of an earlier run".to_string(),
        _ => "something else than results".to_string(),
    }
}

/// The destination of the samples.
pub struct Samples {
    /// The file's name in warnings.
    pub name: &'static str,
    /// The option that names it.
    pub option: &'static str,
    /// `None`: no file of samples is wanted.
    pub path: Option<PathBuf>,
    pub keep_gaps: bool,
}

impl Samples {
    /// Returns the file that `--samples` names, if it is given.
    pub fn named(path: Option<&String>, keep_gaps: bool) -> Samples {
        Samples {
            name: SAMPLES_OPTION,
            option: SAMPLES_OPTION,
            path: path.map(PathBuf::from),
            keep_gaps,
        }
    }

    /// Creates the file and writes its header. The samples of an earlier run are moved aside.
    ///
    /// # Errors
    /// Fails when the file cannot be written, or the earlier one not be moved.
    pub fn create(&self, header: &Value) -> Result<Option<Writer>> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let what = format!("{} {}", self.option, path.display());
        let created = unless_unread(path, create_samples(path, header, self.keep_gaps));
        created.map(Some).map_err(|e| Error::input(what, e))
    }
}

/// Creates a file of samples and writes its header. What the file held is moved aside.
///
/// # Errors
/// Fails when the file cannot be written, or the earlier one not be moved.
pub fn create_samples(path: &Path, header: &Value, keep_gaps: bool) -> io::Result<Writer> {
    keep_measured(path)?;
    move_aside(path)?;
    Writer::create(path, header, keep_gaps)
}

/// Writes the data of a report to the file of `--output`, if one is wanted.
pub fn result(log: &mut Log, path: Option<&String>, data: &Node) {
    if let Some(path) = path {
        write(log, "--output", path.as_ref(), &json::pretty(data));
    }
}

/// Writes a complete result file. If that fails, the log gives the output up under this name.
pub fn write(log: &mut Log, name: &str, path: &Path, text: &str) {
    if let Err(error) = replace(path, text.as_bytes())
        && !is_unread(path, &error)
    {
        let what = match name.starts_with("--") {
            true => format!("{name} {}", path.display()),
            false => path.display().to_string(),
        };
        log.lose(name, format!("{what}: {error}"));
    }
}

/// Returns whether the path is the regular file that stdout was redirected to, under any name.
fn is_redirected_stdout(path: &str) -> bool {
    let found = |path: &str| metadata(path).ok();
    let (file, stdout) = (found(path), found("/proc/self/fd/1"));
    file.zip(stdout).is_some_and(|(file, stdout)| {
        file.is_file() && (file.dev(), file.ino()) == (stdout.dev(), stdout.ino())
    })
}

/// Most bytes of an earlier file that are read to say what it is.
const MOST_HEAD: u64 = 16 << 20;
/// The option that names the file of samples.
const SAMPLES_OPTION: &str = "--samples";

/// The samples' file name in a folder.
pub const SAMPLES: &str = "samples.jsonl";

/// The file of figures of all workloads that `run` writes and `report` reads.
pub const SUMMARY: &str = "benchmark_summary.json";
/// The table of the rounds of `replay` there.
pub const ROUNDS: &str = "metrics_summary.csv";

/// A folder of results that can be written. If it is new and nothing was written to it, it is removed when it is
/// dropped.
pub struct Folder {
    /// The option that named it.
    flag: &'static str,
    dir: PathBuf,
    /// The folders that did not exist before, the innermost first.
    made: Vec<PathBuf>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder with something in it is not removed.
        let _ = self.made.iter().try_for_each(remove_dir);
    }
}

impl Folder {
    /// Creates the folder and checks that it can be written.
    ///
    /// # Errors
    /// Fails when the folder cannot be created or written.
    pub fn open(flag: &'static str, dir: &Path) -> Result<Folder> {
        if dir.as_os_str().is_empty() {
            return Err(Error::input(flag, "no folder given"));
        }
        if is_stdout(dir) {
            return Err(Error::input(flag, "- is stdout; want a folder"));
        }
        let what = format!("{flag} {}", dir.display());
        if dir.exists() && !dir.is_dir() {
            return Err(Error::input(what, "not a folder"));
        }
        let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = dir.ancestors().take_while(is_new);
        let folder = Folder {
            flag,
            dir: dir.to_path_buf(),
            made: made.map(Path::to_path_buf).collect(),
        };
        // The file is dropped at once, so that nothing stays.
        let tried = create_dir_all(dir).and_then(|()| Replacement::create(&dir.join(".tmesh-cli")));
        tried.map_err(|e| Error::input(what, e))?;
        Ok(folder)
    }

    /// Notes that the folder has samples of an earlier run, or other results of one: a file of this name.
    ///
    /// # Errors
    /// Fails when one of the two is an input of this run.
    pub fn check_earlier(&self, name: &str) -> Result<()> {
        let samples = self.path(SAMPLES);
        for path in [&samples, &self.path(name)] {
            refuse_input(&format!("{} {}", self.flag, path.display()), path)?;
        }
        note_earlier(&samples.display().to_string(), &samples, true);
        if self.dir.join(name).exists() {
            let dir = self.dir.display();
            note!(
                "note: {dir} has results of an earlier run: files of the same name are replaced, others stay"
            );
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the file of samples in the folder.
    pub fn samples(&self, keep_gaps: bool) -> Samples {
        Samples {
            name: SAMPLES,
            option: self.flag,
            path: Some(self.path(SAMPLES)),
            keep_gaps,
        }
    }

    /// Writes a complete result file. If that fails, the log gives the output up.
    pub fn write(&self, log: &mut Log, name: &str, text: &str) {
        write(log, name, &self.path(name), text);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn trying_a_file_leaves_what_was_there_and_nothing_new() {
        let dir = std::env::temp_dir().join(format!("tmesh-output-{}", std::process::id()));
        fs::create_dir(&dir).expect("a new folder");
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (new, old, link) = (path("new"), path("old"), path("link"));
        fs::write(&old, "old").expect("a file");
        std::os::unix::fs::symlink(path("nowhere"), &link).expect("a link");
        check(&[
            ("--a", Some(&new)),
            ("--b", Some(&old)),
            ("--c", Some(&link)),
            ("--d", None),
        ])
        .expect("all can be written");
        assert!(metadata(&new).is_err());
        assert_eq!(fs::read_to_string(&old).expect("still there"), "old");
        assert!(symlink_metadata(&link).is_ok());
        fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn a_new_folder_without_files_is_removed_and_others_stay() {
        let dir = std::env::temp_dir().join(format!("tmesh-folder-{}", std::process::id()));
        fs::create_dir(&dir).expect("a new folder");
        let (inner, other) = (dir.join("a/b"), dir.join("c"));
        let open = |path: &Path| Folder::open("--output", path).expect("a folder");
        drop(open(&inner));
        assert!(!dir.join("a").exists());
        let kept = open(&inner);
        fs::write(kept.path("samples.jsonl"), "x").expect("a file");
        drop(kept);
        assert!(inner.join("samples.jsonl").exists());
        fs::create_dir(&other).expect("a new folder");
        drop(open(&other));
        assert!(other.exists(), "it was there before");
        fs::remove_dir_all(&dir).expect("it was there");
    }

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
