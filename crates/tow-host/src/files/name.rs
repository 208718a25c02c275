//! Giving a complete file its name: at one moment, and only if what has the name may be replaced.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, RenameFlags, Stat, fstat, linkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use tow_proto::Code;
use tow_proto::message::{EntryKind, Exists, Known};

use super::content::ctime_of;
use super::meta::{kind_of, mtime_of, size_of_file};
use crate::beneath::code_of;

/// What has the name, where it may be replaced by a file.
///
/// # Errors
/// [`Code::Exists`] or [`Code::Changed`] as `exists` asks, [`Code::IsADirectory`],
/// [`Code::SpecialFile`].
pub(super) fn check(dir: &OwnedFd, name: &[u8], exists: Exists) -> Result<Option<Stat>, Code> {
    let there = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(code_of(errno)),
    };
    match exists {
        Exists::Keep if there.is_some() => return Err(Code::Exists),
        Exists::If(known) if there.as_ref().map(known_of) != Some(known) => {
            return Err(Code::Changed);
        }
        _ => {}
    }
    match there.as_ref().map(kind_of) {
        Some(EntryKind::Dir) => Err(Code::IsADirectory),
        Some(EntryKind::Special) => Err(Code::SpecialFile),
        Some(EntryKind::File | EntryKind::Link) | None => Ok(there),
    }
}

/// Gives what is called `temp` the name `name` in the same directory. Gives what had it before.
///
/// # Errors
/// As [`check`], or what the file system says.
pub(super) fn take(
    dir: &OwnedFd,
    temp: &[u8],
    name: &[u8],
    exists: Exists,
) -> Result<Option<Stat>, Code> {
    // Between the look and the change, nobody of this process changes the directory.
    let _turn = turn(dir);
    let there = check(dir, name, exists)?;
    let taken = match exists {
        Exists::Keep => take_new(dir, temp, name),
        Exists::Replace | Exists::If(_) => renameat(dir, temp, dir, name),
    };
    taken.map_err(code_of)?;
    Ok(there)
}

fn take_new(dir: &OwnedFd, temp: &[u8], name: &[u8]) -> Result<(), Errno> {
    match renameat_with(dir, temp, dir, name, RenameFlags::NOREPLACE) {
        // The file system does not know how: a second name can be had only where there is none.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(dir, temp, dir, name, AtFlags::empty())?;
            unlinkat(dir, temp, AtFlags::empty())
        }
        result => result,
    }
}

/// What tells whether it is the file that somebody saw.
fn known_of(stat: &Stat) -> Known {
    Known {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: size_of_file(stat),
        mtime: mtime_of(stat),
        ctime: ctime_of(stat),
    }
}

/// The turn of a directory; some share one.
fn turn(dir: &OwnedFd) -> MutexGuard<'static, ()> {
    let number = fstat(dir).map_or(0, |stat| stat.st_ino ^ stat.st_dev);
    let at = (number % TURNS.len() as u64) as usize;
    TURNS[at].lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many that a directory that hangs holds up few others.
static TURNS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
