//! What vt100 does not keep of a terminal's state, and sequences that it has no ear for in words
//! that it knows.

/// What the program has set.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Those of [`PRIVATE`] that are on, by place.
    private: u16,
    /// Those of [`ANSI`] that are on, by place.
    ansi: u16,
    is_nowrap: bool,
    charsets: Charsets,
    /// As DECSC saved them, for the primary and the alternate screen.
    saved: [Charsets; 2],
    /// xterm's modifyOtherKeys.
    pub(super) other_keys: Option<u16>,
    /// kitty's keyboard flags, for the primary and the alternate screen.
    keyboard: [Keyboard; 2],
    pub(super) titles: Titles,
    stack: Vec<Titles>,
    /// The working directory, as OSC 7 names it.
    pub(super) directory: Option<String>,
    /// Margins were set, so perhaps not every line scrolls.
    pub(super) has_margins: bool,
}

/// What the window and its icon are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Titles {
    pub(super) window: Option<String>,
    pub(super) icon: Option<String>,
}

/// Which characters the codes of ASCII stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charsets {
    /// G0 and G1 are the one with lines and corners.
    graphics: [bool; 2],
    /// G1 is in force.
    is_shifted: bool,
}

#[derive(Clone, Debug, Default)]
struct Keyboard {
    flags: u16,
    pushed: Vec<u16>,
}

/// One of a terminal's two screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Primary,
    Alternate,
}

/// Where a sequence finds the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// From 0.
    pub(super) row: u16,
    /// From 0; the width where a line is full.
    pub(super) col: u16,
    pub(super) cols: u16,
    pub(super) which: Which,
}

/// The parts of a CSI sequence; 0 stands for no prefix and no intermediate.
struct Csi {
    prefix: u8,
    intermediate: u8,
    params: Vec<u16>,
    last: u8,
}

impl Notes {
    /// Takes a whole sequence, and tells what vt100 is to hear instead of it, if anything.
    pub(super) fn hear(&mut self, sequence: &[u8], place: Place) -> Option<Vec<u8>> {
        match sequence {
            // SGR, and half of all sequences.
            [_, b'[', b'0'..=b'9', .., b'm'] | [_, b'[', b'm'] => None,
            [_, b'[', parts @ .., last] => {
                let csi = Csi::new(parts, *last);
                self.hear_mode(&csi, place).or_else(|| self.hear_csi(&csi, place, sequence))
            }
            [_, b']', content @ .., 0x1b, b'\\'] | [_, b']', content @ .., 0x07] => {
                self.hear_osc(content);
                Some(Vec::new())
            }
            // Strings say nothing else that is shown; an aborted one is one of them.
            [_, b']' | b'P' | b'X' | b'^' | b'_', ..] => Some(Vec::new()),
            [_, rest @ ..] => self.hear_escape(rest, place),
            [] => None,
        }
    }

    fn hear_escape(&mut self, rest: &[u8], place: Place) -> Option<Vec<u8>> {
        match rest {
            // IND and NEL.
            b"D" => return Some(b"\n".to_vec()),
            b"E" => return Some(b"\r\n".to_vec()),
            b"7" => self.save(place.which),
            b"8" => self.restore(place.which),
            b"c" => {
                let (titles, directory) = (self.titles.clone(), self.directory.take());
                *self = Self { titles, directory, ..Self::default() };
            }
            [b'(', set] => self.charsets.graphics[0] = *set == b'0',
            [b')', set] => self.charsets.graphics[1] = *set == b'0',
            _ => {}
        }
        None
    }

    /// Modes: vt100 hears them as well, and more where it knows one by another name only.
    fn hear_mode(&mut self, csi: &Csi, place: Place) -> Option<Vec<u8>> {
        let is_set = match csi.last {
            b'h' => true,
            b'l' => false,
            _ => return None,
        };
        let mut more = Vec::new();
        for &mode in &csi.params {
            match (csi.prefix, mode) {
                (0, _) => set(&mut self.ansi, &ANSI, mode, is_set),
                (b'?', 7) => self.is_nowrap = !is_set,
                (b'?', 1047) if is_set => more.extend_from_slice(b"\x1b[?47h"),
                (b'?', 1047) if place.which == Which::Alternate => {
                    more.extend_from_slice(b"\x1b[2J\x1b[?47l");
                }
                (b'?', 1048) => more.extend_from_slice(if is_set { b"\x1b7" } else { b"\x1b8" }),
                (b'?', _) => set(&mut self.private, &PRIVATE, mode, is_set),
                _ => {}
            }
            match (csi.prefix, mode, is_set) {
                (b'?', 1048 | 1049, true) => self.save(place.which),
                (b'?', 1048, false) => self.restore(place.which),
                // It leaves the alternate screen first.
                (b'?', 1049, false) => self.restore(Which::Primary),
                _ => {}
            }
        }
        (!more.is_empty()).then(|| [csi.to_bytes(), more].concat())
    }

