//! A directory for one measurement, in memory or on a disk, gone when it is over.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory; dropping it removes it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty one, on a tmpfs.
    pub(crate) fn new() -> Result<Self> {
        Self::beneath(Path::new(TMPFS))
    }

    /// An empty one where temporary files go, unless that is a tmpfs too.
    pub(crate) fn on_disk() -> Result<Option<Self>> {
        let parent = std::env::temp_dir();
        let kind = rustix::fs::statfs(&parent)?.f_type;
        if kind == TMPFS_MAGIC { Ok(None) } else { Self::beneath(&parent).map(Some) }
    }

    fn beneath(parent: &Path) -> Result<Self> {
        remove_stale(parent)?;
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what an interrupted measurement has left: it holds gigabytes of memory.
fn remove_stale(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).with_context(|| format!("{}", parent.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

const TMPFS: &str = "/dev/shm";
/// What statfs(2) says of a tmpfs.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
const PREFIX: &str = "tow-bench-";
