//! What the records of a pack ask for, one entry after the other.

use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, makedev, mknodat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use tow_proto::Code;
use tow_proto::message::EntryKind;
use tow_proto::transfer::{Device, Durable, Meta};

use super::Fault;
use super::destination::{Made, Place, is_replaceable, make_dir};
use super::dirs::{Dir, make_writable};
use super::large::Content;
use super::names::Fit;
use super::publish::Pending;
use super::receiver::{Here, Receiver, Where};
use super::small::{Modes, write_small};
use crate::beneath::split_last;
use crate::files::item::Change;
use crate::files::meta::kind_of;
use crate::files::partial::{self, Locked, write_at};
use crate::files::tree::join;

impl Receiver {
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<(), Fault> {
        self.check_is_tree(path)?;
        self.here = Here { path: path.to_vec(), dir: Err(Code::NotFound), modes: Modes::default() };
        let place = self.open_dir(path).inspect_err(|fault| self.cannot_enter(*fault))?;
        self.arrive(place)
    }

    pub(super) fn dir(&mut self, path: &[u8], meta: &Meta) -> Result<(), Fault> {
        self.check_is_tree(path)?;
        self.here = Here { path: path.to_vec(), dir: Err(Code::NotFound), modes: Modes::default() };
        let made = self.make(path).inspect_err(|fault| self.cannot_enter(*fault))?;
        let (place, made) = made;
        self.arrive(place)?;
        self.remember(path.len())?;
        self.summary.dirs += 1;
        self.tell(if made == Made::Now { Change::Dir } else { Change::Meta }, path, 0);
        self.dressed_last.push((path.to_vec(), meta.clone()));
        Ok(())
    }

    /// What is in a directory that could not be reached fails as it did.
    fn cannot_enter(&mut self, fault: Fault) {
        let (Fault::Violation(code) | Fault::Failed(code, _)) = fault;
        self.here.dir = Err(code);
    }

    fn arrive(&mut self, place: Where) -> Result<(), Fault> {
        if let Where::Open(dir) = &place
            && !dir.is_fresh
            && !self.is_dry()
            && let Some(former) = make_writable(&dir.handle)
        {
            self.opened.insert(dir.path.clone(), former);
            self.remember(dir.path.len())?;
        }
        self.here.dir = Ok(place);
        Ok(())
    }

    fn make(&mut self, path: &[u8]) -> Result<(Where, Made), Fault> {
        if path.is_empty() {
            let place = self.open_dir(path)?;
            let is_there = matches!(&place, Where::Open(dir) if !dir.is_fresh);
            return Ok((place, if is_there { Made::Before } else { Made::Now }));
        }
        let (parent, name) = split_last(path);
        let (place, name) = match self.open_dir(parent)? {
            Where::Open(dir) => (dir, name),
            Where::Nowhere => return Ok((Where::Nowhere, Made::Now)),
        };
        if self.is_dry() {
            return match self.open_dir(path)? {
                Where::Open(dir) => Ok((Where::Open(dir), Made::Before)),
                Where::Nowhere => Ok((Where::Nowhere, Made::Now)),
            };
        }
        let fit = self.take_name(&place, name)?;
        let (handle, made) = make_dir(&place.handle, name, Mode::RWXU).map_err(Fault::of_dir)?;
        if made == Made::Now {
            self.unsettled.add(&place);
        } else if fit == Fit::MustBeNew {
            return Err(Fault::Failed(Code::Exists, None));
        }
        let dir = Dir::new(path, handle, made == Made::Now).map_err(Fault::of)?;
        let dir = Arc::new(dir);
        if let Some(dirs) = &mut self.dirs {
            dirs.forget(path);
            dirs.keep(&dir);
        }
        Ok((Where::Open(dir), made))
    }

    /// The transfer of one file has a top and nothing else.
    fn check_is_tree(&self, path: &[u8]) -> Result<(), Fault> {
        match self.shared.place {
            Place::File { .. } if !path.is_empty() => Err(Fault::Violation(Code::OutOfOrder)),
            _ => Ok(()),
        }
    }

