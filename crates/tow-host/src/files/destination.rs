//! Where a transfer lands, and what is there already.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, statat};
use rustix::io::Errno;
use tow_proto::message::{EntryKind, Have, HaveState};
use tow_proto::{ByteString, Code, Refusal};

use super::chunk::Pool;
use super::meta::{kind_of, mtime_of, size_of_file};
use super::partial::{Ids, Kept};
use super::publish::Unsettled;
use super::tree::{Found, Tree, walk};
use super::{Phase, Progress, Receiver};
use crate::beneath::{Root, code_of, is_name, open_within, real_path, split_last};

/// A place that can take a file or a tree.
#[derive(Debug)]
pub struct Destination {
    place: Place,
    ids: Ids,
    path: ByteString,
    kept: HashMap<ByteString, Kept>,
    unsettled: Unsettled,
}

impl Destination {
    /// Decides where something of this kind and name lands when it is sent to `path`: a directory
    /// in `path` under its own name (`path` is made if missing), a file in `path` if that is a
    /// directory, else as `path`. What is there already is replaced, file by file. `key` and
    /// `source` tie partial files to who sends what.
    ///
    /// # Errors
    /// It can't land there; then nothing was changed.
    pub fn prepare(
        root: &Root,
        path: &ByteString,
        kind: EntryKind,
        name: &ByteString,
        source: &ByteString,
        key: &str,
    ) -> Result<Self, Refusal> {
        if !is_name(name.as_bytes()) {
            return Err(Refusal::about(Code::BadName, name.clone()));
        }
        let mut unsettled = Unsettled::default();
        let place = match kind {
            EntryKind::Dir => Place::for_tree(root, path, name, &mut unsettled)?,
            EntryKind::File => Place::for_file(root, path, name)?,
            EntryKind::Link | EntryKind::Special => {
                return Err(Refusal::about(Code::SpecialFile, name.clone()));
            }
        };
        let ids = Ids::new(key, source);
        let path = place.real_path().unwrap_or_else(|| path.clone());
        Ok(Self { place, ids, path, kept: HashMap::new(), unsettled })
    }

    /// The real path of the file or of the tree's top.
    pub fn path(&self) -> &ByteString {
        &self.path
    }

    /// Reports what is there already, in whole or in part. Without it, everything is sent anew.
    pub fn have(
        &mut self,
        progress: &Progress,
        emit: &mut dyn FnMut(Have) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        progress.enter(Phase::Comparing);
        let Self { place, ids, kept, .. } = self;
        let mut survey = Survey { ids, kept, pool: Arc::default(), emit };
        match place {
            Place::File { dir, name } => {
                survey.whole(dir, name, b"")?;
                survey.part(dir, &survey.ids.partial_name(b"", name), b"")
            }
            Place::Tree(tree) => {
                // Its own handle for the last directory, so that the walk may borrow the top.
                let mut reach = tree.again();
                walk(tree.top(), &mut |path, found| survey.visit(&mut reach, path, found))
            }
        }
    }

    /// Ready for the first item.
    pub fn receive(self, progress: Arc<Progress>) -> Receiver {
        progress.enter(Phase::Moving);
        Receiver::new(self.place, self.ids, self.kept, self.unsettled, progress)
    }
}

/// The file or the tree that is to be made.
#[derive(Debug)]
pub(super) enum Place {
    File { dir: Arc<OwnedFd>, name: Vec<u8> },
    Tree(Tree),
}

