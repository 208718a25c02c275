//! Files that are too large for packs: all of one, or what a partial file of it lacks.
//!
//! A file is sent as it was at one moment, or not at all: one that changes while it is read is broken
//! off and tried again.

use std::ops::Range;

use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;
use tow_proto::Code;
use tow_proto::content::Tally;
use tow_proto::message::{End, STDOUT};
use tow_proto::transfer::{
    Entry, Event, How, PieceHash, PieceTally, Pieces, Record, What, can_resume, piece_len,
};

use super::Sender;
use super::asides::Wanted;
use super::outlet::Stop;
use super::small::{TRIES_MAX, check_empty};
use crate::beneath::code_of;
use crate::files::CHUNK_LEN_MAX;
use crate::files::item::Change;
use crate::files::meta::Identity;

/// How one reading of a file went.
pub(super) enum Attempt {
    Sent,
    /// The receiver wants no more of it.
    Rejected,
    /// It was not the same file at the end as at the start.
    Changed,
    Failed(Code),
}

/// What of a file follows, and what is known of what is there.
pub(super) enum Way {
    Whole,
    /// The partial file has so many bytes. The hashes of its pieces may be still to come.
    Resume(u64),
    Blocks(Wanted),
}

/// A file while it is read and hashed.
pub(super) struct Reading {
    pub(super) file: OwnedFd,
    pub(super) before: Identity,
    pub(super) pieces: Pieces,
    /// Where in the file the next byte that is hashed lies, and the piece that it is in.
    at: u64,
    tally: Option<(u64, PieceTally)>,
    /// There may be holes from here on.
    solid_until: u64,
    is_sparse: bool,
    pub(super) moved: u64,
    pub(super) reused: u64,
}

impl Reading {
    fn new(file: OwnedFd, stat: &Stat) -> Self {
        let before = Identity::of(stat);
        let held = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
        Self {
            file,
            before,
            pieces: Pieces::new(before.size),
            at: 0,
            tally: None,
            solid_until: 0,
            is_sparse: held < before.size,
            moved: 0,
            reused: 0,
        }
    }

    /// Goes to a place where a piece begins.
    fn go_to(&mut self, offset: u64) {
        (self.at, self.tally, self.solid_until) = (offset, None, 0);
    }

    /// Hashes what follows.
    pub(super) fn hash(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let tally = self.tally();
            let (now, rest) = bytes.split_at(bytes.len().min(clamp(tally.left())));
            tally.update(now);
            bytes = rest;
            if !self.advance(now.len() as u64) {
                break;
            }
        }
    }

    fn hash_zeros(&mut self, mut len: u64) {
        while len > 0 {
            let tally = self.tally();
            let now = len.min(tally.left());
            tally.zeros(now);
            len -= now;
            if !self.advance(now) {
                break;
            }
        }
    }

    fn tally(&mut self) -> &mut PieceTally {
        let size = self.before.size;
        let index = self.at / piece_len(size);
        &mut self.tally.get_or_insert_with(|| (index, PieceTally::new(size, index))).1
    }

    /// False where there is nothing more to hash.
    fn advance(&mut self, len: u64) -> bool {
        self.at += len;
        if let Some((index, tally)) = &self.tally
            && tally.left() == 0
        {
            self.pieces.set(*index, tally.hash());
            self.tally = None;
        }
        len > 0
    }

    /// How far there is no hole, after one was looked for.
    fn solid_end(&self, end: u64) -> u64 {
        if self.is_sparse { self.solid_until.min(end) } else { end }
    }

    /// How many zero bytes follow that take up no room, at most up to `end`; 0 where they are few.
    fn hole(&mut self, end: u64) -> u64 {
        if !self.is_sparse || self.at < self.solid_until {
            return 0;
        }
        let data = match seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data.min(end),
            Err(Errno::NXIO) => end,
            Err(_) => self.at,
        };
        if data.saturating_sub(self.at) >= HOLE_LEN_MIN {
            return data - self.at;
        }
        let solid = seek(&self.file, SeekFrom::Hole(data)).unwrap_or(u64::MAX);
        self.solid_until = solid.max(data + 1);
        0
    }
}

