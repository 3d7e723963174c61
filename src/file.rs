//! Opens and replaces files that the user named. Reading never blocks or grows without end; a file being written is
//! never visible half-written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::lock::lock;

/// How long to wait for a FIFO's writer. With `<(command)` the writer is there immediately.
const WRITER_WAIT: Duration = Duration::from_secs(3);
/// Largest file of settings, far above the size of any settings, key or certificate.
const MOST_BYTES: u64 = 64 << 20;
/// Most further names of a file beside another that are tried.
const MOST_NAMES: u32 = 100;

/// The files that this process reads because the user named them. None of them may be written.
static READ: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Notes that a file is read, so that it is never written. `open` does this itself.
pub fn note_read(path: &Path) {
    let mut files = lock(&READ);
    if !files.iter().any(|known| known == path) {
        files.push(path.to_owned());
    }
}

/// Returns the name under which a file is read that is the same as `path`, also through a link; `None`: none is.
pub fn read_as(path: &Path) -> Option<PathBuf> {
    let files = lock(&READ);
    let same = files.iter().find(|read| is_one_file(read, path));
    same.cloned()
}

/// Returns whether two paths name one regular file.
fn is_one_file(one: &Path, other: &Path) -> bool {
    let found = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    found(one).is_some_and(|one| found(other).map(id) == Some(id(one)))
}

/// Returns whether two outputs would go to one file. Neither needs to exist.
pub fn is_one_target(one: &Path, other: &Path) -> bool {
    let absolute = |path| std::path::absolute(path).ok();
    one == other || is_one_file(one, other) || absolute(one) == absolute(other)
}

/// Opens a file, a pipe or a device.
///
/// # Errors
/// Fails as std does, and where a FIFO has no writer.
pub fn open(path: &Path) -> io::Result<File> {
    note_read(path);
    let is_fifo = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    if !is_fifo {
        return File::open(path);
    }
    let (sender, opened) = channel();
    let path = path.to_owned();
    // Opening a FIFO blocks until it has a writer; without one the thread ends with the program.
    thread::spawn(move || sender.send(File::open(path)));
    let nobody = |_| Err(io::Error::other("a FIFO that nobody writes to"));
    opened.recv_timeout(WRITER_WAIT).unwrap_or_else(nobody)
}

/// Reads a whole file of settings.
///
/// # Errors
/// Fails as `open` does, and on more than 64 MB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("above 64 MB"));
    }
    Ok(bytes)
}

/// Whether a path means stdout: `-` is no file name.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Returns whether what is written to a path goes to stdout, under any of its names.
pub fn goes_to_stdout(path: &Path) -> bool {
    is_stdout(path) || path == Path::new("/dev/stdout")
}

/// Creates a file; `-` is stdout.
///
/// # Errors
/// Fails as `File::create` does.
pub fn create(path: &Path) -> io::Result<File> {
    match is_stdout(path) {
        true => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        false => File::create(path),
    }
}

/// Returns the next free name to move a file to: a number before the extension, as in `samples.1.jsonl`. `None` if there
/// is no regular file or nothing in it.
pub fn aside(path: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(path).ok()?;
    if is_stdout(path) || !found.is_file() || found.len() == 0 {
        return None;
    }
    let mut numbered = (1..).map(|n: u64| {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{n}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    });
    numbered.find(|path| fs::symlink_metadata(path).is_err())
}

/// Moves what a file holds to the name of `aside`, if there is anything to keep.
///
/// # Errors
/// Fails as std does; the file then stays where it is.
pub fn move_aside(path: &Path) -> io::Result<()> {
    match aside(path) {
        Some(kept) => fs::rename(path, kept),
        None => Ok(()),
    }
}

/// A file that is written beside its target and renamed over it once it is complete. If dropped before that, it is
/// removed.
///
/// A link, a pipe, a device or stdout is written directly.
pub struct Replacement {
    path: PathBuf,
    /// `None` where `path` itself is written, and after the rename.
    beside: Option<PathBuf>,
    file: File,
}

impl Replacement {
    /// Creates the file beside `path`, with this process's id in its name. A name that exists, such as a link that
    /// somebody else put there, is not opened: the next name is tried.
    ///
    /// # Errors
    /// Fails as std does, and where this process reads the file.
    pub fn create(path: &Path) -> io::Result<Replacement> {
        refuse_read(path)?;
        let is_special =
            is_stdout(path) || fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
        let (beside, file) = match is_special {
            true => (None, create(path)?),
            false => {
                let (beside, file) = create_beside(path)?;
                (Some(beside), file)
            }
        };
        Ok(Replacement {
            path: path.to_owned(),
            beside,
            file,
        })
    }

    /// Renames the file to its target.
    ///
    /// # Errors
    /// Fails as std does; the target is then unchanged.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(beside) = &self.beside {
            fs::rename(beside, &self.path)?;
        }
        self.beside = None;
        Ok(())
    }
}

/// Creates a file beside `path` under a name that does not exist.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut tried = 0;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(match tried {
            0 => format!(".{}.part", std::process::id()),
            n => format!(".{}.{n}.part", std::process::id()),
        });
        match File::create_new(&name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tried < MOST_NAMES => tried += 1,
            created => return Ok((PathBuf::from(name), created?)),
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // The caller has reported why the file was given up.
            let _ = fs::remove_file(beside);
        }
    }
}

