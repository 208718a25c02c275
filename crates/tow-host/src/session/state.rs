//! What a session's keeper and its viewers share. Nothing here waits: whoever changes something
//! wakes the other side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use rustix::process::{Pid, Signal};
use tokio::sync::Notify;
use tokio::time::Instant;
use tow_proto::content::{Hash, Tally};
use tow_proto::message::{EndedBy, ExitRecord, Lease, Program, SessionInfo, Window};
use tow_proto::refusal::{Code, Refusal};

use super::limits::SIGNALS_WAITING_MAX;
use super::log::{Kept, Log, LogLimits};
use super::model::{LAG_MAX, Model};
use super::pty::Pty;
use super::screen::Size;
use super::spec::{Spec, Stdio};
use super::spill::SpillDir;
use super::stdin::StdinQueue;
use super::store::Copied;
use super::tree::Tree;
use super::viewers::{Viewers, Visits};
use super::{Limits, SessionId, Stdin};

/// One session, as seen from both sides.
pub(super) struct Shared {
    /// What never changes.
    pub(super) facts: Facts,
    state: Mutex<State>,
    /// What its terminal shows, where it has one. Locked before the state, where both are.
    pub(super) model: Option<Mutex<Model>>,
    /// The viewers have something new to look at.
    pub(super) changed: Notify,
    /// The keeper has something new to do.
    pub(super) asked: Notify,
}

/// What is known of a session from its start.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Its name.
    pub(super) id: SessionId,
    /// Who started it.
    pub(super) owner: String,
    /// What its starter called it.
    pub(super) request_id: String,
    /// What it runs.
    pub(super) program: Program,
    /// It runs on a terminal.
    pub(super) is_terminal: bool,
    /// When it started.
    pub(super) started: SystemTime,
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
    /// The keeper stops.
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
    /// Who looks.
    pub(super) viewers: Viewers,
    /// How it ended.
    pub(super) exit: Option<ExitRecord>,
    /// When it ended.
    pub(super) ended: Option<SystemTime>,
    /// Streams that nobody wants any more.
    pub(super) stop: [bool; 2],
    /// It is to be ended; the first reason stands.
    pub(super) order: Option<Order>,
    /// The leader, while its number can't mean another process.
    pub(super) leader: Option<Pid>,
    /// All of its processes, as long as there can be any.
    pub(super) tree: Option<Tree>,
    /// Its terminal, where it has one, while that is of use.
    pub(super) terminal: Weak<Pty>,
    /// The last signal that a viewer asked for.
    pub(super) user_signal: Option<Signal>,
    /// Signals for the terminal's foreground group.
    pub(super) terminal_signals: Vec<Signal>,
    /// A size that the terminal is to get.
    pub(super) window_asked: Option<Window>,
    /// The size that it has, or will have soon.
    pub(super) window: Option<Window>,
    /// How long it outlives its last viewer.
    pub(super) lease: Lease,
    /// No viewer is waited for any more.
    pub(super) lease_is_over: bool,
    log_limits: LogLimits,
    /// The keeper waits for room in these logs.
    waits_for_room: [bool; 2],
}

/// What the keeper needs to know before it waits.
pub(super) struct Look {
    /// Whether so much room is in a log that reading is worth while.
    pub(super) has_room: [bool; 2],
    /// Since when nobody is there but somebody is waited for, and whether there was a viewer ever.
    pub(super) vacant: Option<(Instant, Visits)>,
    /// How long the session outlives its last viewer.
    pub(super) lease: Lease,
}

impl Shared {
    /// A session that has just begun.
    pub(super) fn new(
        facts: Facts,
        spec: &Spec,
        leader: Pid,
        tree: Tree,
        limits: &Limits,
        dir: &SpillDir,
    ) -> Self {
        let log_limits = match spec.stdio {
            Stdio::Pipes(_) => limits.log,
            Stdio::Terminal(_) => with_room_for_model(limits.log),
        };
        let log = || Log::new(log_limits, dir.clone());
        let (window, stdin_window) = match spec.stdio {
            Stdio::Pipes(Stdin::Open) => (None, limits.stdin_window),
            Stdio::Pipes(Stdin::Null) => (None, 0),
            Stdio::Terminal(window) => (Some(window), limits.stdin_window),
        };
        let mut state =
            State::new([log(), log()], StdinQueue::new(stdin_window), spec.lease, log_limits);
        if window.is_some() {
            // A terminal has one output.
            state.logs[1].finish(Tally::default().hash());
        }
        state.leader = Some(leader);
        state.tree = Some(tree);
        state.window = window;
        let model =
            window.map(|window| Mutex::new(Model::new(Size::sane(window.rows, window.cols, None))));
        Self::with(facts, state, model)
    }

