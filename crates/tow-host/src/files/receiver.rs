//! The receiving end: takes what the sender sends, believes none of it, and lets a name show only
//! what was proved.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, fchmod, fstat, fstatvfs, futimens, readlinkat, renameat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use tow_proto::content::Tally;
use tow_proto::message::{End, EntryKind, Failure, Mtime, STDOUT, Summary, TransferEvent};
use tow_proto::{ByteString, Code, Refusal};

use super::chunk::{Chunk, Pool};
use super::destination::{Made, Place, check_target, make_dir};
use super::meta::{is_time, kind_of, permissions, size_of_file, timestamps};
use super::partial::{self, Ids, Kept, Locked, write_at};
use super::publish::{Batch, Pending, Unsettled};
use super::tree::check_inner_path;
use super::{ENTRIES_MAX, Item, Phase, Progress};
use crate::beneath::{PATH_LEN_MAX, code_of, open_within};

/// Takes what the sender sends. Dropped unfinished, it puts what is complete in its place and keeps
/// the partial file of what is not, for a resume.
#[derive(Debug)]
pub struct Receiver {
    place: Place,
    ids: Ids,
    kept: HashMap<ByteString, Kept>,
    pool: Arc<Pool>,
    state: State,
    batch: Batch,
    dirs: Vec<Dir>,
    unsettled: Unsettled,
    summary: Summary,
    events: usize,
    dirs_len: usize,
    progress: Arc<Progress>,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    More,
    /// The sender said that this was all: call [`Receiver::finish`].
    Finished,
}

/// Where events for the sender go.
type Out<'a> = &'a mut dyn FnMut(TransferEvent);

#[derive(Debug)]
enum State {
    Idle,
    Receiving(Box<Incoming>),
    /// A file that failed here: what is still on its way is dropped.
    Skipping,
    Finished,
}

/// The file that is being received.
#[derive(Debug)]
struct Incoming {
    announced: Announced,
    target: Target,
    file: Locked,
    tally: Tally,
}

/// What the sender said of a file before its content.
#[derive(Debug)]
struct Announced {
    path: ByteString,
    size: u64,
    mode: u32,
    mtime: Mtime,
    from: u64,
}

/// Where a file or a link goes.
#[derive(Debug)]
struct Target {
    dir: Arc<OwnedFd>,
    name: Vec<u8>,
    partial: Vec<u8>,
}

/// A directory whose permissions and time are set at the end.
#[derive(Debug)]
struct Dir {
    path: ByteString,
    mode: u32,
    mtime: Mtime,
}

/// Why something was not done.
enum Fault {
    /// This path failed, the rest goes on.
    Failed(Refusal),
    /// The sender broke the protocol.
    Violation(Refusal),
}

