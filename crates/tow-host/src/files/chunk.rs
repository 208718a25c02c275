//! The pieces in which content travels, and the pool that their buffers come from and go back to:
//! a fresh 256 KiB allocation costs as much as hashing it.

use std::sync::{Arc, Mutex};

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, pread};
use tow_proto::frame::PREFIX_LEN;

/// Most payload bytes of a chunk that is read here.
pub const CHUNK_LEN_MAX: usize = 256 << 10;

/// A piece of a file's content. Those that are read here leave [`PREFIX_LEN`] bytes of room in front
/// of the payload, so that a link can put its frame prefix there and send both without a copy.
#[derive(Debug)]
pub struct Chunk {
    buf: Vec<u8>,
    headroom: usize,
    pool: Option<Arc<Pool>>,
}

impl Chunk {
    /// What came over a link: payload only.
    pub fn from_payload(payload: Vec<u8>) -> Self {
        Self { buf: payload, headroom: 0, pool: None }
    }

    /// What begins with [`PREFIX_LEN`] bytes of room.
    pub(super) fn with_headroom(buf: Vec<u8>) -> Self {
        debug_assert!(buf.len() >= PREFIX_LEN, "the room is there");
        Self { buf, headroom: PREFIX_LEN, pool: None }
    }

    /// The content.
    pub fn payload(&self) -> &[u8] {
        &self.buf[self.headroom..]
    }

    /// Bytes of room in front of the payload: [`PREFIX_LEN`] or 0.
    pub fn headroom(&self) -> usize {
        self.headroom
    }

    /// Room and payload together, to be sent as they are. The buffer returns to its pool when the
    /// chunk is dropped.
    pub fn frame_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }

    /// Room and payload as a buffer of its own, which leaves the pool.
    pub fn into_buf(mut self) -> Vec<u8> {
        std::mem::take(&mut self.buf)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put_back(std::mem::take(&mut self.buf));
        }
    }
}

/// Buffers of full size that are free.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// Reads at most `len` bytes of `file` at `offset`; an empty chunk is the file's end.
    pub(super) fn read(
        self: &Arc<Self>,
        file: &OwnedFd,
        offset: u64,
        len: u64,
    ) -> Result<Chunk, Errno> {
        let len = len.min(CHUNK_LEN_MAX as u64) as usize;
        let mut buf = self.take(PREFIX_LEN + len);
        buf.resize(PREFIX_LEN, 0);
        loop {
            // The spare room of a pooled buffer may be larger than what is wanted.
            let wanted = PREFIX_LEN + len - buf.len();
            if wanted == 0 {
                break;
            }
            let at = offset + (buf.len() - PREFIX_LEN) as u64;
            match read_at_most(file, &mut buf, wanted, at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Chunk { buf, headroom: PREFIX_LEN, pool: Some(Arc::clone(self)) })
    }

    fn take(&self, capacity: usize) -> Vec<u8> {
        if capacity <= SMALL_LEN_MAX {
            return Vec::with_capacity(capacity);
        }
        let pooled = self.free.lock().ok().and_then(|mut free| free.pop());
        pooled.unwrap_or_else(|| Vec::with_capacity(PREFIX_LEN + CHUNK_LEN_MAX))
    }

    fn put_back(&self, mut buf: Vec<u8>) {
        if buf.capacity() < PREFIX_LEN + CHUNK_LEN_MAX {
            return;
        }
        buf.clear();
        if let Ok(mut free) = self.free.lock()
            && free.len() < FREE_MAX
        {
            free.push(buf);
        }
    }
}

/// Appends to `buf` what one `pread` gives, at most `wanted` bytes.
fn read_at_most(file: &OwnedFd, buf: &mut Vec<u8>, wanted: usize, at: u64) -> Result<usize, Errno> {
    let before = buf.len();
    let read = pread(file, spare_capacity(buf), at)?;
    buf.truncate(before + read.min(wanted));
    Ok(read.min(wanted))
}

/// Below this, a buffer of the right size costs less than one from the pool.
const SMALL_LEN_MAX: usize = 64 << 10;
/// Buffers that are kept: more than a queue of a link holds.
const FREE_MAX: usize = 16;