    /// A session that ended some time ago.
    pub(super) fn ended(
        facts: Facts,
        logs: [Log; 2],
        exit: ExitRecord,
        ended: SystemTime,
        limits: &Limits,
    ) -> Self {
        let mut state = State::new(logs, StdinQueue::new(0), Lease::Detached, limits.log);
        state.exit = Some(exit);
        state.ended = Some(ended);
        Self::with(facts, state, None)
    }

    fn with(facts: Facts, state: State, model: Option<Mutex<Model>>) -> Self {
        let (changed, asked) = (Notify::new(), Notify::new());
        Self { facts, state: Mutex::new(state), model, changed, asked }
    }

    /// The state; never held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terminal's model; never held across an await.
    pub(super) fn lock_model(&self) -> Option<MutexGuard<'_, Model>> {
        Some(self.model.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the session ended, unless that is under way.
    pub(super) fn order(&self, order: Order) {
        self.lock().order.get_or_insert(order);
        self.asked.notify_one();
    }

    /// Bytes that were read from an output. Says how much more there is room for.
    pub(super) fn append(&self, index: usize, bytes: &[u8]) -> usize {
        if self.model.is_none() {
            return self.append_portion(index, bytes);
        }
        let mut room = 0;
        for portion in bytes.chunks(MODEL_PORTION_LEN) {
            room = self.append_portion(index, portion);
            // Before the log lets go of what the model does not have.
            self.keep_model_up();
        }
        room
    }

    fn append_portion(&self, index: usize, bytes: &[u8]) -> usize {
        let mut state = self.lock();
        let needed_from = state.viewers.needed_from(index);
        state.logs[index].append(bytes, needed_from);
        let room = state.room(index);
        drop(state);
        self.changed.notify_waiters();
        room
    }

    /// Parses what the terminal's model is behind by, where that is much.
    fn keep_model_up(&self) {
        let Some(mut model) = self.lock_model() else { return };
        loop {
            let unparsed = {
                let state = self.lock();
                let log = &state.logs[0];
                if log.total() - model.fed_to() <= LAG_MAX as u64 {
                    return;
                }
                log.copy(log.readable_from(model.fed_to()), MODEL_PORTION_LEN)
            };
            let to = model.fed_to() + unparsed.len() as u64;
            // A fault in what interprets any program's output must not cost a session.
            if catch_unwind(AssertUnwindSafe(|| model.feed(&unparsed))).is_err() {
                tracing::error!(id = %self.facts.id, to, "a terminal's model is begun anew");
                model.begin_anew(to);
            }
        }
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
        state.ended = Some(SystemTime::now());
        drop(state);
        self.changed.notify_waiters();
    }

    /// As a list of sessions shows it.
    pub(super) fn info(&self) -> SessionInfo {
        let state = self.lock();
        let (typing, watching) = state.viewers.counts();
        SessionInfo {
            id: self.facts.id.to_string(),
            owner: self.facts.owner.clone(),
            program: self.facts.program.clone(),
            terminal: self.facts.is_terminal,
            started: seconds(self.facts.started),
            lease: state.lease,
            typing,
            watching,
            stdout: state.logs[0].total(),
            stderr: state.logs[1].total(),
            exit: state.exit.clone().map(Box::new),
            ended: state.ended.map(seconds),
        }
    }
}

/// An output of a session that has ended, which is locked for each portion alone.
pub(super) struct EndedOutput<'a>(pub(super) &'a Shared, pub(super) usize);

