//! The one task that owns a session's pipes or terminal, and its leader. It waits in [`Keeper::next_event`],
//! which decides nothing, and decides in [`Keeper::apply`], which never waits.
//!
//! The end has three facts, each of which comes when it comes: the leader has exited, stdout has
//! ended, stderr has ended. A child that holds an output after the leader's exit is waited for only
//! as long as it goes on writing, and not long.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, WaitIdStatus};
use tokio::task::coop::consume_budget;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep_until};
use tow_proto::content::Tally;
use tow_proto::message::{Ended, EndedBy, ExitRecord, Lease, StreamTotal};

use super::ends::{Drain, Ready, Source};
use super::pty::Pty;
use super::reap::Leader;
use super::screen::Size;
use super::spawn::{Spawned, SpawnedStdio};
use super::spec::Spec;
use super::spill::SpillDir;
use super::state::{Facts, Look, Order, Shared};
use super::tree::{Left, Tree};
use super::viewers::Visits;
use super::{Limits, signals};

/// A session's owner.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    limits: Limits,
    times_out_at: Option<Instant>,
    leader: Leader,
    tree: Tree,
    terminal: Option<Arc<Pty>>,
    stdin: Option<Drain>,
    /// On its way into stdin; was in the queue before.
    outgoing: VecDeque<u8>,
    outputs: [Output; 2],
    /// There was more to read or write than one turn is good for.
    turn_is_over: bool,
    exit: Option<Exit>,
    /// Ends the tree, after an order to do so.
    ending: Option<JoinHandle<()>>,
}

/// One output, and what came out of it.
struct Output {
    source: Option<Source>,
    tally: Box<Tally>,
    /// When bytes came last.
    heard_at: Instant,
    /// Given up although a process still holds it.
    is_held: bool,
    is_wide: bool,
}

/// The leader's exit.
struct Exit {
    ended: Ended,
    by: EndedBy,
    at: Instant,
    /// Offsets of the outputs that had been written by then: they are read in any case.
    written: [u64; 2],
}

/// What the keeper waits for.
enum Event {
    OutputReady(usize),
    StdinReady,
    StdinBroken,
    LeaderExited,
    DeadlinePassed,
    Asked,
}

impl Keeper {
    /// Takes charge of a program that was just started; within a runtime.
    ///
    /// # Errors
    /// Its pipes or its terminal can't be watched.
    pub(super) fn new(
        facts: Facts,
        spawned: Spawned,
        spec: &Spec,
        limits: &Limits,
        dir: &SpillDir,
    ) -> io::Result<(Self, Arc<Shared>)> {
        let Spawned { leader, stdio, cgroup } = spawned;
        let tree = Tree::new(facts.id.clone(), leader.pid(), cgroup, &stdio);
        let mut terminal = None;
        let (stdin, sources) = match stdio {
            SpawnedStdio::Pipes { stdin, outputs: [stdout, stderr] } => {
                let sources = [Some(Source::pipe(stdout)?), Some(Source::pipe(stderr)?)];
                (stdin.map(Drain::pipe).transpose()?, sources)
            }
            SpawnedStdio::Terminal(master) => {
                let pty = Arc::new(Pty::new(master)?);
                terminal = Some(Arc::clone(&pty));
                (Some(Drain::Terminal(Arc::clone(&pty))), [Some(Source::Terminal(pty)), None])
            }
        };
        let shared = Shared::new(facts, spec, leader.pid(), tree.clone(), limits, dir);
        if let Some(terminal) = &terminal {
            shared.lock().terminal = Arc::downgrade(terminal);
        }
        let shared = Arc::new(shared);
        let now = Instant::now();
        let keeper = Self {
            shared: Arc::clone(&shared),
            limits: limits.clone(),
            times_out_at: spec.timeout.and_then(|timeout| now.checked_add(timeout)),
            leader,
            tree,
            terminal,
            stdin,
            outgoing: VecDeque::new(),
            outputs: sources.map(|source| Output {
                source,
                tally: Box::default(),
                heard_at: now,
                is_held: false,
                is_wide: false,
            }),
            turn_is_over: false,
            exit: None,
            ending: None,
        };
        Ok((keeper, shared))
    }

