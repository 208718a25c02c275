//! Directories between being found and being sent: which of them the receiver has, and what it said
//! is in them.

use std::collections::{HashMap, VecDeque};

use tow_proto::transfer::{Columns, Digest, Entry, Event, LIST_MAX, Listing, What};
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
    /// Weight of answers that were not used yet…
    answered: usize,
    /// …and of the one that has come in part.
    growing: usize,
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
            growing: 0,
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

    /// What the receiver is to be asked now, if anything. There may be more.
    pub(super) fn question(&mut self) -> Option<Event> {
        let mut len = 0;
        let fits = |path: &&Vec<u8>| {
            len += path.len();
            len <= QUESTION_LEN
        };
        let count = self.question.iter().take_while(fits).count().max(1);
        let paths = self.question.drain(..count.min(self.question.len()));
        let paths: Vec<_> = paths.map(Into::into).collect();
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
        let weight: usize = listing.entries.iter().map(weight).sum();
        self.answered += weight;
        self.growing += weight;
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
        if self.growing > ENTRIES_MAX || self.answered > 2 * ENTRIES_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(ENTRIES_MAX as u64));
        }
        if !more {
            self.growing = 0;
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
            self.answered -= listing.entries.iter().map(weight).sum::<usize>();
        }
        Some((scanned, there))
    }
}

/// What an entry counts for: one, and more where its names take up more room than the rest of it.
fn weight(entry: &Entry) -> usize {
    let target = match &entry.what {
        What::Link { target } => target.len(),
        _ => 0,
    };
    let owner = entry.meta.owner.as_ref().map_or(0, |owner| owner.user.len() + owner.group.len());
    1 + (entry.name.len() + target + owner) / 256
}

/// Paths are kept by their hashes, which a hostile receiver can't make collide: a million
/// directories take up 50 MB.
fn key(path: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    blake3::Hasher::new().update(path).finalize_xof().fill(&mut key);
    key
}

/// Bytes of the paths of one question, if it has more than one: in JSON, where each may take six, they
/// fit a head.
const QUESTION_LEN: usize = 128 << 10;
/// Entries of directories, and the weight of answers, from which on no more are let in.
const ENTRIES: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tow_proto::transfer::Meta;

    use super::*;
    use crate::files::filter::Filter;

    /// A window that has asked for so many directories with such a path each.
    fn asked(count: usize, path: impl Fn(usize) -> Vec<u8>) -> Window {
        let mut window = Window::new(Columns::default());
        for number in 0..count {
            let path = path(number);
            window.has(&path, Digest::default()).unwrap();
            let mut scanned = Scanned::unknown(Filter::new(&Default::default()).unwrap());
            scanned.listing.path = path;
            window.admit(scanned);
        }
        window
    }

    fn link(number: usize) -> Entry {
        let name = format!("{number:09}").into_bytes().into();
        let target = vec![b'x'; 4_000].into();
        Entry { name, what: What::Link { target }, meta: Meta::default() }
    }

    #[test]
    fn questions_fit_a_head_however_long_the_paths_are() {
        let mut window =
            asked(LIST_MAX, |number| [format!("{number:04}").as_bytes(), &[1; 4_092]].concat());
        let mut paths = BTreeSet::new();
        while let Some(question) = window.question() {
            assert!(tow_proto::json::to_vec(&question).len() <= 1 << 20);
            let Event::List { paths: more } = question else { panic!("{question:?}") };
            paths.extend(more);
        }
        assert_eq!(paths.len(), LIST_MAX);
    }

    #[test]
    fn a_receiver_can_not_make_the_sender_hold_long_names_without_limit() {
        let mut window = asked(1, |_| b"d".to_vec());
        let mut held = 0;
        let refused = loop {
            let entries = (held..held + 200).map(link).collect();
            let listing = Listing { path: b"d".to_vec(), entries, is_complete: true };
            match window.answer(listing, true) {
                Ok(()) => held += 200,
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refused.code, Code::TooLong);
        assert!(held * 4_000 < 600 << 20, "{held}");
    }

    #[test]
    fn what_is_used_gives_its_room_back() {
        let mut window = asked(3, |number| vec![b'a' + number as u8]);
        for path in [b"a", b"b", b"c"] {
            for (more, numbers) in [(true, 0..10), (false, 10..20)] {
                let entries = numbers.map(link).collect();
                let listing = Listing { path: path.to_vec(), entries, is_complete: true };
                window.answer(listing, more).unwrap();
            }
        }
        assert!(window.answered > 3 * 20);
        while let Some((_, there)) = window.take() {
            assert!(matches!(there, There::Known(listing) if listing.entries.len() == 20));
        }
        assert_eq!((window.answered, window.growing, window.asked), (0, 0, 0));
    }
}
