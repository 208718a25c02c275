//! A second file or tree of one that is there.
//!
//! Both are reached from the handles of their tops, without following a link, however the trees are
//! changed meanwhile. Each file appears whole, as one that is written does.

mod content;
mod pending;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, fchmod, fstat, fsync, futimens, linkat, mkdirat, openat,
    readlinkat, statat, symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};
use tow_proto::message::{CopyReply, EntryKind, Exists};
use tow_proto::{ByteString, Code, Refusal};

use self::pending::Pending;
use super::edit::Existing;
use super::meta::{FileId, kind_of, mtime_of, permissions, timestamps};
use super::remove::push_failure;
use super::tree::{check_inner_path, join, names_in, open_dir};
use super::{ENTRIES_MAX, name};
use crate::beneath::{Root, code_of, open_within, split_last};

/// Makes a second one of what is at `from`, of a symbolic link the link, with the path `to`, which is
/// never a directory to put it into. `go_on` is asked before each entry and now and then within a
/// file; when it says no, the rest is not copied.
///
/// # Errors
/// Nothing was copied: [`Code::NotFound`] of either, [`Code::Exists`], [`Code::IsADirectory`] and
/// [`Code::NotADirectory`] of what is at `to`, [`Code::IntoItself`], [`Code::SpecialFile`],
/// [`Code::OutsideRoot`], or what the file system says.
pub fn copy(
    root: &Root,
    from: &ByteString,
    to: &ByteString,
    existing: Existing,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<CopyReply, Refusal> {
    let of_from = |code| Refusal::about(code, from.clone());
    let of_to = |code| Refusal::about(code, to.clone());
    let (from_dir, from_name) = root.open_parent(from)?;
    let (to_dir, to_name) = root.open_parent(to)?;
    let stat = statat(&from_dir, &from_name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| of_from(code_of(errno)))?;
    let is_dir = kind_of(&stat) == EntryKind::Dir;
    for path in [from, to] {
        if !is_dir && path.as_bytes().ends_with(b"/") {
            return Err(Refusal::about(Code::NotADirectory, path.clone()));
        }
    }
    check_place(&stat, &to_dir, &to_name, existing).map_err(of_to)?;
    let mut copying = Copying::new(from_dir, to_dir, existing, go_on);
    let copied = match is_dir {
        true => copying.tree(&from_name, &to_name).map_err(of_from)?,
        false => copying.single(&from_name, &to_name),
    };
    // Where nobody waits any more, what is not under its name never will be.
    let _ = copied.map_break(|()| copying.abandon());
    let reply = copying.reply;
    match reply.failures.first().filter(|first| reply.copied == 0 && first.path.is_empty()) {
        Some(first) => {
            let code = first.why.code;
            let is_of_from = matches!(code, Code::NotFound | Code::SpecialFile | Code::Changed);
            Err(if is_of_from { of_from(code) } else { of_to(code) })
        }
        None => Ok(reply),
    }
}

/// Whether what `stat` is about may be copied to this name.
fn check_place(stat: &Stat, dir: &OwnedFd, name: &[u8], existing: Existing) -> Result<(), Code> {
    let is_dir = kind_of(stat) == EntryKind::Dir;
    let there = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Some(there),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(code_of(errno)),
    };
    if is_dir && is_within(dir, FileId::of(stat)).map_err(code_of)? {
        return Err(Code::IntoItself);
    }
    match there {
        Some(there) if FileId::of(&there) == FileId::of(stat) => Err(Code::IntoItself),
        Some(_) if existing == Existing::Kept => Err(Code::Exists),
        Some(there) if is_dir && kind_of(&there) != EntryKind::Dir => Err(Code::NotADirectory),
        _ => Ok(()),
    }
}

/// Whether a directory is another, or in it.
fn is_within(dir: &OwnedFd, other: FileId) -> Result<bool, Errno> {
    let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut id = FileId::of(&fstat(dir)?);
    let mut at = openat(dir, ".", above, Mode::empty())?;
    while id != other {
        at = openat(&at, "..", above, Mode::empty())?;
        let next = FileId::of(&fstat(&at)?);
        if next == id {
            return Ok(false);
        }
        id = next;
    }
    Ok(true)
}

/// A copy that is being made.
struct Copying<'a> {
    /// What paths begin at.
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
    /// The directory that is made: never to be copied into itself.
    made: Option<FileId>,
    exists: Exists,
    /// The first copies of files that have several names.
    firsts: HashMap<FileId, First>,
    pending: Vec<Pending>,
    /// Whether the kernel copies by itself.
    by_kernel: bool,
    buf: Vec<u8>,
    run: u64,
    number: u64,
    reply: CopyReply,
    failures_len: usize,
    seen: usize,
    go_on: &'a mut dyn FnMut() -> ControlFlow<()>,
}

/// Where a file of several names was copied to.
struct First {
    path: Vec<u8>,
    id: FileId,
}

/// A directory whose other entries are copied.
struct Level {
    path: Vec<u8>,
    /// Names of the directories in it that are still to be copied, the next one last.
    dirs: Vec<Vec<u8>>,
    /// As the source is.
    stat: Stat,
}

