//! A directory tree by its top's handle: reaching what is in it without following a link, and walking
//! through all of it.

use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use tow_proto::Code;

use super::ENTRIES_MAX;
use crate::beneath::{DEPTH_MAX, PATH_LEN_MAX, is_name, open_within, split_last};

/// The top of a tree and the directory that was used last: entries come sorted by directory.
#[derive(Debug)]
pub(super) struct Tree {
    top: Arc<OwnedFd>,
    last: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Tree {
    pub(super) fn new(top: OwnedFd) -> Self {
        Self { top: Arc::new(top), last: None }
    }

    pub(super) fn top(&self) -> &Arc<OwnedFd> {
        &self.top
    }

    /// The directory at `path`; the top is the empty path.
    pub(super) fn dir(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.top));
        }
        if let Some((known, dir)) = &self.last
            && known == path
        {
            return Ok(Arc::clone(dir));
        }
        let dir = Arc::new(open_dir(&self.top, path)?);
        self.last = Some((path.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    /// The directory that `path` is in, and its name there.
    pub(super) fn locate<'p>(&mut self, path: &'p [u8]) -> Result<(Arc<OwnedFd>, &'p [u8]), Errno> {
        let (parent, name) = split_last(path);
        Ok((self.dir(parent)?, name))
    }
}

/// Refuses a path that no honest sender gives: it must be relative, without `.`, `..` or empty
/// components, and within the limits.
pub(super) fn check_inner_path(path: &[u8]) -> Result<(), Code> {
    if path.len() > PATH_LEN_MAX {
        return Err(Code::TooLong);
    }
    let mut depth = 0;
    for component in path.split(|byte| *byte == b'/') {
        if !is_name(component) {
            return Err(Code::BadName);
        }
        depth += 1;
    }
    if depth > DEPTH_MAX { Err(Code::TooDeep) } else { Ok(()) }
}

/// Opens a directory beneath `top` for reading, without following a link.
pub(super) fn open_dir(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    open_within(top, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Names and types in a directory that was just opened, sorted by bytes.
pub(super) fn names_in(dir: &OwnedFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut buf = [MaybeUninit::uninit(); DIR_BUF_LEN];
    let mut entries = RawDir::new(dir, &mut buf);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && names.len() <= ENTRIES_MAX {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, name].join(&b'/') }
}

/// Room for directory entries per system call, in bytes.
const DIR_BUF_LEN: usize = 32 << 10;
