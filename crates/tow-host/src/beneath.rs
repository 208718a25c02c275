//! Opening what a peer names, never outside of what its grant covers.
//!
//! The kernel resolves every path beneath a directory handle and refuses what leads out; nothing here
//! checks a path first and opens it afterwards. Where the kernel lacks `openat2` (before Linux 5.6),
//! each component is opened by itself and no symbolic link is followed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use tow_proto::{ByteString, Code, Refusal};

/// The directory that a grant covers, held open, and where relative paths start. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Root {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: OwnedFd,
    real: PathBuf,
    /// Relative to `real`; empty for `real` itself.
    start: Vec<u8>,
}

impl Root {
    /// Opens `root`; relative paths of a peer start at `start`, which lies beneath it.
    ///
    /// # Errors
    /// Either does not exist, is no directory, or `start` lies outside of `root`.
    pub fn open(root: &Path, start: &Path) -> Result<Self, Refusal> {
        let (dir, real) = open_real(root)?;
        let (_, start_real) = open_real(start)?;
        let outside = || Refusal::about(Code::OutsideRoot, start.as_os_str().as_bytes());
        let start = start_real.strip_prefix(&real).map_err(|_| outside())?;
        let start = start.as_os_str().as_bytes().to_vec();
        Ok(Self { inner: Arc::new(Inner { dir, real, start }) })
    }

    /// The machine's real path of the root.
    pub fn path(&self) -> &Path {
        &self.inner.real
    }

    /// The real path at which relative paths start.
    pub fn start_path(&self) -> PathBuf {
        match self.inner.start.as_slice() {
            b"" => self.inner.real.clone(),
            start => self.inner.real.join(OsStr::from_bytes(start)),
        }
    }

    /// Which directory it is, whatever it is called: device and inode, as a text.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn identity(&self) -> Result<String, Refusal> {
        let found = rustix::fs::fstat(&self.inner.dir).map_err(code_of)?;
        Ok(format!("{}:{}", found.st_dev, found.st_ino))
    }

    /// Opens what `path` names, following symbolic links that stay beneath the root.
    ///
    /// # Errors
    /// [`Code::OutsideRoot`] where it leads out, else what the file system says.
    pub(crate) fn open_path(&self, path: &ByteString, flags: OFlags) -> Result<OwnedFd, Refusal> {
        let relative = self.relative(path).map_err(|code| Refusal::about(code, path.clone()))?;
        self.open_relative(&relative, flags)
            .map_err(|errno| Refusal::about(code_of_open(errno, &relative), path.clone()))
    }

    /// Opens the directory in which `path`'s last component is to be made or looked at, and gives
    /// that component.
    ///
    /// # Errors
    /// [`Code::BadName`] where there is no such component, else as [`Self::open_path`].
    pub(crate) fn open_parent(&self, path: &ByteString) -> Result<(OwnedFd, Vec<u8>), Refusal> {
        let refuse = |code| Refusal::about(code, path.clone());
        let relative = self.relative(path).map_err(refuse)?;
        let name = last_component(&relative).ok_or_else(|| refuse(Code::BadName))?.to_vec();
        let (parent, _) = split_last(trim_slashes(&relative));
        let parent = if parent.is_empty() { b".".as_slice() } else { parent };
        let dir = self
            .open_relative(parent, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| refuse(code_of_open(errno, parent)))?;
        Ok((dir, name))
    }

    fn open_relative(&self, relative: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        // Nothing lies outside of `/`: there, an absolute symbolic link leads to where it says.
        let scope =
            if self.is_whole_machine() { ResolveFlags::IN_ROOT } else { ResolveFlags::BENEATH };
        resolve(self.inner.dir.as_fd(), relative, flags, Mode::empty(), scope)
    }

    fn is_whole_machine(&self) -> bool {
        self.inner.real.as_os_str().as_bytes() == b"/"
    }

    /// `path` as seen from the root's handle. Purely lexical: what it then leads to is for the
    /// kernel to judge.
    fn relative(&self, path: &ByteString) -> Result<Vec<u8>, Code> {
        let bytes = path.as_bytes();
        check_path(bytes)?;
        if bytes.starts_with(b"/") {
            let rest = strip_components(bytes, self.inner.real.as_os_str().as_bytes());
            let rest = rest.ok_or(Code::OutsideRoot)?;
            return Ok(if rest.is_empty() { b".".to_vec() } else { rest.to_vec() });
        }
        let start = &self.inner.start;
        Ok(match (start.is_empty(), bytes.is_empty()) {
            (true, true) => b".".to_vec(),
            (true, false) => bytes.to_vec(),
            (false, true) => start.clone(),
            (false, false) => [start, bytes].join(&b'/'),
        })
    }
}

