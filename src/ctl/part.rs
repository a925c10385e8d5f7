//! A file under another name until it is whole. The name goes when the command fails, and when it is interrupted.

use super::interrupt::at_signals;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What to remove; nothing more once the file has its name.
type Name = Arc<Mutex<Option<PathBuf>>>;

/// The name of a file that is not whole yet.
pub struct Unfinished(Name);

impl Unfinished {
    /// Of a file that has just been made.
    pub fn of(file: &Path) -> io::Result<Unfinished> {
        let part = Unfinished(Arc::new(Mutex::new(Some(file.to_owned()))));
        let name = part.0.clone();
        at_signals(move |status| {
            remove(&name);
            std::process::exit(status);
        })?;
        Ok(part)
    }

    /// Gives the file its name.
    pub fn rename(self, to: &Path) -> io::Result<()> {
        let mut name = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        name.as_ref().map_or(Ok(()), |part| fs::rename(part, to))?;
        *name = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(name: &Name) {
    if let Some(part) = name.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing to be done if it fails: the name tells what it is.
        let _ = fs::remove_file(part);
    }
}
