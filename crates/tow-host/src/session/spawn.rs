//! From a plan to a process. The only unsafe code of this crate: what happens between fork and
//! exec, and handing a descriptor to the runtime's poll.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command};
use std::ptr;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Stdin;
use super::reap::{Leader, about_to_spawn};
use super::spec::{Plan, Stdio};

/// A process that has just been started, and our ends of its pipes.
pub(super) struct Spawned {
    /// The process, leader of a session and a process group of its own.
    pub(super) leader: Leader,
    /// Where its stdin is written, if that is a pipe.
    pub(super) stdin: Option<OwnedFd>,
    /// Where its stdout and stderr are read.
    pub(super) outputs: [OwnedFd; 2],
}

/// Starts a program; returns when it has been executed, or could not be.
///
/// # Errors
/// The kernel's, of making pipes, of the fork or of the exec.
pub(super) fn spawn(plan: Plan) -> io::Result<Spawned> {
    // Pipes, not socketpairs: a program can open /dev/stdout again, and bash does not take itself
    // for a remote shell.
    let (stdout, stdout_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdin, stdin_of_child) = match plan.stdio {
        Stdio::Terminal(_) => return Err(io::ErrorKind::Unsupported.into()),
        Stdio::Pipes(Stdin::Null) => (None, process::Stdio::null()),
        Stdio::Pipes(Stdin::Open) => {
            let (of_child, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(ours), of_child.into())
        }
    };
    // The name is never looked at: the closure below executes the program itself, or fails.
    let mut command = Command::new("/");
    command.stdin(stdin_of_child).stdout(stdout_of_child).stderr(stderr_of_child);
    let image = Image::new(plan);
    // SAFETY: the closure runs in the forked child of a process with threads, so only
    // async-signal-safe functions may be called. `become_program` makes system calls (setsid,
    // sigaction, sigprocmask, close_range, fchdir, execve, access) on memory that `image` holds
    // already; it takes no lock and allocates nothing, also where it fails.
    unsafe { command.pre_exec(move || image.become_program()) };
    let leader = start(&mut command)?;
    Ok(Spawned { leader, stdin, outputs: [stdout, stderr] })
}

#[allow(clippy::zombie_processes, reason = "the leader waits for it")]
fn start(command: &mut Command) -> io::Result<Leader> {
    let spawning = about_to_spawn();
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Leader::new(pid.expect("a child's number is a positive i32"), spawning)
}

/// Has the runtime say when `fd` is readable; within a runtime.
///
/// # Errors
/// The kernel's.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, is the same descriptor as long as it lives, and lives as long
    // as the `AsyncFd`, which owns it and gives no other access to it than by reference.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// All that the new process needs, in memory before the fork.
struct Image {
    candidates: Vec<CString>,
    /// The strings that the pointers below point to.
    _strings: [Vec<CString>; 2],
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    cwd: OwnedFd,
}

// SAFETY: the pointers lead to the heap buffers of `_strings`, which are owned by the same value,
// stay where they are when it moves, and are neither changed nor freed while it lives.
unsafe impl Send for Image {}
// SAFETY: as above; nothing is ever written through the pointers.
unsafe impl Sync for Image {}

impl Image {
    fn new(plan: Plan) -> Self {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
        };
        Self {
            argv: pointers(&plan.argv),
            env: pointers(&plan.env),
            candidates: plan.candidates,
            _strings: [plan.argv, plan.env],
            cwd: plan.cwd,
        }
    }

    /// In the child: returns only when it fails.
    fn become_program(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        reset_signals();
        close_on_exec_from(3);
        rustix::process::fchdir(&self.cwd)?;
        Err(io::Error::from_raw_os_error(self.exec()))
    }

    /// Tries the candidates as a shell does: one that may not be executed is remembered while
    /// others are tried. Gives the error's number.
    fn exec(&self) -> i32 {
        let mut worst = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: a C string, and two arrays of C strings that end with a null pointer.
            unsafe { libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match errno() {
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

/// The last error's number; reads thread-local memory only.
fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

/// Every signal does what it does by default, also those that were ignored when the node was
/// started, and none is blocked.
fn reset_signals() {
    // All zeroes are SIG_DFL, no flags and an empty mask, however the kernel orders them. Its own
    // call, because the C library keeps two signals to itself and would leave them ignored.
    let default = [0_u64; 8];
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: the kernel reads one `struct sigaction`, which is smaller than `default`, and
        // writes nothing. A signal that can't be changed is refused, which does not matter.
        unsafe {
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SIGNAL_SET_LEN);
        }
    }
    // SAFETY: a signal set is plain data for which all zeroes is valid; the kernel only reads it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
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
