//! Where the sequences of a terminal's output begin and end (ECMA-48 with xterm's additions), and
//! which of them ask the terminal for an answer.
//!
//! It keeps no bytes and gives a sequence no other meaning. Controls of 8 bits are not known here:
//! in UTF-8 those bytes are parts of characters.

/// Follows a stream, in portions of any length.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    state: State,
    /// Bytes of the sequence or character in progress, or of the last one once it is complete.
    len: u64,
}

/// What the bytes at the front of a portion are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Characters and controls, or the rest of a character that had begun before.
    Text,
    /// The rest of a sequence, which has so many bytes from its ESC on.
    Sequence(u64),
    /// A part of a character or of a sequence that is not complete yet.
    Unfinished,
}

/// What the last byte was part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// A UTF-8 character that lacks so many bytes.
    Char(u8),
    /// ESC, inside a string too: there it begins the terminator or another sequence.
    Escape(Inside),
    /// ESC and an intermediate.
    EscapeIntermediate,
    Csi(Csi),
    /// The header of a DCS, with its last intermediate.
    DcsHeader(u8),
    Osc(Osc),
    Apc(Apc),
    /// The content of any other string, or of one that can be no query any more.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    String,
}

/// What tells the meaning of a CSI sequence before its final byte; 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Csi {
    prefix: u8,
    intermediate: u8,
    first: u16,
    is_past_first: bool,
}

/// An OSC: its number, and whether a parameter begins at the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Osc {
    Number(u16),
    Start(u16),
    Parameter(u16),
}

/// An APC, which may be kitty's graphics: `G`, then `key=value` with commas between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apc {
    First,
    Key,
    KeyA,
    ActionValue,
    Other,
}

