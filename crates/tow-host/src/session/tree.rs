//! All the processes of a session, wherever they went.
//!
//! Where a control group holds them, they are what is in it. Without one they are: its process
//! group, everything in the leader's own session, every descendant, every process that carries the
//! session's id in its environment, and every orphan that still has the session's own pipes or
//! terminal. Of these only a process that went into a session of its own, cleared its environment
//! and let go of all three can get away.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
};
use tokio::time::{Instant, sleep};

use super::cgroup::Cgroup;
use super::spawn::SpawnedStdio;
use super::state::Order;
use super::{ID_VARIABLE, Limits, SessionId, reap};

/// What is known about a process, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// It has exited and is waited for by nobody yet.
    pub(super) is_zombie: bool,
    /// Its parent.
    pub(super) parent: i32,
    /// Its process group.
    pub(super) group: i32,
    /// Its session, in the kernel's sense.
    pub(super) session: i32,
    /// When it started, in ticks since boot: with the number, this is never another process.
    started: u64,
}

impl Facts {
    /// Of a process; `None` when it is gone.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        Self::parse(&stat)
    }

    /// The second field, a name in parentheses, may contain anything, also parentheses.
    fn parse(stat: &[u8]) -> Option<Self> {
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = || fields.next()?.parse::<i32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        let started = fields.nth(STARTED_AFTER_SESSION)?.parse().ok()?;
        Some(Self { is_zombie: matches!(state, "Z" | "X"), parent, group, session, started })
    }
}

/// Every process of the machine that we can see.
pub(super) fn all() -> impl Iterator<Item = Pid> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

/// One session's processes. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Tree(Arc<Inner>);

struct Inner {
    id: SessionId,
    leader: Pid,
    cgroup: Option<Cgroup>,
    /// What links in `/proc/PID/fd` say that lead to the session's own pipes or terminal.
    marks: Vec<PathBuf>,
    /// Those that were there when the leader was about to be reaped, by number and start. From then
    /// on its number means nothing.
    rest: Mutex<Option<Vec<(Pid, u64)>>>,
}

impl Tree {
    /// Of a session that has just been started. Its leader must not be reaped before
    /// [`Self::note_rest`].
    pub(super) fn new(
        id: SessionId,
        leader: Pid,
        cgroup: Option<Cgroup>,
        stdio: &SpawnedStdio,
    ) -> Self {
        let marks = if cgroup.is_some() { Vec::new() } else { marks(stdio) };
        Self(Arc::new(Inner { id, leader, cgroup, marks, rest: Mutex::default() }))
    }

    /// The processes that are alive now, without zombies.
    pub(super) async fn alive(&self) -> Vec<Pid> {
        self.with_threads_help(Inner::alive).await
    }

    /// Sends a signal to each of them, once, and says how many there were.
    pub(super) async fn signal_tree(&self, signal: Signal) -> usize {
        self.with_threads_help(move |tree| tree.signal(&[signal])).await
    }

    /// Ends all of them, as `order` has it, and returns when none is left, or when they survive
    /// even KILL.
    pub(super) async fn end(self, order: Order, limits: Limits) {
        for (signals, wait) in steps(order, &limits) {
            if self.end_by(signals, wait).await == Left::None {
                return;
            }
        }
    }

    /// To be called when the leader has exited, before it is reaped: gives the processes that are
    /// alive still, and remembers them for [`Self::kill_rest`]. Where none is left at all, the tree
    /// is of no more use.
    pub(super) async fn note_rest(&self) -> (Vec<Pid>, Left) {
        self.with_threads_help(Inner::note_rest).await
    }

    /// Kills what has outlived the leader, and what that has started since; returns when none is
    /// left, or when they survive that.
    pub(super) async fn kill_rest(&self) {
        self.end_by(&[Signal::KILL], REST_WAIT).await;
    }

    /// Returns when nothing is left of what has outlived the leader, or when this session is nobody's
    /// any more. Looks less and less often: what is left after a second may stay for days.
    pub(super) fn rest_is_gone(&self) -> impl Future<Output = ()> + use<> {
        let tree = Arc::downgrade(&self.0);
        async move {
            let mut wait = LOOK_AGAIN;
            loop {
                sleep(wait).await;
                wait = LOOK_AT_REST_MAX.min(wait * 2);
                let Some(tree) = tree.upgrade().map(Tree) else { return };
                if tree.with_threads_help(|tree| tree.left_after(&[])).await == Left::None {
                    return;
                }
            }
        }
    }

