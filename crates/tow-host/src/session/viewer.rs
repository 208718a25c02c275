//! Looking at a session: output by credit, input by credit, signals, the terminal's size. Dropping a
//! viewer detaches it.

use std::sync::Arc;

use rustix::process::kill_process_group;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tow_proto::content::Hash;
use tow_proto::message::{End, ExitRecord, Lease, STDERR, STDOUT, StdinState, View, Window};
use tow_proto::refusal::{Code, Refusal};

use super::escape::Scanner;
use super::log::Log;
use super::model::Drawn;
use super::position::{Position, RESERVED_PART};
use super::signals;
use super::state::{Order, Shared, State, Wake};
use super::stdin::{Pen, Said};

/// Something that a session has for a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The next bytes of a stream, at most 256 KiB.
    Bytes {
        /// 1 stdout, 2 stderr.
        stream: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Bytes of a stream that are kept no more: they were never taken, and a newer viewer or nobody
    /// set the pace. What follows starts at `to`.
    Gap {
        /// 1 stdout, 2 stderr.
        stream: u8,
        /// Offset of the first byte that is missing.
        from: u64,
        /// Offset of the first byte that is there.
        to: u64,
    },
    /// What the terminal shows, in place of the bytes of stdout up to `at`, where it goes on.
    Screen {
        /// Offset of the next byte of stdout.
        at: u64,
        /// Lines of the terminal.
        rows: u16,
        /// Columns of the terminal.
        cols: u16,
        /// What draws it.
        bytes: Vec<u8>,
    },
    /// A stream is complete, and this viewer has had all of it that it will get.
    Ended {
        /// 1 stdout, 2 stderr.
        stream: u8,
        /// Length of the whole stream in bytes, from its very start.
        total: u64,
        /// Hash of the whole stream.
        blake3: Hash,
    },
    /// Stdin may be written up to this absolute offset.
    StdinRoom {
        /// Never goes back.
        to: u64,
    },
    /// The program reads no more; said once.
    StdinClosed,
    /// The lease that this viewer asked for is in force.
    Lease(Lease),
    /// Who looks at the session has changed: so many do now, with this viewer.
    Viewers {
        /// That may type.
        typing: u32,
        /// That only watch.
        watching: u32,
    },
    /// All that there was has been given: last of all of [`View::Log`].
    CaughtUp,
    /// How it ended: last of all, after both streams. Given again when asked again.
    Exit(ExitRecord),
}

/// Where and how a look at a session begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// What for.
    pub view: View,
    /// Who types; only [`View::Type`] needs one.
    pub writer: String,
    /// The size of the terminal that it is seen on.
    pub window: Option<Window>,
    /// Absolute offset of each stream to go on at. Without one, a terminal starts with its screen,
    /// and anything else at its start.
    pub from: [Option<u64>; 2],
    /// The distance of each stream's credit from what this viewer has consumed, in bytes. So many
    /// may be given at once.
    pub room: [u64; 2],
}

/// A look at a session. Dropping it is detaching; when the last one goes, the lease's clock starts.
pub struct Viewer {
    shared: Arc<Shared>,
    place: Place,
    drawing: Option<JoinHandle<Drawn>>,
}

/// What this viewer has had.
struct Place {
    view: View,
    /// Among those that count as company; the log's readers do not.
    number: Option<u64>,
    pen: Option<Pen>,
    streams: [Position; 2],
    /// Which stream is looked at first; it changes, so that neither starves the other.
    first: usize,
    stdin_room_told: u64,
    stdin_closed_told: bool,
    viewers_told: (u32, u32),
    lease_to_tell: Option<Lease>,
    /// It can be shown the screen instead of bytes.
    can_draw: bool,
    /// Draw the screen before anything else.
    wants_screen: bool,
    /// Where a terminal's stream stands, so that its questions can be found.
    scanner: Option<Scanner>,
    /// The program had ended before: nobody waits for answers.
    is_replay: bool,
}

/// What a look at the shared state found.
enum Found {
    Output(Output),
    Nothing,
    /// The screen is to be drawn.
    Screen,
}