    pub(super) fn file(&mut self, name: &[u8], meta: &Meta, content: &[u8]) -> Result<(), Fault> {
        let len = content.len() as u64;
        self.summary.bytes = self.summary.bytes.saturating_add(len);
        let Spot { dir, name, made, path } = self.spot(name)?;
        let Some(dir) = dir.filter(|_| !self.is_dry()) else {
            let change = if made == Made::Now { Change::New } else { Change::Content };
            self.summary.files += 1;
            self.tell(change, &path, len);
            return Ok(());
        };
        let fit = self.take_name(&dir, &name)?;
        let is_new = made == Made::Now;
        let pending = match self.only_file(&dir, &path, &name, content)? {
            Some((temp, lock)) => {
                let (file, meta) = (Some(Content::New(lock)), Some(meta.clone()));
                Pending { temp, name, size: len, file, meta, fit, is_new, is_patch: false }
            }
            None => {
                let temp = self.scratch_name()?;
                let modes = &mut self.here.modes;
                let file = write_small(&dir.handle, &temp, meta, content, &self.dress, modes)?;
                let is_kept = self.shared.options.durable == Durable::File;
                let file = is_kept.then_some(Content::Small(file));
                Pending { temp, name, size: len, file, meta: None, fit, is_new, is_patch: false }
            }
        };
        self.progress.moved(len);
        self.progress.file_done();
        self.batch.push(&dir, pending);
        Ok(())
    }

    /// The one file of a transfer is made as a large one is, under the name of its partial file: so
    /// that what a killed transfer left is found without reading the whole directory. `None` in a
    /// tree, and while another transfer has that name.
    fn only_file(
        &mut self,
        dir: &Dir,
        path: &[u8],
        name: &[u8],
        content: &[u8],
    ) -> Result<Option<(Vec<u8>, Locked)>, Fault> {
        if !matches!(self.shared.place, Place::File { .. }) {
            return Ok(None);
        }
        let partial = self.shared.ids.partial_name(path, name);
        let lock = match partial::create(&dir.handle, &partial) {
            Ok(lock) => lock,
            Err(Code::Busy) => return Ok(None),
            Err(code) => return Err(code.into()),
        };
        match write_at(&lock, content, 0) {
            Ok(()) => Ok(Some((partial, lock))),
            Err((written, code)) => {
                let _ = unlinkat(&dir.handle, &partial, AtFlags::empty());
                let missing = content.len() as u64 - written;
                Err(Fault::Failed(code, (code == Code::NoSpace).then_some(missing)))
            }
        }
    }

    pub(super) fn link(&mut self, name: &[u8], meta: &Meta, target: &[u8]) -> Result<(), Fault> {
        self.check_is_tree(name)?;
        let Spot { dir, name, made, path } = self.spot(name)?;
        self.summary.links += 1;
        let Some(dir) = dir.filter(|_| !self.is_dry()) else {
            self.tell(Change::Link, &path, 0);
            return Ok(());
        };
        let result = self.make_link(&dir, &name, meta, target, made);
        match result {
            Ok(()) => self.tell(Change::Link, &path, 0),
            Err(_) => self.summary.links -= 1,
        }
        result
    }

    /// Makes it under another name and renames it, so that there is never none.
    fn make_link(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        meta: &Meta,
        target: &[u8],
        made: Made,
    ) -> Result<(), Fault> {
        let fit = self.take_name(dir, name)?;
        let is_there = made == Made::Before
            && readlinkat(&dir.handle, name, Vec::new())
                .is_ok_and(|present| present.as_bytes() == target);
        if is_there {
            return self.dress.name(&dir.handle, name, meta).map_err(Fault::of);
        }
        let temp = self.scratch_name()?;
        symlinkat(target, &dir.handle, &temp).map_err(Fault::of_name)?;
        self.finish_temp(dir, &temp, name, meta, fit, made)
    }

    pub(super) fn special(
        &mut self,
        name: &[u8],
        meta: &Meta,
        device: Device,
    ) -> Result<(), Fault> {
        self.check_is_tree(name)?;
        if !self.shared.options.special {
            return Err(Fault::Violation(Code::OutOfOrder));
        }
        let is_device = matches!(device, Device::Character(..) | Device::Block(..));
        if is_device && !self.permits.devices {
            return Err(Fault::Failed(Code::PermissionDenied, None));
        }
        let Spot { dir, name, path, .. } = self.locate_here(name)?;
        if let Some(dir) = dir.filter(|_| !self.is_dry()) {
            self.make_special(&dir, &name, meta, device)?;
        }
        self.summary.special += 1;
        self.tell(Change::Special, &path, 0);
        Ok(())
    }

