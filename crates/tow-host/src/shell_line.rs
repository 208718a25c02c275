//! One shell line from start to end, its output collected: what the classic command server runs.
//!
//! Unlike a session it lives only as long as somebody waits for it: dropping [`run`]'s future kills
//! the line and everything that it started.

use std::fs;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Runs `line` by `/bin/sh` without input, in a process group of its own and this process's
/// directory and environment, and collects both outputs as they come.
///
/// Ends when the shell has: what it left in the background may add output for [`QUIET`] after the
/// last byte, [`QUIET_MAX`] in all, and is then left alone.
///
/// # Errors
/// See [`ShellLineError`].
pub async fn run(line: &str) -> Result<Outcome, ShellLineError> {
    let mut child = Command::new(SHELL)
        .args(["-c", "--", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ShellLineError::new)?;
    let mut tree = Tree::of(&child);
    let mut stdout = Capture::new(child.stdout.take());
    let mut stderr = Capture::new(child.stderr.take());
    let ended = collect(&mut child, &mut tree, &mut stdout, &mut stderr).await;
    let ended = ended.map_err(ShellLineError::Io)?;
    Ok(Outcome { stdout: stdout.bytes, stderr: stderr.bytes, ended })
}

/// What became of a shell line.
#[derive(Debug)]
pub struct Outcome {
    /// What it wrote to stdout, at most [`OUTPUT_LEN_MAX`] bytes.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, at most as many.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub ended: Ended,
}

/// How a shell line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or by a signal that did not come from here.
    Exited(ExitStatus),
    /// Killed for more than [`OUTPUT_LEN_MAX`] bytes on one output.
    OutputTooLong,
}

/// Why a shell line was not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShellLineError {
    /// A NUL cannot be part of an argument.
    #[error("a command cannot contain a NUL byte")]
    Nul,
    /// Longer than the kernel's limit for one argument (128 KiB on Linux).
    #[error("the command is longer than this system allows")]
    TooLong,
    /// Anything else.
    #[error("the command could not be run")]
    Io(#[source] io::Error),
}

impl ShellLineError {
    fn new(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::InvalidInput => Self::Nul,
            io::ErrorKind::ArgumentListTooLong => Self::TooLong,
            _ => Self::Io(source),
        }
    }
}

/// Reads both outputs until the shell has exited and they have ended or are quiet.
async fn collect<A, B>(
    child: &mut Child,
    tree: &mut Tree,
    stdout: &mut Capture<A>,
    stderr: &mut Capture<B>,
) -> io::Result<Ended>
where
    A: AsyncRead + Unpin,
    B: AsyncRead + Unpin,
{
    let mut exit: Option<(ExitStatus, Instant)> = None;
    let mut heard = Instant::now();
    loop {
        if let Some((status, at)) = exit {
            let give_up = (heard.max(at) + QUIET).min(at + QUIET_MAX);
            if !(stdout.is_open() || stderr.is_open()) || Instant::now() >= give_up {
                return Ok(Ended::Exited(status));
            }
        }
        tokio::select! {
            read = stdout.read(), if stdout.is_open() => {
                read?;
                heard = Instant::now();
            }
            read = stderr.read(), if stderr.is_open() => {
                read?;
                heard = Instant::now();
            }
            status = child.wait(), if exit.is_none() => {
                // It is reaped: from now on its number may be another program's.
                tree.leave();
                exit = Some((status?, Instant::now()));
            }
            () = sleep(QUIET), if exit.is_some() => {}
        }
        if stdout.cut() | stderr.cut() {
            tree.kill();
            child.wait().await?;
            return Ok(Ended::OutputTooLong);
        }
    }
}

/// One output so far.
struct Capture<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    fn new(pipe: Option<R>) -> Self {
        Self { pipe, bytes: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Keeps to the limit; true where that took something away.
    fn cut(&mut self) -> bool {
        let is_over = self.bytes.len() > OUTPUT_LEN_MAX;
        self.bytes.truncate(OUTPUT_LEN_MAX);
        is_over
    }

    /// Cancelling it loses nothing.
    async fn read(&mut self) -> io::Result<()> {
        if let Some(pipe) = &mut self.pipe {
            self.bytes.reserve(READ_LEN);
            if pipe.read_buf(&mut self.bytes).await? == 0 {
                self.pipe = None;
            }
        }
        Ok(())
    }
}

/// The shell and its descendants, killed when this is dropped before the shell was reaped.
struct Tree {
    leader: Option<Pid>,
}

impl Tree {
    fn of(child: &Child) -> Self {
        Self { leader: child.id().and_then(|id| Pid::from_raw(id.cast_signed())) }
    }

    fn leave(&mut self) {
        self.leader = None;
    }

    fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            kill(leader);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills the group of `leader`, and those that have left the group while their parents were alive.
/// All are stopped first, so that none can start another unseen. Errors mean that it is gone.
fn kill(leader: Pid) {
    let _ = kill_process_group(leader, Signal::STOP);
    let mut found = Vec::new();
    for _ in 0..STOP_ROUNDS_MAX {
        let known = found.len();
        for pid in descendants(leader) {
            if !found.contains(&pid) {
                let _ = kill_process(pid, Signal::STOP);
                found.push(pid);
            }
        }
        if found.len() == known {
            break;
        }
    }
    let _ = kill_process_group(leader, Signal::KILL);
    for pid in found {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The descendants of `leader` at this moment, by proc(5); none where there is no such file system.
fn descendants(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let everyone: Vec<(Pid, Pid)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut tree = vec![leader];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        next += 1;
        tree.extend(everyone.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
    }
    tree.split_off(1)
}

/// The fourth field of the process's `stat`; the second is a name in parentheses, of any bytes.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
    Pid::from_raw(fields.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

/// POSIX has it there on every system we know.
const SHELL: &str = "/bin/sh";

/// Most bytes of one output.
pub const OUTPUT_LEN_MAX: usize = 64 << 20;

/// Silence after which the output of a background child is no longer waited for.
pub const QUIET: Duration = Duration::from_millis(100);

/// Longest time that such output is waited for.
pub const QUIET_MAX: Duration = Duration::from_secs(2);

/// Room for one read; a pipe holds 64 KiB.
const READ_LEN: usize = 64 << 10;

/// A tree that starts programs faster than so many walks find them cannot be stopped this way.
const STOP_ROUNDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(line: &str) -> Outcome {
        run(line).await.unwrap()
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    /// Waits until none of this process's descendants has `mark` on its command line.
    async fn wait_until_gone(mark: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !running(mark).is_empty() {
            assert!(Instant::now() < deadline, "still there: {:?}", running(mark));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn running(mark: &str) -> Vec<i32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(mark)
            })
            .collect()
    }

    #[tokio::test]
    async fn both_outputs_and_the_status_come_back() {
        let outcome = outcome("echo out; echo err >&2; cat; exit 3").await;
        assert_eq!((text(&outcome.stdout), text(&outcome.stderr)), ("out\n", "err\n"));
        let Ended::Exited(status) = outcome.ended else { panic!("{:?}", outcome.ended) };
        assert_eq!(status.code(), Some(3));
    }

    #[tokio::test]
    async fn ten_megabytes_on_each_output_do_not_wait_for_each_other() {
        let line =
            "head -c 10000000 /dev/zero >&2; head -c 10000000 /dev/zero; head -c 1 /dev/zero >&2";
        let outcome = outcome(line).await;
        assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (10_000_000, 10_000_001));
    }

    #[tokio::test]
    async fn endless_output_is_ended_at_the_limit() {
        // Another run of this test may be under way.
        let mark = format!("5e11d1e2-{}", std::process::id());
        let outcome = outcome(&format!("yes {mark}")).await;
        assert_eq!(outcome.ended, Ended::OutputTooLong);
        assert_eq!(outcome.stdout.len(), OUTPUT_LEN_MAX);
        wait_until_gone(&mark).await;
    }

    #[tokio::test]
    async fn a_child_in_the_background_does_not_hold_the_answer_back() {
        let start = Instant::now();
        let outcome = outcome("echo kept; sleep 60 & echo $!").await;
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        let mut lines = text(&outcome.stdout).lines();
        assert_eq!(lines.next(), Some("kept"));
        let pid = Pid::from_raw(lines.next().unwrap().parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).expect("it was left alone");
    }

    #[tokio::test]
    async fn a_shell_that_closes_its_outputs_is_still_waited_for() {
        let outcome = outcome("exec >&- 2>&-; sleep 0.2; exit 5").await;
        let Ended::Exited(status) = outcome.ended else { panic!("{:?}", outcome.ended) };
        assert_eq!(status.code(), Some(5));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_ends_the_whole_tree() {
        let mark = &format!("86425.{}", std::process::id());
        let line = format!("setsid sleep {mark} & sleep {mark} & (sleep {mark}); sleep {mark}");
        let waiting = tokio::spawn(async move { run(&line).await.map(drop) });
        let deadline = Instant::now() + Duration::from_secs(60);
        // The shell itself carries the mark too.
        while running(mark).len() < 4 {
            assert!(Instant::now() < deadline, "{:?}", running(mark));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waiting.abort();
        wait_until_gone(mark).await;
    }

    #[tokio::test]
    async fn lines_that_cannot_be_run_say_why() {
        assert!(matches!(run("echo a\0b").await, Err(ShellLineError::Nul)));
        let long = format!(": {}", "x".repeat(1 << 20));
        assert!(matches!(run(&long).await, Err(ShellLineError::TooLong)));
        let odd = outcome("-x").await;
        assert!(matches!(odd.ended, Ended::Exited(status) if status.code() == Some(127)));
    }
}
