//! What a log can't hold in memory: a file of bounded length that has no name, so that nothing is
//! left of it when its log is gone, or the node.
//!
//! First in it is the stream's head, then its tail, a ring by absolute offset. Which offsets are
//! there, only the [log](super::log) knows. Nothing here is ever wrong: what can't be written was
//! not kept, and what can't be read is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

/// Where logs spill to. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct SpillDir(Option<Arc<Path>>);

impl SpillDir {
    /// A directory that can be written.
    pub(super) fn at(dir: &Path) -> Self {
        Self(Some(dir.into()))
    }

    /// There is none: what memory can't hold is gone.
    pub(super) fn nowhere() -> Self {
        Self(None)
    }
}

/// Bytes were not kept. The reason is in our log.
#[derive(Debug)]
pub(super) struct Refused;

/// One log's file; made when the first bytes come.
#[derive(Debug)]
pub(super) struct Spill {
    dir: SpillDir,
    file: Option<File>,
    tail: Ring,
    has_tail: bool,
    /// That it can't be written has been said.
    is_told: bool,
    /// Reading has failed: nothing of it counts any more.
    is_lost: AtomicBool,
    #[cfg(test)]
    pub(super) is_full: bool,
}

/// Which place in the file an offset of the stream has.
#[derive(Debug)]
struct Ring {
    /// Where in the file it is.
    position: u64,
    /// The offset of the stream that is first there.
    from: u64,
    /// Its length, not 0.
    len: u64,
}

impl Ring {
    /// The place of an offset, and how many bytes from there on are not yet past the ring's end.
    fn place(&self, offset: u64) -> (u64, u64) {
        let within = offset.saturating_sub(self.from) % self.len;
        (self.position + within, self.len - within)
    }
}

impl Spill {
    /// For a log that begins: `head_max` bytes of head, `tail_max` of tail.
    pub(super) fn new(dir: SpillDir, head_max: u64, tail_max: u64) -> Self {
        Self::over(dir, None, Ring { position: head_max, from: 0, len: tail_max.max(1) })
    }

    /// Of a log that was stored: `head_len` bytes of head, and the rest from offset `tail_from` on.
    pub(super) fn stored(file: File, head_len: u64, tail_from: u64) -> Self {
        let tail = Ring { position: head_len, from: tail_from, len: u64::MAX };
        Self::over(SpillDir::nowhere(), Some(file), tail)
    }

    fn over(dir: SpillDir, file: Option<File>, tail: Ring) -> Self {
        Self {
            dir,
            file,
            tail,
            has_tail: false,
            is_told: false,
            is_lost: AtomicBool::new(false),
            #[cfg(test)]
            is_full: false,
        }
    }

    /// Keeps a part of the head, from offset `at` on.
    ///
    /// # Errors
    /// It is not kept.
    pub(super) fn write_head(&mut self, at: u64, parts: [&[u8]; 2]) -> Result<(), Refused> {
        self.write(at, parts[0])?;
        self.write(at + parts[0].len() as u64, parts[1])
    }

    /// Keeps a part of the tail, from offset `at` on, in place of what is a ring's length older.
    ///
    /// # Errors
    /// It is not kept, and that older part may be gone all the same.
    pub(super) fn write_tail(&mut self, mut at: u64, parts: [&[u8]; 2]) -> Result<(), Refused> {
        for mut part in parts {
            while !part.is_empty() {
                let (position, room) = self.tail.place(at);
                let (now, rest) = part.split_at(clamped(room, part.len()));
                self.has_tail = true;
                self.write(position, now)?;
                at += now.len() as u64;
                part = rest;
            }
        }
        Ok(())
    }

    /// Bytes of the head, exactly `len`. `None` for a file that has become unreadable.
    pub(super) fn read_head(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        self.read(at, len)
    }

    /// Bytes of the tail, at most `len` and at least one. `None` as for the head.
    pub(super) fn read_tail(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let (position, room) = self.tail.place(at);
        self.read(position, clamped(room, len))
    }

