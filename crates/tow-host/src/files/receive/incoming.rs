//! The content of large files.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, unlinkat};
use tow_proto::message::{End, EntryKind, STDOUT};
use tow_proto::transfer::{BLOCK_LEN_MAX, BLOCK_LEN_MIN, How, Meta, Run, RunReader};
use tow_proto::{Code, Refusal};

use super::Fault;
use super::destination::{Made, Tells};
use super::dirs::Dir;
use super::large::{About, Body, Content, Incoming, Old, over_size_max};
use super::names::Fit;
use super::publish::Pending;
use super::receiver::{Out, Receiver, State, Where};
use crate::beneath::{code_of, open_within};
use crate::files::item::Change;
use crate::files::meta::{kind_of, size_of_file};
use crate::files::partial;

impl Receiver {
    /// Makes ready for a file's content; `None` where it is not wanted.
    pub(super) fn start(
        &mut self,
        path: &[u8],
        meta: &Meta,
        size: u64,
        how: How,
        out: Out<'_>,
    ) -> Result<Option<Incoming>, Fault> {
        let (place, name) = self.locate(path)?;
        let (dir, is_new) = match place {
            Where::Nowhere => return Ok(self.would_receive(path, size, how, Made::Now)),
            Where::Open(dir) => {
                let made = self.made(&dir, &name, path)?;
                (dir, made)
            }
        };
        if self.is_dry() {
            return Ok(self.would_receive(path, size, how, is_new));
        }
        // To be told whether a guess of what is there was right would be to read it.
        if self.shared.tells == Tells::Nothing && how != How::Whole {
            return Err(Fault::Violation(Code::OutOfOrder));
        }
        if let Some(max) = over_size_max(&dir.handle, size) {
            return Err(Fault::Failed(Code::TooLong, Some(max)));
        }
        let fit = self.take_name(&dir, &name)?;
        let partial = self.shared.ids.partial_name(path, &name);
        let (content, old) = match how {
            How::Whole => (self.new_content(&dir, &partial, path, out)?, None),
            How::Resume { len } => (self.kept_content(&dir, &partial, path, len)?, None),
            How::Blocks { len } => {
                let old = open_old(&dir, &name, len)?;
                (self.new_content(&dir, &partial, path, out)?, Some(old))
            }
        };
        let (is_patch, is_in_parts) = (old.is_some(), how != How::Whole);
        let body = Body::new(content, size, old)?;
        self.progress.reused(body.kept());
        let about = About {
            path: path.to_vec(),
            dir,
            name,
            partial,
            meta: meta.clone(),
            size,
            fit,
            is_new: is_new == Made::Now,
            is_patch,
            is_in_parts,
        };
        Ok(Some(Incoming { about, body }))
    }

    fn would_receive(&mut self, path: &[u8], size: u64, how: How, made: Made) -> Option<Incoming> {
        self.tell(if made == Made::Now { Change::New } else { Change::Content }, path, size);
        self.summary.files += 1;
        self.summary.patched += u64::from(matches!(how, How::Blocks { .. }));
        self.progress.file_done();
        None
    }

    /// Whether a name may be given in `dir`, where the file system may know another for the same.
    pub(super) fn take_name(&mut self, dir: &Dir, name: &[u8]) -> Result<Fit, Fault> {
        let scratch = &self.shared.scratch;
        match self.names.take(dir, name, || scratch.next()) {
            Fit::Taken => Err(Fault::Failed(Code::Exists, None)),
            fit => Ok(fit),
        }
    }

    /// An empty partial file.
    fn new_content(
        &mut self,
        dir: &Dir,
        partial: &[u8],
        path: &[u8],
        out: Out<'_>,
    ) -> Result<Content, Fault> {
        if let Some(part) = self.shared.parts.take_open(path)
            && part.file.is_named(&dir.handle, partial)
        {
            return Ok(Content::Emptied(part));
        }
        match partial::create(&dir.handle, partial) {
            // What is pending may hold the last handles, or this very name.
            Err(Code::Busy) if !self.batch.is_empty() => {
                self.publish(out);
                Ok(Content::New(partial::create(&dir.handle, partial)?))
            }
            result => Ok(Content::New(result?)),
        }
    }

    /// The partial file of an earlier transfer, as it was when the sender heard of it.
    fn kept_content(
        &mut self,
        dir: &Dir,
        partial: &[u8],
        path: &[u8],
        len: u64,
    ) -> Result<Content, Fault> {
        let part = match self.shared.parts.open(dir, partial, path) {
            Err(Code::NotFound) => return Err(Fault::Failed(Code::Changed, None)),
            result => result?,
        };
        if part.len != len || !part.file.is_named(&dir.handle, partial) {
            return Err(Fault::Failed(Code::Changed, None));
        }
        Ok(Content::Kept(part))
    }

    pub(super) fn handle_data(&mut self, content: &[u8], out: Out<'_>) -> Result<(), Refusal> {
        let len = content.len() as u64;
        self.summary.bytes = self.summary.bytes.saturating_add(len);
        let progress = Arc::clone(&self.progress);
        self.with_body(out, |body, _| {
            body.data(content)?;
            progress.moved(len);
            Ok(())
        })
    }

    pub(super) fn handle_copy(&mut self, runs: &[Run], out: Out<'_>) -> Result<(), Refusal> {
        let progress = Arc::clone(&self.progress);
        self.with_body(out, |body, stop| {
            let before = body.copied;
            let result = body.copy(runs, stop);
            progress.reused(body.copied - before);
            result
        })
    }

    pub(super) fn handle_hole(&mut self, len: u64, out: Out<'_>) -> Result<(), Refusal> {
        self.with_body(out, |body, stop| body.hole(len, stop))
    }