impl Receiver {
    pub(super) fn new(
        place: Place,
        ids: Ids,
        kept: HashMap<ByteString, Kept>,
        unsettled: Unsettled,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            place,
            ids,
            kept,
            pool: Arc::default(),
            state: State::Idle,
            batch: Batch::default(),
            dirs: Vec::new(),
            unsettled,
            summary: Summary::default(),
            events: 0,
            dirs_len: 0,
            progress,
        }
    }

    /// The next item. What is to be told to the sender goes to `out`.
    ///
    /// # Errors
    /// The sender broke the protocol: the transfer is over.
    pub fn handle(&mut self, item: Item, out: Out<'_>) -> Result<Step, Refusal> {
        match item {
            Item::Data(chunk) => self.handle_data(&chunk, out)?,
            Item::End(end) => self.handle_end(end, out)?,
            Item::Event(event) => match self.handle_event(event, out) {
                Ok(step) => return Ok(step),
                Err(Fault::Violation(refusal)) => return Err(refusal),
                Err(Fault::Failed(refusal)) => self.fail(refusal, out),
            },
        }
        if self.batch.is_due() {
            self.publish(out);
        }
        Ok(Step::More)
    }

    /// Puts everything that is pending in its place and makes it safe. The caller sends the summary
    /// as the last event.
    pub fn finish(mut self, out: Out<'_>) -> Summary {
        self.progress.enter(Phase::Saving);
        self.publish(out);
        if matches!(self.state, State::Finished) {
            self.forget_partials();
        }
        self.finish_dirs(out);
        if let Err(code) = std::mem::take(&mut self.unsettled).settle() {
            self.fail(Refusal::about(code, ByteString::default()), out);
        }
        self.progress.enter(Phase::Done);
        self.summary
    }

    fn handle_event(&mut self, event: TransferEvent, out: Out<'_>) -> Result<Step, Fault> {
        match (&self.state, event) {
            (_, TransferEvent::Unknown) => Ok(Step::More),
            (State::Receiving(_) | State::Skipping, TransferEvent::Break) => {
                self.handle_break();
                Ok(Step::More)
            }
            (State::Idle, TransferEvent::Finish) => {
                self.state = State::Finished;
                Ok(Step::Finished)
            }
            (State::Idle, event) => self.handle_entry(event, out).map(|()| Step::More),
            _ => Err(violation(Code::OutOfOrder)),
        }
    }

    fn handle_entry(&mut self, event: TransferEvent, out: Out<'_>) -> Result<(), Fault> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(violation(Code::TooLong));
        }
        match event {
            TransferEvent::Plan { files, bytes } => {
                self.progress.plan(files, bytes);
                Ok(())
            }
            TransferEvent::Dir { path, mode, mtime } => self.dir(Dir { path, mode, mtime }),
            TransferEvent::Link { path, target, mtime } => self.link(&path, &target, mtime),
            TransferEvent::File { path, size, mode, mtime, from } => {
                // Until it is known to be well, its content is dropped.
                self.state = State::Skipping;
                let incoming = self.start(Announced { path, size, mode, mtime, from }, out)?;
                self.state = State::Receiving(Box::new(incoming));
                Ok(())
            }
            TransferEvent::Same { path, size, mode } => self.same(&path, size, mode),
            TransferEvent::Failed(Failure { path, .. }) => {
                // Its partial stays for another time.
                self.kept.remove(&path);
                self.summary.failed += 1;
                Ok(())
            }
            _ => Err(violation(Code::OutOfOrder)),
        }
    }

    /// Makes ready for a file's content.
    fn start(&mut self, announced: Announced, out: Out<'_>) -> Result<Incoming, Fault> {
        let Announced { path, size, mtime, from, .. } = &announced;
        let failed = |code| Fault::about(code, path);
        if !is_time(*mtime) || from > size {
            return Err(violation(Code::Malformed));
        }
        let kept = self.kept.remove(path);
        let is_known = kept.as_ref().is_some_and(|kept| kept.can_start_at(*from));
        if *from > 0 && !is_known {
            return Err(violation(Code::Malformed));
        }
        let target = self.target(path)?;
        check_target(&target.dir, &target.name).map_err(failed)?;
        let (file, tally) = match kept {
            Some(kept) if kept.file.is_named(&target.dir, &target.partial) => {
                kept.cut_to(*from, &self.pool).map_err(failed)?
            }
            Some(_) if *from > 0 => return Err(failed(Code::Changed)),
            _ => (self.create(&target, out).map_err(failed)?, Tally::default()),
        };
        if let Some(missing) = missing_space(&file, size - from) {
            return Err(Fault::Failed(
                Refusal::about(Code::NoSpace, path.clone()).with_count(missing),
            ));
        }
        self.progress.reused(*from);
        Ok(Incoming { announced, target, file, tally })
    }

    /// An empty partial file. What is pending may hold the last handles, or this very name.
    fn create(&mut self, target: &Target, out: Out<'_>) -> Result<Locked, Code> {
        match partial::create(&target.dir, &target.partial) {
            Err(Code::Busy) if !self.batch.is_empty() => {
                self.publish(out);
                partial::create(&target.dir, &target.partial)
            }
            result => result,
        }
    }

    fn handle_data(&mut self, chunk: &Chunk, out: Out<'_>) -> Result<(), Refusal> {
        let payload = chunk.payload();
        self.summary.bytes += payload.len() as u64;
        let incoming = match &mut self.state {
            State::Receiving(incoming) => incoming,
            State::Skipping => return Ok(()),
            State::Idle | State::Finished => return Err(Code::OutOfOrder.into()),
        };
        let Incoming { announced, file, tally, .. } = &mut **incoming;
        let at = tally.bytes();
        if payload.len() as u64 > announced.size - at {
            return Err(Refusal::about(Code::Malformed, announced.path.clone()));
        }
        tally.update(payload);
        self.progress.moved(payload.len() as u64);
        if let Err((written, code)) = write_at(file, payload, at) {
            let mut refusal = Refusal::about(code, announced.path.clone());
            if code == Code::NoSpace {
                refusal = refusal.with_count(announced.size - written);
            }
            self.handle_break();
            self.state = State::Skipping;
            self.fail(refusal, out);
        }
        Ok(())
    }

    /// The file ends here and is not to be used. Its partial stays: whether its start is right is
    /// found out when it is used again.
    fn handle_break(&mut self) {
        if let State::Receiving(incoming) = std::mem::replace(&mut self.state, State::Idle) {
            let Incoming { announced, tally, .. } = *incoming;
            self.progress.take_back(tally.bytes() - announced.from, announced.from);
        }
    }

    fn handle_end(&mut self, end: End, out: Out<'_>) -> Result<(), Refusal> {
        if end.stream != STDOUT {
            return Err(Code::Malformed.into());
        }
        let incoming = match std::mem::replace(&mut self.state, State::Idle) {
            State::Receiving(incoming) => *incoming,
            State::Skipping => return Ok(()),
            State::Idle | State::Finished => return Err(Code::OutOfOrder.into()),
        };
        let Incoming { announced, target, file, tally } = incoming;
        let Announced { path, size, mode, mtime, from } = announced;
        let is_whole = end.total == size && tally.bytes() == size;
        if !is_whole || tally.hash() != end.blake3 {
            let _ = unlinkat(&*target.dir, &target.partial, AtFlags::empty());
            self.progress.take_back(tally.bytes() - from, from);
            self.fail(Refusal::about(Code::Corrupt, path), out);
            return Ok(());
        }
        self.summary.reused += from;
        self.progress.file_done();
        let Target { dir, name, partial } = target;
        self.batch.push(Pending { path, dir, partial, name, file, size, mode, mtime });
        Ok(())
    }

    fn publish(&mut self, out: Out<'_>) {
        for (path, result) in self.batch.publish(&mut self.unsettled) {
            match result {
                Ok(()) => self.summary.files += 1,
                Err(code) => self.fail(Refusal::about(code, path), out),
            }
        }
    }

    fn same(&mut self, path: &ByteString, size: u64, mode: u32) -> Result<(), Fault> {
        let failed = |errno| Fault::about(code_of(errno), path);
        let target = self.target(path)?;
        let stat = target.stat().map_err(failed)?;
        if kind_of(&stat) != EntryKind::File || size_of_file(&stat) != size {
            return Err(Fault::about(Code::Changed, path));
        }
        if permissions(stat.st_mode) != permissions(mode) {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            open_within(&*target.dir, &target.name, flags, Mode::empty())
                .and_then(|file| fchmod(&file, Mode::from_raw_mode(permissions(mode))))
                .map_err(failed)?;
        }
        if self.kept.remove(path).is_some() {
            let _ = unlinkat(&*target.dir, &target.partial, AtFlags::empty());
        }
        self.summary.same += 1;
        self.progress.reused(size);
        self.progress.file_done();
        Ok(())
    }

    fn link(&mut self, path: &ByteString, to: &ByteString, mtime: Mtime) -> Result<(), Fault> {
        let is_target = !to.is_empty() && to.as_bytes().len() < PATH_LEN_MAX;
        if !is_time(mtime) || !is_target || to.as_bytes().contains(&0) || path.is_empty() {
            return Err(violation(Code::Malformed));
        }
        let mut target = self.target(path)?;
        check_target(&target.dir, &target.name).map_err(|code| Fault::about(code, path))?;
        // Not the name of a file's partial, which may be pending. No path has a NUL in it.
        let marked = [path.as_bytes(), b"\0"].concat();
        target.partial = self.ids.partial_name(&marked, &target.name);
        target.make_link(to, mtime).map_err(|errno| Fault::about(code_of(errno), path))?;
        self.unsettled.add(&target.dir);
        self.summary.links += 1;
        Ok(())
    }

    fn dir(&mut self, dir: Dir) -> Result<(), Fault> {
        let Place::Tree(tree) = &mut self.place else { return Err(violation(Code::OutOfOrder)) };
        self.dirs_len += dir.path.as_bytes().len() + size_of::<Dir>();
        if !is_time(dir.mtime) || self.dirs_len > DIRS_LEN_MAX {
            return Err(violation(Code::Malformed));
        }
        if !dir.path.is_empty() {
            check_inner_path(dir.path.as_bytes()).map_err(violation)?;
            let failed = |errno| Fault::about(code_of_dir(errno), &dir.path);
            let (parent, name) = tree.locate(dir.path.as_bytes()).map_err(failed)?;
            let (open, made) = make_dir(&parent, name, Mode::RWXU).map_err(failed)?;
            if made == Made::Now {
                self.unsettled.add(&parent);
            }
            make_writable(&open);
        } else {
            make_writable(tree.top());
        }
        self.dirs.push(dir);
        self.summary.dirs += 1;
        Ok(())
    }

    /// Permissions and times of directories, the deepest first: what is put into one changes its
    /// time, and may not be allowed any more afterwards.
    fn finish_dirs(&mut self, out: Out<'_>) {
        let dirs = std::mem::take(&mut self.dirs);
        let Place::Tree(tree) = &mut self.place else { return };
        let mut failed = Vec::new();
        for Dir { path, mode, mtime } in dirs.into_iter().rev() {
            let set = tree.dir(path.as_bytes()).and_then(|dir| set_dir(&dir, mode, mtime));
            if let Err(errno) = set {
                failed.push(Refusal::about(code_of_dir(errno), path));
            }
        }
        failed.into_iter().for_each(|refusal| self.fail(refusal, out));
    }

    /// Removes partial files of what the source no longer has.
    fn forget_partials(&mut self) {
        for path in std::mem::take(&mut self.kept).into_keys() {
            if let Ok(target) = self.target(&path) {
                let _ = unlinkat(&*target.dir, &target.partial, AtFlags::empty());
            }
        }
    }

    fn target(&mut self, path: &ByteString) -> Result<Target, Fault> {
        match &self.place {
            Place::Tree(_) => check_inner_path(path.as_bytes()).map_err(violation)?,
            Place::File { .. } if path.is_empty() => {}
            Place::File { .. } => return Err(violation(Code::BadName)),
        }
        if self.ids.path_of_partial(path.as_bytes()).is_some() {
            return Err(Fault::about(Code::BadName, path));
        }
        let located = self.place.locate(path.as_bytes());
        let (dir, name) = located.map_err(|errno| Fault::about(code_of_dir(errno), path))?;
        let partial = self.ids.partial_name(path.as_bytes(), &name);
        Ok(Target { dir, name, partial })
    }

    fn fail(&mut self, why: Refusal, out: Out<'_>) {
        self.summary.failed += 1;
        let path = why.path.clone().unwrap_or_default();
        out(TransferEvent::Failed(Failure { path, why }));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.publish(&mut |_| {});
    }
}

