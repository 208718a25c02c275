//! Making directories, and giving things other names.
//!
//! Every change is made by the handle of a directory beneath the root and one name in it.

use std::os::unix::ffi::OsStrExt as _;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, linkat, mkdirat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use tow_proto::message::{MkdirReply, MoveReply};
use tow_proto::{ByteString, Code, Refusal};

use super::meta::FileId;
use crate::beneath::{Root, code_of, last_component, real_path};

/// What becomes of the directories above a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// They must be there, and the new one must not.
    Exist,
    /// They are made where they are missing; where the new one is there too, that is fine.
    Made,
}

/// What becomes of something that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the move is refused.
    Kept,
    /// It is lost: a file to a file, an empty directory to a directory.
    Replaced,
}

/// Makes a directory with what the umask leaves of all permissions.
///
/// # Errors
/// [`Code::Exists`], [`Code::NotFound`] where it would be in nothing, [`Code::OutsideRoot`], or what
/// the file system says.
pub fn make_dir(root: &Root, path: &ByteString, above: Above) -> Result<MkdirReply, Refusal> {
    if above == Above::Exist {
        return make_one(root, path);
    }
    // Upwards to what is there, then downwards from it.
    let mut missing = Vec::new();
    let mut prefix = path.clone();
    loop {
        match root.open_path(&prefix, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(dir) if missing.is_empty() => {
                let real = real_path(&dir).map(|real| real.as_os_str().as_bytes().into());
                return Ok(MkdirReply { path: real.unwrap_or(prefix), made: false });
            }
            Ok(_) => break,
            Err(refusal) if refusal.code == Code::NotFound && !prefix.is_empty() => {
                let shorter = above_of(prefix.as_bytes()).into();
                missing.push(std::mem::replace(&mut prefix, shorter));
            }
            // A file is in the way, at the very place or above it.
            Err(refusal) if refusal.code == Code::NotADirectory && missing.is_empty() => {
                return make_one(root, path);
            }
            Err(refusal) => return Err(Refusal::about(refusal.code, path.clone())),
        }
    }
    let mut reply = MkdirReply { path: path.clone(), made: false };
    for path in missing.iter().rev() {
        // `a/..` is there as soon as `a` is.
        if last_component(path.as_bytes()).is_some() {
            reply = make_missing(root, path)?;
        }
    }
    Ok(reply)
}

