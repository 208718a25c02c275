//! Who may come in: one TOML file per key, so that a mistake in one can't open or close the door for
//! another.
//!
//! A file that is not understood to the last field gives nothing: its key stays outside until it is
//! mended. The node is the only writer; it reads the directory once.

mod file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tow_proto::message::Rights;
use tow_proto::{Code, Refusal};

use crate::clock;
use crate::grant::Grant;
use crate::identity::{KeyId, PublicKey};
use crate::names::{sanitise_name, unique_name};
use crate::state::{self, StateError};

/// A key and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: PublicKey,
    /// What the device is called here; unique.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// The directory that its files are confined to; absolute and resolved.
    pub root: PathBuf,
    /// The directory that its relative paths start from.
    pub start: PathBuf,
    /// When it joined.
    pub created: SystemTime,
    /// When the grant ends.
    pub expires: Option<SystemTime>,
    /// What holds the key.
    pub holder: Holder,
    /// Up to when a browser's `expires` may be moved.
    pub end: Option<SystemTime>,
    /// The only session that a share opens.
    pub session: Option<String>,
    /// Which directory a share opens: another one of the same name is not meant.
    pub root_identity: Option<String>,
    /// Which key has shared it; `None` also for the owner.
    pub giver: Option<KeyId>,
}

/// What holds a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A device, which proves it by TLS.
    #[default]
    Device,
    /// A browser that signed in, by its cookie.
    Browser,
    /// An HTTP program, by its app password.
    Token,
    /// Everybody who has a link.
    Share,
}

impl Holder {
    /// The word for it on the wire and in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Browser => "browser",
            Self::Token => "token",
            Self::Share => "share",
        }
    }
}

/// What is left of a key that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The key's fingerprint.
    pub id: KeyId,
    /// The name that it had.
    pub name: String,
    /// When it was removed.
    pub removed: SystemTime,
}

/// A file that could not be used.
#[derive(Debug)]
pub struct BrokenFile {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: BrokenReason,
}

/// Why a key's file could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokenReason {
    /// It can't be read, or others can.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is not text.
    #[error("not UTF-8 text")]
    NotText,
    /// A field is missing, unknown or of the wrong form.
    #[error("line {line}: {message}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What was expected.
        message: Box<str>,
    },
    /// Its name is not the fingerprint of the key in it.
    #[error("the file's name is not the fingerprint of its key")]
    WrongName,
    /// A path that depends on the working directory.
    #[error("root and start must be absolute paths")]
    RelativePath,
}

impl BrokenReason {
    /// The command that mends it, where one does.
    pub fn cure(&self) -> Option<String> {
        if let Self::State(error) = self { error.cure() } else { None }
    }
}

/// What is known about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It has a grant, which may have expired.
    Known(Record),
    /// It was removed.
    Removed(Tombstone),
    /// Its file can't be used.
    Broken,
    /// Nothing.
    Unknown,
}

/// All keys of a node.
#[derive(Debug)]
pub struct Keys {
    dir: PathBuf,
    entries: BTreeMap<KeyId, Entry>,
    strays: Vec<BrokenFile>,
}

/// Why keys can't be loaded or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The directory or a file in it can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no room for another key.
    #[error("there are {max} keys already")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// No key has this name or fingerprint.
    #[error("no key has this name, nor a fingerprint that starts so")]
    NotFound,
    /// Several keys are called so, or have fingerprints that start so.
    #[error("{count} keys are called so, or have fingerprints that start so")]
    Ambiguous {
        /// How many.
        count: usize,
    },
}

#[derive(Debug)]
enum Entry {
    Known(Record),
    Removed(Tombstone),
    Broken(BrokenFile),
}

