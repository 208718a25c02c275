//! The content of one file, by the kernel itself where it can.

use std::ops::ControlFlow;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{
    Mode, OFlags, SeekFrom, copy_file_range, fchmod, fstat, ftruncate, futimens, seek,
};
use rustix::io::{Errno, pread};
use tow_proto::Code;
use tow_proto::message::EntryKind;

use super::pending::Pending;
use super::{Copying, Entry, First};
use crate::beneath::{code_of, open_within};
use crate::files::content::has_changed;
use crate::files::meta::{FileId, kind_of, mtime_of, permissions, size_of_file, timestamps};
use crate::files::name;
use crate::files::partial::{self, Ids, write_at};

impl Copying<'_> {
    /// Copies a file; it waits for its name then.
    pub(super) fn file(&mut self, entry: &Entry<'_>) -> ControlFlow<(), Result<(), Code>> {
        let opened = name::check(entry.to_dir, entry.to_name, self.exists)
            .and_then(|_| open_file(entry.from_dir, entry.from_name));
        let from = match opened {
            Ok(from) => from,
            Err(code) => return ControlFlow::Continue(Err(code)),
        };
        // The same for the same name: one that a killed node left is used again.
        let temp = Ids::new("copy", &"".into()).partial_name(entry.to_name, entry.to_name);
        let file = match partial::create(entry.to_dir, &temp) {
            Ok(file) => file,
            Err(code) => return ControlFlow::Continue(Err(code)),
        };
        let (dir, name) = (Arc::clone(entry.to_dir), entry.to_name.to_vec());
        let pending = Pending { dir, temp, name, file, path: entry.path.clone() };
        match self.content(&from, &pending.file) {
            ControlFlow::Continue(Ok(())) => {}
            failed => {
                pending.remove();
                return failed;
            }
        }
        if let (Ok(stat), Ok(copy)) = (fstat(&from), fstat(&*pending.file))
            && stat.st_nlink > 1
        {
            let first = First { path: entry.path.clone(), id: FileId::of(&copy) };
            self.firsts.insert(FileId::of(&stat), first);
        }
        self.push(pending);
        ControlFlow::Continue(Ok(()))
    }

    /// Content, permissions and time.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd) -> ControlFlow<(), Result<(), Code>> {
        let before = match fstat(from) {
            Ok(stat) => stat,
            Err(errno) => return ControlFlow::Continue(Err(code_of(errno))),
        };
        let size = size_of_file(&before);
        // Files that a kernel makes up have no size.
        let copied = if size == 0 {
            self.range(from, to, 0, u64::MAX)?
        } else {
            self.parts(from, to, size)?
        };
        let dress = || {
            fchmod(to, Mode::from_raw_mode(permissions(before.st_mode)))?;
            futimens(to, &timestamps(mtime_of(&before)))?;
            fstat(from)
        };
        ControlFlow::Continue(copied.and_then(|()| match dress() {
            Ok(now) if has_changed(&before, &now) => Err(Code::Changed),
            Ok(_) => Ok(()),
            Err(errno) => Err(code_of(errno)),
        }))
    }

    /// What is not a hole.
    fn parts(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        size: u64,
    ) -> ControlFlow<(), Result<(), Code>> {
        let mut at = 0;
        while at < size {
            let data = match seek(from, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole.
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let hole = seek(from, SeekFrom::Hole(data)).unwrap_or(size);
            // One that says no more of itself is read to its end.
            let end = if hole > data { hole.min(size) } else { size };
            if let Err(code) = self.range(from, to, data, end)? {
                return ControlFlow::Continue(Err(code));
            }
            at = end;
        }
        ControlFlow::Continue(ftruncate(to, size).map_err(code_of))
    }

    fn range(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        mut at: u64,
        end: u64,
    ) -> ControlFlow<(), Result<(), Code>> {
        while at < end {
            (self.go_on)()?;
            match self.step(from, to, at, end - at) {
                // Shorter than it was: that it has changed is found afterwards.
                Ok(0) => break,
                Ok(copied) => at += copied,
                Err(code) => return ControlFlow::Continue(Err(code)),
            }
        }
        ControlFlow::Continue(Ok(()))
    }

    /// Copies some bytes, and gives how many.
    fn step(&mut self, from: &OwnedFd, to: &OwnedFd, at: u64, len: u64) -> Result<u64, Code> {
        if self.by_kernel {
            let len = len.min(KERNEL_LEN_MAX) as usize;
            match copy_file_range(from, Some(&mut at.clone()), to, Some(&mut at.clone()), len) {
                // Not every file system knows where such a file ends.
                Ok(0) => {}
                Ok(copied) => return Ok(copied as u64),
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                    return Err(code_of(errno));
                }
                Err(Errno::INTR) => {}
                Err(_) => self.by_kernel = false,
            }
        }
        self.buf.resize(COPY_LEN, 0);
        let wanted = usize::try_from(len).map_or(COPY_LEN, |len| len.min(COPY_LEN));
        let read = loop {
            match pread(from, &mut self.buf[..wanted], at) {
                Ok(read) => break read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(code_of(errno)),
            }
        };
        write_at(to, &self.buf[..read], at).map_err(|(_, code)| code)?;
        Ok(read as u64)
    }
}

/// Opens a regular file for reading, without waiting for anybody.
fn open_file(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Code> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_within(dir, name, flags, Mode::empty()).map_err(code_of)?;
    let stat = fstat(&file).map_err(code_of)?;
    if kind_of(&stat) == EntryKind::File { Ok(file) } else { Err(Code::SpecialFile) }
}

/// What the kernel is asked for at once: so often it is asked whether to go on.
const KERNEL_LEN_MAX: u64 = 64 << 20;
/// What is read and written at once where the kernel can't.
const COPY_LEN: usize = 256 << 10;
