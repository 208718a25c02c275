//! The way from an archive to its reader: of all that is made, what was asked for.

use bytes::Bytes;

use super::source::Broken;
use crate::stream::Outlet;

/// Takes bytes that have their places, and passes on those between two of them.
pub(super) struct Pour {
    outlet: Outlet,
    from: u64,
    to: u64,
    at: u64,
    waiting: Vec<u8>,
}

impl Pour {
    /// What is at `from` and before `to`.
    pub(super) fn new(outlet: Outlet, from: u64, to: u64) -> Self {
        Self { outlet, from, to, at: 0, waiting: Vec::new() }
    }

    pub(super) fn from(&self) -> u64 {
        self.from
    }

    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// The place of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next byte is the one of this place.
    pub(super) fn move_to(&mut self, at: u64) {
        self.at = at;
    }

    /// What is asked for of the bytes between two places.
    pub(super) fn part(&self, begin: u64, end: u64) -> (u64, u64) {
        (self.from.clamp(begin, end), self.to.clamp(begin, end))
    }

    /// Whether any of the bytes between two places is asked for.
    pub(super) fn wants(&self, begin: u64, end: u64) -> bool {
        let (from, to) = self.part(begin, end);
        from < to
    }

    /// The next bytes.
    ///
    /// # Errors
    /// Nobody reads on.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let begin = self.at;
        self.at += bytes.len() as u64;
        let (from, to) = self.part(begin, self.at);
        let inner = usize::try_from(from - begin).ok().zip(usize::try_from(to - begin).ok());
        let Some(wanted) = inner.and_then(|(from, to)| bytes.get(from..to)) else { return Ok(()) };
        if self.waiting.len() + wanted.len() > PIECE_LEN {
            self.flush()?;
        }
        if wanted.len() >= PIECE_LEN {
            return self.pass(Bytes::copy_from_slice(wanted));
        }
        self.waiting.extend_from_slice(wanted);
        Ok(())
    }

    /// Whether anybody reads on.
    ///
    /// # Errors
    /// Nobody does.
    pub(super) fn check(&self) -> Result<(), Broken> {
        if self.outlet.is_unread() { Err(Broken::Unread) } else { Ok(()) }
    }

    /// That was all, and it is good. Gives how many bytes it was.
    ///
    /// # Errors
    /// Nobody reads on.
    pub(super) fn end(mut self) -> Result<u64, Broken> {
        self.flush()?;
        let bytes = self.outlet.bytes();
        self.outlet.blocking_end();
        Ok(bytes)
    }

    /// Bytes that were passed on.
    pub(super) fn bytes(&self) -> u64 {
        self.outlet.bytes()
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.waiting);
        self.pass(piece.into())
    }

    fn pass(&mut self, piece: Bytes) -> Result<(), Broken> {
        self.outlet.blocking_put(piece).map_err(|_| Broken::Unread)
    }
}

/// Small things go together.
const PIECE_LEN: usize = 64 << 10;