    pub(super) fn handle_at(&mut self, offset: u64) -> Result<(), Refusal> {
        self.with_body(&mut |_| {}, |body, _| body.jump(offset))
    }

    /// Adds to the file that is being received. Where that fails, what is still on its way is
    /// dropped, and the partial file stays.
    fn with_body(
        &mut self,
        out: Out<'_>,
        add: impl FnOnce(&mut Body, &super::Stop) -> Result<(), Fault>,
    ) -> Result<(), Refusal> {
        let incoming = match &mut self.state {
            State::Receiving(incoming) => incoming,
            State::Skipping => return Ok(()),
            State::Idle | State::Finished => return Err(Code::OutOfOrder.into()),
        };
        let Err(fault) = add(&mut incoming.body, &self.shared.stop) else { return Ok(()) };
        let refusal = fault.about(&incoming.about.path);
        match fault {
            Fault::Violation(_) => return Err(refusal),
            Fault::Failed(code @ Code::Corrupt, _) => self.throw_away(code),
            Fault::Failed(..) => self.set_aside(),
        }
        self.state = State::Skipping;
        self.fail(refusal, out);
        Ok(())
    }

    /// The file ends here and is not to be used.
    pub(super) fn handle_break(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Receiving(_) => self.set_aside(),
            State::Skipping => self.state = State::Idle,
            State::Idle | State::Finished => return Err(Code::OutOfOrder.into()),
        }
        Ok(())
    }

    /// The partial file stays if it has anything: whether that is right is found out when it is used
    /// again.
    pub(super) fn set_aside(&mut self) {
        if let State::Receiving(incoming) = std::mem::replace(&mut self.state, State::Idle) {
            let Incoming { about, body } = *incoming;
            self.take_back(&body);
            body.abandon();
            if body.is_empty() && body.is_named(&about.dir.handle, &about.partial) {
                let _ = unlinkat(&about.dir.handle, &about.partial, AtFlags::empty());
            }
            self.shared.parts.keep(&about.path);
        }
    }

    /// What has come of it is of no use, for this reason.
    fn throw_away(&mut self, code: Code) {
        if let State::Receiving(incoming) = std::mem::replace(&mut self.state, State::Idle) {
            self.take_back(&incoming.body);
            let About { dir, partial, path, is_in_parts, .. } = &incoming.about;
            if *is_in_parts {
                self.expect_again(path, code);
            }
            let _ = unlinkat(&dir.handle, partial, AtFlags::empty());
            self.shared.parts.close(path);
        }
    }

    fn take_back(&self, body: &Body) {
        self.progress.take_back(body.moved, body.kept() + body.copied);
    }

    pub(super) fn handle_end(&mut self, end: End, out: Out<'_>) -> Result<(), Refusal> {
        if end.stream != STDOUT {
            return Err(Code::Malformed.into());
        }
        let incoming = match &mut self.state {
            State::Receiving(incoming) => incoming,
            State::Skipping => {
                self.state = State::Idle;
                return Ok(());
            }
            State::Idle | State::Finished => return Err(Code::OutOfOrder.into()),
        };
        let why = match incoming.body.is_whole(end.total, &end.blake3, &self.shared.stop) {
            Ok(true) => None,
            Ok(false) => Some(Code::Corrupt),
            Err(code) => Some(code),
        };
        if let Some(code) = why {
            let refusal = Refusal::about(code, incoming.about.path.clone());
            if code == Code::Stopping {
                self.set_aside();
            } else {
                self.throw_away(code);
            }
            self.fail(refusal, out);
            return Ok(());
        }
        if let State::Receiving(incoming) = std::mem::replace(&mut self.state, State::Idle) {
            self.accept(*incoming);
        }
        Ok(())
    }

    /// A file that is complete and right.
    fn accept(&mut self, incoming: Incoming) {
        let Incoming { about, body } = incoming;
        self.summary.reused += body.reused();
        // What was there and came again all the same counts once.
        let again = (body.kept() + body.copied + body.moved).saturating_sub(about.size);
        self.progress.take_back(0, again.min(body.kept() + body.copied));
        self.progress.file_done();
        self.shared.parts.close(&about.path);
        let About { dir, name, partial, meta, size, fit, is_new, is_patch, .. } = about;
        let pending = Pending {
            temp: partial,
            name,
            size,
            file: Some(body.into_file()),
            meta: Some(meta),
            fit,
            is_new,
            is_patch,
        };
        self.batch.push(&dir, pending);
    }
}

/// The file that blocks are copied from. Where it is not there any more, the sender sends all of the
/// new one, as if what was made of it were wrong.
fn open_old(dir: &Dir, name: &[u8], block_len: u64) -> Result<Old, Fault> {
    let lens = u64::from(BLOCK_LEN_MIN)..=u64::from(BLOCK_LEN_MAX);
    if !block_len.is_power_of_two() || !lens.contains(&block_len) {
        return Err(Fault::Violation(Code::Malformed));
    }
    let (file, size) = open_plain(&dir.handle, name).map_err(|_| Fault::from(Code::Corrupt))?;
    Ok(Old { file, runs: RunReader::new(size, block_len) })
}

/// Opens a regular file for reading, whatever else may have its name, and tells its length.
pub(super) fn open_plain(dir: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, u64), Code> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_within(dir, name, flags, Mode::empty()).map_err(code_of)?;
    let stat = fstat(&file).map_err(code_of)?;
    match kind_of(&stat) {
        EntryKind::File => Ok((file, size_of_file(&stat))),
        _ => Err(Code::SpecialFile),
    }
}
