//! The sending end: what there is, what of it the receiver lacks, and the content of that.
//!
//! A file is sent as it was at one moment, or not at all: one that changes while it is read is broken
//! off and tried again.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;
use tow_proto::content::{Hash, Tally};
use tow_proto::message::{End, EntryKind, Failure, Mtime, STDOUT, TransferEvent, piece_len};
use tow_proto::{ByteString, Code, Refusal};

use super::chunk::Pool;
use super::list::real_name;
use super::meta::{Identity, kind_of, mtime_of, permissions, size_of_file};
use super::tree::{Found, Tree, walk};
use super::{CHUNK_LEN_MAX, HaveSet, Item, Phase, Progress, Rejected};
use crate::beneath::{Root, code_of, last_component, open_within, real_path};

/// A file or a tree that can be sent.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    name: ByteString,
    source: ByteString,
}

/// A source whose entries are known.
#[derive(Debug)]
pub struct Outgoing {
    origin: Origin,
    entries: Vec<Planned>,
    files: u64,
    bytes: u64,
}

impl Source {
    /// Finds out whether what `path` names can be sent. A symbolic link named here is followed.
    /// `machine` is what this machine is called in [`Self::source`].
    ///
    /// # Errors
    /// Not there, not readable, outside of the root, or neither a file nor a directory.
    pub fn offer(root: &Root, path: &ByteString, machine: &str) -> Result<Self, Refusal> {
        let refuse = |code| Refusal::about(code, path.clone());
        let open = root.open_path(path, OFlags::PATH)?;
        let stat = fstat(&open).map_err(|errno| refuse(code_of(errno)))?;
        let origin = match kind_of(&stat) {
            EntryKind::Dir => {
                Origin::Tree(Tree::new(root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY)?))
            }
            EntryKind::File => Origin::File { root: root.clone(), path: path.clone() },
            EntryKind::Link | EntryKind::Special => return Err(refuse(Code::SpecialFile)),
        };
        let mut source = Self { origin, name: path.clone(), source: machine.into() };
        if source.kind() == EntryKind::File {
            source.origin.open(&ByteString::default()).map_err(refuse)?;
        }
        let named = last_component(path.as_bytes()).map(<[u8]>::to_vec);
        let name = named.or_else(|| real_name(&open)).ok_or_else(|| refuse(Code::BadName))?;
        let real = real_path(&open).ok_or_else(|| refuse(Code::Io))?;
        source.name = name.into();
        source.source = [machine.as_bytes(), real.as_os_str().as_bytes()].join(&b':').into();
        Ok(source)
    }

    /// [`EntryKind::File`] or [`EntryKind::Dir`].
    pub fn kind(&self) -> EntryKind {
        self.origin.kind()
    }

    /// The name that it gets where it lands: the last component of the path that was asked for, or
    /// of the real path where that is no name.
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// The machine and the real path: what partial files are tied to.
    pub fn source(&self) -> &ByteString {
        &self.source
    }

    pub(super) fn into_origin(self) -> Origin {
        self.origin
    }

    /// Finds out what there is to send, without reading content. Can go on while the receiver says
    /// what it has.
    pub fn scan(self, progress: &Progress) -> Outgoing {
        progress.enter(Phase::Scanning);
        let entries = self.origin.entries();
        let sizes = entries.iter().filter_map(|entry| match entry.what {
            What::File { size, .. } => Some(size),
            _ => None,
        });
        let (files, bytes) =
            sizes.fold((0, 0u64), |(n, sum), size| (n + 1, sum.saturating_add(size)));
        progress.plan(files, bytes);
        Outgoing { origin: self.origin, entries, files, bytes }
    }
}

impl Outgoing {
    /// Sends everything that the receiver does not have, up to and with `Finish`. Stops where `out`
    /// says so, and says so itself then.
    pub fn send(
        self,
        have: HaveSet,
        rejected: &Rejected,
        progress: &Progress,
        out: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        progress.enter(Phase::Moving);
        let Self { origin, entries, files, bytes } = self;
        let pool = Arc::default();
        let mut sender = Sender { origin, have, rejected, progress, pool, out };
        sender.event(TransferEvent::Plan { files, bytes })?;
        for Planned { path, what } in entries {
            match what {
                What::Dir { mode, mtime } => {
                    sender.event(TransferEvent::Dir { path, mode, mtime })?;
                }
                What::Link { mtime } => sender.link(path, mtime)?,
                What::File { size, mode, mtime } => sender.file(path, size, mode, mtime)?,
                What::Failed(code) => sender.failed(path, code)?,
            }
        }
        progress.enter(Phase::Saving);
        sender.event(TransferEvent::Finish)
    }
}

/// Where content comes from.
#[derive(Debug)]
pub(super) enum Origin {
    File { root: Root, path: ByteString },
    Tree(Tree),
}

/// An entry as the scan found it.
#[derive(Debug)]
struct Planned {
    path: ByteString,
    what: What,
}