impl Scanner {
    /// Follows the stream's next bytes.
    pub(super) fn scan(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (_, len) = self.next(rest);
            rest = &rest[len..];
        }
    }

    /// How many bytes at the end of what was scanned belong to something unfinished; at 0 the
    /// stream can be cut here. Nothing longer than [`SEQUENCE_LEN_MAX`] is waited for.
    pub(super) fn pending(&self) -> u64 {
        if self.state == State::Ground || self.len > SEQUENCE_LEN_MAX { 0 } else { self.len }
    }

    /// What begins a string of the kind that is in progress although nobody waits for its end, so
    /// that a terminal which gets only the rest of it does not show that as text.
    pub(super) fn opening(&self) -> &'static [u8] {
        match self.state {
            State::Ground | State::Char(_) => b"",
            _ if self.len <= SEQUENCE_LEN_MAX => b"",
            State::Osc(_) => b"\x1b]9999;",
            State::Csi(_) | State::Escape(_) | State::EscapeIntermediate => b"",
            State::DcsHeader(_) | State::Apc(_) | State::Text => b"\x1b^",
        }
    }

    /// Follows the stream's next bytes, of which there is at least one, up to the end of the first
    /// piece, and tells its length in them. That is 0 where a character begun before was cut off.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (Piece, usize) {
        match self.state {
            State::Char(left) => self.next_of_char(bytes, left),
            State::Ground if bytes.first() != Some(&ESC) => self.next_of_text(bytes),
            _ => {
                for (at, byte) in bytes.iter().enumerate() {
                    self.step(*byte);
                    if self.state == State::Ground {
                        return (Piece::Sequence(self.len), at + 1);
                    }
                }
                (Piece::Unfinished, bytes.len())
            }
        }
    }

    fn next_of_char(&mut self, bytes: &[u8], left: u8) -> (Piece, usize) {
        let rest = &bytes[..bytes.len().min(usize::from(left))];
        let len = rest.iter().take_while(|byte| is_continuation(**byte)).count();
        self.len += len as u64;
        // At most three bytes are missing from a character.
        let missing = left - u8::try_from(len).unwrap_or(left);
        if missing > 0 && len == bytes.len() {
            self.state = State::Char(missing);
            return (Piece::Unfinished, len);
        }
        self.state = State::Ground;
        (Piece::Text, len)
    }

    fn next_of_text(&mut self, bytes: &[u8]) -> (Piece, usize) {
        // Most of a stream is text, and this is how `contains` finds a byte fast.
        let clean = bytes.chunks(64).take_while(|chunk| !chunk.contains(&ESC));
        let clean = clean.map(<[u8]>::len).sum();
        if let Some(at) = bytes[clean..].iter().position(|byte| *byte == ESC) {
            return (Piece::Text, clean + at);
        }
        match unfinished_char(bytes) {
            Some((have, left)) if have == bytes.len() => {
                self.len = have as u64;
                self.state = State::Char(left);
                (Piece::Unfinished, have)
            }
            Some((have, _)) => (Piece::Text, bytes.len() - have),
            None => (Piece::Text, bytes.len()),
        }
    }

    /// As [`Self::next`] for all of `bytes`, and takes from every sequence that asks the terminal
    /// for an answer what makes it a question, keeping its length. Such a CSI gets CAN for its
    /// final byte, which ends it in every terminal. In a string one byte of the content changes:
    /// its terminator can't, since some terminals act on the ESC of it, and others know no CAN
    /// inside a string and would wait for the next terminator.
    pub(super) fn silence(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            let is_text = matches!(self.state, State::Char(_))
                || self.state == State::Ground && *first != ESC;
            let len = if is_text {
                let (_, len) = self.next(rest);
                if rest[..len].contains(&ENQ) {
                    rest[..len].iter_mut().for_each(|byte| *byte = heard(*byte));
                }
                len
            } else {
                self.silence_sequence(rest)
            };
            rest = &mut rest[len..];
        }
    }

    fn silence_sequence(&mut self, bytes: &mut [u8]) -> usize {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.step(*byte);
            if self.state == State::Ground {
                return at + 1;
            }
        }
        bytes.len()
    }

    /// One byte of a sequence. Gives what is to stand in its place where questions are silenced.
    fn step(&mut self, byte: u8) -> u8 {
        self.len += 1;
        match byte {
            ESC => return self.escape(),
            CAN | SUB => return self.end(byte),
            _ => {}
        }
        match self.state {
            State::Csi(csi) => self.step_csi(csi, byte),
            State::Escape(Inside::Nothing) => self.step_escape(byte),
            State::Escape(Inside::String) if byte == b'\\' => self.end(byte),
            State::Escape(Inside::String) => {
                // The string was given up for a sequence that began with that ESC.
                self.len = 2;
                self.state = State::Escape(Inside::Nothing);
                self.step_escape(byte)
            }
            State::EscapeIntermediate if matches!(byte, 0x30..=0x7e) => self.end(byte),
            State::EscapeIntermediate => heard(byte),
            State::DcsHeader(intermediate) => self.step_dcs(intermediate, byte),
            State::Osc(_) if byte == BEL => self.end(byte),
            State::Osc(osc) => {
                let (osc, byte) = osc.step(byte);
                self.state = State::Osc(osc);
                byte
            }
            State::Apc(apc) => {
                let (state, byte) = apc.step(byte);
                self.state = state;
                byte
            }
            State::Ground | State::Char(_) | State::Text => byte,
        }
    }

    fn end(&mut self, byte: u8) -> u8 {
        self.state = State::Ground;
        byte
    }

    fn escape(&mut self) -> u8 {
        let is_string =
            matches!(self.state, State::DcsHeader(_) | State::Osc(_) | State::Apc(_) | State::Text);
        self.state = State::Escape(if is_string { Inside::String } else { Inside::Nothing });
        if !is_string {
            self.len = 1;
        }
        ESC
    }

    fn step_escape(&mut self, byte: u8) -> u8 {
        self.state = match byte {
            b'[' => State::Csi(Csi::default()),
            b']' => State::Osc(Osc::Number(0)),
            b'P' => State::DcsHeader(0),
            b'_' => State::Apc(Apc::First),
            b'X' | b'^' => State::Text,
            0x20..=0x2f => State::EscapeIntermediate,
            0x30..=0x7e => State::Ground,
            _ => self.state,
        };
        // DECID, the oldest way to ask for the device attributes.
        if byte == b'Z' { CAN } else { heard(byte) }
    }

    fn step_csi(&mut self, mut csi: Csi, byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' if !csi.is_past_first => {
                let digit = u16::from(byte - b'0');
                csi.first = csi.first.saturating_mul(10).saturating_add(digit);
            }
            b':' | b';' => csi.is_past_first = true,
            0x3c..=0x3f => csi.prefix = byte,
            0x20..=0x2f => csi.intermediate = byte,
            0x40..=0x7e => return self.end(if csi.asks(byte) { CAN } else { byte }),
            _ => {}
        }
        self.state = State::Csi(csi);
        heard(byte)
    }

    fn step_dcs(&mut self, intermediate: u8, byte: u8) -> u8 {
        match byte {
            0x20..=0x2f => self.state = State::DcsHeader(byte),
            0x40..=0x7e => {
                self.state = State::Text;
                // DECRQSS and XTGETTCAP. A DCS that no terminal knows is passed over.
                if byte == b'q' && matches!(intermediate, b'$' | b'+') {
                    return MUTED;
                }
            }
            _ => {}
        }
        byte
    }
}

