//! What is put on a file beside its content: owner and group as far as this process may give them,
//! permission bits, time. In this order, because a new owner takes special bits away.

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown, fstat,
    futimens, statat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};
use tow_proto::transfer::Meta;

use crate::beneath::open_within;
use crate::files::meta::{permissions, timestamps};
use crate::files::owners::Owners;

/// What is taken over of the sender's metadata.
#[derive(Debug)]
pub(super) struct Dress {
    /// With [`tow_proto::transfer::Options::archive`] alone.
    owners: Option<Owners>,
    takes_special_bits: bool,
    is_root: bool,
    /// Groups that somebody who is not root may give to what is his.
    groups: Vec<u32>,
}

impl Dress {
    /// Takes over owners as the options ask, and special permission bits where the caller permits it
    /// too.
    pub(super) fn new(is_archive: bool, permits_special_bits: bool) -> Self {
        let mut groups = Vec::new();
        if is_archive {
            groups.extend(getgroups().unwrap_or_default().into_iter().map(Gid::as_raw));
            groups.push(getegid().as_raw());
        }
        Self {
            owners: is_archive.then(Owners::load),
            takes_special_bits: is_archive && permits_special_bits,
            is_root: geteuid().is_root(),
            groups,
        }
    }

    /// The permission bits that a file gets.
    pub(super) fn mode_of(&self, meta: &Meta) -> u32 {
        meta.mode & if self.takes_special_bits { 0o7777 } else { 0o777 }
    }

    /// The permission bits that a directory gets. What it has from the one that it was made in (its
    /// group, by setgid) stays, unless the sender's special bits are taken over.
    fn mode_of_dir(&self, stat: &Stat, meta: &Meta) -> u32 {
        match self.takes_special_bits {
            true => meta.mode & 0o7777,
            false => stat.st_mode & 0o7000 | permissions(meta.mode),
        }
    }

    /// Whether a file with these may belong to somebody else in the end. Until then it is for its
    /// owner alone.
    pub(super) fn may_give(&self, meta: &Meta) -> bool {
        self.owners.is_some() && meta.owner.is_some()
    }

    /// Everything, on an open file.
    pub(super) fn file(&self, file: &OwnedFd, meta: &Meta) -> Result<(), Errno> {
        if self.may_give(meta) {
            self.give(&fstat(file)?, meta, |uid, gid| fchown(file, uid, gid))?;
        }
        fchmod(file, Mode::from_raw_mode(self.mode_of(meta)))?;
        futimens(file, &timestamps(meta.mtime))
    }

    /// Everything, on something that is there and must not or can't be opened for it, whatever its
    /// permissions are. Never follows a link.
    pub(super) fn name(&self, dir: &OwnedFd, name: &[u8], meta: &Meta) -> Result<(), Errno> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let given = self.give(&stat, meta, |uid, gid| {
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !is_link && (given || stat.st_mode & 0o7777 != self.mode_of(meta)) {
            chmod(dir, name, Mode::from_raw_mode(self.mode_of(meta)))?;
        }
        utimensat(dir, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Everything, on a directory. One that somebody else owns keeps what that one gave it.
    pub(super) fn dir(&self, dir: &OwnedFd, meta: &Meta) -> Result<(), Errno> {
        let stat = fstat(dir)?;
        if stat.st_uid != geteuid().as_raw() && !self.is_root {
            return Ok(());
        }
        let given = self.give(&stat, meta, |uid, gid| fchown(dir, uid, gid))?;
        let mode = self.mode_of_dir(&stat, meta);
        if given || stat.st_mode & 0o7777 != mode {
            fchmod(dir, Mode::from_raw_mode(mode))?;
        }
        futimens(dir, &timestamps(meta.mtime))
    }

    /// Owner and group, as far as they differ and this process may set them. Tells whether they
    /// changed, after which the permissions have to be set again.
    fn give(
        &self,
        stat: &Stat,
        meta: &Meta,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<bool, Errno> {
        let (Some(owners), Some(owner)) = (&self.owners, meta.owner.as_deref()) else {
            return Ok(false);
        };
        let (uid, gid) = (owners.uid(owner), owners.gid(owner));
        let uid = (self.is_root && uid != stat.st_uid && uid != UNCHANGED).then_some(uid);
        let is_mine = self.is_root || self.groups.contains(&gid);
        let gid = (is_mine && gid != stat.st_gid && gid != UNCHANGED).then_some(gid);
        if uid.is_none() && gid.is_none() {
            return Ok(false);
        }
        match chown(uid.map(Uid::from_raw), gid.map(Gid::from_raw)) {
            Ok(()) => Ok(true),
            // The file system or the user namespace does not know this owner: what was sent is
            // still worth having.
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Sets permissions by a handle that stands for the file itself and opens nothing of it: the name may
/// be swapped for a link at any time.
fn chmod(dir: &OwnedFd, name: &[u8], mode: Mode) -> Result<(), Errno> {
    let file = open_within(dir, name, OFlags::PATH, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    chmodat(CWD, path, mode, AtFlags::empty())
}

/// The number that means "leave it as it is" to the kernel.
const UNCHANGED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bits_are_passed_on_only_where_options_and_caller_agree() {
        let meta = Meta { mode: 0o6755, ..Meta::default() };
        for (is_archive, is_permitted) in [(false, false), (false, true), (true, false)] {
            assert_eq!(Dress::new(is_archive, is_permitted).mode_of(&meta), 0o755);
        }
        assert_eq!(Dress::new(true, true).mode_of(&meta), 0o6755);
    }
}
