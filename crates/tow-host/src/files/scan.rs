//! Finding out what is in a tree: one directory as a [`Listing`], or all of them, by two threads that
//! never hold more than a bounded part of what they found.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, major, minor, readlinkat, statat,
};
use rustix::io::Errno;
use tow_proto::Code;
use tow_proto::content::{Hash, Tally};
use tow_proto::transfer::{Device, Entry, Listing, Meta, Options, What};

use super::chunk::Pool;
use super::filter::Filter;
use super::meta::{FileId, mtime_of, permissions, size_of_file};
use super::owners::Owners;
use super::partial::{is_partial_name, may_be_ours};
use super::tree::{join, open_dir};
use super::{CHUNK_LEN_MAX, ENTRIES_MAX, Progress};
use crate::beneath::{DEPTH_MAX, NAME_LEN_MAX, PATH_LEN_MAX, code_of, open_within};

/// How closely entries are looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Look {
    owners: Option<Arc<Owners>>,
    is_hashing: bool,
    specials: Specials,
    pool: Arc<Pool>,
    /// Nobody waits for what is hashed any more.
    stop: Arc<AtomicBool>,
}

/// What becomes of what is neither file, directory nor link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Specials {
    /// It is in the listing.
    Listed,
    /// It is reported as failed, and not in the listing.
    Failed,
}

/// What was found in one directory.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Its entries.
    pub(super) listing: Listing,
    /// What the directory itself is like.
    pub(super) meta: Meta,
    /// Which files those with several names are, by name, sorted.
    pub(super) linked: Vec<(Box<[u8]>, FileId)>,
    /// Partial files, of whatever transfer: their names and how many bytes they have.
    pub(super) partials: Vec<(Box<[u8]>, u64)>,
    /// Paths that can't be sent, and why. Where that is the directory itself, nothing of it could be
    /// read.
    pub(super) failed: Vec<(Vec<u8>, Code)>,
    /// The rules that hold in it.
    pub(super) filter: Filter,
}

/// A directory that is still to be read.
#[derive(Debug)]
struct Waiting {
    path: Vec<u8>,
    depth: usize,
    meta: Meta,
    filter: Filter,
}

impl Look {
    /// As `options` ask for.
    pub(super) fn new(options: &Options, specials: Specials) -> Self {
        let owners = options.archive.then(|| Arc::new(Owners::load()));
        let (pool, stop) = (Arc::default(), Arc::default());
        Self { owners, is_hashing: options.checksum, specials, pool, stop }
    }