impl Csi {
    /// Whether a terminal answers it.
    fn asks(self, last: u8) -> bool {
        match (self.prefix, self.intermediate, last) {
            // Device attributes, XTVERSION, DECREQTPARM.
            (0 | b'>' | b'=', 0, b'c') | (b'>', 0, b'q') | (0, 0, b'x') => true,
            // Device status; with `>` it turns a keyboard mode off.
            (0 | b'?', 0, b'n') => true,
            // DECRQM, DECRQCRA, DECRQPSR, DECRQTSR, DECRQUPSS, DECRQDE, DECRQLP.
            (0 | b'?', b'$', b'p') | (0, b'*', b'y') | (0, b'$', b'w' | b'u') => true,
            (0, b'&', b'u') | (0, b'"', b'v') | (0, b'\'', b'|') => true,
            // Keyboard modes, kitty's and xterm's; XTSMGRAPHICS; XTREPORTSGR, XTREPORTCOLORS.
            (b'?', 0, b'u' | b'm' | b'g' | b'S') | (0, b'#', b'|' | b'R') => true,
            // The window's state, position, size and titles.
            (0, 0, b't') => matches!(self.first, 11 | 13..=16 | 18..=21),
            _ => false,
        }
    }
}

impl Osc {
    fn step(self, byte: u8) -> (Self, u8) {
        match (self, byte) {
            // Terminals pass over controls.
            (_, 0..0x20) => (self, byte),
            (Self::Number(number), b'0'..=b'9') => {
                let digit = u16::from(byte - b'0');
                (Self::Number(number.saturating_mul(10).saturating_add(digit)), byte)
            }
            (Self::Number(n) | Self::Start(n) | Self::Parameter(n), b';') => (Self::Start(n), byte),
            (Self::Start(number), b'?') if OSC_QUERIES.contains(&number) => {
                (Self::Parameter(number), MUTED)
            }
            // kitty's colours: `name=?`.
            (Self::Parameter(OSC_COLOURS), b'=') => (Self::Start(OSC_COLOURS), byte),
            (Self::Start(n) | Self::Parameter(n), _) => (Self::Parameter(n), byte),
            (Self::Number(_), _) => (Self::Parameter(u16::MAX), byte),
        }
    }
}

impl Apc {
    fn step(self, byte: u8) -> (State, u8) {
        let next = match (self, byte) {
            (_, 0..0x20) => self,
            (Self::First, b'G')
            | (Self::Key | Self::KeyA | Self::ActionValue | Self::Other, b',') => Self::Key,
            (Self::First, _) | (_, b';') => return (State::Text, byte),
            (Self::Key, b'a') => Self::KeyA,
            (Self::KeyA, b'=') => Self::ActionValue,
            // An action that does not exist: kitty's "query" is all that asks and does nothing else.
            (Self::ActionValue, b'q') => return (State::Apc(Self::Other), MUTED),
            (Self::Key | Self::KeyA | Self::ActionValue | Self::Other, _) => Self::Other,
        };
        (State::Apc(next), byte)
    }
}

/// What a control inside a sequence is to be: it is carried out there, and ENQ is answered.
fn heard(byte: u8) -> u8 {
    if byte == ENQ { NUL } else { byte }
}

fn is_continuation(byte: u8) -> bool {
    matches!(byte, 0x80..=0xbf)
}

/// The bytes that the end of `bytes` has of an unfinished character, and how many it lacks.
fn unfinished_char(bytes: &[u8]) -> Option<(usize, u8)> {
    let back = bytes.iter().rev().take(3).position(|byte| !is_continuation(*byte))?;
    let left = match bytes[bytes.len() - 1 - back] {
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => 0_u8,
    };
    let missing = left.checked_sub(u8::try_from(back).ok()?)?;
    (missing > 0).then_some((back + 1, missing))
}

/// The longest sequence that is waited for, in bytes. Terminals take images of many megabytes; a
/// cut is not put off that long, and no more than this is kept.
pub(super) const SEQUENCE_LEN_MAX: u64 = 64 << 10;
/// OSC numbers for which a parameter `?` asks: colours, special colours, dynamic colours, kitty's
/// colours, the pointer's shape, the font, the clipboard, and what iTerm2 has under one number.
const OSC_QUERIES: [u16; 17] =
    [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, OSC_COLOURS, 22, 50, 52, 1337];
const OSC_COLOURS: u16 = 21;
/// In place of what makes a string a question: neither a colour, nor base64, nor the final byte of
/// a DCS or the name of an action that any terminal knows.
const MUTED: u8 = b'~';
const NUL: u8 = 0x00;
const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

#[cfg(test)]
#[path = "escape_tests.rs"]
pub(super) mod tests;