/// Opens `path` beneath `dir` without following any symbolic link, the last component included.
pub(crate) fn open_within(
    dir: impl AsFd,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let scope = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    resolve(dir.as_fd(), path, flags | OFlags::NOFOLLOW, mode, scope)
}

/// Opens a directory beneath `dir` for reading, without following any symbolic link and without
/// entering what is mounted on the way; both are for the kernel to see to, so before Linux 5.6 the
/// latter is not.
pub(crate) fn open_on_mount(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let scope = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    resolve(dir.as_fd(), path, flags, Mode::empty(), scope)
}

/// The real path of something that is open. `None` where `/proc` can't tell.
pub(crate) fn real_path(open: impl AsFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", open.as_fd().as_raw_fd());
    let target = readlinkat(CWD, link, Vec::new()).ok()?;
    let path = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
    path.is_absolute().then_some(path)
}

/// The last component of a path, where that is a name: not empty, `.` or `..`.
pub(crate) fn last_component(path: &[u8]) -> Option<&[u8]> {
    let (_, name) = split_last(trim_slashes(path));
    is_name(name).then_some(name)
}

/// Whether `name` can be the name of something in a directory.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_LEN_MAX
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// The parent and the last component: `("a/b", "c")` for `a/b/c`, `("", "a")` for `a`.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// What is said of a failed call on one name or handle.
pub(crate) fn code_of(errno: Errno) -> Code {
    match errno {
        Errno::NOENT => Code::NotFound,
        Errno::NOTDIR => Code::NotADirectory,
        Errno::ISDIR => Code::IsADirectory,
        Errno::EXIST => Code::Exists,
        Errno::ACCESS | Errno::PERM => Code::PermissionDenied,
        Errno::ROFS => Code::ReadOnly,
        Errno::NOSPC | Errno::DQUOT => Code::NoSpace,
        Errno::NAMETOOLONG | Errno::ILSEQ => Code::BadName,
        Errno::LOOP => Code::LinkLoop,
        Errno::NOTEMPTY => Code::NotEmpty,
        Errno::FBIG => Code::TooLong,
        Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::BUSY => Code::Busy,
        Errno::NXIO | Errno::NODEV => Code::SpecialFile,
        other => {
            // The number stays on this machine: the peer is told only that it failed.
            tracing::warn!(errno = other.raw_os_error(), "a file operation failed");
            Code::Io
        }
    }
}

/// What is said of a failed open beneath a directory: only there does `EXDEV` mean a way out.
fn code_of_open(errno: Errno, path: &[u8]) -> Code {
    match errno {
        Errno::XDEV => Code::OutsideRoot,
        Errno::NAMETOOLONG if path.len() >= PATH_LEN_MAX => Code::TooLong,
        other => code_of(other),
    }
}

/// Refuses what no path of a peer may be, before the kernel sees it.
fn check_path(path: &[u8]) -> Result<(), Code> {
    if path.len() > PATH_LEN_MAX {
        return Err(Code::TooLong);
    }
    if path.contains(&0) {
        return Err(Code::BadName);
    }
    let mut depth = 0;
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        if component.len() > NAME_LEN_MAX {
            return Err(Code::BadName);
        }
        depth += 1;
    }
    if depth > DEPTH_MAX { Err(Code::TooDeep) } else { Ok(()) }
}

/// What is left of the absolute `path` below `root`, compared component by component.
fn strip_components<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let mut rest = skip_slashes(path);
    for expected in root.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        if &rest[..end] != expected {
            return None;
        }
        rest = skip_slashes(&rest[end..]);
    }
    Some(rest)
}

/// `path` without leading slashes and `.` components.
fn skip_slashes(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] => rest,
            [b'.', b'/', ..] => &path[1..],
            _ => return path,
        };
    }
}

fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

