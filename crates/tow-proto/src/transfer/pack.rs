//! Packs: many records in one frame (PROTOCOL 7.3).

use std::iter::FusedIterator;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::blocks::Signature;
use super::entry::{Columns, Listing, Meta};
use super::pieces::PieceHash;
use super::record::{self, LIST_NUMBERS_MAX, Record, SIGNATURE_LEN};
use super::wire::Fields;
use crate::refusal::{Code, Refusal};

/// Most bytes of a pack as it is sent (PROTOCOL 2.2).
pub const PACK_LEN_MAX: usize = 1 << 20;
/// Most bytes of a body before it is compressed (PROTOCOL 7.3).
pub const PACK_BODY_MAX: usize = 1 << 20;

/// Why a pack can't be read. Each ends the transfer (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PackError {
    /// It is cut, too long, or holds what no record is.
    #[error("a pack that can't be read")]
    Malformed,
    /// Its hash is another one.
    #[error("a pack whose hash is wrong")]
    Corrupt,
    /// A name or a path that leads astray.
    #[error("a path in a pack: {}", .0.sentence())]
    Path(
        /// [`Code::BadName`], [`Code::TooLong`] or [`Code::TooDeep`].
        Code,
    ),
}

impl PackError {
    /// What the other end is told (PROTOCOL 7.3).
    pub fn code(self) -> Code {
        match self {
            Self::Malformed => Code::Malformed,
            Self::Corrupt => Code::Corrupt,
            Self::Path(code) => code,
        }
    }
}

impl From<PackError> for Refusal {
    fn from(error: PackError) -> Self {
        error.code().into()
    }
}

/// Whether a file went into a pack.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It did.
    Whole,
    /// It had more or fewer bytes than was said; nothing of it is there.
    WrongLen,
}

/// A pack while it is filled (PROTOCOL 7.3).
#[derive(Debug)]
pub struct PackWriter {
    /// Headroom, flags, hash, body.
    buffer: Vec<u8>,
    headroom: usize,
    columns: Columns,
}

impl PackWriter {
    /// Most bytes of a body that is certain to fit into a frame, compressed or not.
    pub const BODY_MAX: usize = PACK_LEN_MAX - FRONT_LEN;

    /// An empty one. `headroom` bytes stay free in front of the pack, for the prefix of a frame.
    pub fn new(headroom: usize, columns: Columns) -> Self {
        Self { buffer: vec![0; headroom + FRONT_LEN], headroom, columns }
    }

    /// Appends a record. The caller sees to it that there is room.
    pub fn record(&mut self, record: &Record<'_>) {
        record::write(record, self.columns, &mut self.buffer);
        self.make_room();
    }

    /// Once it is more than a few records, it will most likely be filled: grown at one go.
    fn make_room(&mut self) {
        let whole = self.headroom + PACK_LEN_MAX;
        if self.buffer.len() > FEW_LEN && self.buffer.capacity() < whole {
            self.buffer.reserve_exact(whole.saturating_sub(self.buffer.len()));
        }
    }