impl Target {
    fn stat(&self) -> Result<Stat, Errno> {
        statat(&*self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes a symbolic link under its partial name and renames it, so that there is never none.
    fn make_link(&self, to: &ByteString, mtime: Mtime) -> Result<(), Errno> {
        let (dir, times) = (&*self.dir, timestamps(mtime));
        let is_there = readlinkat(dir, &self.name, Vec::new())
            .is_ok_and(|present| present.as_bytes() == to.as_bytes());
        if is_there {
            return utimensat(dir, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        match unlinkat(dir, &self.partial, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        symlinkat(to.as_bytes(), dir, &self.partial)?;
        utimensat(dir, &self.partial, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        renameat(dir, &self.partial, dir, &self.name)
    }
}

impl Fault {
    fn about(code: Code, path: &ByteString) -> Self {
        Self::Failed(Refusal::about(code, path.clone()))
    }
}

fn violation(code: Code) -> Fault {
    Fault::Violation(code.into())
}

/// On the way to an entry of a tree, a link is simply not a directory.
fn code_of_dir(errno: Errno) -> Code {
    if errno == Errno::LOOP { Code::NotADirectory } else { code_of(errno) }
}

/// Lets the owner fill a directory that is read-only. Where that fails, filling it will tell.
fn make_writable(dir: &OwnedFd) {
    if let Ok(stat) = fstat(dir)
        && stat.st_mode & 0o700 != 0o700
    {
        let _ = fchmod(dir, Mode::from_raw_mode(permissions(stat.st_mode) | 0o700));
    }
}

/// A directory that somebody else owns keeps what that one gave it.
fn set_dir(dir: &OwnedFd, mode: u32, mtime: Mtime) -> Result<(), Errno> {
    let stat = fstat(dir)?;
    let me = geteuid();
    if stat.st_uid != me.as_raw() && !me.is_root() {
        return Ok(());
    }
    if permissions(stat.st_mode) != permissions(mode) {
        fchmod(dir, Mode::from_raw_mode(permissions(mode)))?;
    }
    futimens(dir, &timestamps(mtime))
}

/// How many of `len` bytes the file system has no room for. `None` if it has, or can't tell.
fn missing_space(file: &OwnedFd, len: u64) -> Option<u64> {
    if len <= UNCHECKED_LEN_MAX {
        return None;
    }
    let system = fstatvfs(file).ok().filter(|system| system.f_blocks > 0)?;
    let blocks = if geteuid().is_root() { system.f_bfree } else { system.f_bavail };
    let missing = len.saturating_sub(blocks.saturating_mul(system.f_frsize));
    (missing > 0).then_some(missing)
}

/// Most events of one transfer: every entry may be tried again and fail.
const EVENTS_MAX: usize = 5 * ENTRIES_MAX;
/// Most bytes that the directories of a transfer take up in memory until its end.
const DIRS_LEN_MAX: usize = 256 << 20;
/// Files up to this size are not worth asking for space first: writing them tells as soon.
const UNCHECKED_LEN_MAX: u64 = 64 << 10;
