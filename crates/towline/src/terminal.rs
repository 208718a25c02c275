//! The terminal that this process was started on: its size, raw mode and the way back from it on
//! every way out. No flag of a descriptor is changed: other processes share them.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tow_proto::ByteString;
use tow_proto::message::Window;

/// True where stdin is a terminal: somebody may type.
pub(crate) fn is_typed_at() -> bool {
    isatty(io::stdin())
}

/// The size of the local terminal, where stdin, stdout or stderr is one.
pub(crate) fn window() -> Option<Window> {
    size_of(io::stdin()).or_else(|| size_of(io::stdout())).or_else(|| size_of(io::stderr()))
}

fn size_of(terminal: impl AsFd) -> Option<Window> {
    let size = tcgetwinsize(terminal).ok()?;
    Some(Window {
        rows: size.ws_row,
        cols: size.ws_col,
        xpixel: size.ws_xpixel,
        ypixel: size.ws_ypixel,
    })
}

/// The size of a terminal where there is none here.
pub(crate) const WINDOW_DEFAULT: Window = Window { rows: 24, cols: 80, xpixel: 0, ypixel: 0 };

/// Variables that tell a program which terminal it is seen on.
pub(crate) fn variables() -> Vec<(ByteString, ByteString)> {
    let set = ["TERM", "COLORTERM"].into_iter().filter_map(|name| Some((name, variable(name)?)));
    set.map(|(name, value)| (name.into(), value)).collect()
}

/// The locale of whoever types here; empty where none is set.
pub(crate) fn locale() -> String {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    String::from_utf8(set.0).unwrap_or_default()
}

fn variable(name: &str) -> Option<ByteString> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(crate::remote::bytes(value))
}

/// Raw mode of the terminal at stdin, until it is dropped. There is one at a time.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Every key comes at once, and none of them means anything here.
    ///
    /// # Errors
    /// stdin is no terminal, or not one that can be set.
    pub(crate) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(restore_on_panic);
        make_raw()?;
        Ok(Self(()))
    }

    /// Stops this process as Ctrl-Z stops others, with the terminal as it was found; returns when it
    /// goes on, in raw mode again.
    ///
    /// # Errors
    /// The terminal can't be set any more.
    pub(crate) fn suspend(&self) -> io::Result<()> {
        restore();
        // A process without a shell that could wake it is not stopped by this signal.
        kill_process(getpid(), Signal::TSTP)?;
        make_raw()
    }

    /// After somebody else has stopped this process and let it go on: the shell has set the terminal.
    ///
    /// # Errors
    /// The terminal can't be set any more.
    pub(crate) fn again(&self) -> io::Result<()> {
        restore();
        make_raw()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// How the terminal was before; nothing while it is not in raw mode.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

fn cooked() -> MutexGuard<'static, Option<Termios>> {
    COOKED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_raw() -> io::Result<()> {
    let before = tcgetattr(io::stdin())?;
    let mut raw = before.clone();
    raw.make_raw();
    *cooked() = Some(before);
    // At once: what was typed ahead is kept, and output that the terminal is behind with needs no wait.
    Ok(tcsetattr(io::stdin(), OptionalActions::Now, &raw)?)
}

fn restore() {
    if let Some(before) = cooked().take() {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// What a panic says is to be read on a terminal that works.
fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        before(panic);
    }));
}

/// Takes back what a program may have asked of the terminal and could not take back itself, because
/// we are going and it is not. What is not on is not changed by it, nor is what was printed.
///
/// Leaving the alternate screen restores the cursor that was saved for the other one, so it is saved
/// first, and so around the margins, which send it home.
pub(crate) const CLEAN: &[u8] = b"\x18\x1b7\x1b[?1049l\x1b7\x1b[r\x1b[?6l\x1b8\
    \x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[?2026l\
    \x1b[?1l\x1b>\x1b[?7h\x1b[4l\x1b[=0;1u\x1b[>4m\x0f\x1b(B\x1b[0m\x1b[0 q\x1b[?25h";

#[cfg(test)]
mod tests {
    use super::*;

    fn parser() -> vt100::Parser {
        let size = |length: u16| std::num::NonZeroU16::new(length).unwrap();
        vt100::Parser::new(size(5), size(20), 0)
    }

    #[test]
    fn a_clean_terminal_shows_what_it_showed() {
        let mut parser = parser();
        parser.process(b"one\r\ntwo\r\n  three");
        let before = parser.screen().clone();
        parser.process(CLEAN);
        let after = parser.screen();
        assert_eq!(after.state_formatted(), before.state_formatted());
        assert_eq!(after.cursor_position(), (2, 7));
    }

    #[test]
    fn a_program_that_is_left_behind_leaves_nothing_on() {
        let mut parser = parser();
        parser.process(b"$ vi\r\n\x1b[?1049h\x1b[?1h\x1b=\x1b[?1002h\x1b[?1006h\x1b[?2004h");
        parser.process(b"\x1b[?25l\x1b[2;3r\x1b[3;5Htext \x1b[1;31");
        parser.process(CLEAN);
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert!(!screen.application_keypad() && !screen.application_cursor());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!((screen.contents().trim_end(), screen.cursor_position()), ("$ vi", (1, 0)));
        assert_eq!(screen.fgcolor(), vt100::Color::Default);
    }
}
