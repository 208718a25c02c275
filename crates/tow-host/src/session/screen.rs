//! What a terminal shows after a program's output, and the bytes that make another one show it.
//!
//! The crate vt100 models the two screens and the commonest modes. Around it, [`notes`] remembers
//! what it does not know and says in its words what it has no ear for, and [`draw`] writes the
//! picture. Nothing here answers a program or has a side effect.

mod draw;
mod notes;

use std::num::NonZeroU16;

use self::notes::{Notes, Place, Which};
use super::escape::{Piece, SEQUENCE_LEN_MAX, Scanner};

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Lines.
    pub(super) rows: u16,
    /// Columns.
    pub(super) cols: u16,
}

impl Size {
    /// What a size that somebody gave is taken for. 0 is what a terminal says that does not know
    /// its own size: then `last` stands, or 24 lines of 80.
    pub(super) fn sane(rows: u16, cols: u16, last: Option<Self>) -> Self {
        if rows == 0 || cols == 0 {
            return last.unwrap_or(Self { rows: 24, cols: 80 });
        }
        Self { rows: rows.min(SIDE_MAX), cols: cols.min(SIDE_MAX) }
    }
}

/// A terminal without a window.
pub(super) struct Screen {
    /// Always between two sequences: it is given whole ones only.
    parser: vt100::Parser,
    size: Size,
    scanner: Scanner,
    /// The sequence or character that is not complete yet.
    unfinished: Vec<u8>,
    notes: Notes,
}

impl Clone for Screen {
    fn clone(&self) -> Self {
        Self {
            parser: parser_of(self.parser.screen()),
            size: self.size,
            scanner: self.scanner.clone(),
            unfinished: self.unfinished.clone(),
            notes: self.notes.clone(),
        }
    }
}

impl Screen {
    /// An empty terminal, with nothing to scroll back to.
    pub(super) fn new(size: Size) -> Self {
        Self {
            parser: parser(size, 0),
            size,
            scanner: Scanner::default(),
            unfinished: Vec::new(),
            notes: Notes::default(),
        }
    }

    /// The same, but from now on the last `rows` lines that scroll away are kept.
    pub(super) fn with_history(self, rows: usize) -> Self {
        let mut parser = parser(self.size, rows);
        parser.process(&self.draw());
        Self { parser, ..self }
    }

    /// How many of the bytes that it was fed are part of something unfinished, and not shown yet.
    pub(super) fn pending(&self) -> u64 {
        self.scanner.pending()
    }

    /// After how many more lines nothing of one that comes now is left, with what can be scrolled
    /// back to; `None` where it is not as simple as that.
    pub(super) fn lines_kept(&self) -> Option<usize> {
        let is_simple = self.pending() == 0 && !self.notes.has_margins;
        let history = self.parser.screen().scrollback_capacity();
        is_simple.then_some(usize::from(self.size.rows) + history)
    }

