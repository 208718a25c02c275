//! Temporary directories, and what is in directories.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A private directory that is removed with its content at the end.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new one.
    ///
    /// # Panics
    /// It can't be made.
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A new one in memory, where the system has such a place: reading a huge sparse file from a
    /// disk fills the cache with its holes.
    ///
    /// # Panics
    /// It can't be made.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::new() }
    }

    fn within(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("tow-t{}-{count}", process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                // A process of this number was killed before it could tidy up.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file system of its own, in a directory. It is taken away when dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// An empty one in memory at `dir`, with these options: `size=1m`. `None` where this user may
    /// not.
    pub fn tmpfs(dir: &Path, options: &str) -> Option<Self> {
        let mut mount = process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir);
        let output = mount.output().ok()?;
        output.status.success().then(|| Self(dir.to_owned()))
    }

    /// Nothing can be written there any more.
    ///
    /// # Panics
    /// The system refuses.
    pub fn make_read_only(&self) {
        let mut mount = process::Command::new("mount");
        let status = mount.args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{}", self.0.display());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The names in a directory, sorted.
///
/// # Panics
/// It can't be read.
pub fn names_in(dir: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Every path beneath a directory, relative to it, with the content of the files, sorted.
///
/// # Panics
/// Something can't be read.
pub fn files_beneath(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(at) = open.pop() {
        for name in names_in(&dir.join(&at)) {
            let path = at.join(name);
            let full = dir.join(&path);
            if full.is_dir() && !full.is_symlink() {
                open.push(path.clone());
                found.push((path, None));
            } else {
                let content = fs::read(&full);
                found.push((path, Some(content.unwrap_or_default())));
            }
        }
    }
    found.sort();
    found
}

/// The permission bits of a file.
///
/// # Panics
/// There is none.
pub fn mode_of(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path);
    metadata.unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o7777
}

/// `len` bytes that do not repeat and can't be compressed, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