impl Place {
    fn for_file(root: &Root, path: &ByteString, name: &ByteString) -> Result<Self, Refusal> {
        let (dir, name) = match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => (dir, name.0.clone()),
            Err(refusal) if names_a_file(path, &refusal) => root.open_parent(path)?,
            Err(refusal) => return Err(refusal),
        };
        check_target(&dir, &name).map_err(|code| Refusal::about(code, path.clone()))?;
        Ok(Self::File { dir: Arc::new(dir), name })
    }

    fn for_tree(
        root: &Root,
        path: &ByteString,
        name: &ByteString,
        unsettled: &mut Unsettled,
    ) -> Result<Self, Refusal> {
        let refuse = |errno| Refusal::about(code_of(errno), path.clone());
        let mut make = |dir: OwnedFd, name: &[u8], mode| {
            let (made, since) = make_dir(&dir, name, mode)?;
            if since == Made::Now {
                unsettled.add(&Arc::new(dir));
            }
            Ok(made)
        };
        let outer = match root.open_path(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(refusal) if refusal.code == Code::NotFound => {
                let (parent, last) = root.open_parent(path)?;
                make(parent, &last, Mode::from_raw_mode(0o777)).map_err(refuse)?
            }
            result => result?,
        };
        let top = make(outer, name.as_bytes(), Mode::RWXU).map_err(|errno| match errno {
            // A link is not replaced by a directory, and not followed.
            Errno::LOOP => refuse(Errno::NOTDIR),
            errno => refuse(errno),
        })?;
        Ok(Self::Tree(Tree::new(top)))
    }

    /// The directory that `path` is in, and its name there.
    pub(super) fn locate(&mut self, path: &[u8]) -> Result<(Arc<OwnedFd>, Vec<u8>), Errno> {
        match self {
            Self::File { dir, name } => Ok((Arc::clone(dir), name.clone())),
            Self::Tree(tree) => tree.locate(path).map(|(dir, name)| (dir, name.to_vec())),
        }
    }

    fn real_path(&self) -> Option<ByteString> {
        let path = match self {
            Self::File { dir, name } => real_path(&**dir)?.join(std::ffi::OsStr::from_bytes(name)),
            Self::Tree(tree) => real_path(&**tree.top())?,
        };
        Some(path.as_os_str().as_bytes().into())
    }
}

/// Opens the directory `name`, which is made if there is none, and tells whether it was. Never
/// follows a link.
pub(super) fn make_dir(dir: &OwnedFd, name: &[u8], mode: Mode) -> Result<(OwnedFd, Made), Errno> {
    let made = match mkdirat(dir, name, mode) {
        Ok(()) => Made::Now,
        Err(Errno::EXIST) => Made::Before,
        Err(errno) => return Err(errno),
    };
    let open = open_within(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    Ok((open, made))
}

/// Since when a directory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// Refuses to replace what is neither a file nor a link.
pub(super) fn check_target(dir: &OwnedFd, name: &[u8]) -> Result<(), Code> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(code_of(errno)),
        Ok(stat) => match kind_of(&stat) {
            EntryKind::File | EntryKind::Link => Ok(()),
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

/// Looks through what is there and says so.
struct Survey<'a> {
    ids: &'a Ids,
    kept: &'a mut HashMap<ByteString, Kept>,
    pool: Arc<Pool>,
    emit: &'a mut dyn FnMut(Have) -> ControlFlow<()>,
}

impl Survey<'_> {
    fn visit(&mut self, reach: &mut Tree, path: &[u8], found: Found<'_>) -> ControlFlow<()> {
        let Found::Entry(stat) = found else { return ControlFlow::Continue(()) };
        if kind_of(stat) != EntryKind::File {
            return ControlFlow::Continue(());
        }
        if let Some(of) = self.ids.path_of_partial(path) {
            let Ok((dir, _)) = reach.locate(path) else { return ControlFlow::Continue(()) };
            return self.part(&dir, split_last(path).1, &of);
        }
        let state = HaveState::Whole { size: size_of_file(stat), mtime: mtime_of(stat) };
        (self.emit)(Have { path: path.into(), state })
    }

    fn whole(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> ControlFlow<()> {
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if kind_of(&stat) == EntryKind::File => {
                let state = HaveState::Whole { size: size_of_file(&stat), mtime: mtime_of(&stat) };
                (self.emit)(Have { path: path.into(), state })
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn part(&mut self, dir: &OwnedFd, partial: &[u8], path: &[u8]) -> ControlFlow<()> {
        if self.kept.len() >= KEPT_MAX {
            return ControlFlow::Continue(());
        }
        let Some((kept, pieces)) = Kept::read(dir, partial, &self.pool) else {
            return ControlFlow::Continue(());
        };
        let state = HaveState::Part { len: kept.tally.bytes(), pieces };
        self.kept.insert(path.into(), kept);
        (self.emit)(Have { path: path.into(), state })
    }
}

/// Most partial files that are used again by one transfer. Each holds a handle; a transfer leaves
/// one and a batch.
const KEPT_MAX: usize = 512;
