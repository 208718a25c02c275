//! A large file that is coming: its partial file, what of it is known to be right, and the file that
//! parts of it are copied from.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FallocateFlags, fallocate, fstat, fstatvfs, ftruncate, statat};
use rustix::io::{Errno, pread};
use tow_proto::Code;
use tow_proto::content::Hash;
use tow_proto::transfer::{Meta, PieceTally, Run, RunReader, piece_len};

use super::dirs::Dir;
use super::hashing::Hashing;
use super::names::Fit;
use super::parts::Part;
use super::{Fault, Stop};
use crate::beneath::code_of;
use crate::files::meta::FileId;
use crate::files::partial::{Locked, write_at};
use crate::files::room;

/// The file that is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) about: About,
    pub(super) body: Body,
}

/// What was said of it, and where it goes.
#[derive(Debug)]
pub(super) struct About {
    pub(super) path: Vec<u8>,
    pub(super) dir: Arc<Dir>,
    pub(super) name: Vec<u8>,
    pub(super) partial: Vec<u8>,
    pub(super) meta: Meta,
    pub(super) size: u64,
    pub(super) fit: Fit,
    pub(super) is_new: bool,
    /// Parts of the old file are used.
    pub(super) is_patch: bool,
    /// Something that was here becomes a part of it: an old file, or a partial one.
    pub(super) is_in_parts: bool,
}

/// Its content so far.
#[derive(Debug)]
pub(super) struct Body {
    file: Content,
    size: u64,
    hashing: Hashing,
    /// Where the next content goes.
    at: u64,
    /// Where the file ends now.
    end: u64,
    /// So many bytes were there when it began.
    kept: u64,
    old: Option<Old>,
    room: Room,
    /// Bytes that may still be written, hashed or copied.
    budget: u64,
    pub(super) moved: u64,
    pub(super) copied: u64,
}

/// The partial file: new, or used again.
#[derive(Debug)]
pub(super) enum Content {
    New(Locked),
    /// What it has is used.
    Kept(Arc<Part>),
    /// What it has is thrown away.
    Emptied(Arc<Part>),
    /// A small file, to be made safe by itself.
    Small(OwnedFd),
}

/// The file of which blocks are copied.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) file: OwnedFd,
    pub(super) runs: RunReader,
}

/// Whether the file system was asked for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Not yet: what comes first may say that the file has holes.
    Unasked,
    /// The blocks are there.
    Taken,
    /// They come as they are needed.
    AsItComes,
}

impl Content {
    pub(super) fn file(&self) -> &OwnedFd {
        match self {
            Self::New(file) => file,
            Self::Small(file) => file,
            Self::Kept(part) | Self::Emptied(part) => &part.file,
        }
    }

    /// Whether the name stands for this very file.
    pub(super) fn is_named(&self, dir: &OwnedFd, name: &[u8]) -> bool {
        match self {
            Self::New(file) => file.is_named(dir, name),
            Self::Kept(part) | Self::Emptied(part) => part.file.is_named(dir, name),
            Self::Small(file) => {
                let id = fstat(file).map(|stat| FileId::of(&stat));
                let named = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                id.is_ok() && id == named.map(|named| FileId::of(&named))
            }
        }
    }
}

impl Body {
    pub(super) fn new(file: Content, size: u64, old: Option<Old>) -> Result<Self, Code> {
        let kept = match &file {
            Content::New(_) | Content::Emptied(_) | Content::Small(_) => 0,
            Content::Kept(part) => part.len.min(size),
        };
        match &file {
            Content::Kept(part) if part.len > size => ftruncate(&*part.file, size),
            Content::Emptied(part) => ftruncate(&*part.file, 0),
            _ => Ok(()),
        }
        .map_err(code_of)?;
        let budget = size.saturating_mul(WORK_MAX).saturating_add(piece_len(size));
        Ok(Self {
            file,
            size,
            hashing: Hashing::new(size),
            at: 0,
            end: kept,
            kept,
            old,
            room: Room::Unasked,
            budget,
            moved: 0,
            copied: 0,
        })
    }

