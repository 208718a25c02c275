//! The end of a transfer: further names, leftovers, directories, the disk.

use std::sync::Arc;

use rustix::fs::{AtFlags, fstat, futimens, linkat, statat, unlinkat};
use rustix::io::Errno;
use tow_proto::message::{EntryKind, Summary};
use tow_proto::transfer::Durable;
use tow_proto::{ByteString, Code, Refusal};

use super::Fault;
use super::destination::{Made, Place};
use super::dirs::Dir;
use super::receiver::{Out, Receiver, State, Where};
use crate::beneath::split_last;
use crate::files::Phase;
use crate::files::item::Change;
use crate::files::meta::{FileId, kind_of, mtime_of, timestamps};
use crate::files::partial::{Existing, open_existing};

impl Receiver {
    /// Puts everything that is pending in its place and makes it as safe as it is to be. The caller
    /// sends the summary as the last event.
    pub fn finish(mut self, out: Out<'_>) -> Summary {
        self.progress.enter(Phase::Saving);
        self.publish(out);
        if matches!(self.state, State::Finished) {
            self.make_hards(out);
            self.forget_partials();
        }
        // Before the top gets its time.
        self.end_scratch();
        if matches!(self.state, State::Finished) {
            self.dress_dirs(out);
        }
        self.close_dirs(None);
        let unsettled = std::mem::take(&mut self.unsettled);
        if self.shared.options.durable != Durable::None
            && let Err(code) = unsettled.settle()
        {
            self.fail(Refusal::about(code, ByteString::default()), out);
        }
        self.progress.enter(Phase::Done);
        self.summary
    }

    fn make_hards(&mut self, out: Out<'_>) {
        for (path, of) in std::mem::take(&mut self.hards) {
            match self.make_hard(&path, &of) {
                Ok(Made::Now) => {
                    self.summary.hard_links += 1;
                    self.tell(Change::Hard, &path, 0);
                }
                Ok(Made::Before) => {}
                Err(Fault::Violation(code)) => self.fail(Refusal::about(code, path), out),
                Err(fault) => self.fail(fault.about(&path), out),
            }
        }
    }

    /// Gives a file another name, unless it has it.
    fn make_hard(&mut self, path: &[u8], of: &[u8]) -> Result<Made, Fault> {
        let (place, name) = self.locate(path)?;
        let (of_place, of_name) = self.locate(of)?;
        // What is there of the other is not what this one is to be.
        if self.unmade.contains(of) {
            return Err(Fault::Failed(Code::Changed, None));
        }
        let (Where::Open(dir), Where::Open(of_dir)) = (place, of_place) else {
            return Ok(Made::Now);
        };
        let source = match statat(&of_dir.handle, &of_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if self.is_dry() => return Ok(Made::Now),
            source => source.map_err(Fault::of)?,
        };
        let is_file = kind_of(&source) == EntryKind::File;
        let made = match statat(&dir.handle, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Made::Now,
            Err(errno) => return Err(Fault::of_name(errno)),
            Ok(stat) if is_file && FileId::of(&stat) == FileId::of(&source) => {
                return Ok(Made::Before);
            }
            Ok(_) if self.is_dry() => return Ok(Made::Now),
            Ok(stat) if kind_of(&stat) == EntryKind::Dir => {
                return Err(Fault::Failed(Code::IsADirectory, None));
            }
            Ok(_) => Made::Before,
        };
        if self.is_dry() {
            return Ok(Made::Now);
        }
        if !is_file {
            return Err(Fault::Failed(Code::SpecialFile, None));
        }
        self.link_to(&of_dir, &of_name, &dir, &name, made).map(|()| Made::Now)
    }

    fn link_to(
        &mut self,
        of_dir: &Arc<Dir>,
        of_name: &[u8],
        dir: &Arc<Dir>,
        name: &[u8],
        made: Made,
    ) -> Result<(), Fault> {
        let fit = self.take_name(dir, name)?;
        let before = fstat(&dir.handle).map_err(Fault::of)?;
        let temp = self.scratch_name()?;
        linkat(&of_dir.handle, of_name, &dir.handle, &temp, AtFlags::empty()).map_err(Fault::of)?;
        let result = self.give_name(dir, &temp, name, fit, made);
        // Renaming one name of a file to another name of it does nothing.
        let _ = unlinkat(&dir.handle, &temp, AtFlags::empty());
        // Where nothing else changes in the directory, nobody says what time it gets.
        let _ = futimens(&dir.handle, &timestamps(mtime_of(&before)));
        self.unsettled.add(dir);
        result
    }

    /// Removes partial files of what the source no longer has, or has whole here.
    fn forget_partials(&mut self) {
        if self.is_dry() {
            return;
        }
        for path in self.shared.parts.take_left() {
            let (parent, name) = split_last(&path);
            let name = match &self.shared.place {
                Place::File { name, .. } => name.clone(),
                _ => name.to_vec(),
            };
            let partial = self.shared.ids.partial_name(&path, &name);
            if let Ok(Where::Open(dir)) = self.open_dir(parent)
                && let Ok(Existing::Ours(_locked)) = open_existing(&dir.handle, &partial)
            {
                let _ = unlinkat(&dir.handle, &partial, AtFlags::empty());
            }
        }
    }

    /// Permissions and times of directories, the deepest first: what is put into one changes its
    /// time, and may not be allowed any more afterwards.
    fn dress_dirs(&mut self, out: Out<'_>) {
        let mut dirs = std::mem::take(&mut self.dressed_last);
        if self.is_dry() {
            return;
        }
        if dirs.len() > 1 {
            self.unsettled.widen();
        }
        dirs.reverse();
        dirs.sort_by(|(one, _), (other, _)| other.cmp(one));
        for (path, meta) in dirs {
            self.close_dirs(Some(&path));
            self.opened.remove(&path);
            let result = match self.open_dir(&path) {
                Ok(Where::Open(dir)) => {
                    self.unsettled.add(&dir);
                    self.dress.dir(&dir.handle, &meta).map_err(Fault::of)
                }
                Ok(Where::Nowhere) => Ok(()),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = result {
                self.fail(fault.about(&path), out);
            }
        }
    }

    /// Gives directories that were read-only their permissions back, the deepest first: all of them,
    /// or those that come after `path`.
    fn close_dirs(&mut self, path: Option<&[u8]>) {
        while let Some(last) = self.opened.last_entry()
            && path.is_none_or(|path| last.key().as_slice() > path)
        {
            let (path, former) = last.remove_entry();
            if let Ok(Where::Open(dir)) = self.open_dir(&path) {
                former.restore(&dir.handle);
                self.unsettled.add(&dir);
            }
        }
    }

    fn end_scratch(&self) {
        if let Some(top) = self.shared.place.top() {
            self.shared.scratch.end(&top.handle);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.publish(&mut |_| {});
        self.set_aside();
        self.end_scratch();
        self.close_dirs(None);
    }
}