impl Viewer {
    /// # Errors
    /// `Malformed` for an offset beyond a stream's end, `Busy` for too many viewers or writers.
    pub(super) fn new(shared: Arc<Shared>, start: &Start) -> Result<Self, Refusal> {
        let mut state = shared.lock();
        let totals = [0, 1].map(|index: usize| state.logs[index].total());
        if start.from.iter().zip(totals).any(|(from, total)| from.is_some_and(|at| at > total)) {
            return Err(Code::Malformed.into());
        }
        let reads = !matches!(start.view, View::Exit);
        let can_draw = shared.model.is_some() && matches!(start.view, View::Type | View::Watch);
        let wants_screen = can_draw && start.from[0].is_none();
        let begin = if wants_screen { totals[0] } else { 0 };
        let from = [start.from[0].unwrap_or(begin), start.from[1].unwrap_or(0)];
        let pen = (start.view == View::Type && state.stdin.is_open_at_start)
            .then(|| state.stdin.enter(&start.writer));
        let pen = pen.transpose()?;
        let number = match start.view {
            View::Type | View::Watch => {
                let arrived = state.viewers.arrive(start.view, from, start.window);
                if let (Err(_), Some(pen)) = (&arrived, pen) {
                    state.stdin.leave(pen);
                }
                Some(arrived?)
            }
            View::Log | View::Follow | View::Exit => None,
        };
        if let Some(window) = number.and_then(|number| state.viewers.window_of(number)) {
            state.ask_window(window);
        }
        let stdin = pen.map(|pen| state.stdin.state(pen)).unwrap_or_default();
        let scanner = shared.facts.is_terminal.then(|| scanner_at(&state.logs[0], from[0]));
        let position = |index: usize| Position {
            at: from[index],
            allowed: if reads { from[index].saturating_add(start.room[index]) } else { 0 },
            room: start.room[index],
            reserve: if can_draw { start.room[index] / RESERVED_PART } else { 0 },
            until: if start.view == View::Log { totals[index] } else { u64::MAX },
            is_wanted: reads,
            is_end_told: !reads,
        };
        let is_replay = state.exit.is_some();
        let place = Place {
            view: start.view,
            number,
            pen,
            streams: [position(0), position(1)],
            first: 0,
            stdin_room_told: stdin.to,
            stdin_closed_told: pen.is_none(),
            viewers_told: if start.view == View::Type { (1, 0) } else { (0, 1) },
            lease_to_tell: None,
            can_draw,
            wants_screen,
            scanner,
            is_replay,
        };
        drop(state);
        // The lease's clock has stopped, and others have company.
        shared.asked.notify_one();
        shared.changed.notify_waiters();
        Ok(Self { shared, place, drawing: None })
    }

    /// The next thing that the session has for this viewer. Cancel-safe. Bytes come only up to the
    /// offsets given to [`Self::allow`].
    pub async fn next(&mut self) -> Output {
        loop {
            if let Some(drawing) = &mut self.drawing {
                let drawn = drawing.await;
                self.drawing = None;
                match drawn {
                    Ok(drawn) => return self.place.begin_at(&self.shared, drawn),
                    // A fault in the drawing: this viewer gets bytes, with a gap in them.
                    Err(_) => self.place.can_draw = false,
                }
            }
            // Before the look: what changes after it is not missed.
            let changed = self.shared.changed.notified();
            match self.place.look(&self.shared) {
                Found::Output(output) => return output,
                Found::Screen => {
                    self.drawing = self.draw().await;
                    self.place.wants_screen = false;
                }
                Found::Nothing => changed.await,
            }
        }
    }

    /// Starts to draw the screen as it is when its turn comes, which may take some time. What a
    /// viewer that is gone has begun counts until it is done.
    async fn draw(&self) -> Option<JoinHandle<Drawn>> {
        let room = DRAWINGS.acquire().await;
        let model = self.shared.lock_model()?;
        let state = self.shared.lock();
        let log = &state.logs[0];
        let len = usize::try_from(log.total().saturating_sub(model.fed_to())).unwrap_or(0);
        let picture = model.picture(log.copy(log.readable_from(model.fed_to()), len));
        Some(tokio::task::spawn_blocking(move || {
            let _room = room;
            picture.draw()
        }))
    }

