//! Removing: one name, or a directory with everything in it.
//!
//! Everything is reached from the handle of the tree's top, without following a link and without
//! entering another file system, however the tree is changed meanwhile: what is removed was in it.

use std::ops::ControlFlow;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, fstat, statat, unlinkat};
use rustix::io::Errno;
use tow_proto::message::{Failure, RemoveReply};
use tow_proto::{ByteString, Code, Refusal};

use super::ENTRIES_MAX;
use super::meta::FileId;
use super::tree::{check_inner_path, join, names_in};
use crate::beneath::{Root, code_of, open_on_mount, split_last};

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anything but a directory.
    One,
    /// A directory too, with everything in it.
    Tree,
}

/// What it means when there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is refused.
    Refused,
    /// It is as good as removed.
    Fine,
}

/// Removes what is at `path`; of a symbolic link, the link. `go_on` is asked before each entry; when
/// it says no, the rest stays.
///
/// # Errors
/// Nothing was removed: [`Code::BadName`] where the path names no entry of a directory (the root,
/// `.`, `..`), [`Code::IsADirectory`], [`Code::OtherFileSystem`], [`Code::OutsideRoot`], or what the
/// file system says.
pub fn remove(
    root: &Root,
    path: &ByteString,
    scope: Scope,
    missing: Missing,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<RemoveReply, Refusal> {
    let result = remove_at(root, path, scope, go_on);
    match result {
        Err(refusal) if missing == Missing::Fine && is_missing(refusal.code, path) => {
            Ok(RemoveReply::default())
        }
        result => result,
    }
}

/// Nothing is at a path whose parent is a file. Something is where only its last slash is wrong.
fn is_missing(code: Code, path: &ByteString) -> bool {
    code == Code::NotFound || (code == Code::NotADirectory && !path.as_bytes().ends_with(b"/"))
}

fn remove_at(
    root: &Root,
    path: &ByteString,
    scope: Scope,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<RemoveReply, Refusal> {
    let refuse = |code| Refusal::about(code, path.clone());
    let (dir, name) = root.open_parent(path)?;
    let stat =
        statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| refuse(code_of(errno)))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_dir && scope == Scope::One {
        return Err(refuse(Code::IsADirectory));
    }
    if !is_dir && path.as_bytes().ends_with(b"/") {
        return Err(refuse(Code::NotADirectory));
    }
    if !is_dir {
        unlinkat(&dir, &name, AtFlags::empty()).map_err(|errno| refuse(code_of(errno)))?;
        return Ok(RemoveReply { removed: 1, ..RemoveReply::default() });
    }
    let reply = Removal::of(&dir, &name, go_on).map_err(|errno| refuse(code_of_open(errno)))?;
    match reply.failures.first() {
        Some(first) if reply.removed == 0 && first.path.is_empty() => Err(refuse(first.why.code)),
        _ => Ok(reply),
    }
}

/// A tree on its way out.
struct Removal<'a> {
    top: OwnedFd,
    device: u64,
    reply: RemoveReply,
    failures_len: usize,
    seen: usize,
    go_on: &'a mut dyn FnMut() -> ControlFlow<()>,
}

/// A directory whose other entries are gone.
struct Level {
    /// Relative to the top, which is empty.
    path: Vec<u8>,
    /// Names of the directories in it that are still to be removed, the next one last.
    dirs: Vec<Vec<u8>>,
    /// What had failed before.
    failed: u64,
}

impl<'a> Removal<'a> {
    fn of(
        dir: &OwnedFd,
        name: &[u8],
        go_on: &'a mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RemoveReply, Errno> {
        let top = match open_on_mount(dir, name) {
            Ok(top) => top,
            // One that may not be read is removed if it is empty.
            Err(Errno::ACCESS) if unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() => {
                return Ok(RemoveReply { removed: 1, ..RemoveReply::default() });
            }
            Err(errno) => return Err(errno),
        };
        let device = FileId::of(&fstat(&top)?).device;
        if device != FileId::of(&fstat(dir)?).device {
            return Err(Errno::XDEV);
        }
        let reply = RemoveReply::default();
        let mut removal = Self { top, device, reply, failures_len: 0, seen: 0, go_on };
        if removal.empty().is_continue() {
            let removed = unlinkat(dir, name, AtFlags::REMOVEDIR);
            removal.count_dir(Vec::new(), 0, removed);
        }
        Ok(removal.reply)
    }

