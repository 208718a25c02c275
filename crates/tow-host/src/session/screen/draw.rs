//! The bytes that bring a terminal, whatever state it was in, into a screen's state.
//!
//! The primary screen comes first, the alternate one upon it where it is active, the modes last, so
//! that they don't change what is drawn.

use std::fmt::Write as _;

use vt100::{Color, CursorStyle, MouseProtocolEncoding, MouseProtocolMode};

use super::notes::{ANSI, PRIVATE, Which};
use super::{EMOJI_PRESENTATION, Screen, parser_of};

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    fg: Color,
    bg: Color,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    inverse: bool,
}

/// What one cell, or the first of two, shows.
struct Glyph<'a> {
    /// Empty where nothing was written.
    text: &'a str,
    width: u16,
    style: Style,
}

/// A cursor's position from 0, and whether origin mode goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    row: u16,
    col: u16,
    is_relative: bool,
}

/// What a screen has besides its contents.
#[derive(Debug)]
struct Frame {
    /// First and last line that scroll.
    region: (u16, u16),
    cursor: Spot,
    saved: Spot,
    saved_style: Style,
}

/// Whether a line goes on from the one above, which is full and was the last thing drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Fresh,
    Wrapped,
}

impl Screen {
    /// The bytes that make a terminal of the same size show this and behave so. What the history
    /// keeps ends up in what can be scrolled back to there. At most [`DRAWING_LEN_MAX`] bytes and
    /// a line: what is too much is left out, the oldest history first.
    pub(in super::super) fn draw(&self) -> Vec<u8> {
        let mut parser = parser_of(self.parser.screen());
        let is_alternate = parser.screen().alternate_screen();
        if is_alternate {
            parser.process(b"\x1b[?47l");
        }
        let history = history(parser.screen_mut());
        let mut canvas = Canvas::default();
        let primary = self.draw_screen(&mut canvas, parser.screen(), Which::Primary);
        if is_alternate {
            // What 1049 saves once more.
            canvas.style(primary.saved_style);
            canvas.out.push_str(&self.notes.saved_charsets(Which::Primary));
            // A program that entered it by 1049 left the cursor where it is saved.
            let entered = if primary.cursor == primary.saved { "\x1b[?1049h" } else { "\x1b[?47h" };
            canvas.out.push_str(entered);
            parser.process(b"\x1b[?47h");
            self.draw_screen(&mut canvas, parser.screen(), Which::Alternate);
        }
        self.draw_modes(&mut canvas);
        let room = DRAWING_LEN_MAX.saturating_sub(canvas.out.len());
        let mut all = reset();
        push_history(&mut all, &history, room, self.size.rows);
        all.push_str(&canvas.out);
        all.into_bytes()
    }

    fn draw_screen(&self, canvas: &mut Canvas, screen: &vt100::Screen, which: Which) -> Frame {
        let frame = Frame::of(screen);
        canvas.out.push_str("\x1b(B\x1b)B\x0f\x1b[?6l\x1b[r\x1b[m\x1b[H\x1b[J");
        canvas.style = Style::default();
        canvas.rows(screen);
        canvas.relative(frame.saved);
        canvas.place(screen, frame.saved, 0);
        canvas.style(frame.saved_style);
        canvas.out.push_str(&self.notes.saved_charsets(which));
        canvas.out.push_str("\x1b7\x1b(B\x1b)B\x0f");
        let (top, bottom) = frame.region;
        if frame.region != (0, screen.size().0.get() - 1) {
            canvas.put(format_args!("\x1b[{};{}r", top + 1, bottom + 1));
        }
        canvas.relative(frame.cursor);
        canvas.place(screen, frame.cursor, if frame.cursor.is_relative { top } else { 0 });
        canvas.put(format_args!("\x1b[={};1u", self.notes.keyboard(which)));
        frame
    }

