//! Bringing verified files under their names: first the content is on the disk, then the name changes,
//! so that a name shows the old file or the whole new one, whatever happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, fchmod, fstat, fsync, futimens, renameat, syncfs, unlinkat};
use rustix::io::Errno;
use tow_proto::message::Mtime;
use tow_proto::{ByteString, Code};

use super::meta::{FileId, permissions, timestamps};
use super::partial::Locked;
use crate::beneath::code_of;

/// A file that is complete and right, but still under its partial name.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) path: ByteString,
    pub(super) dir: Arc<OwnedFd>,
    pub(super) partial: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) file: Locked,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: Mtime,
}

/// Files that wait for the disk together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    bytes: u64,
    since: Option<Instant>,
}

/// What became of a pending file.
pub(super) type Published = (ByteString, Result<(), Code>);

impl Batch {
    pub(super) fn push(&mut self, pending: Pending) {
        self.bytes = self.bytes.saturating_add(pending.size);
        self.since.get_or_insert_with(Instant::now);
        self.pending.push(pending);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_due(&self) -> bool {
        self.pending.len() >= FILES_MAX
            || self.bytes >= BYTES_MAX
            || self.since.is_some_and(|since| since.elapsed() >= WAIT_MAX)
    }

    /// Makes the content safe, then gives every file its name. The names are safe after
    /// [`Unsettled::settle`].
    pub(super) fn publish(&mut self, unsettled: &mut Unsettled) -> Vec<Published> {
        let Self { pending, .. } = std::mem::take(self);
        let synced = match pending.as_slice() {
            [] => return Vec::new(),
            // For one file, waiting for everything else on its file system would be a waste.
            [one] => one.dress().and_then(|()| fsync(&*one.file)).map_err(code_of),
            many => sync_all(many),
        };
        let is_dressed = pending.len() == 1;
        pending
            .into_iter()
            .map(|one| {
                let dress = || if is_dressed { Ok(()) } else { one.dress() };
                let publish = || dress().and_then(|()| one.rename()).map_err(code_of);
                let result = synced.and_then(|()| publish());
                match result {
                    Ok(()) => unsettled.add_on(&one.dir, one.file.device()),
                    // What could not be made safe is not to be trusted later either.
                    Err(_) => drop(unlinkat(&*one.dir, &one.partial, AtFlags::empty())),
                }
                (one.path, result)
            })
            .collect()
    }
}

impl Pending {
    /// Permissions and time, just before the name: until then, the file is its owner's only.
    fn dress(&self) -> Result<(), Errno> {
        fchmod(&*self.file, Mode::from_raw_mode(permissions(self.mode)))?;
        futimens(&*self.file, &timestamps(self.mtime))
    }

    fn rename(&self) -> Result<(), Errno> {
        renameat(&*self.dir, &self.partial, &*self.dir, &self.name)
    }
}

fn sync_all(pending: &[Pending]) -> Result<(), Code> {
    let mut devices = Vec::new();
    for one in pending {
        let device = one.file.device();
        if !devices.contains(&device) {
            syncfs(&*one.file).map_err(code_of)?;
            devices.push(device);
        }
    }
    Ok(())
}

/// Directories whose entries were changed and may not be on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// One directory of each file system.
    systems: Vec<(u64, Arc<OwnedFd>)>,
    has_several: bool,
}

impl Unsettled {
    pub(super) fn add(&mut self, dir: &Arc<OwnedFd>) {
        if let Ok(stat) = fstat(&**dir) {
            self.add_on(dir, FileId::of(&stat).device);
        }
    }

    /// A directory of the file system with this number.
    fn add_on(&mut self, dir: &Arc<OwnedFd>, device: u64) {
        if self.systems.iter().any(|(_, known)| Arc::ptr_eq(known, dir)) {
            return;
        }
        self.has_several |= !self.systems.is_empty();
        if self.systems.iter().all(|(known, _)| *known != device) {
            self.systems.push((device, Arc::clone(dir)));
        }
    }

    /// Waits until all of it is on the disk.
    pub(super) fn settle(self) -> Result<(), Code> {
        for (_, dir) in &self.systems {
            let result = if self.has_several { syncfs(&**dir) } else { fsync(&**dir) };
            result.map_err(code_of)?;
        }
        Ok(())
    }
}

/// Most files of a batch. Each holds a handle.
const FILES_MAX: usize = 256;
/// Most bytes of a batch.
const BYTES_MAX: u64 = 64 << 20;
/// Longest that a complete file waits for others while more arrive.
const WAIT_MAX: Duration = Duration::from_secs(2);