impl Sender<'_> {
    /// Sends the content of a file, or says why not.
    pub(super) fn large(&mut self, path: &[u8], change: Change, way: Way) -> Result<(), Stop> {
        self.inbox.begin(path);
        let mut way = way;
        for _ in 0..TRIES_MAX {
            let size = match self.attempt(path, std::mem::replace(&mut way, Way::Whole))? {
                (Attempt::Changed, _) => continue,
                (Attempt::Failed(code), _) => return self.failed(path, code),
                (Attempt::Rejected, _) => return Ok(()),
                (Attempt::Sent, size) => size,
            };
            self.watch.item(change, path, size);
            self.progress.file_done();
            return Ok(());
        }
        self.failed(path, Code::Changed)
    }

    /// Says what would be sent, and sends nothing of it.
    pub(super) fn pretend_large(&mut self, path: &[u8], entry: &Entry) -> Result<(), Stop> {
        let size = match entry.what {
            What::File { size, .. } => size,
            _ => 0,
        };
        let meta = entry.meta.clone();
        self.packer.last(&Record::Large { path, meta, size, how: How::Whole });
        self.flush()?;
        self.out.event(Event::Break)
    }

    fn attempt(&mut self, path: &[u8], way: Way) -> Result<(Attempt, u64), Stop> {
        let (file, stat) = match self.origin.open(&path.into()) {
            Ok(open) => open,
            Err(code) => return Ok((Attempt::Failed(code), 0)),
        };
        let mut reading = Reading::new(file, &stat);
        let size = reading.before.size;
        if size == 0
            && let Err(errno) = check_empty(&reading.file)
        {
            return Ok((Attempt::Failed(code_of(errno)), 0));
        }
        let how = match &way {
            Way::Whole => How::Whole,
            Way::Resume(len) if !can_resume(*len, size) => How::Whole,
            Way::Resume(len) => How::Resume { len: *len },
            Way::Blocks(wanted) => wanted.how(),
        };
        let meta = self.look.meta(&stat);
        self.packer.last(&Record::Large { path, meta, size, how });
        self.flush()?;
        let outcome = match (how, way) {
            (How::Resume { len }, _) => self.resume(path, &mut reading, len)?,
            (How::Blocks { .. }, Way::Blocks(wanted)) => self.blocks(path, &mut reading, wanted)?,
            _ => self.whole(&mut reading)?,
        };
        let outcome = outcome.unwrap_or_else(|| self.verdict(&reading));
        match (&outcome, reading.pieces.root()) {
            (Attempt::Sent, Some(blake3)) => {
                self.out.end(End { stream: STDOUT, total: size, blake3 })?;
            }
            _ => {
                self.progress.take_back(reading.moved, reading.reused);
                self.out.event(Event::Break)?;
            }
        }
        Ok((outcome, size))
    }

    fn whole(&mut self, reading: &mut Reading) -> Result<Option<Attempt>, Stop> {
        if reading.is_sparse {
            // So that no room is asked for that the holes will not take.
            self.out.event(Event::Hole { len: 0 })?;
        }
        self.range(reading, 0..reading.before.size)
    }

    /// Sends a range of the file that begins where a piece does. What else happened, if it did.
    fn range(&mut self, reading: &mut Reading, range: Range<u64>) -> Result<Option<Attempt>, Stop> {
        reading.go_to(range.start);
        while reading.at < range.end {
            if self.inbox.is_rejected() {
                return Ok(Some(Attempt::Rejected));
            }
            let hole = reading.hole(range.end).min(HOLE_LEN_MAX);
            if hole > 0 {
                reading.hash_zeros(hole);
                self.out.event(Event::Hole { len: hole })?;
                self.count(reading, hole);
                continue;
            }
            let left = reading.solid_end(range.end) - reading.at;
            let wanted = left.min(self.out.portion());
            match self.pool.read(&reading.file, reading.at, wanted) {
                Err(errno) => return Ok(Some(Attempt::Failed(code_of(errno)))),
                Ok(chunk) if chunk.payload().is_empty() => return Ok(Some(Attempt::Changed)),
                Ok(chunk) => {
                    reading.hash(chunk.payload());
                    self.count(reading, chunk.payload().len() as u64);
                    self.out.data(chunk)?;
                }
            }
        }
        Ok(None)
    }

    /// Sends what the partial file of `len` bytes lacks, then those of its pieces that differ.
    fn resume(
        &mut self,
        path: &[u8],
        reading: &mut Reading,
        len: u64,
    ) -> Result<Option<Attempt>, Stop> {
        self.in_parts(path);
        let size = reading.before.size;
        let piece = piece_len(size);
        let kept = len.min(size);
        let start = kept - kept % piece;
        if start < size {
            self.out.event(Event::At { offset: start })?;
            if let Some(other) = self.range(reading, start..size)? {
                return Ok(Some(other));
            }
        }
        let mine = match self.own_pieces(reading, start, len)? {
            Ok(mine) => mine,
            Err(other) => return Ok(Some(other)),
        };
        let theirs = self.pieces_of(path, start / piece_len(len))?;
        let mut sent_to = None;
        for index in 0..start / piece {
            let fine = piece / piece_len(len);
            let same = (index * fine..(index + 1) * fine).all(|index| {
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                mine.get(at).is_some_and(|mine| theirs.get(at) == Some(mine))
            });
            let range = index * piece..(index + 1) * piece;
            if same {
                self.progress.reused(piece);
                reading.reused += piece;
                continue;
            }
            if sent_to != Some(range.start) {
                self.out.event(Event::At { offset: range.start })?;
            }
            sent_to = Some(range.end);
            if let Some(other) = self.range(reading, range)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Hashes the file up to `end`, and gives the hashes of its pieces as the receiver has them, to
    /// whom the partial file of `len` bytes is a file like any other.
    fn own_pieces(
        &mut self,
        reading: &mut Reading,
        end: u64,
        len: u64,
    ) -> Result<Result<Vec<PieceHash>, Attempt>, Stop> {
        let fine = piece_len(len);
        // A file of one piece has another hash for it.
        let differs = fine < piece_len(reading.before.size) || len <= fine;
        let mut hashes = Vec::new();
        let mut tally = None;
        reading.go_to(0);
        while reading.at < end {
            if self.inbox.is_rejected() {
                return Ok(Err(Attempt::Rejected));
            }
            let at = reading.at;
            let wanted = (end - at).min(CHUNK_LEN_MAX as u64);
            let chunk = match self.pool.read(&reading.file, at, wanted) {
                Err(errno) => return Ok(Err(Attempt::Failed(code_of(errno)))),
                Ok(chunk) if chunk.payload().is_empty() => return Ok(Err(Attempt::Changed)),
                Ok(chunk) => chunk,
            };
            reading.hash(chunk.payload());
            if differs {
                // Chunks are a part of a piece: a short one is the last before a change.
                let tally = tally.get_or_insert_with(|| PieceTally::new(len, at / fine));
                tally.update(chunk.payload());
            }
            let Some(index) =
                reading.at.checked_sub(fine).filter(|_| reading.at.is_multiple_of(fine))
            else {
                continue;
            };
            hashes.extend(match tally.take() {
                Some(tally) => Some(tally.hash()),
                None => reading.pieces.get(index / fine),
            });
        }
        Ok(Ok(hashes))
    }

    pub(super) fn count(&mut self, reading: &mut Reading, moved: u64) {
        reading.moved += moved;
        self.progress.moved(moved);
    }

    /// Whether what was read is what the file held at one moment.
    fn verdict(&self, reading: &Reading) -> Attempt {
        let after = match fstat(&reading.file) {
            Ok(stat) => Identity::of(&stat),
            Err(errno) => return Attempt::Failed(code_of(errno)),
        };
        if after == reading.before {
            return Attempt::Sent;
        }
        // A log that somebody writes to never holds still. What was sent is good if it is still its
        // start, to the byte.
        let size = reading.before.size;
        if after.size <= size {
            return Attempt::Changed;
        }
        let mut tally = Tally::default();
        while tally.bytes() < size {
            if self.inbox.is_rejected() {
                return Attempt::Rejected;
            }
            let wanted = (size - tally.bytes()).min(CHUNK_LEN_MAX as u64);
            match self.pool.read(&reading.file, tally.bytes(), wanted) {
                Err(errno) => return Attempt::Failed(code_of(errno)),
                Ok(chunk) if chunk.payload().is_empty() => return Attempt::Changed,
                Ok(chunk) => tally.update(chunk.payload()),
            }
        }
        if Some(tally.hash()) == reading.pieces.root() { Attempt::Sent } else { Attempt::Changed }
    }
}

fn clamp(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Least bytes of a hole that is sent as one.
const HOLE_LEN_MIN: u64 = 64 << 10;
/// Most of them: both ends hash zeros, and the other is to begin before this one is done.
const HOLE_LEN_MAX: u64 = 256 << 20;
