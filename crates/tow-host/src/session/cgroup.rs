//! Control groups: what is born in one stays in it, however often it forks, whatever session it
//! makes for itself, and without its environment. So a session's processes can be named, and killed
//! at once.
//!
//! No controller is enabled and no limit set. Version 2 only, wherever it is mounted, in our own
//! group; where that can't be, sessions run without.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::process::Pid;

use super::SessionId;

/// Where the control groups of sessions are made. Clones are the same.
#[derive(Clone)]
pub(super) struct Cgroups {
    /// Our own group's directory.
    dir: Arc<OwnedFd>,
}

/// One session's control group. Removed when it is dropped, if nothing is in it any more; else by a
/// later instance of the node.
pub(super) struct Cgroup {
    parent: Arc<OwnedFd>,
    name: String,
    dir: OwnedFd,
}

impl Cgroups {
    /// Where this process may make some; `None` where it may not. Removes what earlier instances
    /// have left empty.
    pub(super) fn find() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let path = own_directory(&mounts, &membership)?;
        let dir = rustix::fs::open(path, directory_flags(), Mode::empty()).ok()?;
        let found = Self { dir: Arc::new(dir) };
        // Whether one can be made shows only when one is.
        let trial = found.create(&SessionId::random().ok()?).ok()?;
        read_at(trial.as_fd(), EVENTS).ok()?;
        drop(trial);
        found.sweep();
        Some(found)
    }

    /// Makes one for a session.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn create(&self, id: &SessionId) -> io::Result<Cgroup> {
        let name = format!("{NAME_START}{}-{id}", std::process::id());
        mkdirat(&self.dir, &name, Mode::from_raw_mode(0o755))?;
        let dir = open_directory(self.dir.as_fd(), &name).inspect_err(|_| {
            let _ = remove_directory(self.dir.as_fd(), &name);
        })?;
        Ok(Cgroup { parent: Arc::clone(&self.dir), name, dir })
    }

    /// Removes empty groups of instances that are gone.
    fn sweep(&self) {
        for name in directories_in(self.dir.as_fd()).take(SWEPT_MAX) {
            if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid).exists())
                && let Ok(dir) = open_directory(self.dir.as_fd(), &name)
            {
                drop(Cgroup { parent: Arc::clone(&self.dir), name, dir });
            }
        }
    }
}

impl Cgroup {
    /// The processes in it and in the groups beneath it, without zombies.
    pub(super) fn members(&self) -> Vec<Pid> {
        let mut members = Vec::new();
        for_each_beneath(self.dir.as_fd(), DEPTH_MAX, &mut |dir| {
            let list = read_at(dir, "cgroup.procs").unwrap_or_default();
            // What we can't see from our own namespace has the number 0.
            let numbers = list.lines().filter_map(|line| line.parse().ok());
            members.extend(numbers.filter_map(Pid::from_raw));
        });
        members
    }

    /// Kills all of them at once, and what they fork meanwhile.
    ///
    /// # Errors
    /// The kernel's; those before 5.14 can't.
    pub(super) fn kill(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let switch = openat(&self.dir, "cgroup.kill", flags, Mode::empty())?;
        fs::File::from(switch).write_all(b"1")
    }

    /// Whether no process is in it or beneath it; zombies count for nothing.
    pub(super) fn is_empty(&self) -> bool {
        read_at(self.as_fd(), EVENTS)
            .is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
    }

    /// Removes it, if no process is in it; dropping it does so too.
    pub(super) fn remove(&self) {
        if remove_directory(self.parent.as_fd(), &self.name).is_err() && self.is_empty() {
            // Only groups that the program made are left.
            remove_beneath(self.dir.as_fd(), DEPTH_MAX);
            let _ = remove_directory(self.parent.as_fd(), &self.name);
        }
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn open_directory(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, directory_flags(), Mode::empty())
}

fn remove_directory(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn read_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

/// The groups directly beneath one.
fn directories_in(dir: BorrowedFd<'_>) -> impl Iterator<Item = String> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    let is_directory = |entry: &rustix::fs::DirEntry| entry.file_type() == FileType::Directory;
    let names = entries.filter(is_directory).map(|entry| entry.file_name().to_owned());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name != "." && name != "..")
}

/// Looks at a group and at those beneath it, so many levels deep.
fn for_each_beneath(dir: BorrowedFd<'_>, depth: usize, look: &mut impl FnMut(BorrowedFd<'_>)) {
    look(dir);
    if depth > 0 {
        for name in directories_in(dir) {
            if let Ok(beneath) = open_directory(dir, &name) {
                for_each_beneath(beneath.as_fd(), depth - 1, look);
            }
        }
    }
}

