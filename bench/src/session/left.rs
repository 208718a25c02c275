//! What a process has, as far as sessions may leave something of it behind.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

/// What a keeper has of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Processes that are its children, zombies too.
    pub(super) processes: usize,
    /// Open descriptors.
    pub(super) descriptors: usize,
    /// Terminals among them.
    pub(super) terminals: usize,
    /// Directories of control groups that it has made.
    pub(super) cgroups: usize,
}

impl Holdings {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let open = open_files(pid)?;
        let terminals = open.iter().filter(|path| path.ends_with("ptmx")).count();
        let processes = children(pid)?;
        Ok(Self { processes, descriptors: open.len(), terminals, cgroups: cgroups(pid)? })
    }

    /// What is there that was not before.
    pub(super) fn beyond(self, before: Self) -> Self {
        Self {
            processes: self.processes.saturating_sub(before.processes),
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            terminals: self.terminals.saturating_sub(before.terminals),
            cgroups: self.cgroups.saturating_sub(before.cgroups),
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        self == Self { processes: 0, descriptors: 0, terminals: 0, cgroups: 0 }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, descriptors, terminals, cgroups } = self;
        write!(
            f,
            "{processes} processes, {descriptors} descriptors, {terminals} terminals, \
             {cgroups} control groups"
        )
    }
}

fn open_files(pid: u32) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    // One that is closed meanwhile is not open.
    Ok(entries.flatten().flat_map(|entry| fs::read_link(entry.path())).collect())
}

fn children(pid: u32) -> Result<usize> {
    let mut count = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread that ends meanwhile leaves its children to another.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        count += children.split_whitespace().count();
    }
    Ok(count)
}

/// None where the system has no control groups of version 2.
fn cgroups(pid: u32) -> Result<usize> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then_some(place)
    });
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(mount), Some(own)) = (mount, own) else { return Ok(0) };
    let start = format!("towline-{pid}-");
    let entries = fs::read_dir(PathBuf::from(mount).join(own))?.flatten();
    Ok(entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start)).count())
}
