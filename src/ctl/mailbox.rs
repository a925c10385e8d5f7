//! Mails out of files, Maildirs and mbox files, whatever the operator has. What a file is, its content says.
//!
//! In: paths. Out: one mail at a time, with its name and how far through its mailbox it stands, so that work
//! that was broken off can go on there. An mbox of any size is read in small pieces.

use crate::admin::MAIL_BYTES;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A mail, or why one could not be had.
pub struct Found {
    /// The file, and for an mbox where in it the mail begins: `bounces.mbox:1024`.
    pub name: String,
    /// The mail.
    pub mail: Result<Vec<u8>, Unreadable>,
    /// Octets of the mailbox read so far; files of a Maildir count as they come.
    pub place: u64,
}

/// Why a mail could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Its file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is longer than the daemon takes.
    #[error("longer than {MAIL_BYTES} octets")]
    TooLong,
}

/// What holds mails.
#[derive(Debug)]
pub enum Mailbox {
    /// One mail; `-` is standard input.
    Single(PathBuf),
    /// Mails in one file, each behind a line that begins with `From ` (RFC 4155).
    Mbox(PathBuf),
    /// A directory: the mails in `cur` and `new` of a Maildir, or else every file in it, by name.
    Files(Vec<PathBuf>),
}

impl Mailbox {
    /// Finds out what `path` is.
    ///
    /// # Errors
    /// An I/O error when it cannot be looked at.
    pub fn open(path: &Path) -> io::Result<Mailbox> {
        if path == Path::new("-") {
            return Ok(Mailbox::Single(path.to_owned()));
        }
        if fs::metadata(path)?.is_dir() {
            let is_maildir = path.join("cur").is_dir() && path.join("new").is_dir();
            let directories = if is_maildir { vec![path.join("cur"), path.join("new")] } else { vec![path.to_owned()] };
            return Ok(Mailbox::Files(files_in(&directories)?));
        }
        let mut start = Vec::new();
        File::open(path)?.take(5).read_to_end(&mut start)?;
        Ok(if start == b"From " { Mailbox::Mbox(path.to_owned()) } else { Mailbox::Single(path.to_owned()) })
    }

    /// How large it is, in the unit of [`Found::place`].
    pub fn size(&self) -> u64 {
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        match self {
            Mailbox::Single(path) | Mailbox::Mbox(path) => length(path),
            Mailbox::Files(files) => files.len() as u64,
        }
    }

    /// Hands on every mail behind `place`, in order, until `take` fails.
    ///
    /// # Errors
    /// The error of `take`. A file that cannot be read is handed on as such.
    pub fn each<E>(&self, place: u64, mut take: impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
        match self {
            Mailbox::Single(_) if place > 0 => Ok(()),
            Mailbox::Single(path) => {
                let name = path.to_string_lossy().into_owned();
                take(Found { name, mail: read_file(path), place: self.size().max(1) })
            }
            Mailbox::Files(files) => files.iter().enumerate().skip(place as usize).try_for_each(|(number, path)| {
                let name = path.to_string_lossy().into_owned();
                take(Found { name, mail: read_file(path), place: number as u64 + 1 })
            }),
            Mailbox::Mbox(path) => match Mbox::open(path, place) {
                Ok(mut mbox) => mbox.each(&path.to_string_lossy(), take),
                Err(error) => {
                    let name = path.to_string_lossy().into_owned();
                    take(Found { name, mail: Err(error.into()), place })
                }
            },
        }
    }
}

/// Files whose names do not begin with a dot, sorted by name: Maildir names begin with the time of delivery.
fn files_in(directories: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in directories {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with('.') && entry.path().is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unreadable> {
    // One octet more than is taken tells a mail that is too long.
    let most = MAIL_BYTES as u64 + 1;
    let mut mail = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut mail)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut mail)?;
    }
    if mail.len() > MAIL_BYTES { Err(Unreadable::TooLong) } else { Ok(mail) }
}

/// An mbox being read: `mboxrd` and `mboxo` alike.
struct Mbox {
    lines: BufReader<File>,
    place: u64,
}

