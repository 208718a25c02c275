//! Where a transfer lands.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, statat};
use rustix::io::Errno;
use tow_proto::message::EntryKind;
use tow_proto::transfer::{Columns, Options};
use tow_proto::{ByteString, Code, Refusal};

use super::dirs::Dir;
use super::parts::Parts;
use super::publish::Unsettled;
use super::scratch::Scratch;
use super::{Answerer, Receiver, Shared, Stop};
use crate::beneath::{Root, code_of, is_name, open_within, real_path};
use crate::files::filter::Filter;
use crate::files::item::Watch;
use crate::files::meta::kind_of;
use crate::files::partial::Ids;
use crate::files::tree::check_inner_path;
use crate::files::{Phase, Progress};

/// A place that can take a file or a tree.
#[derive(Debug)]
pub struct Destination {
    place: Place,
    ids: Ids,
    path: ByteString,
    options: Options,
    filter: Filter,
    permits: Permits,
    tells: Tells,
    unsettled: Unsettled,
}

/// Whether the sender may know what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// As far as that spares sending it.
    What,
    /// No: everything is sent, as if nothing were there.
    Nothing,
}

/// What a sender may do beyond files, directories and links, as the caller trusts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// Give files setuid, setgid and sticky bits, where the options ask for it.
    pub special_bits: bool,
    /// Make devices, where the options ask for it and the kernel lets this process do it.
    pub devices: bool,
}

/// The file or the tree that is to be made.
#[derive(Debug)]
pub(super) enum Place {
    /// The top of a tree.
    Tree(Arc<Dir>),
    /// A file: in this directory, under this name. The sender calls it `sent`.
    File { dir: Arc<Dir>, name: Vec<u8>, sent: Vec<u8> },
    /// It is not there, and only what would be done is to be found out.
    Nowhere,
}

impl Destination {
    /// Decides where something of this kind and name lands when it is sent to `path`: a directory
    /// in `path` under its own name (`path` is made if missing), a file in `path` if that is a
    /// directory, else as `path`; with `exact`, either as `path` itself. `key` and `source` tie
    /// partial files to who sends what.
    ///
    /// # Errors
    /// It can't land there, or the options make no sense; then nothing was changed.
    pub fn prepare(
        root: &Root,
        path: &ByteString,
        kind: EntryKind,
        name: &ByteString,
        source: &ByteString,
        key: &str,
        options: &Options,
    ) -> Result<Self, Refusal> {
        if !is_name(name.as_bytes()) {
            return Err(Refusal::about(Code::BadName, name.clone()));
        }
        if let Some(backup) = &options.backup {
            let refuse = |code| Refusal::about(code, backup.clone());
            check_inner_path(backup.as_bytes()).map_err(refuse)?;
        }
        let filter = Filter::new(options)?;
        let mut unsettled = Unsettled::default();
        let place = match kind {
            EntryKind::Dir => Place::for_tree(root, path, name, options, &mut unsettled)?,
            EntryKind::File => Place::for_file(root, path, name, options)?,
            EntryKind::Link | EntryKind::Special => {
                return Err(Refusal::about(Code::SpecialFile, name.clone()));
            }
        };
        let ids = Ids::new(key, source);
        let path = place.real_path().unwrap_or_else(|| path.clone());
        let (options, permits) = (options.clone(), Permits::default());
        let tells = Tells::What;
        Ok(Self { place, ids, path, options, filter, permits, tells, unsettled })
    }

    /// Tells the sender as much of what is there as it may know.
    #[must_use]
    pub fn telling(mut self, tells: Tells) -> Self {
        self.tells = tells;
        self
    }

    /// Permits more than files, directories and links without special bits.
    #[must_use]
    pub fn permit(mut self, permits: Permits) -> Self {
        self.permits = permits;
        self
    }

    /// The real path of the file or of the tree's top.
    pub fn path(&self) -> &ByteString {
        &self.path
    }

    /// Both halves: one takes what is sent, the other says what is there.
    pub fn open(self, progress: Arc<Progress>, watch: Arc<dyn Watch>) -> (Receiver, Answerer) {
        let Self { place, ids, options, filter, permits, tells, unsettled, .. } = self;
        progress.enter(Phase::Comparing);
        let shared = Arc::new(Shared {
            place,
            scratch: Scratch::new(&ids),
            ids,
            columns: Columns::from(&options),
            options,
            tells,
            parts: Parts::default(),
            stop: Stop::default(),
        });
        let answerer = Answerer::new(Arc::clone(&shared), filter.clone());
        (Receiver::new(shared, filter, permits, unsettled, progress, watch), answerer)
    }
}