    /// Lets `next` give a stream's bytes up to the absolute offset `to`; never goes back. What is
    /// more than the window before it has been consumed. A stream other than 1 and 2 is ignored.
    pub fn allow(&mut self, stream: u8, to: u64) {
        let Some(index) = index_of(stream) else { return };
        let position = &mut self.place.streams[index];
        if to <= position.allowed {
            return;
        }
        position.allowed = to;
        let consumed = position.consumed();
        let Some(number) = self.place.number else { return };
        if self.shared.lock().consumed(number, index, consumed) == Wake::Keeper {
            self.shared.asked.notify_one();
        }
    }

    /// Offsets at which stdout and stderr start here.
    pub fn starts(&self) -> [u64; 2] {
        [0, 1].map(|index: usize| self.place.streams[index].at)
    }

    /// How far this writer's stdin has come; all zeroes where there is none to write to.
    pub fn stdin(&self) -> StdinState {
        let Some(pen) = self.place.pen else { return StdinState::default() };
        self.shared.lock().stdin.state(pen)
    }

    /// Hands bytes to the program; never waits. Bytes for a program that reads no more are dropped.
    ///
    /// # Errors
    /// `TooLong` for more than was granted; `OutOfOrder` after this writer's end, where there is no
    /// stdin to write to, and where this writer has come back on another link.
    pub fn write_stdin(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let pen = self.place.pen.ok_or(Code::OutOfOrder)?;
        let mut state = self.shared.lock();
        state.stdin.push(pen, bytes)?;
        if let Some(window) = self.place.number.and_then(|number| state.viewers.window_of(number)) {
            // Whoever typed last sees the terminal at its size.
            state.ask_window(window);
        }
        if self.place.scanner.is_some() && bytes.contains(&INTERRUPT_BYTE) {
            // What the program wrote before is not worth waiting for.
            let position = &self.place.streams[0];
            self.place.wants_screen |= state.logs[0].total() - position.at > BEHIND_MAX;
        }
        drop(state);
        self.shared.asked.notify_one();
        Ok(())
    }

    /// No more stdin will come from this writer: the program sees its end once it has read all. A
    /// terminal is given its end-of-file character.
    ///
    /// # Errors
    /// `Corrupt` where what has come is not what the writer says it sent; `OutOfOrder` as above.
    pub fn end_stdin(&mut self, end: &End) -> Result<(), Refusal> {
        let pen = self.place.pen.ok_or(Code::OutOfOrder)?;
        let mut state = self.shared.lock();
        let said = state.stdin.end(pen, end)?;
        if !self.shared.facts.is_terminal {
            state.stdin.is_ended = true;
        } else if let (Said::First, Some(terminal)) = (said, state.terminal.upgrade()) {
            state.stdin.push_own(terminal.end_of_file_char());
        }
        drop(state);
        self.shared.asked.notify_one();
        Ok(())
    }

    /// Sends a signal to the program's process group, or to whatever is in the foreground of its
    /// terminal. Signals to a session that is over go nowhere.
    ///
    /// # Errors
    /// `BadArgument` for a name that is no signal's, `OutOfOrder` from a viewer that only looks.
    pub fn signal(&mut self, name: &str) -> Result<(), Refusal> {
        self.check_types()?;
        let signal = signals::by_name(name)
            .ok_or_else(|| Refusal::about(Code::BadArgument, name.as_bytes()))?;
        let mut state = self.shared.lock();
        // Under the lock: the keeper takes the leader away before its number can be somebody
        // else's.
        if let Some(leader) = state.leader {
            state.user_signal = Some(signal);
            if self.shared.facts.is_terminal {
                state.ask_terminal_signal(signal);
                drop(state);
                self.shared.asked.notify_one();
            } else {
                // It fails only where every process of the group has exited.
                let _ = kill_process_group(leader, signal);
            }
        }
        Ok(())
    }

    /// Wants no more of stdout (1) or stderr (2). From the viewer that sets the pace, the program's
    /// next write fails, and the stream counts as ended; any other has had enough for itself.
    pub fn stop(&mut self, stream: u8) {
        let Some(index) = index_of(stream) else { return };
        self.place.streams[index].is_wanted = false;
        let Some(number) = self.place.number else { return };
        let mut state = self.shared.lock();
        state.stop[index] |= state.viewers.answers(number);
        // The keeper is woken below in any case.
        let _ = state.consumed(number, index, u64::MAX);
        drop(state);
        self.shared.asked.notify_one();
    }