fn open_real(path: &Path) -> Result<(OwnedFd, PathBuf), Refusal> {
    let refuse = |code| Refusal::about(code, path.as_os_str().as_bytes());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, path, flags, Mode::empty()).map_err(|errno| refuse(code_of(errno)))?;
    let real = match real_path(&dir) {
        Some(real) => real,
        None => std::fs::canonicalize(path).map_err(|_| refuse(Code::Io))?,
    };
    Ok((dir, real))
}

/// One open, resolved by the kernel within `scope`.
fn resolve(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    scope: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let scope = scope | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES_MAX {
        match openat2(dir, path, flags, mode, scope) {
            // AGAIN: something was renamed during the resolution, so that the kernel can't vouch.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => return walk(dir, path, flags, mode),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// The portable way: a handle for each component, no symbolic link followed, no `..`.
fn walk(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let must_be_dir = if path.ends_with(b"/") { OFlags::DIRECTORY } else { OFlags::empty() };
    let mut components: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|component| !matches!(*component, b"" | b"."))
        .collect();
    if path.starts_with(b"/") || components.contains(&b"..".as_slice()) {
        return Err(Errno::XDEV);
    }
    let last = components.pop().unwrap_or(b".");
    let mut held: Option<OwnedFd> = None;
    for component in components {
        let at = held.as_ref().map_or(dir, |held| held.as_fd());
        let through = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        held = Some(openat(at, component, through, Mode::empty())?);
    }
    let at = held.as_ref().map_or(dir, |held| held.as_fd());
    openat(at, last, flags | OFlags::NOFOLLOW | must_be_dir, mode)
}

/// Longest path of a peer in bytes.
pub const PATH_LEN_MAX: usize = 4096;
/// Longest name in a directory in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Most components of a path, and deepest nesting of a tree.
pub const DEPTH_MAX: usize = 256;
/// How often one open is tried while somebody renames what it passes.
const TRIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_prefix_by_components_and_not_by_characters() {
        let rest = |path: &str, root: &str| {
            strip_components(path.as_bytes(), root.as_bytes())
                .map(|rest| String::from_utf8(rest.to_vec()).unwrap())
        };
        assert_eq!(rest("/a/b", "/a"), Some("b".into()));
        assert_eq!(rest("/a", "/a"), Some(String::new()));
        assert_eq!(rest("//a/.//b/", "/a"), Some("b/".into()));
        assert_eq!(rest("/x", "/"), Some("x".into()));
        assert_eq!(rest("/ab", "/a"), None);
        assert_eq!(rest("/a/../ab", "/a/b"), None);
        assert_eq!(rest("/..a", "/"), Some("..a".into()));
    }

    #[test]
    fn odd_names_are_names_and_dots_are_not() {
        for name in ["document..pdf", "...", "..a", "-rf", " x", "a\nb"] {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        assert!(is_name(b"\xff\xfe"));
        assert!(is_name(&[b'x'; 255]));
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert!(!is_name(name.as_bytes()), "{name}");
        }
        assert!(!is_name(&[b'x'; 256]));
    }

    #[test]
    fn without_openat2_no_link_is_followed_and_nothing_leads_out() {
        let base = std::env::temp_dir().join(format!("tow-walk-{}", std::process::id()));
        std::fs::create_dir_all(base.join("dir")).unwrap();
        std::fs::write(base.join("dir/file"), b"x").unwrap();
        std::os::unix::fs::symlink("dir", base.join("link")).unwrap();
        std::os::unix::fs::symlink("dir/file", base.join("leaf")).unwrap();
        let (dir, _) = open_real(&base).unwrap();
        let open = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            walk(dir.as_fd(), path.as_bytes(), flags, Mode::empty()).map(drop)
        };
        assert_eq!(open("dir/file"), Ok(()));
        assert_eq!(open("./dir//file"), Ok(()));
        assert_eq!(open("."), Ok(()));
        assert_eq!(open("dir/file/"), Err(Errno::NOTDIR));
        assert_eq!(open("leaf"), Err(Errno::LOOP));
        assert_eq!(open("link/file"), Err(Errno::NOTDIR));
        assert_eq!(open(".."), Err(Errno::XDEV));
        assert_eq!(open("dir/../dir/file"), Err(Errno::XDEV));
        assert_eq!(open("/etc/passwd"), Err(Errno::XDEV));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