impl Copied for EndedOutput<'_> {
    fn total(&self) -> u64 {
        self.0.lock().logs[self.1].total()
    }

    fn kept(&self) -> Kept {
        self.0.lock().logs[self.1].kept()
    }

    fn copy(&self, from: u64, len_max: usize) -> Vec<u8> {
        Copied::copy(&self.0.lock().logs[self.1], from, len_max)
    }
}

impl State {
    fn new(logs: [Log; 2], stdin: StdinQueue, lease: Lease, log_limits: LogLimits) -> Self {
        Self {
            logs,
            stdin,
            viewers: Viewers::new(),
            exit: None,
            ended: None,
            stop: [false; 2],
            order: None,
            leader: None,
            tree: None,
            terminal: Weak::new(),
            user_signal: None,
            terminal_signals: Vec::new(),
            window_asked: None,
            window: None,
            lease,
            lease_is_over: lease == Lease::Detached,
            log_limits,
            waits_for_room: [false; 2],
        }
    }

    /// How many bytes may be read from an output now. The newest typing viewer sets the pace; while
    /// it is away but expected, the disk takes what memory does not. Whoever else falls behind what
    /// is kept loses bytes and is told so.
    pub(super) fn room(&self, index: usize) -> usize {
        if matches!(self.order, Some(Order::Removed | Order::Stopping)) {
            // The session ends, whether its viewers take what is left or not.
            return usize::MAX;
        }
        let limits = &self.log_limits;
        let kept_max = match self.viewers.pace(index) {
            Some(_) => limits.memory_max,
            None if self.lease_is_over || self.viewers.vacant().is_none() => return usize::MAX,
            None => limits.memory_max + usize::try_from(limits.tail_max).unwrap_or(usize::MAX / 2),
        };
        let needed = self.logs[index].total().saturating_sub(self.viewers.needed_from(index));
        kept_max.saturating_sub(usize::try_from(needed).unwrap_or(usize::MAX))
    }

    /// The situation before the keeper waits; it will be woken when a log that was full has room.
    pub(super) fn look(&mut self) -> Look {
        let has_room = [0, 1].map(|index| self.room(index) >= self.room_worth_reading());
        self.waits_for_room = has_room.map(|has_room| !has_room);
        let vacant = self.viewers.vacant().filter(|_| !self.lease_is_over);
        Look { has_room, vacant, lease: self.lease }
    }

    /// Many small reads cost more than a short wait for a viewer that is behind anyway.
    fn room_worth_reading(&self) -> usize {
        (self.log_limits.memory_max / 2).clamp(1, 64 << 10)
    }

    /// A viewer has consumed a stream up to `to`. Says whether the keeper waits for that.
    #[must_use]
    pub(super) fn consumed(&mut self, number: u64, index: usize, to: u64) -> Wake {
        self.viewers.consumed(number, index, to);
        let needed_from = self.viewers.needed_from(index);
        self.logs[index].release(needed_from);
        if self.waits_for_room[index] && self.room(index) >= self.room_worth_reading() {
            self.waits_for_room[index] = false;
            return Wake::Keeper;
        }
        Wake::Nobody
    }

    /// The terminal is to be as large as `window`; what is not known stays.
    pub(super) fn ask_window(&mut self, window: Window) {
        let Some(old) = self.window else { return };
        let last = Size::sane(old.rows, old.cols, None);
        let size = Size::sane(window.rows, window.cols, Some(last));
        let window = Window { rows: size.rows, cols: size.cols, ..window };
        if self.window != Some(window) {
            self.window = Some(window);
            self.window_asked = Some(window);
        }
    }

    /// Has the keeper send a signal to whatever is in the foreground of the terminal.
    pub(super) fn ask_terminal_signal(&mut self, signal: Signal) {
        if self.terminal_signals.len() < SIGNALS_WAITING_MAX {
            self.terminal_signals.push(signal);
        }
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

/// A log that keeps all that a terminal's model may lag behind by.
fn with_room_for_model(limits: LogLimits) -> LogLimits {
    let behind_max = LAG_MAX + MODEL_PORTION_LEN;
    LogLimits {
        memory_max: limits.memory_max.max(2 * behind_max),
        replay_max: limits.replay_max.max(behind_max),
        ..limits
    }
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How much the terminal's model parses before others may look at the log.
const MODEL_PORTION_LEN: usize = 64 << 10;