    fn hear_csi(&mut self, csi: &Csi, place: Place, sequence: &[u8]) -> Option<Vec<u8>> {
        let count = csi.params.first().copied().unwrap_or(0).max(1);
        let instead = match (csi.prefix, csi.intermediate, csi.last) {
            // REP without a bound would be work without one. It is used within a line.
            (0, 0, b'b') => format!("\x1b[{}b", count.min(place.cols)),
            // HPR and VPR, CHT and CBT, and the cursor saved by another name.
            (0, 0, b'a') => format!("\x1b[{count}C"),
            (0, 0, b'e') => format!("\x1b[{count}B"),
            (0, 0, b'I') => "\t".repeat(usize::from(count.min(place.cols))),
            (0, 0, b'Z') => format!("\x1b[{}G", tab_back(place.col, count) + 1),
            (0, 0, b's') if sequence.len() == 3 => {
                return self.hear(b"\x1b7", place).or(as_is(b"\x1b7"));
            }
            (0, 0, b'u') if sequence.len() == 3 => {
                return self.hear(b"\x1b8", place).or(as_is(b"\x1b8"));
            }
            (0, b'!', b'p') => self.soft_reset(place),
            (0, 0, b'r') => {
                self.has_margins = csi.params.iter().any(|margin| *margin != 0);
                return None;
            }
            _ => {
                self.hear_keyboard(csi, place);
                self.hear_titles(csi);
                return None;
            }
        };
        Some(instead.into_bytes())
    }

    /// DECSTR.
    fn soft_reset(&mut self, place: Place) -> String {
        let (titles, stack) = (std::mem::take(&mut self.titles), std::mem::take(&mut self.stack));
        let (private, directory) = (self.private, self.directory.take());
        let keyboard = std::mem::take(&mut self.keyboard);
        *self = Self { titles, stack, private, directory, keyboard, ..Self::default() };
        let back = format!("\x1b[{};{}H", place.row + 1, place.col + 1);
        format!("\x1b[?6l\x1b[r\x1b[m\x1b[H\x1b7\x1b[?1l\x1b>\x1b[?25h{back}")
    }

    fn hear_keyboard(&mut self, csi: &Csi, place: Place) {
        let first = csi.params.first().copied().unwrap_or(0);
        let second = csi.params.get(1).copied();
        let keyboard = &mut self.keyboard[place.which as usize];
        match (csi.prefix, csi.intermediate, csi.last) {
            (b'>', 0, b'm') if first == 4 => self.other_keys = second,
            (b'>', 0, b'n') if first == 4 => self.other_keys = Some(0),
            (b'=', 0, b'u') => match second.unwrap_or(1) {
                2 => keyboard.flags |= first,
                3 => keyboard.flags &= !first,
                _ => keyboard.flags = first,
            },
            (b'>', 0, b'u') => {
                if keyboard.pushed.len() == KEYBOARDS_MAX {
                    keyboard.pushed.remove(0);
                }
                keyboard.pushed.push(std::mem::replace(&mut keyboard.flags, first));
            }
            (b'<', 0, b'u') => {
                for _ in 0..first.max(1).min(KEYBOARDS_MAX as u16) {
                    keyboard.flags = keyboard.pushed.pop().unwrap_or(0);
                }
            }
            _ => {}
        }
    }

    fn hear_titles(&mut self, csi: &Csi) {
        if (csi.prefix, csi.intermediate, csi.last) != (0, 0, b't') {
            return;
        }
        match csi.params.first() {
            Some(22) if self.stack.len() < TITLES_MAX => self.stack.push(self.titles.clone()),
            Some(23) => {
                if let Some(titles) = self.stack.pop() {
                    self.titles = titles;
                }
            }
            _ => {}
        }
    }

    fn hear_osc(&mut self, content: &[u8]) {
        let mut parts = content.splitn(2, |byte| *byte == b';');
        let (number, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if text.len() > TITLE_LEN_MAX || !matches!(number, b"0" | b"1" | b"2" | b"7") {
            return;
        }
        let text = String::from_utf8_lossy(text).replace(char::is_control, "");
        match number {
            b"1" => self.titles.icon = Some(text),
            b"2" => self.titles.window = Some(text),
            b"7" => self.directory = Some(text),
            _ => self.titles = Titles { window: Some(text.clone()), icon: Some(text) },
        }
    }

    fn save(&mut self, which: Which) {
        self.saved[which as usize] = self.charsets;
    }

    fn restore(&mut self, which: Which) {
        self.charsets = self.saved[which as usize];
    }

    pub(super) fn shift_out(&mut self) {
        self.charsets.is_shifted = true;
    }

    pub(super) fn shift_in(&mut self) {
        self.charsets.is_shifted = false;
    }

    /// Whether text means to vt100 what it means to a terminal.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_nowrap && !self.charsets.has_graphics()
    }

