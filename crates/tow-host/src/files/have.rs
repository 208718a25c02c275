//! What the receiver said it has, as the sender keeps it; and when the receiver wants no more of a file.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tow_proto::content::Hash;
use tow_proto::message::{Have, HaveState, Mtime, piece_len};
use tow_proto::{ByteString, Code, Refusal};

/// What the other end has, by path. Bounded, because the other end fills it.
#[derive(Debug, Default)]
pub struct HaveSet {
    held: HashMap<ByteString, Held>,
    bytes: usize,
}

/// What is there of one path.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Size and time of a whole file.
    pub(super) whole: Option<(u64, Mtime)>,
    /// Length and hashes of a partial one.
    pub(super) part: Option<(u64, Vec<Hash>)>,
}

impl HaveSet {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more. A later word about the same path replaces an earlier one of its kind.
    ///
    /// # Errors
    /// [`Code::TooLong`] over a limit, [`Code::Malformed`] where the hashes don't fit the length.
    pub fn add(&mut self, have: Have) -> Result<(), Refusal> {
        let Have { path, state } = have;
        self.bytes += path.as_bytes().len() + HELD_LEN;
        if let HaveState::Part { len, pieces } = &state {
            if len.div_ceil(piece_len(*len)) != pieces.len() as u64 {
                return Err(Refusal::about(Code::Malformed, path));
            }
            self.bytes += pieces.len() * size_of::<Hash>();
        }
        if self.bytes > HAVE_BYTES_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(HAVE_BYTES_MAX as u64));
        }
        let held = self.held.entry(path).or_default();
        match state {
            HaveState::Whole { size, mtime } => held.whole = Some((size, mtime)),
            HaveState::Part { len, pieces } => held.part = Some((len, pieces)),
        }
        Ok(())
    }

    pub(super) fn is_whole(&self, path: &ByteString, size: u64, mtime: Mtime) -> bool {
        self.held.get(path).is_some_and(|held| held.whole == Some((size, mtime)))
    }

    /// Good for one use: after it the receiver's partial is no longer what it was.
    pub(super) fn take_part(&mut self, path: &ByteString) -> Option<(u64, Vec<Hash>)> {
        self.held.get_mut(path)?.part.take()
    }
}

/// How the sender learns that the receiver has given up on a file: whoever reads the receiver's
/// events calls [`Rejected::reject`], the sender looks before each chunk.
#[derive(Debug, Default)]
pub struct Rejected {
    current: Mutex<ByteString>,
    stop: AtomicBool,
}

impl Rejected {
    /// The receiver reported that `path` failed. Matters only while that file is being sent.
    pub fn reject(&self, path: &ByteString) {
        if let Ok(current) = self.current.lock()
            && *current == *path
        {
            self.stop.store(true, Relaxed);
        }
    }

    pub(super) fn begin(&self, path: &ByteString) {
        if let Ok(mut current) = self.current.lock() {
            current.clone_from(path);
            self.stop.store(false, Relaxed);
        }
    }

    pub(super) fn is_rejected(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// Most bytes that a receiver's words may take up in the sender's memory.
pub const HAVE_BYTES_MAX: usize = 256 << 20;
/// What one entry takes up beside its path and hashes, roughly.
const HELD_LEN: usize = 128;
