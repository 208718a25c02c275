//! Partial files: hidden beside their destination, found again by the same transfer, written by one
//! transfer at a time.

use std::ops::Deref;
use std::thread::sleep;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Stat, flock, fstat, ftruncate, statat, unlinkat,
};
use rustix::io::{Errno, pwrite};
use rustix::process::geteuid;
use tow_proto::message::EntryKind;
use tow_proto::{ByteString, Code};

use super::meta::{FileId, kind_of};
use crate::beneath::{NAME_LEN_MAX, code_of, open_within, split_last};

/// Gives partial files their names: the same for the same key, source and path.
#[derive(Debug)]
pub(super) struct Ids {
    of_transfer: blake3::Hasher,
}

impl Ids {
    pub(super) fn new(key: &str, source: &ByteString) -> Self {
        let mut of_transfer = blake3::Hasher::new_derive_key("towline 2026 partial file names");
        for part in [key.as_bytes(), source.as_bytes()] {
            of_transfer.update(&(part.len() as u64).to_le_bytes());
            of_transfer.update(part);
        }
        Self { of_transfer }
    }

    /// `.NAME.ID.tow-part`, with NAME cut so that the whole fits.
    pub(super) fn partial_name(&self, path: &[u8], name: &[u8]) -> Vec<u8> {
        let id = self.of_transfer.clone().update(path).finalize().to_hex();
        let kept = &name[..name.len().min(BASE_LEN_MAX)];
        [b".", kept, b".", &id.as_bytes()[..ID_LEN], SUFFIX].concat()
    }

    /// The path whose partial file `path` is, where it is one of this transfer. A name that had to
    /// be cut can't be told from its partial's.
    pub(super) fn path_of_partial(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (parent, partial) = split_last(path);
        let rest = partial.strip_prefix(b".")?.strip_suffix(SUFFIX)?;
        let name = rest.get(..rest.len().checked_sub(ID_LEN + 1)?)?;
        let path = match parent {
            b"" => name.to_vec(),
            parent => [parent, name].join(&b'/'),
        };
        (self.partial_name(&path, name) == partial).then_some(path)
    }
}

/// Whether `name` is that of a partial file of any transfer.
pub(super) fn is_partial_name(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b".").and_then(|rest| rest.strip_suffix(SUFFIX));
    let Some((base, id)) =
        rest.and_then(|rest| rest.split_at_checked(rest.len().checked_sub(ID_LEN)?))
    else {
        return false;
    };
    base.ends_with(b".") && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A partial file that only its holder writes and renames.
#[derive(Debug)]
pub(super) struct Locked {
    file: OwnedFd,
    id: FileId,
}

impl Locked {
    /// Whether the name still stands for this file.
    pub(super) fn is_named(&self, dir: &OwnedFd, name: &[u8]) -> bool {
        let named = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        named.is_ok_and(|named| FileId::of(&named) == self.id)
    }
}

impl Deref for Locked {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.file
    }
}

impl Drop for Locked {
    /// Closing would do, if no program were being started: between fork and exec, a child has the
    /// handle too.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// An empty partial file of this name, locked. One that is left from earlier is emptied, and what
/// else has the name is removed.
///
/// # Errors
/// [`Code::Busy`] while another transfer writes it.
pub(super) fn create(dir: &OwnedFd, partial: &[u8]) -> Result<Locked, Code> {
    let file = open(dir, partial)?;
    ftruncate(&*file, 0).map_err(code_of)?;
    Ok(file)
}

/// The partial file of this name, locked: the one that is left from earlier, or a new one. What else
/// has the name is removed.
///
/// # Errors
/// [`Code::Busy`] while another transfer writes it.
pub(super) fn open(dir: &OwnedFd, partial: &[u8]) -> Result<Locked, Code> {
    for _ in 0..TRIES_MAX {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        match open_within(dir, partial, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let id = FileId::of(&fstat(&file).map_err(code_of)?);
                if let Lock::Held(file) = lock(file, id, dir, partial) {
                    return Ok(file);
                }
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(code_of(errno)),
        }
        match open_existing(dir, partial).map_err(code_of)? {
            Existing::Ours(file) => return Ok(file),
            Existing::Foreign => unlinkat(dir, partial, AtFlags::empty()).map_err(code_of)?,
            Existing::Gone => {}
            // A transfer that was just dropped lets go of its lock in a moment.
            Existing::Busy => sleep(LOCK_WAIT),
        }
    }
    Err(Code::Busy)
}

/// Writes all of `bytes`.
pub(super) fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), (u64, Code)> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err((at, Code::Io)),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err((at, code_of(errno))),
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(super) enum Existing {
    /// A plain file of our own that nobody else writes, now locked.
    Ours(Locked),
    /// Another transfer writes it.
    Busy,
    /// A link, a device, somebody else's file, or one with a second name.
    Foreign,
    Gone,
}

