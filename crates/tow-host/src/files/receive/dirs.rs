//! The directories of the tree: reaching them by path without following a link.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, fchmod, fstat};
use rustix::io::Errno;

use crate::beneath::split_last;
use crate::files::meta::FileId;
use crate::files::tree::open_dir;

/// A directory that is open.
#[derive(Debug)]
pub(super) struct Dir {
    /// Relative to the top.
    pub(super) path: Vec<u8>,
    pub(super) handle: OwnedFd,
    /// The number of its file system.
    pub(super) device: u64,
    /// Made by this transfer: nothing is in it but what this transfer put there.
    pub(super) is_fresh: bool,
}

impl Dir {
    pub(super) fn new(path: &[u8], handle: OwnedFd, is_fresh: bool) -> Result<Self, Errno> {
        let device = FileId::of(&fstat(&handle)?).device;
        Ok(Self { path: path.to_vec(), handle, device, is_fresh })
    }
}

/// The top of a tree, and the directories that were used last.
#[derive(Debug)]
pub(super) struct Dirs {
    top: Arc<Dir>,
    /// The one that was used last comes last.
    recent: Vec<Arc<Dir>>,
}

impl Dirs {
    pub(super) fn new(top: Arc<Dir>) -> Self {
        Self { top, recent: Vec::new() }
    }

    pub(super) fn top(&self) -> &Arc<Dir> {
        &self.top
    }

    /// The directory at `path`; the top is the empty path.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<Arc<Dir>, Errno> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.top));
        }
        if let Some(at) = self.recent.iter().rposition(|dir| dir.path == path) {
            let dir = self.recent.remove(at);
            self.recent.push(Arc::clone(&dir));
            return Ok(dir);
        }
        let (parent, name) = split_last(path);
        let known = self.recent.iter().rfind(|dir| dir.path == parent);
        let handle = match known {
            Some(parent) => open_dir(&parent.handle, name)?,
            None => open_dir(&self.top.handle, path)?,
        };
        let dir = Arc::new(Dir::new(path, handle, false)?);
        self.keep(&dir);
        Ok(dir)
    }

    /// Remembers a directory that was just made.
    pub(super) fn keep(&mut self, dir: &Arc<Dir>) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(Arc::clone(dir));
    }

    /// What is at `path` and beneath it is gone.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.recent.retain(|dir| !is_within(&dir.path, path));
    }
}

/// Whether `path` is `dir`, or lies beneath it.
pub(super) fn is_within(path: &[u8], dir: &[u8]) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => rest.is_empty() || dir.is_empty() || rest.first() == Some(&b'/'),
        None => false,
    }
}

/// Permissions that a directory has to get back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Former {
    id: FileId,
    mode: Mode,
}

impl Former {
    /// Gives them back to the directory that had them.
    pub(super) fn restore(self, dir: &OwnedFd) {
        if fstat(dir).is_ok_and(|stat| FileId::of(&stat) == self.id) {
            let _ = fchmod(dir, self.mode);
        }
    }
}

/// Lets the owner fill a directory that is read-only, and tells what it had before. Where that fails,
/// filling it will tell.
pub(super) fn make_writable(dir: &OwnedFd) -> Option<Former> {
    let stat = fstat(dir).ok().filter(|stat| stat.st_mode & 0o700 != 0o700)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    fchmod(dir, mode | Mode::RWXU).ok()?;
    Some(Former { id: FileId::of(&stat), mode })
}

/// Directories that stay open: each is a handle.
const RECENT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_a_directory_by_components() {
        for (path, dir) in [("a", "a"), ("a/b", "a"), ("a/b/c", "a"), ("a", ""), ("", "")] {
            assert!(is_within(path.as_bytes(), dir.as_bytes()), "{path} {dir}");
        }
        for (path, dir) in [("ab", "a"), ("a", "a/b"), ("b/a", "a"), ("", "a")] {
            assert!(!is_within(path.as_bytes(), dir.as_bytes()), "{path} {dir}");
        }
    }
}