    /// The terminal that this is seen on is of another size now.
    pub fn resize(&mut self, window: Window) {
        let Some(number) = self.place.number else { return };
        let mut state = self.shared.lock();
        state.viewers.resized(number, window);
        if self.place.view == View::Type {
            state.ask_window(window);
            drop(state);
            self.shared.asked.notify_one();
        }
    }

    /// From now on the session outlives its last viewer so long.
    ///
    /// # Errors
    /// `OutOfOrder` from a viewer that only looks.
    pub fn set_lease(&mut self, lease: Lease) -> Result<(), Refusal> {
        self.check_types()?;
        let mut state = self.shared.lock();
        state.lease = lease;
        state.lease_is_over = lease == Lease::Detached;
        drop(state);
        self.place.lease_to_tell = Some(lease);
        self.shared.asked.notify_one();
        Ok(())
    }

    /// Goes, and does not come back: where nobody else is there or expected, the lease is over.
    pub fn leave(self) {
        let mut state = self.shared.lock();
        let Some(number) = self.place.number else { return };
        if state.viewers.leave_for_good(number) && state.lease != Lease::Detached {
            state.lease_is_over = true;
            state.order.get_or_insert(Order::Lease);
        }
    }

    /// Wants to see what the terminal shows.
    pub fn refresh(&mut self) {
        self.place.wants_screen = self.place.can_draw;
    }

    fn check_types(&self) -> Result<(), Refusal> {
        if self.place.view == View::Type { Ok(()) } else { Err(Code::OutOfOrder.into()) }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(pen) = self.place.pen {
            state.stdin.leave(pen);
        }
        if let Some(number) = self.place.number {
            // Whoever only watched has changed no size, and changes none by going.
            let had_window = state.viewers.window_of(number).is_some();
            state.viewers.leave(number);
            if let Some(window) = state.viewers.newest_window().filter(|_| had_window) {
                state.ask_window(window);
            }
        }
        drop(state);
        self.shared.asked.notify_one();
        self.shared.changed.notify_waiters();
    }
}

impl Place {
    fn look(&mut self, shared: &Shared) -> Found {
        let mut state = shared.lock();
        if let Some(output) = self.look_at_company(&mut state) {
            return Found::Output(output);
        }
        let position = &self.streams[0];
        if self.can_draw
            && position.is_wanted
            && position.at < state.logs[0].readable_from(position.at)
        {
            self.wants_screen = true;
        }
        self.wants_screen &= self.can_draw;
        if self.wants_screen {
            return Found::Screen;
        }
        for index in [self.first, 1 - self.first] {
            if let Some(output) = self.look_at_output(shared, &mut state, index) {
                self.first = 1 - index;
                return Found::Output(output);
            }
        }
        self.look_at_end(&state).map_or(Found::Nothing, Found::Output)
    }

    fn look_at_company(&mut self, state: &mut State) -> Option<Output> {
        if let Some(output) = self.look_at_stdin(state) {
            return Some(output);
        }
        if let Some(lease) = self.lease_to_tell.take() {
            return Some(Output::Lease(lease));
        }
        let (typing, watching) = state.viewers.counts();
        if self.number.is_some() && self.viewers_told != (typing, watching) {
            self.viewers_told = (typing, watching);
            return Some(Output::Viewers { typing, watching });
        }
        None
    }

    fn look_at_stdin(&mut self, state: &mut State) -> Option<Output> {
        let stdin = &mut state.stdin;
        let pen = self.pen?;
        if stdin.is_over() {
            let is_over_for = stdin.is_over_for(pen);
            let is_news = !self.stdin_closed_told && is_over_for && state.exit.is_none();
            self.stdin_closed_told = true;
            return is_news.then_some(Output::StdinClosed);
        }
        // In steps: a viewer that has used up the rest of its window always gets one.
        let to = stdin.state(pen).to;
        if to >= self.stdin_room_told + stdin.window().div_ceil(4) {
            self.stdin_room_told = to;
            return Some(Output::StdinRoom { to });
        }
        None
    }

