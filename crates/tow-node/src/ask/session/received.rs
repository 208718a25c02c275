//! What was received of one output stream, over every link (PROTOCOL 3.3, 3.4, 7.5).
//!
//! An offset is absolute. A new link may start a little before what is here already; what comes
//! twice is dropped, so each byte is given once.

use tow_proto::content::Tally;
use tow_proto::message::{Credit, End, StreamTotal};

use super::{AskError, Output, broken};

/// One stream as it has arrived so far.
pub(super) struct Received {
    stream: u8,
    /// Offset of the first byte that is not here; `None` until that is known.
    have: Option<u64>,
    /// Bytes that were given to the caller and not consumed yet.
    waiting: u64,
    /// Length and hash from the very start; `None` where not all of it was seen.
    tally: Option<Box<Tally>>,
    ended: Option<StreamTotal>,
    /// We want no more of it, so its hash says nothing to us.
    is_stopped: bool,
    /// Offset at which this link was asked to start.
    asked: Option<u64>,
    /// Offset of the next byte on this link.
    at: u64,
    /// Offset up to which this link may bring bytes, and its distance to what was consumed.
    to: u64,
    window: u64,
    drawing: Option<Drawing>,
    /// It jumped: a credit that crossed with that was too small to count.
    owes_credit: bool,
}

/// A screen whose drawing has not come in whole.
struct Drawing {
    at: u64,
    rows: u16,
    cols: u16,
    left: u64,
    bytes: Vec<u8>,
}

impl Received {
    /// Nothing yet; `from` is where the stream is to start, the node decides where there is none.
    pub(super) fn new(stream: u8, from: Option<u64>) -> Self {
        Self {
            stream,
            have: from,
            waiting: 0,
            tally: (from.unwrap_or(0) == 0).then(Box::default),
            ended: None,
            is_stopped: false,
            asked: from,
            at: 0,
            to: 0,
            window: 0,
            drawing: None,
            owes_credit: false,
        }
    }

    /// The offset to ask a new link for, if any, with `window` bytes of credit. Where much waits to
    /// be consumed, it is the first of those bytes: so a consumer that stands still, on a link that
    /// is lost again and again, never has more than one and a half windows waiting.
    pub(super) fn ask(&mut self, window: u64) -> Option<u64> {
        self.window = window;
        let is_behind = self.waiting > window / 2 && self.ended.is_none();
        self.asked = self.have.map(|have| if is_behind { self.consumed() } else { have });
        self.asked
    }

    /// A new link starts at `from`; of a terminal that may be said later, with the screen.
    ///
    /// # Errors
    /// That is not where it was asked to start.
    pub(super) fn resume(&mut self, from: u64, is_terminal: bool) -> Result<(), AskError> {
        self.drawing = None;
        self.at = from;
        self.to = from.saturating_add(self.window);
        if is_terminal {
            return Ok(());
        }
        if self.asked.is_some_and(|asked| asked != from) {
            return Err(broken("output from another place than was asked for"));
        }
        if self.have.is_none() {
            self.jump(from);
        }
        Ok(())
    }

    /// A frame of data.
    ///
    /// # Errors
    /// It has no place here.
    pub(super) fn take(&mut self, mut bytes: Vec<u8>) -> Result<Option<Output>, AskError> {
        if let Some(drawing) = self.drawing.take() {
            return self.draw(drawing, &bytes);
        }
        let len = bytes.len() as u64;
        if len > self.to.saturating_sub(self.at) {
            return Err(broken("more output than was granted"));
        }
        let have = match self.have {
            Some(have) => have,
            None => self.jump(self.at),
        };
        let Some(repeated) = have.checked_sub(self.at) else {
            return Err(broken("output with a hole in it"));
        };
        self.at += len;
        if self.at <= have {
            return Ok(None);
        }
        if self.ended.is_some() {
            return Err(broken("output after its end"));
        }
        // Less than `len`, which is the length of a vector.
        bytes.drain(..repeated as usize);
        if let Some(tally) = &mut self.tally {
            tally.update(&bytes);
        }
        self.have = Some(self.at);
        self.waiting += bytes.len() as u64;
        Ok(Some(Output::Bytes { stream: self.stream, bytes }))
    }

    /// The stream goes on at `to`.
    ///
    /// # Errors
    /// The bytes from `from` to there are not those that would have been next.
    pub(super) fn handle_gap(&mut self, from: u64, to: u64) -> Result<Option<Output>, AskError> {
        if from != self.at || to <= from || self.drawing.is_some() || self.ended.is_some() {
            return Err(broken("a gap that has no place here"));
        }
        let have = match self.have {
            Some(have) => have,
            None => self.jump(from),
        };
        if have < from {
            return Err(broken("output with a hole in it"));
        }
        self.skip(to);
        if to <= have {
            return Ok(None);
        }
        self.jump(to);
        Ok(Some(Output::Gap { stream: self.stream, from: have, to }))
    }