    /// What a terminal must hear before the bytes that follow, see [`Scanner::opening`].
    pub(super) fn opening(&self) -> &'static [u8] {
        self.scanner.opening()
    }

    /// The program's next output.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, len) = self.scanner.next(rest);
            let (bytes, later) = rest.split_at(len);
            rest = later;
            if piece == Piece::Unfinished {
                self.unfinished.extend_from_slice(bytes);
                self.forget_what_was_aborted();
            } else if self.unfinished.is_empty() {
                self.take(piece, bytes);
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(bytes);
                self.take(piece, &whole);
            }
        }
    }

    fn forget_what_was_aborted(&mut self) {
        let kept = usize::try_from(self.scanner.pending()).unwrap_or(usize::MAX);
        self.unfinished.drain(..self.unfinished.len().saturating_sub(kept));
    }

    fn take(&mut self, piece: Piece, bytes: &[u8]) {
        match piece {
            // What was too long was not kept from its start.
            Piece::Sequence(len) if len > SEQUENCE_LEN_MAX => {}
            Piece::Sequence(len) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                self.sequence(&bytes[bytes.len().saturating_sub(len)..]);
            }
            Piece::Text | Piece::Unfinished => self.text(bytes),
        }
    }

    fn sequence(&mut self, sequence: &[u8]) {
        let screen = self.parser.screen();
        let (row, col) = screen.cursor_position();
        let which = if screen.alternate_screen() { Which::Alternate } else { Which::Primary };
        let place = Place { row, col, cols: self.size.cols, which };
        match self.notes.hear(sequence, place) {
            Some(instead) => self.parser.process(&instead),
            None => self.parser.process(sequence),
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        for run in bytes.split_inclusive(|byte| matches!(*byte, SHIFT_OUT | SHIFT_IN)) {
            for chunk in run.utf8_chunks() {
                self.chars(chunk.valid());
                if !chunk.invalid().is_empty() {
                    self.char(char::REPLACEMENT_CHARACTER);
                }
            }
            match run.last() {
                Some(&SHIFT_OUT) => self.notes.shift_out(),
                Some(&SHIFT_IN) => self.notes.shift_in(),
                _ => {}
            }
        }
    }

    fn chars(&mut self, text: &str) {
        let is_plain = self.notes.is_plain();
        let is_special =
            |char| !is_plain || matches!(char, char::REPLACEMENT_CHARACTER | EMOJI_PRESENTATION);
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            let (before, after) = rest.split_at(at);
            self.parser.process(before.as_bytes());
            let mut chars = after.chars();
            if let Some(char) = chars.next() {
                self.char(char);
            }
            rest = chars.as_str();
        }
        self.parser.process(rest.as_bytes());
    }

    fn char(&mut self, char: char) {
        let screen = self.parser.screen();
        let (row, col) = screen.cursor_position();
        let is_full = col >= screen.size().1.get();
        let is_wide = |cell: &vt100::Cell| cell.is_wide_continuation();
        let char = match self.notes.translate(char) {
            // vt100 leaves no room for it, as a terminal does.
            char::REPLACEMENT_CHARACTER => REPLACEMENT,
            // It makes the character before it wide. Where that has no room, vt100 loses count and
            // panics in the end.
            EMOJI_PRESENTATION if is_full && !screen.cell(row, col - 1).is_some_and(is_wide) => {
                return;
            }
            other => other,
        };
        if is_full && !self.notes.wraps() && char >= ' ' {
            // Where lines don't wrap, the last column is written over.
            self.parser.process(b"\x1b[9999G");
        }
        self.parser.process(char.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// The terminal has another size from here on.
    pub(super) fn resize(&mut self, size: Size) {
        if self.parser.screen().scrollback_capacity() == 0 {
            self.forget_scrolled_lines();
        }
        let (rows, cols) = sides(size);
        self.parser.set_size(rows, cols);
        self.size = size;
    }

    /// vt100 counts lines that scrolled away, and a terminal that becomes higher gets that many
    /// empty ones on top where they were not kept. Without the count it grows at the bottom.
    fn forget_scrolled_lines(&mut self) {
        let is_alternate = self.parser.screen().alternate_screen();
        if is_alternate {
            self.parser.process(b"\x1b[?47l");
        }
        self.parser.screen_mut().clear_scrollback();
        if is_alternate {
            self.parser.process(b"\x1b[?47h");
        }
    }
}

/// A parser that goes on from there.
fn parser_of(screen: &vt100::Screen) -> vt100::Parser {
    let mut parser = vt100::Parser::new(NonZeroU16::MIN, NonZeroU16::MIN, 0);
    *parser.screen_mut() = screen.clone();
    parser
}

fn parser(size: Size, history: usize) -> vt100::Parser {
    let (rows, cols) = sides(size);
    vt100::Parser::new(rows, cols, history)
}

/// A screen of a single column has no place for a wide character, and vt100 counts on one.
fn sides(size: Size) -> (NonZeroU16, NonZeroU16) {
    let two = NonZeroU16::MIN.saturating_add(1);
    (
        NonZeroU16::new(size.rows).unwrap_or(NonZeroU16::MIN),
        NonZeroU16::new(size.cols).unwrap_or(two).max(two),
    )
}

/// The largest height and width. A screen of that size takes 32 MB as vt100 keeps it, and the
/// largest ones in use, small type on a wall of displays, are narrower than this.
const SIDE_MAX: u16 = 1_000;
/// How bytes are shown that are no text.
const REPLACEMENT: char = '?';
/// VS16.
const EMOJI_PRESENTATION: char = '\u{fe0f}';
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
