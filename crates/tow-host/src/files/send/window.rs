//! Directories between being found and being sent: which of them the receiver has, and what it said
//! is in them.

use std::collections::{HashMap, VecDeque};

use tow_proto::transfer::{Columns, Digest, Event, LIST_MAX, Listing};
use tow_proto::{Code, Refusal};

use crate::files::ENTRIES_MAX;
use crate::files::scan::Scanned;

/// What is known of the receiver's side of a directory.
#[derive(Debug)]
pub(super) enum There {
    /// It has none.
    Nothing,
    /// It has the same.
    Same,
    /// It was asked; this much of the answer has come.
    Asked(Option<Listing>),
    /// It has this.
    Known(Listing),
}

/// Directories in the order in which they were found, and are sent.
#[derive(Debug)]
pub(super) struct Window {
    columns: Columns,
    digests: HashMap<[u8; 16], Digest>,
    dirs: VecDeque<(Scanned, There)>,
    entries: usize,
    asked: usize,
    /// Paths of the next question.
    question: Vec<Vec<u8>>,
    /// Entries of answers that were not used yet.
    answered: usize,
}

impl Window {
    pub(super) fn new(columns: Columns) -> Self {
        Self {
            columns,
            digests: HashMap::new(),
            dirs: VecDeque::new(),
            entries: 0,
            asked: 0,
            question: Vec::new(),
            answered: 0,
        }
    }

    /// The receiver has this directory.
    pub(super) fn has(&mut self, path: &[u8], digest: Digest) -> Result<(), Refusal> {
        if self.digests.len() >= ENTRIES_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(ENTRIES_MAX as u64));
        }
        self.digests.insert(key(path), digest);
        Ok(())
    }

    /// Whether another directory may come in.
    pub(super) fn has_room(&self) -> bool {
        self.entries < ENTRIES && self.asked < LIST_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// A directory that was found.
    pub(super) fn admit(&mut self, scanned: Scanned) {
        let there = match self.digests.remove(&key(&scanned.listing.path)) {
            _ if scanned.refused().is_some() => There::Nothing,
            None => There::Nothing,
            Some(digest) if digest == Digest::default() => There::Asked(None),
            Some(digest) if digest == scanned.listing.digest(self.columns) => There::Same,
            Some(_) => There::Asked(None),
        };
        if matches!(there, There::Asked(_)) {
            self.asked += 1;
            self.question.push(scanned.listing.path.clone());
        }
        self.entries += scanned.listing.entries.len() + 1;
        self.dirs.push_back((scanned, there));
    }

    /// What the receiver is to be asked now, if anything.
    pub(super) fn question(&mut self) -> Option<Event> {
        let paths = std::mem::take(&mut self.question);
        let paths: Vec<_> = paths.into_iter().map(Into::into).collect();
        (!paths.is_empty()).then_some(Event::List { paths })
    }

    /// What came of the answer to the first question that is open.
    pub(super) fn answer(&mut self, listing: Listing, more: bool) -> Result<(), Refusal> {
        let is_asked = |(_, there): &&mut (Scanned, There)| matches!(there, There::Asked(_));
        let Some((scanned, there)) = self.dirs.iter_mut().find(is_asked) else {
            return Err(Code::OutOfOrder.into());
        };
        if scanned.listing.path != listing.path {
            return Err(Code::OutOfOrder.into());
        }
        self.answered += listing.entries.len();
        let whole = match std::mem::replace(there, There::Nothing) {
            There::Asked(Some(mut before)) => {
                let last = before.entries.last().map(|entry| &entry.name);
                if last > listing.entries.first().map(|entry| &entry.name) {
                    return Err(Code::Malformed.into());
                }
                before.entries.extend(listing.entries);
                before.is_complete &= listing.is_complete;
                before
            }
            _ => listing,
        };
        if whole.entries.len() > ENTRIES_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(ENTRIES_MAX as u64));
        }
        *there = if more { There::Asked(Some(whole)) } else { There::Known(whole) };
        Ok(())
    }

    /// Whether answers should wait: there are many that were not used yet, and what comes next does
    /// not need another.
    pub(super) fn is_full(&self) -> bool {
        self.answered > ENTRIES && !self.is_waiting()
    }

    /// Whether the first directory lacks its answer.
    fn is_waiting(&self) -> bool {
        matches!(self.dirs.front(), Some((_, There::Asked(_))))
    }

    /// The first directory, once enough is known of it.
    pub(super) fn take(&mut self) -> Option<(Scanned, There)> {
        if self.is_waiting() {
            return None;
        }
        let (scanned, there) = self.dirs.pop_front()?;
        self.entries -= scanned.listing.entries.len() + 1;
        if let There::Known(listing) = &there {
            self.asked -= 1;
            self.answered -= listing.entries.len();
        }
        Some((scanned, there))
    }
}

/// Paths are kept by their hashes, which a hostile receiver can't make collide: a million
/// directories take up 50 MB.
fn key(path: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    blake3::Hasher::new().update(path).finalize_xof().fill(&mut key);
    key
}

/// Entries of directories, and of answers, from which on no more are let in.
const ENTRIES: usize = 100_000;