/// Refuses to write a file that this process reads: the last line of defence, behind the check of outputs before the
/// first request.
fn refuse_read(path: &Path) -> io::Result<()> {
    match read_as(path) {
        None => Ok(()),
        Some(_) => Err(io::Error::other("an input of this command")),
    }
}

/// Replaces a file, so that a reader never sees half of it. A path that does not allow a file beside it or a rename is
/// written in place. On a full disk the old file stays.
///
/// # Errors
/// Fails as std does, and where this process reads the file.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    refuse_read(path)?;
    if let Ok(mut replacement) = Replacement::create(path) {
        replacement.write_all(bytes)?;
        if replacement.finish().is_ok() {
            return Ok(());
        }
    }
    create(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_leaves_the_file_that_was_there() {
        let path = std::env::temp_dir().join(format!("tmesh-replace-{}", std::process::id()));
        fs::write(&path, "old").expect("a file");
        let (beside, _) = create_beside(&path).expect("a file");
        let full = File::options().write(true).open("/dev/full");
        let mut replacement = Replacement {
            path: path.clone(),
            beside: Some(beside.clone()),
            file: full.expect("a device"),
        };
        let error = replacement.write_all(b"new").expect_err("no space");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        drop(replacement);
        assert!(fs::symlink_metadata(&beside).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "old");
        replace(&path, b"new").expect("space");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "new");
        fs::remove_file(&path).expect("it was there");
    }

    #[test]
    fn a_file_that_is_read_is_not_written_under_any_of_its_names() {
        let dir = std::env::temp_dir().join(format!("tmesh-read-{}", std::process::id()));
        fs::create_dir(&dir).expect("a new folder");
        let [input, link, twin, other] =
            ["input", "link", "twin", "other"].map(|name| dir.join(name));
        fs::write(&input, "kept").expect("a file");
        fs::write(&other, "kept").expect("a file");
        std::os::unix::fs::symlink(&input, &link).expect("a link");
        fs::hard_link(&input, &twin).expect("a second name");
        assert_eq!(read(&input).expect("a file"), b"kept");
        for path in [&input, &link, &twin] {
            assert_eq!(read_as(path).as_ref(), Some(&input));
            let error = replace(path, b"new").expect_err("an input");
            assert_eq!(error.to_string(), "an input of this command");
            assert!(Replacement::create(path).is_err());
        }
        assert_eq!(fs::read_to_string(&input).expect("a file"), "kept");
        // A file with the same words, and one that does not exist, are other files.
        assert_eq!(read_as(&other), None);
        assert_eq!(read_as(&dir.join("new")), None);
        fs::remove_dir_all(&dir).expect("it was there");
    }

    #[test]
    fn two_outputs_are_one_file_also_before_it_exists() {
        for (one, other, wanted) in [
            ("r.json", "r.json", true),
            ("r.json", "./r.json", true),
            ("r.json", "d/r.json", false),
            ("/dev/null", "/dev/null", true),
        ] {
            let is_one = is_one_target(Path::new(one), Path::new(other));
            assert_eq!(is_one, wanted, "{one} {other}");
        }
    }

    #[test]
    fn a_link_under_the_temporary_name_is_not_written_through() {
        let path = std::env::temp_dir().join(format!("tmesh-planted-{}", std::process::id()));
        let beside = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
        let planted = beside(&format!(".{}.part", std::process::id()));
        let other = beside(".other");
        fs::write(&other, "of somebody else").expect("a file");
        std::os::unix::fs::symlink(&other, &planted).expect("a link");
        replace(&path, b"new").expect("another name is free");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "new");
        let untouched = fs::read_to_string(&other).expect("a file");
        assert_eq!(untouched, "of somebody else");
        assert!(
            fs::symlink_metadata(&planted)
                .expect("still there")
                .is_symlink()
        );
        for path in [&path, &other, &planted] {
            fs::remove_file(path).expect("it was there");
        }
    }

    #[test]
    fn a_file_is_moved_to_the_first_name_that_is_free() {
        let dir = std::env::temp_dir().join(format!("tmesh-aside-{}", std::process::id()));
        fs::create_dir(&dir).expect("a new folder");
        let link = dir.join("link.jsonl");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link");
        fs::write(dir.join("empty"), "").expect("a file");
        for path in ["nowhere", "empty", "link.jsonl"].map(|name| dir.join(name)) {
            assert_eq!(aside(&path), None, "{}", path.display());
        }
        for (name, kept) in [
            ("s.jsonl", "s.1.jsonl"),
            ("s.jsonl", "s.2.jsonl"),
            ("s", "s.1"),
        ] {
            fs::write(dir.join(name), kept).expect("a file");
            move_aside(&dir.join(name)).expect("a free name");
            assert!(fs::symlink_metadata(dir.join(name)).is_err());
        }
        for kept in ["s.1.jsonl", "s.2.jsonl", "s.1"] {
            assert_eq!(fs::read_to_string(dir.join(kept)).expect(kept), kept);
        }
        fs::remove_dir_all(&dir).expect("it was there");
    }
}
