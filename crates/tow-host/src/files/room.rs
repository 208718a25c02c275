//! Room on the disk for what is about to be written: better no first byte than no last one.

use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, fallocate, fstatfs, fstatvfs};
use rustix::io::Errno;
use rustix::process::geteuid;
use tow_proto::Code;

use crate::beneath::code_of;

/// Whether the room was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is this file's.
    Taken,
    /// It is found as the bytes come.
    AsItComes,
}

/// Sets aside `len` bytes from offset `from` on, without changing how long the file is.
///
/// # Errors
/// There is no room for them; with how many bytes are missing, where that is known.
pub(super) fn take(file: &OwnedFd, from: u64, len: u64) -> Result<Room, (Code, Option<u64>)> {
    if len <= UNCHECKED_LEN_MAX {
        return Ok(Room::AsItComes);
    }
    if let Some(missing) = missing_space(file, len) {
        return Err((Code::NoSpace, Some(missing)));
    }
    if is_in_memory(file) {
        return Ok(Room::AsItComes);
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, len) {
        Ok(()) => Ok(Room::Taken),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
            let code = code_of(errno);
            Err((code, (code == Code::NoSpace).then_some(len)))
        }
        Err(_) => Ok(Room::AsItComes),
    }
}

/// How many of `len` bytes the file system has no room for. `None` if it has, or can't tell.
fn missing_space(file: &OwnedFd, len: u64) -> Option<u64> {
    let system = fstatvfs(file).ok().filter(|system| system.f_blocks > 0)?;
    let blocks = if geteuid().is_root() { system.f_bfree } else { system.f_bavail };
    let missing = len.saturating_sub(blocks.saturating_mul(system.f_frsize));
    (missing > 0).then_some(missing)
}

/// There, setting room aside costs as much as writing, and gains nothing.
fn is_in_memory(file: &OwnedFd) -> bool {
    fstatfs(file).is_ok_and(|system| i128::from(system.f_type) == TMPFS)
}

/// Files up to this size are not worth asking for room first: writing them tells as soon.
const UNCHECKED_LEN_MAX: u64 = 64 << 10;
/// The magic number of tmpfs.
const TMPFS: i128 = 0x0102_1994;