    /// Gives up hashing once `stop` is set: what it is about then has failed.
    pub(super) fn until(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// What is said of an entry beside its name and kind.
    pub(super) fn meta(&self, stat: &Stat) -> Meta {
        let mode = match self.owners {
            Some(_) => stat.st_mode & 0o7777,
            None => permissions(stat.st_mode),
        };
        let owner = self.owners.as_ref().map(|owners| Box::new(owners.of(stat)));
        Meta { mode, mtime: mtime_of(stat), owner }
    }

    /// Lists the open directory `dir`, which lies at `path`, without what `filter` excludes. `filter`
    /// are the rules of the directory itself ([`Filter::enter`]).
    pub(super) fn list(&self, dir: &OwnedFd, path: &[u8], meta: Meta, filter: Filter) -> Scanned {
        let depth = if path.is_empty() { 0 } else { path.split(|byte| *byte == b'/').count() };
        let listing = Listing { path: path.to_vec(), entries: Vec::new(), is_complete: true };
        let mut found = Scanned::empty(listing, meta, filter);
        let mut buf = vec![MaybeUninit::uninit(); DIR_BUF_LEN];
        let mut names = RawDir::new(dir, &mut buf);
        while let Some(name) = names.next() {
            let name = match name {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    found.fail_all(code_of(errno));
                    break;
                }
            };
            if matches!(name.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if found.listing.entries.len() >= ENTRIES_MAX {
                found.fail_all(Code::TooLong);
                break;
            }
            self.add(dir, name.file_name(), depth, &mut found);
        }
        found.listing.entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        found.linked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// Lists nothing but `name` in `dir`, as the top of the transfer of one file: incomplete, so that
    /// nothing follows from what else is there.
    pub(super) fn list_one(&self, dir: &OwnedFd, name: &[u8], filter: Filter) -> Scanned {
        let listing = Listing::default();
        let mut found = Scanned::empty(listing, Meta::default(), filter);
        if let Ok(name) = std::ffi::CString::new(name) {
            self.add(dir, &name, 0, &mut found);
        }
        found
    }

    fn add(&self, dir: &OwnedFd, raw_name: &std::ffi::CStr, depth: usize, found: &mut Scanned) {
        let name = raw_name.to_bytes();
        let stat = match statat(dir, raw_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read: it was never part of this.
            Err(Errno::NOENT) => return,
            Err(errno) => return found.fail(name, code_of(errno)),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::RegularFile && is_partial_name(name) {
            if may_be_ours(&stat) {
                found.partials.push((name.into(), size_of_file(&stat)));
            }
            return;
        }
        let is_dir = file_type == FileType::Directory;
        if found.filter.excludes(&found.listing.path, name, is_dir) {
            return;
        }
        if let Err(code) = check_limits(&found.listing.path, depth, name) {
            return found.fail(name, code);
        }
        let what = match self.what(dir, name, file_type, &stat) {
            Ok(what) => what,
            Err(Code::NotFound) => return,
            Err(code) => return found.fail(name, code),
        };
        let name: Box<[u8]> = name.into();
        if matches!(what, What::File { .. }) && stat.st_nlink > 1 {
            found.linked.push((name.clone(), FileId::of(&stat)));
        }
        found.listing.entries.push(Entry { name, what, meta: self.meta(&stat) });
    }

    fn what(&self, dir: &OwnedFd, name: &[u8], kind: FileType, stat: &Stat) -> Result<What, Code> {
        let (device_major, device_minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let device = match kind {
            FileType::RegularFile => {
                let hash = self.is_hashing.then(|| self.hash_of(dir, name)).transpose()?;
                return Ok(What::File { size: size_of_file(stat), hash: hash.map(Box::new) });
            }
            FileType::Directory => return Ok(What::Dir),
            FileType::Symlink => {
                return match readlinkat(dir, name, Vec::new()) {
                    Ok(target) => Ok(What::Link { target: target.into_bytes().into() }),
                    // Replaced by something else since it was looked at.
                    Err(Errno::INVAL) => Err(Code::Changed),
                    Err(errno) => Err(code_of(errno)),
                };
            }
            FileType::Fifo => Device::Pipe,
            FileType::Socket => Device::Socket,
            FileType::CharacterDevice => Device::Character(device_major, device_minor),
            FileType::BlockDevice => Device::Block(device_major, device_minor),
            FileType::Unknown => return Err(Code::SpecialFile),
        };
        match self.specials {
            Specials::Listed => Ok(What::Special(device)),
            Specials::Failed => Err(Code::SpecialFile),
        }
    }

    fn hash_of(&self, dir: &OwnedFd, name: &[u8]) -> Result<Hash, Code> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_within(dir, name, flags, Mode::empty()).map_err(code_of)?;
        let kind = FileType::from_raw_mode(fstat(&file).map_err(code_of)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(Code::Changed);
        }
        self.hash_file(&file)
    }

    /// The hash of an open file's content.
    pub(super) fn hash_file(&self, file: &OwnedFd) -> Result<Hash, Code> {
        let mut tally = Tally::default();
        loop {
            if self.stop.load(Relaxed) {
                return Err(Code::Stopping);
            }
            let wanted = CHUNK_LEN_MAX as u64;
            let chunk = self.pool.read(file, tally.bytes(), wanted).map_err(code_of)?;
            if chunk.payload().is_empty() {
                return Ok(tally.hash());
            }
            tally.update(chunk.payload());
        }
    }
}

impl Scanned {
    /// The directory that could not be read at all.
    fn unreadable(waiting: Waiting, code: Code) -> Self {
        let Waiting { path, meta, filter, .. } = waiting;
        let listing = Listing { path, entries: Vec::new(), is_complete: false };
        let mut scanned = Self::empty(listing, meta, filter);
        scanned.fail_all(code);
        scanned
    }

    /// The top of the transfer of one file, of which nothing is known yet.
    pub(super) fn unknown(filter: Filter) -> Self {
        Self::empty(Listing::default(), Meta::default(), filter)
    }

    fn empty(listing: Listing, meta: Meta, filter: Filter) -> Self {
        let (linked, partials, failed) = (Vec::new(), Vec::new(), Vec::new());
        Self { listing, meta, linked, partials, failed, filter }
    }

    /// Why nothing of the directory could be read.
    pub(super) fn refused(&self) -> Option<Code> {
        let is_itself = |(path, _): &&(Vec<u8>, Code)| *path == self.listing.path;
        self.failed.iter().find(is_itself).map(|(_, code)| *code)
    }

    /// Which file `name` is another name of, where it has several.
    pub(super) fn file_id(&self, name: &[u8]) -> Option<FileId> {
        let at = self.linked.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.linked.get(at).map(|(_, id)| *id)
    }

    fn fail(&mut self, name: &[u8], code: Code) {
        self.failed.push((join(&self.listing.path, name), code));
        // What is known to be there is no reason to believe less of the rest, but whoever compares
        // must leave it alone: only what was not looked at makes the listing incomplete.
        self.listing.is_complete &= code == Code::SpecialFile;
    }

    fn fail_all(&mut self, code: Code) {
        self.failed.push((self.listing.path.clone(), code));
        self.listing.is_complete = false;
    }
}

fn check_limits(path: &[u8], depth: usize, name: &[u8]) -> Result<(), Code> {
    if name.len() > NAME_LEN_MAX {
        return Err(Code::BadName);
    }
    if path.len() + 1 + name.len() > PATH_LEN_MAX {
        return Err(Code::TooLong);
    }
    if depth >= DEPTH_MAX { Err(Code::TooDeep) } else { Ok(()) }
}

/// Reads a whole tree: [`Scanner::work`] on some threads, [`Scanner::take`] or [`Scanner::next`] on
/// another. Each directory comes before those in it.
pub(super) struct Scanner<'a> {
    top: &'a OwnedFd,
    look: Look,
    progress: &'a Progress,
    /// Called when there is something to take, or nothing more will be.
    ready: &'a (dyn Fn() + Sync),
    /// Entries that may wait to be taken; one directory of any size besides.
    room: usize,
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Default)]
struct State {
    /// The last one is next, so that the tree is gone through in depth and few are waiting.
    waiting: Vec<Waiting>,
    busy: usize,
    found: VecDeque<Scanned>,
    found_len: usize,
    seen: usize,
    is_closed: bool,
}

impl State {
    fn is_over(&self) -> bool {
        self.is_closed || (self.waiting.is_empty() && self.busy == 0)
    }
}

impl<'a> Scanner<'a> {
    /// Everything beneath `top` that `filter` does not exclude; `filter` are the rules at the top
    /// without a `.gitignore` file there.
    pub(super) fn new(
        top: &'a OwnedFd,
        look: Look,
        filter: Filter,
        progress: &'a Progress,
        ready: &'a (dyn Fn() + Sync),
    ) -> Self {
        let meta = fstat(top).map(|stat| look.meta(&stat)).unwrap_or_default();
        let first = Waiting { path: Vec::new(), depth: 0, meta, filter };
        let state = State { waiting: vec![first], ..State::default() };
        let turn = Condvar::new();
        Self { top, look, progress, ready, room: ROOM, state: Mutex::new(state), turn }
    }