    /// Removes everything in the top, from the bottom upwards.
    fn empty(&mut self) -> ControlFlow<()> {
        let mut levels = Vec::new();
        levels.extend(self.enter(Vec::new())?);
        while let Some(level) = levels.last_mut() {
            match level.dirs.pop() {
                Some(name) => {
                    let path = join(&level.path, &name);
                    levels.extend(self.enter(path)?);
                }
                None => {
                    let Some(Level { path, failed, .. }) = levels.pop() else { break };
                    if !path.is_empty() {
                        self.leave(path, failed);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Removes from a directory what is none itself. `None` where it can't be entered.
    fn enter(&mut self, path: Vec<u8>) -> ControlFlow<(), Option<Level>> {
        let failed = self.reply.failed;
        if !path.is_empty()
            && let Err(code) = check_inner_path(&path)
        {
            self.fail(path, code);
            return ControlFlow::Continue(None);
        }
        let entered = self.open(&path).and_then(|dir| names_in(&dir).map(|names| (dir, names)));
        let (dir, names) = match entered {
            Ok(entered) => entered,
            Err(Errno::NOENT) => return ControlFlow::Continue(None),
            Err(Errno::ACCESS) if self.remove_dir(&path).is_ok() => {
                self.reply.removed += 1;
                return ControlFlow::Continue(None);
            }
            Err(errno) => {
                self.fail(path, code_of_open(errno));
                return ControlFlow::Continue(None);
            }
        };
        self.seen += names.len();
        if self.seen > ENTRIES_MAX {
            self.fail(path, Code::TooLong);
            return ControlFlow::Break(());
        }
        let mut dirs = Vec::new();
        for (name, file_type) in names {
            (self.go_on)()?;
            let child = join(&path, &name);
            if file_type == FileType::Directory {
                dirs.push(name);
                continue;
            }
            match unlinkat(&dir, &name, AtFlags::empty()) {
                Ok(()) => self.reply.removed += 1,
                Err(Errno::NOENT) => {}
                // Of a file system that does not say what its entries are, or by now.
                Err(Errno::ISDIR) => dirs.push(name),
                Err(errno) => self.fail(child, code_of(errno)),
            }
        }
        ControlFlow::Continue(Some(Level { path, dirs, failed }))
    }

    /// Removes a directory of which everything is gone that could be removed.
    fn leave(&mut self, path: Vec<u8>, failed: u64) {
        let removed = self.remove_dir(&path);
        self.count_dir(path, failed, removed);
    }

    /// `failed` is what had failed before this directory was entered.
    fn count_dir(&mut self, path: Vec<u8>, failed: u64, removed: Result<(), Errno>) {
        match removed {
            Ok(()) => self.reply.removed += 1,
            Err(Errno::NOENT) => {}
            // Why it is not empty has been said.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.reply.failed > failed => {}
            Err(errno) => self.fail(path, code_of(errno)),
        }
    }

    fn remove_dir(&self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = split_last(path);
        unlinkat(self.open(parent)?, name, AtFlags::REMOVEDIR)
    }

    /// A directory of the tree, by its path.
    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let dir = open_on_mount(&self.top, if path.is_empty() { b"." } else { path })?;
        // Where the kernel can't be told to stay, this tells.
        let device = FileId::of(&fstat(&dir)?).device;
        if device == self.device { Ok(dir) } else { Err(Errno::XDEV) }
    }

    fn fail(&mut self, path: Vec<u8>, code: Code) {
        self.reply.failed += 1;
        push_failure(&mut self.reply.failures, &mut self.failures_len, path, code);
    }
}

/// Adds a failure to those that are told one by one, if there is room for it; `len` are the bytes of
/// all their paths.
pub(super) fn push_failure(
    failures: &mut Vec<Failure>,
    len: &mut usize,
    path: Vec<u8>,
    code: Code,
) {
    *len += path.len();
    if failures.len() < FAILURES_MAX && *len <= FAILURES_LEN_MAX {
        failures.push(Failure::new(path, code));
    }
}

fn code_of_open(errno: Errno) -> Code {
    if errno == Errno::XDEV { Code::OtherFileSystem } else { code_of(errno) }
}

/// Failures that are told one by one.
const FAILURES_MAX: usize = 100;
/// Bytes of their paths: in JSON, where each may take six, they fit a head.
const FAILURES_LEN_MAX: usize = 128 << 10;