impl Keys {
    /// Reads every key in `dir`, which is made and checked. Files that can't be used are logged and
    /// kept for [`Self::broken`].
    ///
    /// # Errors
    /// The directory itself can't be used.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        let mut keys = Self { dir: dir.to_owned(), entries: BTreeMap::new(), strays: Vec::new() };
        state::ensure_private_dir(dir)?;
        state::ensure_private_dir(&keys.removed_dir())?;
        for path in toml_files(dir)? {
            keys.load_record(path);
        }
        // After the records: should a crash have left both, the key stays outside.
        for path in toml_files(&keys.removed_dir())? {
            keys.load_tombstone(path);
        }
        keys.forget_oldest_tombstones();
        Ok(keys)
    }

    /// What is known about `key`.
    pub fn find(&self, key: &PublicKey) -> Lookup {
        match self.entries.get(&key.id()) {
            Some(Entry::Known(record)) => Lookup::Known(record.clone()),
            Some(Entry::Removed(tombstone)) => Lookup::Removed(tombstone.clone()),
            Some(Entry::Broken(_)) => Lookup::Broken,
            None => Lookup::Unknown,
        }
    }

    /// Lets a key come in, and gives its record as it was stored: with a name that can be shown and
    /// that no other key has. A key that is here already gets the new grant in place of the old one.
    ///
    /// # Errors
    /// There are too many, or it can't be stored; nothing is changed then.
    pub fn add(&mut self, mut record: Record) -> Result<Record, KeysError> {
        let id = record.key.id();
        let known = self.entries.values().filter(|entry| matches!(entry, Entry::Known(_))).count();
        if known >= KEYS_MAX && !matches!(self.entries.get(&id), Some(Entry::Known(_))) {
            return Err(KeysError::TooMany { max: KEYS_MAX });
        }
        let name = sanitise_name(&record.name);
        record.name = unique_name(&name, |name| {
            self.list().any(|other| other.name == name && other.key != record.key)
        });
        file::write_record(&self.record_path(&id), &record)?;
        remove_if_there(&self.tombstone_path(&id))?;
        self.entries.insert(id, Entry::Known(record.clone()));
        Ok(record)
    }

    /// Moves the end of a grant. A key that was removed meanwhile does not come back by it.
    ///
    /// # Errors
    /// The key may not come in, or it can't be stored; nothing is changed then.
    pub fn extend(&mut self, key: &PublicKey, expires: SystemTime) -> Result<(), KeysError> {
        match self.find(key) {
            Lookup::Known(record) => {
                self.add(Record { expires: Some(expires), ..record }).map(drop)
            }
            _ => Err(KeysError::NotFound),
        }
    }

    /// Lets a key come in no more: the one of this name, else the one whose fingerprint starts so
    /// (four characters at least). Gives what is left of it.
    ///
    /// # Errors
    /// No such key, or several; or it can't be removed, and may come in still.
    pub fn remove(&mut self, query: &str, now: SystemTime) -> Result<Tombstone, KeysError> {
        let id = self.resolve(query)?;
        let name = match self.entries.get(&id) {
            Some(Entry::Known(record)) => record.name.clone(),
            _ => String::new(),
        };
        let tombstone =
            Tombstone { id, name, removed: clock::from_unix_secs(clock::unix_secs(now)) };
        // First the tombstone: it counts more than the record, should we be cut off in between.
        file::write_tombstone(&self.tombstone_path(&id), &tombstone)?;
        self.entries.insert(id, Entry::Removed(tombstone.clone()));
        if let Err(error) = remove_if_there(&self.record_path(&id)) {
            tracing::warn!(%error, "the file of a removed key is still there, and does not count");
        }
        self.forget_oldest_tombstones();
        Ok(tombstone)
    }

    /// The keys that may come in, by fingerprint.
    pub fn list(&self) -> impl Iterator<Item = &Record> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Known(record) => Some(record),
            _ => None,
        })
    }

    /// Files that could not be used.
    pub fn broken(&self) -> impl Iterator<Item = &BrokenFile> {
        let entries = self.entries.values().filter_map(|entry| match entry {
            Entry::Broken(file) => Some(file),
            _ => None,
        });
        entries.chain(&self.strays)
    }

    /// True where no key may come in.
    pub fn is_empty(&self) -> bool {
        self.list().next().is_none()
    }

    fn resolve(&self, query: &str) -> Result<KeyId, KeysError> {
        let named = self.list().filter(|record| record.name == query);
        let mut found: Vec<KeyId> = named.map(|record| record.key.id()).collect();
        if found.is_empty() && query.chars().filter(|char| *char != '-').count() >= PREFIX_LEN_MIN {
            let here = self.entries.iter().filter(|(_, entry)| !matches!(entry, Entry::Removed(_)));
            found = here.map(|(id, _)| *id).filter(|id| id.starts_with(query)).collect();
        }
        match found.as_slice() {
            [] => Err(KeysError::NotFound),
            [id] => Ok(*id),
            several => Err(KeysError::Ambiguous { count: several.len() }),
        }
    }

    fn load_record(&mut self, path: PathBuf) {
        let id = id_of(&path);
        match file::read_record(&path, id) {
            Ok(record) => {
                self.entries.insert(record.key.id(), Entry::Known(record));
            }
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "a key's file can't be used, so it stays outside");
                let broken = BrokenFile { path, reason };
                match id {
                    Some(id) => drop(self.entries.insert(id, Entry::Broken(broken))),
                    None => self.strays.push(broken),
                }
            }
        }
    }

    fn load_tombstone(&mut self, path: PathBuf) {
        let Some(id) = id_of(&path) else { return };
        self.entries.insert(id, Entry::Removed(file::read_tombstone(&path, id)));
    }

    fn forget_oldest_tombstones(&mut self) {
        let mut removed: Vec<_> = self
            .entries
            .values()
            .filter_map(|entry| match entry {
                Entry::Removed(tombstone) => Some((tombstone.removed, tombstone.id)),
                _ => None,
            })
            .collect();
        removed.sort_unstable();
        let too_many = removed.len().saturating_sub(TOMBSTONES_MAX);
        for (_, id) in removed.into_iter().take(too_many) {
            // The record goes first: without its tombstone it would let the key in again.
            let gone = remove_if_there(&self.record_path(&id))
                .and_then(|()| remove_if_there(&self.tombstone_path(&id)));
            match gone {
                Ok(()) => drop(self.entries.remove(&id)),
                Err(error) => tracing::warn!(%error, "an old removed key can't be forgotten"),
            }
        }
    }

    fn removed_dir(&self) -> PathBuf {
        self.dir.join("removed")
    }

    fn record_path(&self, id: &KeyId) -> PathBuf {
        self.dir.join(format!("{id}.toml"))
    }

    fn tombstone_path(&self, id: &KeyId) -> PathBuf {
        self.removed_dir().join(format!("{id}.toml"))
    }
}

