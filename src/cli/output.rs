//! Result files that the user names: whether they can be written, before the first request.

use std::fs::{OpenOptions, metadata};
use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Result};

/// Tries each file with the option that names it; one that is not there is made.
///
/// # Errors
/// Two options name one file, one names the file that stdout goes to, or one cannot be written.
pub fn check(files: &[(&str, &str)]) -> Result<()> {
    for (at, (flag, path)) in files.iter().enumerate() {
        let what = format!("{flag} {path}");
        if let Some((other, _)) = files[..at].iter().find(|(_, other)| other == path) {
            return Err(Error::input(what, format!("the same file as {other}")));
        }
        if is_redirected_stdout(path) {
            let why = "the file that stdout goes to; it would overwrite the report";
            return Err(Error::input(what, why));
        }
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|e| Error::input(what, e))?;
    }
    Ok(())
}

/// Whether the path is the regular file that stdout was redirected to, by whatever name.
fn is_redirected_stdout(path: &str) -> bool {
    let found = |path: &str| metadata(path).ok();
    let (file, stdout) = (found(path), found("/proc/self/fd/1"));
    file.zip(stdout).is_some_and(|(file, stdout)| {
        file.is_file() && (file.dev(), file.ino()) == (stdout.dev(), stdout.ino())
    })
}
