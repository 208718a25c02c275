//! What the file system says of an entry, in the words of the protocol.

use rustix::fs::{FileType, Stat, Timespec, Timestamps};
use tow_proto::message::{EntryKind, Mtime};

/// What an entry is.
pub(super) fn kind_of(stat: &Stat) -> EntryKind {
    kind_of_type(FileType::from_raw_mode(stat.st_mode))
}

/// What an entry of this type is.
pub(super) fn kind_of_type(file_type: FileType) -> EntryKind {
    match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Special,
    }
}

pub(super) fn size_of_file(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

pub(super) fn mtime_of(stat: &Stat) -> Mtime {
    // Below 10^9 by POSIX.
    Mtime(stat.st_mtime, stat.st_mtime_nsec as u32)
}

/// Permission bits that are passed on: never setuid, setgid or sticky.
pub(super) fn permissions(mode: u32) -> u32 {
    mode & 0o777
}

/// Permission bits that new files of this process do not get. Where the kernel does not tell, they are
/// for their owner only.
pub(super) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    digits.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(0o077)
}

/// Sets the modification time and leaves the access time alone.
pub(super) fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() },
    }
}

/// What tells whether a file is the one that it was, and unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) file: FileId,
    pub(super) size: u64,
    mtime: Mtime,
    ctime: (i64, u64),
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            file: FileId::of(stat),
            size: size_of_file(stat),
            mtime: mtime_of(stat),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Which file, whatever its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}