    /// Appends a `file` of `len` bytes that `fill` appends to the vector it is given: it changes
    /// nothing before them.
    ///
    /// # Errors
    /// That of `fill`; nothing of the file is there then.
    pub fn file_with<E>(
        &mut self,
        name: &[u8],
        meta: &Meta,
        len: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Filled, E> {
        let start = self.buffer.len();
        record::put_file(name, meta, len, self.columns, &mut self.buffer);
        self.make_room();
        let content = self.buffer.len();
        self.buffer.reserve(len);
        let outcome = fill(&mut self.buffer);
        let is_whole = self.buffer.len() == content + len;
        if outcome.is_err() || !is_whole {
            self.buffer.truncate(start);
        }
        outcome?;
        Ok(if is_whole { Filled::Whole } else { Filled::WrongLen })
    }

    /// Appends as many of the listing's entries, from the one at `from` on, as there is room for,
    /// and gives the index of the first that is left. All of them went where that is their number;
    /// the record says so. An empty pack has room for any one entry; a listing without entries has
    /// a record too.
    pub fn listing(&mut self, listing: &Listing, from: usize) -> usize {
        let entries = listing.entries.get(from..).unwrap_or_default();
        let mut room = self.room().saturating_sub(listing.path.len() + LIST_NUMBERS_MAX);
        let mut count = 0;
        for entry in entries {
            let Some(left) = room.checked_sub(record::entry_len_max(entry, self.columns)) else {
                break;
            };
            room = left;
            count += 1;
        }
        let (now, later) = entries.split_at(count);
        if !now.is_empty() || entries.is_empty() {
            let more = !later.is_empty();
            record::put_listing(listing, now, more, self.columns, &mut self.buffer);
        }
        from + count
    }

    /// Appends as many of the hashes, which are those of the pieces from the one at `first` on, as
    /// there is room for; gives their number. Without hashes the record is empty.
    pub fn pieces(&mut self, path: &[u8], first: u64, hashes: &[PieceHash]) -> usize {
        let count = self.count_of(path, size_of::<PieceHash>()).min(hashes.len());
        if count > 0 || hashes.is_empty() {
            record::put_pieces(path, first, &hashes[..count], &mut self.buffer);
        }
        count
    }

    /// Appends as many of the signatures as there is room for; gives their number. The record says
    /// whether more follow. Without signatures it is empty.
    pub fn blocks(&mut self, path: &[u8], signatures: &[Signature]) -> usize {
        let count = self.count_of(path, SIGNATURE_LEN).min(signatures.len());
        if count > 0 || signatures.is_empty() {
            let more = count < signatures.len();
            record::put_blocks(path, more, &signatures[..count], &mut self.buffer);
        }
        count
    }

    /// How many things of `len` bytes there is room for after a path.
    fn count_of(&self, path: &[u8], len: usize) -> usize {
        self.room().saturating_sub(path.len() + LIST_NUMBERS_MAX) / len
    }

    /// Length of the body in bytes.
    pub fn body_len(&self) -> usize {
        self.buffer.len() - self.headroom - FRONT_LEN
    }

    /// How many bytes the body may grow by. A record takes its names and lists, and at most
    /// [`Self::RECORD_LEN_MAX`] bytes beside them.
    pub fn room(&self) -> usize {
        Self::BODY_MAX.saturating_sub(self.body_len())
    }

    /// Most bytes of a record beside content and lists: fixed fields, a path, a target or another
    /// path, and the names of owners.
    pub const RECORD_LEN_MAX: usize = 12 << 10;

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.body_len() == 0
    }

    /// The pack, behind the headroom (PROTOCOL 7.3). With a level it is compressed, if that makes
    /// it smaller.
    pub fn seal(mut self, compress: Option<i32>) -> Vec<u8> {
        let body_at = self.headroom + FRONT_LEN;
        debug_assert!(self.body_len() <= Self::BODY_MAX, "the caller looks for room");
        let hash = blake3::hash(&self.buffer[body_at..]);
        self.buffer[self.headroom] = 0;
        self.buffer[self.headroom + FLAGS_LEN..body_at].copy_from_slice(hash.as_bytes());
        let smaller = compress.and_then(|level| self.compressed(level));
        smaller.unwrap_or(self.buffer)
    }

    /// The same with the body compressed, where that is smaller. Expects the front to be written.
    fn compressed(&self, level: i32) -> Option<Vec<u8>> {
        let (front, body) = self.buffer.split_at(self.headroom + FRONT_LEN);
        // What does not fit is not smaller.
        let mut packed = vec![0; front.len() + body.len()];
        let (packed_front, packed_body) = packed.split_at_mut(front.len());
        packed_front.copy_from_slice(front);
        packed_front[self.headroom] = FLAG_COMPRESSED;
        let len = zstd::bulk::compress_to_buffer(body, packed_body, level).ok()?;
        packed.truncate(front.len() + len);
        (len < body.len()).then_some(packed)
    }
}