    /// Content of the sender's, where the last ended.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let len = bytes.len() as u64;
        self.allow(len)?;
        self.ask_for_room()?;
        self.write(bytes)?;
        self.moved += len;
        Ok(())
    }

    /// What follows begins at `offset`.
    pub(super) fn jump(&mut self, offset: u64) -> Result<(), Fault> {
        if !self.hashing.can_start_at(offset) {
            return Err(Fault::Violation(Code::Malformed));
        }
        self.hashing.jump();
        self.at = offset;
        Ok(())
    }

    /// Zeros that take up no room, where the last ended.
    pub(super) fn hole(&mut self, len: u64, stop: &Stop) -> Result<(), Fault> {
        self.allow(len)?;
        if self.room == Room::Unasked {
            self.room = Room::AsItComes;
        }
        let from = self.at;
        let (was, end) = (self.end, from + len);
        if end > was {
            ftruncate(self.file.file(), end).map_err(Fault::of)?;
            self.end = end;
        }
        let is_something = from < was || self.room == Room::Taken;
        if is_something && len > 0 {
            self.punch(from, len, stop)?;
        }
        while self.at < end {
            if stop.is_set() {
                return Err(Fault::Failed(Code::Stopping, None));
            }
            self.at += self.hashing.add_zeros(self.at, end - self.at);
        }
        Ok(())
    }

    /// Blocks of the old file, where the last content ended.
    pub(super) fn copy(&mut self, runs: &[Run], stop: &Stop) -> Result<(), Fault> {
        for run in runs {
            let range = self.old.as_mut().and_then(|old| old.runs.range(*run));
            let range = range.ok_or(Fault::Violation(Code::Malformed))?;
            self.allow(range.end - range.start)?;
            self.ask_for_room()?;
            self.copy_range(range.start, range.end, stop)?;
        }
        Ok(())
    }

    /// Whether this is all of a file with this length and hash. What was there before and not sent
    /// again is read, as far as nobody did.
    pub(super) fn is_whole(&mut self, total: u64, hash: &Hash, stop: &Stop) -> Result<bool, Code> {
        if total != self.size || self.end != self.size {
            return Ok(false);
        }
        for index in self.hashing.unknown() {
            let Some(range) = self.hashing.pieces().range(index) else { return Ok(false) };
            if range.end > self.kept {
                return Ok(false);
            }
            let known = match &self.file {
                Content::Kept(part) if self.hashing.is_untouched(index) => {
                    part.hash(self.size, index)
                }
                _ => None,
            };
            let hash = match known {
                Some(hash) => hash,
                None => {
                    let tally = PieceTally::new(self.size, index);
                    read_piece(self.file.file(), range, tally, stop)?.hash()
                }
            };
            self.hashing.set(index, hash);
        }
        Ok(self.hashing.pieces().root().as_ref() == Some(hash))
    }

    /// Gives back what was set aside for content that did not come.
    pub(super) fn abandon(&self) {
        if self.room == Room::Taken {
            let _ = ftruncate(self.file.file(), self.end);
        }
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.end == 0
    }

    pub(super) fn is_named(&self, dir: &OwnedFd, name: &[u8]) -> bool {
        self.file.is_named(dir, name)
    }

    /// Bytes that were there, or were copied.
    pub(super) fn reused(&self) -> u64 {
        let kept = if self.kept > 0 { self.size.saturating_sub(self.moved) } else { 0 };
        self.copied.max(kept)
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn into_file(self) -> Content {
        self.file
    }

    /// Whether so much more may come here. What is sent again and again ends somewhere.
    fn allow(&mut self, len: u64) -> Result<(), Fault> {
        if len > self.size - self.at {
            return Err(Fault::Violation(Code::Malformed));
        }
        self.budget = self.budget.checked_sub(len).ok_or(Fault::Violation(Code::TooLong))?;
        Ok(())
    }

    /// Before the first byte of a file that does not begin with a hole: whether there is room for all
    /// of it.
    fn ask_for_room(&mut self) -> Result<(), Fault> {
        if self.room != Room::Unasked {
            return Ok(());
        }
        self.room = Room::AsItComes;
        let wanted = self.size - self.kept;
        let room = room::take(self.file.file(), self.kept, wanted);
        self.room = match room.map_err(|(code, missing)| Fault::Failed(code, missing))? {
            room::Room::Taken => Room::Taken,
            room::Room::AsItComes => Room::AsItComes,
        };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.hashing.add(self.at, bytes);
        if let Err((written, code)) = write_at(self.file.file(), bytes, self.at) {
            // Not what it was, and not what it should be.
            self.hashing.jump();
            self.end = self.end.max(written);
            let missing = (code == Code::NoSpace).then_some(self.size - written);
            return Err(Fault::Failed(code, missing));
        }
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(())
    }

    fn copy_range(&mut self, mut from: u64, to: u64, stop: &Stop) -> Result<(), Fault> {
        let mut buf = vec![0; COPY_LEN.min(usize::try_from(to - from).unwrap_or(COPY_LEN))];
        while from < to {
            let Some(old) = &self.old else { return Ok(()) };
            let len = buf.len().min(usize::try_from(to - from).unwrap_or(COPY_LEN));
            let read = match pread(&old.file, &mut buf[..len], from) {
                // Shorter than it was: whatever this makes, it is not the file.
                Ok(0) => return Err(Fault::Failed(Code::Corrupt, None)),
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Fault::Failed(code_of(errno), None)),
            };
            if stop.is_set() {
                return Err(Fault::Failed(Code::Stopping, None));
            }
            self.write(&buf[..read])?;
            self.copied += read as u64;
            from += read as u64;
        }
        Ok(())
    }

    fn punch(&self, from: u64, len: u64, stop: &Stop) -> Result<(), Fault> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self.file.file(), flags, from, len) {
            Ok(()) => return Ok(()),
            Err(errno @ (Errno::IO | Errno::NOSPC | Errno::DQUOT)) => return Err(Fault::of(errno)),
            Err(_) => {}
        }
        // A file system without holes.
        let zeros = vec![0; COPY_LEN];
        let (mut at, end) = (from, from + len);
        while at < end {
            if stop.is_set() {
                return Err(Fault::Failed(Code::Stopping, None));
            }
            let now = zeros.len().min(usize::try_from(end - at).unwrap_or(COPY_LEN));
            write_at(self.file.file(), &zeros[..now], at)
                .map_err(|(_, code)| Fault::Failed(code, None))?;
            at += now as u64;
        }
        Ok(())
    }
}