/// What is left without the last component; `/` and nothing stay.
pub(super) fn above_of(path: &[u8]) -> &[u8] {
    let name_end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let name_start = path[..name_end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let end = path[..name_start].iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    if end == 0 && path.starts_with(b"/") && name_end > 0 { b"/" } else { &path[..end] }
}

/// Makes a directory that somebody else may make at the same moment.
fn make_missing(root: &Root, path: &ByteString) -> Result<MkdirReply, Refusal> {
    match make_one(root, path) {
        Err(refusal) if refusal.code == Code::Exists => {
            let dir = root.open_path(path, OFlags::PATH | OFlags::DIRECTORY);
            let dir = dir.map_err(|_| refusal)?;
            let real = real_path(&dir).map(|real| real.as_os_str().as_bytes().into());
            Ok(MkdirReply { path: real.unwrap_or_else(|| path.clone()), made: false })
        }
        result => result,
    }
}

fn make_one(root: &Root, path: &ByteString) -> Result<MkdirReply, Refusal> {
    let (dir, name) = root.open_parent(path)?;
    mkdirat(&dir, &name, Mode::from_raw_mode(0o777))
        .map_err(|errno| Refusal::about(code_of(errno), path.clone()))?;
    Ok(MkdirReply { path: real_path_in(&dir, &name, path), made: true })
}

/// Gives what is at `from`, which may be a symbolic link, the path `to`. `to` is never a directory
/// to put it into.
///
/// # Errors
/// [`Code::NotFound`] of either, [`Code::Exists`], [`Code::NotEmpty`], [`Code::IsADirectory`] and
/// [`Code::NotADirectory`] of what is at `to`, [`Code::OtherFileSystem`], [`Code::IntoItself`],
/// [`Code::OutsideRoot`], or what the file system says.
pub fn rename(
    root: &Root,
    from: &ByteString,
    to: &ByteString,
    existing: Existing,
) -> Result<MoveReply, Refusal> {
    let place = Place::of(root, from)?;
    let new = Place::of(root, to)?;
    let stat = place.stat().map_err(|errno| Refusal::about(code_of(errno), from.clone()))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    // What ends in a slash is a directory, and no link to one.
    for path in [from, to] {
        if !is_dir && path.as_bytes().ends_with(b"/") {
            return Err(Refusal::about(Code::NotADirectory, path.clone()));
        }
    }
    let renamed = match existing {
        Existing::Kept => rename_new(&place, &new, is_dir),
        Existing::Replaced => rename_over(&place, &new, &stat),
    };
    renamed.map_err(|errno| {
        let code = code_of_rename(errno);
        let path = if code == Code::NotFound { from } else { to };
        Refusal::about(code, path.clone())
    })?;
    Ok(MoveReply { path: real_path_in(&new.dir, &new.name, to) })
}

/// A name in a directory that is open.
struct Place {
    dir: OwnedFd,
    name: Vec<u8>,
}

impl Place {
    fn of(root: &Root, path: &ByteString) -> Result<Self, Refusal> {
        let (dir, name) = root.open_parent(path)?;
        Ok(Self { dir, name })
    }

    fn stat(&self) -> Result<Stat, Errno> {
        statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn remove(&self, flags: AtFlags) -> Result<(), Errno> {
        unlinkat(&self.dir, &self.name, flags)
    }

    fn rename(&self, new: &Self) -> Result<(), Errno> {
        renameat(&self.dir, &self.name, &new.dir, &new.name)
    }
}

/// Where nothing has that name, whatever others do at the same moment.
fn rename_new(place: &Place, new: &Place, is_dir: bool) -> Result<(), Errno> {
    let only_new = RenameFlags::NOREPLACE;
    match renameat_with(&place.dir, &place.name, &new.dir, &new.name, only_new) {
        Err(Errno::INVAL | Errno::NOSYS) => rename_new_by_hand(place, new, is_dir),
        result => result,
    }
}

/// The same where the file system can't promise that by itself: the new name is made by a call that
/// fails where there is one.
fn rename_new_by_hand(place: &Place, new: &Place, is_dir: bool) -> Result<(), Errno> {
    if !is_dir {
        linkat(&place.dir, &place.name, &new.dir, &new.name, AtFlags::empty())?;
        return place.remove(AtFlags::empty());
    }
    mkdirat(&new.dir, &new.name, Mode::from_raw_mode(0o700))?;
    place.rename(new).inspect_err(|_| {
        let _ = new.remove(AtFlags::REMOVEDIR);
    })
}

/// In place of what has that name, at one moment.
fn rename_over(place: &Place, new: &Place, stat: &Stat) -> Result<(), Errno> {
    let is_same = |other: &Stat| FileId::of(other) == FileId::of(stat);
    let other = new.stat();
    place.rename(new)?;
    // Between two names of one file the kernel does nothing, and says that it was done.
    let both =
        other.is_ok_and(|other| is_same(&other)) && place.stat().is_ok_and(|is| is_same(&is));
    if both && !is_one_place(place, new)? {
        return place.remove(AtFlags::empty());
    }
    Ok(())
}

fn is_one_place(one: &Place, other: &Place) -> Result<bool, Errno> {
    let dir = |place: &Place| rustix::fs::fstat(&place.dir).map(|stat| FileId::of(&stat));
    Ok(one.name == other.name && dir(one)? == dir(other)?)
}

fn code_of_rename(errno: Errno) -> Code {
    match errno {
        Errno::XDEV => Code::OtherFileSystem,
        Errno::INVAL => Code::IntoItself,
        other => code_of(other),
    }
}

fn real_path_in(dir: &OwnedFd, name: &[u8], asked: &ByteString) -> ByteString {
    let Some(real) = real_path(dir) else { return asked.clone() };
    let above = real.as_os_str().as_bytes();
    let above = above.strip_suffix(b"/").unwrap_or(above);
    [above, name].join(&b'/').into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_above_a_path_has_one_component_less() {
        let cases = [
            ("a/b/c", "a/b"),
            ("a//b/", "a"),
            ("a", ""),
            ("", ""),
            ("/a/b", "/a"),
            ("/a", "/"),
            ("//a//", "/"),
            ("a/..", "a"),
        ];
        for (path, above) in cases {
            assert_eq!(above_of(path.as_bytes()), above.as_bytes(), "{path}");
        }
    }

    #[test]
    fn without_the_kernels_promise_nothing_is_replaced_either() {
        let dir = tow_testkit::TempDir::new();
        let root = Root::open(dir.path(), dir.path()).unwrap();
        fs::write(dir.join("file"), "file").unwrap();
        fs::write(dir.join("taken"), "taken").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        let by_hand = |from: &str, to: &str, is_dir| {
            let place = Place::of(&root, &from.into()).unwrap();
            rename_new_by_hand(&place, &Place::of(&root, &to.into()).unwrap(), is_dir)
        };
        assert_eq!(by_hand("file", "taken", false), Err(Errno::EXIST));
        assert_eq!(by_hand("dir", "taken", true), Err(Errno::EXIST));
        assert_eq!(by_hand("dir", "empty", true), Err(Errno::EXIST));
        assert_eq!(by_hand("dir", "dir/in itself", true), Err(Errno::INVAL));
        assert_eq!(by_hand("file", "new", false), Ok(()));
        assert_eq!(by_hand("dir", "new dir", true), Ok(()));
        assert_eq!(fs::read(dir.join("new")).unwrap(), b"file");
        assert_eq!(fs::read(dir.join("taken")).unwrap(), b"taken");
        assert_eq!(tow_testkit::names_in(dir.path()), ["empty", "new", "new dir", "taken"]);
        assert_eq!(fs::read_dir(dir.join("new dir")).unwrap().count(), 0);
    }
}
