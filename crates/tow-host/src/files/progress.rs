//! How far a transfer has come: numbers that one thread writes and a progress bar reads.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Counters of one transfer, shared between its threads.
#[derive(Debug, Default)]
pub struct Progress {
    files_total: AtomicU64,
    files_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_reused: AtomicU64,
    phase: AtomicU8,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Finding out what there is.
    #[default]
    Scanning,
    /// Comparing what is here with what is there.
    Comparing,
    /// Hashing what is here, to compare it by content.
    Hashing,
    /// Moving content.
    Moving,
    /// Waiting for the disk.
    Saving,
    /// All done.
    Done,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressNow {
    /// Regular files altogether, as far as is known.
    pub files_total: u64,
    /// Files that are settled: moved, or there already.
    pub files_done: u64,
    /// Bytes of all files altogether, as far as is known.
    pub bytes_total: u64,
    /// Bytes that are settled, those that did not have to be moved included.
    pub bytes_done: u64,
    /// Bytes of [`Self::bytes_done`] that did not have to be moved.
    pub bytes_reused: u64,
    /// What is going on.
    pub phase: Phase,
}

impl Progress {
    /// The counters now.
    pub fn now(&self) -> ProgressNow {
        ProgressNow {
            files_total: self.files_total.load(Relaxed),
            files_done: self.files_done.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            bytes_done: self.bytes_done.load(Relaxed),
            bytes_reused: self.bytes_reused.load(Relaxed),
            phase: Phase::from_number(self.phase.load(Relaxed)),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub(super) fn plan(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Relaxed);
        self.bytes_total.store(bytes, Relaxed);
    }

    /// The scan found so much more.
    pub(super) fn found(&self, files: u64, bytes: u64) {
        self.files_total.fetch_add(files, Relaxed);
        self.bytes_total.fetch_add(bytes, Relaxed);
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Relaxed);
    }

    pub(super) fn reused(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Relaxed);
        self.bytes_reused.fetch_add(bytes, Relaxed);
    }

    /// What was counted for a file does not count: it starts again or failed.
    pub(super) fn take_back(&self, moved: u64, reused: u64) {
        self.bytes_done.fetch_sub(moved + reused, Relaxed);
        self.bytes_reused.fetch_sub(reused, Relaxed);
    }

    pub(super) fn file_done(&self) {
        self.files_done(1);
    }

    pub(super) fn files_done(&self, files: u64) {
        self.files_done.fetch_add(files, Relaxed);
    }
}

impl Phase {
    fn from_number(number: u8) -> Self {
        let all = [
            Self::Scanning,
            Self::Comparing,
            Self::Hashing,
            Self::Moving,
            Self::Saving,
            Self::Done,
        ];
        all.get(usize::from(number)).copied().unwrap_or_default()
    }
}