    fn draw_modes(&self, canvas: &mut Canvas) {
        let screen = self.parser.screen();
        if let Some(level) = self.notes.other_keys {
            canvas.put(format_args!("\x1b[>4;{level}m"));
        }
        canvas.style(Style::of_screen(screen));
        canvas.out.push_str(&self.notes.charsets());
        if screen.application_keypad() {
            canvas.out.push_str("\x1b=");
        }
        for (mode, is_on) in [
            (1, screen.application_cursor()),
            (2004, screen.bracketed_paste()),
            (9, screen.mouse_protocol_mode() == MouseProtocolMode::Press),
            (1000, screen.mouse_protocol_mode() == MouseProtocolMode::PressRelease),
            (1002, screen.mouse_protocol_mode() == MouseProtocolMode::ButtonMotion),
            (1003, screen.mouse_protocol_mode() == MouseProtocolMode::AnyMotion),
            (1005, screen.mouse_protocol_encoding() == MouseProtocolEncoding::Utf8),
            (1006, screen.mouse_protocol_encoding() == MouseProtocolEncoding::Sgr),
        ] {
            if is_on {
                canvas.put(format_args!("\x1b[?{mode}h"));
            }
        }
        canvas.out.push_str(&self.notes.modes());
        canvas.put(format_args!("\x1b[{} q", cursor_style(screen.cursor_style())));
        for (number, text) in [
            (1, &self.notes.titles.icon),
            (2, &self.notes.titles.window),
            (7, &self.notes.directory),
        ] {
            if let Some(text) = text {
                canvas.put(format_args!("\x1b]{number};{text}\x1b\\"));
            }
        }
        if !screen.hide_cursor() {
            canvas.out.push_str("\x1b[?25h");
        }
    }
}

impl Frame {
    /// vt100 does not tell its margins, its origin mode and the saved cursor; so they are taken
    /// from what a copy does with them.
    fn of(screen: &vt100::Screen) -> Self {
        let (rows, (row, col)) = (screen.size().0.get(), screen.cursor_position());
        let mut saved = parser_of(screen);
        saved.process(b"\x1b8");
        let (saved_row, saved_col) = saved.screen().cursor_position();
        let saved_style = Style::of_screen(saved.screen());
        let is_relative = has_origin_mode(&mut saved);
        let saved = Spot { row: saved_row, col: saved_col, is_relative };

        let mut copy = parser_of(screen);
        copy.process(b"\x1b7\x1b[?6h");
        let top = copy.screen().cursor_position().0;
        copy.process(format!("\x1b[{rows}B").as_bytes());
        let bottom = copy.screen().cursor_position().0;
        copy.process(b"\x1b8");
        let is_relative = has_origin_mode(&mut copy);
        // By way of the saved cursor it can be outside, where nothing else leads.
        let row = if is_relative { row.clamp(top, bottom) } else { row };
        let cursor = Spot { row, col, is_relative };
        let held = |spot: Spot| Spot { col: spot.col.min(last_col(screen, spot.row)), ..spot };
        Self { region: (top, bottom), cursor: held(cursor), saved: held(saved), saved_style }
    }
}

/// Whether positions count from the top margin; sets other margins to find out. Screens of two
/// lines can have no others, and it makes no difference there.
fn has_origin_mode(parser: &mut vt100::Parser) -> bool {
    if parser.screen().size().0.get() < 3 {
        return false;
    }
    parser.process(b"\x1b[2;3r\x1b[H");
    parser.screen().cursor_position().0 == 1
}

/// The last column where the cursor can be in a line: beyond the end, waiting to wrap, only after
/// a character was written there.
fn last_col(screen: &vt100::Screen, row: u16) -> u16 {
    let cols = screen.size().1.get();
    if last_glyph(screen, row).is_some() { cols } else { cols - 1 }
}

/// What is written at the very end of a line, and where it begins.
fn last_glyph(screen: &vt100::Screen, row: u16) -> Option<(u16, Glyph<'_>)> {
    let cols = screen.size().1.get();
    [1, 2].iter().filter_map(|width| Some((cols.checked_sub(*width)?, *width))).find_map(
        |(col, width)| {
            let glyph = glyph(screen, row, col);
            (glyph.width == width && !glyph.text.is_empty()).then_some((col, glyph))
        },
    )
}

