//! How far the acknowledged records go, told in a small file beside sled's own.
//!
//! sled takes the end of its log that it cannot read for one that was cut off by a crash, and goes on without it: a
//! `db` that lost its tail, or all of it, opens as if nothing had been there. What was acknowledged was durable before,
//! so a crash cannot have taken it. This file tells: it is written behind each acknowledgement, and never synced, so
//! it may be behind what is in `db` and never ahead of it.

use super::StoreError;
use super::damaged_files::crc32;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Its name.
const NAME: &str = "acknowledged";

/// The open file.
pub struct Acknowledged {
    path: PathBuf,
    /// None where it cannot be made now: it is tried again.
    file: Option<File>,
}

impl Acknowledged {
    /// Compares with how many ids the newest record of `db` was written behind.
    ///
    /// # Errors
    /// [`StoreError::Unopenable`] when more was acknowledged.
    pub fn open(path: &Path, given_out: u64) -> Result<Acknowledged, StoreError> {
        let file = path.join(NAME);
        // What cannot be read says nothing.
        let noted = fs::read(&file).ok().and_then(|content| read(&content));
        if let Some(noted) = noted.filter(|noted| *noted > given_out) {
            let problem = format!(
                "its file db is damaged: what was recorded last is missing ({given_out} ids instead of {noted}); to go on \
                 with what is left, rm {}",
                file.display()
            );
            return Err(StoreError::Unopenable { path: path.to_owned(), problem });
        }
        Ok(Acknowledged { path: file, file: None })
    }

    /// Notes that all records of so many ids are durable. That it cannot be written is no trouble of the record.
    pub fn note(&mut self, given_out: u64) {
        if self.file.is_none() {
            let mut options = File::options();
            self.file = options.create(true).truncate(false).write(true).mode(0o600).open(&self.path).ok();
        }
        let written = self.file.as_ref().map_or(Ok(()), |file| write(file, given_out));
        if written.is_err() {
            self.file = None;
        }
    }
}

fn write(file: &File, given_out: u64) -> io::Result<()> {
    let number = given_out.to_be_bytes();
    let mut content = [0; 12];
    content[..8].copy_from_slice(&number);
    content[8..].copy_from_slice(&crc32(&number).to_be_bytes());
    file.write_all_at(&content, 0)
}

fn read(content: &[u8]) -> Option<u64> {
    let (number, rest) = content.split_first_chunk::<8>()?;
    let checksum = u32::from_be_bytes(*rest.first_chunk()?);
    (crc32(number) == checksum).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_cannot_be_read_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut acknowledged = Acknowledged::open(path, 0).unwrap();
        acknowledged.note(7);
        acknowledged.note(9);
        assert!(Acknowledged::open(path, 9).is_ok() && Acknowledged::open(path, 10).is_ok());
        let Err(StoreError::Unopenable { problem, .. }) = Acknowledged::open(path, 8) else { panic!("it is missing") };
        assert!(problem.contains("8 ids instead of 9"), "{problem}");
        fs::write(path.join(NAME), "half").unwrap();
        assert!(Acknowledged::open(path, 0).is_ok());
    }
}
