//! From a plan to a process. The only unsafe code of this crate: what happens between fork and
//! exec, and the few calls that have no safe wrapper.
//!
//! The fork is our own, because only so the program is in its control group from its first moment:
//! to move it there later takes milliseconds, and misses what it has started by then.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::cgroup::{Cgroup, Cgroups};
use super::reap::{self, Leader};
use super::spec::{Plan, Stdio, is_shortage};
use super::{Stdin, pty};

/// A process that has just been started, and our side of it.
pub(super) struct Spawned {
    /// The process, leader of a session and a process group of its own.
    pub(super) leader: Leader,
    /// Our ends of what it reads and writes.
    pub(super) stdio: SpawnedStdio,
    /// The control group that it was born in, if there is one.
    pub(super) cgroup: Option<Cgroup>,
}

/// Our ends of what a program reads and writes.
pub(super) enum SpawnedStdio {
    /// A pipe each.
    Pipes {
        /// Where its stdin is written, if that is a pipe.
        stdin: Option<OwnedFd>,
        /// Where its stdout and stderr are read.
        outputs: [OwnedFd; 2],
    },
    /// The master of its terminal, non-blocking.
    Terminal(OwnedFd),
}

/// Starts a program, in a control group of its own where one can be made; returns when it has been
/// executed, or could not be. Within a runtime, on a thread that may wait for disks.
///
/// # Errors
/// The kernel's number where it is about the program, or where something has run out; what else
/// prevents a start has no number.
pub(super) fn spawn(plan: Plan, cgroups: Option<&Cgroups>) -> io::Result<Spawned> {
    let (stdio, theirs) = open_stdio(plan.stdio).map_err(|error| Step::Stdio.error(error))?;
    let cgroup = cgroups.and_then(|cgroups| cgroups.create(&plan.id).ok());
    let image = Image::new(plan, theirs)?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let tell = above_stdio(tell)?;
    let (child, cgroup) = start(&image, &tell, cgroup)?;
    drop(tell);
    // Our copy of its terminal would keep that from ending.
    drop(image);
    let error = match failure(&told) {
        Ok(None) => {
            let leader = Leader::new(child.pid, child.pidfd)?;
            return Ok(Spawned { leader, stdio, cgroup });
        }
        Ok(Some(failure)) => failure.into(),
        Err(error) => error.into(),
    };
    reap::bury(child.pid);
    Err(error)
}

/// Has the runtime say when `fd` is ready; within a runtime.
///
/// # Errors
/// The kernel's.
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, is the same descriptor as long as it lives, and lives as long
    // as the `AsyncFd`, which owns it and gives no other access to it than by reference.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(watched?)
}

/// Has a terminal send a signal to its foreground group, as a key would.
///
/// # Errors
/// `INVAL` for a signal that no key sends: the kernel knows INT, QUIT and TSTP.
pub(super) fn signal_by_terminal(master: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    // SAFETY: TIOCSIG takes a number where other requests take a pointer (ioctl_tty(2)).
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSIG, signal.as_raw()) };
    if done < 0 { Err(last_error()) } else { Ok(()) }
}

/// The child's ends of what it reads and writes.
enum ChildStdio {
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd),
}

impl ChildStdio {
    /// What is to become 0, 1 and 2.
    fn numbers(&self) -> [RawFd; 3] {
        match self {
            Self::Pipes(fds) => fds.each_ref().map(|fd| fd.as_raw_fd()),
            Self::Terminal(slave) => [slave.as_raw_fd(); 3],
        }
    }
}

fn open_stdio(stdio: Stdio) -> rustix::io::Result<(SpawnedStdio, ChildStdio)> {
    let stdin = match stdio {
        Stdio::Terminal(window) => {
            let (master, slave) = pty::open(window)?;
            let theirs = ChildStdio::Terminal(above_stdio(slave)?);
            return Ok((SpawnedStdio::Terminal(master), theirs));
        }
        Stdio::Pipes(stdin) => stdin,
    };
    // Pipes, not socketpairs: a program can open /dev/stdout again, and bash does not take itself
    // for a remote shell.
    let (stdout, stdout_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdin_of_child, stdin) = match stdin {
        Stdin::Null => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (rustix::fs::open("/dev/null", flags, Mode::empty())?, None)
        }
        Stdin::Open => {
            let (of_child, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            (of_child, Some(ours))
        }
    };
    let theirs = [
        above_stdio(stdin_of_child)?,
        above_stdio(stdout_of_child)?,
        above_stdio(stderr_of_child)?,
    ];
    Ok((SpawnedStdio::Pipes { stdin, outputs: [stdout, stderr] }, ChildStdio::Pipes(theirs)))
}

/// What the child still needs while it puts 0, 1 and 2 in place must be none of these.
fn above_stdio(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(fd, libc::STDERR_FILENO + 1)
}

