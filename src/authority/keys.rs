//! The key ring: the keys that sign and prove tokens, as files of a directory (`[authority] keys`).
//!
//! One file for each key, `key-001.toml`, of mode 0600: a key that others can read is refused. The newest key signs;
//! every key that is not retired proves, so that what a replaced key signed is believed until it is too old anyway.
//! Read by the daemon at start and reload; made and retired by `backstopctl keys`.

use super::token::Secret;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest key file that is read.
const FILE_BYTES: u64 = 4096;

/// A key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its number, which every token of it bears.
    pub id: u8,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it proves nothing any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retired: Option<Timestamp>,
    /// 32 random octets, in hexadecimal digits.
    secret: String,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file or the directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read a key.
    #[error("{}: mode {mode:04o}: others can read this key; make it 0600, and replace the key if somebody may have", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds no key.
    #[error("{}: {problem}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing to sign with.
    #[error("{}: holds no key that is not retired; `backstopctl keys new` makes one", directory.display())]
    NoKey {
        /// The directory.
        directory: PathBuf,
    },
    /// All 255 numbers are taken by keys that are not retired.
    #[error("{}: every number from 1 to 255 is taken by a key that is not retired; remove old ones", directory.display())]
    Full {
        /// The directory.
        directory: PathBuf,
    },
}

/// All keys of a directory, the newest last.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<(Key, Secret)>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key {{ id: {}, created: {}, retired: {:?} }}", self.id, self.created, self.retired)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

impl KeyRing {
    /// Reads all keys of a directory; a missing directory is an empty one.
    ///
    /// # Errors
    /// [`KeysError`] for the first file, in order of name, that cannot be used.
    pub fn read(directory: &Path) -> Result<KeyRing, KeysError> {
        let trouble = |source| KeysError::Io { path: directory.to_owned(), source };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeyRing::default()),
            Err(error) => return Err(trouble(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let name = entry.map_err(trouble)?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("key-") && name.ends_with(".toml")) {
                files.push(directory.join(name));
            }
        }
        files.sort();
        let mut keys = files.iter().map(|file| read_key(file)).collect::<Result<Vec<_>, _>>()?;
        // Of two made in one second, the one with the higher number is the newer.
        keys.sort_by_key(|(key, _)| (key.created, key.id));
        Ok(KeyRing { keys })
    }

    /// The keys, the newest last.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// The key that signs: the newest that is not retired.
    pub fn signing(&self) -> Option<(u8, &Secret)> {
        self.keys.iter().rev().find(|(key, _)| key.retired.is_none()).map(|(key, secret)| (key.id, secret))
    }

    /// The key of a number, if it is not retired.
    pub fn proving(&self, id: u8) -> Option<&Secret> {
        self.keys.iter().find(|(key, _)| key.id == id && key.retired.is_none()).map(|(_, secret)| secret)
    }

    /// Those that were replaced so long ago that every token of theirs is too old, and are not retired yet.
    fn outlived(&self, now: Timestamp, max_age_days: u16) -> Vec<u8> {
        let live: Vec<&Key> = self.keys().filter(|key| key.retired.is_none()).collect();
        // A day more: tokens know their day only.
        let age = SignedDuration::from_hours(24 * (i64::from(max_age_days) + 1));
        live.windows(2).filter(|pair| now.duration_since(pair[1].created) > age).map(|pair| pair[0].id).collect()
    }
}

/// Makes a key, which signs from the daemon's next reload on. The directory is made if it is missing; a file belongs
/// to whom the directory belongs to, so that root can make keys for the daemon.
///
/// # Errors
/// [`KeysError`] when the directory cannot be read or written.
pub fn new_key(directory: &Path, now: Timestamp) -> Result<Key, KeysError> {
    let trouble = |source| KeysError::Io { path: directory.to_owned(), source };
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(trouble)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(trouble)?;
    }
    let ring = KeyRing::read(directory)?;
    let id = next_number(&ring, directory)?;
    let mut secret = [0; 32];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret)).map_err(trouble)?;
    let secret = secret.iter().map(|octet| format!("{octet:02x}")).collect();
    // Whole seconds are enough; a later key must not look older.
    let key = Key { id, created: now.max(ring.keys().last().map_or(now, |key| key.created)), retired: None, secret };
    write_key(directory, &key)?;
    Ok(key)
}

/// The number of the key that [`new_key`] would make, and those that [`retire`] would retire after it.
///
/// # Errors
/// [`KeysError`] when the directory cannot be read, or takes no more keys.
pub fn rotation(
    directory: &Path,
    now: Timestamp,
    max_age_days: u16,
    at_once: bool,
) -> Result<(u8, Vec<u8>), KeysError> {
    if !directory.exists() {
        return Ok((1, Vec::new()));
    }
    let ring = KeyRing::read(directory)?;
    let id = next_number(&ring, directory)?;
    let retired = if at_once {
        ring.keys().filter(|key| key.retired.is_none()).map(|key| key.id).collect()
    } else {
        ring.outlived(now, max_age_days)
    };
    Ok((id, retired))
}

/// Numbers go round; a retired key gives its own up, the longest retired first.
fn next_number(ring: &KeyRing, directory: &Path) -> Result<u8, KeysError> {
    let newest = ring.keys().last().map_or(0, |key| key.id);
    let mut numbers = (newest..255).map(|id| id + 1).chain(1..=newest);
    let id = numbers.find(|id| ring.proving(*id).is_none());
    id.ok_or_else(|| KeysError::Full { directory: directory.to_owned() })
}

