//! What a session's keeper and its viewers share. Nothing here waits: whoever changes something
//! wakes the other side.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal};
use tokio::sync::Notify;
use tokio::time::Instant;
use tow_proto::content::Hash;
use tow_proto::message::{EndedBy, ExitRecord, Lease};
use tow_proto::refusal::{Code, Refusal};

use super::log::{Log, LogLimits};
use super::spill::SpillDir;
use super::{Limits, SessionId, Stdin};

/// One session, as seen from both sides.
pub(super) struct Shared {
    /// Its name.
    pub(super) id: SessionId,
    state: Mutex<State>,
    /// The viewers have something new to look at.
    pub(super) changed: Notify,
    /// The keeper has something new to do.
    pub(super) asked: Notify,
}

/// Why a session is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its time limit is over.
    Timeout,
    /// No viewer came back.
    Lease,
    /// Its owner's key was removed.
    Removed,
    /// The node stops.
    Stopping,
}

impl Order {
    /// Why nothing is started any more.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Removed => Code::RemovedKey.into(),
            Self::Timeout | Self::Lease | Self::Stopping => Code::Stopping.into(),
        }
    }

    /// As the exit record has it.
    pub(super) fn by(self) -> EndedBy {
        match self {
            Self::Timeout => EndedBy::Timeout,
            Self::Lease => EndedBy::Lease,
            Self::Removed | Self::Stopping => EndedBy::Node,
        }
    }
}

/// The inside of [`Shared`].
pub(super) struct State {
    /// stdout and stderr.
    pub(super) logs: [Log; 2],
    /// What is on its way to the program.
    pub(super) stdin: StdinQueue,
    /// How it ended.
    pub(super) exit: Option<ExitRecord>,
    /// Streams that nobody wants any more.
    pub(super) stop: [bool; 2],
    /// It is to be ended; the first reason stands.
    pub(super) order: Option<Order>,
    /// The leader, while its number can't mean another process.
    pub(super) leader: Option<Pid>,
    /// The last signal that a viewer asked for.
    pub(super) user_signal: Option<Signal>,
    /// No viewer is waited for any more.
    pub(super) lease_is_over: bool,
    viewers: Vec<Watching>,
    viewers_ever: u64,
    /// How far the last viewer had come when it left.
    left_at: [u64; 2],
    vacant_since: Instant,
    log_len_max: usize,
    /// The keeper waits for room in these logs.
    waits_for_room: [bool; 2],
}

/// A viewer that is there, and how far it has taken each stream.
struct Watching {
    number: u64,
    taken: [u64; 2],
}

/// What the keeper needs to know before it waits.
pub(super) struct Look {
    /// Whether so much room is in a log that reading is worth while.
    pub(super) has_room: [bool; 2],
    /// Since when nobody is there but somebody is waited for, and whether there was a viewer ever.
    pub(super) vacant: Option<(Instant, Visits)>,
}

/// Whether a session has had a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visits {
    /// Not one.
    None,
    /// At least one.
    Some,
}

impl Shared {
    /// A session that has just begun.
    pub(super) fn new(
        id: SessionId,
        leader: Pid,
        stdin: Stdin,
        lease: Lease,
        limits: &Limits,
    ) -> Self {
        let kept_max = limits.log_len_max + limits.replay_len_max;
        let log_limits =
            LogLimits { memory_max: kept_max, replay_max: kept_max, head_max: 0, tail_max: 0 };
        let log = || Log::new(log_limits, SpillDir::nowhere());
        let state = State {
            logs: [log(), log()],
            stdin: StdinQueue::new(stdin, limits.stdin_window),
            exit: None,
            stop: [false; 2],
            order: None,
            leader: Some(leader),
            user_signal: None,
            lease_is_over: lease == Lease::Detached,
            viewers: Vec::new(),
            viewers_ever: 0,
            left_at: [0; 2],
            vacant_since: Instant::now(),
            log_len_max: limits.log_len_max,
            waits_for_room: [false; 2],
        };
        Self { id, state: Mutex::new(state), changed: Notify::new(), asked: Notify::new() }
    }

    /// The state; never held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the session ended, unless that is under way.
    pub(super) fn order(&self, order: Order) {
        self.lock().order.get_or_insert(order);
        self.asked.notify_one();
    }

    /// Bytes that were read from an output. Says how much more there is room for.
    pub(super) fn append(&self, index: usize, bytes: &[u8]) -> usize {
        let mut state = self.lock();
        state.logs[index].append(bytes, u64::MAX);
        let room = state.room(index);
        drop(state);
        self.changed.notify_waiters();
        room
    }

    /// An output is complete.
    pub(super) fn finish_output(&self, index: usize, hash: Hash) {
        self.lock().logs[index].finish(hash);
        self.changed.notify_waiters();
    }