    async fn end_by(&self, signals: &'static [Signal], wait: Duration) -> Left {
        let deadline = Instant::now() + wait;
        let mut left = self.with_threads_help(move |tree| tree.left_after(signals)).await;
        while left == Left::Some && Instant::now() < deadline {
            sleep(LOOK_AGAIN.min(deadline - Instant::now())).await;
            // What was forked meanwhile is killed as well.
            let again = if *signals == [Signal::KILL] { signals } else { &[] };
            left = self.with_threads_help(move |tree| tree.left_after(again)).await;
        }
        left
    }

    /// Reading another process's environment may wait for that process: not on a runtime's thread.
    async fn with_threads_help<T: Send + Default + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        let tree = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&tree)).await.unwrap_or_default()
    }
}

/// Whether any process is left, also one that is only dying: as long as it is, its control group
/// can't be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Left {
    /// Not one.
    #[default]
    None,
    /// At least one.
    Some,
}

impl Inner {
    fn alive(&self) -> Vec<Pid> {
        match &self.cgroup {
            Some(cgroup) => cgroup.members(),
            None => self.members().into_iter().map(|(pid, _)| pid).collect(),
        }
    }

    fn note_rest(&self) -> (Vec<Pid>, Left) {
        let members = self.members();
        let rest = members.iter().map(|(pid, facts)| (*pid, facts.started)).collect();
        self.lock_rest().get_or_insert(rest);
        let left = self.left_of(members.len());
        (members.into_iter().map(|(pid, _)| pid).collect(), left)
    }

    /// Sends signals to all of them, and says whether there were any.
    fn left_after(&self, signals: &[Signal]) -> Left {
        self.left_of(self.signal(signals))
    }

    fn left_of(&self, alive: usize) -> Left {
        let is_gone = alive == 0 && self.cgroup.as_ref().is_none_or(Cgroup::is_empty);
        if is_gone { Left::None } else { Left::Some }
    }

    /// Sends signals to all of them. Says how many there were.
    fn signal(&self, signals: &[Signal]) -> usize {
        let members = self.members();
        for signal in signals {
            let group = self.signal_group(*signal);
            if *signal == Signal::KILL
                && self.cgroup.as_ref().is_some_and(|cgroup| cgroup.kill().is_ok())
            {
                continue;
            }
            for (pid, facts) in &members {
                signal_unless_in(group, *pid, *facts, *signal);
            }
        }
        members.len()
    }

    /// Signals the leader's group at once, so that no member sees another end first and starts a
    /// third. Gives the group, if it is still the leader's.
    fn signal_group(&self, signal: Signal) -> Option<i32> {
        // Held meanwhile: the leader is not reaped before its rest is noted.
        let rest = self.lock_rest();
        if rest.is_some() {
            return None;
        }
        let _ = kill_process_group(self.leader, signal);
        Some(self.leader.as_raw_pid())
    }

    fn members(&self) -> Vec<(Pid, Facts)> {
        match &self.cgroup {
            Some(cgroup) => members_of(cgroup),
            None => self.found(),
        }
    }

    /// Looks at every process of the machine.
    fn found(&self) -> Vec<(Pid, Facts)> {
        let Some(own) = Facts::of(getpid()) else { return Vec::new() };
        let facts = facts_of_all();
        let rest = self.lock_rest().clone();
        let is_member = |pid: Pid, facts: Facts| match &rest {
            Some(rest) => rest.contains(&(pid, facts.started)) || self.is_named_by(pid),
            None => self.has(pid, facts, own),
        };
        let mut members: HashMap<Pid, Facts> = HashMap::new();
        for (pid, facts) in &facts {
            if is_member(*pid, *facts) {
                members.insert(*pid, *facts);
            }
        }
        add_descendants(&mut members, &facts);
        members.into_iter().filter(|(_, facts)| !facts.is_zombie).collect()
    }

    fn has(&self, pid: Pid, facts: Facts, own: Facts) -> bool {
        let leader = self.leader.as_raw_pid();
        facts.session == leader
            || facts.group == leader
            || self.is_named_by(pid)
            || facts.parent == getpid().as_raw_pid()
                && self.is_held_by(pid)
                && reap::is_orphan(pid, facts, own)
    }

    fn is_named_by(&self, pid: Pid) -> bool {
        let wanted = format!("{ID_VARIABLE}={}", self.id);
        // Those of other users can't be read: they are not ours unless they are in the leader's
        // session.
        let env = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap_or_default();
        env.split(|byte| *byte == 0).any(|definition| definition == wanted.as_bytes())
    }

    /// Whether a process has one of the session's own pipes or its terminal.
    fn is_held_by(&self, pid: Pid) -> bool {
        let links = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid()));
        let mut targets =
            links.into_iter().flatten().flatten().flat_map(|link| fs::read_link(link.path()));
        targets.any(|target| self.marks.contains(&target))
    }

    fn lock_rest(&self) -> MutexGuard<'_, Option<Vec<(Pid, u64)>>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// A session whose task was dropped, with its runtime: nobody would ever look after the rest.
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.as_ref().filter(|_| self.lock_rest().is_none()) {
            let _ = cgroup.kill();
        }
    }
}