/// A child that was claimed, and is nobody's yet.
struct Child {
    pid: Pid,
    /// Where the kernel gave one with the child.
    pidfd: Option<OwnedFd>,
}

/// How a child is made.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    /// With a descriptor for it, and in a control group.
    InCgroup(BorrowedFd<'a>),
    /// With a descriptor for it.
    Plain,
    /// As kernels before 5.3 do it, and containers that forbid the other ways.
    Fork,
}

/// In the control group, or else without: that is never a reason not to run a program.
fn start(
    image: &Image,
    tell: &OwnedFd,
    cgroup: Option<Cgroup>,
) -> io::Result<(Child, Option<Cgroup>)> {
    if let Some(cgroup) = cgroup
        && let Ok(child) = image.born(tell, Way::InCgroup(cgroup.as_fd()))
    {
        return Ok((child, Some(cgroup)));
    }
    let child = match image.born(tell, Way::Plain) {
        Err(Errno::NOSYS | Errno::PERM | Errno::TOOBIG) => image.born(tell, Way::Fork),
        child => child,
    };
    Ok((child?, None))
}

/// What the child says about why it is no program. It says nothing if it is one.
fn failure(told: &OwnedFd) -> rustix::io::Result<Option<Failure>> {
    let mut message = [0; Failure::LEN];
    let len = rustix::io::retry_on_intr(|| rustix::io::read(told, &mut message))?;
    // A pipe carries so few bytes at once or not at all.
    Ok((len == Failure::LEN).then(|| Failure::from_bytes(message)))
}

/// What a child does before it is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stdio = 1,
    Session,
    Terminal,
    Directory,
    Exec,
}

impl Step {
    const ALL: [Self; 5] =
        [Self::Stdio, Self::Session, Self::Terminal, Self::Directory, Self::Exec];

    /// An error's number says something about the program only if it came from executing it.
    fn error(self, errno: Errno) -> io::Error {
        let error = io::Error::from(errno);
        if self == Self::Exec || is_shortage(&error) {
            return error;
        }
        io::Error::other(NotSetUp { step: self, source: error })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{step:?} of a new process could not be set up: {source}")]
struct NotSetUp {
    step: Step,
    source: io::Error,
}

/// What the child tells its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    step: Step,
    errno: i32,
}

impl Failure {
    const LEN: usize = 5;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    fn from_bytes([step, errno @ ..]: [u8; Self::LEN]) -> Self {
        let known = Step::ALL.into_iter().find(|known| *known as u8 == step);
        Self { step: known.unwrap_or(Step::Exec), errno: i32::from_ne_bytes(errno) }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        failure.step.error(Errno::from_raw_os_error(failure.errno))
    }
}

/// All that the new process needs, in memory before the fork.
struct Image {
    candidates: Vec<CString>,
    /// The strings that the pointers below point to.
    _strings: [Vec<CString>; 2],
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    cwd: OwnedFd,
    stdio: ChildStdio,
}

impl Image {
    fn new(plan: Plan, stdio: ChildStdio) -> io::Result<Self> {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
        };
        Ok(Self {
            argv: pointers(&plan.argv),
            env: pointers(&plan.env),
            candidates: plan.candidates,
            _strings: [plan.argv, plan.env],
            cwd: above_stdio(plan.cwd)?,
            stdio,
        })
    }

    /// Starts a child, which becomes the program or tells why not.
    fn born(&self, tell: &OwnedFd, way: Way<'_>) -> rustix::io::Result<Child> {
        let mut pidfd: RawFd = -1;
        // Until it is a program, no handler of ours may run in the child.
        let blocked = BlockedSignals::new();
        let birth = reap::about_to_fork();
        // SAFETY: the child of a process with threads may only call what is async-signal-safe.
        // `run_as_child`, which never returns, makes system calls on memory that is there already;
        // it takes no lock, not even the one that is held here, and allocates nothing, also where
        // it fails.
        let number = unsafe {
            match way {
                Way::InCgroup(cgroup) => clone(&mut pidfd, Some(cgroup)),
                Way::Plain => clone(&mut pidfd, None),
                Way::Fork => libc::fork().into(),
            }
        };
        if number == 0 {
            self.run_as_child(tell);
        }
        let error = last_error();
        drop(blocked);
        let pid = i32::try_from(number).ok().filter(|number| *number > 0).and_then(Pid::from_raw);
        let pid = pid.ok_or(error)?;
        birth.claim(pid);
        // SAFETY: the kernel has just opened it, for us alone.
        let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
        Ok(Child { pid, pidfd })
    }

