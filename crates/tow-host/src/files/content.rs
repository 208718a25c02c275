//! One file: what is known of it, and its content or a part of that.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, Stat, fstat, readlinkat};
use tow_proto::message::{EntryKind, Mtime, StatReply};
use tow_proto::{ByteString, Code, Refusal};

use super::Chunk;
use super::chunk::Pool;
use super::meta::{kind_of, mtime_of, size_of_file};
use crate::beneath::{Root, code_of, real_path};

/// What is meant by a path to a symbolic link. One that ends in a slash is always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// What it leads to.
    Follow,
    /// The link.
    Show,
}

/// What is known of what is at `path`.
///
/// # Errors
/// It can't be reached, or lies outside of the root.
pub fn stat(root: &Root, path: &ByteString, links: Links) -> Result<StatReply, Refusal> {
    let flags = match links {
        Links::Follow => OFlags::PATH,
        Links::Show => OFlags::PATH | OFlags::NOFOLLOW,
    };
    let open = root.open_path(path, flags)?;
    let stat = stat_of(&open, path)?;
    Ok(reply(&open, path, &stat))
}

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct Content {
    file: OwnedFd,
    path: ByteString,
    /// As it was when it was opened.
    opened: Stat,
    reply: StatReply,
}

/// What came of sending content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is what was in the file, all at one moment.
    Steady,
    /// The file was changed meanwhile.
    Changed,
    /// Its taker has had enough.
    Stopped,
}

impl Content {
    /// Opens the file at `path`; symbolic links that stay beneath the root are followed.
    ///
    /// # Errors
    /// [`Code::IsADirectory`], [`Code::SpecialFile`], or as [`stat`].
    pub fn open(root: &Root, path: &ByteString) -> Result<Self, Refusal> {
        // Looked at first: to open a device can do something to it.
        let named = root.open_path(path, OFlags::PATH)?;
        check_kind(&stat_of(&named, path)?, path)?;
        // By now it may be a pipe: without NONBLOCK that would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = root.open_path(path, flags)?;
        let opened = stat_of(&file, path)?;
        check_kind(&opened, path)?;
        let reply = reply(&file, path, &opened);
        Ok(Self { file, path: path.clone(), opened, reply })
    }

    /// What is known of it, as it was when it was opened.
    pub fn stat(&self) -> &StatReply {
        &self.reply
    }

    /// Gives to `out` the bytes from offset `from` on: `len` of them or fewer, never beyond the size
    /// in [`Self::stat`]. A file whose size is 0 is read to its end, because those that the kernel
    /// makes up have no size.
    ///
    /// # Errors
    /// It can't be read.
    pub fn send(
        &self,
        from: u64,
        len: Option<u64>,
        out: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<Sent, Refusal> {
        let size = if self.reply.size == 0 { OFFSET_MAX } else { self.reply.size };
        let to = from.saturating_add(len.unwrap_or(u64::MAX)).min(size);
        let pool = Arc::<Pool>::default();
        let mut at = from;
        while at < to {
            let chunk = pool.read(&self.file, at, to - at).map_err(|errno| self.refuse(errno))?;
            let read = chunk.payload().len() as u64;
            if read == 0 {
                break;
            }
            at += read;
            if out(chunk).is_break() {
                return Ok(Sent::Stopped);
            }
        }
        let now = fstat(&self.file).map_err(|errno| self.refuse(errno))?;
        Ok(if has_changed(&self.opened, &now) { Sent::Changed } else { Sent::Steady })
    }

    fn refuse(&self, errno: rustix::io::Errno) -> Refusal {
        Refusal::about(code_of(errno), self.path.clone())
    }
}

/// Whether the content may be another. The time of the last change of anything counts where nothing
/// else explains it: a file whose name was given to another, or whose mode was set, is what it was.
pub(super) fn has_changed(before: &Stat, after: &Stat) -> bool {
    let content = |stat: &Stat| (size_of_file(stat), mtime_of(stat));
    let others = |stat: &Stat| (stat.st_nlink, stat.st_mode, stat.st_uid, stat.st_gid);
    content(before) != content(after)
        || (ctime_of(before) != ctime_of(after) && others(before) == others(after))
}

fn check_kind(stat: &Stat, path: &ByteString) -> Result<(), Refusal> {
    match kind_of(stat) {
        EntryKind::File => Ok(()),
        EntryKind::Dir => Err(Refusal::about(Code::IsADirectory, path.clone())),
        EntryKind::Link | EntryKind::Special => {
            Err(Refusal::about(Code::SpecialFile, path.clone()))
        }
    }
}

fn stat_of(open: &OwnedFd, path: &ByteString) -> Result<Stat, Refusal> {
    fstat(open).map_err(|errno| Refusal::about(code_of(errno), path.clone()))
}

/// What is known of something that is open; `path` is how it was asked for.
pub(super) fn reply(open: &OwnedFd, path: &ByteString, stat: &Stat) -> StatReply {
    let kind = kind_of(stat);
    let real = real_path(open).map(|real| real.as_os_str().as_bytes().into());
    let target = (kind == EntryKind::Link).then(|| readlinkat(open, "", Vec::new()).ok()).flatten();
    StatReply {
        path: real.unwrap_or_else(|| path.clone()),
        kind,
        size: size_of_file(stat),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink,
        device: stat.st_dev,
        inode: stat.st_ino,
        mtime: mtime_of(stat),
        ctime: ctime_of(stat),
        // Below 10^9 by POSIX.
        atime: Mtime(stat.st_atime, stat.st_atime_nsec as u32),
        target: target.map(|target| target.into_bytes().into()),
    }
}

pub(super) fn ctime_of(stat: &Stat) -> Mtime {
    // Below 10^9 by POSIX.
    Mtime(stat.st_ctime, stat.st_ctime_nsec as u32)
}

/// The largest offset that the kernel takes.
const OFFSET_MAX: u64 = i64::MAX as u64;
