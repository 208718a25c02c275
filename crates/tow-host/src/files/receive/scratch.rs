//! Names under which small things are made before they get their own. Nobody else uses them at the
//! same time, and what a killed transfer left under them is removed by the next one of the same id.
//!
//! A name is `.RUN.NUMBER.ID.tow-part`. While a run goes on it holds the lock of `.RUN.ID.tow-part`
//! at the top: so that another run of the same transfer can tell what is left from what is at work.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, unlinkat};
use rustix::rand::{GetRandomFlags, getrandom};
use tow_proto::Code;

use crate::files::partial::{self, Existing, Ids, Locked, open_existing};

/// The names of one run.
#[derive(Debug)]
pub(super) struct Scratch {
    id: Vec<u8>,
    run: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    lock: Option<Locked>,
    /// Of other runs: whether they are over.
    is_over: HashMap<u32, bool>,
}

impl Scratch {
    pub(super) fn new(ids: &Ids) -> Self {
        // No path has a NUL in it, so no file's partial has this id.
        let named = ids.partial_name(b"\0scratch", b"");
        let id = named.get(2..).unwrap_or_default().to_vec();
        let mut run = [0; 4];
        // Two runs with one number would take each other's names for taken, and go on counting.
        let _ = getrandom(&mut run, GetRandomFlags::empty());
        Self { id, run: u32::from_le_bytes(run), inner: Mutex::default() }
    }

    /// A name that was not used before by this run.
    pub(super) fn next(&self) -> Vec<u8> {
        let mut inner = self.inner();
        inner.number += 1;
        let mut name = format!(".{:08x}.{:x}.", self.run, inner.number).into_bytes();
        name.extend_from_slice(&self.id);
        name
    }

    /// Takes the lock in the top directory, once: before the first name is used.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn begin(&self, top: &OwnedFd) -> Result<(), Code> {
        let mut inner = self.inner();
        if inner.lock.is_none() {
            inner.lock = Some(partial::create(top, &self.lock_name(self.run))?);
        }
        Ok(())
    }

    /// Nothing is left under the names.
    pub(super) fn end(&self, top: &OwnedFd) {
        if let Some(lock) = self.inner().lock.take() {
            let _ = unlinkat(top, self.lock_name(self.run), AtFlags::empty());
            drop(lock);
        }
    }

    /// Whether `name` is one of this transfer's, in whatever run.
    pub(super) fn is_one(&self, name: &[u8]) -> bool {
        self.run_of(name).is_some()
    }

    /// Whether `name` is left from a run that is over: nobody will come back to it.
    pub(super) fn is_left(&self, top: &OwnedFd, name: &[u8]) -> bool {
        let Some(run) = self.run_of(name).filter(|run| *run != self.run) else { return false };
        if let Some(known) = self.inner().is_over.get(&run) {
            return *known;
        }
        let lock = self.lock_name(run);
        let is_over = match open_existing(top, &lock) {
            Ok(Existing::Ours(_locked)) => {
                // Under its lock: a run that is just beginning finds it gone and makes another.
                let _ = unlinkat(top, &lock, AtFlags::empty());
                true
            }
            Ok(Existing::Gone) => true,
            Ok(Existing::Busy | Existing::Foreign) | Err(_) => false,
        };
        let mut inner = self.inner();
        if inner.is_over.len() < RUNS_MAX {
            inner.is_over.insert(run, is_over);
        }
        is_over
    }

    fn run_of(&self, name: &[u8]) -> Option<u32> {
        let rest = name.strip_suffix(self.id.as_slice())?.strip_prefix(b".")?;
        let run = rest.get(..8).filter(|_| rest.get(8) == Some(&b'.'))?;
        u32::from_str_radix(std::str::from_utf8(run).ok()?, 16).ok()
    }

    fn lock_name(&self, run: u32) -> Vec<u8> {
        let mut name = format!(".{run:08x}.").into_bytes();
        name.extend_from_slice(&self.id);
        name
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs whose state is remembered.
const RUNS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::partial::is_partial_name;

    #[test]
    fn names_are_those_of_partial_files_and_belong_to_one_transfer() {
        let ids = Ids::new("key", &"box:/a".into());
        let (one, other) = (Scratch::new(&ids), Scratch::new(&ids));
        let name = one.next();
        assert_ne!(name, one.next());
        assert!(is_partial_name(&name), "{}", name.escape_ascii());
        assert!(is_partial_name(&one.lock_name(one.run)));
        assert!(one.is_one(&name) && other.is_one(&name));
        assert!(other.is_one(&one.lock_name(one.run)));
        assert!(!Scratch::new(&Ids::new("key", &"box:/b".into())).is_one(&name));
        assert!(!one.is_one(&ids.partial_name(b"file", b"file")));
    }
}
