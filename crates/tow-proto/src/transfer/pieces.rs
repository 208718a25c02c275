//! Pieces of a file and the hash that all of them make (PROTOCOL 7.3).

use std::ops::Range;

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::content::Hash;

/// Most pieces of a file (PROTOCOL 7.3).
pub const PIECES_MAX: u64 = 1 << 16;

/// Length in bytes of the pieces of a file of `size` bytes: 1 MiB, or the smallest power of two
/// that makes at most [`PIECES_MAX`] of them (PROTOCOL 7.3).
pub const fn piece_len(size: u64) -> u64 {
    let len = size.div_ceil(PIECES_MAX).next_power_of_two();
    if len < PIECE_LEN_MIN { PIECE_LEN_MIN } else { len }
}

/// Whether hashes of the pieces of a partial file of `len` bytes say anything of a file of `size`
/// bytes (PROTOCOL 7.3). Those of one that is longer do where it has the same pieces.
pub const fn can_resume(len: u64, size: u64) -> bool {
    let is_alike = piece_len(len) == piece_len(size) && size > piece_len(size);
    len > 0 && (len <= size || is_alike)
}

/// The chaining value of a piece in the BLAKE3 tree of its file; of a file of one piece, the hash
/// of the file (PROTOCOL 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHash(pub [u8; 32]);

/// One piece while it is read, from its first byte to its last (PROTOCOL 7.3).
#[derive(Clone, Debug)]
pub struct PieceTally {
    hasher: blake3::Hasher,
    /// Bytes that the piece may still have.
    left: u64,
    is_whole_file: bool,
    /// More came than the piece has.
    is_over: bool,
}

impl PieceTally {
    /// The piece at `index` of a file of `file_size` bytes (PROTOCOL 7.3).
    pub fn new(file_size: u64, index: u64) -> Self {
        let range = range_of(file_size, index);
        let mut hasher = blake3::Hasher::new();
        if let Some(range) = &range {
            hasher.set_input_offset(range.start);
        }
        Self {
            hasher,
            left: range.as_ref().map_or(0, |range| range.end - range.start),
            is_whole_file: file_size <= piece_len(file_size),
            is_over: range.is_none() && index > 0,
        }
    }

    /// The next bytes of the piece.
    pub fn update(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        if len > self.left {
            self.is_over = true;
            return;
        }
        self.left -= len;
        self.hasher.update(bytes);
    }

    /// The next `len` bytes of the piece, which are zero.
    pub fn zeros(&mut self, len: u64) {
        if len > self.left {
            self.is_over = true;
            return;
        }
        let mut left = len;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            self.update(&ZEROS[..now as usize]);
            left -= now;
        }
    }

    /// Bytes that the piece lacks.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The hash of what came (PROTOCOL 7.3). Zeros, which are the hash of nothing, where that was
    /// more than the piece has, or nothing at all of a piece that is not the whole file.
    pub fn hash(&self) -> PieceHash {
        if self.is_over || (!self.is_whole_file && self.hasher.count() == 0) {
            PieceHash([0; 32])
        } else if self.is_whole_file {
            PieceHash(*self.hasher.finalize().as_bytes())
        } else {
            PieceHash(self.hasher.finalize_non_root())
        }
    }
}

/// The hashes of a file's pieces, in whatever order they come (PROTOCOL 7.3).
#[derive(Clone, Debug)]
pub struct Pieces {
    size: u64,
    /// As far as they were set.
    hashes: Vec<Option<PieceHash>>,
}

impl Pieces {
    /// No piece of a file of `size` bytes. Nothing is allocated for a size that was only said.
    pub fn new(size: u64) -> Self {
        Self { size, hashes: Vec::new() }
    }

    /// How many pieces there are: at most [`PIECES_MAX`], none of an empty file.
    pub fn count(&self) -> u64 {
        self.size.div_ceil(piece_len(self.size))
    }

    /// Which bytes of the file a piece has; `None` where there is no such piece.
    pub fn range(&self, index: u64) -> Option<Range<u64>> {
        range_of(self.size, index)
    }

    /// Takes the hash of a piece; a later one replaces it. False where there is no such piece.
    pub fn set(&mut self, index: u64, hash: PieceHash) -> bool {
        if index >= self.count() {
            return false;
        }
        // Below 65,536.
        let index = index as usize;
        if self.hashes.len() <= index {
            self.hashes.resize(index + 1, None);
        }
        if let Some(slot) = self.hashes.get_mut(index) {
            *slot = Some(hash);
        }
        true
    }

    /// The hash of a piece where it is known.
    pub fn get(&self, index: u64) -> Option<PieceHash> {
        *self.hashes.get(usize::try_from(index).ok()?)?
    }

    /// Indices of the pieces whose hashes are not known, rising.
    pub fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count()).filter(|index| self.get(*index).is_none())
    }

    /// The BLAKE3 hash of the whole file, once all pieces are known (PROTOCOL 7.3).
    pub fn root(&self) -> Option<Hash> {
        if self.size == 0 {
            return Some(Hash(*blake3::hash(b"").as_bytes()));
        }
        if self.hashes.len() as u64 != self.count() {
            return None;
        }
        let mut layer = Vec::with_capacity(self.hashes.len());
        for hash in &self.hashes {
            layer.push((*hash)?.0);
        }
        while layer.len() > 2 {
            layer = layer.chunks(2).map(merge).collect();
        }
        match layer.as_slice() {
            [only] => Some(Hash(*only)),
            [left, right] => Some(Hash(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())),
            _ => None,
        }
    }
}

/// Two subtrees as one; the last one of an odd number moves up as it is.
fn merge(pair: &[[u8; 32]]) -> [u8; 32] {
    match pair {
        [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
        [only] => *only,
        _ => [0; 32],
    }
}

fn range_of(size: u64, index: u64) -> Option<Range<u64>> {
    let len = piece_len(size);
    let start = index.checked_mul(len).filter(|start| *start < size)?;
    Some(start..size.min(start.saturating_add(len)))
}

const PIECE_LEN_MIN: u64 = 1 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
