//! Partial files that nobody has touched for long: nobody will go on with them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Stat, fstat, statat, unlinkat};

use super::meta::FileId;
use super::partial::{Existing, is_partial_name, may_be_ours, open_existing};
use super::tree::{names_in, open_dir};

/// How long a partial file is kept that nobody touches.
pub const PARTIAL_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether a partial file has had its time. Its time of change counts, which nobody can set.
pub(super) fn is_stale(stat: &Stat, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let touched = u64::try_from(stat.st_ctime).unwrap_or(0);
    touched.saturating_add(PARTIAL_KEPT_FOR.as_secs()) < now
}

/// Removes what has had its time from a directory, if that was not looked at lately.
pub(super) fn tidy(dir: &OwnedFd) {
    let Ok(stat) = fstat(dir) else { return };
    if is_due(FileId::of(&stat), Instant::now()) {
        sweep(dir, SystemTime::now());
    }
}

/// What can't be read or removed stays.
fn sweep(dir: &OwnedFd, now: SystemTime) {
    // A handle of its own, because reading moves it.
    let Ok(names) = open_dir(dir, b"").and_then(|dir| names_in(&dir)) else { return };
    for (name, _) in names.iter().filter(|(name, _)| is_partial_name(name)) {
        let is_due = |stat: Stat| may_be_ours(&stat) && is_stale(&stat, now);
        if !statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_due) {
            continue;
        }
        // One that somebody writes at this moment is theirs.
        if let Ok(Existing::Ours(file)) = open_existing(dir, name)
            && fstat(&*file).is_ok_and(is_due)
        {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
    }
}

fn is_due(dir: FileId, now: Instant) -> bool {
    let mut looked_at = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner);
    looked_at.retain(|(_, when)| now.saturating_duration_since(*when) < EVERY);
    if looked_at.iter().any(|(known, _)| *known == dir) {
        return false;
    }
    if looked_at.len() == LOOKED_AT_MAX {
        looked_at.pop_front();
    }
    looked_at.push_back((dir, now));
    true
}

/// To look through a large directory for each of many files would cost more than all of them.
const EVERY: Duration = Duration::from_secs(3600);
const LOOKED_AT_MAX: usize = 256;
static LOOKED_AT: Mutex<VecDeque<(FileId, Instant)>> = Mutex::new(VecDeque::new());

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tow_testkit::{TempDir, names_in as names};

    use super::*;
    use crate::files::partial::open;

    #[test]
    fn only_partial_files_of_our_own_that_nobody_touches_are_removed() {
        let dir = TempDir::new();
        let partial = |name: &str| format!(".{name}.0123456789abcdef.tow-part");
        for name in ["old", "written", "linked"] {
            fs::write(dir.join(partial(name)), b"x").unwrap();
        }
        for name in ["file", ".file.tow-part", ".x.0123456789abcdeF.tow-part"] {
            fs::write(dir.join(name), b"x").unwrap();
        }
        fs::hard_link(dir.join(partial("linked")), dir.join("second")).unwrap();
        symlink(dir.join("file"), dir.join(partial("link"))).unwrap();
        fs::create_dir(dir.join(partial("dir"))).unwrap();
        let handle = OwnedFd::from(fs::File::open(dir.path()).unwrap());
        let before = names(dir.path());
        let held = open(&handle, partial("written").as_bytes()).unwrap();
        sweep(&handle, SystemTime::now() + PARTIAL_KEPT_FOR - Duration::from_secs(60));
        assert_eq!(names(dir.path()), before);
        sweep(&handle, SystemTime::now() + PARTIAL_KEPT_FOR + Duration::from_secs(60));
        let left: Vec<_> =
            before.into_iter().filter(|name| name.to_str() != Some(&partial("old"))).collect();
        assert_eq!(names(dir.path()), left);
        drop(held);
        sweep(&handle, SystemTime::now() + PARTIAL_KEPT_FOR + Duration::from_secs(60));
        assert!(!dir.join(partial("written")).exists());
    }

    #[test]
    fn a_directory_is_looked_through_now_and_then() {
        let dir = TempDir::new();
        let id = FileId::of(&fstat(fs::File::open(dir.path()).unwrap()).unwrap());
        let now = Instant::now();
        assert!(is_due(id, now));
        assert!(!is_due(id, now + EVERY / 2));
        assert!(is_due(id, now + EVERY + Duration::from_secs(1)));
    }
}
