//! `backup`: a copy of the store, read and checked as it comes.

use super::arguments::BackupArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::part::Unfinished;
use super::progress::Progress;
use crate::store::archive::{ArchiveError, Broken, Header, Item, Part, Summary, Unpacker};
use jiff::Timestamp;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So often is it begun anew when somebody is erased meanwhile, after such a pause.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_secs(2);

/// What came of asking once.
enum Came {
    Whole(Header, Summary, u64),
    /// The daemon broke it off and says that it may be begun anew.
    Again(String),
}

/// `backstopctl backup FILE|DIR`.
pub fn backup(client: &Client, asked: &BackupArguments, out: &mut Output) -> Result<Exit, Failure> {
    let reason = asked.reason.as_deref().map(|reason| format!("?reason={}", encoded(reason))).unwrap_or_default();
    let target = format!("/v1/backup{reason}");
    let to = asked.to.as_ref().or(asked.output.as_ref());
    let Some(to) = to.filter(|to| *to != Path::new("-")) else {
        return match once(client, &target, &mut |octets| out.octets(octets))? {
            Came::Whole(..) => Ok(Exit::Yes),
            Came::Again(problem) => {
                Err(Failure::new(Exit::Unavailable, format!("what was written is none: {problem}")))
            }
        };
    };
    let file = match to.is_dir() {
        true => to.join(Timestamp::now().strftime("backstop-%Y%m%dT%H%M%SZ.backup").to_string()),
        false => to.clone(),
    };
    let mut part = Partial::create(&file)?;
    let mut attempts = 0;
    let (header, summary, octets) = loop {
        attempts += 1;
        part.begin()?;
        match once(client, &target, &mut |octets| part.write(octets))? {
            Came::Whole(header, summary, octets) => break (header, summary, octets),
            Came::Again(problem) if attempts == ATTEMPTS => return Err(Failure::new(Exit::Unavailable, problem)),
            Came::Again(_) => std::thread::sleep(PAUSE),
        }
    };
    part.finish()?;
    if out.json() {
        out.object(&serde_json::json!({
            "file": file, "at": header.at, "last": header.last, "events": summary.events, "octets": octets,
            "hash": summary.hash,
        }))?;
    } else {
        out.line(&format!("{}: {} events, {} KiB", file.display(), summary.events, octets.div_ceil(1024)))?;
    }
    Ok(Exit::Yes)
}

/// Asks once. What is taken was checked before, but for the hash over all of it.
fn once(client: &Client, target: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<Came, Failure> {
    let mut unpacker = Unpacker::default();
    let mut progress = Progress::new(0, 0);
    let (mut header, mut events, mut again) = (None, 0, None);
    let copied = client.copy(target, Body::Json(Vec::new()), |octets| {
        let fed = unpacker.feed(octets, &mut |item| -> Result<(), ArchiveError> {
            match item {
                Item::Header(found) => {
                    progress = Progress::new(0, found.events);
                    header = Some(found);
                }
                Item::Entry(Part::Events, key, _) => events += u64::from(key.len() == 16),
                Item::Entry(..) => {}
            }
            Ok(())
        });
        progress.at(events, &format!("{events} events"));
        fed.map_err(|error| {
            if let ArchiveError::Broken(Broken { problem, again: true }) = &error {
                again = Some(problem.clone());
            }
            unusable(&error)
        })?;
        take(octets)
    });
    progress.end();
    if let Some(problem) = again {
        return Ok(Came::Again(problem));
    }
    copied?;
    let octets = unpacker.octets();
    let summary = unpacker.finish().map_err(|error| unusable(&error))?;
    let header = header.ok_or_else(|| unusable(&ArchiveError::NotABackup))?;
    Ok(Came::Whole(header, summary, octets))
}

fn unusable(error: &ArchiveError) -> Failure {
    Failure::new(Exit::Unavailable, format!("the backup that backstopd wrote cannot be used: {error}"))
}

/// A file under a name of its own until it is whole. Nobody else may read it: it is all there is of everybody.
struct Partial {
    to: PathBuf,
    part: Unfinished,
    file: File,
}

impl Partial {
    fn create(to: &Path) -> Result<Partial, Failure> {
        let name = to.file_name().ok_or_else(|| Failure::new(Exit::Usage, "a file is wanted, or a directory"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let part = to.with_file_name(hidden);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part);
        let made = file.and_then(|file| Ok((file, Unfinished::of(&part)?)));
        let (file, part) = made.map_err(|error| unwritable(to, &error))?;
        Ok(Partial { to: to.to_owned(), part, file })
    }

    /// Throws away what was written.
    fn begin(&mut self) -> Result<(), Failure> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| unwritable(&self.to, &error))
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.file.write_all(octets).map_err(|error| unwritable(&self.to, &error))
    }

    /// Puts it in its place, on disk.
    fn finish(self) -> Result<(), Failure> {
        let above = self.to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let placed = self.file.sync_all().and_then(|()| self.part.rename(&self.to));
        let placed = placed.and_then(|()| File::open(above)?.sync_all());
        placed.map_err(|error| unwritable(&self.to, &error))
    }
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Permission,
        _ => Exit::Output,
    };
    Failure::new(exit, format!("{}: {error}", file.display()))
}