/// Removes the groups beneath one, the lowest first.
fn remove_beneath(dir: BorrowedFd<'_>, depth: usize) {
    for name in directories_in(dir) {
        if depth > 0
            && let Ok(beneath) = open_directory(dir, &name)
        {
            remove_beneath(beneath.as_fd(), depth - 1);
        }
        let _ = remove_directory(dir, &name);
    }
}

/// The instance that made a group of this name, if one did.
fn maker(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(NAME_START)?.split_once('-')?;
    pid.parse::<u32>().is_ok().then_some(pid)
}

/// The directory of our own group: where version 2 is mounted, from `/proc/self/mountinfo`
/// (proc_pid_mountinfo(5)), and our place in it, from `/proc/self/cgroup` (cgroups(7)).
fn own_directory(mounts: &[u8], membership: &str) -> Option<PathBuf> {
    let own = Path::new(membership.lines().find_map(|line| line.strip_prefix("0::"))?);
    // Above what is mounted here, or removed.
    if own.components().any(|part| part == Component::ParentDir)
        || own.as_os_str().as_bytes().ends_with(b" (deleted)")
    {
        return None;
    }
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let mut after_options = fields.skip_while(|field| *field != b"-").skip(1);
        if after_options.next()? != b"cgroup2" {
            return None;
        }
        // In a container only a part of the hierarchy may be mounted.
        let beneath = own.strip_prefix(unescaped(root)).ok()?;
        Some(unescaped(point).join(beneath))
    })
}

/// Spaces and the like are written as `\040`, three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsStr::from_bytes(&bytes).into()
}

/// The start of the names of all that any instance has made; its process's number follows.
const NAME_START: &str = "towline-";
const EVENTS: &str = "cgroup.events";
/// Levels of groups that are looked at beneath a session's own.
const DEPTH_MAX: usize = 16;
/// Groups that are looked at for a sweep.
const SWEPT_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, membership: &str, wanted: Option<&str>) {
        assert_eq!(own_directory(mounts.as_bytes(), membership), wanted.map(PathBuf::from));
    }

    #[test]
    fn our_own_group_is_found_wherever_it_is_mounted() {
        let unified = "25 1 0:22 / /proc rw - proc proc rw\n\
            30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        check(unified, "0::/user.slice/a b\n", Some("/sys/fs/cgroup/user.slice/a b"));
        check(unified, "0::/\n", Some("/sys/fs/cgroup/"));
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        check(hybrid, "8:cpu:/x\n0::/y\n", Some("/sys/fs/cgroup/unified/y"));
        let part = "41 31 0:38 /docker/abc /my\\040groups rw - cgroup2 none rw";
        check(part, "0::/docker/abc/d\n", Some("/my groups/d"));
        check(part, "0::/docker/abcd\n", None);
    }

    #[test]
    fn without_a_place_of_our_own_there_is_none() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        check(unified, "0::/../elsewhere\n", None);
        check(unified, "0::/gone (deleted)\n", None);
        check(unified, "1:name=systemd:/\n", None);
        check("32 31 0:29 / /sys/fs/cgroup rw - cgroup cgroup rw\n", "0::/\n", None);
        check("", "", None);
    }

    #[test]
    fn the_maker_of_a_group_is_known_by_its_name() {
        assert_eq!(maker("towline-42-0123456789ab"), Some("42"));
        for other in ["towline-42", "towline-x-1", "towline--1", "init.scope", "towline-4/2-1"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