/// One entry, at both ends.
struct Entry<'e> {
    from_dir: &'e OwnedFd,
    from_name: &'e [u8],
    to_dir: &'e Arc<OwnedFd>,
    to_name: &'e [u8],
    path: Vec<u8>,
}

impl<'a> Copying<'a> {
    fn new(
        from: OwnedFd,
        to: OwnedFd,
        existing: Existing,
        go_on: &'a mut dyn FnMut() -> ControlFlow<()>,
    ) -> Self {
        let mut run = [0; 8];
        // Two with one number would find each other's names taken.
        let _ = getrandom(&mut run, GetRandomFlags::empty());
        Self {
            from: Arc::new(from),
            to: Arc::new(to),
            made: None,
            exists: match existing {
                Existing::Kept => Exists::Keep,
                Existing::Replaced => Exists::Replace,
            },
            firsts: HashMap::new(),
            pending: Vec::new(),
            by_kernel: true,
            buf: Vec::new(),
            run: u64::from_le_bytes(run),
            number: 0,
            reply: CopyReply::default(),
            failures_len: 0,
            seen: 0,
            go_on,
        }
    }

    /// What is no directory.
    fn single(&mut self, from_name: &[u8], to_name: &[u8]) -> ControlFlow<()> {
        (self.go_on)()?;
        let (from_dir, to_dir) = (Arc::clone(&self.from), Arc::clone(&self.to));
        let (from_dir, to_dir) = (&*from_dir, &to_dir);
        let _ = self.entry(Entry { from_dir, from_name, to_dir, to_name, path: Vec::new() })?;
        self.publish();
        if let Err(errno) = fsync(&self.to) {
            self.fail(Vec::new(), code_of(errno));
        }
        ControlFlow::Continue(())
    }

