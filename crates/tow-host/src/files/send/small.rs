//! Files that travel in packs: opened, read straight into the pack, and taken back where they changed
//! meanwhile.

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, pread, read};
use tow_proto::Code;
use tow_proto::message::EntryKind;
use tow_proto::transfer::{Filled, INLINE_MAX};

use super::{Here, Sender};
use crate::beneath::code_of;
use crate::files::meta::{Identity, kind_of, size_of_file};

/// What became of a file that is to go into a pack.
pub(super) enum Small {
    /// It is in the pack, with so many bytes.
    Packed(u64),
    /// It has grown too large for one.
    Large,
    Failed(Code),
}

/// Why a file is not in the pack after all.
enum Fault {
    Changed,
    Failed(Code),
}

impl Sender<'_> {
    /// Puts a file into the pack.
    pub(super) fn small(&mut self, here: &mut Here<'_>, name: &[u8]) -> Small {
        for _ in 0..TRIES_MAX {
            match self.try_small(here, name) {
                Ok(small) => return small,
                Err(Fault::Changed) => {}
                Err(Fault::Failed(code)) => return Small::Failed(code),
            }
        }
        Small::Failed(Code::Changed)
    }

    fn try_small(&mut self, here: &mut Here<'_>, name: &[u8]) -> Result<Small, Fault> {
        let (file, stat) = self.open_small(here, name).map_err(Fault::Failed)?;
        let before = Identity::of(&stat);
        if before.size > INLINE_MAX {
            return Ok(Small::Large);
        }
        if before.size == 0 {
            check_empty(&file).map_err(|errno| Fault::Failed(code_of(errno)))?;
        }
        let meta = self.look.meta(&stat);
        let len = before.size as usize;
        let filled =
            self.packer.file_with(name, &meta, len, |buf| fill(&file, buf, len, before))?;
        match filled {
            Filled::Whole => Ok(Small::Packed(before.size)),
            Filled::WrongLen => Err(Fault::Changed),
        }
    }

    /// Opens a file of this directory for reading. Never waits for the other end of a pipe, and
    /// never reads from a device.
    fn open_small(&mut self, here: &mut Here<'_>, name: &[u8]) -> Result<(OwnedFd, Stat), Code> {
        let Some(dir) = here.dir(&mut self.origin)? else { return self.origin.open(&name.into()) };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let traceless = if here.leaves_trace { OFlags::empty() } else { OFlags::NOATIME };
        let file = match openat(&dir, name, flags | traceless, Mode::empty()) {
            // Reading should not leave a trace; but only the owner may ask for that.
            Err(Errno::PERM) => {
                here.leaves_trace = true;
                openat(&dir, name, flags, Mode::empty())
            }
            result => result,
        };
        let file = file.map_err(code_of)?;
        let stat = fstat(&file).map_err(code_of)?;
        match kind_of(&stat) {
            EntryKind::File => Ok((file, stat)),
            EntryKind::Dir => Err(Code::IsADirectory),
            EntryKind::Link | EntryKind::Special => Err(Code::SpecialFile),
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Failed(code_of(errno))
    }
}

/// Appends the `len` bytes that the file has, if it is afterwards what it was before.
fn fill(file: &OwnedFd, buf: &mut Vec<u8>, len: usize, before: Identity) -> Result<(), Fault> {
    let end = buf.len() + len;
    while buf.len() < end {
        // The buffer may have more room than the file needs.
        match read(file, spare_capacity(buf)) {
            Ok(0) => return Err(Fault::Changed),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    if buf.len() == end && Identity::of(&fstat(file)?) == before {
        Ok(())
    } else {
        Err(Fault::Changed)
    }
}

/// What the kernel makes up while it is read (`/proc`) says that it is empty. To send nothing
/// would be a lie, to send all of it would be of no length that could be told before.
pub(super) fn check_empty(file: &OwnedFd) -> Result<(), Errno> {
    let mut byte = [0u8];
    let has_content = loop {
        match pread(file, &mut byte, 0) {
            Err(Errno::INTR) => {}
            result => break result? > 0,
        }
    };
    if has_content && size_of_file(&fstat(file)?) == 0 { Err(Errno::NODEV) } else { Ok(()) }
}

/// How often a file is read that changes meanwhile.
pub(super) const TRIES_MAX: usize = 3;
