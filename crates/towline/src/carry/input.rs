//! stdin on its way to the program: taken apart, in its encoding, held back until there is room.

use encoding_rs::Encoding;

use crate::encoding::Encoder;
use crate::escape::{Discipline, Escapes, Typed};
use crate::stdio::{Source, Through};

/// stdin of this process.
pub(super) struct Input {
    stdin: Option<Source>,
    /// Where somebody types; a pipe has no escapes.
    escapes: Option<Escapes>,
    encoder: Option<Encoder>,
    /// For the program, once there is room.
    waiting: Vec<u8>,
    state: State,
    /// Something was read.
    is_used: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It ends after what waits.
    Ending,
    /// The program reads no more, or was told the end.
    Over,
}

impl Input {
    /// Starts to read stdin.
    pub(super) fn new(typed: Option<Discipline>, encoding: Option<&'static Encoding>) -> Self {
        let through = match typed {
            Some(Discipline::Raw) => Through::Terminal,
            _ => Through::Threads,
        };
        Self {
            stdin: Some(Source::new(through)),
            escapes: typed.map(Escapes::new),
            encoder: encoding.map(Encoder::new),
            waiting: Vec::new(),
            state: State::Open,
            is_used: false,
        }
    }

    /// Nothing to read.
    pub(super) fn none() -> Self {
        Self {
            stdin: None,
            escapes: None,
            encoder: None,
            waiting: Vec::new(),
            state: State::Over,
            is_used: false,
        }
    }

    /// The next portion, `None` at the end. May be cancelled.
    ///
    /// A pipe is read when there is nothing left of it here. Where somebody types it is read ahead:
    /// an escape must be seen also when the program, or the link, takes nothing.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        let waiting_max = if self.escapes.is_some() { TYPED_AHEAD_MAX } else { 0 };
        match &mut self.stdin {
            Some(stdin) if self.waiting.len() <= waiting_max => {
                let portion = stdin.next().await;
                if portion.is_none() {
                    self.stdin = None;
                }
                portion
            }
            _ => std::future::pending().await,
        }
    }

    /// What a portion means.
    pub(super) fn split(&mut self, portion: Vec<u8>) -> Vec<Typed> {
        self.is_used = true;
        match &mut self.escapes {
            Some(escapes) => escapes.feed(&portion),
            None => vec![Typed::Bytes(portion)],
        }
    }

    /// Holds bytes for the program.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        let bytes = match &mut self.encoder {
            Some(encoder) => encoder.encode(&bytes),
            None => bytes,
        };
        if self.waiting.is_empty() {
            self.waiting = bytes;
        } else {
            self.waiting.extend(bytes);
        }
    }

    /// stdin has ended.
    pub(super) fn end(&mut self) {
        let tilde = self.escapes.as_mut().map(Escapes::finish).unwrap_or_default();
        self.keep(tilde.to_vec());
        if self.state == State::Open {
            let rest = self.encoder.as_mut().map(Encoder::finish).unwrap_or_default();
            self.waiting.extend(rest);
            self.state = State::Ending;
        }
    }

    /// True where something was read.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// The program reads no more. Whoever types may still type escapes.
    pub(super) fn close(&mut self) {
        self.state = State::Over;
        self.waiting = Vec::new();
        if self.escapes.is_none() {
            self.stdin = None;
        }
    }

    /// At most `room` bytes for the program.
    pub(super) fn take(&mut self, room: usize) -> Vec<u8> {
        let room = room.min(self.waiting.len());
        let rest = self.waiting.split_off(room);
        std::mem::replace(&mut self.waiting, rest)
    }

    /// True once: when the end is to be told.
    pub(super) fn take_end(&mut self) -> bool {
        let is_due = self.state == State::Ending && self.waiting.is_empty();
        if is_due {
            self.state = State::Over;
        }
        is_due
    }
}

/// What may be typed or pasted ahead of the program, in bytes. Beyond it the local terminal waits, and
/// an escape with it.
const TYPED_AHEAD_MAX: usize = 1 << 20;