#[derive(Debug)]
enum What {
    Dir { mode: u32, mtime: Mtime },
    Link { mtime: Mtime },
    File { size: u64, mode: u32, mtime: Mtime },
    Failed(Code),
}

impl Origin {
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Self::File { .. } => EntryKind::File,
            Self::Tree(_) => EntryKind::Dir,
        }
    }

    /// The top of a tree.
    pub(super) fn top(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::File { .. } => None,
            Self::Tree(tree) => Some(Arc::clone(tree.top())),
        }
    }

    fn entries(&self) -> Vec<Planned> {
        let mut entries = Vec::new();
        match self {
            Self::File { root, path } => {
                let found = root.open_path(path, OFlags::PATH).map_err(|refusal| refusal.code);
                let found = found.and_then(|file| fstat(file).map_err(code_of));
                let what = found.map_or_else(What::Failed, |stat| What::of(&stat));
                entries.push(Planned { path: ByteString::default(), what });
            }
            Self::Tree(tree) => {
                let _ = walk(tree.top(), &mut |path, found| {
                    let what = match found {
                        Found::Entry(stat) => What::of(stat),
                        Found::Failed(code) => What::Failed(code),
                    };
                    entries.push(Planned { path: path.into(), what });
                    ControlFlow::Continue(())
                });
            }
        }
        entries
    }

    /// Opens a regular file for reading. Never waits for the other end of a pipe, and never reads
    /// from a device.
    pub(super) fn open(&mut self, path: &ByteString) -> Result<(OwnedFd, Stat), Code> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // Reading should not leave a trace; but only the owner may ask for that.
        let file = match self.open_with(path, flags | OFlags::NOATIME) {
            Err(Code::PermissionDenied) => self.open_with(path, flags)?,
            result => result?,
        };
        let stat = fstat(&file).map_err(code_of)?;
        match kind_of(&stat) {
            EntryKind::File => Ok((file, stat)),
            EntryKind::Dir => Err(Code::IsADirectory),
            EntryKind::Link | EntryKind::Special => Err(Code::SpecialFile),
        }
    }

    fn open_with(&mut self, inner: &ByteString, flags: OFlags) -> Result<OwnedFd, Code> {
        match self {
            Self::File { root, path } => {
                root.open_path(path, flags).map_err(|refusal| refusal.code)
            }
            Self::Tree(tree) => {
                let (dir, name) = tree.locate(inner.as_bytes()).map_err(code_of)?;
                open_within(&*dir, name, flags, Mode::empty()).map_err(code_of)
            }
        }
    }

    fn read_link(&mut self, path: &ByteString) -> Result<ByteString, Code> {
        let Self::Tree(tree) = self else { return Err(Code::Internal) };
        let (dir, name) = tree.locate(path.as_bytes()).map_err(code_of)?;
        match readlinkat(&*dir, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes().into()),
            // Replaced by something else since the scan.
            Err(Errno::INVAL) => Err(Code::Changed),
            Err(errno) => Err(code_of(errno)),
        }
    }
}

impl What {
    fn of(stat: &Stat) -> Self {
        let (mode, mtime) = (permissions(stat.st_mode), mtime_of(stat));
        match kind_of(stat) {
            EntryKind::File => Self::File { size: size_of_file(stat), mode, mtime },
            EntryKind::Dir => Self::Dir { mode, mtime },
            EntryKind::Link => Self::Link { mtime },
            EntryKind::Special => Self::Failed(Code::SpecialFile),
        }
    }
}

struct Sender<'a> {
    origin: Origin,
    have: HaveSet,
    rejected: &'a Rejected,
    progress: &'a Progress,
    pool: Arc<Pool>,
    out: &'a mut dyn FnMut(Item) -> ControlFlow<()>,
}

/// How one reading of a file went.
enum Attempt {
    Sent,
    /// The receiver wants no more of it.
    Rejected,
    /// It was not the same file at the end as at the start.
    Changed,
    Failed(Code),
}