    /// It has ended, and so have both outputs.
    pub(super) fn publish(&self, record: ExitRecord) {
        let mut state = self.lock();
        state.stdin.close();
        state.exit = Some(record);
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// How many bytes may be read from an output now. The newest viewer sets the pace; older ones
    /// that fall behind the log lose bytes and are told so. While nobody is there but somebody may
    /// come, the last one's position stands.
    pub(super) fn room(&self, index: usize) -> usize {
        let taken = match (self.order, self.viewers.last()) {
            // The session ends, whether its viewers take what is left or not.
            (Some(Order::Removed | Order::Stopping), _) => return usize::MAX,
            (_, Some(viewer)) => viewer.taken[index],
            (_, None) if self.lease_is_over => return usize::MAX,
            (_, None) => self.left_at[index],
        };
        let untaken = self.logs[index].total().saturating_sub(taken);
        self.log_len_max.saturating_sub(usize::try_from(untaken).unwrap_or(usize::MAX))
    }

    /// The situation before the keeper waits; it will be woken when a log that was full has room.
    pub(super) fn look(&mut self) -> Look {
        let has_room = [0, 1].map(|index| self.room(index) >= self.room_worth_reading());
        self.waits_for_room = has_room.map(|has_room| !has_room);
        let visits = if self.viewers_ever > 0 { Visits::Some } else { Visits::None };
        let is_waiting = self.viewers.is_empty() && !self.lease_is_over;
        let vacant = is_waiting.then_some((self.vacant_since, visits));
        Look { has_room, vacant }
    }

    /// Many small reads cost more than a short wait for a viewer that is behind anyway.
    fn room_worth_reading(&self) -> usize {
        (self.log_len_max / 2).clamp(1, 64 << 10)
    }

    /// A viewer comes and has the streams up to `from`. Gives its number.
    pub(super) fn arrive(&mut self, from: [u64; 2]) -> u64 {
        self.viewers_ever += 1;
        self.viewers.push(Watching { number: self.viewers_ever, taken: from });
        self.viewers_ever
    }

    /// A viewer goes.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(place) = self.viewers.iter().position(|viewer| viewer.number == number) else {
            return;
        };
        let viewer = self.viewers.remove(place);
        if self.viewers.is_empty() {
            self.left_at = viewer.taken;
            self.vacant_since = Instant::now();
        }
    }

    /// A viewer has taken a stream up to `to`. Says whether the keeper waits for that.
    #[must_use]
    pub(super) fn took(&mut self, number: u64, index: usize, to: u64) -> Wake {
        if let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.number == number) {
            viewer.taken[index] = to;
        }
        if self.waits_for_room[index] && self.room(index) >= self.room_worth_reading() {
            self.waits_for_room[index] = false;
            return Wake::Keeper;
        }
        Wake::Nobody
    }

    /// Bytes of output that are kept in memory.
    pub(super) fn kept_len(&self) -> usize {
        self.logs.iter().map(Log::kept_len).sum()
    }
}

/// Whether somebody is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The keeper.
    Keeper,
    /// No one.
    Nobody,
}

/// Bytes on their way to the program, never more than the window.
pub(super) struct StdinQueue {
    /// Not yet handed to the keeper.
    bytes: VecDeque<u8>,
    /// How many have come from viewers.
    received: u64,
    /// How many the program's pipe has taken.
    written: u64,
    window: u64,
    /// No more will come.
    pub(super) is_ended: bool,
    /// No more is of use.
    is_closed: bool,
    /// There is a pipe that viewers may write to.
    pub(super) is_open_at_start: bool,
}

impl StdinQueue {
    fn new(stdin: Stdin, window: usize) -> Self {
        let is_open = stdin == Stdin::Open;
        Self {
            bytes: VecDeque::new(),
            received: 0,
            written: 0,
            window: if is_open { window as u64 } else { 0 },
            is_ended: !is_open,
            is_closed: !is_open,
            is_open_at_start: is_open,
        }
    }

    /// Offset up to which viewers may send.
    pub(super) fn to(&self) -> u64 {
        self.written + self.window
    }

    /// How many bytes have come from viewers: where a viewer that comes back goes on.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes may be under way.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// No more is of use: the program reads no more, or has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes bytes from a viewer, which must fit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.received + bytes.len() as u64 <= self.to() || self.is_closed);
        if !self.is_closed {
            self.bytes.extend(bytes);
            self.received += bytes.len() as u64;
        }
    }

    /// Hands all that is there to the keeper, in exchange for an empty buffer.
    pub(super) fn swap(&mut self, empty: &mut VecDeque<u8>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.bytes, empty);
    }

    /// Whether there is something for the keeper to do.
    pub(super) fn has_work(&self) -> bool {
        !self.is_closed && (self.is_ended || !self.bytes.is_empty())
    }

    /// The pipe has taken so many more bytes.
    pub(super) fn wrote(&mut self, len: usize) {
        self.written += len as u64;
    }

    /// The program reads no more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.bytes = VecDeque::new();
    }
}