    /// Reads directories until all are read or [`Scanner::close`] was called. On as many threads at
    /// a time as one likes.
    pub(super) fn work(&self) {
        while let Some(waiting) = self.claim() {
            let depth = waiting.depth;
            let scanned = self.scan(waiting);
            self.hand_over(scanned, depth);
            (self.ready)();
        }
        (self.ready)();
    }

    /// The next directory, where one is there already.
    pub(super) fn take(&self) -> Option<Scanned> {
        let mut state = self.state();
        let scanned = state.found.pop_front()?;
        state.found_len -= scanned.listing.entries.len() + 1;
        self.turn.notify_all();
        Some(scanned)
    }

    /// The next directory, when it is there. `None` when all were taken.
    pub(super) fn next(&self) -> Option<Scanned> {
        let mut state = self.state();
        while state.found.is_empty() && !state.is_over() {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.take()
    }

    /// Whether everything was read and taken.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state();
        state.is_over() && state.found.is_empty()
    }

    /// Whether everything was read.
    pub(super) fn is_read(&self) -> bool {
        self.state().is_over()
    }

    /// Ends the work.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.turn.notify_all();
    }

    fn claim(&self) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if state.is_over() {
                self.turn.notify_all();
                return None;
            }
            if state.found_len < self.room
                && let Some(waiting) = state.waiting.pop()
            {
                state.busy += 1;
                return Some(waiting);
            }
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn scan(&self, waiting: Waiting) -> Scanned {
        let dir = match open_dir(self.top, &waiting.path) {
            Ok(dir) => dir,
            Err(errno) => return Scanned::unreadable(waiting, code_of(errno)),
        };
        let filter = waiting.filter.enter(&dir, &waiting.path);
        self.look.list(&dir, &waiting.path, waiting.meta, filter)
    }