    /// Whether what was kept turned out to be unreadable.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// The tail is wanted no more: its room on the disk is given back.
    pub(super) fn give_back_tail(&mut self) {
        if std::mem::take(&mut self.has_tail)
            && let Some(file) = &self.file
        {
            // Where it can't be cut, it stays bounded.
            let _ = file.set_len(self.tail.position);
        }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) -> Result<(), Refused> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_lost() || (self.file.is_none() && self.dir.0.is_none()) {
            return Err(Refused);
        }
        self.try_write(position, bytes).map_err(|error| {
            if !std::mem::replace(&mut self.is_told, true) {
                let dir = self.dir.0.as_deref().unwrap_or(Path::new(""));
                tracing::warn!(dir = %dir.display(), %error, "output is lost: it can't be kept on disk");
            }
            Refused
        })
    }

    fn try_write(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match (&mut self.file, &self.dir.0) {
            (Some(file), _) => file,
            (empty, Some(dir)) => empty.insert(unnamed(dir)?),
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        #[cfg(test)]
        if self.is_full {
            // As a disk does that becomes full in the middle.
            file.write_all_at(&bytes[..bytes.len() / 2], position)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, position)
    }

    fn read(&self, position: u64, len: usize) -> Option<Vec<u8>> {
        let file = self.file.as_ref().filter(|_| !self.is_lost())?;
        let mut bytes = vec![0; len];
        let read = file.read_exact_at(&mut bytes, position);
        if let Err(error) = read {
            self.is_lost.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "output is lost: it can't be read back from disk");
            return None;
        }
        Some(bytes)
    }

    /// Length of the file in bytes.
    #[cfg(test)]
    pub(super) fn file_len(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.metadata().unwrap().len())
    }

    /// Bytes that it takes on disk.
    #[cfg(test)]
    pub(super) fn disk_len(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        self.file.as_ref().map_or(0, |file| 512 * file.metadata().unwrap().blocks())
    }

    /// As a broken disk does.
    #[cfg(test)]
    pub(super) fn truncate(&self, len: u64) {
        self.file.as_ref().unwrap().set_len(len).unwrap();
    }
}

/// A file in `dir` that only we have.
fn unnamed(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not every file system has files without names (open(2), O_TMPFILE).
        Err(_) => unlinked(dir),
    }
}

/// The same in two steps; a crash between them leaves an empty file.
fn unlinked(dir: &Path) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".spill-{}-{count}", process::id()));
    let open =
        || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = open().or_else(|error| match error.kind() {
        // Of a process that had our number, and crashed.
        io::ErrorKind::AlreadyExists => std::fs::remove_file(&path).and_then(|()| open()),
        _ => Err(error),
    })?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn clamped(room: u64, len: usize) -> usize {
    usize::try_from(room).map_or(len, |room| room.min(len))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tow_testkit::{TempDir, names_in};

    use super::*;

    #[test]
    fn the_file_has_no_name_and_is_only_ours_on_every_file_system() {
        for (dir, make) in [
            (TempDir::new(), unnamed as fn(&Path) -> io::Result<File>),
            (TempDir::in_memory(), unnamed),
            (TempDir::new(), unlinked),
            (TempDir::in_memory(), unlinked),
        ] {
            let file = make(dir.path()).unwrap();
            file.write_all_at(b"kept", 2).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (0, 0o600));
            assert_eq!((metadata.len(), names_in(dir.path()).len()), (6, 0));
        }
    }

    #[test]
    fn the_tail_goes_round_and_the_head_stays() {
        let dir = TempDir::in_memory();
        let mut spill = Spill::new(SpillDir::at(dir.path()), 4, 10);
        spill.write_head(0, [b"he", b"ad"]).unwrap();
        spill.write_tail(4, [b"456789", b"0123456"]).unwrap();
        // 7 to 16 are the newest ten: 7 to 9, then, past the ring's end, 10 to 16.
        assert_eq!(spill.read_tail(7, 100).unwrap(), b"789");
        assert_eq!(spill.read_tail(10, 7).unwrap(), b"0123456");
        assert_eq!(spill.read_head(1, 3).unwrap(), b"ead");
        assert_eq!(spill.file_len(), 14);
        spill.give_back_tail();
        assert_eq!((spill.file_len(), spill.read_head(0, 4).unwrap()), (4, b"head".to_vec()));
    }

    #[test]
    fn a_directory_that_is_not_there_keeps_nothing_and_breaks_nothing() {
        let dir = TempDir::new();
        let mut spill = Spill::new(SpillDir::at(&dir.join("none")), 4, 10);
        assert!(spill.write_head(0, [b"head", b""]).is_err());
        assert!(spill.write_tail(4, [b"tail", b""]).is_err());
        spill.give_back_tail();
        assert!(spill.read_head(0, 1).is_none());
    }

    #[test]
    fn what_is_no_longer_in_the_file_is_lost_and_not_zeros() {
        let dir = TempDir::in_memory();
        let mut spill = Spill::new(SpillDir::at(dir.path()), 8, 8);
        spill.write_head(0, [b"01234567", b""]).unwrap();
        spill.truncate(5);
        assert_eq!(spill.read_head(0, 4).unwrap(), b"0123");
        assert!(spill.read_head(3, 4).is_none());
        assert!(spill.is_lost() && spill.read_head(0, 4).is_none());
        assert!(spill.write_tail(8, [b"8", b""]).is_err());
    }
}