    /// A drawing of `len` bytes follows, then live bytes from `at` on.
    ///
    /// # Errors
    /// It has no place here, or is too long.
    pub(super) fn handle_screen(
        &mut self,
        at: u64,
        (rows, cols): (u16, u16),
        len: u64,
    ) -> Result<Option<Output>, AskError> {
        if at < self.at || self.drawing.is_some() {
            return Err(broken("a screen that has no place here"));
        }
        if len > DRAWING_LEN_MAX {
            return Err(broken("a screen that is too long"));
        }
        let drawing = Drawing { at, rows, cols, left: len, bytes: Vec::new() };
        self.draw(drawing, &[])
    }

    /// Its next bytes.
    fn draw(&mut self, mut drawing: Drawing, bytes: &[u8]) -> Result<Option<Output>, AskError> {
        let Some(left) = drawing.left.checked_sub(bytes.len() as u64) else {
            return Err(broken("a screen that is longer than was said"));
        };
        drawing.bytes.extend_from_slice(bytes);
        drawing.left = left;
        if left > 0 {
            self.drawing = Some(drawing);
            return Ok(None);
        }
        let Drawing { at, rows, cols, bytes, .. } = drawing;
        self.skip(at);
        // Also back to before what is here: those bytes belong on top of the drawing.
        self.jump(at);
        Ok(Some(Output::Screen { rows, cols, bytes }))
    }

    /// The stream is complete; `None` where that is known already.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn handle_end(&mut self, end: End) -> Result<Option<Output>, AskError> {
        let total = StreamTotal { bytes: end.total, blake3: end.blake3 };
        if self.drawing.is_some() {
            return Err(broken("an end in the middle of a screen"));
        }
        if self.ended.is_none() {
            let is_whole = self.at == total.bytes && self.have.is_none_or(|have| have == self.at);
            let is_same = self
                .tally
                .as_ref()
                .is_none_or(|tally| tally.bytes() == total.bytes && tally.hash() == total.blake3);
            if !(self.is_stopped || is_whole && is_same) {
                return Err(broken("output that is not what the program wrote"));
            }
            self.ended = Some(total);
            // Of one that was stopped, what is missing is not wanted on the next link either.
            self.have = Some(total.bytes);
            return Ok(Some(Output::Ended { stream: self.stream }));
        }
        self.check_exit(total).map(|()| None)
    }

    /// The exit record says the same of this stream as its end did.
    ///
    /// # Errors
    /// It does not, or there was no end.
    pub(super) fn check_exit(&self, total: StreamTotal) -> Result<(), AskError> {
        if self.is_stopped || self.ended == Some(total) {
            Ok(())
        } else {
            Err(broken("output that is not what the program wrote"))
        }
    }

    /// So many bytes were consumed: the credit that is to be sent, if any.
    pub(super) fn handle_consumed(&mut self, bytes: u64) -> Option<Credit> {
        self.waiting = self.waiting.saturating_sub(bytes);
        let to = self.consumed().saturating_add(self.window);
        // Half a window at a time: small grants would cost a frame each.
        if self.ended.is_some() || to <= self.to || to - self.to < self.window / 2 {
            return None;
        }
        self.to = to;
        Some(Credit { stream: self.stream, to })
    }

    /// Nobody reads it here any more.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// True where the node has to know that nobody reads it.
    pub(super) fn wants_stop(&self) -> bool {
        self.is_stopped && self.ended.is_none()
    }

    fn consumed(&self) -> u64 {
        self.have.unwrap_or(0).saturating_sub(self.waiting)
    }

    /// The link goes on at `to`; both sides add what it skips to the credit.
    fn skip(&mut self, to: u64) {
        self.to = self.to.saturating_add(to - self.at);
        self.at = to;
        self.owes_credit = true;
    }

    /// The credit that is to be stated once more, after a jump (PROTOCOL 3.4).
    pub(super) fn restate(&mut self) -> Option<Credit> {
        std::mem::take(&mut self.owes_credit).then_some(Credit { stream: self.stream, to: self.to })
    }

    /// What comes next is at `to`.
    fn jump(&mut self, to: u64) -> u64 {
        self.have = Some(to);
        if self.tally.as_ref().is_some_and(|tally| tally.bytes() != to) {
            self.tally = None;
        }
        to
    }
}

/// A drawing is as long as a screen full of colours and what has scrolled off it. More is no screen.
const DRAWING_LEN_MAX: u64 = 16 << 20;
