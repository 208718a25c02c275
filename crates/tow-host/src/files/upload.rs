//! One file from who has its bytes and no file: they go to a partial file beside the place, which gets
//! the name when it is complete.
//!
//! Nothing is hashed here and nothing is copied: bytes go from the caller's buffer to the file.

use std::time::SystemTime;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Mode, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fchmod, fstat, fsync,
    ftruncate, futimens, statat, unlinkat,
};
use rustix::rand::{GetRandomFlags, getrandom};
use tow_proto::message::{Exists, Mtime, Stored, UploadId, Write};
use tow_proto::{ByteString, Code, Refusal};

use super::edit::{Above, above_of, make_dir};
use super::meta::{kind_of, permissions, size_of_file, timestamps, umask};
use super::partial::{self, Existing, Ids, Locked, may_be_ours, open_existing, write_at};
use super::{content, name, room, stale};
use crate::beneath::{Root, code_of};

/// A file that is being written.
///
/// When it is dropped, what has come stays if the upload has a name, and nothing stays if it has none.
#[derive(Debug)]
pub struct Upload {
    root: Root,
    request: Write,
    owner: String,
    /// `None` while the directory is still to be made.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    dir: OwnedFd,
    name: Vec<u8>,
    partial: Vec<u8>,
    file: Locked,
    at: u64,
}

impl Upload {
    /// Begins or goes on with what `request` asks for, on behalf of `owner`, whose uploads nobody else
    /// finds. Of the request, `last` is the caller's affair: see [`Self::keep`] and [`Self::publish`].
    ///
    /// # Errors
    /// Nothing was changed. [`Code::OutOfOrder`] with the offset at which the upload stands,
    /// [`Code::Busy`] while another writes it, [`Code::NoSpace`] with how many bytes are missing,
    /// [`Code::BadArgument`] of a mode with special bits, a time that is none or an unnamed upload that
    /// is to be kept, [`Code::Exists`], [`Code::Changed`], [`Code::IsADirectory`] and
    /// [`Code::SpecialFile`] of what has the name, [`Code::OutsideRoot`], or what the file system says.
    pub fn begin(root: &Root, request: &Write, owner: &str) -> Result<Self, Refusal> {
        let refuse = |code| Refusal::about(code, request.path.clone());
        check_request(request).map_err(refuse)?;
        let (root, owner) = (root.clone(), owner.to_owned());
        let mut upload = Self { root, request: request.clone(), owner, open: None };
        match upload.root.open_parent(&request.path) {
            Ok((dir, name)) => upload.open_in(dir, name)?,
            // Made when the first byte arrives.
            Err(refusal) if refusal.code == Code::NotFound && request.parents => {
                upload.check_start(0)?;
                if matches!(request.exists, Exists::If(_)) {
                    return Err(refuse(Code::Changed));
                }
            }
            Err(refusal) => return Err(refusal),
        }
        Ok(upload)
    }

