//! Partial files that are used again: opened once, by whichever half of the receiving end needs them
//! first, and read once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::fstat;
use tow_proto::Code;
use tow_proto::transfer::{PieceHash, Pieces};

use super::dirs::{Dir, is_within};
use crate::beneath::code_of;
use crate::files::meta::size_of_file;
use crate::files::partial::{Existing, Locked, open_existing};

/// The partial files of this transfer.
#[derive(Debug, Default)]
pub(super) struct Parts {
    open: Mutex<HashMap<Vec<u8>, Arc<Part>>>,
    /// The paths of those that were found and not used yet.
    left: Mutex<BTreeSet<Vec<u8>>>,
}

/// A partial file that is ours alone.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: Locked,
    /// How many bytes it had when it was opened.
    pub(super) len: u64,
    /// The hashes of its pieces, as those of a file of `len` bytes, as far as they were read.
    hashes: Mutex<Pieces>,
}

impl Parts {
    /// The partial file for `path`, which is `partial` in `dir`.
    ///
    /// # Errors
    /// It is not there, or not ours; [`Code::Busy`] while another transfer has it, or too many are
    /// open.
    pub(super) fn open(&self, dir: &Dir, partial: &[u8], path: &[u8]) -> Result<Arc<Part>, Code> {
        let mut open = lock(&self.open);
        if let Some(part) = open.get(path) {
            return Ok(Arc::clone(part));
        }
        if open.len() >= OPEN_MAX {
            return Err(Code::Busy);
        }
        let file = match open_existing(&dir.handle, partial).map_err(code_of)? {
            Existing::Ours(file) => file,
            Existing::Busy => return Err(Code::Busy),
            Existing::Foreign | Existing::Gone => return Err(Code::NotFound),
        };
        let len = size_of_file(&fstat(&*file).map_err(code_of)?);
        let part = Arc::new(Part { file, len, hashes: Mutex::new(Pieces::new(len)) });
        open.insert(path.to_vec(), Arc::clone(&part));
        Ok(part)
    }

    /// The one for `path` that is open already. What is known of it is of no use any more.
    pub(super) fn take_open(&self, path: &[u8]) -> Option<Arc<Part>> {
        lock(&self.open).remove(path)
    }

    /// Nobody will ask for this one any more.
    pub(super) fn close(&self, path: &[u8]) {
        lock(&self.open).remove(path);
        lock(&self.left).remove(path);
    }

    /// The partial file for `path` was found.
    pub(super) fn found(&self, path: Vec<u8>) {
        let mut left = lock(&self.left);
        if left.len() < LEFT_MAX {
            left.insert(path);
        }
    }

    /// What is at or beneath `path` stays for another time.
    pub(super) fn keep(&self, path: &[u8]) {
        lock(&self.open).remove(path);
        lock(&self.left).retain(|left| !is_within(left, path));
    }

    /// The paths of those that were found and are of no use any more.
    pub(super) fn take_left(&self) -> BTreeSet<Vec<u8>> {
        lock(&self.open).clear();
        std::mem::take(&mut *lock(&self.left))
    }
}

impl Part {
    pub(super) fn set(&self, index: u64, hash: PieceHash) {
        lock(&self.hashes).set(index, hash);
    }

    /// The hash of a piece that a file of `size` bytes has too.
    pub(super) fn hash(&self, size: u64, index: u64) -> Option<PieceHash> {
        let hashes = lock(&self.hashes);
        let is_same = hashes.range(index) == Pieces::new(size).range(index);
        let is_one = |count: u64| count <= 1;
        let is_alike = is_one(hashes.count()) == is_one(Pieces::new(size).count());
        hashes.get(index).filter(|_| is_same && is_alike)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most partial files that are open at a time: each is a handle.
const OPEN_MAX: usize = 128;
/// Most partial files that are remembered to be removed where they are of no use.
const LEFT_MAX: usize = 100_000;
