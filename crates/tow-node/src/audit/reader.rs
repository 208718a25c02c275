//! Reading the audit log, from its start, while it is being written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tokio::sync::watch;

use super::{End, Shared, older_path};
use crate::state::StateError;

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTo {
    /// With what is there now.
    Now,
    /// Never: what comes is given as it comes.
    Forever,
}

/// A place in the log, and the way on from there.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    end: watch::Receiver<End>,
    until: Option<End>,
    file: Arc<File>,
    generation: u64,
    offset: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, to: ReadTo) -> Result<Self, StateError> {
        let writer = shared.writer();
        let now = writer.end();
        let (generation, path) = match older_path(&shared.path) {
            older if older.exists() => (now.generation - 1, older),
            _ => (now.generation, shared.path.clone()),
        };
        let file = Arc::new(File::open(&path).map_err(StateError::io(&path))?);
        drop(writer);
        let until = (to == ReadTo::Now).then_some(now);
        Ok(Self { end: shared.end.subscribe(), shared, until, file, generation, offset: 0 })
    }

    /// The next whole lines, at most 512 KiB; `None` at the end. A call that is
    /// dropped loses nothing.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let end = self.until.unwrap_or(*self.end.borrow_and_update());
            let is_last = self.generation >= end.generation;
            let left = if is_last { end.len.saturating_sub(self.offset) } else { u64::MAX };
            let chunk = self.read(left).await?;
            if !chunk.is_empty() {
                self.offset += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            if !is_last {
                self.open_next()?;
            } else if self.until.is_some() || self.end.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn read(&self, left: u64) -> io::Result<Vec<u8>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        // The lesser of the two fits.
        let len = left.min(CHUNK_LEN_MAX as u64) as usize;
        if len == 0 {
            return Ok(Vec::new());
        }
        tokio::task::spawn_blocking(move || read_lines(&file, offset, len))
            .await
            .map_err(io::Error::other)?
    }

    /// Goes on with the next file that is still there; the writer can't rotate meanwhile.
    fn open_next(&mut self) -> io::Result<()> {
        let writer = self.shared.writer();
        let current = writer.end().generation;
        let next = (self.generation + 1).max(current - 1);
        let path =
            if next == current { self.shared.path.clone() } else { older_path(&self.shared.path) };
        self.file = Arc::new(File::open(path)?);
        self.generation = next;
        self.offset = 0;
        Ok(())
    }
}

/// Up to `len` bytes from `offset`, without the start of a line that does not end there.
fn read_lines(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match file.read_at(&mut bytes[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // A line without an end is given as it is: it was torn, and nothing will be added to it.
    let whole = bytes[..have].iter().rposition(|byte| *byte == b'\n').map_or(have, |at| at + 1);
    bytes.truncate(whole);
    Ok(bytes)
}

/// Most bytes that are given at once; longer than any line.
const CHUNK_LEN_MAX: usize = 512 << 10;