impl Place {
    /// The directory in which everything is: the top of the transfer.
    pub(super) fn top(&self) -> Option<&Arc<Dir>> {
        match self {
            Self::Tree(dir) | Self::File { dir, .. } => Some(dir),
            Self::Nowhere => None,
        }
    }

    fn for_file(
        root: &Root,
        path: &ByteString,
        name: &ByteString,
        options: &Options,
    ) -> Result<Self, Refusal> {
        let refuse = |code| Refusal::about(code, path.clone());
        let sent = name.0.clone();
        let (dir, name) = match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(_) if options.exact => return Err(refuse(Code::IsADirectory)),
            Ok(dir) => (dir, sent.clone()),
            Err(refusal) if names_a_file(path, &refusal) => root.open_parent(path)?,
            Err(refusal) => return Err(refusal),
        };
        is_replaceable(&dir, &name).map_err(refuse)?;
        let dir = Dir::new(b"", dir, false).map_err(|errno| refuse(code_of(errno)))?;
        Ok(Self::File { dir: Arc::new(dir), name, sent })
    }

    fn for_tree(
        root: &Root,
        path: &ByteString,
        name: &ByteString,
        options: &Options,
        unsettled: &mut Unsettled,
    ) -> Result<Self, Refusal> {
        let refuse = |errno| Refusal::about(code_of(errno), path.clone());
        let is_dry = options.dry_run;
        let outer = match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(refusal) if refusal.code == Code::NotFound => {
                let (parent, last) = root.open_parent(path)?;
                if is_dry {
                    return Ok(Self::Nowhere);
                }
                // The top itself is its owner's until it gets what the sender's has.
                let mode = if options.exact { 0o700 } else { 0o777 };
                make_top(parent, &last, Mode::from_raw_mode(mode), unsettled).map_err(refuse)?
            }
            result => (result?, Made::Before),
        };
        let (top, made) = if options.exact {
            outer
        } else if is_dry {
            match open_top(&outer.0, name.as_bytes()) {
                Err(Errno::NOENT) => return Ok(Self::Nowhere),
                result => (result.map_err(refuse)?, Made::Before),
            }
        } else {
            make_top(outer.0, name.as_bytes(), Mode::RWXU, unsettled).map_err(refuse)?
        };
        Ok(Self::Tree(Arc::new(Dir::new(b"", top, made == Made::Now).map_err(refuse)?)))
    }

    fn real_path(&self) -> Option<ByteString> {
        let path = match self {
            Self::File { dir, name, .. } => {
                real_path(&dir.handle)?.join(std::ffi::OsStr::from_bytes(name))
            }
            Self::Tree(top) => real_path(&top.handle)?,
            Self::Nowhere => return None,
        };
        Some(path.as_os_str().as_bytes().into())
    }
}

fn make_top(
    parent: OwnedFd,
    name: &[u8],
    mode: Mode,
    unsettled: &mut Unsettled,
) -> Result<(OwnedFd, Made), Errno> {
    let (open, made) = make_dir(&parent, name, mode)?;
    if made == Made::Now {
        unsettled.add(&Arc::new(Dir::new(b"", parent, false)?));
    }
    Ok((open, made))
}

/// Opens the directory `name`, which is made if there is none, and tells whether it was. Never
/// follows a link.
pub(super) fn make_dir(dir: &OwnedFd, name: &[u8], mode: Mode) -> Result<(OwnedFd, Made), Errno> {
    let made = match mkdirat(dir, name, mode) {
        Ok(()) => Made::Now,
        Err(Errno::EXIST) => Made::Before,
        Err(errno) => return Err(errno),
    };
    Ok((open_top(dir, name)?, made))
}

/// A link is not replaced by a directory, and not followed: it is simply not a directory.
fn open_top(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    open_within(dir, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP => Errno::NOTDIR,
        errno => errno,
    })
}

/// Since when something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// Refuses to replace what is neither a file nor a link. Tells whether there is one.
pub(super) fn is_replaceable(dir: &OwnedFd, name: &[u8]) -> Result<Made, Code> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(Made::Now),
        Err(errno) => Err(super::code_of_name(errno)),
        Ok(stat) => match kind_of(&stat) {
            EntryKind::File | EntryKind::Link => Ok(Made::Before),
            EntryKind::Dir => Err(Code::IsADirectory),
            EntryKind::Special => Err(Code::SpecialFile),
        },
    }
}

/// Whether a path that is no directory can be the name of a file to be made.
fn names_a_file(path: &ByteString, refusal: &Refusal) -> bool {
    let is_dir_path = path.is_empty() || path.as_bytes().ends_with(b"/");
    !is_dir_path && matches!(refusal.code, Code::NotFound | Code::NotADirectory)
}
