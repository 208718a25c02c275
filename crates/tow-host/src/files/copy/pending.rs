//! Files that are copied and wait for the disk together, before they get their names.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, fsync, syncfs, unlinkat};
use tow_proto::Code;

use super::Copying;
use crate::beneath::code_of;
use crate::files::name;
use crate::files::partial::Locked;

/// A file that is complete, but still under another name.
pub(super) struct Pending {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) temp: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) file: Locked,
    pub(super) path: Vec<u8>,
}

impl Copying<'_> {
    /// Lets a file wait for others.
    pub(super) fn push(&mut self, pending: Pending) {
        self.pending.push(pending);
        if self.pending.len() >= PENDING_MAX {
            self.publish();
        }
    }

    /// Brings what waits to the disk, and gives it its names.
    pub(super) fn publish(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        // For a few, waiting for everything else on their file system would be a waste.
        let all = match pending.first() {
            Some(first) if pending.len() > FEW => Some(syncfs(&*first.dir).map_err(code_of)),
            _ => None,
        };
        for one in pending {
            let is_safe = all.unwrap_or_else(|| fsync(&*one.file).map_err(code_of));
            match is_safe.and_then(|()| self.give_name(&one)) {
                Ok(()) => self.reply.copied += 1,
                Err(code) => {
                    one.remove();
                    self.fail(one.path, code);
                }
            }
        }
    }

    fn give_name(&self, one: &Pending) -> Result<(), Code> {
        let check = |name| {
            // What was copied is what this handle stands for, whoever may have moved names about.
            if one.file.is_named(&one.dir, name) { Ok(()) } else { Err(Code::Changed) }
        };
        check(&one.temp)?;
        name::take(&one.dir, &one.temp, &one.name, self.exists)?;
        check(&one.name)
    }

    /// Leaves nothing of what waits.
    pub(super) fn abandon(&mut self) {
        self.pending.drain(..).for_each(|one| one.remove());
    }
}

impl Pending {
    pub(super) fn remove(&self) {
        if self.file.is_named(&self.dir, &self.temp) {
            let _ = unlinkat(&*self.dir, &self.temp, AtFlags::empty());
        }
    }
}

/// Most files that wait: each is a handle.
const PENDING_MAX: usize = 128;
/// So many files are made safe one by one.
const FEW: usize = 4;
