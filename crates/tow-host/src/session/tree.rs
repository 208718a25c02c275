//! All the processes of a session, wherever they went: its process group, everything in the
//! leader's own session, every descendant, and every process that carries the session's id in its
//! environment. The last finds what was forked twice and put into a session of its own; only a
//! process that also cleared its environment can get away.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
};
use tokio::time::{Instant, sleep};

use super::state::Order;
use super::{ID_VARIABLE, Limits, SessionId};

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

/// One session's processes.
#[derive(Clone)]
pub(super) struct Tree {
    id: SessionId,
    leader: Pid,
}

impl Tree {
    /// Of a session whose leader has not been reaped, and will not be while this is used.
    pub(super) fn new(id: SessionId, leader: Pid) -> Self {
        Self { id, leader }
    }

    /// The processes that are alive now, without zombies.
    pub(super) async fn alive(&self) -> Vec<Pid> {
        let alive = self.with_threads_help(|tree| tree.members()).await;
        alive.into_iter().map(|(pid, _)| pid).collect()
    }

    /// Ends all of them, as `order` has it, and returns when none is left, or when they survive
    /// even KILL.
    pub(super) async fn end(self, order: Order, limits: Limits) {
        for (signals, wait) in steps(order, &limits) {
            let deadline = Instant::now() + wait;
            let mut left = self.with_threads_help(move |tree| tree.signal(signals)).await;
            while left > 0 && Instant::now() < deadline {
                sleep(LOOK_AGAIN.min(deadline - Instant::now())).await;
                left = if *signals == [Signal::KILL] {
                    // What was forked meanwhile is killed as well.
                    self.with_threads_help(move |tree| tree.signal(signals)).await
                } else {
                    self.alive().await.len()
                };
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Reading another process's environment may wait for that process: not on a runtime's thread.
    async fn with_threads_help<T: Send + Default + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let tree = self.clone();
        tokio::task::spawn_blocking(move || work(&tree)).await.unwrap_or_default()
    }

    /// Sends signals to all of them. Says how many there were.
    fn signal(&self, signals: &[Signal]) -> usize {
        let members = self.members();
        for signal in signals {
            // At once, so that no member sees another end first and starts a third.
            let _ = kill_process_group(self.leader, *signal);
            for (pid, facts) in &members {
                if facts.group != self.leader.as_raw_pid() {
                    signal_exactly(*pid, facts.started, *signal);
                }
            }
        }
        members.len()
    }

    fn members(&self) -> Vec<(Pid, Facts)> {
        let own = getpid();
        let others = all().filter(|pid| *pid != own && pid.as_raw_pid() > 1);
        let facts: HashMap<Pid, Facts> =
            others.filter_map(|pid| Some((pid, Facts::of(pid)?))).collect();
        let mut members: HashMap<Pid, Facts> = HashMap::new();
        for (pid, facts) in &facts {
            if self.has(*pid, *facts) {
                members.insert(*pid, *facts);
            }
        }
        loop {
            let is_child = |facts: &Facts| {
                Pid::from_raw(facts.parent).is_some_and(|parent| members.contains_key(&parent))
            };
            let more: Vec<_> = facts
                .iter()
                .filter(|(pid, facts)| !members.contains_key(*pid) && is_child(facts))
                .map(|(pid, facts)| (*pid, *facts))
                .collect();
            if more.is_empty() {
                return members.into_iter().filter(|(_, facts)| !facts.is_zombie).collect();
            }
            members.extend(more);
        }
    }

    fn has(&self, pid: Pid, facts: Facts) -> bool {
        let leader = self.leader.as_raw_pid();
        facts.session == leader || facts.group == leader || self.is_named_by(pid)
    }

    fn is_named_by(&self, pid: Pid) -> bool {
        let wanted = format!("{ID_VARIABLE}={}", self.id);
        // Those of other users can't be read: they are not ours unless they are in the leader's
        // session.
        let env = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap_or_default();
        env.split(|byte| *byte == 0).any(|definition| definition == wanted.as_bytes())
    }
}

/// Signals this very process, not one that got its number since.
fn signal_exactly(pid: Pid, started: u64, signal: Signal) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Facts::of(pid).is_some_and(|facts| facts.started == started) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_parentheses_is_no_field() {
        let stat = b"42 (a) R 1 (b) c) S 7 8 9 34816 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 1234 99 1";
        let facts = Facts { is_zombie: false, parent: 7, group: 8, session: 9, started: 1234 };
        assert_eq!(Facts::parse(stat), Some(facts));
        assert_eq!(Facts::parse(b"42 (x) S 7"), None);
        assert_eq!(Facts::parse(b""), None);
    }

    #[test]
    fn the_facts_of_a_process_are_those_that_it_was_started_with() {
        // Of a child, not of our own: in a container our session may be led from outside.
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let facts = Facts::of(Pid::from_raw(pid).unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(facts.parent, getpid().as_raw_pid());
        assert_eq!(facts.group, pid);
        assert_eq!(facts.session, Facts::of(getpid()).unwrap().session);
        assert!(facts.started > 0);
    }
}