    /// Until the program has exited, its outputs have ended, and, where the session was ended from
    /// here, none of its processes is left.
    pub(super) async fn run(mut self) {
        while self.exit.is_none() || self.outputs.iter().any(|output| output.source.is_some()) {
            // A flood never makes this task wait.
            consume_budget().await;
            let look = self.shared.lock().look();
            let event = self.next_event(&look).await;
            self.apply(&event, &look);
            if std::mem::take(&mut self.turn_is_over) {
                yield_now().await;
            }
        }
        self.stdin = None;
        self.terminal = None;
        self.finish().await;
    }

    async fn next_event(&self, look: &Look) -> Event {
        let [stdout, stderr] = &self.outputs;
        let deadline = self.deadlines(look).into_iter().flatten().min();
        let others = async {
            tokio::select! {
                () = stdout.readable(), if look.has_room[0] => Event::OutputReady(0),
                () = stderr.readable(), if look.has_room[1] => Event::OutputReady(1),
                event = stdin_event(self.stdin.as_ref(), !self.outgoing.is_empty()) => event,
                () = self.leader.exited(), if self.exit.is_none() => Event::LeaderExited,
                () = sleep_until_some(deadline) => Event::DeadlinePassed,
            }
        };
        tokio::select! {
            // Ctrl-C comes before more of the flood that it ends. Who asks without a pause is asked
            // for only once in a turn, so the others have theirs.
            biased;
            () = self.shared.asked.notified() => Event::Asked,
            event = others => event,
        }
    }

    fn apply(&mut self, event: &Event, look: &Look) {
        match event {
            Event::OutputReady(index) => self.read_output(*index),
            Event::StdinReady => self.write_stdin(),
            Event::StdinBroken => self.close_stdin(),
            Event::LeaderExited => self.note_exit(),
            Event::DeadlinePassed => self.handle_deadlines(look),
            Event::Asked => self.handle_asked(),
        }
    }