impl Sender<'_> {
    fn event(&mut self, event: TransferEvent) -> ControlFlow<()> {
        (self.out)(Item::Event(event))
    }

    fn failed(&mut self, path: ByteString, code: Code) -> ControlFlow<()> {
        let why = Refusal::about(code, path.clone());
        self.event(TransferEvent::Failed(Failure { path, why }))
    }

    fn link(&mut self, path: ByteString, mtime: Mtime) -> ControlFlow<()> {
        match self.origin.read_link(&path) {
            Ok(target) => self.event(TransferEvent::Link { path, target, mtime }),
            Err(code) => self.failed(path, code),
        }
    }

    fn file(&mut self, path: ByteString, size: u64, mode: u32, mtime: Mtime) -> ControlFlow<()> {
        if self.have.is_whole(&path, size, mtime) {
            self.progress.reused(size);
            self.progress.file_done();
            return self.event(TransferEvent::Same { path, size, mode });
        }
        self.rejected.begin(&path);
        for _ in 0..TRIES_MAX {
            match self.attempt(&path)? {
                Attempt::Changed => {}
                Attempt::Failed(code) => return self.failed(path, code),
                Attempt::Rejected => return ControlFlow::Continue(()),
                Attempt::Sent => {
                    self.progress.file_done();
                    return ControlFlow::Continue(());
                }
            }
        }
        self.failed(path, Code::Changed)
    }

    fn attempt(&mut self, path: &ByteString) -> ControlFlow<(), Attempt> {
        let (file, stat) = match self.origin.open(path) {
            Ok(open) => open,
            Err(code) => return ControlFlow::Continue(Attempt::Failed(code)),
        };
        let before = Identity::of(&stat);
        let tally = match self.have.take_part(path) {
            Some((len, hashes)) => {
                let starts = Starts { len, piece: piece_len(len), hashes: &hashes };
                self.matching_start(&file, before.size, starts)
            }
            None => self.check_empty(&file, before.size).map(|()| Tally::default()),
        };
        let tally = match tally {
            Ok(tally) => tally,
            Err(errno) => return ControlFlow::Continue(Attempt::Failed(code_of(errno))),
        };
        self.event(TransferEvent::File {
            path: path.clone(),
            size: before.size,
            mode: permissions(stat.st_mode),
            mtime: mtime_of(&stat),
            from: tally.bytes(),
        })?;
        self.content(&file, before, tally)
    }

    /// Sends what follows `tally`, then `End` or `Break`.
    fn content(
        &mut self,
        file: &OwnedFd,
        before: Identity,
        mut tally: Tally,
    ) -> ControlFlow<(), Attempt> {
        let from = tally.bytes();
        self.progress.reused(from);
        let outcome = loop {
            let left = before.size - tally.bytes();
            if self.rejected.is_rejected() {
                break Attempt::Rejected;
            }
            if left == 0 {
                break self.verdict(file, before, &tally);
            }
            match self.pool.read(file, tally.bytes(), left) {
                Err(errno) => break Attempt::Failed(code_of(errno)),
                Ok(chunk) if chunk.payload().is_empty() => break Attempt::Changed,
                Ok(chunk) => {
                    tally.update(chunk.payload());
                    self.progress.moved(chunk.payload().len() as u64);
                    (self.out)(Item::Data(chunk))?;
                }
            }
        };
        if matches!(outcome, Attempt::Sent) {
            let end = End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() };
            (self.out)(Item::End(end))?;
        } else {
            self.progress.take_back(tally.bytes() - from, from);
            self.event(TransferEvent::Break)?;
        }
        ControlFlow::Continue(outcome)
    }

    /// Whether what was read is what the file held at one moment.
    fn verdict(&self, file: &OwnedFd, before: Identity, tally: &Tally) -> Attempt {
        let after = match fstat(file) {
            Ok(stat) => Identity::of(&stat),
            Err(errno) => return Attempt::Failed(code_of(errno)),
        };
        if after == before {
            return Attempt::Sent;
        }
        // A log that somebody writes to never holds still. What was sent is good if it is still its
        // start, to the byte.
        let has_grown = after.size > before.size;
        let len = tally.bytes();
        let starts = Starts { len, piece: len, hashes: &[tally.hash()] };
        match has_grown.then(|| self.matching_start(file, after.size, starts)) {
            Some(Ok(start)) if start.bytes() == tally.bytes() => Attempt::Sent,
            _ => Attempt::Changed,
        }
    }

    /// The longest start of `file` that the receiver has too.
    fn matching_start(
        &self,
        file: &OwnedFd,
        size: u64,
        starts: Starts<'_>,
    ) -> Result<Tally, Errno> {
        let (mut good, mut tally) = (Tally::default(), Tally::default());
        for hash in starts.hashes {
            let end = starts.len.min(good.bytes() + starts.piece);
            if end > size {
                break;
            }
            while tally.bytes() < end {
                let wanted = (end - tally.bytes()).min(CHUNK_LEN_MAX as u64);
                let chunk = self.pool.read(file, tally.bytes(), wanted)?;
                if chunk.payload().is_empty() {
                    return Ok(good);
                }
                tally.update(chunk.payload());
            }
            if tally.hash() != *hash {
                break;
            }
            good = tally.clone();
        }
        Ok(good)
    }

    /// What the kernel makes up while it is read (`/proc`) says that it is empty. To send nothing
    /// would be a lie, to send all of it would be of no length that could be told before.
    fn check_empty(&self, file: &OwnedFd, size: u64) -> Result<(), Errno> {
        let has_content = size == 0 && !self.pool.read(file, 0, 1)?.payload().is_empty();
        if has_content && fstat(file)?.st_size == 0 { Err(Errno::NODEV) } else { Ok(()) }
    }
}

/// Starts of a file that the other end has.
struct Starts<'a> {
    /// Length of the longest.
    len: u64,
    /// By how much each is longer than the one before.
    piece: u64,
    /// The hash of each.
    hashes: &'a [Hash],
}

/// How often a file is read that changes meanwhile.
const TRIES_MAX: usize = 3;
