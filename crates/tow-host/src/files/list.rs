//! `ls`: the entries of a directory, or one entry.

use std::ops::ControlFlow;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, OFlags, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;
use tow_proto::message::{Entry, EntryKind};
use tow_proto::{ByteString, Code, Refusal};

use super::ENTRIES_MAX;
use super::meta::{kind_of, kind_of_type, mtime_of, size_of_file};
use super::tree::names_in;
use crate::beneath::{Root, code_of, real_path};

/// What of a directory is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// What is in it.
    Contents,
    /// Only the directory itself.
    Itself,
}

/// Lists what is at `path`, sorted by the bytes of the names: what is in a directory, or the one
/// entry that it is. `emit` gets batches that fit a head frame. A link that leads to a directory is
/// followed for [`Show::Contents`], and otherwise shown as a link.
///
/// # Errors
/// It can't be reached or read, lies outside of the root, or [`Code::TooLong`] over [`ENTRIES_MAX`].
pub fn list(
    root: &Root,
    path: &ByteString,
    show: Show,
    emit: &mut dyn FnMut(Vec<Entry>) -> ControlFlow<()>,
) -> Result<(), Refusal> {
    if show == Show::Contents {
        match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => return list_dir(&dir, path, emit),
            Err(refusal) if refusal.code == Code::NotADirectory => {}
            // A link that leads nowhere can still be looked at.
            Err(refusal) if matches!(refusal.code, Code::NotFound | Code::LinkLoop) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let _ = emit(vec![one(root, path)?]);
    Ok(())
}

fn list_dir(
    dir: &OwnedFd,
    path: &ByteString,
    emit: &mut dyn FnMut(Vec<Entry>) -> ControlFlow<()>,
) -> Result<(), Refusal> {
    let names = names_in(dir).map_err(|errno| Refusal::about(code_of(errno), path.clone()))?;
    if names.len() > ENTRIES_MAX {
        return Err(Refusal::about(Code::TooLong, path.clone()).with_count(ENTRIES_MAX as u64));
    }
    let mut batch = Vec::new();
    let mut batch_len = 0;
    for (name, file_type) in names {
        let Some(entry) = entry_in(dir, name, file_type) else { continue };
        let len = json_len_bound(&entry);
        if batch.len() == BATCH_ENTRIES_MAX || batch_len + len > BATCH_LEN_MAX {
            batch_len = 0;
            if emit(std::mem::take(&mut batch)).is_break() {
                return Ok(());
            }
        }
        batch_len += len;
        batch.push(entry);
    }
    if !batch.is_empty() {
        let _ = emit(batch);
    }
    Ok(())
}

/// An entry of a directory. One that may not be looked at is still listed, by what the directory
/// says of it; one that is gone is not.
fn entry_in(dir: &OwnedFd, name: Vec<u8>, file_type: FileType) -> Option<Entry> {
    match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let target = (kind_of(&stat) == EntryKind::Link)
                .then(|| readlinkat(dir, &name, Vec::new()).ok())
                .flatten();
            Some(entry(name, &stat, target.map(|target| target.into_bytes().into())))
        }
        Err(Errno::NOENT) => None,
        Err(_) => Some(Entry {
            name: name.into(),
            kind: kind_of_type(file_type),
            size: 0,
            mode: 0,
            mtime: Default::default(),
            uid: 0,
            gid: 0,
            target: None,
        }),
    }
}

/// The entry that `path` itself is.
fn one(root: &Root, path: &ByteString) -> Result<Entry, Refusal> {
    let refuse = |errno| Refusal::about(code_of(errno), path.clone());
    // With a slash at the end, a link stands for the directory that it leads to.
    if !path.as_bytes().ends_with(b"/")
        && let Some((dir, name)) = parent_of(root, path)?
    {
        let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(refuse)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        return entry_in(&dir, name, file_type).ok_or_else(|| refuse(Errno::NOENT));
    }
    let open = root.open_path(path, OFlags::PATH)?;
    let stat = fstat(&open).map_err(refuse)?;
    Ok(entry(real_name(&open).unwrap_or_else(|| path.0.clone()), &stat, None))
}

/// `None` where the path ends in no name: `.`, `..`, the root itself.
fn parent_of(root: &Root, path: &ByteString) -> Result<Option<(OwnedFd, Vec<u8>)>, Refusal> {
    match root.open_parent(path) {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.code == Code::BadName => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The name under which something that is open lies in its directory.
pub(super) fn real_name(open: &OwnedFd) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(real_path(open)?.file_name()?.as_bytes().to_vec())
}

fn entry(name: Vec<u8>, stat: &Stat, target: Option<ByteString>) -> Entry {
    Entry {
        name: name.into(),
        kind: kind_of(stat),
        size: size_of_file(stat),
        mode: stat.st_mode & 0o7777,
        mtime: mtime_of(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        target,
    }
}

/// Most bytes that an entry can take up in JSON: a control character becomes six.
fn json_len_bound(entry: &Entry) -> usize {
    let target_len = entry.target.as_ref().map_or(0, |target| target.as_bytes().len());
    ENTRY_JSON_LEN + 6 * (entry.name.as_bytes().len() + target_len)
}

/// Most entries that are given at once.
const BATCH_ENTRIES_MAX: usize = 1_000;
/// Most bytes of JSON that are given at once.
const BATCH_LEN_MAX: usize = 512 << 10;
/// Most bytes of an entry's JSON without its name and target.
const ENTRY_JSON_LEN: usize = 224;