    /// Reads what is there, as far as there is room, but lets others have a turn.
    fn read_output(&mut self, index: usize) {
        let is_over = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_LEN, 0);
            self.read_into(index, scratch)
        });
        if is_over {
            self.end_output(index);
        }
    }

    /// Says whether the output has ended.
    fn read_into(&mut self, index: usize, scratch: &mut [u8]) -> bool {
        let output = &mut self.outputs[index];
        let mut room = self.shared.lock().room(index);
        for _ in 0..PORTIONS_PER_TURN {
            let Some(source) = output.source.as_ref().filter(|_| room > 0) else { return false };
            let len_max = room.min(scratch.len());
            match source.try_read(&mut scratch[..len_max]) {
                Ok(0) => return true,
                Ok(len) => {
                    let bytes = &scratch[..len];
                    output.tally.update(bytes);
                    output.heard_at = Instant::now();
                    room = self.shared.append(index, bytes);
                    output.widen();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        self.turn_is_over = true;
        false
    }

    fn end_output(&mut self, index: usize) {
        self.outputs[index].source = None;
        self.shared.finish_output(index, self.outputs[index].tally.hash());
    }

    /// Writes what the pipe takes.
    fn write_stdin(&mut self) {
        for _ in 0..PORTIONS_PER_TURN {
            let Some(stdin) = &self.stdin else { return };
            if self.outgoing.is_empty() {
                let mut state = self.shared.lock();
                state.stdin.swap(&mut self.outgoing);
                if self.outgoing.is_empty() {
                    if state.stdin.is_ended {
                        self.stdin = None;
                    }
                    return;
                }
            }
            match stdin.try_write(self.outgoing.as_slices().0) {
                Ok(len) => {
                    self.outgoing.drain(..len);
                    self.shared.lock().stdin.wrote(len);
                    self.shared.changed.notify_waiters();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close_stdin(),
            }
        }
        // The work may not be over.
        self.turn_is_over = true;
        self.shared.asked.notify_one();
    }

    /// Nobody reads it, or nobody should write it any more.
    fn close_stdin(&mut self) {
        self.stdin = None;
        self.outgoing = VecDeque::new();
        self.shared.lock().stdin.close();
        self.shared.changed.notify_waiters();
    }

    fn note_exit(&mut self) {
        let Some(status) = self.leader.status() else { return };
        let now = Instant::now();
        let written = [0, 1].map(|index: usize| {
            let output = &self.outputs[index];
            output.tally.bytes() + output.source.as_ref().map_or(0, Source::unread)
        });
        let state = self.shared.lock();
        let asked_for = state.user_signal.map(|signal| signal.as_raw());
        let by = match state.order {
            Some(order) => order.by(),
            None if asked_for.is_some() && status.terminating_signal() == asked_for => {
                EndedBy::User
            }
            None => EndedBy::Itself,
        };
        self.exit = Some(Exit { ended: ended(&status), by, at: now, written });
    }

    fn handle_asked(&mut self) {
        let mut state = self.shared.lock();
        let (order, stop, stdin_has_work) = (state.order, state.stop, state.stdin.has_work());
        let window = state.window_asked.take();
        let signals = std::mem::take(&mut state.terminal_signals);
        let total = state.logs[0].total();
        drop(state);
        if let (Some(window), Some(terminal)) = (window, &self.terminal) {
            // It fails only where nobody has the terminal open any more.
            let _ = terminal.resize(window);
            if let Some(mut model) = self.shared.lock_model() {
                let size = Size::sane(window.rows, window.cols, Some(model.size()));
                model.resized(total, size);
            }
        }
        for signal in signals {
            if let Some(terminal) = &self.terminal {
                let _ = terminal.signal_foreground(signal);
            }
        }
        if stdin_has_work {
            self.write_stdin();
        }
        for index in [0, 1] {
            if stop[index] && self.outputs[index].source.is_some() {
                self.end_output(index);
                if self.terminal.take().is_some() {
                    // Only when all of it is closed does the program's next write fail.
                    self.close_stdin();
                }
            }
        }
        if let (Some(order), None) = (order, &self.ending) {
            if order != Order::Timeout {
                self.close_stdin();
            }
            self.ending = Some(tokio::spawn(self.tree.clone().end(order, self.limits.clone())));
        }
    }

    fn handle_deadlines(&mut self, look: &Look) {
        let now = Instant::now();
        let [times_out_at, lease_ends_at, settles_at] = self.deadlines(look);
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_over(times_out_at) {
            self.shared.order(Order::Timeout);
        }
        if is_over(lease_ends_at) {
            self.shared.lock().lease_is_over = true;
            self.shared.order(Order::Lease);
        }
        if is_over(settles_at) {
            self.settle_outputs(look);
        }
    }

    /// The time limit, the end of the lease, and when outputs that a child still holds are given
    /// up.
    fn deadlines(&self, look: &Look) -> [Option<Instant>; 3] {
        let may_time_out = self.exit.is_none() && self.ending.is_none();
        let times_out_at = self.times_out_at.filter(|_| may_time_out);
        let lease_ends_at = look
            .vacant
            .and_then(|(since, visits)| since.checked_add(self.lease_length(look.lease, visits)?));
        let settles_at = self.exit.as_ref().and_then(|exit| {
            let outputs = self.outputs.iter().zip(look.has_room);
            let listened =
                outputs.filter(|(output, has_room)| *has_room && output.source.is_some());
            let heard_at = listened.map(|(output, _)| output.heard_at).max()?;
            let quiet_at = heard_at.max(exit.at) + self.limits.quiet;
            Some(quiet_at.min(exit.at + self.limits.quiet_max))
        });
        [times_out_at, lease_ends_at, settles_at]
    }

    /// The first viewer is always waited for: a lease counts from when one has been there.
    fn lease_length(&self, lease: Lease, visits: Visits) -> Option<Duration> {
        match (lease, visits) {
            (Lease::Detached, _) => None,
            (Lease::Ms(ms), Visits::Some) => Some(Duration::from_millis(ms)),
            (Lease::Attached | Lease::Ms(_), _) => Some(self.limits.lease),
        }
    }

    fn settle_outputs(&mut self, look: &Look) {
        let Some(written) = self.exit.as_ref().map(|exit| exit.written) else { return };
        for index in [0, 1] {
            if look.has_room[index] {
                self.read_output(index);
                let output = &mut self.outputs[index];
                if output.source.is_some() && output.tally.bytes() >= written[index] {
                    output.is_held = true;
                    self.end_output(index);
                }
            }
        }
    }

    async fn finish(mut self) {
        let Some(Exit { ended, by, .. }) = self.exit.take() else { return };
        let is_held = self.outputs.iter().any(|output| output.is_held);
        let alive = match self.ending {
            None => self.note_rest().await,
            Some(_) if is_held => self.tree.alive().await,
            Some(_) => Vec::new(),
        };
        let lingering = alive.iter().filter(|_| is_held);
        let lingering = lingering.take(LINGERING_MAX);
        let lingering = lingering.map(|pid| pid.as_raw_pid().unsigned_abs()).collect();
        let [stdout, stderr] = self
            .outputs
            .each_ref()
            .map(|Output { tally, .. }| StreamTotal { bytes: tally.bytes(), blake3: tally.hash() });
        let record = ExitRecord { ended, by, lingering, stdout, stderr };
        // From here on no signal is sent to a number that may soon mean another process.
        self.shared.lock().leader = None;
        // The record does not wait for what survives the leader, but the leader's number must stay
        // taken until that is gone.
        self.shared.publish(record);
        if let Some(ending) = self.ending.take() {
            let _ = ending.await;
            self.note_rest().await;
        }
        // An order that came too late for the leader is for the rest.
        let order = self.shared.lock().order;
        if order.is_some() {
            self.tree.kill_rest().await;
        }
        self.forget_rest();
        self.leader.reap();
    }

    /// When nothing is left of what outlived the leader, nothing is kept to find it by.
    fn forget_rest(&self) {
        let (shared, is_gone) = (Arc::downgrade(&self.shared), self.tree.rest_is_gone());
        if self.shared.lock().tree.is_some() {
            tokio::spawn(async move {
                is_gone.await;
                if let Some(shared) = shared.upgrade() {
                    shared.lock().tree = None;
                }
            });
        }
    }

    /// Before the leader is reaped. What outlives it stays one of the session's.
    async fn note_rest(&self) -> Vec<Pid> {
        let (alive, left) = self.tree.note_rest().await;
        if left == Left::None {
            self.shared.lock().tree = None;
        }
        alive
    }
}

impl Output {
    /// Gives a flood a larger pipe. Only a flood, because what all pipes of a user may hold together
    /// is limited, by default to 64 MiB (pipe(7)).
    fn widen(&mut self) {
        if !self.is_wide && self.tally.bytes() >= FLOOD_LEN {
            self.is_wide = true;
            if let Some(source) = &self.source {
                source.widen(WIDE_PIPE_LEN);
            }
        }
    }

    async fn readable(&self) {
        match &self.source {
            Some(source) => source.readable().await,
            None => std::future::pending().await,
        }
    }
}

/// With bytes to write, when they can be; without, when nobody reads them any more.
async fn stdin_event(stdin: Option<&Drain>, has_bytes: bool) -> Event {
    let Some(stdin) = stdin else { return std::future::pending().await };
    let ready = if has_bytes { stdin.writable().await } else { stdin.broken().await };
    match ready {
        Ready::Writable => Event::StdinReady,
        Ready::Broken => Event::StdinBroken,
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn ended(status: &WaitIdStatus) -> Ended {
    match status.terminating_signal() {
        Some(number) => Ended::Signal {
            name: signals::name_of(number),
            number: u8::try_from(number).unwrap_or(u8::MAX),
            core: status.dumped(),
        },
        // The kernel keeps the low 8 bits of what a program gives to exit(2).
        None => {
            Ended::Code(u8::try_from(status.exit_status().unwrap_or(0) & 0xff).unwrap_or(u8::MAX))
        }
    }
}

thread_local! {
    /// What is read into. Nothing waits while it is in use, so that one is enough for all sessions.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Processes that an exit record names; a record must fit into a head.
const LINGERING_MAX: usize = 1_000;
/// Most bytes read at once.
const READ_LEN: usize = 256 << 10;
/// Bytes after which an output is a flood.
const FLOOD_LEN: u64 = 1 << 20;
/// Capacity of a flood's pipe in bytes; more is not allowed by default.
const WIDE_PIPE_LEN: usize = 1 << 20;
/// How often a pipe is read or written before the others have a turn.
const PORTIONS_PER_TURN: usize = 16;