impl Mbox {
    fn open(path: &Path, place: u64) -> io::Result<Mbox> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(place))?;
        Ok(Mbox { lines: BufReader::with_capacity(64 << 10, file), place })
    }

    fn each<E>(&mut self, path: &str, mut take: impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
        let (mut mail, mut line) = (Vec::new(), Vec::new());
        let (mut start, mut begun, mut after_empty) = (self.place, false, true);
        loop {
            let read = self.line(&mut line);
            let is_end = matches!(read, Ok(0) | Err(_));
            let is_separator = after_empty && line.starts_with(b"From ");
            if is_end || is_separator {
                if begun {
                    let content = std::mem::take(&mut mail);
                    let content = if content.len() > MAIL_BYTES { Err(Unreadable::TooLong) } else { Ok(content) };
                    take(Found { name: format!("{path}:{start}"), mail: content, place: self.place })?;
                }
                if let Err(error) = read {
                    return take(Found { name: path.to_owned(), mail: Err(error.into()), place: self.place });
                }
                if is_end {
                    return Ok(());
                }
                (start, begun) = (self.place, true);
                self.place += line.len() as u64;
                after_empty = false;
                continue;
            }
            self.place += line.len() as u64;
            after_empty = matches!(&line[..], b"\n" | b"\r\n");
            let quotes = line.iter().take_while(|octet| **octet == b'>').count();
            let is_quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
            // What lies beyond the limit is counted, not kept.
            if mail.len() <= MAIL_BYTES {
                mail.extend_from_slice(&line[usize::from(is_quoted)..]);
            }
        }
    }

    /// Reads a line, at most 64 KiB of it at a time.
    fn line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        line.clear();
        (&mut self.lines).take(64 << 10).read_until(b'\n', line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mails(mailbox: &Mailbox, place: u64) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let all: Result<(), ()> = mailbox.each(place, |one| {
            found.push((String::from_utf8(one.mail.expect("readable")).unwrap(), one.place));
            Ok(())
        });
        all.expect("nothing stops it");
        found
    }

    #[test]
    fn an_mbox_is_told_by_its_first_line_and_can_be_entered_behind_any_mail() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old");
        let mbox = "From a Sat Nov 21 23:50:08 2026\nSubject: one\n\nFromage\n>From here\n>>From there\n\n\
                    From b Sat Nov 21 23:50:09 2026\nSubject: two\n\nbody\nFrom within\n";
        fs::write(&path, mbox).unwrap();
        let mailbox = Mailbox::open(&path).unwrap();
        assert!(matches!(mailbox, Mailbox::Mbox(_)));
        let all = mails(&mailbox, 0);
        let texts: Vec<&str> = all.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            texts,
            ["Subject: one\n\nFromage\nFrom here\n>From there\n\n", "Subject: two\n\nbody\nFrom within\n"]
        );
        assert_eq!(mailbox.size(), all[1].1);
        assert_eq!(mails(&mailbox, all[0].1), all[1..]);
        assert_eq!(mails(&mailbox, all[1].1), []);
    }

    #[test]
    fn a_maildir_gives_the_mails_of_cur_and_new_in_order_of_delivery() {
        let directory = tempfile::tempdir().unwrap();
        for part in ["cur", "new", "tmp"] {
            fs::create_dir(directory.path().join(part)).unwrap();
        }
        for (file, text) in [("new/200.x", "b"), ("cur/100.x:2,S", "a"), ("tmp/050.x", "no"), ("new/.hidden", "no")] {
            fs::write(directory.path().join(file), text).unwrap();
        }
        let mailbox = Mailbox::open(directory.path()).unwrap();
        assert_eq!(mails(&mailbox, 0), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(mails(&mailbox, 1), [("b".to_owned(), 2)]);
    }

    #[test]
    fn any_other_file_is_one_mail() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bounce.eml");
        fs::write(&path, "From: a@example.org\n\nFrom here\n").unwrap();
        let mailbox = Mailbox::open(&path).unwrap();
        assert_eq!(mails(&mailbox, 0).len(), 1);
        assert_eq!(mails(&mailbox, 32), []);
    }
}
