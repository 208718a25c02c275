//! What a person is told while there is no link. A cut that is mended at once is not worth a line.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use tow_proto::message::Window;

use crate::output::Quiet;

/// Where the line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody looks.
    Nowhere,
    /// Where stderr is at.
    Here,
    /// On the last line of a terminal that belongs to the program.
    Bottom,
}

/// The line, while it is needed.
#[derive(Debug)]
pub(super) struct Status {
    place: Place,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Lost {
    since: Instant,
    due: Instant,
    is_shown: bool,
}

impl Place {
    /// Where it belongs, when the program has the terminal at stdout for itself or not.
    pub(super) fn new(bottom: Option<Window>, quiet: Quiet) -> Self {
        match bottom {
            _ if quiet.0 => Self::Nowhere,
            Some(_) => Self::Bottom,
            None if io::stderr().is_terminal() => Self::Here,
            None => Self::Nowhere,
        }
    }
}

impl Status {
    pub(super) fn new(place: Place) -> Self {
        Self { place, lost: None }
    }

    /// Where it is shown.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The link was lost.
    pub(super) fn handle_lost(&mut self, now: Instant) {
        self.lost.get_or_insert(Lost { since: now, due: now + UNSEEN_MAX, is_shown: false });
    }

    /// The link is back, or no longer wanted: what takes the line away, if one is shown.
    pub(super) fn handle_back(&mut self, window: Window) -> Option<String> {
        self.lost.take().filter(|lost| lost.is_shown)?;
        Some(match self.place {
            Place::Bottom => format!("\x1b7\x1b[{};1H\x1b[0m\x1b[K\x1b8", window.rows),
            Place::Here | Place::Nowhere => "\r\x1b[K".to_owned(),
        })
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lost.as_ref().filter(|_| self.place != Place::Nowhere).map(|lost| lost.due)
    }

    /// The line as it is to be drawn now, if it is due.
    pub(super) fn poll_line(&mut self, host: &str, window: Window, now: Instant) -> Option<String> {
        self.due().filter(|due| *due <= now)?;
        let lost = self.lost.as_mut()?;
        (lost.is_shown, lost.due) = (true, now + REDRAWN_EVERY);
        let secs = (now - lost.since).as_secs();
        let line = format!("tow: {host}: connection lost, trying again (~ {secs} s)");
        Some(match self.place {
            Place::Bottom => {
                // One column less: a full line would move the cursor where the program has it not.
                let width = usize::from(window.cols).saturating_sub(1);
                let line: String = line.chars().take(width).collect();
                format!("\x1b7\x1b[{};1H\x1b[0;7m{line:width$}\x1b[0m\x1b8", window.rows)
            }
            Place::Here | Place::Nowhere => format!("\r\x1b[K{line}"),
        })
    }
}

const UNSEEN_MAX: Duration = Duration::from_millis(300);
const REDRAWN_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { rows: 3, cols: 30, xpixel: 0, ypixel: 0 };

    #[test]
    fn a_short_cut_is_not_seen() {
        let now = Instant::now();
        let mut status = Status::new(Place::Here);
        assert_eq!(status.due(), None);
        status.handle_lost(now);
        assert_eq!(status.poll_line("box", WINDOW, now + Duration::from_millis(299)), None);
        assert_eq!(status.handle_back(WINDOW), None);
        assert_eq!(status.due(), None);
    }

    #[test]
    fn a_line_counts_the_seconds_and_goes_when_the_link_is_back() {
        let now = Instant::now();
        let mut status = Status::new(Place::Here);
        status.handle_lost(now);
        status.handle_lost(now + Duration::from_secs(2));
        let line = status.poll_line("box", WINDOW, now + Duration::from_secs(3)).unwrap();
        assert_eq!(line, "\r\x1b[Ktow: box: connection lost, trying again (~ 3 s)");
        assert_eq!(status.poll_line("box", WINDOW, now + Duration::from_secs(3)), None);
        assert_eq!(status.due(), Some(now + Duration::from_secs(4)));
        assert_eq!(status.handle_back(WINDOW).as_deref(), Some("\r\x1b[K"));
    }

    #[test]
    fn a_line_at_the_bottom_touches_nothing_else() {
        let now = Instant::now();
        let mut status = Status::new(Place::Bottom);
        status.handle_lost(now);
        let line = status.poll_line("box", WINDOW, now + Duration::from_secs(1)).unwrap();
        let mut parser =
            vt100::Parser::new(3.try_into().expect("not 0"), 30.try_into().expect("not 0"), 0);
        parser.process(b"\x1b[31mone\r\ntwo");
        parser.process(line.as_bytes());
        let screen = parser.screen();
        assert_eq!(screen.contents(), "one\ntwo\ntow: box: connection lost, tr");
        assert!(screen.cell(2, 0).unwrap().inverse());
        assert_eq!(screen.cursor_position(), (1, 3));
        assert_eq!(screen.fgcolor(), vt100::Color::Idx(1));
        parser.process(status.handle_back(WINDOW).unwrap().as_bytes());
        assert_eq!(parser.screen().contents().trim_end(), "one\ntwo");
    }

    #[test]
    fn nobody_is_told_where_nobody_looks() {
        let mut status = Status::new(Place::Nowhere);
        status.handle_lost(Instant::now());
        assert_eq!(status.due(), None);
        assert_eq!(Place::new(Some(WINDOW), Quiet(true)), Place::Nowhere);
    }
}
