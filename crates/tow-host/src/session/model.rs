//! A terminal's model that lags behind the log of its output, so that a session which nobody looks
//! at costs little: bytes are taken in only before they are lost, or when too many wait.

use std::collections::VecDeque;
use std::ops::Range;

use super::screen::{Screen, Size};

/// What a terminal showed at one offset of its output, and the sizes that it had since.
#[derive(Clone)]
pub(super) struct Model {
    /// Nothing before the first byte is taken in.
    screen: Option<Box<Screen>>,
    /// At `fed_to`, or before what follows in `sizes`.
    size: Size,
    /// Later sizes, and the offsets from which they hold; ascending.
    sizes: VecDeque<(u64, Size)>,
    fed_to: u64,
}

/// All that a drawing needs, taken quickly and to be drawn elsewhere.
pub(super) struct Picture {
    model: Model,
    unparsed: Vec<u8>,
}

/// A drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    /// The offset that it shows; the output goes on from there, at the start of a character or of
    /// a sequence.
    pub(super) at: u64,
    /// The size of the terminal that it is for.
    pub(super) size: Size,
    /// What to write to such a terminal.
    pub(super) bytes: Vec<u8>,
}

impl Model {
    /// A terminal before its first byte.
    pub(super) fn new(size: Size) -> Self {
        Self { screen: None, size, sizes: VecDeque::new(), fed_to: 0 }
    }

    /// The size changed when the output had come to the offset `at`, which never goes back. A
    /// change at the same offset as the one before replaces it.
    pub(super) fn resized(&mut self, at: u64, size: Size) {
        if let Some((_, last)) = self.sizes.back_mut().filter(|(last_at, _)| *last_at >= at) {
            *last = size;
            return;
        }
        if self.sizes.len() == SIZES_MAX {
            self.apply_first_size();
        }
        self.sizes.push_back((at, size));
    }

    /// The size at the end of the output.
    pub(super) fn size(&self) -> Size {
        self.sizes.back().map_or(self.size, |(_, size)| *size)
    }

    /// Every byte before this offset is in the model.
    pub(super) fn fed_to(&self) -> u64 {
        self.fed_to
    }

    /// Takes in the output from [`Self::fed_to`] on.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            while self.sizes.front().is_some_and(|(at, _)| *at <= self.fed_to) {
                self.apply_first_size();
            }
            let until = self.sizes.front().map_or(u64::MAX, |(at, _)| at - self.fed_to);
            let len = rest.len().min(usize::try_from(until).unwrap_or(usize::MAX));
            let size = self.size;
            let screen = self.screen.get_or_insert_with(|| Box::new(Screen::new(size)));
            let portion = &rest[..len];
            let gone = screen.lines_kept().map_or(0..0, |lines| scrolled_away(portion, lines));
            screen.feed(&portion[..gone.start]);
            screen.feed(&portion[gone.end..]);
            self.fed_to += len as u64;
            rest = &rest[len..];
        }
    }

    /// Goes on after bytes that it can't take in, as an empty terminal.
    pub(super) fn begin_anew(&mut self, at: u64) {
        self.screen = None;
        self.fed_to = at;
        while self.sizes.front().is_some_and(|(from, _)| *from <= at) {
            self.apply_first_size();
        }
    }

    fn apply_first_size(&mut self) {
        let Some((_, size)) = self.sizes.pop_front() else { return };
        self.size = size;
        if let Some(screen) = &mut self.screen {
            screen.resize(size);
        }
    }

    /// What is to be drawn; `unparsed` is the output from [`Self::fed_to`] to its end.
    pub(super) fn picture(&self, unparsed: Vec<u8>) -> Picture {
        Picture { model: self.clone(), unparsed }
    }
}

impl Picture {
    /// Takes in what was not yet, and draws. This is work for milliseconds: not for a lock.
    pub(super) fn draw(self) -> Drawn {
        let mut model = self.model;
        let kept_rows = HISTORY_ROWS + usize::from(model.size().rows);
        let (old, recent) = self.unparsed.split_at(last_lines(&self.unparsed, kept_rows));
        model.feed(old);
        let screen = model.screen.take().map_or_else(|| Screen::new(model.size), |boxed| *boxed);
        model.screen = Some(Box::new(screen.with_history(HISTORY_ROWS)));
        model.feed(recent);
        while !model.sizes.is_empty() {
            model.apply_first_size();
        }
        let (size, fed_to) = (model.size, model.fed_to);
        let screen = model.screen.map_or_else(|| Screen::new(size), |boxed| *boxed);
        let bytes = [&screen.draw(), screen.opening()].concat();
        Drawn { at: fed_to - screen.pending(), size, bytes }
    }
}

/// Where the last `count` lines start. To keep lines that will be dropped again takes several times
/// as long as to let them go.
fn last_lines(bytes: &[u8], count: usize) -> usize {
    let newlines = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    newlines.map(|(at, _)| at + 1).nth(count).unwrap_or(0)
}

/// What need not be taken in: a flood of plain lines of which none is left in the end, since only
/// the last `lines` are kept. Such lines leave nothing behind but themselves, so whole ones may be
/// left out where more than that follow.
fn scrolled_away(bytes: &[u8], lines: usize) -> Range<usize> {
    let is_plain = |byte: &u8| matches!(*byte, b'\n' | b'\r' | b'\t' | 0x20..=0x7e | 0x80..);
    let plain_from = bytes.iter().rposition(|byte| !is_plain(byte)).map_or(0, |place| place + 1);
    let plain = &bytes[plain_from..];
    let after_line = |place: usize| place + LINE_END.len();
    let ends = || plain.windows(LINE_END.len()).enumerate().filter(|(_, two)| *two == LINE_END);
    let Some((first, _)) = ends().next() else { return 0..0 };
    let last_kept = ends().rev().nth(lines + 1);
    match last_kept {
        Some((last, _)) if last > first => {
            plain_from + after_line(first)..plain_from + after_line(last)
        }
        _ => 0..0,
    }
}

/// What a terminal makes of the end of a line, unless it is told otherwise.
const LINE_END: &[u8] = b"\r\n";
/// How many bytes of a log may wait to be taken in. Few enough that a drawing takes milliseconds,
/// and enough that no model is made for a shell's prompt.
pub(super) const LAG_MAX: usize = 256 << 10;
/// Sizes that wait with the bytes. A window is not dragged for longer than that without output.
const SIZES_MAX: usize = 64;
/// Lines that a drawing gives back to what can be scrolled to, if the unparsed bytes have them.
const HISTORY_ROWS: usize = 500;

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
