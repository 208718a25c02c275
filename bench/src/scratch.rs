//! A directory in memory for one measurement, gone when it is over.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory; dropping it removes it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty one, on a tmpfs.
    pub(crate) fn new() -> Result<Self> {
        remove_stale()?;
        let path = Path::new(TMPFS).join(format!("{PREFIX}{}", std::process::id()));
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
fn remove_stale() -> Result<()> {
    for entry in fs::read_dir(TMPFS).context(TMPFS)? {
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
const PREFIX: &str = "tow-bench-";