fn glyph(screen: &vt100::Screen, row: u16, col: u16) -> Glyph<'_> {
    let blank = Glyph { text: "", width: 1, style: Style::default() };
    let Some(cell) = screen.cell(row, col) else { return blank };
    // A line of the history may be longer than the screen is now wide.
    let has_other_half = || {
        col + 1 < screen.size().1.get()
            && screen.cell(row, col + 1).is_some_and(vt100::Cell::is_wide_continuation)
    };
    // Half of a wide character shows nothing.
    if cell.is_wide_continuation() || cell.is_wide() && !has_other_half() {
        return Glyph { style: Style::of_cell(cell), ..blank };
    }
    let width = if cell.is_wide() { 2 } else { 1 };
    Glyph { text: cell.contents(), width, style: Style::of_cell(cell) }
}

/// A drawing in progress.
#[derive(Default)]
struct Canvas {
    out: String,
    /// The style in force.
    style: Style,
}

impl Canvas {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.out.write_fmt(text);
    }

    /// All lines, on a screen that is clear.
    fn rows(&mut self, screen: &vt100::Screen) {
        let mut start = Start::Fresh;
        for row in 0..screen.size().0.get() {
            if self.out.len() > DRAWING_LEN_MAX {
                return;
            }
            if start == Start::Fresh {
                self.put(format_args!("\x1b[{}H", row + 1));
            }
            start = self.row(screen, row, start);
        }
    }

    /// One line, from its first column on. Tells how the next one begins.
    fn row(&mut self, screen: &vt100::Screen, row: u16, start: Start) -> Start {
        let cols = screen.size().1.get();
        let (mut col, mut at) = (0, 0);
        if start == Start::Wrapped && glyph(screen, row, 0).text.is_empty() {
            // A line begins to wrap with the next character; this one is erased again.
            self.style(Style::default());
            self.out.push_str(" \x08\x1b[X");
        }
        while col < cols {
            let glyph = glyph(screen, row, col);
            if glyph.text.is_empty() {
                let len = blank_len(screen, row, col, glyph.style);
                if glyph.style != Style::default() {
                    self.column(&mut at, col);
                    self.style(glyph.style);
                    self.put(format_args!("\x1b[{len}X"));
                }
                col += len;
            } else {
                self.column(&mut at, col);
                self.glyph(&glyph);
                col += glyph.width;
                at = col;
            }
        }
        if screen.row_wrapped(row) && at == cols { Start::Wrapped } else { Start::Fresh }
    }

    fn column(&mut self, at: &mut u16, col: u16) {
        if *at != col {
            self.put(format_args!("\x1b[{}G", col + 1));
            *at = col;
        }
    }

    fn relative(&mut self, spot: Spot) {
        self.out.push_str(if spot.is_relative { "\x1b[?6h" } else { "\x1b[?6l" });
    }

    /// The cursor; `top` is the line that positions count from.
    fn place(&mut self, screen: &vt100::Screen, spot: Spot, top: u16) {
        let last = last_glyph(screen, spot.row).filter(|_| spot.col >= screen.size().1.get());
        let col = last.as_ref().map_or(spot.col, |(col, _)| *col);
        self.put(format_args!("\x1b[{};{}H", spot.row.saturating_sub(top) + 1, col + 1));
        if let Some((_, glyph)) = last {
            self.glyph(&glyph);
        }
    }

    fn glyph(&mut self, glyph: &Glyph<'_>) {
        self.style(glyph.style);
        if glyph.width > 1 {
            self.out.push_str(glyph.text);
        } else {
            // What it did not make wide here could be wide there.
            self.out.extend(glyph.text.split(EMOJI_PRESENTATION));
        }
    }

    fn style(&mut self, style: Style) {
        if self.style == style {
            return;
        }
        self.style = style;
        self.out.push_str("\x1b[");
        for (is_on, code) in [
            (style.bold, "1"),
            (style.dim, "2"),
            (style.italic, "3"),
            (style.underline, "4"),
            (style.inverse, "7"),
        ] {
            if is_on {
                self.put(format_args!(";{code}"));
            }
        }
        self.color(style.fg, 30);
        self.color(style.bg, 40);
        self.out.push('m');
    }

    /// `base` is 30 for the text and 40 for what is behind it.
    fn color(&mut self, color: Color, base: u8) {
        match color {
            Color::Default => {}
            Color::Idx(index @ 0..8) => self.put(format_args!(";{}", base + index)),
            Color::Idx(index @ 8..16) => self.put(format_args!(";{}", base + 52 + index)),
            Color::Idx(index) => self.put(format_args!(";{};5;{index}", base + 8)),
            Color::Rgb(r, g, b) => self.put(format_args!(";{};2;{r};{g};{b}", base + 8)),
        }
    }
}