    fn make_special(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        meta: &Meta,
        device: Device,
    ) -> Result<(), Fault> {
        let made = match statat(&dir.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Made::Now,
            Err(errno) => return Err(Fault::of_name(errno)),
            Ok(stat) if kind_of(&stat) == EntryKind::Dir => {
                return Err(Fault::Failed(Code::IsADirectory, None));
            }
            Ok(_) => Made::Before,
        };
        let fit = self.take_name(dir, name)?;
        let temp = self.scratch_name()?;
        let (kind, number) = match device {
            Device::Pipe => (FileType::Fifo, 0),
            Device::Socket => (FileType::Socket, 0),
            Device::Character(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
            Device::Block(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(&dir.handle, &temp, kind, mode, number).map_err(Fault::of)?;
        self.finish_temp(dir, &temp, name, meta, fit, made)
    }

    /// Gives what was made under another name its metadata and its own name.
    fn finish_temp(
        &mut self,
        dir: &Arc<Dir>,
        temp: &[u8],
        name: &[u8],
        meta: &Meta,
        fit: Fit,
        made: Made,
    ) -> Result<(), Fault> {
        let dressed = self.dress.name(&dir.handle, temp, meta).map_err(Fault::of);
        let result = dressed.and_then(|()| self.give_name(dir, temp, name, fit, made));
        match result {
            Ok(()) => self.unsettled.add(dir),
            Err(_) => drop(unlinkat(&dir.handle, temp, AtFlags::empty())),
        }
        result
    }

    /// Carried out at the end, when the file has its name.
    pub(super) fn hard(&mut self, name: &[u8], of: &[u8]) -> Result<(), Fault> {
        self.check_is_tree(name)?;
        self.locate_here(name)?;
        if of.is_empty() {
            return Err(Fault::Violation(Code::BadName));
        }
        let path = join(&self.here.path, name);
        self.remember(path.len() + of.len())?;
        self.hards.push((path, of.to_vec()));
        Ok(())
    }

    /// Permissions, time and owner of what is right otherwise.
    pub(super) fn meta(&mut self, name: &[u8], meta: &Meta) -> Result<(), Fault> {
        let Spot { dir, name, path, .. } = self.locate_here(name)?;
        if let Some(dir) = dir {
            let stat = statat(&dir.handle, &name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = kind_of(&stat.map_err(Fault::of)?);
            if kind == EntryKind::Dir {
                self.remember(path.len())?;
                self.dressed_last.push((path.clone(), meta.clone()));
            } else if !self.is_dry() {
                self.dress.name(&dir.handle, &name, meta).map_err(Fault::of)?;
                self.unsettled.add(&dir);
            }
        }
        self.tell(Change::Meta, &path, 0);
        Ok(())
    }

    /// Where `name` in the current directory goes.
    fn locate_here(&mut self, name: &[u8]) -> Result<Spot, Fault> {
        let path = join(&self.here.path, name);
        let (place, name) = self.locate(&path)?;
        let dir = match place {
            Where::Open(dir) => Some(dir),
            Where::Nowhere => None,
        };
        Ok(Spot { dir, name, made: Made::Now, path })
    }

    /// The same, and whether a file or a link is to be replaced there.
    fn spot(&mut self, name: &[u8]) -> Result<Spot, Fault> {
        let mut spot = self.locate_here(name)?;
        if let Some(dir) = spot.dir.as_ref().filter(|dir| !dir.is_fresh) {
            spot.made = self.made(dir, &spot.name, &spot.path)?;
        }
        Ok(spot)
    }

    /// Whether a file or a link is to be replaced at `path`, which is `name` in `dir`.
    pub(super) fn made(&self, dir: &Dir, name: &[u8], path: &[u8]) -> Result<Made, Code> {
        match is_replaceable(&dir.handle, name) {
            Err(Code::IsADirectory) if self.cleared.as_deref() == Some(path) => Ok(Made::Now),
            result => result,
        }
    }

    /// A name for something that gets its own at once, or when it is on the disk.
    pub(super) fn scratch_name(&mut self) -> Result<Vec<u8>, Fault> {
        if let Some(top) = self.shared.place.top() {
            self.shared.scratch.begin(&top.handle)?;
        }
        Ok(self.shared.scratch.next())
    }

    /// Gives something its name. What has it is moved to the backup where there is one.
    pub(super) fn give_name(
        &mut self,
        dir: &Dir,
        temp: &[u8],
        name: &[u8],
        fit: Fit,
        made: Made,
    ) -> Result<(), Fault> {
        if made == Made::Before
            && let (Some(backup), Some(dirs)) = (&mut self.backup, &self.dirs)
        {
            backup.keep(dirs.top(), dir, name, &self.shared.scratch)?;
        }
        let handle = &dir.handle;
        match fit {
            Fit::MustBeNew => super::publish::rename_to_new(handle, temp, name),
            Fit::Free | Fit::Taken => renameat(handle, temp, handle, name),
        }
        .map_err(Fault::of_name)
    }
}

/// Where an entry goes.
struct Spot {
    /// `None` where it is not there and will not be made.
    dir: Option<Arc<Dir>>,
    /// The name that it gets.
    name: Vec<u8>,
    /// Whether a file or a link is there already.
    made: Made,
    /// What the sender calls it.
    path: Vec<u8>,
}