/// What is in a control group, with facts that are of these processes and of none that got a number
/// since: for that, what was listed before must be listed after.
fn members_of(cgroup: &Cgroup) -> Vec<(Pid, Facts)> {
    let listed = cgroup.members().into_iter();
    let with_facts: Vec<_> = listed.filter_map(|pid| Some((pid, Facts::of(pid)?))).collect();
    let again: HashSet<Pid> = cgroup.members().into_iter().collect();
    with_facts.into_iter().filter(|(pid, _)| again.contains(pid)).collect()
}

/// Of every process but our own. A parent that is not among them ended while we looked, and where
/// its children belong is not known before they have another.
fn facts_of_all() -> HashMap<Pid, Facts> {
    let own = getpid();
    let mut facts: HashMap<Pid, Facts> = HashMap::new();
    for _ in 0..LOOKS_MAX {
        let others = all().filter(|pid| *pid != own && pid.as_raw_pid() > 1);
        facts = others.filter_map(|pid| Some((pid, Facts::of(pid)?))).collect();
        let is_known =
            |parent: Pid| parent == own || parent.as_raw_pid() == 1 || facts.contains_key(&parent);
        if facts.values().all(|facts| Pid::from_raw(facts.parent).is_none_or(is_known)) {
            break;
        }
    }
    facts
}

fn add_descendants(members: &mut HashMap<Pid, Facts>, all: &HashMap<Pid, Facts>) {
    loop {
        let is_child = |facts: &Facts| {
            Pid::from_raw(facts.parent).is_some_and(|parent| members.contains_key(&parent))
        };
        let more: Vec<_> = all
            .iter()
            .filter(|(pid, facts)| !members.contains_key(*pid) && is_child(facts))
            .map(|(pid, facts)| (*pid, *facts))
            .collect();
        if more.is_empty() {
            return;
        }
        members.extend(more);
    }
}

/// As `/proc/PID/fd` names the program's ends of what we hold. Both ends of a pipe have one name.
fn marks(stdio: &SpawnedStdio) -> Vec<PathBuf> {
    match stdio {
        SpawnedStdio::Pipes { stdin, outputs } => {
            let pipes = stdin.iter().chain(outputs);
            let links = pipes.map(|fd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())));
            links.flatten().collect()
        }
        SpawnedStdio::Terminal(master) => {
            let name = rustix::pty::ptsname(master, Vec::new());
            name.map(|name| OsStr::from_bytes(name.as_bytes()).into()).into_iter().collect()
        }
    }
}

/// Signals the very process of which `before` was true, not one that got its number since; unless a
/// signal to `group` has reached it already. One that has left the group, or come into it, since it
/// was seen may have been missed by that signal.
fn signal_unless_in(group: Option<i32>, pid: Pid, before: Facts, signal: Signal) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let Some(now) = Facts::of(pid).filter(|now| now.started == before.started) else { return };
    let was_reached = group == Some(before.group) && group == Some(now.group);
    if !was_reached {
        // It may be gone, or another user's.
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// What is sent, and how long it is given. CONT, because what is stopped hears nothing else but
/// KILL.
fn steps(order: Order, limits: &Limits) -> Vec<(&'static [Signal], Duration)> {
    let kill: (&[Signal], _) = (&[Signal::KILL], limits.escalation);
    match order {
        Order::Timeout => vec![(&[Signal::TERM, Signal::CONT], limits.escalation), kill],
        Order::Lease => vec![
            (&[Signal::HUP, Signal::CONT], limits.escalation),
            (&[Signal::TERM, Signal::CONT], limits.escalation),
            kill,
        ],
        Order::Removed => vec![(&[Signal::HUP, Signal::TERM, Signal::CONT], limits.removal), kill],
        Order::Stopping => {
            vec![(&[Signal::HUP, Signal::TERM, Signal::CONT], limits.escalation), kill]
        }
    }
}

/// The session is field 6, the start time field 22 (proc_pid_stat(5)).
const STARTED_AFTER_SESSION: usize = 22 - 6 - 1;
/// How often to look whether a tree that was asked to end has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How seldom to look, at most, whether what was left to itself is still there.
const LOOK_AT_REST_MAX: Duration = Duration::from_secs(30);
/// How often to look, at most, until every process is seen with its parent. Where those of others
/// are hidden, that is never.
const LOOKS_MAX: usize = 3;
/// How long to wait for what was killed.
const REST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