/// Retires the keys whose every token is too old, or with `at_once` all but the newest. Returns their numbers.
///
/// # Errors
/// [`KeysError`] when a file cannot be read or written.
pub fn retire(directory: &Path, now: Timestamp, max_age_days: u16, at_once: bool) -> Result<Vec<u8>, KeysError> {
    let ring = KeyRing::read(directory)?;
    let going = match ring.signing() {
        Some((newest, _)) if at_once => {
            ring.keys().filter(|key| key.retired.is_none() && key.id != newest).map(|key| key.id).collect()
        }
        _ => ring.outlived(now, max_age_days),
    };
    for key in ring.keys().filter(|key| going.contains(&key.id)) {
        write_key(directory, &Key { retired: Some(now), ..key.clone() })?;
    }
    Ok(going)
}

fn file_of(directory: &Path, id: u8) -> PathBuf {
    directory.join(format!("key-{id:03}.toml"))
}

fn read_key(path: &Path) -> Result<(Key, Secret), KeysError> {
    let trouble = |source| KeysError::Io { path: path.to_owned(), source };
    let broken = |problem: &str| KeysError::Broken { path: path.to_owned(), problem: problem.to_owned() };
    let file = File::open(path).map_err(trouble)?;
    let mode = file.metadata().map_err(trouble)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES).read_to_string(&mut text).map_err(trouble)?;
    // What the file says is not repeated: it may hold a secret.
    let key: Key = toml::from_str(&text).map_err(|_| broken("holds no key: id, created, secret, perhaps retired"))?;
    if path.file_name() != file_of(Path::new(""), key.id).file_name() {
        return Err(broken(&format!("holds key {}, which is not the number in the file's name", key.id)));
    }
    let octets = hexadecimal(&key.secret).ok_or_else(|| broken("secret: takes 64 hexadecimal digits"))?;
    Ok((key, Secret::new(&octets)))
}

fn hexadecimal(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let octets: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()).collect();
    octets?.try_into().ok()
}

/// Writes a key whole or not at all.
fn write_key(directory: &Path, key: &Key) -> Result<(), KeysError> {
    let path = file_of(directory, key.id);
    let write = || -> io::Result<()> {
        let text = toml::to_string(key).map_err(io::Error::other)?;
        let part = path.with_extension("new");
        let _ = fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        let (theirs, ours) = (fs::metadata(directory)?, file.metadata()?);
        if (theirs.uid(), theirs.gid()) != (ours.uid(), ours.gid()) && ours.uid() == 0 {
            std::os::unix::fs::fchown(&file, Some(theirs.uid()), Some(theirs.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| KeysError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    #[test]
    fn the_newest_key_signs_and_all_that_are_not_retired_prove() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        assert_eq!(KeyRing::read(&keys).unwrap().signing(), None, "a missing directory is an empty one");
        for id in 1..=3 {
            assert_eq!(new_key(&keys, at(id.into())).unwrap().id, id);
        }
        let ring = KeyRing::read(&keys).unwrap();
        assert_eq!(ring.signing().map(|(id, _)| id), Some(3));
        assert!((1..=3).all(|id| ring.proving(id).is_some()) && ring.proving(4).is_none());
        assert_ne!(ring.proving(1), ring.proving(2));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join("key-001.toml"))), (0o700, 0o600));
    }

    #[test]
    fn a_key_is_retired_when_all_its_tokens_are_too_old_or_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path();
        for day in [0, 10, 20] {
            new_key(keys, at(day)).unwrap();
        }
        // Key 1 signed until day 10, so its last token is of day 10.
        assert_eq!(retire(keys, at(46), 35, false).unwrap(), Vec::<u8>::new());
        assert_eq!(retire(keys, at(47), 35, false).unwrap(), [1]);
        let ring = KeyRing::read(keys).unwrap();
        assert!(ring.proving(1).is_none() && ring.proving(2).is_some());
        assert_eq!(ring.keys().count(), 3, "it is kept, for the list");
        assert_eq!(retire(keys, at(47), 35, true).unwrap(), [2]);
        assert_eq!(KeyRing::read(keys).unwrap().signing().map(|(id, _)| id), Some(3));
    }

    #[test]
    fn numbers_go_round_past_those_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path();
        for day in 0..255 {
            new_key(keys, at(day)).unwrap();
        }
        assert!(matches!(new_key(keys, at(255)), Err(KeysError::Full { .. })));
        assert_eq!(retire(keys, at(256), 253, false).unwrap(), [1], "the second replaced it 255 days ago");
        assert_eq!(new_key(keys, at(256)).unwrap().id, 1);
        assert_eq!(KeyRing::read(keys).unwrap().signing().map(|(id, _)| id), Some(1));
    }

    #[test]
    fn a_key_that_others_can_read_and_a_broken_one_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path();
        new_key(keys, at(0)).unwrap();
        let file = keys.join("key-001.toml");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyRing::read(keys).unwrap_err();
            assert!(matches!(error, KeysError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("key-001.toml: mode 06"), "{error}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read_to_string(&file).unwrap();
        let secret = whole.lines().find(|line| line.starts_with("secret")).unwrap();
        for text in ["", "id = 1\n", &whole.replace("id = 1", "id = 2"), &whole.replace("secret = \"", "secret = \"0")]
        {
            fs::write(&file, text).unwrap();
            let error = KeyRing::read(keys).unwrap_err();
            assert!(matches!(error, KeysError::Broken { .. }), "{error}");
            assert!(!error.to_string().contains(&secret[10..40]), "an error does not tell a secret");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let key = new_key(directory.path(), at(0)).unwrap();
        let shown = format!("{key:?} {:?}", KeyRing::read(directory.path()).unwrap());
        assert!(!shown.contains(&key.secret), "{shown}");
    }
}
