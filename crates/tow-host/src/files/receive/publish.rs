//! Bringing files under their names: first the content is on the disk, as far as it is to be, then the
//! name changes, so that a name shows the old file or the whole new one, whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, renameat, renameat_with, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use tow_proto::transfer::{Durable, Meta};
use tow_proto::{Code, Refusal};

use super::Fault;
use super::destination::{Made, Place};
use super::dirs::Dir;
use super::large::Content;
use super::names::Fit;
use super::receiver::{Out, Receiver, Where};
use crate::beneath::{code_of, open_within};
use crate::files::item::Change;
use crate::files::tree::join;

/// A file that is complete and right, but still under another name.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) temp: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    /// Held where it must be: locked, or to be made safe by itself.
    pub(super) file: Option<Content>,
    /// What it does not have yet.
    pub(super) meta: Option<Meta>,
    pub(super) fit: Fit,
    pub(super) is_new: bool,
    pub(super) is_patch: bool,
}

/// Files that wait for the disk together, in the order in which they came.
#[derive(Debug)]
pub(super) struct Batch {
    durable: Durable,
    groups: Vec<Group>,
    files: usize,
    held: usize,
    bytes: u64,
    since: Option<Instant>,
    /// One directory of each file system.
    systems: Vec<(u64, Arc<Dir>)>,
}

/// Those of one directory.
#[derive(Debug)]
struct Group {
    path: Vec<u8>,
    /// Given up where many directories are waiting: each is a handle.
    dir: Option<Arc<Dir>>,
    files: Vec<Pending>,
}