    /// Whether text goes on in the next line.
    pub(super) fn wraps(&self) -> bool {
        !self.is_nowrap
    }

    /// The character that is shown for one of the stream.
    pub(super) fn translate(&self, char: char) -> char {
        let at = u32::from(char).wrapping_sub(0x5f) as usize;
        if self.charsets.has_graphics() {
            return GRAPHICS.chars().nth(at).unwrap_or(char);
        }
        char
    }

    /// The flags of kitty's keyboard protocol on a screen.
    pub(super) fn keyboard(&self, which: Which) -> u16 {
        self.keyboard[which as usize].flags
    }

    /// What sets the character sets in force.
    pub(super) fn charsets(&self) -> String {
        self.charsets.to_sequences()
    }

    /// What sets those that DECSC has saved on a screen.
    pub(super) fn saved_charsets(&self, which: Which) -> String {
        self.saved[which as usize].to_sequences()
    }

    /// What sets the modes noted here, in a terminal where they have their defaults.
    pub(super) fn modes(&self) -> String {
        let on = |bits: u16, at: usize| bits >> at & 1 == 1;
        let private = PRIVATE.iter().enumerate().filter(|(at, _)| on(self.private, *at));
        let ansi = ANSI.iter().enumerate().filter(|(at, _)| on(self.ansi, *at));
        let mut modes: String = private.map(|(_, mode)| format!("\x1b[?{mode}h")).collect();
        modes.extend(ansi.map(|(_, mode)| format!("\x1b[{mode}h")));
        modes.push_str(if self.is_nowrap { "\x1b[?7l" } else { "" });
        modes
    }
}

impl Charsets {
    fn has_graphics(self) -> bool {
        self.graphics[usize::from(self.is_shifted)]
    }

    fn to_sequences(self) -> String {
        let [g0, g1] = self.graphics.map(|is_graphics| if is_graphics { '0' } else { 'B' });
        format!("\x1b({g0}\x1b){g1}{}", if self.is_shifted { '\x0e' } else { '\x0f' })
    }
}

impl Csi {
    fn new(parts: &[u8], last: u8) -> Self {
        let mut csi = Self { prefix: 0, intermediate: 0, params: vec![0], last };
        for &byte in parts {
            match byte {
                b'0'..=b'9' => {
                    if let Some(param) = csi.params.last_mut() {
                        *param = param.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                    }
                }
                b':' | b';' if csi.params.len() < PARAMS_MAX => csi.params.push(0),
                0x3c..=0x3f => csi.prefix = byte,
                0x20..=0x2f => csi.intermediate = byte,
                _ => {}
            }
        }
        csi
    }

    /// As vt100 takes it: a mode's sequence has nothing else.
    fn to_bytes(&self) -> Vec<u8> {
        let params: Vec<String> = self.params.iter().map(u16::to_string).collect();
        let prefix = if self.prefix == 0 { "" } else { "?" };
        format!("\x1b[{prefix}{}{}", params.join(";"), char::from(self.last)).into_bytes()
    }
}

fn as_is(sequence: &[u8]) -> Option<Vec<u8>> {
    Some(sequence.to_vec())
}

fn set(bits: &mut u16, modes: &[u16], mode: u16, is_set: bool) {
    if let Some(at) = modes.iter().position(|known| *known == mode) {
        *bits = *bits & !(1 << at) | u16::from(is_set) << at;
    }
}

/// The column so many tab stops before this one.
fn tab_back(col: u16, count: u16) -> u16 {
    let stop = col.div_ceil(TAB) * TAB;
    stop.saturating_sub(count.saturating_mul(TAB))
}

/// Private modes that are off in a fresh terminal: reverse video, reverse wrap, the mouse being
/// followed, focus reports, two encodings of the mouse, reports of colours and of sizes.
pub(super) const PRIVATE: [u16; 8] = [5, 45, 1001, 1004, 1015, 1016, 2031, 2048];
/// ANSI modes that are off in a fresh terminal: insert, new line.
pub(super) const ANSI: [u16; 2] = [4, 20];
/// The line-drawing set of the VT100, for the codes from 0x5f on.
const GRAPHICS: &str = "\u{a0}◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";
/// Columns from one tab stop to the next.
const TAB: u16 = 8;
/// Parameters that are looked at; vt100 takes 32.
const PARAMS_MAX: usize = 32;
/// Titles that may be put away, as in xterm.
const TITLES_MAX: usize = 10;
/// The longest title, or directory, that is kept, in bytes.
const TITLE_LEN_MAX: usize = 4 << 10;
/// Keyboard flags that may be put away.
const KEYBOARDS_MAX: usize = 8;