/// A pack that has come: its body is whole and has the hash that it should have (PROTOCOL 7.3).
/// Clones share the body.
#[derive(Clone, Debug)]
pub struct Pack {
    bytes: Arc<Vec<u8>>,
    body_at: usize,
    columns: Columns,
}

impl Pack {
    /// Reads the front, undoes the compression, compares the hash. A body that is not compressed is
    /// not copied.
    ///
    /// # Errors
    /// [`PackError::Malformed`] or [`PackError::Corrupt`].
    pub fn open(payload: Vec<u8>, columns: Columns) -> Result<Self, PackError> {
        let (front, body) = payload.split_first_chunk::<FRONT_LEN>().ok_or(PackError::Malformed)?;
        let (flags, hash) = (front[0], blake3::Hash::from_slice(&front[FLAGS_LEN..]));
        let hash = hash.map_err(|_| PackError::Malformed)?;
        let (bytes, body_at) = match flags {
            0 if body.len() <= PACK_BODY_MAX => (payload, FRONT_LEN),
            FLAG_COMPRESSED => (decompress(body)?, 0),
            _ => return Err(PackError::Malformed),
        };
        let is_right = blake3::hash(bytes.get(body_at..).unwrap_or_default()) == hash;
        if !is_right {
            return Err(PackError::Corrupt);
        }
        Ok(Self { bytes: Arc::new(bytes), body_at, columns })
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_at..).unwrap_or_default()
    }

    /// Reads the records one after the other.
    pub fn records(&self) -> PackReader<'_> {
        PackReader { body: self.body(), at: 0, columns: self.columns, is_over: false }
    }
}

/// The records of a pack (PROTOCOL 7.3). What they borrow is the pack, not the reader. After an
/// error there are no more.
#[derive(Clone, Debug)]
pub struct PackReader<'a> {
    body: &'a [u8],
    at: usize,
    columns: Columns,
    is_over: bool,
}

impl<'a> PackReader<'a> {
    /// Where the content of the `file` that was given last is in [`Pack::body`]; `len` is its
    /// length. So another thread can take it from a clone of the pack.
    pub fn range_of_content(&self, len: usize) -> Range<usize> {
        self.at.saturating_sub(len)..self.at
    }

    /// The next record; `None` at the end of the pack.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&mut self) -> Result<Option<Record<'a>>, PackError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.is_empty() || self.is_over {
            return Ok(None);
        }
        let mut fields = Fields::new(rest);
        let record =
            record::read(&mut fields, self.columns).inspect_err(|_| self.is_over = true)?;
        self.at = self.body.len() - fields.left();
        Ok(Some(record))
    }
}

impl<'a> Iterator for PackReader<'a> {
    type Item = Result<Record<'a>, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl FusedIterator for PackReader<'_> {}

/// The body, at most [`PACK_BODY_MAX`] bytes of it. The frame's own word about its length is
/// checked before anything is allocated; the whole output is one buffer, so no window is.
fn decompress(packed: &[u8]) -> Result<Vec<u8>, PackError> {
    let said = zstd::zstd_safe::get_frame_content_size(packed).map_err(|_| PackError::Malformed)?;
    let len = said.unwrap_or(PACK_BODY_MAX as u64);
    let len = usize::try_from(len).map_err(|_| PackError::Malformed)?;
    if len > PACK_BODY_MAX {
        return Err(PackError::Malformed);
    }
    zstd::bulk::decompress(packed, len).map_err(|_| PackError::Malformed)
}

/// Where a pack begins to be more than a few records, in bytes.
const FEW_LEN: usize = 16 << 10;
const FLAGS_LEN: usize = 1;
/// Flags and hash.
const FRONT_LEN: usize = FLAGS_LEN + blake3::OUT_LEN;
const FLAG_COMPRESSED: u8 = 1;
