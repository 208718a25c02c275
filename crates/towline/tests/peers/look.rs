//! What a terminal looks like: its characters, their colours, its cursor, its title and its modes.

use std::time::{Duration, Instant};

use tow_testkit::Terminal;
use vt100::{Color, CursorStyle, MouseProtocolEncoding, MouseProtocolMode, Parser, Screen};

/// All of it.
#[derive(Clone, PartialEq)]
pub(crate) struct Look {
    cells: Vec<Vec<Cell>>,
    modes: Modes,
}

#[derive(Clone, Debug, PartialEq)]
struct Cell {
    text: String,
    colours: (Color, Color),
    /// Bold, dim, italic, underlined, inverse.
    attributes: [bool; 5],
}

/// What is not written on the screen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Modes {
    pub(crate) is_alternate: bool,
    /// `None` where it is hidden.
    pub(crate) cursor: Option<(u16, u16)>,
    pub(crate) cursor_style: CursorStyle,
    pub(crate) mouse: (MouseProtocolMode, MouseProtocolEncoding),
    pub(crate) has_bracketed_paste: bool,
    /// Of the arrow keys, of the number keys.
    pub(crate) application_keys: (bool, bool),
    pub(crate) title: String,
}

impl Look {
    pub(crate) fn of(terminal: &Terminal) -> Self {
        let title = title(&terminal.bytes());
        terminal.look(|screen| {
            let (rows, cols) = screen.size();
            let row = |row| (0..cols.get()).map(|col| cell(screen, row, col)).collect();
            Self { cells: (0..rows.get()).map(row).collect(), modes: modes(screen, title) }
        })
    }

    pub(crate) fn modes(&self) -> &Modes {
        &self.modes
    }

    fn text(&self) -> String {
        let line = |cells: &Vec<Cell>| cells.iter().map(|cell| cell.text.as_str()).collect();
        let lines: Vec<String> = self.cells.iter().map(line).collect();
        lines.join("\n")
    }
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}\n{}", self.modes, self.text())
    }
}

fn cell(screen: &Screen, row: u16, col: u16) -> Cell {
    let cell = screen.cell(row, col).unwrap();
    // Nothing and a space look the same.
    let text = if cell.has_contents() { cell.contents() } else { " " };
    let attributes = [cell.bold(), cell.dim(), cell.italic(), cell.underline(), cell.inverse()];
    Cell { text: text.to_owned(), colours: (cell.fgcolor(), cell.bgcolor()), attributes }
}

fn modes(screen: &Screen, title: String) -> Modes {
    Modes {
        is_alternate: screen.alternate_screen(),
        cursor: (!screen.hide_cursor()).then(|| screen.cursor_position()),
        cursor_style: screen.cursor_style(),
        mouse: (screen.mouse_protocol_mode(), screen.mouse_protocol_encoding()),
        has_bracketed_paste: screen.bracketed_paste(),
        application_keys: (screen.application_cursor(), screen.application_keypad()),
        title,
    }
}

/// The last title that was set.
fn title(bytes: &[u8]) -> String {
    #[derive(Default)]
    struct Title(String);
    impl vt100::Callbacks for Title {
        fn set_window_title(&mut self, _: &mut Screen, title: &[u8]) {
            self.0 = String::from_utf8_lossy(title).into_owned();
        }
    }
    let side = |length: u16| length.try_into().expect("not 0");
    let mut parser = Parser::new_with_callbacks(side(24), side(80), 0, Title::default());
    parser.process(bytes);
    std::mem::take(&mut parser.callbacks_mut().0)
}

/// Waits until both look the same.
#[track_caller]
pub(crate) fn are_the_same(when: &str, here: &Terminal, there: &Terminal) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (expected, found) = (Look::of(here), Look::of(there));
        if expected == found {
            return;
        }
        if Instant::now() > deadline {
            panic!(
                "{when}: {}\n--- here\n{expected}\n--- there\n{found}",
                first(&expected, &found)
            );
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The first difference.
fn first(expected: &Look, found: &Look) -> String {
    let both = expected.cells.iter().flatten().zip(found.cells.iter().flatten());
    let cols = expected.cells[0].len();
    let differs = both.enumerate().find(|(_, (one, other))| one != other);
    match differs {
        Some((at, (one, other))) => {
            format!("line {}, column {}: {one:?} is {other:?}", at / cols, at % cols)
        }
        None => "the modes differ".to_owned(),
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(10);
