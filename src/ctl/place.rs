//! A file that grows beside the one it becomes, so that writing that breaks off leaves that as it was.

use super::part::Unfinished;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where it grows, and the name it gets when it is whole.
pub struct Place {
    /// What it is written to.
    pub out: BufWriter<File>,
    /// Its name meanwhile, and at last; none for what is no file, as a pipe.
    renamed: Option<(Unfinished, PathBuf)>,
}

impl Place {
    /// A place for this file.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn for_file(file: &Path) -> io::Result<Place> {
        // A link keeps its place; what it leads to is replaced.
        let last = match file.canonicalize() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
            Err(error) => return Err(error),
        };
        if last.exists() && !last.is_file() {
            // A directory refuses, a device or a pipe takes it.
            let out = OpenOptions::new().write(true).open(&last)?;
            return Ok(Place { out: BufWriter::new(out), renamed: None });
        }
        let Some(name) = last.file_name() else { return Err(io::ErrorKind::InvalidFilename.into()) };
        let beside = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let meanwhile = last.with_file_name(beside);
        let out = OpenOptions::new().write(true).create_new(true).open(&meanwhile)?;
        let meanwhile = Unfinished::of(&meanwhile)?;
        let place = Place { out: BufWriter::new(out), renamed: Some((meanwhile, last)) };
        if let Some((_, last)) = &place.renamed
            && let Ok(before) = last.metadata()
        {
            place.out.get_ref().set_permissions(before.permissions())?;
        }
        Ok(place)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot be written to its end; then what stood there stays.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        if let Some((meanwhile, last)) = self.renamed {
            self.out.get_ref().sync_all()?;
            meanwhile.rename(&last)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("page.html");
        std::fs::write(&file, "before").expect("written");
        let mut place = Place::for_file(&file).expect("writable");
        place.out.write_all(b"half a pa").expect("written");
        drop(place);
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "before");
        let mut place = Place::for_file(&file).expect("writable");
        place.out.write_all(b"a page").expect("written");
        place.finish().expect("renamed");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "a page");
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_device_is_written_to_and_a_directory_is_refused() {
        let mut place = Place::for_file(Path::new("/dev/null")).expect("writable");
        place.out.write_all(b"a page").expect("written");
        place.finish().expect("nothing to rename");
        assert!(!Path::new("/dev/null").is_file());
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Place::for_file(directory.path()).is_err());
        assert!(Place::for_file(&directory.path().join("no/page.html")).is_err());
    }
}
