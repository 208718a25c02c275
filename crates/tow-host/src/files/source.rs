//! What can be sent: a file or a tree, and how its files are opened.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, Stat, fstat};
use tow_proto::message::EntryKind;
use tow_proto::{ByteString, Code, Refusal};

use super::list::real_name;
use super::meta::kind_of;
use super::tree::Tree;
use crate::beneath::{Root, code_of, last_component, open_within, real_path};

/// A file or a tree that can be sent.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    name: ByteString,
    source: ByteString,
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
}

/// Where content comes from.
#[derive(Debug)]
pub(super) enum Origin {
    File { root: Root, path: ByteString },
    Tree(Tree),
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
}
