//! The files beside sled's `db`: a snapshot of where pages lie, and its settings, each with a checksum at its end. sled
//! refuses to open over a snapshot that is not as it was written, for ever, although its log tells it the same; settings
//! it would believe. What is damaged is put aside here, so that only `db` itself can keep the store from opening.
//!
//! In: the store's directory, locked. Called ahead of every opening.

use crate::ops::event::strain;
use std::fs;
use std::io;
use std::path::Path;

/// Put ahead of the name of a damaged file: sled then looks past it, and a person may look at it.
const ASIDE: &str = "damaged.";

/// Puts aside what is not as it was written. The log says so.
///
/// # Errors
/// What the system says.
pub fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Behind the words of a snapshot stands a length of eight octets, not covered by the checksum.
        let uncovered = match name {
            "conf" => 0,
            name if name.starts_with("snap.") => 8,
            _ => continue,
        };
        let content = fs::read(entry.path())?;
        if is_whole(&content, uncovered) {
            continue;
        }
        fs::rename(entry.path(), path.join(format!("{ASIDE}{name}")))?;
        strain::store_damaged(&format!("{}: damaged, and put aside: it is made anew of db", entry.path().display()));
    }
    Ok(())
}

fn is_whole(content: &[u8], uncovered: usize) -> bool {
    let Some((rest, checksum)) = content.split_last_chunk::<4>() else { return false };
    let Some(covered) = rest.len().checked_sub(uncovered).and_then(|length| rest.get(..length)) else { return false };
    !covered.is_empty() && u32::from_le_bytes(*checksum) == crc32(covered)
}

/// What is the matter with `db`, as far as can be told from outside.
pub fn problem_of_db(path: &Path) -> String {
    match fs::metadata(path.join("db")) {
        Ok(found) if found.len() == 0 => "its file db is empty".to_owned(),
        Ok(_) => "its file db is damaged".to_owned(),
        Err(error) => format!("its file db: {error}"),
    }
}

/// CRC-32 as of zlib.
pub fn crc32(octets: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|index| {
        (0..8).fold(index as u32, |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    });
    !octets.iter().fold(!0, |sum: u32, octet| table[usize::from(sum as u8 ^ octet)] ^ sum >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_sled_wrote_is_whole_and_one_octet_less_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(directory.path()).open().unwrap();
        db.insert("key", "value").unwrap();
        drop(db);
        // A second opening writes a snapshot.
        drop(sled::Config::new().path(directory.path()).open().unwrap());
        let mut seen = 0;
        for entry in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let uncovered = if name == "conf" { 0 } else { 8 };
            if name == "conf" || name.starts_with("snap.") {
                let mut content = fs::read(entry.path()).unwrap();
                assert!(is_whole(&content, uncovered), "{name}");
                assert!(!is_whole(&content[..content.len() - 1], uncovered), "{name}");
                content[1] ^= 1;
                assert!(!is_whole(&content, uncovered), "{name}");
                seen += 1;
            }
        }
        assert!(seen >= 2, "settings and a snapshot");
    }
}
