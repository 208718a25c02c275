//! The files of keys: TOML that a person can read, and that is understood to the last field or not
//! at all.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tow_proto::ByteString;

use super::{BrokenReason, Holder, Record, Tombstone};
use crate::clock;
use crate::grant::Right;
use crate::identity::{KeyId, PublicKey};
use crate::names::sanitise_name;
use crate::state::{self, StateError, line_of};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    key: PublicKey,
    name: String,
    rights: Vec<Right>,
    #[serde(with = "clock::rfc3339")]
    created: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "clock::rfc3339::option")]
    expires: Option<SystemTime>,
    root: ByteString,
    start: ByteString,
    #[serde(default, skip_serializing_if = "is_device")]
    holder: Holder,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "clock::rfc3339::option")]
    end: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    giver: Option<KeyId>,
}

fn is_device(holder: &Holder) -> bool {
    *holder == Holder::Device
}

#[derive(Serialize, Deserialize)]
struct TombstoneFile {
    name: String,
    #[serde(with = "clock::rfc3339")]
    removed: SystemTime,
}

/// The record in `path`, whose name says that it is the one of `id`.
pub(super) fn read_record(path: &Path, id: Option<KeyId>) -> Result<Record, BrokenReason> {
    let bytes = state::read_private(path, FILE_LEN_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| BrokenReason::NotText)?;
    let file: RecordFile = toml::from_str(&text).map_err(|error| BrokenReason::Malformed {
        line: line_of(&text, error.span()),
        message: error.message().into(),
    })?;
    if id != Some(file.key.id()) {
        return Err(BrokenReason::WrongName);
    }
    let record = Record::from(file);
    if record.root.is_relative() || record.start.is_relative() {
        return Err(BrokenReason::RelativePath);
    }
    Ok(record)
}

/// Stores a record.
pub(super) fn write_record(path: &Path, record: &Record) -> Result<(), StateError> {
    let text = toml::to_string(&RecordFile::from(record))
        .expect("texts, lists of words and tables of texts are TOML");
    state::write_private(path, text.as_bytes())
}

/// The tombstone of `id`. Even one that can't be read says that the key was removed.
pub(super) fn read_tombstone(path: &Path, id: KeyId) -> Tombstone {
    let read = state::read_private(path, FILE_LEN_MAX).ok();
    match read.and_then(|bytes| toml::from_slice::<TombstoneFile>(&bytes).ok()) {
        Some(TombstoneFile { name, removed }) => {
            Tombstone { id, name: sanitise_name(&name), removed }
        }
        None => Tombstone { id, name: String::new(), removed: SystemTime::UNIX_EPOCH },
    }
}

/// Stores a tombstone.
pub(super) fn write_tombstone(path: &Path, tombstone: &Tombstone) -> Result<(), StateError> {
    let file = TombstoneFile { name: tombstone.name.clone(), removed: tombstone.removed };
    let text = toml::to_string(&file).expect("two texts are TOML");
    state::write_private(path, text.as_bytes())
}

impl From<&Record> for RecordFile {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key,
            name: record.name.clone(),
            rights: Right::list(record.rights),
            created: record.created,
            expires: record.expires,
            root: record.root.as_os_str().as_bytes().into(),
            start: record.start.as_os_str().as_bytes().into(),
            holder: record.holder,
            end: record.end,
            session: record.session.clone(),
            root_identity: record.root_identity.clone(),
            giver: record.giver,
        }
    }
}

impl From<RecordFile> for Record {
    fn from(file: RecordFile) -> Self {
        Self {
            key: file.key,
            name: sanitise_name(&file.name),
            rights: Right::together(file.rights),
            root: path_of(file.root),
            start: path_of(file.start),
            created: file.created,
            expires: file.expires,
            holder: file.holder,
            end: file.end,
            session: file.session,
            root_identity: file.root_identity,
            giver: file.giver,
        }
    }
}

fn path_of(bytes: ByteString) -> PathBuf {
    OsString::from_vec(bytes.0).into()
}

const FILE_LEN_MAX: u64 = 64 << 10;