    /// Bytes that are there; the next ones come behind them.
    pub fn at(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.at)
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`Code::TooLong`] with the size that was announced, [`Code::NoSpace`], or what the file system
    /// says. What could be written counts.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size_max = self.request.size.unwrap_or(OFFSET_MAX);
        if bytes.len() as u64 > size_max.saturating_sub(self.at()) {
            return Err(self.refuse(Code::TooLong).with_count(size_max));
        }
        let open = self.opened()?;
        match write_at(&open.file, bytes, open.at) {
            Ok(()) => {
                open.at += bytes.len() as u64;
                Ok(())
            }
            Err((at, code)) => {
                open.at = at;
                Err(self.refuse(code))
            }
        }
    }

    /// Ends this part of a named upload, and gives how many bytes of it are there. They may not be on
    /// the disk yet. Of an unnamed one, nothing stays.
    pub fn keep(self) -> u64 {
        self.at()
    }

    /// Takes back what was written since [`Self::begin`]: it is not what it should have been.
    pub fn take_back(mut self) {
        if let Some(open) = &mut self.open {
            // What can't be cut off is worth as little as what comes before it.
            let is_short = ftruncate(&*open.file, self.request.from).is_ok();
            open.at = if is_short { self.request.from } else { 0 };
        }
    }

    /// Gives the file its name: it is complete, on the disk, and has its mode and time by then.
    ///
    /// # Errors
    /// The name shows what it showed before: [`Code::Corrupt`] with how many bytes are missing of the
    /// announced size, or as [`Self::begin`]. A named upload stays, unless it could not be brought to
    /// the disk.
    pub fn publish(mut self) -> Result<Stored, Refusal> {
        let missing = self.request.size.map_or(0, |size| size.saturating_sub(self.at()));
        if missing > 0 {
            return Err(self.refuse(Code::Corrupt).with_count(missing));
        }
        self.opened()?;
        let result = self.open.as_mut().ok_or(Code::Internal).and_then(|open| {
            let stored = open.publish(&self.request);
            if stored.is_err() {
                let _ = fchmod(&*open.file, OWNER_ONLY);
            }
            stored
        });
        result.map_err(|code| self.refuse(code))
    }

    /// How many bytes of a named upload of `owner` are there.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there are none, [`Code::OutsideRoot`], or what the file system says.
    pub fn stat(
        root: &Root,
        path: &ByteString,
        upload: &UploadId,
        owner: &str,
    ) -> Result<u64, Refusal> {
        let (dir, name) = root.open_parent(path)?;
        let partial = partial_name(owner, upload.as_str(), &name);
        match statat(&dir, partial, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stale::is_stale(&stat, SystemTime::now()) => {
                Err(Refusal::about(Code::NotFound, path.clone()))
            }
            Ok(stat) if may_be_ours(&stat) && stat.st_size > 0 => Ok(size_of_file(&stat)),
            _ => Err(Refusal::about(Code::NotFound, path.clone())),
        }
    }

    /// Removes what has come of a named upload of `owner`.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is nothing, [`Code::Busy`] while somebody writes it,
    /// [`Code::OutsideRoot`], or what the file system says.
    pub fn remove(
        root: &Root,
        path: &ByteString,
        upload: &UploadId,
        owner: &str,
    ) -> Result<(), Refusal> {
        let refuse = |code| Refusal::about(code, path.clone());
        let (dir, name) = root.open_parent(path)?;
        let partial = partial_name(owner, upload.as_str(), &name);
        match open_existing(&dir, &partial).map_err(|errno| refuse(code_of(errno)))? {
            Existing::Ours(_locked) => {
                unlinkat(&dir, &partial, AtFlags::empty()).map_err(|errno| refuse(code_of(errno)))
            }
            Existing::Busy => Err(refuse(Code::Busy)),
            Existing::Foreign | Existing::Gone => Err(refuse(Code::NotFound)),
        }
    }

    /// The partial file; its directory is made where it is still missing.
    fn opened(&mut self) -> Result<&mut Open, Refusal> {
        if self.open.is_none() {
            let above = above_of(self.request.path.as_bytes()).into();
            make_dir(&self.root, &above, Above::Made)?;
            let (dir, name) = self.root.open_parent(&self.request.path)?;
            if let Err(refusal) = self.open_in(dir, name) {
                self.tidy();
                self.open = None;
                return Err(refusal);
            }
        }
        self.open.as_mut().ok_or_else(|| Code::Internal.into())
    }

    fn open_in(&mut self, dir: OwnedFd, name: Vec<u8>) -> Result<(), Refusal> {
        name::check(&dir, &name, self.request.exists).map_err(|code| self.refuse(code))?;
        let (partial, file) = match &self.request.upload {
            Some(upload) => {
                if self.request.from == 0 {
                    stale::tidy(&dir);
                }
                let partial = partial_name(&self.owner, upload.as_str(), &name);
                partial::open(&dir, &partial).map(|file| (partial, file))
            }
            None => open_unnamed(&dir, &name, &self.owner),
        }
        .map_err(|code| self.refuse(code))?;
        let stat = fstat(&*file).map_err(|errno| self.refuse(code_of(errno)))?;
        let at = size_of_file(&stat);
        let open = self.open.insert(Open { dir, name, partial, file, at });
        if let Some(left) = self.request.size.and_then(|size| size.checked_sub(at))
            && at == self.request.from
            && let Err((code, missing)) = room::take(&open.file, at, left)
        {
            let refusal = self.refuse(code);
            return Err(missing.map_or(refusal.clone(), |missing| refusal.with_count(missing)));
        }
        self.check_start(at)
    }

    /// The client says where it goes on: it may not know what was lost.
    fn check_start(&self, at: u64) -> Result<(), Refusal> {
        if self.request.from != at {
            return Err(self.refuse(Code::OutOfOrder).with_count(at));
        }
        match self.request.size {
            Some(size) if size < at => Err(self.refuse(Code::TooLong).with_count(size)),
            _ => Ok(()),
        }
    }

    fn refuse(&self, code: Code) -> Refusal {
        Refusal::about(code, self.request.path.clone())
    }

    /// Leaves nothing where nothing is worth keeping.
    fn tidy(&self) {
        let Some(open) = &self.open else { return };
        let is_nothing = self.request.upload.is_none() || open.at == 0;
        if is_nothing && open.file.is_named(&open.dir, &open.partial) {
            let _ = unlinkat(&open.dir, &open.partial, AtFlags::empty());
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.tidy();
    }
}