/// Whether a partial file of ours can look like this: a plain file of our own with one name. Of what
/// is no such file nothing is used.
pub(super) fn may_be_ours(stat: &Stat) -> bool {
    let is_plain = kind_of(stat) == EntryKind::File && stat.st_nlink == 1;
    is_plain && stat.st_uid == geteuid().as_raw()
}

/// Opens and locks a file of this name, where it is one of ours.
pub(super) fn open_existing(dir: &OwnedFd, partial: &[u8]) -> Result<Existing, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_within(dir, partial, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Existing::Gone),
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(errno),
        Err(_) => return Ok(Existing::Foreign),
    };
    let stat = fstat(&file)?;
    if !may_be_ours(&stat) {
        return Ok(if stat.st_nlink == 0 { Existing::Gone } else { Existing::Foreign });
    }
    Ok(match lock(file, FileId::of(&stat), dir, partial) {
        Lock::Held(file) => Existing::Ours(file),
        Lock::Taken => Existing::Busy,
        Lock::OfAnother => Existing::Gone,
    })
}

enum Lock {
    Held(Locked),
    Taken,
    /// Locked, but by now the name stands for another file, or for none.
    OfAnother,
}

/// Only who holds the lock writes a partial file or renames it.
fn lock(file: OwnedFd, id: FileId, dir: &OwnedFd, partial: &[u8]) -> Lock {
    // File systems without locks are taken to have one writer.
    if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Lock::Taken;
    }
    let file = Locked { file, id };
    if file.is_named(dir, partial) { Lock::Held(file) } else { Lock::OfAnother }
}

const SUFFIX: &[u8] = b".tow-part";
/// Hexadecimal digits of the ID.
const ID_LEN: usize = 16;
/// What is left of a name's 255 bytes beside two dots, the ID and the suffix.
const BASE_LEN_MAX: usize = NAME_LEN_MAX - 2 - ID_LEN - SUFFIX.len();
/// How often the name of a partial file is tried for.
const TRIES_MAX: usize = 10;
/// Pause between two tries while another transfer holds the lock.
const LOCK_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_is_named_after_key_source_and_path() {
        let ids = Ids::new("key", &"box:/a".into());
        let name = ids.partial_name(b"d/file", b"file");
        assert!(name.starts_with(b".file.") && name.ends_with(b".tow-part"), "{name:?}");
        assert_eq!(name, Ids::new("key", &"box:/a".into()).partial_name(b"d/file", b"file"));
        assert_ne!(name, ids.partial_name(b"e/file", b"file"));
        assert_ne!(name, Ids::new("other", &"box:/a".into()).partial_name(b"d/file", b"file"));
        assert_ne!(name, Ids::new("key", &"box:/b".into()).partial_name(b"d/file", b"file"));
        assert_ne!(name, Ids::new("keybox:", &"/a".into()).partial_name(b"d/file", b"file"));
    }

    #[test]
    fn a_partial_of_the_longest_name_still_fits() {
        let ids = Ids::new("key", &"box:/a".into());
        assert_eq!(ids.partial_name(&[b'x'; 255], &[b'x'; 255]).len(), 255);
    }

    #[test]
    fn the_path_is_found_from_the_name_of_its_partial() {
        let ids = Ids::new("key", &"box:/a".into());
        let partial = ids.partial_name(b"d/.odd.name", b".odd.name");
        let path = [b"d/".as_slice(), &partial].concat();
        assert_eq!(ids.path_of_partial(&path), Some(b"d/.odd.name".to_vec()));
        let elsewhere = [b"e/".as_slice(), &partial].concat();
        assert_eq!(ids.path_of_partial(&elsewhere), None);
        for name in [".tow-part", ".x.tow-part", "..0123456789abcdef.tow-part", "é.tow-part"] {
            assert_eq!(ids.path_of_partial(name.as_bytes()), None, "{name}");
        }
    }
}
