//! Stdin as one writer numbers it: kept until the session has certainly passed it on, so that it can
//! go on over another link without a byte lost or repeated (PROTOCOL 3.4, 7.5).

use std::collections::VecDeque;

use tow_net::Link;
use tow_proto::content::Tally;
use tow_proto::message::{End, STDIN, StdinState};
use tow_proto::{Kind, json};

use super::{AskError, broken};

/// What was ever written here, and how far it has come.
pub(super) struct Stdin {
    /// All of it, over every link.
    tally: Box<Tally>,
    /// The end of it: what may have to be sent again, or has not been sent.
    kept: VecDeque<u8>,
    /// Offset up to which this link has taken it.
    sent: u64,
    /// Offset up to which this link may take it.
    to: u64,
    window: u64,
    phase: Phase,
    is_end_sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The program reads no more; the end is still to be said.
    Closed,
    /// All was written.
    Ended,
    /// There is no stdin to write to.
    Absent,
}

impl Stdin {
    /// A writer that has written nothing; [`Self::resume`] says how much it may.
    pub(super) fn new() -> Self {
        Self {
            tally: Box::default(),
            kept: VecDeque::new(),
            sent: 0,
            to: 0,
            window: 0,
            phase: Phase::Open,
            is_end_sent: false,
        }
    }

    /// Goes on over a new link, where the session says that it is.
    ///
    /// # Errors
    /// It can't be there.
    pub(super) fn resume(&mut self, state: StdinState) -> Result<(), AskError> {
        if state.window == 0 {
            self.phase = Phase::Absent;
            self.kept = VecDeque::new();
            return Ok(());
        }
        let passed_on = state.to.saturating_sub(state.window);
        let is_ours = (self.oldest()..=self.tally.bytes()).contains(&state.from);
        if !is_ours || passed_on > state.from || state.to < state.from {
            return Err(broken("a place in stdin from which nobody can go on"));
        }
        (self.sent, self.to, self.window) = (state.from, state.to, state.window);
        self.is_end_sent = false;
        self.forget(passed_on);
        Ok(())
    }

    /// The session takes more; says whether that is news.
    ///
    /// # Errors
    /// It claims to have passed on what it was never given.
    pub(super) fn handle_credit(&mut self, to: u64) -> Result<bool, AskError> {
        if to <= self.to || self.phase == Phase::Absent {
            return Ok(false);
        }
        let passed_on = to.saturating_sub(self.window);
        if passed_on > self.sent {
            return Err(broken("a credit for what was not sent"));
        }
        self.to = to;
        self.forget(passed_on);
        Ok(true)
    }

    /// The program reads no more; says whether that is news.
    pub(super) fn handle_closed(&mut self) -> bool {
        let is_news = self.phase == Phase::Open;
        if is_news {
            self.phase = Phase::Closed;
        }
        is_news
    }

    /// True where writing makes no sense any more, or never did.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Absent)
    }

    /// Bytes that may be written now. With a link or without one: what is kept is bounded by the
    /// session's window, and by our own limit where it claims a larger one.
    pub(super) fn room(&self) -> usize {
        if self.phase != Phase::Open {
            return 0;
        }
        let granted = usize::try_from(self.to.saturating_sub(self.tally.bytes()));
        granted.unwrap_or(usize::MAX).min(KEPT_LEN_MAX.saturating_sub(self.kept.len()))
    }

    /// The next bytes, at most [`Self::room`].
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.phase == Phase::Open {
            self.tally.update(bytes);
            self.kept.extend(bytes);
        }
    }

    /// There are no more.
    pub(super) fn end(&mut self) {
        if self.phase != Phase::Absent {
            self.phase = Phase::Ended;
        }
    }

    /// Queues what the link may take and has room for. What is left waits for credit or for room.
    pub(super) fn send(&mut self, link: &mut Link) {
        let until = self.to.min(self.tally.bytes());
        let oldest = self.oldest();
        while self.sent < until && link.has_room() {
            let piece = piece(&self.kept, self.sent - oldest, until - self.sent);
            link.send(Kind::Data, piece);
            self.sent += piece.len() as u64;
        }
        if self.phase == Phase::Ended && self.sent == self.tally.bytes() && !self.is_end_sent {
            let end = End { stream: STDIN, total: self.sent, blake3: self.tally.hash() };
            link.send(Kind::End, &json::to_vec(&end));
            self.is_end_sent = true;
        }
    }

    /// Offset of the first byte that is kept.
    fn oldest(&self) -> u64 {
        self.tally.bytes() - self.kept.len() as u64
    }

    fn forget(&mut self, passed_on: u64) {
        let count = passed_on.saturating_sub(self.oldest());
        self.kept.drain(..usize::try_from(count).unwrap_or(usize::MAX).min(self.kept.len()));
    }
}

/// The part of `kept` that starts `from` bytes into it, as far as it lies in one piece, and at most
/// `len` bytes of it. Both lie within `kept`.
fn piece(kept: &VecDeque<u8>, from: u64, len: u64) -> &[u8] {
    let (front, back) = kept.as_slices();
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let part = match front.get(from..) {
        Some(part) if !part.is_empty() => part,
        _ => &back[from - front.len()..],
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    &part[..part.len().min(len).min(PIECE_LEN_MAX)]
}

/// Bytes that are kept at most, whatever window a node claims to need.
const KEPT_LEN_MAX: usize = 16 << 20;
/// Bytes of stdin in one frame: signals and credits pass between two of them.
const PIECE_LEN_MAX: usize = 64 << 10;
