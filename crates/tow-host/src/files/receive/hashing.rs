//! The hashes of a file's pieces while its content comes, in whatever order.

use std::collections::BTreeSet;

use tow_proto::transfer::{PieceHash, PieceTally, Pieces, piece_len};

/// What is known of the pieces of a file that is being made.
#[derive(Debug)]
pub(super) struct Hashing {
    size: u64,
    pieces: Pieces,
    /// Pieces that were begun, and not hashed since.
    open: BTreeSet<u64>,
    current: Option<Current>,
}

/// The piece that is being written, from its first byte on.
#[derive(Debug)]
struct Current {
    index: u64,
    tally: PieceTally,
}

impl Hashing {
    pub(super) fn new(size: u64) -> Self {
        Self { size, pieces: Pieces::new(size), open: BTreeSet::new(), current: None }
    }

    /// Whether content may begin at `offset`.
    pub(super) fn can_start_at(&self, offset: u64) -> bool {
        offset <= self.size && offset.is_multiple_of(piece_len(self.size))
    }

    /// What comes next begins elsewhere. What was written of a piece that is not complete must be
    /// written or read again.
    pub(super) fn jump(&mut self) {
        self.current = None;
    }

    /// These are the bytes at `at`, which is where the last ones ended, or where one may start.
    pub(super) fn add(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(left) = self.enter(at) else { return };
            let (now, rest) =
                bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            if let Some(current) = &mut self.current {
                current.tally.update(now);
            }
            self.leave();
            at += now.len() as u64;
            bytes = rest;
        }
    }

    /// The same for zeros. Adds at most [`ZEROS_MAX`] of them, and tells how many.
    pub(super) fn add_zeros(&mut self, at: u64, len: u64) -> u64 {
        let Some(left) = self.enter(at) else { return len };
        let now = len.min(left).min(ZEROS_MAX);
        if let Some(current) = &mut self.current {
            current.tally.zeros(now);
        }
        self.leave();
        now
    }

    /// The hash of a piece that was computed elsewhere.
    pub(super) fn set(&mut self, index: u64, hash: PieceHash) {
        self.open.remove(&index);
        self.pieces.set(index, hash);
    }

    /// Pieces whose hashes are not known.
    pub(super) fn unknown(&self) -> Vec<u64> {
        let mut unknown: Vec<u64> =
            self.pieces.missing().chain(self.open.iter().copied()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Whether nothing of the piece came yet.
    pub(super) fn is_untouched(&self, index: u64) -> bool {
        !self.open.contains(&index)
    }

    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The piece at `at`; gives how many bytes it lacks.
    fn enter(&mut self, at: u64) -> Option<u64> {
        if self.current.is_none() {
            let index = at / piece_len(self.size);
            let tally = PieceTally::new(self.size, index);
            self.open.insert(index);
            self.current = Some(Current { index, tally });
        }
        self.current.as_ref().map(|current| current.tally.left()).filter(|left| *left > 0)
    }

    fn leave(&mut self) {
        if let Some(current) = self.current.take_if(|current| current.tally.left() == 0) {
            self.set(current.index, current.tally.hash());
        }
    }
}

/// Zeros that are hashed at once: some milliseconds' work.
const ZEROS_MAX: u64 = 16 << 20;