/// Reads a piece.
///
/// # Errors
/// What the file system says; [`Code::Corrupt`] where the file is shorter.
pub(super) fn read_piece(
    file: &OwnedFd,
    range: std::ops::Range<u64>,
    mut tally: PieceTally,
    stop: &Stop,
) -> Result<PieceTally, Code> {
    let mut buf = vec![0; COPY_LEN];
    let mut at = range.start;
    while at < range.end {
        if stop.is_set() {
            return Err(Code::Stopping);
        }
        let len = buf.len().min(usize::try_from(range.end - at).unwrap_or(COPY_LEN));
        match pread(file, &mut buf[..len], at) {
            Ok(0) => return Err(Code::Corrupt),
            Ok(read) => {
                tally.update(&buf[..read]);
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(code_of(errno)),
        }
    }
    Ok(tally)
}

/// How long a file may be here, where `size` is more than that. A file that is longer than its file
/// system has to be nearly all holes, which cost the sender nothing and the receiver a hash.
pub(super) fn over_size_max(dir: &OwnedFd, size: u64) -> Option<u64> {
    if size <= SPARSE_LEN_MAX {
        return None;
    }
    let room = fstatvfs(dir).map_or(0, |system| system.f_blocks.saturating_mul(system.f_frsize));
    let max = room.clamp(SPARSE_LEN_MAX, OFFSET_MAX);
    (size > max).then_some(max)
}

/// How often the whole length of a file may be written, hashed or copied, one piece more besides.
const WORK_MAX: u64 = 4;
/// Files up to this size may be longer than their file system: the longest of ext4. Its zeros are
/// hashed in one to two hours.
const SPARSE_LEN_MAX: u64 = 16 << 40;
/// The largest offset that the kernel takes.
const OFFSET_MAX: u64 = i64::MAX as u64;
/// What is read and written at once.
const COPY_LEN: usize = 256 << 10;
