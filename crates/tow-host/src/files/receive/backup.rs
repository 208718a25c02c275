//! The directory into which what is replaced or removed is moved.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, linkat, renameat, unlinkat};
use rustix::io::Errno;

use super::Fault;
use super::destination::make_dir;
use super::dirs::Dir;
use super::scratch::Scratch;
use crate::beneath::split_last;
use crate::files::tree::{join, open_dir};

/// Where things are kept, beneath the top, each with the path that it had.
#[derive(Debug)]
pub(super) struct Backup {
    path: Vec<u8>,
    /// The directory there that was used last.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Backup {
    pub(super) fn new(path: &[u8]) -> Self {
        Self { path: path.to_vec(), last: None }
    }

    /// Gives what is `name` in `dir` a second name in the backup, before it loses the first: so the
    /// name is never without a file.
    pub(super) fn keep(
        &mut self,
        top: &Dir,
        dir: &Dir,
        name: &[u8],
        scratch: &Scratch,
    ) -> Result<(), Fault> {
        let to = self.open(top, &dir.path)?;
        let temp = scratch.next();
        match linkat(&dir.handle, name, to, &temp, AtFlags::empty()) {
            Ok(()) => {}
            // Gone by now.
            Err(Errno::NOENT) => return Ok(()),
            // A file system without further names.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                return renameat(&dir.handle, name, to, name).map_err(Fault::of);
            }
            Err(errno) => return Err(Fault::of(errno)),
        }
        let result = renameat(to, &temp, to, name).map_err(Fault::of);
        // Still there where both were names of one file.
        let _ = unlinkat(to, &temp, AtFlags::empty());
        result
    }

    /// Moves what is `name` in the directory at `dir_path`.
    pub(super) fn take(
        &mut self,
        top: &Dir,
        dir: &OwnedFd,
        dir_path: &[u8],
        name: &[u8],
    ) -> Result<(), Fault> {
        let to = self.open(top, dir_path)?;
        renameat(dir, name, to, name).map_err(Fault::of)
    }

    /// The directory for what is in the one at `path`, which is made with all above it. They are
    /// their owner's only: those that they stand for may be, too.
    fn open(&mut self, top: &Dir, path: &[u8]) -> Result<&OwnedFd, Fault> {
        let path = if path.is_empty() { self.path.clone() } else { join(&self.path, path) };
        let last = self.last.take().filter(|(known, _)| *known == path);
        let last = match last {
            Some(last) => last,
            None => {
                let dir = make_all(&top.handle, &path).map_err(Fault::of_dir)?;
                (path, dir)
            }
        };
        Ok(&self.last.insert(last).1)
    }
}

fn make_all(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    match open_dir(top, path) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let (parent, name) = split_last(path);
    let parent = if parent.is_empty() { open_dir(top, b"")? } else { make_all(top, parent)? };
    make_dir(&parent, name, Mode::RWXU).map(|(dir, _)| dir)
}