    /// A directory with everything in it.
    fn tree(&mut self, from_name: &[u8], to_name: &[u8]) -> Result<ControlFlow<()>, Code> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let from = open_within(&self.from, from_name, flags, Mode::empty()).map_err(code_of)?;
        let to = self.make_dir(&self.to, to_name)?;
        let parent = std::mem::replace(&mut self.to, Arc::new(to));
        self.from = Arc::new(from);
        self.made = Some(FileId::of(&fstat(&self.to).map_err(code_of)?));
        let copied = self.fill();
        if copied.is_continue() {
            let settled = syncfs(&self.to).and_then(|()| fsync(&parent));
            if let Err(errno) = settled {
                self.fail(Vec::new(), code_of(errno));
            }
        }
        Ok(copied)
    }

    fn fill(&mut self) -> ControlFlow<()> {
        let mut levels = Vec::new();
        levels.extend(self.enter(Vec::new())?);
        while let Some(level) = levels.last_mut() {
            match level.dirs.pop() {
                Some(name) => {
                    let path = join(&level.path, &name);
                    levels.extend(self.enter(path)?);
                }
                None => {
                    let Some(level) = levels.pop() else { break };
                    match self.leave(&level) {
                        Ok(()) => self.reply.copied += 1,
                        Err(code) => self.fail(level.path, code),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Copies from a directory what is none itself. `None` where it can't be entered.
    fn enter(&mut self, path: Vec<u8>) -> ControlFlow<(), Option<Level>> {
        (self.go_on)()?;
        let (from_dir, to_dir, stat, names) = match self.open(&path) {
            Ok(opened) => opened,
            Err(code) => {
                self.fail(path, code);
                return ControlFlow::Continue(None);
            }
        };
        let mut dirs = Vec::new();
        for name in names {
            (self.go_on)()?;
            let (from_dir, to_dir) = (&from_dir, &to_dir);
            let path = join(&path, &name);
            let entry = Entry { from_dir, from_name: &name, to_dir, to_name: &name, path };
            if self.entry(entry)? == EntryKind::Dir {
                dirs.push(name);
            }
        }
        self.publish();
        // The next one is the last.
        dirs.reverse();
        ControlFlow::Continue(Some(Level { path, dirs, stat }))
    }

    /// A directory at both ends, made where it is not there, with the names in it.
    #[allow(clippy::type_complexity, reason = "taken apart at once")]
    fn open(&mut self, path: &[u8]) -> Result<(OwnedFd, Arc<OwnedFd>, Stat, Vec<Vec<u8>>), Code> {
        if !path.is_empty() {
            check_inner_path(path)?;
        }
        let from = open_dir(&self.from, path).map_err(code_of)?;
        let stat = fstat(&from).map_err(code_of)?;
        if Some(FileId::of(&stat)) == self.made {
            return Err(Code::IntoItself);
        }
        let names = names_in(&from).map_err(code_of)?;
        self.seen += names.len();
        if self.seen > ENTRIES_MAX {
            return Err(Code::TooLong);
        }
        let to = if path.is_empty() {
            Arc::clone(&self.to)
        } else {
            let (parent, name) = split_last(path);
            let parent = open_dir(&self.to, parent).map_err(code_of)?;
            Arc::new(self.make_dir(&parent, name)?)
        };
        Ok((from, to, stat, names.into_iter().map(|(name, _)| name).collect()))
    }

    /// A directory for what is copied: for its owner alone as long as it is not complete.
    fn make_dir(&self, dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Code> {
        match mkdirat(dir, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.exists == Exists::Replace => {}
            Err(errno) => return Err(code_of(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_within(dir, name, flags, Mode::empty()).map_err(code_of)
    }

    /// Gives a directory the permissions and the time of its source. One that somebody else owns keeps
    /// what that one gave it.
    fn leave(&self, level: &Level) -> Result<(), Code> {
        let dir = open_dir(&self.to, &level.path).map_err(code_of)?;
        let stat = fstat(&dir).map_err(code_of)?;
        if stat.st_uid != geteuid().as_raw() && !geteuid().is_root() {
            return Ok(());
        }
        let mode = stat.st_mode & 0o7000 | permissions(level.stat.st_mode);
        fchmod(&dir, Mode::from_raw_mode(mode)).map_err(code_of)?;
        futimens(&dir, &timestamps(mtime_of(&level.stat))).map_err(code_of)
    }

    /// Copies an entry unless it is a directory.
    fn entry(&mut self, entry: Entry<'_>) -> ControlFlow<(), EntryKind> {
        let stat = statat(entry.from_dir, entry.from_name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = stat.map(|stat| kind_of(&stat));
        let copied = match (stat, kind) {
            (Ok(_), Ok(EntryKind::Dir)) => return ControlFlow::Continue(EntryKind::Dir),
            (Ok(stat), Ok(EntryKind::Link)) => self.link(&entry, &stat),
            (Ok(stat), Ok(EntryKind::File)) if self.has_first(&stat) => {
                self.publish();
                match self.name_of_first(&entry, &stat) {
                    // Somebody has done something to the first one: then this is the first.
                    Err(Code::Changed) => self.file(&entry)?,
                    result => result,
                }
            }
            (Ok(_), Ok(EntryKind::File)) => self.file(&entry)?,
            (Ok(_), _) => Err(Code::SpecialFile),
            (Err(errno), _) => Err(code_of(errno)),
        };
        if let Err(code) = copied {
            self.fail(entry.path, code);
        }
        ControlFlow::Continue(kind.unwrap_or(EntryKind::Special))
    }

    fn has_first(&self, stat: &Stat) -> bool {
        stat.st_nlink > 1 && self.firsts.contains_key(&FileId::of(stat))
    }

    /// A symbolic link.
    fn link(&mut self, entry: &Entry<'_>, stat: &Stat) -> Result<(), Code> {
        name::check(entry.to_dir, entry.to_name, self.exists)?;
        let target = readlinkat(entry.from_dir, entry.from_name, Vec::new()).map_err(code_of)?;
        let temp = self.temp();
        symlinkat(&target, entry.to_dir, &temp).map_err(code_of)?;
        let times = timestamps(mtime_of(stat));
        let dressed = utimensat(entry.to_dir, &temp, &times, AtFlags::SYMLINK_NOFOLLOW);
        self.take_name(entry, &temp, dressed.map_err(code_of))
    }

    /// Another name of a file that was copied already. [`Code::Changed`] where that is there no more.
    fn name_of_first(&mut self, entry: &Entry<'_>, stat: &Stat) -> Result<(), Code> {
        name::check(entry.to_dir, entry.to_name, self.exists)?;
        let temp = self.temp();
        let first = self.firsts.get(&FileId::of(stat)).ok_or(Code::Changed)?;
        let (parent, name) = split_last(&first.path);
        let dir = open_dir(&self.to, parent).map_err(|_| Code::Changed)?;
        linkat(&dir, name, entry.to_dir, &temp, AtFlags::empty()).map_err(|_| Code::Changed)?;
        let linked = statat(entry.to_dir, &temp, AtFlags::SYMLINK_NOFOLLOW).map_err(code_of);
        let is_it = linked.map(|linked| FileId::of(&linked) == first.id);
        let checked = is_it.and_then(|is_it| if is_it { Ok(()) } else { Err(Code::Changed) });
        self.take_name(entry, &temp, checked)
    }

    /// Gives what was made as `temp` its name, if all went well.
    fn take_name(
        &mut self,
        entry: &Entry<'_>,
        temp: &[u8],
        result: Result<(), Code>,
    ) -> Result<(), Code> {
        let taken = result
            .and_then(|()| name::take(entry.to_dir, temp, entry.to_name, self.exists).map(drop));
        match taken {
            Ok(()) => self.reply.copied += 1,
            Err(_) => drop(unlinkat(entry.to_dir, temp, AtFlags::empty())),
        }
        taken
    }

    /// A name that nobody else uses.
    fn temp(&mut self) -> Vec<u8> {
        self.number += 1;
        format!(".{:x}.{:016x}.tow-part", self.number, self.run).into_bytes()
    }

    fn fail(&mut self, path: Vec<u8>, code: Code) {
        self.reply.failed += 1;
        push_failure(&mut self.reply.failures, &mut self.failures_len, path, code);
    }
}
