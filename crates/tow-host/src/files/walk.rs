//! Everything in a tree, with what is known of it and nothing opened: what an archive is planned by.

use std::ops::ControlFlow;

use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, FileType, OFlags, Stat, accessat, fstat, readlinkat, statat};
use rustix::io::Errno;
use tow_proto::message::{EntryKind, Mtime};
use tow_proto::{ByteString, Code, Refusal};

use super::content::ctime_of;
use super::meta::{kind_of, kind_of_type, mtime_of, size_of_file};
use super::tree::{join, names_in, open_dir};
use crate::beneath::{DEPTH_MAX, PATH_LEN_MAX, Root, code_of};

/// Something in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is, from the top; the top itself is the empty path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes, of a file.
    pub size: u64,
    /// All bits of its mode that are not its type.
    pub mode: u32,
    /// Number of its user.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// When its content was changed.
    pub mtime: Mtime,
    /// When anything of it was changed.
    pub ctime: Mtime,
    /// Number of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Where a link leads to.
    pub target: Option<ByteString>,
    /// Why it can't be read, as far as that can be told from outside. Of a directory nothing in it
    /// follows then.
    pub refused: Option<Code>,
}

/// Gives what is at `path`, which is followed where it is a link, and then everything in it: a
/// directory before what is in it, names in the order of their bytes. Links are given as links.
///
/// # Errors
/// It can't be reached, or [`Code::TooLong`] with `count_max` where there is more than that.
pub fn walk(
    root: &Root,
    path: &ByteString,
    count_max: usize,
    emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> Result<(), Refusal> {
    let refuse = |errno| Refusal::about(code_of(errno), path.clone());
    let too_long = || Refusal::about(Code::TooLong, path.clone()).with_count(count_max as u64);
    let named = root.open_path(path, OFlags::PATH)?;
    let top = found(Vec::new(), &fstat(&named).map_err(refuse)?);
    if top.kind != EntryKind::Dir {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let refused = (top.kind == EntryKind::File).then(|| root.open_path(path, flags).err());
        let refused = refused.flatten().map(|refusal| refusal.code).or(top.refused);
        let _ = emit(Found { refused, ..top });
        return Ok(());
    }
    let dir = match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => dir,
        Err(refusal) => {
            let _ = emit(Found { refused: Some(refusal.code), ..top });
            return Ok(());
        }
    };
    let mut left = count_max.checked_sub(1).ok_or_else(too_long)?;
    if emit(top).is_break() {
        return Ok(());
    }
    let mut levels = vec![inside(&dir, b"", &mut left).map_err(|_| too_long())?.into_iter()];
    while let Some(level) = levels.last_mut() {
        let Some(mut next) = level.next() else {
            levels.pop();
            continue;
        };
        if next.kind == EntryKind::Dir {
            match inside(&dir, &next.path, &mut left) {
                Ok(inner) => levels.push(inner.into_iter()),
                Err(Code::TooLong) => return Err(too_long()),
                Err(code) => next.refused = Some(code),
            }
        }
        if emit(next).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is in a directory; [`Code::TooLong`] where that is more than is `left`.
fn inside(top: &OwnedFd, path: &[u8], left: &mut usize) -> Result<Vec<Found>, Code> {
    if path.split(|byte| *byte == b'/').count() > DEPTH_MAX || path.len() > PATH_LEN_MAX {
        return Err(Code::TooDeep);
    }
    let dir = open_dir(top, path).map_err(code_of)?;
    let names = names_in(&dir).map_err(code_of)?;
    *left = left.checked_sub(names.len()).ok_or(Code::TooLong)?;
    let look = |(name, file_type): (Vec<u8>, FileType)| look(&dir, path, &name, file_type);
    Ok(names.into_iter().filter_map(look).collect())
}

/// `None` of what is gone by now.
fn look(dir: &OwnedFd, path: &[u8], name: &[u8], file_type: FileType) -> Option<Found> {
    let path = join(path, name);
    let mut found = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => found(path, &stat),
        Err(Errno::NOENT) => return None,
        Err(errno) => {
            let kind = kind_of_type(file_type);
            return Some(Found { kind, refused: Some(code_of(errno)), ..nothing(path) });
        }
    };
    match found.kind {
        EntryKind::File => {
            let readable = accessat(dir, name, Access::READ_OK, AtFlags::empty());
            found.refused = readable.err().map(code_of);
        }
        EntryKind::Link => match readlinkat(dir, name, Vec::new()) {
            Ok(target) => found.target = Some(target.into_bytes().into()),
            Err(errno) => found.refused = Some(code_of(errno)),
        },
        EntryKind::Dir | EntryKind::Special => {}
    }
    Some(found)
}

fn found(path: Vec<u8>, stat: &Stat) -> Found {
    let kind = kind_of(stat);
    Found {
        kind,
        size: if kind == EntryKind::File { size_of_file(stat) } else { 0 },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime_of(stat),
        ctime: ctime_of(stat),
        device: stat.st_dev,
        inode: stat.st_ino,
        refused: (kind == EntryKind::Special).then_some(Code::SpecialFile),
        ..nothing(path)
    }
}

fn nothing(path: Vec<u8>) -> Found {
    Found {
        path,
        kind: EntryKind::Special,
        size: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        ctime: Mtime::default(),
        device: 0,
        inode: 0,
        target: None,
        refused: None,
    }
}