impl Batch {
    pub(super) fn new(durable: Durable) -> Self {
        Self {
            durable,
            groups: Vec::new(),
            files: 0,
            held: 0,
            bytes: 0,
            since: None,
            systems: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, dir: &Arc<Dir>, pending: Pending) {
        self.bytes = self.bytes.saturating_add(pending.size);
        self.files += 1;
        self.held += usize::from(pending.file.is_some());
        self.since.get_or_insert_with(Instant::now);
        if self.systems.iter().all(|(device, _)| *device != dir.device) {
            self.systems.push((dir.device, Arc::clone(dir)));
        }
        match self.groups.last_mut() {
            Some(group) if group.path == dir.path => group.files.push(pending),
            _ => {
                if let Some(at) = self.groups.len().checked_sub(DIRS_HELD_MAX)
                    && let Some(group) = self.groups.get_mut(at)
                {
                    group.dir = None;
                }
                let (path, dir) = (dir.path.clone(), Some(Arc::clone(dir)));
                self.groups.push(Group { path, dir, files: vec![pending] });
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn is_due(&self) -> bool {
        match self.durable {
            Durable::None => !self.is_empty(),
            _ if self.held >= HELD_MAX || self.files >= FILES_MAX || self.bytes >= BYTES_MAX => {
                true
            }
            _ => self.since.is_some_and(|since| since.elapsed() >= WAIT_MAX),
        }
    }

    /// Starts anew; the file systems are still known.
    fn take(&mut self) -> Vec<Group> {
        let groups = std::mem::take(&mut self.groups);
        (self.files, self.held, self.bytes, self.since) = (0, 0, 0, None);
        groups
    }

    /// Whether one by one is the way to make so many files safe.
    fn is_each(&self) -> bool {
        // For a few, waiting for everything else on their file system would be a waste.
        self.durable == Durable::File || self.files <= FEW
    }
}

impl Receiver {
    /// Makes what is pending safe and gives it its names. The names are safe after
    /// [`Unsettled::settle`].
    pub(super) fn publish(&mut self, out: Out<'_>) {
        let durable = self.batch.durable;
        let is_each = self.batch.is_each();
        let mut groups = self.batch.take();
        for group in &mut groups {
            if group.dir.is_none()
                && let Ok(Where::Open(dir)) = self.open_dir(&group.path)
            {
                group.dir = Some(dir);
            }
        }
        let mut is_safe = vec![Ok(()); groups.iter().map(|group| group.files.len()).sum()];
        if durable != Durable::None {
            if is_each {
                self.sync_each(&groups, &mut is_safe);
            } else if let Err(code) = self.batch.sync_all() {
                is_safe.fill(Err(code));
            }
        }
        let mut is_safe = is_safe.into_iter();
        for group in groups {
            for pending in group.files {
                let safe = is_safe.next().unwrap_or(Err(Code::Internal));
                let is_dressed = is_each && durable != Durable::None;
                self.publish_one(&group.path, group.dir.as_ref(), pending, safe, is_dressed, out);
            }
        }
    }

    fn publish_one(
        &mut self,
        parent: &[u8],
        dir: Option<&Arc<Dir>>,
        pending: Pending,
        is_safe: Result<(), Code>,
        is_dressed: bool,
        out: Out<'_>,
    ) {
        let path = match &self.shared.place {
            Place::File { sent, .. } => sent.clone(),
            _ => join(parent, &pending.name),
        };
        let Some(dir) = dir else {
            // The directory is gone or no directory any more, and the file with it.
            return self.fail(Refusal::about(Code::NotFound, path), out);
        };
        let Pending { temp, name, size, fit, is_new, is_patch, .. } = &pending;
        let made = if *is_new { Made::Now } else { Made::Before };
        let dress = || if is_dressed { Ok(()) } else { self.put_on(&pending) };
        let check = |name| match &pending.file {
            // What was verified is what this handle stands for, whoever may have moved names about.
            Some(content) if !content.is_named(&dir.handle, name) => Err(Code::Changed.into()),
            _ => Ok(()),
        };
        let result = is_safe.map_err(Fault::from).and_then(|()| dress()).and_then(|()| check(temp));
        let result = result.and_then(|()| self.give_name(dir, temp, name, *fit, made));
        match result.and_then(|()| check(name)) {
            Ok(()) => {
                self.unsettled.add(dir);
                self.summary.files += 1;
                self.unmade.remove(&path);
                self.summary.patched += u64::from(*is_patch);
                self.tell(if *is_new { Change::New } else { Change::Content }, &path, *size);
            }
            Err(fault) => {
                // What could not be made safe is not to be trusted later either.
                if fault != Fault::from(Code::Changed) {
                    let _ = unlinkat(&dir.handle, temp, AtFlags::empty());
                }
                self.fail(fault.about(&path), out);
            }
        }
    }

    /// What a file does not have yet: until just before it gets its name, it is its owner's only.
    fn put_on(&self, pending: &Pending) -> Result<(), Fault> {
        match (&pending.file, &pending.meta) {
            (Some(content), Some(meta)) => self.dress.file(content.file(), meta).map_err(Fault::of),
            _ => Ok(()),
        }
    }

    /// Every file by itself, many at a time: the disk takes as long for all of them as for one.
    fn sync_each(&self, groups: &[Group], is_safe: &mut [Result<(), Code>]) {
        let files: Vec<_> = groups
            .iter()
            .flat_map(|group| group.files.iter().map(|pending| (group.dir.as_ref(), pending)))
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Relaxed);
                let Some((dir, pending)) = files.get(at) else { return done };
                done.push((at, self.sync_one(*dir, pending)));
            }
        };
        let done = match files.len() {
            0..=1 => work(),
            count => std::thread::scope(|scope| {
                let workers = count.min(SYNCERS_MAX);
                let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
                // One that panicked has said nothing of its files.
                workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
            }),
        };
        is_safe.fill(Err(Code::Internal));
        for (at, result) in done {
            if let Some(slot) = is_safe.get_mut(at) {
                *slot = result;
            }
        }
    }

    fn sync_one(&self, dir: Option<&Arc<Dir>>, pending: &Pending) -> Result<(), Code> {
        self.put_on(pending).map_err(|fault| match fault {
            Fault::Violation(code) | Fault::Failed(code, _) => code,
        })?;
        if let Some(content) = &pending.file {
            return fsync(content.file()).map_err(code_of);
        }
        let dir = dir.ok_or(Code::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match open_within(&dir.handle, &pending.temp, flags, Mode::empty()) {
            Ok(file) => fsync(&file).map_err(code_of),
            // It may not be read by its owner: everything on its file system, then.
            Err(Errno::ACCESS) => syncfs(&dir.handle).map_err(code_of),
            Err(errno) => Err(code_of(errno)),
        }
    }
}

impl Batch {
    fn sync_all(&self) -> Result<(), Code> {
        // By handles that were open before: only those hear of every error since.
        self.systems.iter().try_for_each(|(_, dir)| syncfs(&dir.handle).map_err(code_of))
    }
}

/// Renames to a name that must not be there.
pub(super) fn rename_to_new(dir: &OwnedFd, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // The file system does not know how: look first.
        Err(Errno::INVAL | Errno::NOSYS) => match statat(dir, to, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(dir, from, dir, to),
            Err(errno) => Err(errno),
            Ok(_) => Err(Errno::EXIST),
        },
        result => result,
    }
}

/// Directories whose entries were changed and may not be on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// One directory of each file system.
    systems: Vec<(u64, Arc<Dir>)>,
    has_several: bool,
}

impl Unsettled {
    pub(super) fn add(&mut self, dir: &Arc<Dir>) {
        if self.systems.iter().any(|(_, known)| Arc::ptr_eq(known, dir)) {
            return;
        }
        self.has_several |= !self.systems.is_empty();
        if self.systems.iter().all(|(known, _)| *known != dir.device) {
            self.systems.push((dir.device, Arc::clone(dir)));
        }
    }

    /// Everything of these file systems is to be on the disk, not only one directory.
    pub(super) fn widen(&mut self) {
        self.has_several = true;
    }

    /// Waits until all of it is on the disk.
    pub(super) fn settle(self) -> Result<(), Code> {
        for (_, dir) in &self.systems {
            let result = if self.has_several { syncfs(&dir.handle) } else { fsync(&dir.handle) };
            result.map_err(code_of)?;
        }
        Ok(())
    }
}

/// Most files of a batch that are held open: each is a handle.
const HELD_MAX: usize = 128;
/// Most directories of a batch that are held open.
const DIRS_HELD_MAX: usize = 64;
/// Most files of a batch.
const FILES_MAX: usize = 4096;
/// Most bytes of a batch.
const BYTES_MAX: u64 = 256 << 20;
/// Longest that a complete file waits for others while more arrive.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// So many files are made safe one by one.
const FEW: usize = 4;
/// Files that are made safe at a time.
const SYNCERS_MAX: usize = 32;
