//! Who waits for which child. A session's leader is waited for by its [`Leader`]; whatever loses
//! its parent in a session comes to us, the subreaper, and is waited for by [`reap_orphans`], so
//! that nothing stays a zombie.
//!
//! Children that other code of this process started are left alone: they share our own session,
//! which nothing that a leader started can.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpid, kill_process,
    kill_process_group, pidfd_open, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::spawn::watch;
use super::tree::{self, Facts};

/// A process that we started and must wait for. It stays a zombie until [`Self::reap`]: so long its
/// number, which is also that of its process group and session, can't be given to another process.
pub(super) struct Leader {
    pid: Pid,
    /// Becomes readable when the process has exited.
    pidfd: AsyncFd<OwnedFd>,
    is_reaped: bool,
}

impl Leader {
    /// Takes charge of a child that was claimed at its birth, by its descriptor if there is one
    /// already; within a runtime.
    ///
    /// # Errors
    /// There are no more descriptors; the child is killed.
    pub(super) fn new(pid: Pid, pidfd: Option<OwnedFd>) -> io::Result<Self> {
        let pidfd = pidfd.map_or_else(|| pidfd_open(pid, PidfdFlags::empty()), Ok);
        let pidfd = pidfd.map_err(io::Error::from);
        let watched = pidfd.and_then(|pidfd| watch(pidfd, Interest::READABLE));
        let pidfd = watched.inspect_err(|_| abandon(pid))?;
        Ok(Self { pid, pidfd, is_reaped: false })
    }

    /// Its number.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns when it has exited, and at once from then on. Cancel-safe.
    pub(super) async fn exited(&self) {
        // It fails only when the runtime ends, and this task with it.
        let _ = self.pidfd.readable().await;
    }

    /// How it ended, if it has. It stays a zombie.
    pub(super) fn status(&self) -> Option<WaitIdStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options).ok().flatten()
    }

    /// Lets the kernel forget it. From here on its number means nothing.
    pub(super) fn reap(mut self) {
        self.is_reaped = true;
        let mut claims = claims();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options);
        claims.leaders.remove(&self.pid.as_raw_pid());
    }
}

impl Drop for Leader {
    /// Only where a session's task was dropped, with its runtime: nobody would ever look after the
    /// program.
    fn drop(&mut self) {
        if !self.is_reaped {
            abandon(self.pid);
        }
    }
}

/// Kills a leader's group and leaves it to be reaped as an orphan.
fn abandon(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
    claims().leaders.remove(&pid.as_raw_pid());
    ORPHANS_MAY_BE_THERE.notify_waiters();
}

/// Kills a claimed child that will be nobody's leader, and waits for it.
pub(super) fn bury(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
    let wait = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    let _ = rustix::io::retry_on_intr(wait);
    claims().leaders.remove(&pid.as_raw_pid());
}

/// Children that are not orphans. For the whole process, since children are.
struct Claims {
    leaders: BTreeSet<i32>,
}

impl Claims {
    /// Whether a child of ours is one that a session has lost: no leader, nor anything that other
    /// code of this process has started.
    fn leave_out(&self, pid: Pid, facts: Facts, own: Facts) -> bool {
        facts.session != own.session && !self.leaders.contains(&pid.as_raw_pid())
    }
}

/// Whether a process, of which `facts` were true, has lost its parent in a session and come to us.
pub(super) fn is_orphan(pid: Pid, facts: Facts, own: Facts) -> bool {
    facts.parent == getpid().as_raw_pid() && claims().leave_out(pid, facts, own)
}

/// While it lives, nobody looks for orphans: a child that is made now is claimed before it can be
/// taken for one.
pub(super) struct Birth(MutexGuard<'static, Claims>);

/// To be called before a fork.
pub(super) fn about_to_fork() -> Birth {
    Birth(claims())
}

impl Birth {
    /// Makes the child a leader, or something to [`bury`].
    pub(super) fn claim(mut self, pid: Pid) {
        self.0.leaders.insert(pid.as_raw_pid());
    }
}

fn claims() -> MutexGuard<'static, Claims> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the one that orphans of its sessions come to.
///
/// # Errors
/// The kernel's, or there is no runtime.
pub(super) fn become_subreaper() -> io::Result<SignalStream> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    signal(SignalKind::child())
}

/// Reaps until `stop`.
pub(super) async fn reap_orphans(mut child_exits: SignalStream, stop: CancellationToken) {
    loop {
        // Before the look: what is said after it is not missed.
        let told = ORPHANS_MAY_BE_THERE.notified();
        reap_once();
        tokio::select! {
            _ = child_exits.recv() => {}
            () = told => {}
            () = stop.cancelled() => return,
        }
    }
}

fn reap_once() {
    // From /proc: getsid(2) says 0, which is no process, where the leader of our session is outside
    // of our container, and rustix takes that for a broken kernel.
    let Some(own) = Facts::of(getpid()) else { return };
    for pid in children() {
        // Before anything is read of it: a thousand leaders may end at once.
        if claims().leaders.contains(&pid.as_raw_pid()) {
            continue;
        }
        let Some(facts) = Facts::of(pid) else { continue };
        let claims = claims();
        if facts.is_zombie && claims.leave_out(pid, facts, own) {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Our children: as the kernel lists them by thread, or else by looking at every process.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_pid();
    let Some(lists) = children_by_thread() else {
        let is_child = |pid: &Pid| Facts::of(*pid).is_some_and(|facts| facts.parent == own);
        return tree::all().filter(is_child).collect();
    };
    let numbers = lists.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// `None` where the kernel was built without these lists.
fn children_by_thread() -> Option<String> {
    let mut lists = String::new();
    let mut seen = 0;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may be gone by now.
        if let Ok(list) = fs::read_to_string(thread.path().join("children")) {
            lists.push_str(&list);
            lists.push(' ');
            seen += 1;
        }
    }
    (seen > 0).then_some(lists)
}

static CLAIMS: Mutex<Claims> = Mutex::new(Claims { leaders: BTreeSet::new() });
static ORPHANS_MAY_BE_THERE: Notify = Notify::const_new();