/// How many cells from there on show nothing in one style.
fn blank_len(screen: &vt100::Screen, row: u16, from: u16, style: Style) -> u16 {
    let is_same = |col: &u16| {
        let glyph = glyph(screen, row, *col);
        glyph.text.is_empty() && glyph.style == style
    };
    let more = (from + 1..screen.size().1.get()).take_while(is_same).count();
    1 + u16::try_from(more).unwrap_or(0)
}

/// Each line that has scrolled away, with what leads to the next one.
fn history(screen: &mut vt100::Screen) -> Vec<String> {
    screen.set_scrollback(usize::MAX);
    let mut left = screen.scrollback();
    let mut lines = Vec::with_capacity(left);
    let mut start = Start::Fresh;
    while left > 0 {
        screen.set_scrollback(left);
        for row in 0..screen.size().0.get().min(u16::try_from(left).unwrap_or(u16::MAX)) {
            let mut canvas = Canvas::default();
            start = canvas.row(screen, row, start);
            canvas.style(Style::default());
            left -= 1;
            canvas.out.push_str(match start {
                Start::Fresh => "\r\n",
                // Into the first line of the screen, which will be cleared.
                Start::Wrapped if left == 0 => " \r",
                Start::Wrapped => "",
            });
            lines.push(canvas.out);
        }
    }
    screen.set_scrollback(0);
    lines
}

/// The newest lines that have room, and as many newlines as take them all off the screen.
fn push_history(out: &mut String, lines: &[String], room: usize, rows: u16) {
    let mut len = 0;
    let fits = |line: &&String| {
        len += line.len();
        len <= room
    };
    let count = lines.iter().rev().take_while(fits).count();
    out.extend(lines[lines.len() - count..].iter().map(String::as_str));
    let on_screen = count.min(usize::from(rows) - 1);
    if on_screen > 0 {
        let _ = write!(out, "\x1b[{rows}H");
        out.extend(std::iter::repeat_n('\n', on_screen));
    }
}

/// What leads from any state to a fresh terminal's, without the loss of what can be scrolled back
/// to there that a full reset would be.
fn reset() -> String {
    // CAN: the terminal may be in the middle of a sequence.
    let mut out =
        String::from("\x18\x1b[?2026l\x1b[?1049l\x1b[?25l\x1b[?69l\x1b[?6l\x1b[r\x1b[?7h");
    out.push_str("\x1b(B\x1b)B\x0f\x1b]8;;\x1b\\\x1b[>4m\x1b[m\x1b>");
    for mode in [1, 9, 1000, 1002, 1003, 1005, 1006, 2004].iter().chain(&PRIVATE) {
        let _ = write!(out, "\x1b[?{mode}l");
    }
    for mode in ANSI {
        let _ = write!(out, "\x1b[{mode}l");
    }
    out.push_str("\x1b[H\x1b[J");
    out
}

impl Style {
    fn of_cell(cell: &vt100::Cell) -> Self {
        Self {
            fg: cell.fgcolor(),
            bg: cell.bgcolor(),
            bold: cell.bold(),
            dim: cell.dim(),
            italic: cell.italic(),
            underline: cell.underline(),
            inverse: cell.inverse(),
        }
    }

    /// That of what is written next.
    fn of_screen(screen: &vt100::Screen) -> Self {
        Self {
            fg: screen.fgcolor(),
            bg: screen.bgcolor(),
            bold: screen.bold(),
            dim: screen.dim(),
            italic: screen.italic(),
            underline: screen.underline(),
            inverse: screen.inverse(),
        }
    }
}

fn cursor_style(style: CursorStyle) -> u8 {
    match style {
        CursorStyle::Default => 0,
        CursorStyle::BlinkBlock => 1,
        CursorStyle::SteadyBlock => 2,
        CursorStyle::BlinkUnderline => 3,
        CursorStyle::SteadyUnderline => 4,
        CursorStyle::BlinkVerticalBar => 5,
        CursorStyle::SteadyVerticalBar => 6,
    }
}

/// The longest drawing, in bytes: more than any screen needs that is looked at by people.
const DRAWING_LEN_MAX: usize = 8 << 20;
