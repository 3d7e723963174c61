//! A test's own directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory; removed when dropped, kept if the test failed.
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the target directory is writable");
        Dir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, creating its folders; returns its full path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("a joined path has a parent"))
            .expect("a folder in a fresh directory");
        fs::write(&path, content).expect("a file in a fresh directory");
        path
    }

    /// Returns a file's text; panics with the path if it cannot be read.
    pub fn read(&self, name: &str) -> String {
        let path = self.path.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A leftover directory below target/ does no harm.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
