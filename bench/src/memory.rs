//! Memory of a process, as the kernel counts it (proc(5)), in KiB.

use std::fs;

use anyhow::{Context as _, Result};

/// What a process uses now.
pub(crate) struct Memory {
    /// Its share: what others use too counts in parts.
    pub(crate) pss: u64,
    /// All of it.
    pub(crate) rss: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            pss: field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")?,
            rss: field(&format!("/proc/{pid}/status"), "VmRSS:")?,
        })
    }
}

/// The most that it has used.
pub(crate) fn peak(pid: u32) -> Result<u64> {
    field(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("{path}: {name}"))
}