impl Open {
    fn publish(&mut self, request: &Write) -> Result<Stored, Code> {
        let there = name::check(&self.dir, &self.name, request.exists)?;
        let mode =
            Mode::from_raw_mode(request.mode.unwrap_or_else(|| default_mode(there.as_ref())));
        let times = request.mtime.map_or(NOW, timestamps);
        fchmod(&*self.file, mode).map_err(code_of)?;
        futimens(&*self.file, &times).map_err(code_of)?;
        if let Err(errno) = fsync(&*self.file) {
            // What could not be made safe is not to be trusted later either.
            self.at = 0;
            return Err(code_of(errno));
        }
        // What was written is what this handle stands for, whoever may have moved names about.
        self.check_named(&self.partial)?;
        let there = name::take(&self.dir, &self.partial, &self.name, request.exists)?;
        self.check_named(&self.name)?;
        fsync(&self.dir).map_err(code_of)?;
        let stat = fstat(&*self.file).map_err(code_of)?;
        let stat = content::reply(&self.file, &request.path, &stat);
        Ok(Stored { created: there.is_none(), stat })
    }

    fn check_named(&self, name: &[u8]) -> Result<(), Code> {
        if self.file.is_named(&self.dir, name) { Ok(()) } else { Err(Code::Changed) }
    }
}

fn check_request(request: &Write) -> Result<(), Code> {
    if request.path.as_bytes().ends_with(b"/") {
        return Err(Code::IsADirectory);
    }
    if request.upload.is_none() && !request.last {
        return Err(Code::BadArgument);
    }
    check_attributes(request.mode, request.mtime)
}

/// Refuses permission bits that are no permissions, and times that are none.
pub(super) fn check_attributes(mode: Option<u32>, mtime: Option<Mtime>) -> Result<(), Code> {
    let is_plain = mode.is_none_or(|mode| permissions(mode) == mode);
    let is_time = mtime.is_none_or(|mtime| mtime.1 < NANOS_PER_SEC);
    if is_plain && is_time { Ok(()) } else { Err(Code::BadArgument) }
}

/// That of the file that is replaced, or what any new file gets.
fn default_mode(there: Option<&Stat>) -> u32 {
    match there {
        Some(stat) if kind_of(stat) == tow_proto::message::EntryKind::File => {
            permissions(stat.st_mode)
        }
        _ => 0o666 & !umask(),
    }
}

/// The same for the same upload of the same owner beneath the same name. No transfer has such an
/// owner.
fn partial_name(owner: &str, upload: &str, name: &[u8]) -> Vec<u8> {
    Ids::new(&format!("upload:{owner}"), &upload.into()).partial_name(name, name)
}

/// A partial file for an upload without a name: the one that a killed node may have left, if nobody
/// writes it.
fn open_unnamed(dir: &OwnedFd, name: &[u8], owner: &str) -> Result<(Vec<u8>, Locked), Code> {
    let partial = partial_name(owner, "", name);
    match partial::create(dir, &partial) {
        Ok(file) => return Ok((partial, file)),
        Err(Code::Busy) => {}
        Err(code) => return Err(code),
    }
    let mut number = [0; 8];
    getrandom(&mut number, GetRandomFlags::empty()).map_err(code_of)?;
    // No upload can be called that.
    let partial = partial_name(owner, &format!("/{:x}", u64::from_le_bytes(number)), name);
    partial::create(dir, &partial).map(|file| (partial, file))
}

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);
/// The modification time is now.
const NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};
const NANOS_PER_SEC: u32 = 1_000_000_000;
/// The largest offset that the kernel takes.
const OFFSET_MAX: u64 = i64::MAX as u64;
