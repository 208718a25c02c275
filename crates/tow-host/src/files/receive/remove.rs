//! Removing what the source does not have: beneath a directory's handle, never through a link, and
//! nothing that is excluded.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::io::Errno;
use tow_proto::{Code, Refusal};

use super::Fault;
use super::answer::filter_at;
use super::backup::Backup;
use super::dirs::{Dir, make_writable};
use super::receiver::{Out, Receiver, Where};
use super::{Shared, code_of_dir};
use crate::beneath::{DEPTH_MAX, PATH_LEN_MAX};
use crate::files::filter::Filter;
use crate::files::item::Change;
use crate::files::tree::{join, names_in, open_dir};

impl Receiver {
    /// Removes `name` from the current directory, with all that is in it. What is excluded stays, and
    /// so do the directories that it is in.
    pub(super) fn delete(&mut self, name: &[u8], out: Out<'_>) -> Result<(), Fault> {
        if !self.shared.options.delete {
            return Err(Fault::Violation(Code::OutOfOrder));
        }
        let path = join(&self.here.path, name);
        let (place, name) = self.locate(&path)?;
        let Where::Open(dir) = place else { return Ok(()) };
        let top = self.shared.place.top().map_or(&dir, |top| top);
        let is_obeying = self.shared.options.gitignore;
        let filter =
            filter_at(&self.filter, is_obeying, &top.handle, &dir.path).map_err(Fault::of_dir)?;
        let is_dry = self.is_dry();
        let max = self.shared.options.max_delete.unwrap_or(u64::MAX);
        let mut removal = Removal {
            shared: &self.shared,
            top: self.dirs.as_ref().map(|dirs| &**dirs.top()),
            backup: self.backup.as_mut(),
            left: max.saturating_sub(self.summary.deleted),
            removed: 0,
            is_over: false,
            is_dry,
        };
        let depth = dir.path.split(|byte| *byte == b'/').count();
        let result = removal.remove(&dir.handle, &dir.path, &name, &filter, depth);
        let (removed, is_over) = (removal.removed, removal.is_over);
        self.summary.deleted += removed;
        if let Some(dirs) = &mut self.dirs {
            dirs.forget(&path);
        }
        if is_dry {
            self.cleared = matches!(result, Ok(Fate::Gone)).then(|| path.clone());
        } else {
            self.names.forget(&dir, &name);
            self.unsettled.add(&dir);
            self.unsettled.widen();
        }
        if is_over && !std::mem::replace(&mut self.is_over_max_delete, true) {
            self.fail(Refusal::about(Code::TooLong, path).with_count(max), out);
        } else if removed > 0 {
            self.tell(Change::Delete, &path, 0);
        }
        result.map(drop)
    }
}

struct Removal<'a> {
    shared: &'a Shared,
    top: Option<&'a Dir>,
    backup: Option<&'a mut Backup>,
    /// So many entries may still be removed.
    left: u64,
    removed: u64,
    is_over: bool,
    is_dry: bool,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    /// It is excluded, or something in it is, or there were too many.
    Stays,
}

impl Removal<'_> {
    fn remove(
        &mut self,
        dir: &OwnedFd,
        dir_path: &[u8],
        name: &[u8],
        filter: &Filter,
        depth: usize,
    ) -> Result<Fate, Fault> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Fate::Gone),
            Err(errno) => return Err(Fault::of(errno)),
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let path = join(dir_path, name);
        if !is_dir && self.is_leftover(&path, name) {
            // Nobody comes back to it.
            if !self.is_dry {
                unlinkat(dir, name, AtFlags::empty()).map_err(Fault::of)?;
            }
            return Ok(Fate::Gone);
        }
        if filter.excludes(dir_path, name, is_dir) {
            return Ok(Fate::Stays);
        }
        if is_dir && self.empty(dir, &path, name, filter, depth)? == Fate::Stays {
            return Ok(Fate::Stays);
        }
        if self.left == 0 {
            self.is_over = true;
            return Ok(Fate::Stays);
        }
        if !self.is_dry {
            match (&mut self.backup, self.top) {
                (Some(backup), Some(top)) if !is_dir => backup.take(top, dir, dir_path, name)?,
                _ => {
                    let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                    unlinkat(dir, name, flags).map_err(Fault::of)?;
                }
            }
        }
        self.left -= 1;
        self.removed += 1;
        Ok(Fate::Gone)
    }

    /// Removes what is in the directory `name`.
    fn empty(
        &mut self,
        dir: &OwnedFd,
        path: &[u8],
        name: &[u8],
        filter: &Filter,
        depth: usize,
    ) -> Result<Fate, Fault> {
        // Each level holds a handle and a part of the stack.
        if depth > DEPTH_MAX || path.len() > PATH_LEN_MAX {
            return Err(Fault::Failed(Code::TooDeep, None));
        }
        let inner = open_dir(dir, name).map_err(Fault::of_dir)?;
        let former = if self.is_dry { None } else { make_writable(&inner) };
        let result = self.empty_open(&inner, path, filter, depth);
        // It may stay. What is empty can be removed all the same.
        if let Some(former) = former {
            former.restore(&inner);
        }
        result
    }

    fn empty_open(
        &mut self,
        inner: &OwnedFd,
        path: &[u8],
        filter: &Filter,
        depth: usize,
    ) -> Result<Fate, Fault> {
        let filter = filter.enter(inner, path);
        let mut fate = Fate::Gone;
        let names = names_in(inner).map_err(|errno| Fault::Failed(code_of_dir(errno), None))?;
        for (name, _) in names {
            if self.remove(inner, path, &name, &filter, depth + 1)? == Fate::Stays {
                fate = Fate::Stays;
            }
            if self.is_over {
                return Ok(Fate::Stays);
            }
        }
        Ok(fate)
    }

    /// Whether it is a partial file of this transfer.
    fn is_leftover(&self, path: &[u8], name: &[u8]) -> bool {
        self.shared.ids.path_of_partial(path).is_some()
            || self.top.is_some_and(|top| self.shared.scratch.is_left(&top.handle, name))
    }
}