    fn hand_over(&self, mut scanned: Scanned, depth: usize) {
        let mut waiting = Vec::new();
        let (mut files, mut bytes) = (0, 0u64);
        for entry in &scanned.listing.entries {
            match entry.what {
                What::Dir => waiting.push(Waiting {
                    path: join(&scanned.listing.path, &entry.name),
                    depth: depth + 1,
                    meta: entry.meta.clone(),
                    filter: scanned.filter.clone(),
                }),
                What::File { size, .. } => {
                    files += 1;
                    bytes = bytes.saturating_add(size);
                }
                What::Link { .. } | What::Special(_) | What::Part { .. } => {}
            }
        }
        self.progress.found(files, bytes);
        let mut state = self.state();
        state.busy -= 1;
        state.seen = state.seen.saturating_add(scanned.listing.entries.len());
        if state.seen > ENTRIES_MAX && !waiting.is_empty() {
            scanned.fail_all(Code::TooLong);
            waiting.clear();
        }
        state.waiting.extend(waiting.into_iter().rev());
        state.found_len += scanned.listing.entries.len() + 1;
        state.found.push_back(scanned);
        self.turn.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives every directory beneath `top` to `emit`, each before those in it, while [`SCANNERS`] threads
/// read on. Stops where `emit` says so.
pub(super) fn scan_tree(
    top: &OwnedFd,
    look: Look,
    filter: Filter,
    progress: &Progress,
    emit: &mut dyn FnMut(Scanned) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let scanner = Scanner::new(top, look, filter, progress, &|| {});
    std::thread::scope(|scope| {
        for _ in 0..SCANNERS {
            scope.spawn(|| scanner.work());
        }
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue()
            && let Some(scanned) = scanner.next()
        {
            flow = emit(scanned);
        }
        scanner.close();
        flow
    })
}

/// Threads that read directories.
pub(super) const SCANNERS: usize = 2;
/// Entries that may wait to be taken.
const ROOM: usize = 20_000;
/// Room for directory entries per system call, in bytes.
const DIR_BUF_LEN: usize = 32 << 10;

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