    fn look_at_output(
        &mut self,
        shared: &Shared,
        state: &mut State,
        index: usize,
    ) -> Option<Output> {
        let stream = STREAMS[index];
        let position = &mut self.streams[index];
        let log = &state.logs[index];
        let readable = log.readable_from(position.at);
        if position.is_wanted && position.at < readable {
            let from = position.at;
            let consumed = position.jump(readable);
            if let Some(number) = self.number
                && state.consumed(number, index, consumed) == Wake::Keeper
            {
                shared.asked.notify_one();
            }
            if let Some(scanner) = self.scanner.as_mut().filter(|_| index == 0) {
                *scanner = Scanner::default();
            }
            return Some(Output::Gap { stream, from, to: readable });
        }
        let to = position.goes_to(log.total()).min(position.until);
        if position.is_wanted && position.at < to {
            let len_max = usize::try_from(to - position.at).unwrap_or(usize::MAX);
            let mut bytes = log.copy(position.at, len_max.min(BYTES_LEN_MAX));
            position.at += bytes.len() as u64;
            if let Some(scanner) = self.scanner.as_mut().filter(|_| index == 0) {
                let answers = self.number.is_some_and(|number| state.viewers.answers(number));
                if answers && !self.is_replay {
                    scanner.scan(&bytes);
                } else {
                    scanner.silence(&mut bytes);
                }
            }
            return Some(Output::Bytes { stream, bytes });
        }
        let has_all = !position.is_wanted || position.at >= log.total();
        let end = log.end().filter(|_| has_all && !position.is_end_told)?;
        position.is_end_told = true;
        Some(Output::Ended { stream, total: log.total(), blake3: end })
    }

    fn look_at_end(&self, state: &State) -> Option<Output> {
        if self.view == View::Log {
            let has_seen =
                |position: &Position| !position.is_wanted || position.at >= position.until;
            return self.streams.iter().all(has_seen).then_some(Output::CaughtUp);
        }
        let has_all = self.streams.iter().all(|position| position.is_end_told);
        state.exit.clone().filter(|_| has_all).map(Output::Exit)
    }

    /// The screen takes the place of all bytes up to where the stream goes on.
    fn begin_at(&mut self, shared: &Shared, drawn: Drawn) -> Output {
        let Drawn { at, size, mut bytes } = drawn;
        let position = &mut self.streams[0];
        let mut state = shared.lock();
        if at < position.at {
            // This viewer had the start of a sequence already, which the drawing has broken off.
            let len = usize::try_from(position.at - at).unwrap_or(0);
            bytes.extend(state.logs[0].copy(at, len));
        }
        let consumed = position.jump(at.max(position.at));
        if let Some(number) = self.number
            && state.consumed(number, 0, consumed) == Wake::Keeper
        {
            shared.asked.notify_one();
        }
        let mut scanner = Scanner::default();
        scanner.scan(&bytes);
        self.scanner = Some(scanner);
        Output::Screen { at: position.at, rows: size.rows, cols: size.cols, bytes }
    }
}

/// Where a terminal's output stands at an offset, which may be in the middle of a sequence.
fn scanner_at(log: &Log, offset: u64) -> Scanner {
    let before = log.readable_from(offset.saturating_sub(SCANNED_BEFORE_LEN));
    let len = usize::try_from(offset.saturating_sub(before)).unwrap_or(0);
    let mut scanner = Scanner::default();
    scanner.scan(&log.copy(before, len));
    scanner
}

fn index_of(stream: u8) -> Option<usize> {
    STREAMS.iter().position(|known| *known == stream)
}

/// Drawings at once, of all sessions: each has a copy of a terminal, and a thread.
static DRAWINGS: Semaphore = Semaphore::const_new(4);
/// The outputs' numbers, by index.
const STREAMS: [u8; 2] = [STDOUT, STDERR];
/// Most bytes given at once.
const BYTES_LEN_MAX: usize = 256 << 10;
/// How far back a sequence is looked for that a stream may be in the middle of.
const SCANNED_BEFORE_LEN: u64 = 4 << 10;
/// What a terminal's Ctrl-C sends, unless it was set to something else.
const INTERRUPT_BYTE: u8 = 0x03;
/// A viewer that is further behind than this when it interrupts gets the screen instead.
const BEHIND_MAX: u64 = 32 << 10;
