//! Looking at a session: output by credit, input by credit, signals. Dropping a viewer detaches it.

use std::sync::Arc;

use rustix::process::kill_process_group;
use tow_proto::content::Hash;
use tow_proto::message::{ExitRecord, STDERR, STDOUT};
use tow_proto::refusal::{Code, Refusal};

use super::signals;
use super::state::{Shared, State, Wake};

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
    /// How it ended: last of all, after both streams. Given again when asked again.
    Exit(ExitRecord),
}

/// A look at a session. Dropping it is detaching; when the last one goes, the lease's clock starts.
pub struct Viewer {
    shared: Arc<Shared>,
    place: Place,
}

/// What this viewer has had.
struct Place {
    number: u64,
    streams: [Position; 2],
    /// Which stream is looked at first; it changes, so that neither starves the other.
    first: usize,
    stdin_room_told: u64,
    stdin_closed_told: bool,
}

struct Position {
    at: u64,
    allowed: u64,
    is_wanted: bool,
    is_end_told: bool,
}

impl Viewer {
    pub(super) fn new(shared: Arc<Shared>, from: [u64; 2]) -> Self {
        let mut state = shared.lock();
        let number = state.arrive(from);
        let place = Place {
            number,
            streams: from.map(|at| Position {
                at,
                allowed: at,
                is_wanted: true,
                is_end_told: false,
            }),
            first: 0,
            stdin_room_told: state.stdin.to(),
            stdin_closed_told: !state.stdin.is_open_at_start,
        };
        drop(state);
        // The lease's clock has stopped.
        shared.asked.notify_one();
        Self { shared, place }
    }

    /// The next thing that the session has for this viewer. Cancel-safe. Bytes come only up to the
    /// offsets given to [`Self::allow`].
    pub async fn next(&mut self) -> Output {
        loop {
            // Before the look: what changes after it is not missed.
            let changed = self.shared.changed.notified();
            if let Some(output) = self.place.look(&self.shared) {
                return output;
            }
            changed.await;
        }
    }

    /// Lets `next` give a stream's bytes up to the absolute offset `to`; never goes back. A stream
    /// other than 1 and 2 is ignored.
    pub fn allow(&mut self, stream: u8, to: u64) {
        if let Some(index) = index_of(stream) {
            let position = &mut self.place.streams[index];
            position.allowed = position.allowed.max(to);
        }
    }

    /// How many bytes of stdin the session has received from its viewers so far: where this one
    /// goes on.
    pub fn stdin_from(&self) -> u64 {
        self.shared.lock().stdin.received()
    }

    /// The absolute offset up to which stdin may be written at the moment this viewer came, or as
    /// it was told since.
    pub fn stdin_to(&self) -> u64 {
        self.place.stdin_room_told
    }

    /// Hands bytes to the program; never waits. Bytes for a program that reads no more are dropped.
    ///
    /// # Errors
    /// `TooLong` for more than was granted, `OutOfOrder` after the end or where stdin was not asked
    /// for.
    pub fn write_stdin(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        let mut state = self.shared.lock();
        let stdin = &mut state.stdin;
        if stdin.is_ended {
            return Err(Code::OutOfOrder.into());
        }
        if !stdin.is_closed() && stdin.received() + bytes.len() as u64 > stdin.to() {
            return Err(Refusal::new(Code::TooLong).with_count(stdin.window()));
        }
        stdin.push(&bytes);
        drop(state);
        self.shared.asked.notify_one();
        Ok(())
    }

    /// No more stdin will come: the program sees its end once it has read all.
    pub fn end_stdin(&mut self) {
        self.shared.lock().stdin.is_ended = true;
        self.shared.asked.notify_one();
    }

    /// Sends a signal to the program's process group. Signals to a session that is over go nowhere.
    ///
    /// # Errors
    /// `BadArgument` for a name that is no signal's.
    pub fn signal(&mut self, name: &str) -> Result<(), Refusal> {
        let signal = signals::by_name(name)
            .ok_or_else(|| Refusal::about(Code::BadArgument, name.as_bytes()))?;
        let mut state = self.shared.lock();
        // Under the lock: the keeper takes the leader away before its number can be somebody
        // else's.
        if let Some(leader) = state.leader {
            state.user_signal = Some(signal);
            // It fails only where every process of the group has exited.
            let _ = kill_process_group(leader, signal);
        }
        Ok(())
    }

    /// Wants no more of stdout (1) or stderr (2): the program's next write fails, and the stream
    /// counts as ended.
    pub fn stop(&mut self, stream: u8) {
        if let Some(index) = index_of(stream) {
            self.place.streams[index].is_wanted = false;
            let mut state = self.shared.lock();
            state.stop[index] = true;
            // The keeper is woken below in any case.
            let _ = state.took(self.place.number, index, u64::MAX);
            drop(state);
            self.shared.asked.notify_one();
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.lock().leave(self.place.number);
        self.shared.asked.notify_one();
    }
}

impl Place {
    fn look(&mut self, shared: &Shared) -> Option<Output> {
        let mut state = shared.lock();
        if let Some(output) = self.look_at_stdin(&state) {
            return Some(output);
        }
        for index in [self.first, 1 - self.first] {
            let (output, wake) = self.look_at_output(&mut state, index);
            if wake == Wake::Keeper {
                shared.asked.notify_one();
            }
            if output.is_some() {
                self.first = 1 - index;
                return output;
            }
        }
        let has_all = self.streams.iter().all(|position| position.is_end_told);
        state.exit.clone().filter(|_| has_all).map(Output::Exit)
    }

    fn look_at_stdin(&mut self, state: &State) -> Option<Output> {
        let stdin = &state.stdin;
        if stdin.is_closed() {
            let is_news = !self.stdin_closed_told && !stdin.is_ended && state.exit.is_none();
            self.stdin_closed_told = true;
            return is_news.then_some(Output::StdinClosed);
        }
        // In steps: a viewer that has used up the rest of its window always gets one.
        if !stdin.is_ended && stdin.to() >= self.stdin_room_told + stdin.window().div_ceil(4) {
            self.stdin_room_told = stdin.to();
            return Some(Output::StdinRoom { to: stdin.to() });
        }
        None
    }

    fn look_at_output(&mut self, state: &mut State, index: usize) -> (Option<Output>, Wake) {
        let position = &mut self.streams[index];
        let (stream, log) = (STREAMS[index], &state.logs[index]);
        if position.is_wanted && position.at < log.start() {
            let gap = Output::Gap { stream, from: position.at, to: log.start() };
            position.at = log.start();
            return (Some(gap), state.took(self.number, index, position.at));
        }
        let to = log.total().min(position.allowed);
        if position.is_wanted && position.at < to {
            let len_max = usize::try_from(to - position.at).unwrap_or(usize::MAX);
            let bytes = log.copy(position.at, len_max.min(BYTES_LEN_MAX));
            position.at += bytes.len() as u64;
            let wake = state.took(self.number, index, position.at);
            return (Some(Output::Bytes { stream, bytes }), wake);
        }
        let has_all = !position.is_wanted || position.at >= log.total();
        let end = log.end().filter(|_| has_all && !position.is_end_told);
        let ended = end.map(|blake3| {
            position.is_end_told = true;
            Output::Ended { stream, total: log.total(), blake3 }
        });
        (ended, Wake::Nobody)
    }
}

fn index_of(stream: u8) -> Option<usize> {
    STREAMS.iter().position(|known| *known == stream)
}

/// The outputs' numbers, by index.
const STREAMS: [u8; 2] = [STDOUT, STDERR];
/// Most bytes given at once.
const BYTES_LEN_MAX: usize = 256 << 10;