    fn run_as_child(&self, tell: &OwnedFd) -> ! {
        let message = self.become_program().to_bytes();
        // A parent that is gone needs no answer.
        let _ = rustix::io::write(tell, &message);
        // SAFETY: ends the process without running anything of it.
        unsafe { libc::_exit(libc::EXIT_FAILURE) }
    }

    /// In the child: returns only when it fails.
    fn become_program(&self) -> Failure {
        match self.set_up() {
            Ok(()) => Failure { step: Step::Exec, errno: self.exec() },
            Err((step, error)) => Failure { step, errno: error.raw_os_error() },
        }
    }

    /// Everything but the exec.
    fn set_up(&self) -> Result<(), (Step, Errno)> {
        rustix::process::setsid().map_err(|error| (Step::Session, error))?;
        if let ChildStdio::Terminal(slave) = &self.stdio {
            rustix::process::ioctl_tiocsctty(slave).map_err(|error| (Step::Terminal, error))?;
        }
        for (number, fd) in (0..).zip(self.stdio.numbers()) {
            // SAFETY: takes two numbers; nothing in this process owns 0, 1 or 2.
            if unsafe { libc::dup2(fd, number) } < 0 {
                return Err((Step::Stdio, last_error()));
            }
        }
        close_on_exec_from(3);
        rustix::process::fchdir(&self.cwd).map_err(|error| (Step::Directory, error))?;
        reset_signals();
        Ok(())
    }

    /// Tries the candidates as a shell does: one that may not be executed is remembered while
    /// others are tried. Gives the error's number.
    fn exec(&self) -> i32 {
        let mut worst = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: a C string, and two arrays of C strings that end with a null pointer.
            unsafe { libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match last_error().raw_os_error() {
                // SAFETY: a C string. What exists and is not found has an interpreter that does not
                // exist.
                libc::ENOENT if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == 0 => {
                    return libc::ENOEXEC;
                }
                libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
                libc::EACCES => worst = libc::EACCES,
                other => return other,
            }
        }
        worst
    }
}

/// The last error; reads thread-local memory only.
fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// As fork(2), into a control group where one is given, and with a descriptor for the child: gives
/// its number, 0 in the child, or less.
///
/// # Safety
/// In the child nothing may be called that is not async-signal-safe.
unsafe fn clone(pidfd: &mut RawFd, cgroup: Option<BorrowedFd<'_>>) -> libc::c_long {
    let mut args = CloneArgs {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: ptr::from_mut(pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the structure is as long as is said, and leads to one place for a descriptor. Without
    // CLONE_VM and without a stack, the child goes on with a copy of everything, as after a fork.
    unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of::<CloneArgs>()) }
}

/// What clone3(2) takes.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// While it lives, this thread hears no signal.
struct BlockedSignals {
    before: [u64; SIGNAL_SET_WORDS],
}

impl BlockedSignals {
    fn new() -> Self {
        let mut before = [0; SIGNAL_SET_WORDS];
        set_signal_mask([u64::MAX; SIGNAL_SET_WORDS], Some(&mut before));
        Self { before }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        set_signal_mask(self.before, None);
    }
}

/// The kernel's own call, because the C library keeps two signals to itself.
fn set_signal_mask(mask: [u64; SIGNAL_SET_WORDS], before: Option<&mut [u64; SIGNAL_SET_WORDS]>) {
    let before = before.map_or(ptr::null_mut(), |before| before.as_mut_ptr());
    // SAFETY: both are as long as is said; it changes the mask of this thread alone.
    unsafe {
        let how = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, mask.as_ptr(), before, SIGNAL_SET_LEN);
    }
}

/// Every signal does what it does by default, also those that were ignored when the node was
/// started, and none is blocked.
fn reset_signals() {
    // All zeroes are SIG_DFL, no flags and an empty mask, however the kernel orders them.
    let default = [0_u64; 8];
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: the kernel reads one `struct sigaction`, which is smaller than `default`, and
        // writes nothing. A signal that can't be changed is refused, which does not matter.
        unsafe {
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SIGNAL_SET_LEN);
        }
    }
    set_signal_mask([0; SIGNAL_SET_WORDS], None);
}

/// Nothing that the node was itself started with gets through. Kernels before 5.11 refuse; our own
/// descriptors are marked in any case.
fn close_on_exec_from(first: libc::c_uint) {
    // SAFETY: takes three numbers, and marks descriptors without closing any.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Linux has 64 signals on all architectures but MIPS.
const SIGNAL_MAX: libc::c_long = 64;
/// Bytes of a signal set, as the kernel has it.
const SIGNAL_SET_LEN: libc::c_long = SIGNAL_MAX / 8;
const SIGNAL_SET_WORDS: usize = 1;
/// Since Linux 5.7; does not fit into the number that the C library has for flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[cfg(test)]
#[path = "spawn_tests.rs"]
pub(super) mod tests;