impl Lookup {
    /// What the key may do at `now`.
    ///
    /// # Errors
    /// Why it may not come in.
    pub fn into_grant(self, now: SystemTime) -> Result<Grant, Refusal> {
        match self {
            Self::Known(record) => Grant::of(&record, now),
            Self::Removed(_) => Err(Code::RemovedKey.into()),
            // Our own files are at fault, and our own log says which.
            Self::Broken => Err(Code::Internal.into()),
            Self::Unknown => Err(Code::UnknownKey.into()),
        }
    }
}

/// The fingerprint that a file is named after, in the very form in which we name them.
fn id_of(path: &Path) -> Option<KeyId> {
    let stem = path.file_stem()?.to_str()?;
    stem.parse().ok().filter(|id: &KeyId| id.to_string() == stem)
}

/// Files that end in `.toml`, without those that a crash left over.
fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, StateError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(StateError::io(dir))? {
        let path = entry.map_err(StateError::io(dir))?.path();
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn remove_if_there(path: &Path) -> Result<(), StateError> {
    match state::remove_private(path) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}

/// Most keys that may come in.
pub const KEYS_MAX: usize = 10_000;
/// Most removed keys that are remembered.
pub const TOMBSTONES_MAX: usize = 1_000;
const PREFIX_LEN_MIN: usize = 4;

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
