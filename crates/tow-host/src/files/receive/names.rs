//! Names that are different and yet the same to the file system: because it does not tell upper from
//! lower case, or writes them in another form. Two of them are never merged into one.

use std::collections::{HashMap, HashSet};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, futimens, openat, statat, unlinkat};

use super::dirs::Dir;
use crate::files::meta::{mtime_of, timestamps};
use crate::files::tree::{names_in, open_dir};

/// What is known of file systems that fold names, and of one directory on such a one.
#[derive(Debug)]
pub(super) struct Names {
    /// By device.
    folds: HashMap<u64, bool>,
    probe: fn(&OwnedFd, &[u8]) -> bool,
    /// The directory that was used last, where its file system folds names.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    path: Vec<u8>,
    exact: HashSet<Vec<u8>>,
    folded: HashMap<Vec<u8>, Vec<u8>>,
}

/// Whether a name may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// What has the name, if anything, has exactly this one.
    Free,
    /// Nothing has exactly this name: what is found under it all the same must not be replaced.
    MustBeNew,
    /// Something else has it.
    Taken,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { folds: HashMap::new(), probe: does_fold, current: None }
    }

    /// As if every file system folded names.
    #[cfg(test)]
    pub(super) fn folding() -> Self {
        Self { probe: |_, _| true, ..Self::new() }
    }

    /// Whether `name` can be given in `dir`; from then on it is taken. `scratch` makes a name for a
    /// file that is only there to find out what the file system does.
    pub(super) fn take(
        &mut self,
        dir: &Dir,
        name: &[u8],
        scratch: impl FnOnce() -> Vec<u8>,
    ) -> Fit {
        let probe = self.probe;
        let folds = self.folds.entry(dir.device);
        if !*folds.or_insert_with(|| probe(&dir.handle, &scratch())) {
            return Fit::Free;
        }
        let current = self.current.take().filter(|current| current.path == dir.path);
        let current = self.current.insert(current.unwrap_or_else(|| Current::read(dir)));
        current.take(name)
    }

    /// A name, or a directory with everything in it, is gone.
    pub(super) fn forget(&mut self, dir: &Dir, name: &[u8]) {
        match &mut self.current {
            Some(current) if current.path == dir.path => {
                current.exact.remove(name);
                current.folded.remove(&fold(name));
            }
            // It may be beneath what is gone.
            current => *current = None,
        }
    }
}

impl Current {
    fn read(dir: &Dir) -> Self {
        let mut current =
            Self { path: dir.path.clone(), exact: HashSet::new(), folded: HashMap::new() };
        // A handle of its own: one that was read is at its end.
        let names = open_dir(&dir.handle, b"").and_then(|dir| names_in(&dir));
        for (name, _) in names.unwrap_or_default() {
            current.add(&name);
        }
        current
    }

    fn take(&mut self, name: &[u8]) -> Fit {
        if self.exact.contains(name) {
            return Fit::Free;
        }
        if self.folded.contains_key(&fold(name)) {
            return Fit::Taken;
        }
        self.add(name);
        Fit::MustBeNew
    }

    fn add(&mut self, name: &[u8]) {
        self.exact.insert(name.to_vec());
        self.folded.insert(fold(name), name.to_vec());
    }
}

/// What names have in common that differ in case. Where a file system sees more than this in two
/// names, it says so when the second is to be given.
fn fold(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// Makes a file and looks for it by another name. The directory keeps its time: nobody else may have
/// a reason to set it.
fn does_fold(dir: &OwnedFd, name: &[u8]) -> bool {
    let before = fstat(dir);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if openat(dir, name, flags, Mode::RUSR | Mode::WUSR).is_err() {
        // What is to be done next will fail and say why.
        return false;
    }
    let other = name.to_ascii_uppercase();
    let is_there = statat(dir, &other, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let _ = unlinkat(dir, name, AtFlags::empty());
    if let Ok(before) = before {
        let _ = futimens(dir, &timestamps(mtime_of(&before)));
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beneath::Root;
    use tow_testkit::TempDir;

    fn open(dir: &TempDir) -> Dir {
        let root = Root::open(dir.path(), dir.path()).unwrap();
        let handle = root.open_path(&"".into(), OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        Dir::new(b"", handle, false).unwrap()
    }

    #[test]
    fn a_file_system_that_tells_case_takes_every_name_and_keeps_no_trace() {
        let temp = TempDir::new();
        let time = std::time::SystemTime::UNIX_EPOCH;
        std::fs::File::open(temp.path()).unwrap().set_modified(time).unwrap();
        let (dir, mut names) = (open(&temp), Names::new());
        for name in ["README", "readme", "README"] {
            assert_eq!(names.take(&dir, name.as_bytes(), || b".probe".to_vec()), Fit::Free);
        }
        assert_eq!(std::fs::metadata(temp.path()).unwrap().modified().unwrap(), time);
        assert!(names.current.is_none());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_that_folds_takes_one_of_two_names_and_the_one_that_is_there() {
        let temp = TempDir::new();
        std::fs::write(temp.path().join("Already"), b"").unwrap();
        let dir = open(&temp);
        let mut names = Names::folding();
        let mut take = |name: &str| names.take(&dir, name.as_bytes(), Vec::new);
        assert_eq!(take("README"), Fit::MustBeNew);
        assert_eq!(take("README"), Fit::Free);
        assert_eq!(take("readme"), Fit::Taken);
        assert_eq!(take("already"), Fit::Taken);
        assert_eq!(take("Already"), Fit::Free);
        assert_eq!(take("ÄRGER"), Fit::MustBeNew);
        assert_eq!(take("ärger"), Fit::Taken);
        names.forget(&dir, b"README");
        assert_eq!(names.take(&dir, b"readme", Vec::new), Fit::MustBeNew);
    }
}
