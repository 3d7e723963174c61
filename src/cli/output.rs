//! Result files that the user names: whether they can be written, before the first request.

use std::fs::{OpenOptions, metadata, remove_file, symlink_metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::collect::replace;
use crate::error::{Error, Result};
use crate::samples_file::Writer;

/// Tries each file that was named, with the option.
///
/// # Errors
/// Two options name one file, one names the file that stdout goes to, or one cannot be written.
pub fn check(files: &[(&'static str, Option<&str>)]) -> Result<()> {
    let files = files.iter();
    let files: Vec<_> = files
        .filter_map(|(flag, path)| Some((*flag, (*path)?)))
        .collect();
    for (at, (flag, path)) in files.iter().enumerate() {
        let what = format!("{flag} {path}");
        if let Some((other, _)) = files[..at].iter().find(|(_, other)| other == path) {
            return Err(Error::input(what, format!("the same file as {other}")));
        }
        if is_redirected_stdout(path) {
            let why = "the file that stdout goes to; it would overwrite the report";
            return Err(Error::input(what, why));
        }
        let is_new = symlink_metadata(path).is_err();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|e| Error::input(what, e))?;
        if is_new {
            // A run that is killed is to leave no empty file.
            let _ = remove_file(path);
        }
    }
    Ok(())
}

/// Starts the file of samples that `--samples` names, if it does.
pub fn samples(path: Option<&str>, about: &Value, keep_gaps: bool) -> Result<Option<Writer>> {
    let created = path.map(|path| {
        let created = Writer::create(path, about, keep_gaps);
        created.map_err(|e| Error::input(format!("--samples {path}"), e))
    });
    created.transpose()
}

/// Writes a result file whole; one that cannot be written is said at once, by this name, and added to `lost`.
pub fn write<Text: AsRef<str>>(
    what: &str,
    path: &str,
    text: serde_json::Result<Text>,
    lost: &mut Vec<String>,
) {
    let text = text.map_err(io::Error::from);
    if let Err(error) = text.and_then(|text| replace(path, text.as_ref().as_bytes())) {
        let why = format!("{what}: {error}");
        eprintln!("warning: {why}; the run goes on without it");
        if !lost.contains(&why) {
            lost.push(why);
        }
    }
}

/// Whether the path is the regular file that stdout was redirected to, by whatever name.
fn is_redirected_stdout(path: &str) -> bool {
    let found = |path: &str| metadata(path).ok();
    let (file, stdout) = (found(path), found("/proc/self/fd/1"));
    file.zip(stdout).is_some_and(|(file, stdout)| {
        file.is_file() && (file.dev(), file.ino()) == (stdout.dev(), stdout.ino())
    })
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
}
